"""Cells with heads and matrices as states, compiled, beside PyTorch's eager loop and JAX's ``lax.scan``.

Every side runs the same maths; on ours it is the built-in cell, where there is one. Training is forward and backward
with gradients of all weights, not of the inputs, which are as wide as all heads together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import harness, sides
from .bench_recurrent import LIMIT, add_against, load
from .head_cells import HEAD_CELLS, jax_library, torch_library
from .sides import Side


class Heads(NamedTuple):
    """Time steps, batch, heads, and features of one."""

    T: int
    B: int
    heads: int
    size: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


SIZES = (Heads(256, 8, 4, 16), Heads(256, 8, 4, 64))
QUICK = (Heads(20, 2, 2, 8),)
SAME = 40  # steps after which results are compared


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=9)
    names = list(HEAD_CELLS)
    parser.add_argument("--cells", nargs="+", choices=names, default=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--tasks", nargs="+", choices=sides.TASKS, default=sides.TASKS, metavar="TASK")
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "HEADS", "SIZE"), help="only this one")
    add_against(parser)
    args = harness.parse(parser, argv)
    shapes = [Heads(*args.shape)] if args.shape else QUICK if args.quick else SIZES
    jax, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report("cells with heads, float32, shapes TxBxHEADSxSIZE", args, width=36)
        for name in args.cells:
            for shape in shapes:
                timed = candidates(name, shape, torch, jax)
                compared = timed if shape.T <= SAME else candidates(name, shape._replace(T=SAME), torch, jax)
                for task in args.tasks:
                    sides.agree(compared, task)
                    timings = harness.measure(sides.tasks_of(timed, task), args.repeats, limit=LIMIT)
                    row = {"cell": name, "task": task, "shape": list(shape)}
                    report.add(f"{name} {task} {shape}", timings, **row)
        report.finish()
    return 0


def candidates(name: str, shape: Heads, torch: Any, jax: Any) -> dict[str, Side]:
    """Ours, and those of the libraries that are there."""
    found = {"ours": our_side(name, shape)}
    if torch:
        found["torch"] = torch_side(torch, name, shape)
    if jax:
        found["jax"] = jax_side(jax, name, shape)
    return found


def data(shape: Heads) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and the cotangent of the outputs."""
    rng = np.random.default_rng(1)
    full = (shape.T, shape.B, shape.heads * shape.size)
    return rng.standard_normal(full).astype(np.float32), rng.standard_normal(full).astype(np.float32)


def our_layer(name: str, shape: Heads, mode: str = "compiled") -> nn.Recurrent:
    tr.seed(0)
    return nn.Recurrent(HEAD_CELLS[name].make(shape.heads * shape.size, shape.heads, shape.size), mode=mode)


def weights_of(name: str, shape: Heads) -> dict[str, np.ndarray]:
    return {key: p.numpy().copy() for key, p in our_layer(name, shape).cell.named_parameters()}


def our_side(name: str, shape: Heads, mode: str = "compiled") -> Side:
    layer = our_layer(name, shape, mode)
    x, g = (tr.as_tensor(a) for a in data(shape))
    weights = [p for _, p in layer.cell.named_parameters()]

    def train():
        for w in weights:
            w.grad = None
        layer(x)[0].backward(g)
        return [w.grad for w in weights]

    def infer():
        with tr.no_grad():
            return [layer(x)[0]]

    return Side(train, infer)


def torch_side(torch: Any, name: str, shape: Heads) -> Side:
    """PyTorch's eager loop over the steps, as one writes it there."""
    found, lib = HEAD_CELLS[name], torch_library(torch)
    weights = {key: torch.tensor(w, requires_grad=True) for key, w in weights_of(name, shape).items()}
    p = _weights(shape, weights)
    x, g = (torch.from_numpy(a) for a in data(shape))

    def run():
        state = tuple(x.new_zeros((shape.B, *row)) for row in found.state(shape.heads, shape.size))
        outputs = []
        for v in x:
            y, state = found.step(lib, p, v, state)
            outputs.append(y)
        return torch.stack(outputs)

    def train():
        for w in weights.values():
            w.grad = None
        run().backward(g)
        return [w.grad for w in weights.values()]

    def infer():
        with torch.inference_mode():
            return [run()]

    return Side(train, infer)


def jax_side(jax: Any, name: str, shape: Heads) -> Side:
    """``lax.scan`` over the step, under ``jit``."""
    found, lib = HEAD_CELLS[name], jax_library(jax)
    weights = {key: jax.numpy.asarray(w) for key, w in weights_of(name, shape).items()}
    x, g = (jax.numpy.asarray(a) for a in data(shape))

    def forward(weights, x):
        p = _weights(shape, weights)
        zeros = tuple(jax.numpy.zeros((shape.B, *row), x.dtype) for row in found.state(shape.heads, shape.size))

        def step(state, x):
            y, state = found.step(lib, p, x, state)
            return state, y

        return jax.lax.scan(step, zeros, x)[1]

    def forward_backward(weights, x, g):
        y, pull = jax.vjp(lambda w: forward(w, x), weights)
        return y, pull(g)[0]

    compiled, both = jax.jit(forward), jax.jit(forward_backward)

    def train():
        _, grads = jax.block_until_ready(both(weights, x, g))
        return [grads[key] for key in weights]

    def infer():
        return [jax.block_until_ready(compiled(weights, x))]

    return Side(train, infer)


class _weights:
    """Weights as attributes, with the sizes of heads."""

    def __init__(self, shape: Heads, weights: dict[str, Any]):
        self.heads, self.size = shape.heads, shape.size
        self.__dict__.update(weights)
