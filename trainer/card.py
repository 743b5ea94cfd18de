"""The README.md beside every saved_model.pb: what the model is, how good, and what it must not be used for."""

from collections.abc import Mapping
from typing import Any

_CARD = """# {name}, version {version}

Reads one of seven emotions off a face: {classes}.

- Input `faces`: float32 [N, 48, 48, 1], grey, in [-1, 1] (grey level / 127.5 - 1).
- Signature `serving_default`: `scores` float32 [N, 7], `classes` string [N, 7].
- Signature `explain`: `scores`, and `heatmap` float32 [N, 48, 48] in [0, 1] (Grad-CAM of the top class).
- {parameters:,} parameters.

## Data

FER2013 (Goodfellow et al. 2013), Kaggle's CSV, sha256 `{sha256}`. Trained on {training:,} images of its Training
split; the epoch was selected on its PublicTest split, so that the figures below are slightly optimistic. PrivateTest
was not looked at.

## Metrics on PublicTest ({count:,} images)

Accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, log-loss {log_loss:.4f} nats. Epoch {epoch}.

| class | precision | recall |
|---|---|---|
{rows}

## Intended use

Research, demonstrations, and services whose users agreed to it. A score is the model's guess at how a person would
label the expression in the picture; it does not say what the pictured person feels.

Not for decisions about people. In the European Union, inferring emotions at the workplace or in education is
prohibited (Regulation (EU) 2024/1689, Article 5(1)(f)), except for medical or safety reasons.

## Limits

- FER2013's labels are noisy: its creators measured about 65 % human accuracy on it.
- Its faces were collected by web search. European faces, adults and posed expressions are over-represented; expect
  worse results elsewhere, and measure before you rely on it.
- Some PublicTest images stand in Training too, pixel for pixel (279 of 3,579 in the file without the images that FER+
  drops), which flatters the figures above.
- `disgust` has about 1.5 % of the training images: its recall is the least certain.
- Faces are 48x48 grey, near frontal. Profiles, masks and strong shadows were rare.
"""


def model_card(name: str, version: int, facts: Mapping[str, Any]) -> str:
    """Markdown for one exported version.

    Args:
        facts: as `trainer.__main__` gathers them: `epoch`, `parameters`, `PublicTest` (metrics), `data` (`sha256`,
            `training_images`).
    """
    metrics = facts["PublicTest"]
    return _CARD.format(
        name=name,
        version=version,
        classes=", ".join(metrics["precision"]),
        parameters=facts["parameters"],
        sha256=facts["data"]["sha256"],
        training=facts["data"]["training_images"],
        epoch=facts["epoch"],
        count=metrics["count"],
        accuracy=metrics["accuracy"],
        macro_f1=metrics["macro_f1"],
        log_loss=metrics["log_loss"],
        rows="\n".join(
            f"| {label} | {precision:.3f} | {metrics['recall'][label]:.3f} |"
            for label, precision in metrics["precision"].items()
        ),
    )
