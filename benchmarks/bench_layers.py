"""Recurrent layers, training and inference, beside PyTorch: built-in cells and custom ones.

Built-in cells run against torch.nn's fused layers, custom cells against a loop over time in PyTorch's eager
mode. Training is forward and backward with gradients of weights and inputs. FLOPs are those of the matrix
products (in training three times those of the forward pass); "of sgemm" compares their rate with that of a
large matrix product in NumPy that takes turns with the layers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import cases, harness
from .cases import BUILTIN, CUSTOM, QUICK, SHAPES, Shape

SGEMM = 768  # rows and columns of the matrices that measure the machine
TASKS = ("train", "infer")


def layers(name: str, shape: Shape, mode: str, torch):
    """Our layer, and PyTorch's with the same weights, or None."""
    if name in CUSTOM:
        ours = nn.Recurrent(cases.cell(CUSTOM[name], shape), mode=mode)
        return ours, torch and cases.torch_module(torch, CUSTOM[name], shape)
    ours = getattr(nn, BUILTIN[name])(shape.I, shape.H, mode=mode)
    if not torch:
        return ours, None
    theirs = getattr(torch.nn, BUILTIN[name])(shape.I, shape.H)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})
    return ours, theirs


def data(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and the cotangent of the outputs."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((shape.T, shape.B, shape.I)).astype(np.float32)
    return x, rng.standard_normal((shape.T, shape.B, shape.H)).astype(np.float32)


def ours_runs(layer, shape: Shape) -> dict[str, Callable[[], list[np.ndarray]]]:
    x, g = (tr.as_tensor(a) for a in data(shape))
    leaf = tr.tensor(x.numpy(), requires_grad=True)
    weights = [*layer.parameters(), leaf]

    def train():
        for w in weights:
            w.grad = None
        y, _ = layer(leaf)
        y.backward(g)
        return [y.numpy(), *(w.grad.numpy() for w in weights)]

    def infer():
        with tr.no_grad():
            return [layer(x)[0].numpy()]

    return {"train": train, "infer": infer}


def torch_runs(torch, layer, shape: Shape) -> dict[str, Callable[[], list[np.ndarray]]]:
    x, g = (torch.from_numpy(a) for a in data(shape))
    leaf = x.clone().requires_grad_()
    weights = [*layer.parameters(), leaf]

    def train():
        for w in weights:
            w.grad = None
        y, _ = layer(leaf)
        y.backward(g)
        return [y.detach().numpy(), *(w.grad.numpy() for w in weights)]

    def infer():
        with torch.inference_mode():
            return [layer(x)[0].numpy()]

    return {"train": train, "infer": infer}


def sgemm() -> Callable[[], np.ndarray]:
    a, b = np.random.default_rng(2).standard_normal((2, SGEMM, SGEMM), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def agree(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    """Raise if two sides do not compute the same."""
    for mine, other in zip(a, b, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-2, atol=2e-3 * float(abs(other).max()))


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    known = [*BUILTIN, *CUSTOM]
    parser.add_argument("--cells", nargs="+", choices=known, default=known, metavar="CELL", help=", ".join(known))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    parser.add_argument("--mode", choices=("auto", "compiled", "eager"), default="auto")
    args = harness.parse(parser, argv)
    shapes = [Shape(*args.shape)] if args.shape else QUICK if args.quick else SHAPES
    torch = harness.torch()
    with harness.threads(args.threads):
        report = harness.Report(f"recurrent layers, mode={args.mode}, float32, shapes TxBxIxH", args, width=34)
        for name in args.cells:
            for shape in shapes:
                compare(report, name, shape, args, torch)
        report.finish()
    return 0


def compare(report: harness.Report, name: str, shape: Shape, args, torch) -> None:
    """One row for each task."""
    tr.seed(0)
    ours, theirs = layers(name, shape, args.mode, torch)
    sides = {"ours": ours_runs(ours, shape)}
    if theirs is not None:
        sides["torch"] = torch_runs(torch, theirs, shape)
    for task in args.tasks:
        runs = {side: run[task] for side, run in sides.items()}
        if len(runs) > 1:
            agree(*(run() for run in runs.values()))
        timings = harness.measure({**runs, "sgemm": sgemm()}, args.repeats)
        rate = 2 * SGEMM**3 / timings.pop("sgemm").median
        flops = cases.matrix_flops(ours.parameters(), shape) * (3 if task == "train" else 1)
        gflops = {side: flops / t.median / 1e9 for side, t in timings.items()}
        share = gflops["ours"] * 1e9 / rate
        report.add(f"{name} {task} {shape}", timings, f"{share:4.0%} of sgemm", gflops=gflops, sgemm=rate / 1e9)
