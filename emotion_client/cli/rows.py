"""The columns of the CSV: a row a face. File names stand as they are, also what a spreadsheet takes for a formula."""

from collections.abc import Iterator

from emotion_client.answers import Prediction
from emotion_client.emotions import CLASSES

COLUMNS = (
    *("file", "face", "x", "y", "width", "height", "score", "roll", "emotion", "confidence"),
    *CLASSES,
    *("model", "version", "problem"),
)


def rows_of(file: str, prediction: Prediction) -> Iterator[list[object]]:
    """Of a photo; one without a face has one row, whose `face` is empty."""
    model = [prediction.model.name, prediction.model.version, ""]
    if not prediction.faces:
        yield [file, *[""] * (len(COLUMNS) - 4), *model]
    for number, face in enumerate(prediction.faces):
        box = face.box
        yield [
            *(file, number, box.x, box.y, box.width, box.height),
            *("" if value is None else value for value in (face.score, face.roll)),
            *(face.emotion, face.confidence),
            *(face.probabilities.get(name, "") for name in CLASSES),
            *model,
        ]


def problem_row(file: str, problem: str) -> list[object]:
    """Of what could not be read."""
    return [file, *[""] * (len(COLUMNS) - 2), problem]
