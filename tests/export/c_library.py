"""Compiles headers that were exported to C, many at once, and calls them through ctypes."""

import ctypes
import shutil
import subprocess
import uuid
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.core import tree

COMPILER = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
CLANG = shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror")


def compiled(folder: Path, files: list, *options: str) -> ctypes.CDLL:
    """A library of headers, with all their functions."""
    source = folder / "all.c"
    lines = [f'#define {file.name.upper()}_API\n#include "{file.path.name}"' for file in files]
    source.write_text("\n".join(lines) + "\n")
    library = folder / f"{uuid.uuid4().hex}.so"  # a path is loaded once
    command = [COMPILER, *WARNINGS, *(options or ("-O1",)), "-shared", "-fPIC", source, "-o", library, "-lm"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(library))


def require_no_complaints(source: Path, *options: str) -> None:
    """Compile a program with the sanitizers for addresses and undefined behaviour, and run it."""
    program = source.with_suffix("")
    sanitizers = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = [COMPILER, *WARNINGS, *sanitizers, *options, source, "-o", program, "-lm"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip("the sanitizers' libraries are not installed")
    assert done.returncode == 0, done.stderr[:3000]
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]


def run(library: ctypes.CDLL, name: str, xs, shapes: list, states: list, dtype, whole=()) -> tuple[list, list]:
    """Outputs (T, ...) of these shapes and final states, from sequences (T, 1, ...) and a state.

    Integers and truth values are given as ``int32_t``; `whole` has the numbers of the outputs that are.
    """
    time = xs[0].shape[0]
    state = np.concatenate([np.ravel(s) for s in states] or [np.zeros(1)]).astype(dtype)
    ins = [np.ascontiguousarray(x, dtype if x.dtype.kind == "f" else "int32") for x in xs]
    outs = [
        np.full((time, 1, *shape), *((-77, "int32") if i in whole else (np.nan, dtype)))
        for i, shape in enumerate(shapes)
    ]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (state, *ins, *outs)]
    getattr(library, f"{name}_run")(*pointers, ctypes.c_long(time))
    finals, start = [], 0
    for s in states:
        finals.append(state[start : start + s.size].reshape(s.shape))
        start += s.size
    return outs, finals


def initial(library: ctypes.CDLL, name: str, states: list, dtype) -> list:
    """The state that ``NAME_init`` sets."""
    state = np.full(max(1, sum(s.size for s in states)), np.nan, dtype)
    getattr(library, f"{name}_init")(ctypes.c_void_p(state.ctypes.data))
    cuts = np.cumsum([s.size for s in states])[:-1]
    return [part.reshape(s.shape) for part, s in zip(np.split(state, cuts), states)] if states else []


def arrays(nest) -> list:
    """The leaves of a nest as arrays."""
    return [leaf.data if hasattr(leaf, "data") and not isinstance(leaf, np.ndarray) else np.asarray(leaf)
            for leaf in tree.flatten(nest)[0]]  # fmt: skip
