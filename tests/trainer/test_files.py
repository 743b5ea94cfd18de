"""Files that are found whole or not at all."""

import json
from pathlib import Path

import pytest

from trainer.errors import TrainerError
from trainer.files import replacing, write_files, write_json


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "facts.json"
    write_json(path, {"epoch": 1})
    assert json.loads(path.read_text()) == {"epoch": 1}

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert json.loads(path.read_text()) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]


def test_a_report_that_cannot_be_written_names_its_folder(tmp_path: Path) -> None:
    assert [path.read_bytes() for path in write_files(tmp_path / "out", {"a.json": b"{}", "a.png": b"x"})] == [
        b"{}",
        b"x",
    ]
    (tmp_path / "file").touch()
    with pytest.raises(TrainerError, match=f"{tmp_path}/file: cannot be written to: "):
        write_files(tmp_path / "file", {"a.json": b"{}"})
