"""The README.md beside every saved_model.pb: what the model is, how good, and what it must not be used for."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.evaluation.robustness import RIGHT_BELOW
from trainer.networks.scores import FLIPPED, PLAIN

_CARD = """---
license: mit
library_name: tf-keras
pipeline_tag: image-classification
tags: [facial-expression-recognition, fer2013]
datasets: [fer2013]
metrics: [accuracy, f1]
model-index:
- name: {name}-{version}
  results:
  - task: {{type: image-classification}}
    dataset: {{name: FER2013, type: fer2013, split: PublicTest}}
    metrics:
    - {{type: accuracy, value: {accuracy:.4f}}}
    - {{type: f1, name: macro F1, value: {macro_f1:.4f}}}
---

# {name}, version {version}

Reads one of seven emotions off a face: {classes}.

- Input `faces`: float32 [N, 48, 48, 1], grey, in [-1, 1] (grey level / 127.5 - 1).
- Signature `serving_default`: `scores` float32 [N, 7], `classes` string [N, 7]{unclear}.
- Signature `explain`: `scores`, and `heatmap` float32 [N, 48, 48] in [0, 1] (Grad-CAM of the top class).
- {parameters:,} parameters{storage}.
{composition}
## Data

FER2013 (Goodfellow et al. 2013), or faces in its form.

{data}

## Metrics on PublicTest ({count:,} images)

Accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, log-loss {log_loss:.4f} nats{ece}. {selection}

| class | precision | recall |
|---|---|---|
{rows}
{robustness}
## Intended use

Research, demonstrations, and services whose users agreed to it. A score is the model's guess at how a person would
label the expression in the picture; it does not say what the pictured person feels.

Not for decisions about people. In the European Union, inferring emotions at the workplace or in education is
prohibited (Regulation (EU) 2024/1689, Article 5(1)(f)), except for medical or safety reasons.

## Limits

- FER2013's labels are noisy: its creators measured about 65 % human accuracy on it.
- Its faces were collected by web search. European faces, adults and posed expressions are over-represented; expect
  worse results elsewhere, and measure before you rely on it.
