"""RNN, LSTM and GRU of ONNX: cells with its gates in its order, run over sequences as any other cell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .... import ops
from ....core import Tensor
from ....errors import CheckpointError, ShapeError
from ....nn import Cell, Module, Parameter
from ....ops.linear import linear
from ....recurrent import scan
from ..graph import Node
from .support import REFUSALS, concrete

Activation = Callable[[Any], Any]
# lower case -> function, and its settings alpha and beta if the node gives none; None: it has to
ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[float | None, ...]]] = {
    "relu": (ops.relu, ()),
    "tanh": (ops.tanh, ()),
    "sigmoid": (ops.sigmoid, ()),
    "softsign": (lambda x: x / (1 + ops.abs(x)), ()),
    "softplus": (ops.softplus, ()),
    "leakyrelu": (lambda x, alpha: ops.leaky_relu(x, alpha), (0.01,)),
    "thresholdedrelu": (lambda x, alpha: ops.where(x > alpha, x, 0 * x), (None,)),
    "elu": (lambda x, alpha: ops.elu(x, alpha), (1.0,)),
    "affine": (lambda x, alpha, beta: alpha * x + beta, (None, None)),
    "scaledtanh": (lambda x, alpha, beta: alpha * ops.tanh(beta * x), (None, None)),
    "hardsigmoid": (lambda x, alpha, beta: ops.clip(alpha * x + beta, 0.0, 1.0), (0.2, 0.5)),
}
WEIGHTS = {"RNN": (1, 2, 3), "GRU": (1, 2, 3), "LSTM": (1, 2, 3, 7)}  # places of W, R, B, and of the peepholes P


class OnnxCell(Cell):
    """One direction of a node; its weights are parameters of its own, or set before each sequence."""

    gates = 1
    defaults: tuple[str, ...] = ("Tanh",)
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    weight_c: Any = None

    def __init__(self, node: Node, hidden_size: int, activations: tuple[Activation, ...]):
        self.hidden_size, self.activations = hidden_size, activations
        self.settle(node)

    def settle(self, node: Node) -> None:
        """Read what else the node says."""

    @property
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Weights of this direction: parameters, or tensors that are computed."""
        self.input_size = weights["weight_ih"].shape[-1]
        for name, value in weights.items():
            object.__setattr__(self, name, value)


class OnnxRNNCell(OnnxCell):
    """``h = f(W x + Wb + R h + Rb)``."""

    def step(self, x: Any, h: Any) -> Any:
        (f,) = self.activations
        h = f(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))
        return h, h


class OnnxGRUCell(OnnxCell):
    """Gates z, r, and h; the reset gate acts on the state, or with ``linear_before_reset`` on the product."""

    gates = 3
    defaults = ("Sigmoid", "Tanh")

    def settle(self, node: Node) -> None:
        self.after = bool(node.get("linear_before_reset", 0))

    def step(self, x: Any, h: Any) -> Any:
        f, g = self.activations
        xz, xr, xn = ops.split(linear(x, self.weight_ih, self.bias_ih), 3, axis=-1)
        if self.after:
            hz, hr, hn = ops.split(linear(h, self.weight_hh, self.bias_hh), 3, axis=-1)
            n = g(xn + f(xr + hr) * hn)
        else:
            cut = [2 * self.hidden_size]
            gates, new = ops.split(self.weight_hh, cut)
            of_gates, of_new = (None, None) if self.bias_hh is None else ops.split(self.bias_hh, cut)
            hz, hr = ops.split(linear(h, gates, of_gates), 2, axis=-1)
            n = g(xn + linear(f(xr + hr) * h, new, of_new))
        h = n + f(xz + hz) * (h - n)
        return h, h


