"""Checkpoints as one safetensors file: arrays, the rest as JSON metadata, and hashes of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import checked
from ..errors import CheckpointError
from .files import beside, probe, write_whole

KEY = "tinygrad_rnn.trainer"
HASH = "tinygrad_rnn.sha256"  # of the text under KEY, which holds those of the arrays
KINDS = ("array", "tuple", "dict")


def pack(tree: Any, arrays: dict[str, np.ndarray], path: str = "") -> Any:
    """`tree` as JSON values; its arrays go into `arrays`, under their paths.

    Arrays, tuples and dicts become objects with the one key "array", "tuple" or "dict".
    """
    if isinstance(tree, np.ndarray):
        if tree.dtype.kind not in "biuf" or tree.dtype.itemsize > 8:
            raise TypeError(f"{path}: got an array of {tree.dtype}, wanted numbers of at most 64 bits")
        name = path
        while name in arrays:
            name += "'"
        arrays[name] = np.ascontiguousarray(tree, tree.dtype.newbyteorder("=")).reshape(tree.shape)
        return {"array": name}
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str | int | float | None):
                raise TypeError(f"{path}: got a {type(key).__name__} as a key, wanted a string or a number")
        return {"dict": [[k, pack(v, arrays, f"{path}/{k}" if path else str(k))] for k, v in tree.items()]}
    if isinstance(tree, tuple | list):
        items = [pack(v, arrays, f"{path}/{i}") for i, v in enumerate(tree)]
        return {"tuple": items} if isinstance(tree, tuple) else items
    if isinstance(tree, np.generic):
        return tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"{path}: got {type(tree).__name__}, wanted arrays, numbers, strings, lists, tuples or dicts")


def unpack(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of :func:`pack`."""
    if isinstance(tree, list):
        return [unpack(v, arrays) for v in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind not in KINDS:
        raise ValueError(f"got {kind!r}, wanted one of {', '.join(KINDS)}")
    if kind == "array":
        return arrays[value]
    if kind == "tuple":
        return tuple(unpack(v, arrays) for v in value)
    return {k: unpack(v, arrays) for k, v in value}


def write(path: str | Path, state: dict[str, Any], keep: int = 0) -> None:
    """Write a nested state atomically; see :func:`files.write_whole`."""
    write_whole(path, _content(state), keep)


def try_write(path: str | Path, state: dict[str, Any]) -> None:
    """Raise the error that :func:`write` would raise, without leaving a file."""
    probe(path, _content(state))


def _content(state: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    tree = pack(state, arrays)
    text = json.dumps({"state": tree, "sha256": {name: _hash(array) for name, array in arrays.items()}})
    return save(arrays, {KEY: text, HASH: hashlib.sha256(text.encode()).hexdigest()})


def _hash(array: np.ndarray) -> str:
    """The SHA-256 of an array's values, dtype and shape."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def read(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write` wrote.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    CheckpointError
        If the file holds something else, or not all of what was written.
    """
    path = Path(checked(path))
    if not path.is_file():
        if path.exists():
            raise CheckpointError(f"path: got {path}, which is a folder or device, wanted a trainer's checkpoint")
        raise FileNotFoundError(f"path: got {path}, which is no file, wanted a trainer's checkpoint")
    try:
        return _read(path)
    except Exception as e:  # a damaged file may raise anything
        text = str(e) if isinstance(e, CheckpointError) else f"cannot be read as a trainer's checkpoint: {e!r}"
        kept = f"; the one before it is {beside(path, 1)}" if beside(path, 1).is_file() else ""
        raise CheckpointError(f"path: got {path}, which {text}{kept}") from e


def _read(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if KEY not in metadata:
        raise CheckpointError("is a safetensors file without a trainer's state")
    text = metadata[KEY]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get(HASH):
        raise CheckpointError("is damaged, or of another version: the hash of its metadata differs")
    whole = json.loads(text)
    hashes = whole["sha256"]
    if set(hashes) != set(arrays):
        differ = sorted(set(hashes) ^ set(arrays))
        raise CheckpointError(f"is damaged: the arrays {', '.join(differ)} are missing, or too many")
    for name, array in arrays.items():
        if _hash(array) != hashes[name]:
            raise CheckpointError(f"is damaged: the hash of {name} differs")
    state = unpack(whole["state"], arrays)
    if not isinstance(state, dict):
        raise CheckpointError(f"holds a {type(state).__name__}, wanted the state of a trainer")
    return state
