"""The jitted step ``tanh(x @ W_x + h @ W_h + b)`` beside NumPy, the unfused operations and PyTorch.

Weights are transposed views, as a layer holds them. "kernel" and "numpy" are the bare functions; "op" and
"unfused" go over the tape; PyTorch runs its own fused cell, over its tape where gradients are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.kernels.fused.matmul_tanh import matmul_tanh, matmul_tanh_vjp
from tinygrad_rnn.kernels.reference import matmul_tanh as reference

from . import harness

SHAPES = [
    (1, 1, 4), (1, 8, 16), (1, 16, 32), (1, 64, 128), (4, 16, 32), (4, 64, 128), (32, 1, 4), (32, 1, 32), (32, 16, 32),
    (128, 28, 30), (32, 64, 128), (64, 128, 256), (20, 650, 650),
]  # fmt: skip
QUICK = [(1, 16, 32), (32, 64, 128)]


class Step(NamedTuple):
    """The arrays of one step: a batch of inputs, weights as layers hold them, and a cotangent."""

    x: np.ndarray  # (B, I)
    weight_ih: np.ndarray  # (H, I)
    h: np.ndarray  # (B, H)
    weight_hh: np.ndarray  # (H, H)
    bias: np.ndarray  # (H,)
    g: np.ndarray  # (B, H)


def step(shape: tuple[int, int, int], dtype: str) -> Step:
    rng = np.random.default_rng(0)
    B, I, H = shape
    sizes = (B, I), (H, I), (B, H), (H, H), (H,), (B, H)
    return Step(*(rng.uniform(-1, 1, size).astype(dtype) / np.sqrt(H).astype(dtype) for size in sizes))


Function = Callable[[], object]


def kernel(s: Step, backward: bool) -> Function:
    inputs = s.x, s.weight_ih.T, s.h, s.weight_hh.T
    if backward:
        return lambda: matmul_tanh_vjp(s.g, matmul_tanh(*inputs, s.bias), *inputs)
    return lambda: matmul_tanh(*inputs, s.bias)


def numpy(s: Step, backward: bool) -> Function:
    inputs = s.x, s.weight_ih.T, s.h, s.weight_hh.T
    if backward:
        return lambda: reference.matmul_tanh_vjp(s.g, reference.matmul_tanh(*inputs, s.bias), *inputs)
    return lambda: reference.matmul_tanh(*inputs, s.bias)


def on_tape(s: Step, backward: bool, forward: Callable) -> Function:
    inputs = [tr.tensor(a, requires_grad=backward) for a in s[:5]]
    if backward:
        g = tr.tensor(s.g)
        return lambda: tr.grad(forward(*inputs), inputs, g)
    return lambda: forward(*inputs)


def op(s: Step, backward: bool) -> Function:
    return on_tape(s, backward, lambda x, w, h, u, b: tr.matmul_tanh(x, w, h, u, b, transposed=True))


def unfused(s: Step, backward: bool) -> Function:
    return on_tape(s, backward, lambda x, w, h, u, b: tr.tanh(x @ w.T + h @ u.T + b))


def pytorch(s: Step, backward: bool) -> Function | None:
    torch = harness.torch()
    if torch is None:
        return None
    x, w, h, u, b = (torch.tensor(a, requires_grad=backward) for a in s[:5])
    g, zero = torch.from_numpy(s.g), torch.zeros_like(b)
    if backward:
        return lambda: torch.autograd.grad(torch.rnn_tanh_cell(x, h, w, u, b, zero), (x, w, h, u, b), g)
    return lambda: torch.rnn_tanh_cell(x, h, w, u, b, zero)


# A row's columns; the first is what the others are compared with. A function that returns None is left out.
CONTENDERS: dict[str, Callable[[Step, bool], Function | None]] = {
    "kernel": kernel,
    "numpy": numpy,
    "op": op,
    "unfused": unfused,
    "torch": pytorch,
}


def run(args) -> Iterator[dict]:
    """Measure every shape, forward and forward with backward; yields rows."""
    report = harness.Report(f"one step, {args.dtype}; shapes are B, I, H", args, width=24)
    for shape in QUICK if args.quick else SHAPES:
        for backward in (False, True):
            arrays = step(shape, args.dtype)
            made = {name: make(arrays, backward) for name, make in CONTENDERS.items()}
            timings = harness.measure({name: f for name, f in made.items() if f}, args.repeats)
            flops = 2 * shape[0] * (shape[1] + shape[2]) * shape[2] * (3 if backward else 1)
            rate = f"{flops / timings['kernel'].median / 1e9:.0f} GFLOP/s"
            label = f"{shape} {'fwd+bwd' if backward else 'fwd'}"
            yield report.add(label, timings, note=rate, shape=shape, backward=backward, flops=flops)
    report.finish()


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=30)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    args = harness.parse(parser, argv)
    with harness.threads(args.threads):
        for _ in run(args):
            pass
    return 0
