"""The plan of a study: where architectures come from, what each may cost, how it is trained and judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainer.errors import ConfigError
from trainer.networks.spec_cost import Budget
from trainer.search.space import SPACES
from trainer.training.config import TrainConfig


@dataclass(frozen=True)
class Plan:
    """What every worker of a study does alike; stored in the study itself."""

    # Name in `trainer.search.space.SPACES`.
    space: str
    # Configuration of every training; its model is replaced.
    train: TrainConfig
    # What each may cost.
    budget: Budget
    # How many architectures to train.
    trials: int = 40
    # `random`, or `tpe` (Bergstra et al. 2011), which learns from the trials so far.
    sampler: Literal["random", "tpe"] = "random"
    # `PublicTest`: accuracy on it; `cross-validation`: mean accuracy over `folds` of Training.
    objective: Literal["PublicTest", "cross-validation"] = "PublicTest"
    # Share of the training images that a trial uses, for cheaper trials.
    share: float = 1.0
    # Epochs before Hyperband may prune (its minimum resource; Li et al. 2018).
    min_epochs: int = 1
    # Of the cross-validation.
    folds: int = 3
    # Of the sampler and of the choice of images.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ConfigError(f"unknown space {self.space!r}; known: {', '.join(SPACES)}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"share is {self.share}, but must be in (0, 1]")
        if self.trials < 1 or self.folds < 2:
            raise ConfigError(f"trials {self.trials} must be at least 1, folds {self.folds} at least 2")
        if not 1 <= self.min_epochs <= self.train.epochs:
            raise ConfigError(f"min_epochs is {self.min_epochs}, but must be from 1 to epochs ({self.train.epochs})")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "train": self.train.model_dump(mode="json")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plan":
        rest = dict(values)
        train = TrainConfig.model_validate(rest.pop("train"))
        return cls(train=train, budget=Budget(**rest.pop("budget")), **rest)
