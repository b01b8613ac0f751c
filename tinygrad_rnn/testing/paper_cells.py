"""Cells from papers, each one function of plain maths for this package, PyTorch, JAX and NumPy.

`lib` has tanh, sigmoid, relu, sqrt, exp, log, sin, cos, abs and maximum; no step uses another function. Weights are in
input by output order, so that ``x @ p.w`` is the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..recurrent.cells.memory_unit import legendre_memory
from .step_cells import Shape, StepCell, columns, gates, pair

PAPER_CELLS: dict[str, StepCell] = {}


def row(weights: Callable[[int, int], dict[str, tuple[int, ...]]], **more: Any) -> Callable[[Callable], Callable]:
    """Add the decorated step to the table, under its own name."""

    def add(step):
        PAPER_CELLS[step.__name__] = StepCell(step.__name__, step, weights, **more)
        return step

    return add


@row(gates(1, b_h=1))
def rnn(lib, p, x, h):
    """Elman 1990, with PyTorch's two biases."""
    h = lib.tanh(x @ p.w + h @ p.u + (p.b + p.b_h))
    return h, h


@row(gates(4, b_h=4), state=pair)
def lstm(lib, p, x, state):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000 and PyTorch's two biases."""
    h, c = state
    i, f, g, o = columns(x @ p.w + h @ p.u + (p.b + p.b_h), 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)


@row(gates(3, b_h=3))
def gru(lib, p, x, h):
    """Cho et al. 2014, with the reset gate after the product, as PyTorch and cuDNN have it."""
    x_r, x_z, x_n = columns(x @ p.w + p.b, 3)
    h_r, h_z, h_n = columns(h @ p.u + p.b_h, 3)
    n = lib.tanh(x_n + lib.sigmoid(x_r + h_r) * h_n)
    h = n + lib.sigmoid(x_z + h_z) * (h - n)
    return h, h


@row(gates(4, p_i=1, p_f=1, p_o=1), state=pair)
def peephole_lstm(lib, p, x, state):
    """Gers and Schmidhuber 2000."""
    h, c = state
    i, f, g, o = columns(x @ p.w + h @ p.u + p.b, 4)
    i, f = lib.sigmoid(i + p.p_i * c), lib.sigmoid(f + p.p_f * c)
    c = f * c + i * lib.tanh(g)
    h = lib.sigmoid(o + p.p_o * c) * lib.tanh(c)
    return h, (h, c)


@row(gates(3), state=pair)
def coupled_lstm(lib, p, x, state):
    """An LSTM whose input gate is what the forget gate leaves, Greff et al. 2017."""
    h, c = state
    f, g, o = columns(x @ p.w + h @ p.u + p.b, 3)
    f = lib.sigmoid(f)
    c = f * c + (1 - f) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)


@row(lambda I, H: {"w_f": (I, H), "w_n": (I, H), "u_f": (H, H), "u_n": (H, H), "b_f": (H,), "b_n": (H,)})
def mgu(lib, p, x, h):
    """Minimal gated unit, Zhou et al. 2016."""
    f = lib.sigmoid(x @ p.w_f + h @ p.u_f + p.b_f)
    n = lib.tanh(x @ p.w_n + (f * h) @ p.u_n + p.b_n)
    h = (1 - f) * h + f * n
    return h, h


@row(gates(2))
def ugrnn(lib, p, x, h):
    """Update gate RNN, Collins et al. 2017."""
    g, n = columns(x @ p.w + h @ p.u + p.b, 2)
    g = lib.sigmoid(g)
    h = g * h + (1 - g) * lib.tanh(n)
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H, H), "b_z": (H,), "b_n": (H,), "zeta": (1,), "nu": (1,)})
def fastgrnn(lib, p, x, h):
    """Kusupati et al. 2018."""
    a = x @ p.w + h @ p.u
    z, n = lib.sigmoid(a + p.b_z), lib.tanh(a + p.b_n)
    h = (lib.sigmoid(p.zeta) * (1 - z) + lib.sigmoid(p.nu)) * n + z * h
    return h, h


