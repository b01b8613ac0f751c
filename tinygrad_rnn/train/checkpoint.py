"""Nested states in one safetensors file: arrays as they are, everything else as JSON in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError

KEY = "tinygrad_rnn.trainer"


def pack(tree: Any, arrays: dict[str, np.ndarray], path: str = "") -> Any:
    """`tree` as JSON values; its arrays go into `arrays`, under their paths.

    Arrays, tuples and dicts become objects with the one key "array", "tuple" or "dict".
    """
    if isinstance(tree, np.ndarray):
        name = path
        while name in arrays:
            name += "'"
        arrays[name] = np.ascontiguousarray(tree).reshape(tree.shape)
        return {"array": name}
    if isinstance(tree, dict):
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
    if kind == "array":
        return arrays[value]
    if kind == "tuple":
        return tuple(unpack(v, arrays) for v in value)
    return {k: unpack(v, arrays) for k, v in value}


def write(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state`; a file that is already there is replaced at once."""
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(pack(state, arrays))
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(arrays, part, metadata={KEY: text})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write` wrote.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: got {path}, which is no file, wanted a trainer's checkpoint")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if text is None:
            raise CheckpointError(f"path: got {path}, a safetensors file without a trainer's state")
        return unpack(json.loads(text), arrays)
    except (SafetensorError, KeyError, ValueError) as e:
        if isinstance(e, CheckpointError):
            raise
        raise CheckpointError(f"path: got {path}, which cannot be read as a trainer's checkpoint: {e}") from e
