"""Weights and checkpoints as files: names and NumPy arrays, written whole, read without running code.

Files, in reading order: `weights` (safetensors, npz and PyTorch's files, told apart by their content), `archives` (the
last two); `checkpoint` (a nest of arrays and numbers as one file); `files` (written atomically, older ones kept).
"""

from .weights import read_weights, write_weights

__all__ = ["read_weights", "write_weights"]