def normalised(lib, z, gain):
    """Layer normalisation without a shift."""
    z = z - z.mean(-1)[:, None]
    return z / lib.sqrt((z * z).mean(-1)[:, None] + 1e-5) * gain


@row(gates(4, gain_x=4, gain_h=4, gain_c=1, shift_c=1), state=pair)
def layernorm_lstm(lib, p, x, state):
    """Ba et al. 2016."""
    h, c = state
    i, f, g, o = columns(normalised(lib, x @ p.w, p.gain_x) + normalised(lib, h @ p.u, p.gain_h) + p.b, 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(normalised(lib, c, p.gain_c) + p.shift_c)
    return h, (h, c)


@row(gates(3, gain_x=2, gain_h=2, gain_xn=1, gain_hn=1, shift_hn=1))
def layernorm_gru(lib, p, x, h):
    """Ba et al. 2016, with the reset gate after the product."""
    H = h.shape[1]
    a = normalised(lib, x @ p.w[:, : 2 * H], p.gain_x) + normalised(lib, h @ p.u[:, : 2 * H], p.gain_h)
    r, z = columns(lib.sigmoid(a + p.b[: 2 * H]), 2)
    past = normalised(lib, h @ p.u[:, 2 * H :], p.gain_hn) + p.shift_hn
    n = lib.tanh(normalised(lib, x @ p.w[:, 2 * H :], p.gain_xn) + p.b[2 * H :] + r * past)
    h = (1 - z) * n + z * h
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H,), "b": (H,)})
def indrnn(lib, p, x, h):
    """Independently recurrent network, Li et al. 2018."""
    h = lib.relu(x @ p.w + p.u * h + p.b)
    return h, h


@row(lambda I, H: {"w": (I, 2 * H), "b": (2 * H,)})
def mingru(lib, p, x, h):
    """Feng et al. 2024."""
    z, n = columns(x @ p.w + p.b, 2)
    z = lib.sigmoid(z)
    h = (1 - z) * h + z * n
    return h, h


@row(lambda I, H: {"w": (I, 3 * H), "b": (3 * H,)})
def minlstm(lib, p, x, h):
    """Feng et al. 2024, with gates that sum to one."""
    f, i, n = columns(x @ p.w + p.b, 3)
    f, i = lib.sigmoid(f), lib.sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * n
    return h, h


@row(
    lambda I, H: {
        **dict.fromkeys(("b_re", "b_im"), (I, H)),
        **dict.fromkeys(("nu_log", "theta_log", "gamma_log"), (H,)),
        "c": (2 * H, H),
        "d": (I, H),
    },
    state=pair,
)
def lru(lib, p, x, state):
    """Linear recurrent unit, Orvieto et al. 2023: complex numbers, written as their two parts."""
    re, im = state
    H = re.shape[1]
    size, angle, gamma = lib.exp(-lib.exp(p.nu_log)), lib.exp(p.theta_log), lib.exp(p.gamma_log)
    a, b = size * lib.cos(angle), size * lib.sin(angle)
    re, im = a * re - b * im + gamma * (x @ p.b_re), a * im + b * re + gamma * (x @ p.b_im)
    return re @ p.c[:H] + im @ p.c[H:] + x @ p.d, (re, im)


# ---- with one head; matrices are values by keys


def outer(v, k):
    return v[:, :, None] * k[:, None, :]


def read(matrix, q):
    return (matrix * q[:, None, :]).sum(-1)


def softplus(lib, a):
    return lib.relu(a) + lib.log(1 + lib.exp(-lib.abs(a)))


def unit(lib, v):
    return v / lib.sqrt((v * v).sum(-1)[:, None] + 1e-6)


def projections(*names: str, gates: int) -> Callable[[int, int], dict[str, tuple[int, ...]]]:
    """Matrices from the input, and one for so many numbers."""
    more = {"w_g": gates, "b_g": gates} if gates else {}
    return lambda I, H: (
        {f"w_{name}": (I, H) for name in names} | {name: (I, n) if name == "w_g" else (n,) for name, n in more.items()}
    )


