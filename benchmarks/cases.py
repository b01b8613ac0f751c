"""The shapes and cells that benchmarks compare.

Cells are those of :mod:`tinygrad_rnn.testing.cell_table`: each is one function of plain maths that runs on either
library, so every side computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_rnn import nn
from tinygrad_rnn.testing.cell_table import EQUATIONS, PAPER_CELLS
from tinygrad_rnn.testing.paper_cells import normalised
from tinygrad_rnn.testing.step_cells import StepCell, columns, gates, one_state, pair


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


# ---- cells that PyTorch and JAX do not ship, by the names that results have; both libraries run their equations


def multiplicative_integration(lib, p, x, h):
    """Wu et al. 2016: what comes from the input and from the state is multiplied, too."""
    a, r = x @ p.w, h @ p.u
    h = lib.tanh(p.gain * a * r + p.gain_x * a + p.gain_h * r + p.b)
    return h, h


def normalised_mgu(lib, p, x, h):
    """A minimal gated unit with one product of the state, after which both gates are normalised."""
    f, n = columns(normalised(lib, x @ p.w + h @ p.u, p.gain) + p.b, 2)
    f = lib.sigmoid(f)
    h = (1 - f) * h + f * lib.tanh(n)
    return h, h


CELLS = {
    "peephole": PAPER_CELLS["peephole_lstm"],
    "mgu": PAPER_CELLS["mgu"],
    "layernorm": PAPER_CELLS["layernorm_lstm"],
    "indrnn": PAPER_CELLS["indrnn"],
    "coupled": PAPER_CELLS["coupled_lstm"],
    "ugrnn": PAPER_CELLS["ugrnn"],
    "cfn": PAPER_CELLS["cfn"],
    "mlstm": PAPER_CELLS["multiplicative_lstm"],
    "mirnn": StepCell("mirnn", multiplicative_integration, gates(1, gain=1, gain_x=1, gain_h=1)),
    "lnmgu": StepCell("lnmgu", normalised_mgu, gates(2, gain=2)),
}
CUSTOM = {name: CELLS[name] for name in ("peephole", "mgu", "layernorm", "indrnn")}  # what `layers` compares
STEPS = {name: PAPER_CELLS[name] for name in BUILTIN}  # JAX has no recurrent layers to compare with
BUILT = {name: kind for name, cell in CELLS.items() for kind, e in EQUATIONS.items() if e.step is cell}
NAMES = {key: f"{name}_l0" for key, (name, _) in EQUATIONS[nn.LSTMCell].places.items()}  # in PyTorch, transposed


# ---- a cell of many small states


def _vectors(n: int) -> Callable[[int, int], dict[str, tuple[int, ...]]]:
    return lambda I, H: {f"{name}_{i}": (H,) for i in range(n) for name in "bu"}


def reservoirs(lib, p, x, state):
    """Nonlinear reservoirs in a row: each follows the one before, at a rate that it sets itself; gives their mean."""
    filled, total = [], 0.0
    for i, s in enumerate(state):
        x = s + lib.sigmoid(getattr(p, f"b_{i}") + getattr(p, f"u_{i}") * s) * (x - s)
        filled.append(x)
        total = total + x
    return total * (1 / len(state)), tuple(filled)


RESERVOIRS = 60
SCALARS = StepCell("reservoirs", reservoirs, _vectors(RESERVOIRS), lambda I, H: (one_state(I, H),) * RESERVOIRS)
LOOPS = {**CELLS, SCALARS.name: SCALARS}  # what PyTorch runs in an eager loop


# ---- the built-in cells without products: what their gates cost, and the call itself


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


GATES = {
    "rnn": StepCell("rnn_gates", rnn_gates, _vectors(1)),
    "lstm": StepCell("lstm_gates", lstm_gates, _vectors(4), pair),
    "gru": StepCell("gru_gates", gru_gates, lambda I, H: _vectors(3)(I, H) | {"b_3": (H,)}),
}


# ---- making them


def arrays(custom: StepCell, shape: Shape) -> dict[str, np.ndarray]:
    """Weights: small and random, gains around one."""
    rng = np.random.default_rng(0)
    bound = 1 / np.sqrt(shape.H)
    return {
        name: (rng.uniform(-bound, bound, size) + name.startswith("gain")).astype(np.float32)
        for name, size in custom.weights(shape.I, shape.H).items()
    }


def cell(custom: StepCell, shape: Shape) -> nn.Cell:
    """The cell for our layers."""
    made = custom.cell(shape.I, shape.H, "float32")
    for name, array in arrays(custom, shape).items():
        getattr(made, name).data[...] = array
    return made


def built_in_cell(kind: type[nn.Cell], shape: Shape) -> nn.Cell:
    """The built-in cell with the weights that the equations get."""
    made = kind(shape.I, shape.H)  # type: ignore[call-arg]
    equations = EQUATIONS[kind]
    equations.load(made, arrays(equations.step, shape))
    return made


def torch_module(torch, custom: StepCell, shape: Shape):
    """The same cell as a PyTorch module that loops over time, as one writes it there."""

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, array in arrays(custom, shape).items():
                setattr(self, name, torch.nn.Parameter(torch.from_numpy(array)))

        def forward(self, xs):
            zeros = tuple(xs.new_zeros(xs.shape[1], shape.H) for _ in range(custom.n_states))
            state = zeros if custom.n_states > 1 else zeros[0]
            outputs = []
            for x in xs:
                y, state = custom.step(torch, self, x, state)
                outputs.append(y)
            return torch.stack(outputs), state

    return Loop()


def matrix_flops(parameters, shape: Shape) -> int:
    """Floating-point operations of the matrix products of a forward pass, from the shapes of all weights."""
    return 2 * shape.T * shape.B * sum(int(np.prod(p.shape)) for p in parameters if len(p.shape) == 2)
