"""Files that cannot be imported: each says why, reads nothing elsewhere, and runs nothing."""

import builtins
import contextlib

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import CheckpointError, DataError, OutOfMemoryError

from .models import helper, imported, lstm, model, node, onnx, tensor, value

X, Z = value("x", ["N", 3]), value("z", ["N", None])


def refused(tmp_path, made, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        imported(tmp_path, made)
    assert str(caught.value).startswith(f"path: got {tmp_path / 'model.onnx'}, which ")
    return str(caught.value)


def test_all_unsupported_operators_are_listed(tmp_path):
    body = helper.make_graph([node("Det", ["m"], ["d"], name="inside")], "body", [value("m", [2, 2])], [value("d", [])])
    nodes = [
        node("NonZero", ["x"], ["a"], name="first"),
        node("Relu", ["x"], ["b"]),
        node("Fancy", ["b"], ["c"], domain="com.example"),
        node("Scan", ["x"], ["z"], body=body, num_scan_inputs=1, name="loop"),
        node("LSTM", ["x", "w", "r"], ["y"], clip=3.0, name="clipped"),
        node("Cast", ["x"], ["h"], to=10),
    ]
    text = refused(tmp_path, model(nodes, [X], [Z]), "has nodes that cannot be run here")
    assert text.splitlines()[1:] == [
        "  NonZero: node first",
        "  com.example.Fancy: node that makes c",
        "  Det: node inside",
        "  LSTM: node clipped: it clips what goes into activations, which is not done here",
        "  Cast: node that makes h: it makes values of FLOAT16, wanted one of float32, uint8, int8, uint16, int16, "
        "int32, int64, bool, float64, uint32, uint64; convert the model first",
    ]


@pytest.mark.parametrize("opset", [1, 6, 29, 10**9])
def test_opsets(opset, tmp_path):
    refused(tmp_path, model([node("Relu", ["x"], ["z"])], [X], [Z], opset=opset), f"is of opset {opset}, wanted 7 to")


def plain(**changes):
    return model([node("MatMul", ["x", "w"], ["z"])], [X], [Z], {"w": np.ones((3, 2), np.float32)}, **changes)


def test_truncated_files(tmp_path):
    whole = lstm()[0].SerializeToString()
    for size in range(0, len(whole), 23):
        refused(tmp_path, whole[:size], "which ")
    assert imported(tmp_path, whole)


def test_flipped_bytes(tmp_path):
    """Whatever is read either runs or is refused."""
    whole, rng = scan_of_lstm(), np.random.default_rng(0)
    x = np.ones((2, 1, 3), np.float32)
    for at in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[at] ^= rng.integers(1, 256)
        try:
            module = imported(tmp_path, bytes(damaged))
        except CheckpointError:
            continue
        with contextlib.suppress(tr.errors.TinygradError, TypeError):
            module(*[x] * len(module.inputs))


def scan_of_lstm():
    return lstm(sizes=(3, 2))[0].SerializeToString()


def test_other_files(tmp_path):
    refused(tmp_path, b"", "is empty")
    refused(tmp_path, b"PK\x03\x04" + bytes(30), "which ")
    refused(tmp_path, bytes(100), "which ")
    with pytest.raises(FileNotFoundError):
        tr.io.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(DataError, match="got a folder"):
        tr.io.from_onnx(tmp_path)
    with pytest.raises(ValueError, match="mode: got 'fast'"):
        tr.io.from_onnx(tmp_path / "model.onnx", mode="fast")


def test_invalid_models(tmp_path):
    refused(tmp_path, model([node("Relu", ["nothing"], ["z"])], [X], [Z]), "is no valid model: .*nothing")
    refused(tmp_path, model([node("Relu", ["x"], ["z"], alpha=3.0)], [X], [Z]), "is no valid model: .*alpha")
    functions = plain()
    functions.functions.add().name = "f"
    refused(tmp_path, functions, "defines functions .f.: see onnx.inliner")
    half = model([node("Relu", ["x"], ["z"])], [value("x", ["N"], "h")], [Z])
    refused(tmp_path, half, "takes x as FLOAT16, wanted one of float32")
    made, _ = lstm()
    made.graph.initializer[0].dims[1] = 15
    refused(tmp_path, made, "holds w")
    wrong, _ = lstm()
    wrong.graph.node[0].attribute[0].i = 5
    refused(tmp_path, wrong, r"the/net \(LSTM\): got W \(1, 16, 3\), wanted \(1, 20, 3\), as hidden_size is 5")


@pytest.mark.parametrize("dims", [[1 << 40, 1 << 20], [-1, 2], [3, 3]])
def test_claimed_shapes(dims, tmp_path):
    made = plain()
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    refused(tmp_path, made, "holds w")


def test_huge_results(tmp_path):
    shape = {"n": np.array([1 << 40, 1 << 10], np.int64)}
    for op, inputs in (("ConstantOfShape", ["n"]), ("Expand", ["s", "n"]), ("Tile", ["m", "n"])):
        made = model([node(op, inputs, ["z"])], [value("s", []), value("m", [1, 1])], [value("z", [None, None])], shape)
        with pytest.raises(OutOfMemoryError, match="wanted one that fits into the memory"):
            imported(tmp_path, made)(np.float32(1), np.ones((1, 1), np.float32))


def outside(location, offset="0", length="24", shape=(3, 2)):
    made = plain()
    given = made.graph.initializer[0]
    given.ClearField("raw_data")
    given.data_location = onnx.TensorProto.EXTERNAL
    for key, entry in {"location": location, "offset": offset, "length": length}.items():
        given.external_data.add(key=key, value=entry)
    return made


def test_arrays_in_other_files(tmp_path):
    weights = np.arange(8, dtype=np.float32)
    (tmp_path / "inner").mkdir()
    for name in ("w.bin", "inner/w.bin"):
        (tmp_path / name).write_bytes(weights.tobytes())
        module = imported(tmp_path, outside(name, offset="8"))
        np.testing.assert_array_equal(module.w.numpy().ravel(), weights[2:])


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../secret", "wanted a file in its own folder; nothing else is read"),
        ("inner/../../secret", "wanted a file in its own folder"),
        ("/etc/hostname", "wanted a file in its own folder"),
        ("link", "wanted a file in its own folder"),
        ("", "wanted a file in its own folder"),
        (".", "wanted a file in its own folder"),
        ("a\0b", "wanted a file in its own folder"),
        ("none.bin", "which is no file"),
        ("inner", "which is no file"),
    ],
)
def test_arrays_outside_of_the_folder(tmp_path, location, words):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(100))
    (folder / "link").symlink_to(tmp_path / "secret")
    refused(folder, outside(location), words)


