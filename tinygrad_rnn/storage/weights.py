"""Files of weights: names and arrays in safetensors, npz or PyTorch's format, told apart by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from ..atomic import checked
from ..data._files import content
from ..errors import CheckpointError
from . import archives, checkpoint
from .files import write_whole

HASH = "tinygrad_rnn.weights.sha256"  # in the metadata of what is written here
SAFETENSORS = {  # its names of dtypes that NumPy has
    "BOOL": "?",
    **{f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
Texts = Mapping[str, str]
WRITERS: dict[str, Callable[[Mapping[str, np.ndarray], Texts], bytes]] = {
    ".safetensors": lambda arrays, metadata: _safetensors(arrays, metadata),
    ".npz": lambda arrays, _: archives.npz(arrays),
    ".pt": lambda arrays, _: archives.torch_file(arrays),
    ".pth": lambda arrays, _: archives.torch_file(arrays),
}


def write_weights(
    path: str | PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write names and arrays to a file, in the format of its suffix, atomically.

    Parameters
    ----------
    path : path
        ``.safetensors``, ``.npz``, or ``.pt`` and ``.pth``, which need PyTorch. Its folder is made if need be;
        permissions follow the umask.
    arrays : mapping of str to array
        Of numbers or truth values.
    metadata : mapping of str to str, optional
        Texts about them, which safetensors files keep, and the others do not: see :func:`read_metadata`.

    Raises
    ------
    CheckpointError
        If the suffix is another one, a value is no array of numbers, or PyTorch is missing.
    OSError
        If it cannot be written; what was there stays.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, tinygrad_rnn as tr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weights.npz")
    ...     tr.io.write_weights(path, {"w": np.ones(2)})
    ...     tr.io.read_weights(path)
    {'w': array([1., 1.])}
    """
    writer = WRITERS.get(Path(checked(path)).suffix.lower())
    if writer is None:
        raise CheckpointError(f"path: got {path}, wanted a name that ends in {', '.join(WRITERS)}")
    plain = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if not isinstance(name, str) or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise CheckpointError(f"{name}: got {array.dtype}, wanted a name and numbers of at most 64 bits")
        plain[name] = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    texts = dict(metadata or {})
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str) or name == HASH:
            raise CheckpointError(f"metadata: got {name!r}: {text!r}, wanted names and texts")
    write_whole(Path(path), writer(plain, texts))


def read_weights(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read names and arrays from a file of weights; what it holds decides what it is, not its suffix.

    Parameters
    ----------
    path : path
        A safetensors file, also a trainer's checkpoint, of which it is the model; a NumPy archive (npz); or what
        ``torch.save(model.state_dict(), path)`` wrote, also inside of a dict, under ``"state_dict"``,
        ``"model_state_dict"`` or ``"model"``. That needs PyTorch. bfloat16 is read as float32.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    OSError
        If there is no such file.
    DataError
        If it is no file, or larger than the memory.
    CheckpointError
        If it holds something else, or less than was written. No code in it is run.
    """
    with content(path) as data, reading(path, "weights"):
        return _read(path, data)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """Texts that a file of weights keeps beside its arrays; a file that cannot keep any has none.

    Parameters
    ----------
    path : path
        A safetensors file; ``nn.save`` writes ``"architecture"``, ``"version"`` and ``"dtype"`` into it.

    Raises
    ------
    OSError, DataError, CheckpointError
        As :func:`read_weights`.

    Examples
    --------
    >>> import pathlib, tempfile, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "gru.safetensors")
    ...     nn.save(nn.GRU(3, 4), path)
    ...     tr.io.read_metadata(path)["architecture"]
    'GRU(3, 4)'
    """
    with content(path) as data, reading(path, "weights"):
        if data[8:9] != b"{":
            return {}
        from safetensors import deserialize

        deserialize(data)  # which looks at all of it
        metadata = _metadata(data)
    return {name: text for name, text in metadata.items() if name != HASH}


@contextlib.contextmanager
def reading(path: str | PathLike[str], what: str) -> Iterator[None]:
    """A context in which all that goes wrong says of `path` that it cannot be read as `what`."""
    try:
        yield
    except CheckpointError as error:
        text = str(error)
        raise CheckpointError(text if text.startswith("path: ") else f"path: got {path}, which {text}") from None
    except Exception as error:  # a damaged file may raise anything
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"path: got {path}, which cannot be read as {what}: {line}") from None


def _read(path: str | PathLike[str], data: bytes) -> dict[str, np.ndarray]:
    if not data:
        raise CheckpointError("is empty")
    if data[8:9] == b"{":  # after its length, whose first byte may be that of anything
        return _read_safetensors(path, data)
    if data[:4] == b"PK\x03\x04" or data[:4] == b"PK\x05\x06":
        return archives.read_zip(path, data)
    if data[:1] == b"\x80":  # a pickle, PyTorch's form before 1.6
        return archives.read_torch(data)
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        raise CheckpointError("is an HDF5 file, as of Keras; wanted safetensors, npz or PyTorch's, or tr.io.from_keras")
    if data[:6] == b"\x93NUMPY":
        raise CheckpointError("holds one array without a name; wanted np.savez(path, name=array, ...)")
    raise CheckpointError("is no file of weights; wanted safetensors, npz or PyTorch's")


# ---- safetensors


def _safetensors(arrays: Mapping[str, np.ndarray], metadata: Texts) -> bytes:
    from safetensors.numpy import save

    return save(dict(arrays), {**metadata, HASH: _hash(arrays)})


def _metadata(data: bytes) -> dict[str, str]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode(errors="surrogatepass"))
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _read_safetensors(path: str | PathLike[str], data: bytes) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    entries = deserialize(data)
    metadata = _metadata(data)
    if checkpoint.KEY in metadata:
        return _of_checkpoint(path)
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in SAFETENSORS:
            values = np.frombuffer(entry["data"], SAFETENSORS[entry["dtype"]])
        else:
            raise CheckpointError(f"holds {name} as {entry['dtype']}, wanted a dtype that NumPy has, or BF16")
        arrays[name] = values.reshape(entry["shape"])
    if HASH in metadata and metadata[HASH] != _hash(arrays):
        raise CheckpointError("is damaged: the hash of its arrays differs")
    return arrays


def _of_checkpoint(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The weights of the model in a trainer's checkpoint."""
    model = checkpoint.read(Path(path)).get("model")
    if not isinstance(model, dict) or not all(isinstance(value, np.ndarray) for value in model.values()):
        raise CheckpointError("is a trainer's checkpoint without the weights of a model")
    return model
