"""Threads: built-in layers with one thread and with several, and whether results are the same bits.

"default" is the time with as many threads as a call takes by itself, of --threads, which is all processors if it is not
given; the others are those with at most so many. Beside the wide shapes runs PyTorch's layer, with --threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr

from . import harness, sides
from .cases import BUILTIN, QUICK, SHAPES, Shape
from .goals import WIDE

COUNTS = (1, 2, 4, 8)


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=9)
    names = list(BUILTIN)
    parser.add_argument("--cells", nargs="+", choices=names, default=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    parser.set_defaults(threads=os.cpu_count() or 1)
    args = harness.parse(parser, argv)
    shapes = [Shape(*args.shape)] if args.shape else QUICK if args.quick else SHAPES
    with harness.threads(args.threads):
        report = harness.Report("layers by threads, float32, shapes TxBxIxH", args, width=28)
        for name in args.cells:
            for shape in shapes:
                compare(report, name, shape, args)
        report.finish()
    return 0


def compare(report: harness.Report, name: str, shape: Shape, args) -> None:
    layer = sides.our_layer(name, shape)
    x, g = (tr.as_tensor(a) for a in sides.data(shape))
    counts = [n for n in COUNTS if n < args.threads]
    same = len({results(layer, x, g, n) for n in (*counts, args.threads)}) == 1
    for task, function in {"train": lambda: train(layer, x, g), "infer": lambda: infer(layer, x)}.items():
        functions = {"default": with_threads(function, args.threads)}
        functions |= {str(n): with_threads(function, n) for n in counts}
        other = _torch(name, shape, task) if shape.H >= WIDE else None
        if other is not None:
            functions["torch"] = other
        note = "same bits" if same else "OTHER BITS"
        timings = harness.measure(functions, args.repeats, limit=5.0)
        extra = {"cell": name, "task": task, "shape": list(shape), "same_bits": same}
        report.add(f"{name} {task} {shape}", timings, note, **extra)


def train(layer, x, g) -> None:
    """Forward and backward."""
    y, _ = layer(x)
    y.backward(g)
    for p in layer.parameters():
        p.grad = None


def infer(layer, x) -> None:
    """Forward alone."""
    with tr.no_grad():
        layer(x)


def with_threads(function: Callable[[], None], n: int) -> Callable[[], None]:
    """The function with at most `n` threads."""

    def call() -> None:
        before = tr.get_num_threads()
        tr.set_num_threads(n)
        try:
            function()
        finally:
            tr.set_num_threads(before)

    return call


def results(layer, x, g, n: int) -> tuple[bytes, ...]:
    """Outputs and gradients with at most `n` threads, as bytes."""
    found: list[np.ndarray] = []

    def run() -> None:
        y, _ = layer(x)
        y.backward(g)
        found.extend([y.numpy(), *[p.grad.numpy() for p in layer.parameters()]])
        for p in layer.parameters():
            p.grad = None

    with_threads(run, n)()
    return tuple(a.tobytes() for a in found)


def _torch(name: str, shape: Shape, task: str) -> Callable[[], None] | None:
    torch = harness.torch()
    if torch is None:
        return None
    layer = sides.torch_layer(torch, name, shape)
    x, g = map(torch.from_numpy, sides.data(shape))

    def train() -> None:
        y, _ = layer(x)
        y.backward(g)
        layer.zero_grad()

    def infer() -> None:
        with torch.inference_mode():
            layer(x)

    return train if task == "train" else infer
