"""Hash over all that decides the machine code of kernels, and the decorator that compiles them.

A compiled function holds the code of those that it calls, from other files too. So every kernel carries the fingerprint
in its qualified name, which decides the name of its file on the disk: whatever changes in `kernels`, in Numba or in
the CPU, an old file is simply not found.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import llvmlite
import numba

from .code_cache import jitted
from .target import TARGET, config


@functools.cache
def fingerprint() -> str:
    """Hash the sources of all kernels, the versions, the target CPU and the bounds-check flag.

    Returns
    -------
    str
        12 hexadecimal digits. Use them in the name of every generated file that calls the kernels.

    Examples
    --------
    >>> len(fingerprint())
    12
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr((numba.__version__, llvmlite.__version__, TARGET, bool(config.BOUNDSCHECK))).encode())
    return digest.hexdigest()[:12]


def kernel(function: Any) -> Any:
    """Compile with Numba: no GIL, NumPy's error model, cached on disk under the fingerprint."""
    function.__qualname__ += "_" + fingerprint()
    return jitted(function)