class OnnxLSTMCell(OnnxCell):
    """Gates i, o, f and c; peepholes for i, o, f."""

    gates = 4
    defaults = ("Sigmoid", "Tanh", "Tanh")

    def settle(self, node: Node) -> None:
        self.coupled = bool(node.get("input_forget", 0))

    def initial_state(self, batch_size: int) -> Any:
        return tuple(ops.zeros((batch_size, self.hidden_size), self.dtype) for _ in range(2))

    def step(self, x: Any, state: Any) -> Any:
        f, g, last = self.activations
        h, c = state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, o, forget, new = ops.split(gates, 4, axis=-1)
        if self.weight_c is None:
            i, forget = f(i), f(forget)
        else:
            peep_i, peep_o, peep_f = ops.split(self.weight_c, 3)
            i, forget = f(i + peep_i * c), f(forget + peep_f * c)
        c = (1 - i if self.coupled else forget) * c + i * g(new)
        h = f(o if self.weight_c is None else o + peep_o * c) * last(c)
        return h, (h, c)


CELLS = {"RNN": OnnxRNNCell, "GRU": OnnxGRUCell, "LSTM": OnnxLSTMCell}


class RecurrentNode(Module):
    """A node of RNN, LSTM or GRU; a layer of one or two directions.

    Weights that the file gives, and that no other node reads, are parameters of its cells, ``forwards.weight_ih``, ...,
    with gates in ONNX's order; others are tensors that come with each call.
    """

    def __init__(self, node: Node, given: dict[int, np.ndarray], mode: str):
        self._node, self.mode = node, mode
        self._given = frozenset(given)
        directions = 1 + (node.get("direction", "forward") == "bidirectional")
        recurrence = given.get(2)
        hidden = node.get("hidden_size", recurrence.shape[-1] if recurrence is not None and recurrence.ndim else None)
        if hidden is None:
            raise CheckpointError(f"node {node.title} does not say its hidden_size")
        self.hidden_size, self.batch_first = hidden, bool(node.get("layout", 0))
        names = _activations(node, directions)
        self._cells = [CELLS[node.op](node, hidden, names[d]) for d in range(directions)]
        if {1, 2} <= self._given:
            self._check(given)
            for d, cell in enumerate(self._cells):
                arrays = dict(_parts(node.op, d, {place: array[d] for place, array in given.items()}))
                cell.set_weights({name: Parameter(array) for name, array in arrays.items()})
                setattr(self, "backwards" if self._reversed(d) else "forwards", cell)

    def forward(self, x, w=None, r=None, b=None, lengths=None, h0=None, c0=None, peepholes=None) -> tuple:
        weights = {1: w, 2: r, 3: b, 7: peepholes}
        values = {place: value for place, value in weights.items() if value is not None}
        x = x if isinstance(x, Tensor) else Tensor(x)
        batch, time = (x.shape[i] for i in ((0, 1) if self.batch_first else (1, 0)))
        steps = None
        if lengths is not None:
            steps = concrete(lengths)
            steps = None if steps.shape == (batch,) and (steps == time).all() else steps
        outputs, finals = [], []
        for d, cell in enumerate(self._cells):
            if values:
                self._check(values)
                parts = _parts(self._node.op, d, {place: value[d] for place, value in values.items()})
                cell.set_weights({n: v if isinstance(v, Tensor) else Tensor(v) for n, v in parts})
            state = self._first(d, cell, batch, h0, c0)
            ys, final = scan(cell, x, state, self.mode, self._reversed(d), self.batch_first, lengths=steps)
            outputs.append(ys)
            finals.append(final if isinstance(final, tuple) else (final,))
        axis = 2 if self.batch_first else 1
        states = [ops.stack(list(parts), 1 if self.batch_first else 0) for parts in zip(*finals)]
        return (ops.stack(outputs, axis), *states)[: len(self._node.outputs)]

    def _reversed(self, direction: int) -> bool:
        return direction == 1 or self._node.get("direction", "forward") == "reverse"

    def _first(self, d: int, cell: OnnxCell, batch: int, h0: Any, c0: Any) -> Any:
        """The first state of a direction; None if none is given."""
        if h0 is None and c0 is None:
            return None
        wanted = (len(self._cells), batch, self.hidden_size)
        wanted = (batch, wanted[0], wanted[2]) if self.batch_first else wanted
        parts = []
        for s in (h0, c0) if self._node.op == "LSTM" else (h0,):
            if s is not None and tuple(s.shape) != wanted:
                raise ShapeError(f"got an initial state {tuple(s.shape)}, wanted {wanted}")
            if s is None:
                parts.append(ops.zeros((batch, self.hidden_size), cell.dtype))
            else:
                parts.append(s[:, d] if self.batch_first else s[d])
        return tuple(parts) if self._node.op == "LSTM" else parts[0]

    def _check(self, values: dict[int, Any]) -> None:
        """Raise CheckpointError unless weights have the shapes that follow from each other."""
        cell, n, h = self._cells[0], len(self._cells), self.hidden_size
        width = values[1].shape[-1] if 1 in values and len(values[1].shape) == 3 else 0
        wanted = {1: (n, cell.gates * h, width), 2: (n, cell.gates * h, h), 3: (n, 2 * cell.gates * h), 7: (n, 3 * h)}
        for place, value in values.items():
            if tuple(value.shape) != wanted[place]:
                letter = {1: "W", 2: "R", 3: "B", 7: "P"}[place]
                raise CheckpointError(
                    f"node {self._node.title}: got {letter} {tuple(value.shape)}, wanted {wanted[place]}, as "
                    f"hidden_size is {h}"
                )

    def extra_repr(self) -> str:
        return f"{self._node.op}, hidden_size={self.hidden_size}, direction={self._node.get('direction', 'forward')}"


