"""Measure deployed models on a labelled split: one model, or two on the same faces."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split
from trainer.errors import TrainerError
from trainer.evaluation.measured_cost import GraphCost, Latency, graph_cost, latency
from trainer.evaluation.metrics import Metrics, Paired, Reliability, accuracy_interval, mcnemar, reliability, score
from trainer.evaluation.predictor import SavedModelPredictor, ServerPredictor, open_predictor
from trainer.evaluation.robustness import Robustness, measure_robustness
from trainer.networks.scores import FLIPPED, PLAIN, over_views

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Agreement:
    """Accuracy against FER+'s majority: the class that more than half of a face's annotators chose."""

    # Faces with such a class; the others are left out.
    count: int
    # Share of them whose top class it is.
    accuracy: float
    # 95 % bootstrap interval of it.
    interval: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """One model on one split."""

    # What the user called the model.
    source: str
    # The version that a server answered with; None for a SavedModel.
    version: int | None
    metrics: Metrics
    # 95 % bootstrap interval of the accuracy.
    interval: tuple[float, float]
    reliability: Reliability
    # Against FER+ majority labels; None without votes.
    majority: Agreement | None
    # None for a server, which does not show its graph. Of one pass: flip averaging takes two.
    cost: GraphCost | None
    # Of one pass.
    latency: Latency
    # bool [N], whether each face's top class is its label.
    correct: NDArray[np.bool_]
    # None unless asked for.
    robustness: Robustness | None

    def to_json(self) -> dict[str, Any]:
        """All figures, JSON-able; a fraction of 1 unless a name says otherwise."""
        metrics = self.metrics
        return {
            "source": self.source,
            "version": self.version,
            **asdict(metrics),
            "f1": metrics.f1,
            "support": metrics.support,
            "accuracy_interval": list(self.interval),
            "ece": self.reliability.ece,
            "reliability": self.reliability.to_json(),
            "fer_plus_majority": asdict(self.majority) if self.majority else None,
            "parameters": self.cost.parameters if self.cost else None,
            "macs": self.cost.macs if self.cost else None,
            "flops": self.cost.flops if self.cost else None,
            "latency": asdict(self.latency),
            "robustness": self.robustness.to_json() if self.robustness else None,
        }


@dataclass(frozen=True)
class Report:
    """What one call of `measure` found."""

    # The split's name.
    split: str
    # Whether scores are the mean over each face and its mirror image.
    flip: bool
    # One model, or A and B.
    evaluations: tuple[Evaluation, ...]
    # A against B; None for one model.
    paired: Paired | None
    # `trainer.data.dataset.Dataset.facts`.
    data: dict[str, Any]

    @property
    def verdict(self) -> str | None:
        """The comparison in one sentence; None for one model."""
        if self.paired is None:
            return None
        return verdict(self.paired, self.evaluations[0].source, self.evaluations[1].source)

    def to_json(self) -> dict[str, Any]:
        """The whole report, JSON-able."""
        return {
            "split": self.split,
            "images": self.evaluations[0].metrics.count,
            "flip": self.flip,
            "data": self.data,
            "models": [evaluation.to_json() for evaluation in self.evaluations],
            "comparison": self.paired and {**asdict(self.paired), "verdict": self.verdict},
        }


def measure(
    sources: Sequence[str],
    split: Split,
    name: str,
    *,
    flip: bool = False,
    robustness: bool = False,
    data: dict[str, Any] | None = None,
    runs: int = 50,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure one model, or two and the difference between them.

    Args:
        sources: one or two of what `trainer.evaluation.predictor.open_predictor` takes.
        split: labelled faces, at least one.
        name: the split's name, for the report.
        flip: average the scores of each face and its mirror image (test-time augmentation).
        robustness: measure each condition of `trainer.evaluation.conditions` as well.
        data: facts about the data, for the report.
        runs: calls to take the median latency over.
        tell: is called with a line before each step that takes a while.

    Raises:
        TrainerError: an empty split, a model that cannot be opened, does not answer or breaks the model contract.
    """
    if not len(split):
        raise TrainerError(f"{name} has no images to evaluate on")
    evaluations = tuple(_measure(source, split, flip, robustness, runs, tell) for source in sources)
    paired = mcnemar(evaluations[0].correct, evaluations[1].correct) if len(evaluations) == 2 else None
    return Report(name, flip, evaluations, paired, data or {})


def verdict(paired: Paired, a: str, b: str) -> str:
    """One plain sentence on whether A and B differ in accuracy."""
    points, low, high = (100 * value for value in (paired.difference, *paired.interval))
    if points < 0:
        a, b, points, low, high = b, a, -points, -high, -low
    lead = f"as accurate as {b}" if points == 0 else f"{points:.2f} points more accurate than {b}"
    found = (
        "a difference that chance alone seldom makes"
        if paired.p_value < SIGNIFICANCE
        else "these images do not tell the two apart"
    )
    return (
        f"On these {paired.count:,} images {a} is {lead} (95 % interval {low:+.2f} to {high:+.2f}); "
        f"McNemar's exact test gives p = {paired.p_value:.2g}: {found}."
    )


def _measure(
    source: str, split: Split, flip: bool, robustness: bool, runs: int, tell: Callable[[str], None]
) -> Evaluation:
    tell(f"opening {source}")
    predictor = open_predictor(source)
    try:
        tell(f"{source}: {len(split):,} images")
        views = FLIPPED if flip else PLAIN
        scores = over_views(predictor.scores, split.images, views)
        disturbed = None
        if robustness:
            disturbed = measure_robustness(
                predictor.scores, split, views=views, tell=lambda condition: tell(f"{source}: {condition}")
            )
        tell(f"{source}: latency")
        times = latency(predictor.scores, runs=runs)
        cost = graph_cost(predictor) if isinstance(predictor, SavedModelPredictor) else None
    finally:
        predictor.close()
    correct = scores.argmax(axis=1) == split.labels
    return Evaluation(
        source=source,
        version=predictor.version if isinstance(predictor, ServerPredictor) else None,
        metrics=score(scores, split.labels),
        interval=accuracy_interval(correct),
        reliability=reliability(scores, split.labels),
        majority=None if split.votes is None else _agreement(scores, split.majority),
        cost=cost,
        latency=times,
        correct=correct,
        robustness=disturbed,
    )


def _agreement(scores: NDArray[np.float32], majority: NDArray[np.int64]) -> Agreement | None:
    clear = majority >= 0
    if not clear.any():
        return None
    agrees = scores[clear].argmax(axis=1) == majority[clear]
    return Agreement(len(agrees), float(agrees.mean()), accuracy_interval(agrees))
