"""Cells for corners of the compiler, one row each; its tests run over these and over the cells from papers.

A row is a step in plain tensor maths and the shapes of what it reads; `StepCell.cell` makes an `nn.Cell` of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.testing.cell_table import PAPER_CELLS
from tinygrad_rnn.testing.step_cells import Shape, StepCell, gates, pair

# they are built in, and run compiled in tests/recurrent/cells/test_every_cell_compiled.py
BUILT_IN = (
    "rnn", "lstm", "gru", "coupled_lstm", "fastgrnn", "layernorm_lstm", "layernorm_gru", "mingru", "minlstm", "lru",
    "slstm", "mlstm", "linear_attention", "deltanet", "gated_deltanet", "s6",
    "lmu", "cfc", "lif", "conv_lstm",
)  # fmt: skip
CASES = [cell for name, cell in PAPER_CELLS.items() if name not in BUILT_IN]


def tanh_rnn(I, H):
    return {"w": (I, H), "u": (H, H), "b": (H,)}


def row(weights, **more: Any) -> Callable[[Callable], Callable]:
    """Add the decorated ``step(p, x, state)`` to the cases, under its own name."""

    def add(step):
        CASES.append(StepCell(step.__name__, lambda lib, p, x, state: step(p, x, state), weights, **more))
        return step

    return add


def lstm(p, prefix, x, h, c):
    w, u, b = (getattr(p, prefix + name) for name in ("w", "u", "b"))
    i, f, g, o = tr.split(x @ w + h @ u + b, 4, axis=-1)
    c = tr.sigmoid(f) * c + tr.sigmoid(i) * tr.tanh(g)
    return tr.sigmoid(o) * tr.tanh(c), c


@row(
    lambda I, H: {
        "aw": (I, 4 * H), "au": (H, 4 * H), "ab": (4 * H,),
        "bw": (H, 4 * (H + 1)), "bu": (H + 1, 4 * (H + 1)), "bb": (4 * (H + 1),),
    },
    state=lambda I, H: {"first": (Shape(H), Shape(H)), "second": [Shape(H + 1), Shape(H + 1)]},
)  # fmt: skip
def two_lstms(p, x, state):
    """Two layers inside one step, with a nested state."""
    h1, c1 = lstm(p, "a", x, *state["first"])
    h2, c2 = lstm(p, "b", h1, *state["second"])
    return h2, {"first": (h1, c1), "second": [h2, c2]}


@row(lambda I, H: {"w1": (I, H), "u1": (H, H), "w2": (H, 2 * H), "u2": (2 * H, 2 * H), "b": (2 * H,)},
     state=lambda I, H: (Shape(H), Shape(2 * H)))  # fmt: skip
def two_rnns(p, x, state):
    """Two simple layers of different widths, the second fed back to the first through a slice."""
    h1, h2 = state
    h1 = tr.tanh(x @ p.w1 + h1 @ p.u1 + 0.1 * h2[:, : h1.shape[1]])
    h2 = tr.tanh(h1 @ p.w2 + h2 @ p.u2 + p.b)
    return tr.concat([h1, h2], axis=-1), (h1, h2)


@row(lambda I, H: {"w": (I, H), "u": (H, H), "b": (H,), "v": (H, 3)})
def softmax_inside(p, x, h):
    a = tr.softmax(x @ p.w + h @ p.u, axis=-1)
    h = tr.tanh(h + a * 3.0 + p.b)
    return tr.log_softmax(h @ p.v, axis=-1), h


@row(gates(2, gain=2))
def normalised_sum(p, x, h):
    """Gates are columns of what reductions need as a whole, with a bias that reaches them as a whole."""
    z = x @ p.w + h @ p.u + p.b
    z = (z - tr.max(z, axis=-1, keepdims=True)) / (1.0 + tr.sum(z * z, axis=-1, keepdims=True)) * p.gain
    f, n = tr.split(z, 2, axis=-1)
    h = tr.sigmoid(f) * h + tr.tanh(n)
    return h, h


@row(lambda I, H: {"w": (I, H), "a": (I, 1), "b": (H, 1)})
def one_number_for_all_features(p, x, h):
    """Products of one column, which are added to all columns of other sums."""
    y = h + tr.tanh(x) @ p.a
    z = x @ p.w + tr.tanh(h) @ p.b
    return (y, z), tr.tanh(y + z)


@row(lambda I, H: {"w": (I, H), "u": (H, H), "v": (H, H)})
def columns_of_operands(p, x, h):
    m = tr.tanh(x @ p.w + h @ p.u)
    left, right = m[:, :1], m[:, 1:]
    h = tr.tanh(m @ p.v + tr.concat([right, left], axis=-1) * h)
    return left * m.mean(axis=-1, keepdims=True), h


@row(tanh_rnn)
def antisymmetric(p, x, h):
    """Chang et al. 2019."""
    eye = np.eye(h.shape[1])
    h = h + 0.1 * tr.tanh(x @ p.w + h @ (p.u - p.u.T - 0.01 * eye) + p.b)
    return h, h


@row(lambda I, H: {"w": (I, H), "v": (H, H), "g": (H,), "b": (H,)})
def weight_normalised(p, x, h):
    """Salimans and Kingma 2016."""
    u = p.v * (p.g / tr.sqrt((p.v * p.v).sum(axis=0)))
    h = tr.tanh(x @ p.w + h @ u + p.b)
    return h, h


def draw_masks(p, batch_size):
    H = p.sizes[1]
    noise = tr.randn((batch_size, H), p.dtype).numpy()
    p.mask = tr.tensor((noise > -0.5) / 0.7, dtype=p.dtype)
    p.offset = tr.tensor(noise[:, :1].copy(), dtype=p.dtype, requires_grad=True)


@row(tanh_rnn, begin=draw_masks)
def variational_dropout(p, x, h):
    """One mask for the whole sequence (Gal and Ghahramani 2016), and a number for each row."""
    h = tr.tanh(x @ p.w + (h * p.mask) @ p.u + p.b + 0.1 * p.offset)
    return h * (1 - 0.5 * p.mask), h


# ---- corners


@row(lambda I, H: {"u": (H, H), "b": (H,)})
def no_input_use(p, x, h):
    h = tr.tanh(h @ p.u + p.b)
    return h, h


@row(lambda I, H: {"w": (I, H), "b": (H,)})
def no_state_use(p, x, h):
    y = tr.tanh(x @ p.w + p.b)
    return y, y


@row(lambda I, H: {"w": (I, H)}, state=lambda I, H: None)
def stateless(p, x, state):
    return tr.tanh(x @ p.w), None


@row(lambda I, H: {}, state=lambda I, H: (Shape(I), Shape(H)))
def passed_through(p, x, state):
    """No parameter: the next state is the input, or the state unchanged."""
    before, same = state
    return x - before, (x, same)


@row(lambda I, H: {}, state=lambda I, H: (Shape(H), Shape(H)))
def swapped(p, x, state):
    """The states change places."""
    a, b = state
    return a + 2 * b, (b, a)


@row(lambda I, H: {"u": (H, H)})
def bare_product(p, x, h):
    h = h @ p.u
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "b": (H,)})
def linear_rnn(p, x, h):
    h = h @ p.u + x @ p.w + p.b
    return tr.tanh(h), h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "a": (H, H + 2), "b": (H + 2, H)})
def three_products(p, x, h):
    """Products of products of products."""
    z = tr.tanh(x @ p.w + h @ p.u)
    h = tr.tanh(tr.sigmoid(z @ p.a) @ p.b)
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "v": (H, H)})
def products_without_maths(p, x, h):
    h = tr.tanh(x @ p.w + (h @ p.u) @ p.v)
    return h @ p.u, h


@row(lambda I, H: {"u": (H, H), "w": (I, H)})
def shared_matrix(p, x, h):
    """One matrix used three times, once transposed."""
    a = tr.tanh(x @ p.w + h @ p.u)
    b = tr.sigmoid(a @ p.u.T)
    h = tr.tanh((a * b) @ p.u)
    return h, h


@row(tanh_rnn, inputs=lambda I, H: {"a": Shape(I), "b": (Shape(H), Shape())})
def several_inputs(p, x, h):
    """A nest of sequences, one of numbers."""
    b, scale = x["b"]
    h = tr.tanh(x["a"] @ p.w + h @ p.u + p.b + b * scale[:, None])
    return {"h": h, "sums": [h.sum(axis=-1), scale * 2]}, h


@row(tanh_rnn, inputs=lambda I, H: (Shape(I), Shape(dtype="bool")),
     state=lambda I, H: {"h": Shape(H), "count": Shape()})  # fmt: skip
def masked_counter(p, x, state):
    """A bool mask as input, and a counter as a state."""
    x, mask = x
    new = tr.tanh(x @ p.w + state["h"] @ p.u + p.b)
    h = tr.where(mask[:, None], new, state["h"])
    count = state["count"] + mask
    return h / (1 + count)[:, None], {"count": count, "h": h}


@row(lambda I, H: {"w": (I, 3 * H + 2), "u": (H, 3 * H + 2)})
def odd_slices(p, x, h):
    H = h.shape[1]
    z = x @ p.w + h @ p.u
    a, b, c = tr.split(z, [H - 1, 2 * H], axis=-1)
    joined = tr.concat([tr.tanh(a), tr.sigmoid(b), c * 0.1], axis=1)
    h = tr.tanh(joined[:, 1 : H + 1] + joined[:, H + 2 : 2 * H + 2])
    return joined[:, 2:-1], h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "scale": (), "shift": (1,), "temperature": ()})
def scalars(p, x, h):
    """Parameters that are numbers."""
    z = x @ p.w + h @ p.u
    h = tr.tanh(p.scale * z + p.shift)
    return tr.softmax(h / tr.exp(p.temperature), axis=-1), h


@row(tanh_rnn)
def comparisons(p, x, h):
    z = x @ p.w + h @ p.u + p.b
    up = (z > 0) & (h < 0.5) | ~(z <= h)
    h = tr.where(up, tr.tanh(z), 0.3 * z)
    return h * up, h


@row(tanh_rnn)
def extrema(p, x, h):
    z = x @ p.w + h @ p.u + p.b
    top, low = z.max(axis=-1, keepdims=True), z.min(axis=-1)
    h = tr.tanh(z - top) + tr.maximum(z, h) * 0.2 - 0.1 * tr.minimum(h, low[:, None])
    return top, h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "e": (H,)})
def powers(p, x, h):
    z = x @ p.w + h @ p.u
    h = tr.tanh(z**2 - 0.1 * z**3 + (1 + z * z) ** 0.5 - (1.5 + tr.sigmoid(z)) ** p.e + (2 + h) ** -1)
    return (1.5 + h) ** 1.5, h


@row(tanh_rnn)
def activations(p, x, h):
    z = x @ p.w + h @ p.u + p.b
    a, b = tr.silu(z), tr.gelu(z) + tr.elu(z) + tr.leaky_relu(z, 0.2)
    h = tr.tanh(a - b) + 0.1 * tr.softplus(z) - 0.1 * tr.hard_sigmoid(z) + tr.hard_tanh(h) * 0.2
    return tr.sin(z) * tr.cos(h) + tr.log1p(tr.abs(z)) + tr.expm1(h) + tr.log(2 + h) + tr.sign(z) * h, h


@row(tanh_rnn)
def rounding(p, x, h):
    z = x @ p.w + h @ p.u + p.b
    h = tr.tanh(z + 0.1 * tr.floor(3 * z) - 0.1 * tr.ceil(2 * h) + tr.round(4 * z) / 8)
    return tr.isfinite(z) * h + tr.isnan(z) + tr.isinf(h), h


@row(tanh_rnn)
def row_statistics(p, x, h):
    """Numbers for each row of rank one and two, broadcast back."""
    z = x @ p.w + h @ p.u + p.b
    m = z.mean(axis=-1)
    s = z.std(axis=-1, keepdims=True) + 0.1
    h = tr.tanh((z - m[:, None]) / s * (1 + m * m).reshape((-1, 1)))
    return (m, s[:, 0], tr.logsumexp(z, axis=-1)), h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "key": (H,)})
def vector_product(p, x, h):
    """A product with a vector is a number for each row."""
    a = tr.sigmoid(h @ p.key)
    h = tr.tanh(x @ p.w + a[:, None] * (h @ p.u))
    return a, h


@row(tanh_rnn, state=pair)
def several_outputs(p, x, state):
    h, c = state
    z = x @ p.w + h @ p.u + p.b
    c = 0.9 * c + tr.tanh(z)
    return (tr.sigmoid(z), c, x), (tr.tanh(c), c)


@row(lambda I, H: {"w": (I, H), "u": (H, H), "first": (1, H)})
def row_vectors(p, x, h):
    """Vectors as matrices of one row, and computed vectors."""
    h = tr.tanh(x @ p.w + h @ p.u + p.first) * tr.exp(-tr.abs(p.first)) + p.u[0] * p.u.sum(axis=1)
    return h, h


@row(lambda I, H: {"a": (H, H), "b": (H, H), "w": (I, H)}, state=pair)
def crossed(p, x, state):
    """Each state is computed from the other's old value."""
    a, b = state
    return a * b, (tr.tanh(b @ p.a + x @ p.w), tr.sigmoid(a @ p.b))


