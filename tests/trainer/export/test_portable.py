"""Files for browsers and phones, run by their own runtimes, against what they were made of."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import typer
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from typer.testing import CliRunner

from faces.contract import CLASSES, to_input
from trainer.commands.export import export as export_command
from trainer.data.split import Split
from trainer.ensemble.combination import Combination, Member
from trainer.errors import ExportError, TrainerError
from trainer.export import portable
from trainer.export.portable import Format, write_portable
from trainer.export.version import write_version
from trainer.networks.scores import FLIPPED
from trainer.run_directory import load_facts
from trainer.training.checkpoint import load_run

Faces = NDArray[np.float32]


@pytest.fixture(scope="module")
def combination(trained_run: Path) -> Combination:
    model = load_run(trained_run)
    return Combination([Member(model, 0.75, FLIPPED), Member(model, 0.25)], temperature=1.5)


@pytest.fixture(scope="module")
def some_faces(validation: Split) -> Faces:
    return to_input(validation.images[:5])


def run_command(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(export_command)
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def onnx_scores(path: Path, faces: Faces) -> Faces:
    session = onnxruntime.InferenceSession(path)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    scores: Faces = session.run(["scores"], {"faces": faces})[0]
    return scores


def litert_scores(path: Path, faces: Faces) -> Faces:
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    rows = []
    for face in faces:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], face[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(rows)


READERS = {Format.ONNX: onnx_scores, Format.LITERT: litert_scores}


@pytest.mark.parametrize("form", Format)
def test_a_file_scores_as_the_networks_do(
    combination: Combination, some_faces: Faces, form: Format, tmp_path: Path
) -> None:
    path = tmp_path / "new" / f"faces.{form}"
    difference = write_portable(combination, path, form)
    expected = combination.scores(some_faces)
    assert expected.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(READERS[form](path, some_faces), expected, atol=1e-4)
    assert 0 <= difference < 1e-4
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("form", Format)
def test_the_command_converts_runs_and_versions(
    trained_run: Path, some_faces: Faces, form: Format, tmp_path: Path
) -> None:
    model = Combination([Member(load_run(trained_run))])
    version = write_version(model, "quick", tmp_path, load_facts(trained_run))
    for source in (trained_run, version):
        path = tmp_path / f"{source.name}.{form}"
        said = run_command(source, "--format", form, "--out", path)
        assert f"wrote {path} (" in said
        np.testing.assert_allclose(READERS[form](path, some_faces), model.scores(some_faces), atol=1e-4)
    assert not (tmp_path / "quick" / "2").exists()


def test_half_is_half_the_size(combination: Combination, some_faces: Faces, tmp_path: Path) -> None:
    full, half = tmp_path / "full.tflite", tmp_path / "half.tflite"
    write_portable(combination, full, Format.LITERT)
    write_portable(combination, half, Format.LITERT, half=True)
    assert half.stat().st_size < 0.7 * full.stat().st_size
    np.testing.assert_allclose(litert_scores(half, some_faces), combination.scores(some_faces), atol=1e-2)
    with pytest.raises(ExportError, match="--half is for LiteRT"):
        write_portable(combination, tmp_path / "half.onnx", Format.ONNX, half=True)


def test_what_cannot_be_converted_is_refused(trained_run: Path, save_model, templates, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "a.onnx"
    for arguments, said in (
        (["--format", "onnx"], "--format and --out belong together"),
        (["--out", out], "--format and --out belong together"),
        (["--format", "tflite", "--out", out], "--format tflite: there are onnx and litert"),
        (["--format", "onnx", "--out", tmp_path], "cannot be written"),
    ):
        with pytest.raises(ExportError, match=said):
            run_command(trained_run, *arguments)
    version = save_model(tmp_path / "linear" / "1", templates)
    with pytest.raises(ExportError, match="a version is converted as it is"):
        run_command(version, "--format", "onnx", "--out", out, "--flip")
    with pytest.raises(TrainerError, match=r"has no saved_model\.pb"):
        write_portable(tmp_path, out, Format.ONNX)
    assert not out.exists()


def test_a_file_that_scores_otherwise_is_not_written(
    combination: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(portable, "_run_onnx", lambda content, faces: np.full((len(faces), 7), np.nan, np.float32))
    with pytest.raises(ExportError, match="differ from the model's by nan"):
        write_portable(combination, path, Format.ONNX)
    assert path.read_bytes() == b"the old one"


def test_a_missing_converter_is_named(
    combination: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ExportError, match=r"tf2onnx is not installed; '\.\[portable\]' has it"):
        write_portable(combination, tmp_path / "a.onnx", Format.ONNX)
