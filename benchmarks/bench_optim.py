"""One update of every optimiser, and one clipping of the gradients, beside PyTorch's.

Two sets of parameters in float32: the eight small ones of an LSTM with two layers of four units, where the
cost is Python's, and the four of an LSTM layer with 512 units, where it is memory's. PyTorch runs in its
default form (which picks `foreach` or the plain loop) and, where it has one, in its fused form. All take
turns, on one thread; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import optim

SETS = {
    "small": [(16, 1), (16, 4), (16,), (16,), (16, 4), (16, 4), (16,), (16,)],
    "large": [(2048, 512), (2048, 512), (2048,), (2048,)],
}
CASES: list[tuple[str, dict]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adagrad", {}),
]
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
CLIPS = {"not reached": 1e9, "always": 1e-3}


def arrays(shapes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values and gradients."""
    rng = np.random.default_rng(0)
    return [tuple(rng.standard_normal((2, *s)).astype(np.float32)) for s in shapes]


def ours(shapes) -> list:
    params = []
    for value, gradient in arrays(shapes):
        params.append(tr.tensor(value, requires_grad=True))
        params[-1].grad = tr.tensor(gradient)
    return params


def theirs(shapes) -> list:
    import torch

    torch.set_num_threads(1)
    params = []
    for value, gradient in arrays(shapes):
        params.append(torch.tensor(value, requires_grad=True))
        params[-1].grad = torch.tensor(gradient)
    return params


def steps(name: str, options: dict, shapes) -> dict[str, Callable[[], object]]:
    """The function to time, by column."""
    functions = {"ours": getattr(optim, name)(ours(shapes), **options).step}
    try:
        import torch
    except ImportError:
        return functions
    functions["torch"] = getattr(torch.optim, name)(theirs(shapes), **options).step
    if name in FUSED:
        functions["torch fused"] = getattr(torch.optim, name)(theirs(shapes), fused=True, **options).step
    return functions


def clipping(max_norm: float, shapes) -> dict[str, Callable[[], object]]:
    """Clipping to a norm that is never reached, or always."""
    params = ours(shapes)
    functions: dict[str, Callable[[], object]] = {"ours": lambda: optim.clip_grad_norm_(params, max_norm)}
    try:
        from torch.nn.utils import clip_grad_norm_
    except ImportError:
        return functions
    others = theirs(shapes)
    functions["torch"] = lambda: clip_grad_norm_(others, max_norm)
    return functions


def interleave(functions, repeats: int, calls: int) -> list[float]:
    """Median microseconds of one call of each function, in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for f in functions:
        f()
    for _ in range(repeats):
        for f, t in zip(functions, times):
            start = time.perf_counter()
            for _ in range(calls):
                f()
            t.append((time.perf_counter() - start) / calls * 1e6)
    return [statistics.median(t) for t in times]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks optim", description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--set", choices=[*SETS, "both"], default="both")
    args = parser.parse_args(argv)
    for name, shapes in SETS.items():
        if args.set not in (name, "both"):
            continue
        calls = 100 if name == "small" else 2
        elements = sum(int(np.prod(s)) for s in shapes)
        print(f"{len(shapes)} {name} parameters, {elements} elements, float32, one thread: us per call")
        rows = []
        for n, options in CASES:
            text = ", ".join(f"{k}={v}" for k, v in options.items())
            rows.append((f"{n}({text})", steps(n, options, shapes)))
        rows += [(f"clip_grad_norm_ ({text})", clipping(m, shapes)) for text, m in CLIPS.items()]
        for label, functions in rows:
            medians = dict(zip(functions, interleave(functions.values(), args.repeats, calls)))
            mine = medians.pop("ours")
            rest = "".join(f"   {k} {v:8.1f} ({v / mine:4.1f}x)" for k, v in medians.items())
            print(f"  {label:<38} ours {mine:8.1f}{rest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
