"""What somebody else's network makes of faces, asked once and kept."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer.commands.opinions import opinions
from trainer.data.split import Split
from trainer.ensemble import opinions as module
from trainer.ensemble.opinions import VIEWS, ask, digests, read_opinions
from trainer.ensemble.teacher import consult, parse_source
from trainer.errors import ConfigError, TrainingError
from trainer.networks.scores import softmax

SIZE = 24


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """An ONNX file whose logits are the sums of seven bands of the picture, their logarithms where it is poisoned."""

    def write(
        classes: int = 7, shape: Sequence[object] = ("n", 3, SIZE, SIZE), *, name: str = "teacher", poison: bool = False
    ) -> Path:
        path = tmp_path_factory.mktemp("onnx") / f"{name}.onnx"
        kernel = np.zeros((SIZE * SIZE, classes), np.float32)
        for column in range(SIZE):
            kernel[column::SIZE, column * classes // SIZE] = 9.0 / SIZE
        axis = 1 if shape[1] in (1, 3) else 3
        nodes = [
            helper.make_node("ReduceMean", ["faces", "axis"], ["grey"], keepdims=0),
            helper.make_node("Reshape", ["grey", "flat"], ["row"]),
            helper.make_node("MatMul", ["row", "kernel"], ["product"]),
            helper.make_node("Log" if poison else "Identity", ["product"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("faces", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
            [
                numpy_helper.from_array(np.array([axis]), "axis"),
                numpy_helper.from_array(np.array([-1, SIZE * SIZE]), "flat"),
                numpy_helper.from_array(kernel, "kernel"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, path)
        return path

    return write


def test_opinions_are_of_each_face_and_its_mirror_in_the_datas_order(
    classifier: Callable[..., Path], training: Split, tmp_path: Path
) -> None:
    images = training.images[:40]
    made = ask(classifier(), images, tmp_path / "o.npz", size=SIZE, scale=255)
    read = read_opinions(tmp_path / "o.npz")
    np.testing.assert_array_equal(read.logits, made.logits)
    assert read.logits.shape == (40, 2, 7)
    assert read.digest.tolist() == digests(images).tolist()
    with np.load(tmp_path / "o.npz") as file:
        assert tuple(file["views"]) == VIEWS
    # Halving 48 pixels bilinearly is their mean, two by two; seven columns of it are the logits.
    small = images.reshape(40, SIZE, 2, SIZE, 2).mean(axis=(2, 4)) / 255
    columns = [column * 7 // SIZE for column in range(SIZE)]
    for view, faces in enumerate((small, small[:, :, ::-1])):
        expected = np.zeros((40, 7))
        for column, group in enumerate(columns):
            expected[:, group] += faces[:, :, column].sum(axis=1) * 9 / SIZE
        np.testing.assert_allclose(read.logits[:, view], expected, rtol=0.01, atol=0.02)


def test_channels_may_stand_last_and_be_one(classifier: Callable[..., Path], training: Split, tmp_path: Path) -> None:
    one, three = (
        ask(classifier(shape=shape), training.images[:5], tmp_path / f"{index}.npz", size=SIZE, scale=255).logits
        for index, shape in enumerate((("n", SIZE, SIZE, 1), ("n", 3, SIZE, SIZE)))
    )
    np.testing.assert_allclose(one.astype(float), three.astype(float), rtol=2e-3)


def test_a_teacher_is_looked_up_by_face_and_softened_before_the_average(
    classifier: Callable[..., Path], training: Split, tmp_path: Path
) -> None:
    path = tmp_path / "o.npz"
    logits = ask(classifier(), training.images[:30], path, size=SIZE, scale=255).logits.astype(np.float32)
    some = [7, 3, 7]
    warm = (softmax(logits[:, 0] / 2) + softmax(logits[:, 1] / 2)) / 2
    taught = consult([parse_source(f"{path}:2")], training.images[some], 2)
    np.testing.assert_allclose(taught.probabilities, warm[some], rtol=1e-5)
    plain = consult([parse_source(f"{path}:2"), parse_source(str(path))], training.images[some], 1)
    both = (softmax(logits[:, 0] / 2) + softmax(logits[:, 0])) / 2
    np.testing.assert_allclose(plain.probabilities, both[some], rtol=1e-5)
    assert [source["temperature"] for source in plain.facts["sources"]] == [2.0, 1.0]


def test_an_interrupted_run_goes_on_where_it_was(
    classifier: Callable[..., Path], training: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_S", 0.0)
    onnx_file, out, seen = classifier(), tmp_path / "o.npz", []

    def fail(count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(onnx_file, training.images, out, size=SIZE, scale=255, progress=fail)
    begun: list[int] = []
    made = ask(onnx_file, training.images, out, size=SIZE, scale=255, begun=begun.append)
    assert begun == [64]  # the third batch was answered, and not yet kept
    fresh = ask(onnx_file, training.images, tmp_path / "fresh.npz", size=SIZE, scale=255)
    np.testing.assert_array_equal(made.logits, fresh.logits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh.npz", "o.npz"]


def test_another_models_beginning_is_not_gone_on_with(
    classifier: Callable[..., Path], training: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_S", 0.0)
    out = tmp_path / "o.npz"

    seen: list[int] = []

    def fail(count: int) -> None:
        seen.append(count)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(classifier(), training.images, out, size=SIZE, scale=1, progress=fail)
    assert (tmp_path / ".partial-o.npz").exists()
    begun: list[int] = []
    ask(classifier(), training.images[:40], out, size=SIZE, scale=255, begun=begun.append)
    assert begun == [0]


def test_a_network_that_takes_one_picture_at_a_time_is_asked_so(
    classifier: Callable[..., Path], training: Split, tmp_path: Path
) -> None:
    one, any_number = (
        ask(classifier(shape=shape), training.images[:40], tmp_path / f"{index}.npz", size=SIZE, scale=255).logits
        for index, shape in enumerate(((1, 3, SIZE, SIZE), ("n", 3, SIZE, SIZE)))
    )
    np.testing.assert_allclose(one.astype(float), any_number.astype(float), rtol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"shape": (4, 3, SIZE, SIZE)}, "takes 4 pictures at once"),
        ({"classes": 6}, r"answers \[2, 6\] where \[2, 7\] is due"),
        ({"shape": ("n", 3, 32, 32)}, "not pictures of side 24"),
        ({"shape": ("n", 4, SIZE, SIZE)}, "with 1 or 3 channels"),
    ],
)
def test_a_network_of_another_kind_is_refused(
    classifier: Callable[..., Path], training: Split, tmp_path: Path, arguments: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        ask(classifier(**arguments), training.images[:2], tmp_path / "o.npz", size=SIZE, scale=255)
    assert not (tmp_path / "o.npz").exists()


def test_logits_that_are_not_finite_name_the_face(
    classifier: Callable[..., Path], training: Split, tmp_path: Path
) -> None:
    images = training.images[:3].copy()
    images[1] = 0  # its logarithm is minus infinity
    with pytest.raises(TrainingError, match="face 2: logits that are not finite"):
        ask(classifier(poison=True), images, tmp_path / "o.npz", size=SIZE, scale=255)


def test_what_is_no_onnx_model_is_named(training: Split, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07 no graph")
    with pytest.raises(ConfigError, match=r"broken\.onnx: not an ONNX model"):
        ask(broken, training.images[:1], tmp_path / "o.npz", size=SIZE, scale=255)
    with pytest.raises(ConfigError, match=r"absent\.onnx: No such file"):
        ask(tmp_path / "absent.onnx", training.images[:1], tmp_path / "o.npz", size=SIZE, scale=255)


def good(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "logits": rng.normal(size=(count, 2, 7)).astype(np.float16),
        "digest": np.array([f"{row:016x}" for row in range(count)], "S16"),
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"logits": np.zeros((4, 2, 8), np.float16)}, "2 views of 8 classes; 1 or 2 views of 7 are due"),
        ({"logits": np.zeros((4, 3, 7), np.float16)}, "3 views"),
        ({"logits": np.zeros((3, 2, 7), np.float16)}, "not a file of opinions"),
        ({"logits": np.zeros((4, 2, 7), np.int32)}, "not a file of opinions"),
        ({"logits": np.full((4, 2, 7), np.nan, np.float16)}, "the opinions of 4 faces are not finite"),
        ({"digest": None}, "not a file of opinions"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], reason: str
) -> None:
    arrays = {name: values for name, values in {**good(4), **change}.items() if values is not None}
    np.savez(tmp_path / "o.npz", **arrays)
    with pytest.raises(ConfigError, match=reason):
        read_opinions(tmp_path / "o.npz")


def test_a_truncated_file_and_one_that_is_absent_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.npz"
    np.savez(path, **good(4))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ConfigError, match="not a file of opinions"):
        read_opinions(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_opinions(tmp_path / "absent.npz")


def test_faces_without_an_opinion_are_counted(tmp_path: Path, training: Split) -> None:
    arrays = good(4)
    arrays["digest"][:3] = digests(training.images[:3])
    np.savez(tmp_path / "o.npz", **arrays)
    with pytest.raises(ConfigError, match=r"teacher o\.npz: 7 of 10 faces have no opinion"):
        consult([parse_source(str(tmp_path / "o.npz"))], training.images[:10], 1)


def test_one_view_cannot_give_two(tmp_path: Path, training: Split) -> None:
    arrays = good(1)
    np.savez(tmp_path / "o.npz", logits=arrays["logits"][:, :1], digest=digests(training.images[:1]))
    with pytest.raises(ConfigError, match=r"set distill\.views=1"):
        consult([parse_source(str(tmp_path / "o.npz"))], training.images[:1], 2)


@pytest.mark.parametrize("text", ["runs/a:0", "runs/a:-1", "runs/a:nan", "runs/a:inf", "runs/a:warm", "runs/a:"])
def test_a_temperature_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number above 0"):
        parse_source(text)


def test_a_path_may_hold_a_colon(tmp_path: Path) -> None:
    odd = tmp_path / "run:2"
    odd.touch()
    found = [parse_source(text) for text in (str(odd), f"{odd}:2.5")]
    assert [(source.path, source.temperature) for source in found] == [(odd, 1), (odd, 2.5)]


def test_the_command_writes_opinions_that_a_training_takes(
    classifier: Callable[..., Path], fer_csv: Path, training: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.npz"
    opinions(classifier(), [fer_csv], out, size=SIZE, threads=1)
    assert "Training: 224 faces" in capsys.readouterr().out
    assert consult([parse_source(str(out))], training.images, 2).probabilities.shape == (224, 7)
    with pytest.raises(ConfigError, match=r"must end in \.npz"):
        opinions(classifier(), [fer_csv], tmp_path / "o.csv", size=SIZE)