def _parts(op: str, direction: int, values: dict[int, Any]) -> Iterator[tuple[str, Any]]:
    """Weights of one direction by the names that cells have for them."""
    yield "weight_ih", values[1]
    yield "weight_hh", values[2]
    if 3 in values:
        half = values[3].shape[0] // 2
        yield "bias_ih", values[3][:half]
        yield "bias_hh", values[3][half:]
    if 7 in values:
        yield "weight_c", values[7]


def _activations(node: Node, directions: int) -> list[tuple[Activation, ...]]:
    """Activations of each direction, with the settings that they take from the lists of the node."""
    defaults = CELLS[node.op].defaults
    names = node.get("activations") or defaults * directions
    alphas, betas = list(node.get("activation_alpha") or ()), list(node.get("activation_beta") or ())
    made = []
    for name in names:
        function, settings = ACTIVATIONS[name.lower()]
        chosen = list(settings)
        for i, values in enumerate((alphas, betas)):
            if i < len(chosen) and values:
                chosen[i] = values.pop(0)
        if None in chosen:
            raise ValueError(f"its activation {name} has no alpha or no beta, of which engines take different ones")
        made.append(functools.partial(function, **dict(zip(("alpha", "beta"), chosen))) if chosen else function)
    n = len(defaults)
    return [tuple(made[d * n : (d + 1) * n]) for d in range(directions)]


def refuse(node: Node) -> str:
    """Why a node cannot be run; "" if it can."""
    if node.get("clip"):
        return "it clips what goes into activations, which is not done here"
    directions = 1 + (node.get("direction", "forward") == "bidirectional")
    names = node.get("activations") or ()
    if unknown := [name for name in names if name.lower() not in ACTIVATIONS]:
        return f"its activations {', '.join(unknown)} are not known here"
    if names and len(names) != directions * len(CELLS[node.op].defaults):
        return f"it names {len(names)} activations, wanted {directions * len(CELLS[node.op].defaults)}"
    try:
        _activations(node, directions)
    except ValueError as error:
        return str(error)
    return ""


REFUSALS.update(dict.fromkeys(CELLS, refuse))
