"""Models and weights from elsewhere and for elsewhere; nothing in a file is run.

Files, in reading order: `torch_weights` (from PyTorch, and for it), `torch_modules` (modules of PyTorch made anew),
`name_map` (names there and here), `attribute_names` (what files name as they like); `keras`, `onnx` (models of these).
`save` and `load` are those of models everywhere; the others read and write names and arrays.
"""

from ..nn import load, save
from ..storage.weights import read_metadata, read_weights, write_weights
from .keras import from_keras
from .onnx import from_onnx
from .torch_weights import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "read_metadata",
    "read_weights",
    "save",
    "to_torch",
    "write_weights",
]
