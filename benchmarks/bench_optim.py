"""One update of every optimiser, and one clipping of the gradients, beside PyTorch's.

Two sets of parameters in float32: the eight small ones of an LSTM with two layers of four units, where the
cost is Python's, and the four of an LSTM layer with 512 units, where it is memory's. PyTorch runs in its
default form (which picks `foreach` or the plain loop) and, where it has one, in its fused form.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import optim

from . import harness

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


def theirs(torch, shapes) -> list:
    params = []
    for value, gradient in arrays(shapes):
        params.append(torch.tensor(value, requires_grad=True))
        params[-1].grad = torch.tensor(gradient)
    return params


def steps(name: str, options: dict, shapes) -> dict[str, Callable[[], object]]:
    """The function to time, by column."""
    functions = {"ours": getattr(optim, name)(ours(shapes), **options).step}
    torch = harness.torch()
    if torch:
        optimizer = getattr(torch.optim, name)
        functions["torch"] = optimizer(theirs(torch, shapes), **options).step
        if name in FUSED:
            functions["torch fused"] = optimizer(theirs(torch, shapes), fused=True, **options).step
    return functions


def clipping(max_norm: float, shapes) -> dict[str, Callable[[], object]]:
    """Clipping to a norm that is never reached, or always."""
    params = ours(shapes)
    functions: dict[str, Callable[[], object]] = {"ours": lambda: optim.clip_grad_norm_(params, max_norm)}
    torch = harness.torch()
    if torch:
        others = theirs(torch, shapes)
        functions["torch"] = lambda: torch.nn.utils.clip_grad_norm_(others, max_norm)
    return functions


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=30)
    parser.add_argument("--set", choices=[*SETS, "both"], default="both")
    args = harness.parse(parser, argv)
    with harness.threads(args.threads):
        report = harness.Report("one call, float32", args, width=46)
        for name, shapes in SETS.items():
            if args.set not in (name, "both"):
                continue
            rows = []
            for optimizer, options in CASES:
                text = ", ".join(f"{k}={v}" for k, v in options.items())
                rows.append((f"{optimizer}({text})", steps(optimizer, options, shapes)))
            rows += [(f"clip_grad_norm_, {text}", clipping(m, shapes)) for text, m in CLIPS.items()]
            for label, functions in rows:
                report.add(f"{name}: {label}", harness.measure(functions, args.repeats))
        report.finish()
    return 0
