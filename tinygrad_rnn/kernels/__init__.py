"""Jitted kernels. Nothing in here knows of tensors, and nothing outside of it of registers.

- `host`, `vector`, `operators`, `lanes`: a SIMD type for Numba, as wide as the machine's registers.
- `mathfn`: exp, tanh, sigmoid and the like on vectors, within 4 units in the last place.
- `tile`, `gemm`, `thin`: matrix products; packed ones, and those of a few rows.
- `matmul_tanh`: a step of a tanh RNN and its gradients.
- `ctc`: sums over the alignments of labels with time steps.
- `translate`, `loops`: how generated loops are compiled, and how they are called.
- `jobs`, `ragged`: what is done before and after them.
- `watch`: a loop that is run only while arrays are what they were.
- `optimizers`: updates of flat buffers.
- `symbols`, `linked`: C functions that others call without being compiled together with them; the matrix tile as one.
- `fingerprint`: what the cache files of compiled code are named by; `code_cache`: how they are used.
- `disk_cache`: the folder of these files; `uninterrupted`: work that signals and forks do not cut in two.
- `reference`: a plain NumPy twin of every kernel.

Import the modules from this package: it loads Numba with the first kernel only, and so that Ctrl-C does not leave half
of it behind.
"""

import importlib
from typing import Any

from .uninterrupted import uninterrupted


def __getattr__(name: str) -> Any:
    """A module that is not loaded yet."""
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return uninterrupted(importlib.import_module, f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(name) from None
