"""Exported C: a thousand steps at batch size 1, beside the compiled loop of our own stepper.

"c" is the header that ``tr.export.to_c`` writes, compiled with ``-O3 -march=native``; "kernel" is the loop alone, run
from Python by a Stepper with everything in place. The note is the size of the object file. Both are single-threaded.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import harness

STEPS = 1000
SHAPES = (("LSTM", 1, 8), ("LSTM", 1, 16), ("LSTM", 1, 24), ("LSTM", 1, 40), ("GRU", 1, 32))


def main(argv: list[str] | None = None) -> int:
    args = harness.parse(harness.options(__name__, __doc__, repeats=31), argv)
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None or not hasattr(tr, "export"):
        print("skipped: there is no C compiler")
        return 0
    with harness.threads(1), tempfile.TemporaryDirectory() as folder:
        report = harness.Report("a thousand steps at batch size 1, float32", args, width=16)
        for kind, inputs, hidden in SHAPES[:2] if args.quick else SHAPES:
            layer = getattr(nn, kind)(inputs, hidden)
            in_c, size = _in_c(compiler, Path(folder), layer, f"{kind.lower()}{hidden}")
            functions = {"c": in_c, "kernel": _kernel(layer)}
            measured = harness.measure(functions, args.repeats)
            name = f"{kind} {inputs}x{hidden}"
            report.add(name, measured, f"{size / 1024:.1f} KiB", cell=kind, shape=[inputs, hidden], bytes=size)
        report.finish()
    return 0


def _in_c(compiler: str, folder: Path, layer, name: str) -> tuple[Callable[[], object], int]:
    """The steps in C, and the bytes of the object file."""
    file = tr.export.to_c(layer, folder / f"{name}.h")
    source, made, library = (folder / f"{name}.{end}" for end in ("c", "o", "so"))
    source.write_text(
        f'#include "{file.path.name}"\n'
        f"void go(const float *x, float *y, long n) {{\n"
        f"    {name}_state state;\n    {name}_init(&state);\n"
        f"    for (long i = 0; i < n; i++) {name}_step(&state, x, y + i * {name.upper()}_OUTPUT);\n}}\n"
    )
    subprocess.run([compiler, "-O3", "-march=native", "-fPIC", "-c", source, "-o", made], check=True)
    subprocess.run([compiler, "-shared", made, "-o", library, "-lm"], check=True)
    x, y = np.ones(layer.input_size, np.float32), np.empty((STEPS, layer.hidden_size), np.float32)
    go, pointers = ctypes.CDLL(str(library)).go, [ctypes.c_void_p(a.ctypes.data) for a in (x, y)]
    go(*pointers, ctypes.c_long(STEPS))
    with tr.no_grad():
        wanted, _ = layer(np.repeat(x[None, None], STEPS, axis=0))
    np.testing.assert_allclose(y, wanted.numpy()[:, 0], atol=1e-5)
    return lambda owner=(x, y): go(*pointers, ctypes.c_long(STEPS)), made.stat().st_size


def _kernel(layer) -> Callable[[], object]:
    stepper = layer.stepper(1)
    run = stepper._steppers[0].kernel.run

    def steps(owner=stepper) -> None:
        for _ in range(STEPS):
            run(False)  # parameters are not compared; the stepper keeps the cell alive

    return steps
