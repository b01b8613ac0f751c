"""RNN, LSTM and GRU, training and inference, beside PyTorch's fused layers, JAX's ``lax.scan`` and onnxruntime.

onnxruntime has inference only. Training is forward and backward with gradients of all weights, not of the inputs. FLOPs
are those of the products of matrices. "of sgemm" is their rate as a share of that of a large product in NumPy, which
takes turns with the layers. "floor" is what the products take at that rate, and the same layer without them, which is
its gates and the call itself: its share of our time says how close a row is to what the machine allows.
"""

from __future__ import annotations

from pathlib import Path

from . import harness, onnx_side, plot, sides
from .cases import BUILTIN, QUICK, SHAPES, STEPS, Shape
from .operations import work

LIMIT = 2.5  # seconds for a row, after which three samples are enough


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    names = list(BUILTIN)
    parser.add_argument("--cells", nargs="+", choices=names, default=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--tasks", nargs="+", choices=sides.TASKS, default=sides.TASKS, metavar="TASK")
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    add_options(parser, more=("onnx",))
    args = harness.parse(parser, argv)
    shapes = [Shape(*args.shape)] if args.shape else QUICK if args.quick else SHAPES
    jax, torch = load(args)
    onnx = onnx_side.load() if "onnx" in args.against else None
    say_missing(args, onnx=onnx)
    with harness.threads(args.threads):
        report = harness.Report("built-in layers, float32, shapes TxBxIxH", args, width=28)
        for name in args.cells:
            for shape in shapes:
                compare(report, name, shape, args, torch, jax, onnx)
        report.finish()
    if args.plot:
        plot.speedups(report.rows, args.plot)
    return 0


def add_options(parser, more: tuple[str, ...] = ()) -> None:
    """What this benchmark shares with that of custom cells."""
    add_against(parser, more)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the speed-ups to this file")


def add_against(parser, more: tuple[str, ...] = ()) -> None:
    """The libraries to compare with: PyTorch, JAX, and `more`."""
    known = ("torch", "jax", *more)
    parser.add_argument("--against", nargs="*", choices=known, default=known, help="default: what is installed")


def load(args):
    """JAX and PyTorch, or None for what is not there or not wanted; says which of them is not there."""
    jax = sides.load_jax(args.threads) if "jax" in args.against else None
    torch = harness.torch() if "torch" in args.against else None
    say_missing(args, torch=torch, jax=jax)
    return jax, torch


def say_missing(args, **libraries) -> None:
    """Name the libraries that are wanted and not there."""
    for name, library in libraries.items():
        if name in args.against and library is None:
            print(f"{name} is not installed, and left out")


def compare(report: harness.Report, name: str, shape: Shape, args, torch, jax, onnx) -> None:
    """One row for each task."""
    candidates = sides.candidates(name, shape, torch, jax)
    if onnx:
        candidates["onnx"] = onnx_side.onnx_side(onnx, name, shape, args.threads)
    gates = sides.gates(name, shape)
    for task in args.tasks:
        sides.agree(candidates, task)
        flops = work(STEPS[name], shape, task == "train").products
        timings = measure(sides.tasks_of({**candidates, "gates": gates}, task), args)
        rate = 2 * sides.SGEMM**3 / timings.pop("sgemm").median
        floor = flops / rate + timings.pop("gates").median
        gflops = {side: flops / t.median / 1e9 for side, t in timings.items()}
        share, of_floor = gflops["ours"] * 1e9 / rate, floor / timings["ours"].median
        note = f"{share:4.0%} of sgemm, floor {of_floor:4.0%}"
        extra = {"cell": name, "task": task, "shape": list(shape), "gflops": gflops, "sgemm": rate / 1e9}
        report.add(f"{name} {task} {shape}", timings, note, share=share, floor=floor, **extra)


def measure(functions, args) -> dict[str, harness.Timing]:
    """Time the functions, and a large product with them."""
    pause = 0.03 if args.threads > 1 else 0.0
    return harness.measure({**functions, "sgemm": sides.sgemm()}, args.repeats, pause, LIMIT)
