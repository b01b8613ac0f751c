"""What a file of Keras 3 holds: its configuration, if there is one, and a tree of groups of arrays."""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...data._files import memory
from ...errors import CheckpointError

HDF5 = b"\x89HDF\r\n\x1a\n"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
DEEPEST = 64  # groups inside of each other


@dataclass
class Group:
    """A group of an HDF5 file: arrays and groups by name; `title` is the name of the layer, if it is kept."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    title: str = ""


def read(data: bytes) -> tuple[Any, Group]:
    """Configuration (None of a file of weights alone) and weights."""
    if data[:8] == HDF5:
        return None, _weights(data)
    if data[:4] != b"PK\x03\x04":
        raise CheckpointError("is no file of Keras 3; wanted .keras or .weights.h5")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if not {WEIGHTS, CONFIG} <= sizes.keys():
            raise CheckpointError(f"is a zip file without {WEIGHTS} and {CONFIG}; wanted a .keras file")
        if sizes[WEIGHTS] + sizes[CONFIG] > memory():
            raise CheckpointError("holds more than the memory does")
        config = json.loads(archive.read(CONFIG))
        if config is None:
            raise CheckpointError(f"has null as its {CONFIG}; wanted the configuration of a model")
        return config, _weights(archive.read(WEIGHTS))


def _weights(data: bytes) -> Group:
    try:
        import h5py
    except ImportError:
        raise CheckpointError(
            'is read by the library h5py, which is not there: pip install "tinygrad_rnn[keras]"'
        ) from None
    with h5py.File(io.BytesIO(data), "r") as file:
        return _group(h5py, file, "", 0)


def _group(h5py: Any, group: Any, path: str, depth: int) -> Group:
    """All below a group. Links to other places, in this file or in others, are not followed."""
    if depth > DEEPEST:
        raise CheckpointError(f"holds more than {DEEPEST} groups inside of each other")
    title = group["vars"].attrs.get("name", "") if "vars" in group and isinstance(group, h5py.Group) else ""
    found = Group(title=title if isinstance(title, str) else "")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise CheckpointError(f"holds {path}{name} as a link, wanted groups and arrays; links are not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            found.groups[name] = _group(h5py, item, f"{path}{name}/", depth + 1)
        else:
            found.arrays[name] = _array(item, f"{path}{name}")
    return found


def _array(item: Any, name: str) -> np.ndarray:
    """An array of numbers that lies in the file itself."""
    if item.external or item.is_virtual or item.compression not in (None, "gzip"):
        raise CheckpointError(f"holds {name} in another file, or packed, wanted plain arrays; nothing else is read")
    dtype, shape = item.dtype, tuple(item.shape or ())
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise CheckpointError(f"holds {name} as {dtype}, wanted numbers")
    if math.prod(shape) * dtype.itemsize > memory():
        raise CheckpointError(f"holds {name} {shape} of {dtype}, which is larger than the memory")
    return np.asarray(item[()])
