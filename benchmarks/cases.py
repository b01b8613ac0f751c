"""The shapes and cells that benchmarks compare: one table.

Each custom cell is one function of plain maths that runs on either library: ``step(lib, p, x, state)``, where
`lib` has tanh, sigmoid, relu and sqrt, and `p` holds the weights. So every side computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn


class Shape(NamedTuple):
    """Time steps, batch, input features, hidden units."""

    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


SHAPES = tuple(
    Shape(*s)
    for s in (
        (12, 1, 1, 4),
        (25, 32, 1, 32),
        (28, 128, 28, 30),
        (50, 32, 64, 128),
        (100, 64, 128, 256),
        (50, 64, 512, 512),
        (35, 20, 650, 650),
        (1000, 1, 16, 32),
    )
)
QUICK = SHAPES[:3]
BUILTIN = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}  # the layer's name in either library


class Custom(NamedTuple):
    """A cell that neither library ships.

    Attributes
    ----------
    weights : callable
        ``weights(I, H)``: shapes by name.
    states : int
        How many states (B, H) it has; one is passed as it is, several as a tuple.
    step : callable
        ``step(lib, p, x, state) -> (output, state)``.
    """

    weights: Callable[[int, int], dict[str, tuple[int, ...]]]
    states: int
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def columns(z, n: int) -> list:
    """`z` (B, n * H) as `n` blocks (B, H)."""
    size = z.shape[1] // n
    return [z[:, i * size : (i + 1) * size] for i in range(n)]


def gated(n: int, **more: int) -> Callable[[int, int], dict[str, tuple[int, ...]]]:
    """Shapes of w, u and b for `n` gates; each of `more` is a vector of so many times H."""
    return lambda I, H: {
        "w": (I, n * H),
        "u": (H, n * H),
        "b": (n * H,),
        **{name: (k * H,) for name, k in more.items()},
    }


def peephole_lstm(lib, p, x, state):
    """Gers and Schmidhuber 2000."""
    h, c = state
    i, f, g, o = columns(x @ p.w + h @ p.u + p.b, 4)
    i, f = lib.sigmoid(i + p.p_i * c), lib.sigmoid(f + p.p_f * c)
    c = f * c + i * lib.tanh(g)
    h = lib.sigmoid(o + p.p_o * c) * lib.tanh(c)
    return h, (h, c)


def mgu(lib, p, x, h):
    """Minimal gated unit, Zhou et al. 2016."""
    f = lib.sigmoid(x @ p.w_f + h @ p.u_f + p.b_f)
    n = lib.tanh(x @ p.w_n + (f * h) @ p.u_n + p.b_n)
    h = (1 - f) * h + f * n
    return h, h


def normalised(lib, z, gain):
    z = z - z.mean(-1)[:, None]
    return z / lib.sqrt((z * z).mean(-1)[:, None] + 1e-5) * gain


def layernorm_lstm(lib, p, x, state):
    """Ba et al. 2016."""
    h, c = state
    i, f, g, o = columns(normalised(lib, x @ p.w, p.gain_x) + normalised(lib, h @ p.u, p.gain_h) + p.b, 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(normalised(lib, c, p.gain_c) + p.shift_c)
    return h, (h, c)


def indrnn(lib, p, x, h):
    """Independently recurrent network, Li et al. 2018."""
    h = lib.relu(x @ p.w + p.u * h + p.b)
    return h, h


CUSTOM = {
    "peephole": Custom(gated(4, p_i=1, p_f=1, p_o=1), 2, peephole_lstm),
    "mgu": Custom(
        lambda I, H: {
            **dict.fromkeys(("w_f", "w_n"), (I, H)),
            **dict.fromkeys(("u_f", "u_n"), (H, H)),
            **dict.fromkeys(("b_f", "b_n"), (H,)),
        },
        1,
        mgu,
    ),
    "layernorm": Custom(gated(4, gain_x=4, gain_h=4, gain_c=1, shift_c=1), 2, layernorm_lstm),
    "indrnn": Custom(lambda I, H: {"w": (I, H), "u": (H,), "b": (H,)}, 1, indrnn),
}


def arrays(custom: Custom, shape: Shape) -> dict[str, np.ndarray]:
    """Weights: small and random, gains around one."""
    rng = np.random.default_rng(0)
    bound = 1 / np.sqrt(shape.H)
    return {
        name: (rng.uniform(-bound, bound, size) + name.startswith("gain")).astype(np.float32)
        for name, size in custom.weights(shape.I, shape.H).items()
    }


def cell(custom: Custom, shape: Shape) -> nn.Cell:
    """The cell for our layers."""

    class CustomCell(nn.Cell):
        def __init__(self):
            self.input_size, self.hidden_size = shape.I, shape.H
            for name, array in arrays(custom, shape).items():
                setattr(self, name, nn.Parameter(array))

        def initial_state(self, batch_size):
            zeros = tuple(tr.zeros((batch_size, shape.H)) for _ in range(custom.states))
            return zeros if custom.states > 1 else zeros[0]

        def step(self, x, state):
            return custom.step(tr, self, x, state)

    return CustomCell()


def torch_module(torch, custom: Custom, shape: Shape):
    """The same cell as a PyTorch module that loops over time, as one writes it there."""

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, array in arrays(custom, shape).items():
                setattr(self, name, torch.nn.Parameter(torch.from_numpy(array)))

        def forward(self, xs):
            zeros = tuple(xs.new_zeros(xs.shape[1], shape.H) for _ in range(custom.states))
            state = zeros if custom.states > 1 else zeros[0]
            outputs = []
            for x in xs:
                y, state = custom.step(torch, self, x, state)
                outputs.append(y)
            return torch.stack(outputs), state

    return Loop()


def matrix_flops(parameters, shape: Shape) -> int:
    """Floating-point operations of the matrix products of a forward pass, from the shapes of all weights."""
    return 2 * shape.T * shape.B * sum(int(np.prod(p.shape)) for p in parameters if len(p.shape) == 2)
