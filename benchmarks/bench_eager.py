"""The tape beside PyTorch's eager mode, on an unrolled GRU; and what importing the package costs.

Both run the same Python loop over the same operations, forward and backward.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

import numpy as np

import tinygrad_rnn as tr

from . import harness

LAZY = ("numba", "tqdm", "safetensors", "threadpoolctl", "hypothesis", "torch", "matplotlib")


def gru(lib, split, xs, h, w_ih, w_hh, b_ih, b_hh):
    """The unrolled loop; `lib` is either package, and `split` cuts a matrix into three along its columns."""
    for x in xs:
        i_r, i_z, i_n = split(x @ w_ih + b_ih)
        h_r, h_z, h_n = split(h @ w_hh + b_hh)
        r = lib.sigmoid(i_r + h_r)
        z = lib.sigmoid(i_z + h_z)
        n = lib.tanh(i_n + r * h_n)
        h = n + z * (h - n)
    return (h * h).sum()


def make_data(T: int, B: int, H: int) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(H)
    shapes = [(H, 3 * H), (H, 3 * H), (3 * H,), (3 * H,)]
    params = [rng.uniform(-scale, scale, s).astype(np.float32) for s in shapes]
    xs = list(rng.standard_normal((T, B, H)).astype(np.float32))
    return xs, np.zeros((B, H), np.float32), params


def ours(T: int, B: int, H: int):
    """A function that runs forward and backward once and returns the gradients."""
    xs, h, params = make_data(T, B, H)
    inputs, state = [tr.as_tensor(x) for x in xs], tr.as_tensor(h)
    weights = [tr.tensor(p, requires_grad=True) for p in params]

    def run() -> list[np.ndarray]:
        for w in weights:
            w.grad = None
        gru(tr, lambda a: tr.split(a, 3, axis=1), inputs, state, *weights).backward()
        return [w.grad.numpy() for w in weights if w.grad is not None]

    return run


def theirs(torch, T: int, B: int, H: int):
    """The same in PyTorch."""
    xs, h, params = make_data(T, B, H)
    inputs, state = [torch.from_numpy(x) for x in xs], torch.from_numpy(h)
    weights = [torch.from_numpy(p).requires_grad_() for p in params]

    def run() -> list[np.ndarray]:
        for w in weights:
            w.grad = None
        gru(torch, lambda a: a.chunk(3, 1), inputs, state, *weights).backward()
        return [w.grad.numpy() for w in weights]

    return run


def compare_gru(args: argparse.Namespace) -> None:
    """Time both sides, which have to agree."""
    functions = {"ours": ours(*args.shape)}
    torch = harness.torch()
    if torch:
        functions["torch"] = theirs(torch, *args.shape)
        for a, b in zip(*(f() for f in functions.values())):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    report = harness.Report("unrolled GRU, forward and backward, shapes TxBxH", args)
    report.add("x".join(map(str, args.shape)), harness.measure(functions, args.repeats))
    report.finish()


def import_time(repeats: int) -> float:
    """Median milliseconds of ``import tinygrad_rnn`` once NumPy is there; print it and what it pulled in."""
    code = (
        "import time, sys, numpy; start = time.perf_counter(); import tinygrad_rnn; "
        "print((time.perf_counter() - start) * 1e3); "
        f"print(*[m for m in {LAZY} if m in sys.modules])"
    )
    times, eager = [], ""
    for _ in range(repeats):
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        first, eager = out.split("\n", 1)
        times.append(float(first))
    median = statistics.median(times)
    print(f"import tinygrad_rnn over numpy: {median:.1f} ms; heavy modules: {eager.strip() or None}")
    return median


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    parser.add_argument("--shape", type=int, nargs=3, default=[100, 16, 64], metavar=("T", "B", "H"))
    args = harness.parse(parser, argv)
    with harness.threads(args.threads):
        compare_gru(args)
    import_time(args.repeats)
    return 0
