"""Files of weights: what is written comes back, what others wrote is read, what is damaged or hostile is refused."""

import builtins
import io
import os
import pickle
import stat
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save as safetensors

from tinygrad_rnn.errors import CheckpointError, DataError
from tinygrad_rnn.storage.weights import read_weights, write_weights

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "number": np.array(2.5),
    "none": np.zeros((0, 4), np.float16),
    "counts": np.array([1, -2], np.int64),
    "mask": np.array([True, False]),
    "file": np.ones(1),
}
SUFFIXES = [".safetensors", ".npz", ".pt"]


def path_of(tmp_path, suffix):
    if suffix in (".pt", ".pth"):
        pytest.importorskip("torch")
    return tmp_path / f"weights{suffix}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_comes_back(tmp_path, suffix):
    path = path_of(tmp_path / "new" / "folder", suffix)
    write_weights(path, ARRAYS)
    read = read_weights(path)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array, strict=True)
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_content_decides(tmp_path, suffix):
    path = path_of(tmp_path, suffix)
    write_weights(path, ARRAYS)
    assert read_weights(path.rename(tmp_path / "other.bin")).keys() == ARRAYS.keys()


def test_headers_of_any_length(tmp_path):
    """The first byte of a safetensors file is that of a number, and may look like the beginning of another format."""
    first = set()
    for letters in range(0, 256, 4):
        write_weights(tmp_path / "w.safetensors", {"n" * (letters + 1): np.ones(2)})
        first.add((tmp_path / "w.safetensors").read_bytes()[0])
        assert [array.tolist() for array in read_weights(tmp_path / "w.safetensors").values()] == [[1.0, 1.0]]
    assert {0x50, 0x80, 0x88} <= first  # zip files begin with the first, pickles with the second


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_the_umask_counts(tmp_path, suffix):
    path = path_of(tmp_path, suffix)
    before = os.umask(0o027)
    try:
        write_weights(path, ARRAYS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_stays_if_it_cannot_be_replaced(tmp_path, suffix, monkeypatch):
    path = path_of(tmp_path, suffix)
    write_weights(path, {"w": np.ones(2)})
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space left"):
        write_weights(path, {"w": np.zeros(2)})
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shortened_files(tmp_path, suffix):
    """Every beginning of a file is refused, with its name."""
    path = path_of(tmp_path, suffix)
    write_weights(path, ARRAYS)
    whole = path.read_bytes()
    for size in {0, 1, 4, 7, 8, 9, 20, *range(0, len(whole), max(len(whole) // 30, 1)), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"path: got .*weights\."):
            read_weights(path)


def test_single_bits(tmp_path):
    """A bit that flips is found, as names and arrays are hashed."""
    path = tmp_path / "weights.safetensors"
    write_weights(path, {"weight": np.arange(4.0), "bias": np.ones(1, np.float32)})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, 8 * len(whole), 100):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            read = read_weights(path)
        except CheckpointError:
            continue
        # the hash itself may lose its name, and nothing else may change
        assert {name: array.tolist() for name, array in read.items()} == {"weight": [0, 1, 2, 3], "bias": [1]}


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL"],)


def test_no_code_is_run(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(2), "x": Evil()}, path)
    with pytest.raises(
        CheckpointError, match=r"weights\.pt, which is damaged, or holds more than tensors; wanted what torch\.save"
    ):
        read_weights(path)
    path.write_bytes(pickle.dumps({"w": Evil()}))
    with pytest.raises(CheckpointError, match=r"wanted what torch\.save"):
        read_weights(path)
    np.savez(tmp_path / "weights.npz", w=np.array([Evil()], object))
    with pytest.raises(CheckpointError, match="holds w, which is no array of numbers"):
        read_weights(tmp_path / "weights.npz")
    assert not (tmp_path / "evil").exists()


def npy_that_claims(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(16)


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 62, 4), (-1,), (3,)])
def test_archives_that_claim_too_much(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", npy_that_claims(shape))
    with pytest.raises(CheckpointError, match=r"w\.npz"):
        read_weights(tmp_path / "w.npz")


def test_archives_of_others(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **{"layer/w": np.asfortranarray(np.ones((2, 3)))})
    assert read_weights(tmp_path / "w.npz")["layer/w"].shape == (2, 3)
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(CheckpointError, match=r"zip file that holds notes\.txt"):
        read_weights(tmp_path / "w.zip")
    np.savez(tmp_path / "words.npz", w=np.array(["a", "b"]))
    with pytest.raises(CheckpointError, match="holds w as <U1, wanted numbers"):
        read_weights(tmp_path / "words.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is no file of weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"\x93NUMPY\x01\x00", "one array without a name"),
        (b"\xff" * 7 + b"\x7f{}", "cannot be read as weights"),
        (b"\x02" + bytes(7) + b"{}", None),
    ],
)
def test_other_files(tmp_path, content, words):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    if words is None:
        assert read_weights(path) == {}
    else:
        with pytest.raises(CheckpointError, match=words):
            read_weights(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.npz")
    with pytest.raises(DataError, match="got a folder"):
        read_weights(tmp_path)
    with pytest.raises(TypeError, match="path: got 3"):
        read_weights(3)


@pytest.mark.parametrize("name", ["weights", "weights.h5", "weights.bin"])
def test_unknown_suffixes(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"wanted a name that ends in \.safetensors, \.npz, \.pt, \.pth"):
        write_weights(tmp_path / name, ARRAYS)


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([1j]), None, np.array([object()])])
def test_what_is_no_array_of_numbers(tmp_path, value):
    with pytest.raises(CheckpointError, match="w: got"):
        write_weights(tmp_path / "w.npz", {"w": value})


def test_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.0, 3e38]]).to(torch.bfloat16)
    save_file({"w": values}, tmp_path / "w.safetensors")
    torch.save({"w": values}, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        read = read_weights(tmp_path / name)["w"]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values.float().numpy())


def test_dtypes_that_numpy_has_not(tmp_path):
    good = safetensors({"w": np.ones(4, np.uint8)})
    (tmp_path / "w.safetensors").write_bytes(good.replace(b'"U8"', b'"F8_E4M3"').replace(b"}}  ", b"}}", 1))
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("around", ["state_dict", "model_state_dict", "model"])
def test_checkpoints_of_pytorch_users(tmp_path, around):
    torch = pytest.importorskip("torch")
    torch.save({"epoch": 3, around: torch.nn.Linear(2, 3).state_dict()}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "holds a list, wanted a state dict"),
        ({"epoch": 3, "net": {}}, "holds epoch, net; wanted a state dict"),
        ({"w": "sparse"}, "holds w as torch.float32, torch.sparse_coo"),
        ({"w": "named", "x": "text"}, "holds 'x' as str"),
    ],
)
def test_other_things_of_pytorch(tmp_path, value, words):
    torch = pytest.importorskip("torch")
    if isinstance(value, dict) and "w" in value:
        value["w"] = torch.eye(2).to_sparse() if value["w"] == "sparse" else torch.eye(2)
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=words):
        read_weights(tmp_path / "w.pt")


def test_the_old_form_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.eye(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pt")["w"], np.eye(2))


def test_without_pytorch(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **options):
        if name == "torch":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CheckpointError, match=r"pip install torch, or use \.safetensors or \.npz"):
        write_weights(tmp_path / "w.pt", ARRAYS)
    (tmp_path / "w.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match="pip install torch"):
        read_weights(tmp_path / "w.pt")