@row(gates(4), state=lambda I, H: (Shape(1, H),) * 4)
def slstm(lib, p, x, state):
    """Beck et al. 2024, section 2.2, with one head and the stabiliser m."""
    h, c, n, m = (v[:, 0] for v in state)
    i, f, z, o = columns(x @ p.w + h @ p.u + p.b, 4)
    f = m - softplus(lib, -f)
    m = lib.maximum(f, i)
    f, i = lib.exp(f - m), lib.exp(i - m)
    c, n = f * c + i * lib.tanh(z), f * n + i
    h = lib.sigmoid(o) * c / n
    return h, tuple(v[:, None] for v in (h, c, n, m))


@row(
    lambda I, H: projections(*"qkvo", gates=2)(I, H) | {"b_o": (H,)},
    state=lambda I, H: (Shape(1, H, H), Shape(1, H), Shape(1)),
)
def mlstm(lib, p, x, state):
    """Beck et al. 2024, section 2.3, with one head and the stabiliser m."""
    c, n, m = state[0][:, 0], state[1][:, 0], state[2]
    q, k, v = x @ p.w_q, x @ p.w_k / p.w_k.shape[1] ** 0.5, x @ p.w_v
    i, f = columns(x @ p.w_g + p.b_g, 2)
    f = m - softplus(lib, -f)
    m = lib.maximum(f, i)
    f, i = lib.exp(f - m), lib.exp(i - m)
    c, n = f[:, :, None] * c + outer(i * v, k), f * n + i * k
    y = read(c, q) / lib.maximum(lib.abs((n * q).sum(-1)[:, None]), lib.exp(-m))
    return lib.sigmoid(x @ p.w_o + p.b_o) * y, (c[:, None], n[:, None], m)


@row(projections(*"qkv", gates=0), state=lambda I, H: (Shape(1, H, H), Shape(1, H)))
def linear_attention(lib, p, x, state):
    """Katharopoulos et al. 2020, section 3.4, with elu(a) + 1 as features."""
    s, z = state[0][:, 0], state[1][:, 0]
    q, k = (lib.relu(a) + lib.exp(a - lib.relu(a)) for a in (x @ p.w_q, x @ p.w_k))
    s, z = s + outer(x @ p.w_v, k), z + k
    return read(s, q) / (z * q).sum(-1)[:, None], (s[:, None], z[:, None])


@row(projections(*"qkv", gates=1), state=lambda I, H: Shape(1, H, H))
def deltanet(lib, p, x, state):
    """Schlag et al. 2021, section 4.2, with keys and queries of length one as in Yang et al. 2024."""
    s, q, k = state[:, 0], unit(lib, x @ p.w_q), unit(lib, x @ p.w_k)
    s = s + outer(lib.sigmoid(x @ p.w_g + p.b_g) * (x @ p.w_v - read(s, k)), k)
    return read(s, q), s[:, None]


@row(lambda I, H: projections(*"qkv", gates=2)(I, H) | {"a_log": (1,)}, state=lambda I, H: Shape(1, H, H))
def gated_deltanet(lib, p, x, state):
    """Yang, Kautz and Hatamizadeh 2024, section 3.1."""
    s, q, k = state[:, 0], unit(lib, x @ p.w_q), unit(lib, x @ p.w_k)
    a, b = columns(x @ p.w_g + p.b_g, 2)
    s = lib.exp(-lib.exp(p.a_log) * softplus(lib, a))[:, :, None] * s
    s = s + outer(lib.sigmoid(b) * (x @ p.w_v - read(s, k)), k)
    return read(s, q), s[:, None]


