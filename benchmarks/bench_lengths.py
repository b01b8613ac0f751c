"""Sequences of different lengths: how long they take, compared with the padded batch without lengths.

Ratios are to the same layer over the whole padded batch. "full": all lengths are T; "nearly": from 0.9 T to T;
"random": from 1 to T, which is half of the steps; "short": from 1 to T / 4; "resets": whole rows, cut in ten. Beside
them stand PyTorch's packed sequences of random lengths, packing and unpacking included. Training is forward and
backward with gradients of weights and inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tr

from . import harness, sides
from .cases import BUILTIN, CELLS, SHAPES, Shape

BATCHES = tuple(s for s in SHAPES if s.B > 1)
TASKS = ("train", "infer")


def steps_of(shape: Shape) -> dict[str, dict[str, Any]]:
    """The arguments that say which steps count."""
    rng = np.random.default_rng(3)
    T, B = shape.T, shape.B
    return {
        "all": {},
        "full": {"lengths": np.full(B, T)},
        "nearly": {"lengths": rng.integers(int(0.9 * T), T + 1, B)},
        "random": {"lengths": rng.integers(1, T + 1, B)},
        "short": {"lengths": rng.integers(1, max(2, T // 4), B)},
        "resets": {"resets": rng.random((T, B)) < 9 / T},
    }


def our_run(name: str, shape: Shape, task: str, steps: dict[str, Any]) -> Callable[[], Any]:
    layer = sides.our_layer(name, shape)
    x, g = (tr.as_tensor(a) for a in sides.data(shape))
    leaf = tr.tensor(x.numpy(), requires_grad=True)
    weights = [*layer.parameters(), leaf]

    def train():
        for w in weights:
            w.grad = None
        y, _ = layer(leaf, **steps)
        y.backward(g)
        return [y.numpy(), *(w.grad.numpy() for w in weights)]

    def infer():
        with tr.no_grad():
            return [layer(x, **steps)[0].numpy()]

    return train if task == "train" else infer


def torch_run(torch, name: str, shape: Shape, task: str, lengths: np.ndarray) -> Callable[[], Any]:
    layer = sides.torch_layer(torch, name, shape)
    x, g = (torch.from_numpy(a) for a in sides.data(shape))
    leaf = x.clone().requires_grad_()
    weights = [*layer.parameters(), leaf]
    rnn = torch.nn.utils.rnn

    def forward(x):
        packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0], total_length=shape.T)[0]

    def train():
        for w in weights:
            w.grad = None
        y = forward(leaf)
        y.backward(g)
        return [y.detach().numpy(), *(w.grad.numpy() for w in weights)]

    def infer():
        with torch.inference_mode():
            return [forward(x).numpy()]

    return train if task == "train" else infer


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    names = [*BUILTIN, *CELLS]
    parser.add_argument("--cells", nargs="+", choices=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    args = harness.parse(parser, argv)
    shapes = [Shape(*args.shape)] if args.shape else BATCHES[:2] if args.quick else BATCHES
    torch = harness.torch()
    with harness.threads(args.threads):
        report = harness.Report("lengths and resets, float32, shapes TxBxIxH", args, width=26)
        for name in args.cells or (["lstm"] if args.quick else ["lstm", "gru", "peephole"]):
            for shape in shapes:
                for task in args.tasks:
                    compare(report, name, shape, task, args, torch)
        report.finish()
    return 0


def compare(report: harness.Report, name: str, shape: Shape, task: str, args, torch) -> None:
    steps = steps_of(shape)
    runs = {what: our_run(name, shape, task, which) for what, which in steps.items()}
    if torch is not None and name in BUILTIN:
        runs["torch random"] = torch_run(torch, name, shape, task, steps["random"]["lengths"])
        mine, theirs = runs["random"](), runs["torch random"]()
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3 * float(abs(b).max()))
    count = {what: int(np.sum(which.get("lengths", shape.T * shape.B))) for what, which in steps.items()}
    timings = harness.measure(runs, args.repeats, pause=0.02, limit=30)
    report.add(f"{name} {task} {shape}", timings, steps=count)
