"""More cells that PyTorch and JAX do not ship, beside those of :mod:`.cases`, and what a step costs in operations.

The steps of the built-in cells are here too, in the same form: JAX has no recurrent layers to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import nn

from .cases import CUSTOM, Custom, Shape, arrays, columns, gated


def coupled_lstm(lib, p, x, state):
    """An LSTM whose input gate is what the forget gate leaves, Greff et al. 2017."""
    h, c = state
    f, g, o = columns(x @ p.w + h @ p.u + p.b, 3)
    f = lib.sigmoid(f)
    c = f * c + (1 - f) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)


def ugrnn(lib, p, x, h):
    """Update gate RNN, Collins et al. 2017."""
    g, n = columns(x @ p.w + h @ p.u + p.b, 2)
    g = lib.sigmoid(g)
    h = g * h + (1 - g) * lib.tanh(n)
    return h, h


def cfn(lib, p, x, h):
    """Chaos-free network, Laurent and von Brecht 2017."""
    i, f = columns(x @ p.w + h @ p.u + p.b, 2)
    h = lib.sigmoid(f) * lib.tanh(h) + lib.sigmoid(i) * lib.tanh(x @ p.w_n)
    return h, h


def multiplicative_lstm(lib, p, x, state):
    """Krause et al. 2016: two products in a row within one step."""
    h, c = state
    m = (x @ p.w_m) * (h @ p.u_m)
    i, f, g, o = columns(x @ p.w + m @ p.u + p.b, 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)


CELLS = CUSTOM | {
    "coupled": Custom(gated(3), 2, coupled_lstm),
    "ugrnn": Custom(gated(2), 1, ugrnn),
    "cfn": Custom(lambda I, H: gated(2)(I, H) | {"w_n": (I, H)}, 1, cfn),
    "mlstm": Custom(lambda I, H: gated(4)(I, H) | {"w_m": (I, H), "u_m": (H, H)}, 2, multiplicative_lstm),
}


# ---- those that this package has built in: their parameters, in the layout of the functions


class Built(NamedTuple):
    """A cell of ours that computes a custom one.

    Attributes
    ----------
    kind : type
    places : dict
        Of each weight: the parameter, and which block of H of its rows, or None for all of it.
    """

    kind: type[nn.Cell]
    places: dict[str, tuple[str, int | None]]

    def cell(self, custom: Custom, shape: Shape) -> nn.Cell:
        cell = self.kind(shape.I, shape.H)  # type: ignore[call-arg]
        values = arrays(custom, shape)
        for key, (parameter, rows) in self.parts(cell).items():
            parameter.data[rows] = values[key].T
        return cell

    def parts(self, cell: nn.Cell) -> dict[str, tuple[nn.Parameter, slice]]:
        """Of each weight: the parameter and its rows that hold it, transposed."""
        parameters, size = dict(cell.named_parameters()), cell.hidden_size or 1
        rows = {None: slice(None)} | {i: slice(i * size, (i + 1) * size) for i in range(4)}
        return {key: (parameters[name], rows[block]) for key, (name, block) in self.places.items()}


_gates: dict[str, tuple[str, int | None]] = {"w": ("weight_ih", None), "u": ("weight_hh", None), "b": ("bias", None)}
_norms = {"gain_x": "norm_ih.weight", "gain_h": "norm_hh.weight", "gain_c": "norm_c.weight", "shift_c": "norm_c.bias"}
BUILT = {
    "peephole": Built(nn.PeepholeLSTMCell, _gates | {f"p_{k}": ("weight_c", i) for i, k in enumerate("ifo")}),
    "mgu": Built(
        nn.MGUCell,
        {f"{k}_{g}": (name, i) for k, (name, _) in _gates.items() for i, g in enumerate("fn")},
    ),
    "layernorm": Built(nn.LayerNormLSTMCell, _gates | {k: (name, None) for k, name in _norms.items()}),
    "indrnn": Built(nn.IndRNNCell, _gates),
    "coupled": Built(nn.CIFGCell, _gates),
    "ugrnn": Built(nn.UGRNNCell, _gates),
}


# ---- the built-in cells, as PyTorch defines them


def rnn(lib, p, x, h):
    h = lib.tanh(x @ p.w + h @ p.u + (p.b + p.b_h))
    return h, h


def lstm(lib, p, x, state):
    h, c = state
    i, f, g, o = columns(x @ p.w + h @ p.u + (p.b + p.b_h), 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)


def gru(lib, p, x, h):
    x_r, x_z, x_n = columns(x @ p.w + p.b, 3)
    h_r, h_z, h_n = columns(h @ p.u + p.b_h, 3)
    n = lib.tanh(x_n + lib.sigmoid(x_r + h_r) * h_n)
    h = n + lib.sigmoid(x_z + h_z) * (h - n)
    return h, h


STEPS = {
    "rnn": Custom(gated(1, b_h=1), 1, rnn),
    "lstm": Custom(gated(4, b_h=4), 2, lstm),
    "gru": Custom(gated(3, b_h=3), 1, gru),
}
NAMES = {"w": "weight_ih_l0", "u": "weight_hh_l0", "b": "bias_ih_l0", "b_h": "bias_hh_l0"}  # in PyTorch, transposed


# ---- the same without products: what their gates cost, and the call itself


def rnn_gates(lib, p, x, h):
    h = lib.tanh(p.b_0 + p.u_0 * h)
    return h, h


def lstm_gates(lib, p, x, state):
    h, c = state
    c = lib.sigmoid(p.b_1 + p.u_1 * h) * c + lib.sigmoid(p.b_0 + p.u_0 * h) * lib.tanh(p.b_2 + p.u_2 * h)
    h = lib.sigmoid(p.b_3 + p.u_3 * h) * lib.tanh(c)
    return h, (h, c)


def gru_gates(lib, p, x, h):
    n = lib.tanh(p.b_2 + lib.sigmoid(p.b_0 + p.u_0 * h) * (p.b_3 + p.u_2 * h))
    h = n + lib.sigmoid(p.b_1 + p.u_1 * h) * (h - n)
    return h, h


def _vectors(n: int) -> Callable[[int, int], dict[str, tuple[int, ...]]]:
    return lambda I, H: {f"{name}_{i}": (H,) for i in range(n) for name in "bu"}


GATES = {
    "rnn": Custom(_vectors(1), 1, rnn_gates),
    "lstm": Custom(_vectors(4), 2, lstm_gates),
    "gru": Custom(lambda I, H: _vectors(3)(I, H) | {"b_3": (H,)}, 1, gru_gates),
}


# ---- operations


class Work(NamedTuple):
    """Floating-point operations of a whole sequence; a fused multiply-add is two.

    Attributes
    ----------
    products : int
        Of the products of matrices.
    total : int
        With the elementwise operations; tanh or a sigmoid counts as `ACTIVATION`.
    """

    products: int
    total: int


ACTIVATION = 20  # a range reduction, a polynomial of degree six, a division


class Counter:
    """Stands for an array while a step runs, and counts what the step does with it."""

    def __init__(self, shape: tuple[int, ...], tally: dict[str, int]):
        self.shape, self.tally = shape, tally

    def _elementwise(self, *others: Any, cost: int = 1) -> Counter:
        shape = np.broadcast_shapes(self.shape, *(getattr(o, "shape", ()) for o in others))
        if len(shape) == 2:  # what is done to weights alone is done once
            self.tally["elementwise"] += cost * int(np.prod(shape))
        return Counter(shape, self.tally)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _elementwise

    def __matmul__(self, w: Counter) -> Counter:
        self.tally["products"] += 2 * self.shape[0] * int(np.prod(w.shape))
        return Counter((self.shape[0], w.shape[1]), self.tally)

    def __getitem__(self, key: Any) -> Counter:
        return Counter(np.broadcast_to(np.float32(0), self.shape)[key].shape, self.tally)

    def mean(self, axis: int) -> Counter:
        self._elementwise()
        return Counter(self.shape[:axis], self.tally)


class _Counting:
    """Counts as `lib` of a step."""

    tanh = sigmoid = staticmethod(lambda a: a._elementwise(cost=ACTIVATION))
    relu = sqrt = staticmethod(lambda a: a._elementwise())


def work(custom: Custom, shape: Shape, train: bool) -> Work:
    """Count the operations of a sequence.

    Training adds, for each product, one of the same size for the gradient of its matrix and, unless the other
    factor is the sequence's input, one for that of its other factor; elementwise operations count three times.
    """
    tally = {"products": 0, "elementwise": 0}

    class Parameters:
        def __getattr__(self, name: str) -> Counter:
            return Counter(weights[name], tally)

    weights = custom.weights(shape.I, shape.H)
    states = tuple(Counter((shape.B, shape.H), tally) for _ in range(custom.states))
    custom.step(_Counting, Parameters(), Counter((shape.B, shape.I), tally), states if custom.states > 1 else states[0])
    products, elementwise = tally["products"], tally["elementwise"]
    if train:
        of_input = sum(2 * shape.B * int(np.prod(w)) for k, w in weights.items() if len(w) == 2 and k[0] == "w")
        products, elementwise = 3 * products - of_input, 3 * elementwise
    return Work(shape.T * products, shape.T * (products + elementwise))