@row(lambda I, H: {"w": (I + 2 * H, H)}, state=lambda I, H: {"h": Shape(H), "old": Shape(H), "z": [Shape(1)]})
def delayed(p, x, state):
    """A state two steps old, and a state of one feature."""
    h = tr.tanh(tr.concat([state["old"], x, state["h"]], axis=-1) @ p.w + state["z"][0])
    return h, {"h": h, "old": state["h"], "z": [h[:, :1] * 0.5]}


@row(lambda I, H: {"w": (I, H), "u": (H, H)})
def constants(p, x, h):
    """Tensors made inside the step."""
    ones = tr.ones_like(h)
    h = tr.tanh(x @ p.w + h @ p.u) * (ones - 0.5) + tr.zeros((h.shape[0], 1), h.dtype)
    return tr.full((h.shape[0], 2), 0.5, h.dtype), h


@row(tanh_rnn)
def detached(p, x, h):
    """Gradients cut: a straight-through estimator, and a parameter that is only read."""
    z = tr.tanh(x @ p.w + h @ p.u + p.b)
    z = z + (tr.sign(z) - z).detach()
    h = z * 0.5 + h.detach() * 0.3 + p.b.detach()
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "b": (H,), "d": (H,)})
def layer_used_twice(p, x, h):
    """Two vectors get the same gradient at each place, and one of them another one besides."""
    for _ in range(2):
        h = tr.tanh(h @ p.u + p.b + p.d)
    h = tr.tanh(x @ p.w + h + p.b) * p.d
    return h, h


BY_NAME = {case.name: case for case in CASES}
