"""CSV files as Kaggle and FER+ publish them: plain, gzipped (.gz) or inside a .zip; columns found by name."""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TextIO

from trainer.errors import DataError
from trainer.files import reason

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_PUBLISHED = ("fer2013.csv", "icml_face_data.csv", "fer2013new.csv")


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The named columns of each row, without padding, in the order of `names`, with the row's line number.

    Blank lines are skipped. The header is line 1; a row that spans lines is named by its last.

    Raises:
        DataError: the file is missing, damaged or not text; a column is missing; or a row has more or fewer columns
            than the header.
    """
    try:
        with _open_text(path) as text:
            rows = _rows(path, text)
            # icml_face_data.csv pads its column names with spaces.
            header = [name.strip() for name in next(rows, (1, []))[1]]
            if missing := [name for name in names if name not in header]:
                raise DataError(path, f"lacks the column(s) {', '.join(missing)}", line=1)
            columns = [header.index(name) for name in names]
            for line, row in rows:
                if len(row) != len(header):
                    many = "few" if len(row) < len(header) else "many"
                    raise DataError(path, f"the row has too {many} columns: {len(row)}, the header {len(header)}", line)
                yield line, [row[column].strip() for column in columns]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(path, f"cannot be read: {reason(error)}") from error


def _rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    # csv looks at every one of 280 million characters in turn. Splitting at commas is as good up to the first quote,
    # and the published files have none; it saves a fifth of the time.
    for number, line in enumerate(text, start=1):
        if '"' in line:
            reader = csv.reader(chain([line], text))
            try:
                yield from ((number - 1 + reader.line_num, row) for row in reader if row)
            except csv.Error as error:
                raise DataError(path, f"cannot be read: {error}", number - 1 + reader.line_num) from error
        elif not line.isspace():
            yield number, line.rstrip("\r\n").split(",")


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    suffix = path.suffix.lower()
    if path.name.lower().endswith(_TAR):
        raise DataError(path, "is a tar archive: unpack it, and give the CSV file in it")
    if suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as text:
            yield text
    elif suffix == ".zip":
        with zipfile.ZipFile(path) as archive, _open_member(path, archive) as member:
            yield io.TextIOWrapper(member, encoding="utf-8-sig", newline="")
    else:
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield text


def _open_member(path: Path, archive: zipfile.ZipFile) -> IO[bytes]:
    # A Mac adds __MACOSX/._fer2013.csv; Kaggle's competition archive has test.csv and train.csv beside the one we read.
    found = [name for name in archive.namelist() if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")]
    chosen = [name for name in found if name.lower().rpartition("/")[2] in _PUBLISHED] if len(found) > 1 else found
    if len(chosen) != 1:
        known = " or ".join(_PUBLISHED)
        raise DataError(path, f"one CSV file, or one {known}, is due in it; it has: {', '.join(found) or 'none'}")
    try:
        return archive.open(chosen[0])
    except RuntimeError as error:  # a password, or a compression that zipfile does not know
        raise DataError(path, f"cannot be read: {error}") from error