- `disgust` has about 1.5 % of FER2013's training images: there its recall is the least certain.
- Faces are 48x48 grey, near frontal. Profiles, masks and strong shadows were rare.
"""


def model_card(name: str, version: int, facts: Mapping[str, Any]) -> str:
    """Markdown for one exported version.

    Args:
        facts: `parameters`, `PublicTest` (metrics) and `data` (`Dataset.facts`); `epoch` of a single run, or
            `members` (each a run's facts with `name` and `weight`) and `method` of an ensemble. Where they are there:
            `temperature`, `views`, `ece`, `folds` of a cross-validation, and `export` (see `version.write_version`).
    """
    metrics = facts["PublicTest"]
    half = facts.get("export", {}).get("storage") == "float16"
    return _CARD.format(
        name=name,
        version=version,
        classes=", ".join(metrics["precision"]),
        parameters=facts["parameters"],
        storage=", kernels stored as float16 and cast to float32" if half else "",
        composition=_composition(facts),
        data=_data(facts),
        count=metrics["count"],
        accuracy=metrics["accuracy"],
        macro_f1=metrics["macro_f1"],
        log_loss=metrics["log_loss"],
        ece=f", expected calibration error {facts['ece']:.4f}" if "ece" in facts else "",
        selection=_selection(facts),
        unclear=", `unclear_below` float32 [N]" if "robustness" in facts else "",
        robustness=_robustness(facts),
        rows="\n".join(
            f"| {label} | {precision:.3f} | {metrics['recall'][label]:.3f} |"
            for label, precision in metrics["precision"].items()
        ),
    )


def _composition(facts: Mapping[str, Any]) -> str:
    lines = []
    seen = {tuple(run.get("views", facts.get("views", PLAIN))) for run in facts.get("members", [facts])}
    views = seen.pop() if len(seen) == 1 else None
    if views is None:
        lines.append("- Some members see the mirrored face too, and their scores are averaged, inside the graph.")
    elif views == FLIPPED:
        lines.append("- Scores are averaged over the face and its mirror image, inside the graph.")
    elif views != PLAIN:
        lines.append(f"- Scores are averaged over views of the face ({', '.join(views)}), inside the graph.")
    if facts.get("temperature", 1.0) != 1.0:
        lines.append(
            f"- Calibrated: temperature {facts['temperature']:.3f}, inside the graph. It makes the scores better"
            " probabilities and leaves the top class, and so the accuracy, as it was."
        )
    if "members" in facts:
        lines += [
            f"- An ensemble of {len(facts['members'])}: the weighted mean of the members' scores (method"
            f" `{facts['method']}`).",
            "",
            "| member | weight | parameters | views | epoch | accuracy of the face as it is |",
            "|---|---|---|---|---|---|",
            *(
                f"| {member['name']} | {member['weight']:.3f} | {member['parameters']:,} |"
                f" {', '.join(member.get('views', facts.get('views', PLAIN)))} | {member['epoch']} |"
                f" {member['PublicTest']['accuracy']:.4f} |"
                for member in facts["members"]
            ),
        ]
    return "".join(f"{line}\n" for line in lines)


def _robustness(facts: Mapping[str, Any]) -> str:
    if "robustness" not in facts:
        return ""
    found = facts["robustness"]
    rows = "\n".join(
        f"| {name} | {each['accuracy']:.3f} | {each['ece']:.3f} |" for name, each in found["conditions"].items()
    )
    return f"""
## The same faces as cameras may give them

Mean accuracy of all {len(found["conditions"])} conditions {found["mean_accuracy"]:.4f}.

| condition | accuracy | expected calibration error |
|---|---|---|
{rows}

Answers of a confidence under {found["unclear_below"]:.3f} are unclear: at most {RIGHT_BELOW:.0%} were right at
each of these. They are {found["unclear_share"]["clean"]:.0%} of the clean faces and
{found["unclear_share"]["all"]:.0%} of all.
"""


def _data(facts: Mapping[str, Any]) -> str:
    trained_on = {member["data"]["sha256"]: member["data"] for member in facts.get("members", [facts])}
    paragraphs = ["\n".join(_sentences(data)) for data in trained_on.values()]
    taught = "\n".join(_teaching(facts))
    about = facts.get("export", {}).get("about", "")
    return "\n\n".join(filter(None, [*paragraphs, taught, about, "Nothing was fitted or selected on PrivateTest."]))


def _sentences(data: Mapping[str, Any]) -> Iterator[str]:
    sources = ", ".join(f"`{source['name']}` ({source['images']:,} images)" for source in data.get("sources", []))
    yield f"Trained on {data['training_images']:,} images of the Training split of {sources or 'FER2013'}."
    yield f"sha256 of all splits: `{data['sha256']}`."
    if data.get("votes"):
        yield f"FER+ votes: `{data['votes']['name']}`."
    if "leaked" in data:
        yield f"{data['leaked']:,} Training images that also stand in a held-out split, pixel for pixel, were left out."


def _teaching(facts: Mapping[str, Any]) -> Iterator[str]:
    for run in facts.get("members", [facts]):
        subject = f"`{run['name']}`" if "members" in facts else "It"
        if share := run.get("config", {}).get("ferplus"):
            yield f"{subject} was trained on targets of which {share:.0%} were a face's FER+ votes."
        if run.get("teacher"):
            teachers = ", ".join(f"`{source['name']}`" for source in run["teacher"]["sources"])
            yield f"{subject} was distilled from {teachers}."
        if run.get("init"):
            yield f"{subject} began with another run's weights, of {run['init']['data']['training_images']:,} images."


def _selection(facts: Mapping[str, Any]) -> str:
    epoch = "Each member's epoch was" if "members" in facts else f"Epoch {facts['epoch']}, which was"
    selected = f"{epoch} selected on this split, so that the figures are slightly optimistic."
    if "folds" not in facts:
        return selected
    fitted = "Weights and temperature were" if "members" in facts else "The temperature was"
    return (
        f"{fitted} fitted by {facts['folds']}-fold cross-validation: every face is scored with what the other folds"
        f" gave. {selected}"
    )
