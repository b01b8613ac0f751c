"""One layer on three sides: this package, PyTorch, and JAX with ``lax.scan``; each with the same weights.

A side is two functions. `train` runs forward and backward and returns the gradients of all weights, but not of
the inputs, as for a first layer; `infer` records nothing and returns the outputs. Some can only infer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.testing.cell_table import EQUATIONS

from . import cases
from .cases import BUILT, BUILTIN, CELLS, GATES, LOOPS, NAMES, STEPS, Shape

SGEMM = 768  # rows and columns of the matrices that measure the machine
TASKS = ("train", "infer")


class Side(NamedTuple):
    train: Callable[[], Any] | None  # None where it cannot
    infer: Callable[[], Any]
    transposed: bool = False  # whether its gradients are those of transposed weights


def data(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and the cotangent of the outputs."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((shape.T, shape.B, shape.I)).astype(np.float32)
    return x, rng.standard_normal((shape.T, shape.B, shape.H)).astype(np.float32)


def our_layer(name: str, shape: Shape, mode: str = "compiled"):
    if name in BUILT:
        return nn.Recurrent(cases.built_in_cell(BUILT[name], shape), mode=mode)
    if name in LOOPS:
        return nn.Recurrent(cases.cell(LOOPS[name], shape), mode=mode)
    tr.seed(0)
    return getattr(nn, BUILTIN[name])(shape.I, shape.H, mode=mode)


def ours(name: str, shape: Shape, mode: str = "compiled") -> Side:
    layer = our_layer(name, shape, mode)
    if name in BUILT:
        found = EQUATIONS[BUILT[name]].parts(layer.cell)
        parts = [found[key] for key in CELLS[name].weights(1, 1)]
        return _our_side(layer, shape, lambda: [p.grad.data[rows].T for p, rows in parts])
    return _our_side(layer, shape)


def gates(name: str, shape: Shape) -> Side:
    """A built-in cell without its products; only its biases are trained."""
    layer = nn.Recurrent(cases.cell(GATES[name], shape), mode="compiled")
    for key, p in layer.named_parameters():
        p.requires_grad_(".b_" in key)
    return _our_side(layer, shape)


def _our_side(layer, shape: Shape, gradients: Callable[[], list] | None = None) -> Side:
    x, g = (tr.as_tensor(a) for a in data(shape))
    weights = [p for p in layer.parameters() if p.requires_grad]

    def train():
        for w in weights:
            w.grad = None
        y, _ = layer(x)
        y.backward(g)
        return [w.grad for w in weights] if gradients is None else gradients()

    def infer():
        with tr.no_grad():
            return [layer(x)[0]]

    return Side(train, infer)


def torch_layer(torch, name: str, shape: Shape):
    if name in LOOPS:
        return cases.torch_module(torch, LOOPS[name], shape)
    layer = getattr(torch.nn, BUILTIN[name])(shape.I, shape.H)
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in our_layer(name, shape).state_dict().items()})
    return layer


def torch_side(torch, name: str, shape: Shape, wrap: Callable = lambda layer: layer) -> Side:
    """PyTorch's fused layer, or its eager loop over a custom cell; `wrap` may compile it."""
    layer = torch_layer(torch, name, shape)
    x, g = (torch.from_numpy(a) for a in data(shape))
    weights = list(layer.parameters())
    run = wrap(layer)

    def train():
        for w in weights:
            w.grad = None
        y, _ = run(x)
        y.backward(g)
        return [w.grad for w in weights]

    def infer():
        with torch.inference_mode():
            return [run(x)[0]]

    return Side(train, infer)


def load_jax(threads: int):
    """JAX on the CPU, or None where it is not installed. Its threads cannot be changed after the first use."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("PJRT_NPROC", str(threads))
    if threads == 1:
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {one}".strip()
    try:
        import jax
    except ImportError:
        return None
    return jax


def jax_side(jax, name: str, shape: Shape) -> Side:
    """``lax.scan`` over the step, under ``jit``."""
    custom = LOOPS.get(name) or STEPS[name]
    lib = SimpleNamespace(tanh=jax.numpy.tanh, sqrt=jax.numpy.sqrt, sigmoid=jax.nn.sigmoid, relu=jax.nn.relu)
    if name in LOOPS:
        values = cases.arrays(custom, shape)
    else:
        theirs = our_layer(name, shape).state_dict()
        values = {key: np.ascontiguousarray(theirs[NAMES[key]].T) for key in custom.weights(1, 1)}
    weights = {key: jax.numpy.asarray(value) for key, value in values.items()}
    x, g = (jax.numpy.asarray(a) for a in data(shape))

    def forward(weights, x):
        p = SimpleNamespace(**weights)
        zeros = tuple(jax.numpy.zeros((shape.B, shape.H), x.dtype) for _ in range(custom.n_states))

        def step(state, x):
            y, state = custom.step(lib, p, x, state)
            return state, y

        return jax.lax.scan(step, zeros if custom.n_states > 1 else zeros[0], x)[1]

    def forward_backward(weights, x, g):
        y, pull = jax.vjp(lambda w: forward(w, x), weights)
        return y, pull(g)[0]

    compiled, both = jax.jit(forward), jax.jit(forward_backward)

    def train():
        _, grads = jax.block_until_ready(both(weights, x, g))
        return [grads[key] for key in custom.weights(1, 1)]

    def infer():
        return [jax.block_until_ready(compiled(weights, x))]

    return Side(train, infer, transposed=name in BUILTIN)


def candidates(name: str, shape: Shape, torch: Any, jax: Any) -> dict[str, Side]:
    """Ours, and those of the libraries that are there."""
    found = {"ours": ours(name, shape)}
    if torch:
        found["torch"] = torch_side(torch, name, shape)
    if jax:
        found["jax"] = jax_side(jax, name, shape)
    return found


def tasks_of(sides: Mapping[str, Side], task: str) -> dict[str, Callable[[], Any]]:
    """The functions that do `task`, of the sides that can."""
    return {name: function for name, side in sides.items() if (function := getattr(side, task))}


def sgemm() -> Callable[[], np.ndarray]:
    """A large product in NumPy: what the machine can do at the moment."""
    a, b = np.random.default_rng(2).standard_normal((2, SGEMM, SGEMM), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def agree(sides: Mapping[str, Side], task: str) -> None:
    """Raise if not all sides compute what the first one does, to 1 % of each array's norm.

    Rounding alone gets that far in float32: a relu next to zero is on in one order of summation, off in another.
    """
    results = {
        name: [_numpy(v).T if sides[name].transposed and task == "train" else _numpy(v) for v in function()]
        for name, function in tasks_of(sides, task).items()
    }
    (first, mine), *others = results.items()
    for name, other in others:
        for a, b in zip(mine, other, strict=True):
            error = np.linalg.norm(a - b) / np.linalg.norm(b) if a.shape == b.shape else np.inf
            if not error < 0.01:
                raise AssertionError(
                    f"{task}: {first} and {name} disagree in an array of shape {a.shape}: {error:.1%} of its norm"
                )


def _numpy(value: Any) -> np.ndarray:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
