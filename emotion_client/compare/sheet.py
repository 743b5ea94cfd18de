"""The faces that they see differently, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from emotion_client.compare.run import Difference
from emotion_client.emotions import Language, colour, name
from emotion_client.video.answers import Face
from emotion_client.video.mark import font

_SIDE, _LINE, _PAD, _COLUMNS = 200, 24, 12, 6
_TRUTH = {"en": "folder: {}", "vi": "thư mục: {}"}


def can_write(path: Path) -> bool:
    """Whether the folder is there, and Pillow knows the ending."""
    return path.suffix.lower() in Image.registered_extensions() and path.absolute().parent.is_dir()


def draw(differences: Sequence[Difference], path: Path, names: tuple[str, str], language: Language) -> None:
    """Write the picture; its ending tells the format.

    Args:
        names: of A and of B.

    Raises:
        OSError, ValueError: it cannot be written.
    """
    columns = max(1, min(_COLUMNS, len(differences)))
    rows = max(1, -(-len(differences) // columns))
    width, height = _SIDE + _PAD, _SIDE + 4 * _LINE + _PAD
    head = 2 * _LINE + 2 * _PAD
    sheet = Image.new("RGB", (max(columns * width + _PAD, 480), rows * height + head), "white")
    pen = ImageDraw.Draw(sheet)
    for index, which in enumerate(names):
        pen.text((_PAD, _PAD + index * _LINE), f"{'AB'[index]}: {which}", font=font(15), fill="#1b1f23")
    for index, one in enumerate(differences):
        x, y = _PAD + index % columns * width, head + index // columns * height
        sheet.paste(_crop(one), (x, y))
        for line, (letter, face) in enumerate((("A", one.a), ("B", one.b))):
            top = y + _SIDE + line * _LINE
            pen.rectangle((x, top, x + _SIDE - 1, top + _LINE - 2), fill=colour(face.emotion))
            pen.text((x + 6, top + 3), _words(letter, face, language), font=font(13), fill="white")
        below = y + _SIDE + 2 * _LINE
        if one.truth is not None:
            words = _TRUTH[language].format(name(one.truth, language))
            pen.text((x + 6, below + 3), words, font=font(13), fill="#1b1f23")
            below += _LINE
        pen.text((x + 6, below + 3), _shortened(one.path.name), font=font(11), fill="#57606a")
    sheet.save(path)


def _words(letter: str, face: Face, language: Language) -> str:
    return f"{letter}  {name(face.emotion, language)} {face.confidence:.0%}"


def _shortened(text: str) -> str:
    """What has room under a face, the ending kept."""
    while font(11).getlength(text) > _SIDE - 12:
        middle = len(text) // 2
        text = text[: middle - 2] + "…" + text[middle + 1 :]
    return text


def _crop(one: Difference) -> Image.Image:
    """The face and what is around it; grey where Pillow cannot read the photo."""
    box = one.box
    side = round(1.3 * max(box.width, box.height))
    left, top = box.x + box.width // 2 - side // 2, box.y + box.height // 2 - side // 2
    try:
        with Image.open(one.path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return Image.new("RGB", (_SIDE, _SIDE), "#d0d7de")
    return upright.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