@pytest.mark.parametrize(
    ("offset", "length"), [("90", "24"), ("-4", "24"), ("0", "20"), ("0", str(1 << 50)), ("x", "24")]
)
def test_places_in_other_files(tmp_path, offset, length):
    (tmp_path / "w.bin").write_bytes(bytes(100))
    refused(tmp_path, outside("w.bin", offset, length), "keeps w ")


def test_odd_names(tmp_path):
    """What initializers are called cannot get in the way of what modules have."""
    arrays = {
        name: np.full((3, 2), i, np.float32) for i, name in enumerate(["forward", "__class__", "a/b", "a.b", "_x"])
    }
    nodes = [node("Sum", list(arrays), ["w"]), node("MatMul", ["x", "w"], ["z"])]
    module = imported(tmp_path, model(nodes, [X], [Z], arrays))
    assert module(np.ones((1, 3), np.float32)).tolist() == [[30, 30]]
    assert [*dict(module.named_parameters())] == ["the_forward", "class", "a_b", "a.b", "x"]


def test_without_the_library(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"x")
    original = builtins.__import__

    def without(name, *rest, **options):
        if name.partition(".")[0] == "onnx":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CheckpointError, match=r'pip install "tinygrad_rnn\[onnx\]"'):
        tr.io.from_onnx(tmp_path / "m.onnx")


def test_tensors_in_attributes(tmp_path):
    """Constants are read like initializers."""
    constant = node("Constant", [], ["w"], value=tensor("", np.ones((3, 2), np.float32)))
    made = model([constant, node("MatMul", ["x", "w"], ["z"])], [X], [Z])
    assert imported(tmp_path, made)(np.ones((1, 3), np.float32)).tolist() == [[3, 3]]
    made.graph.node[0].attribute[0].t.dims[0] = 1 << 50
    refused(tmp_path, made, "holds Constant.value")
