"""Cells that PyTorch and JAX do not ship, compiled, beside PyTorch's eager loop, torch.compile and JAX's ``lax.scan``.

Every side runs the same maths, from one function; on ours it is the built-in cell, where there is one. Training is
forward and backward with gradients of all weights, not of the inputs. "per FLOP" is the time for a floating-point
operation as a multiple of that of our built-in LSTM of the same shape, which takes turns with the cells; operations are
those of products and elementwise ones, where tanh and sigmoid count as 20.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time

from . import harness, plot, sides
from .bench_recurrent import add_options, load, measure
from .cases import CELLS, QUICK, STEPS, Shape
from .operations import work

SHAPES = (Shape(25, 32, 1, 32), Shape(50, 32, 64, 128), Shape(100, 64, 128, 256), Shape(1000, 1, 16, 32))
SHORT = Shape(10, 32, 64, 128)  # torch.compile unrolls the loop over time
SAME = 100  # steps after which results are compared: rounding errors may grow without bound over more
SHORT_CELLS = ("peephole", "mgu")


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    names = list(CELLS)
    parser.add_argument("--cells", nargs="+", choices=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--tasks", nargs="+", choices=sides.TASKS, default=sides.TASKS, metavar="TASK")
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    parser.add_argument(
        "--torch-compile", nargs="*", choices=names, metavar="CELL",
        help=f"compile these with torch.compile, at {SHORT}; default: {' '.join(SHORT_CELLS)}, with --quick none",
    )  # fmt: skip
    add_options(parser)
    args = harness.parse(parser, argv)
    if args.cells is None:
        args.cells = names[:2] if args.quick else names
    if args.torch_compile is None:
        args.torch_compile = [] if args.quick else list(SHORT_CELLS)
    shapes = [Shape(*args.shape)] if args.shape else QUICK[:1] if args.quick else SHAPES
    jax, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report("custom cells, float32, shapes TxBxIxH", args, width=32)
        for name in args.cells:
            for shape in shapes:
                compare(report, name, shape, args, torch, jax)
        for name in args.torch_compile:
            compare_compiled(report, name, args, torch)
        report.finish()
    if args.plot:
        plot.speedups([row for row in report.rows if row["shape"] != list(SHORT)], args.plot)
    return 0


def compare(report: harness.Report, name: str, shape: Shape, args, torch, jax) -> None:
    """One row for each task."""
    candidates = sides.candidates(name, shape, torch, jax)
    compared = candidates if shape.T <= SAME else sides.candidates(name, shape._replace(T=SAME), torch, jax)
    lstm = sides.ours("lstm", shape)
    for task in args.tasks:
        sides.agree(compared, task)
        train = task == "train"
        flops, reference = work(CELLS[name], shape, train), work(STEPS["lstm"], shape, train)
        functions = {k: getattr(v, task) for k, v in candidates.items()} | {"lstm": getattr(lstm, task)}
        timings = measure(functions, args)
        rate = 2 * sides.SGEMM**3 / timings.pop("sgemm").median
        per_flop = harness.ratio(timings["ours"], timings.pop("lstm")) * reference.total / flops.total
        share = flops.products / timings["ours"].median / rate
        extra = {"cell": name, "task": task, "shape": list(shape), "sgemm": rate / 1e9, "share": share}
        note = f"per FLOP {per_flop:.2f}, {share:4.0%} of sgemm"
        report.add(f"{name} {task} {shape}", timings, note, per_flop=per_flop, **extra)


def compare_compiled(report: harness.Report, name: str, args, torch) -> None:
    """One row for training with torch.compile, whose time to compile is noted; nothing where it cannot run."""
    reason = "PyTorch is not there" if not torch else _cannot_compile()
    if reason:
        print(f"{name} train {SHORT}: torch.compile skipped: {reason}")
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        compiled = sides.torch_side(torch, name, SHORT, lambda layer: torch.compile(layer, fullgraph=True))
        start = time.perf_counter()
        try:
            compiled.train()
        except Exception as error:
            print(f"{name} train {SHORT}: torch.compile failed: {str(error).splitlines()[0]}")
            return
        seconds = time.perf_counter() - start
        candidates = {
            "ours": sides.ours(name, SHORT),
            "torch": sides.torch_side(torch, name, SHORT),
            "torch.compile": compiled,
        }
        sides.agree(candidates, "train")
        functions = {k: v.train for k, v in candidates.items()}
        timings = measure(functions, args)
        timings.pop("sgemm")
        note = f"torch.compile took {harness.duration(seconds)} to compile"
        row = {"cell": name, "task": "train", "shape": list(SHORT), "torch_compile_seconds": seconds}
        report.add(f"{name} train {SHORT}", timings, note, **row)


def _cannot_compile() -> str:
    """Why torch.compile cannot run here; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "tried on Linux only"
    return "" if any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))) else "no C++ compiler"