@row(
    lambda I, H: {
        "w_u": (I, H),
        "w_d": (I, H),
        "w_b": (I, 16),
        "w_c": (I, 16),
        "b_d": (H,),
        "a_log": (16, H),
        "d": (H,),
    },
    state=lambda I, H: Shape(H, 16),
)
def s6(lib, p, x, h):
    """Gu and Dao 2023, section 3.2, algorithm 2."""
    u, delta = x @ p.w_u, softplus(lib, x @ p.w_d + p.b_d)
    h = lib.exp(-delta[:, :, None] * lib.exp(p.a_log).T) * h + outer(delta * u, x @ p.w_b)
    return read(h, x @ p.w_c) + p.d * u, h


# ---- as they are with the options that cells have by default


@row(
    lambda I, H: {"e_x": (I,), "e_h": (H,), "e_m": (16,), "w": (I, H), "u": (H, H), "w_m": (16, H)},
    state=lambda I, H: (Shape(H), Shape(16)),
)
def lmu(lib, p, x, state):
    """Voelker, Kajic and Eliasmith 2019, section 2, with 16 polynomials and a window of 64 steps."""
    h, m = state
    a, b = legendre_memory(16, 64.0)
    m = m @ a.T + (x @ p.e_x + h @ p.e_h + m @ p.e_m)[:, None] * b
    h = lib.tanh(x @ p.w + h @ p.u + m @ p.w_m)
    return h, (h, m)


@row(lambda I, H: {"w": (I, H), "u": (H, H), "b": (H,), "w_z": (H, 4 * H), "b_z": (4 * H,)})
def cfc(lib, p, x, h):
    """Hasani et al. 2022, equation 4, with steps of length one."""
    z = 1.7159 * lib.tanh((x @ p.w + h @ p.u + p.b) * (2.0 / 3.0))
    g, k, f, s = columns(z @ p.w_z + p.b_z, 4)
    gate = lib.sigmoid(f + s)
    h = lib.tanh(g) * (1.0 - gate) + lib.tanh(k) * gate
    return h, h


@row(lambda I, H: {"w": (I, H), "u": (H, H)}, state=lambda I, H: (Shape(H),) * 3)
def lif(lib, p, x, state):
    """Neftci, Mostafa and Zenke 2019, equations 4 and 5; the gradient of its spikes is zero."""
    i, v, s = state
    v, i = 0.85 * v + i - s, 0.9 * i + x @ p.w + s @ p.u
    s = lib.relu(v - 1.0) / lib.abs(v - 1.0)
    return s, (i, v, s)


@row(
    lambda I, H: {"w": (3 * I, 4 * H), "u": (3 * H, 4 * H), "b": (4 * H,)},
    state=lambda I, H: (Shape(1, H), Shape(1, H)),
)
def conv_lstm(lib, p, x, state):
    """Shi et al. 2015, section 3.1, with one place, of which the kernel has the second of three."""
    (h, c), I, H = (v[:, 0] for v in state), x.shape[1], p.u.shape[0] // 3
    i, f, g, o = columns(x @ p.w[I : 2 * I] + h @ p.u[H : 2 * H] + p.b, 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h[:, None], c[:, None])


# ---- not built in


@row(lambda I, H: gates(2)(I, H) | {"w_n": (I, H)})
def cfn(lib, p, x, h):
    """Chaos-free network, Laurent and von Brecht 2017."""
    i, f = columns(x @ p.w + h @ p.u + p.b, 2)
    h = lib.sigmoid(f) * lib.tanh(h) + lib.sigmoid(i) * lib.tanh(x @ p.w_n)
    return h, h


@row(lambda I, H: gates(4)(I, H) | {"w_m": (I, H), "u_m": (H, H)}, state=pair)
def multiplicative_lstm(lib, p, x, state):
    """Krause et al. 2016: two products in a row within one step."""
    h, c = state
    m = (x @ p.w_m) * (h @ p.u_m)
    i, f, g, o = columns(x @ p.w + m @ p.u + p.b, 4)
    c = lib.sigmoid(f) * c + lib.sigmoid(i) * lib.tanh(g)
    h = lib.sigmoid(o) * lib.tanh(c)
    return h, (h, c)
