"""NumPy's archives (npz) and the files of PyTorch: both are zip files, one of arrays, one of a pickle."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..data._files import require_memory
from ..errors import CheckpointError

STATE_DICTS = ("state_dict", "model_state_dict", "model")  # where checkpoints of PyTorch users keep them


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An archive as ``np.savez`` writes it, of any names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def torch_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes that ``torch.save`` makes of these arrays as tensors."""
    torch, buffer = _torch("written"), io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()


def read_zip(path: str | PathLike[str], data: bytes) -> dict[str, np.ndarray]:
    """Names and arrays of an npz file, or of one of PyTorch's."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        require_memory(path, sum(entry.file_size for entry in entries))
        names = [entry.filename for entry in entries]
        if any(name.rpartition("/")[2] == "data.pkl" for name in names):
            return read_torch(data)
        if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
            raise CheckpointError("is a model of Keras; wanted safetensors, npz or PyTorch's, or tr.io.from_keras")
        arrays = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename:
                raise CheckpointError(f"is a zip file that holds {name}; wanted an archive of .npy files, or PyTorch's")
            arrays[name] = _npy(name, archive.read(entry))  # which compares the checksum
    return arrays


def _npy(name: str, data: bytes) -> np.ndarray:
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise CheckpointError(f"holds {name}, which is no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise CheckpointError(f"holds {name} as {array.dtype}, wanted numbers")
    return array


def read_torch(data: bytes) -> dict[str, np.ndarray]:
    """Names and arrays of a state dict that ``torch.save`` wrote; no code in it is run."""
    torch = _torch("read")
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes make of it
        raise CheckpointError(
            "is damaged, or holds more than tensors; wanted what torch.save(model.state_dict(), path) writes"
        ) from error
    return arrays_of(loaded)


def arrays_of(loaded: Any) -> dict[str, np.ndarray]:
    """Names and arrays of a state dict, of PyTorch's tensors or of arrays; or of one in a checkpoint."""
    arrays = {}
    for name, value in _state_dict(loaded).items():
        if not isinstance(name, str) or not (
            _is_tensor(value) or isinstance(value, np.ndarray | np.generic | int | float)
        ):
            raise CheckpointError(f"holds {name!r} as {type(value).__name__}, wanted names and tensors")
        arrays[name] = _array(name, value)
    return arrays


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # without which there are no tensors of it
    return torch is not None and isinstance(value, torch.Tensor)


def _state_dict(loaded: Any) -> Mapping[Any, Any]:
    """The state dict in what was loaded, which may be a checkpoint around it."""
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"holds a {type(loaded).__name__}, wanted a state dict: names and tensors")
    if any(_is_tensor(value) or isinstance(value, np.ndarray) for value in loaded.values()):
        return loaded
    inside = next((loaded[key] for key in STATE_DICTS if isinstance(loaded.get(key), Mapping)), None)
    if inside is None and loaded:
        keys = ", ".join(map(str, [*loaded][:10]))
        raise CheckpointError(f"holds {keys}; wanted a state dict, or one under {', '.join(STATE_DICTS)}")
    return loaded if inside is None else inside


def _array(name: str, value: Any) -> np.ndarray:
    if not _is_tensor(value):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise CheckpointError(f"holds {name} as {array.dtype}, wanted numbers")
        return array
    torch = sys.modules["torch"]
    if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.device.type == "meta":
        raise CheckpointError(f"holds {name} as {value.dtype}, {value.layout}, wanted a dense tensor of real numbers")
    value = value.detach().cpu()
    small = value.is_floating_point() and value.dtype.itemsize < 4 and value.dtype is not torch.float16
    return (value.float() if small else value).numpy().copy()


def _torch(verb: str) -> Any:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"is of PyTorch's format, which is {verb} by PyTorch: pip install torch, or use .safetensors or .npz"
        ) from None
    return torch
