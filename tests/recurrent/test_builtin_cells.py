"""The built-in cells against their papers' equations in NumPy, and how their parameters begin."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from .cases import scan

T, B, I, H = 5, 3, 4, 6


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def normalised(a, gain, eps=1e-5):
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + eps) * gain


def gates(p, x, h, n):
    return np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], n, axis=-1)


def peephole_lstm(p, x, state):
    h, c = state
    i, f, g, o = gates(p, x, h, 4)
    p_i, p_f, p_o = np.split(p["weight_c"], 3)
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * new) * np.tanh(new)
    return h, (h, new)


def cifg(p, x, state):
    h, c = state
    f, g, o = gates(p, x, h, 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, (h, c)


def mgu(p, x, h):
    (wf, wn), (uf, un), (bf, bn) = (np.split(p[k], 2) for k in ("weight_ih", "weight_hh", "bias"))
    f = sigmoid(x @ wf.T + h @ uf.T + bf)
    h = (1 - f) * h + f * np.tanh(x @ wn.T + (f * h) @ un.T + bn)
    return h, h


def ugrnn(p, x, h):
    g, n = gates(p, x, h, 2)
    h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(n)
    return h, h


def fastgrnn(p, x, h):
    a = x @ p["weight_ih"].T + h @ p["weight_hh"].T
    z, n = sigmoid(a + p["bias_z"]), np.tanh(a + p["bias_n"])
    h = (sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * n + z * h
    return h, h


def layernorm_lstm(p, x, state):
    h, c = state
    a = normalised(x @ p["weight_ih"].T, p["norm_ih.weight"]) + normalised(h @ p["weight_hh"].T, p["norm_hh.weight"])
    i, f, g, o = np.split(a + p["bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalised(c, p["norm_c.weight"]) + p["norm_c.bias"])
    return h, (h, c)


def layernorm_gru(p, x, h):
    (wg, wn), (ug, un), (bg, bn) = (np.split(p[k], [2 * H]) for k in ("weight_ih", "weight_hh", "bias"))
    a = normalised(x @ wg.T, p["norm_ih.weight"]) + normalised(h @ ug.T, p["norm_hh.weight"]) + bg
    r, z = np.split(sigmoid(a), 2, axis=-1)
    recurrent = normalised(h @ un.T, p["norm_hn.weight"]) + p["norm_hn.bias"]
    h = (1 - z) * np.tanh(normalised(x @ wn.T, p["norm_in.weight"]) + bn + r * recurrent) + z * h
    return h, h


def indrnn(p, x, h):
    h = np.maximum(x @ p["weight_ih"].T + p["weight_hh"] * h + p["bias"], 0)
    return h, h


def mingru(p, x, h):
    z, n = np.split(x @ p["weight_ih"].T + p["bias"], 2, axis=-1)
    h = (1 - sigmoid(z)) * h + sigmoid(z) * n
    return h, h


def minlstm(p, x, h):
    f, i, n = np.split(x @ p["weight_ih"].T + p["bias"], 3, axis=-1)
    total = sigmoid(f) + sigmoid(i)
    h = sigmoid(f) / total * h + sigmoid(i) / total * n
    return h, h


def lru(p, x, state):
    b_re, b_im = np.split(p["weight_b"], 2)
    c_re, c_im = np.split(p["weight_c"], 2, axis=1)
    eigenvalues = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    s = eigenvalues * (state[0] + 1j * state[1]) + np.exp(p["gamma_log"]) * (x @ (b_re + 1j * b_im).T)
    y = (s @ (c_re - 1j * c_im).T).real + x @ p["weight_d"].T
    return y, (s.real, s.imag)


EQUATIONS = {
    nn.PeepholeLSTMCell: peephole_lstm, nn.CIFGCell: cifg, nn.MGUCell: mgu, nn.UGRNNCell: ugrnn,
    nn.FastGRNNCell: fastgrnn, nn.LayerNormLSTMCell: layernorm_lstm, nn.LayerNormGRUCell: layernorm_gru,
    nn.IndRNNCell: indrnn, nn.MinGRUCell: mingru, nn.MinLSTMCell: minlstm, nn.LRUCell: lru,
}  # fmt: skip


@pytest.mark.parametrize("kind", EQUATIONS, ids=lambda k: k.__name__)
def test_cells_equal_their_equations(kind):
    tr.seed(0)
    cell = kind(I, H, dtype="float64")
    rng = np.random.default_rng(1)
    for p in cell.parameters():
        p.data += 0.2 * rng.standard_normal(p.shape)
    weights = cell.state_dict()
    x = rng.standard_normal((T, B, I))
    two = isinstance(cell.initial_state(1), tuple)
    state = tuple(rng.standard_normal((B, H)) for _ in range(2)) if two else rng.standard_normal((B, H))
    ys, final = scan(cell, x, state)
    for t in range(T):
        y, state = EQUATIONS[kind](weights, x[t], state)
        np.testing.assert_allclose(ys.numpy()[t], y, rtol=1e-11, atol=1e-12)
    for a, b in zip(final if two else (final,), state if two else (state,)):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-11, atol=1e-12)


# ---- how parameters begin


@pytest.mark.parametrize(
    ("kind", "gates", "forget"),
    [
        (nn.RNNCell, 1, None), (nn.LSTMCell, 4, 1), (nn.GRUCell, 3, None), (nn.PeepholeLSTMCell, 4, 1),
        (nn.CIFGCell, 3, 0), (nn.MGUCell, 2, None), (nn.UGRNNCell, 2, 0), (nn.LayerNormLSTMCell, 4, 1),
        (nn.LayerNormGRUCell, 3, None), (nn.MinGRUCell, 2, None), (nn.MinLSTMCell, 3, 0),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)  # fmt: skip
def test_gates_begin_orthogonal_and_open_to_the_past(kind, gates, forget):
    cell = kind(5, 4, dtype=np.float64)
    assert cell.weight_ih.shape == (4 * gates, 5)
    assert 0.3 < np.abs(cell.weight_ih.numpy()).max() <= np.sqrt(6 / 9)
    if kind not in (nn.MinGRUCell, nn.MinLSTMCell):
        for block in np.split(cell.weight_hh.numpy(), gates):
            np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-12)
    bias = np.zeros((gates, 4))
    if forget is not None:
        bias[forget] = 1
    first = cell.bias_ih if "bias_ih" in cell.biases else cell.bias
    np.testing.assert_array_equal(first.numpy(), bias.ravel())
    if "bias_hh" in cell.biases:
        np.testing.assert_array_equal(cell.bias_hh.numpy(), 0)


def test_what_papers_say_of_other_parameters():
    tr.seed(0)
    peepholes = nn.PeepholeLSTMCell(3, 100).weight_c.numpy()
    assert abs(peepholes.std() - 0.1) < 0.02
    cell = nn.FastGRNNCell(3, 4)
    assert (cell.zeta.item(), cell.nu.item()) == (1.0, -4.0)
    assert (cell.bias_z.numpy() == 1).all()
    assert (cell.bias_n.numpy() == 1).all()
    projected = nn.LSTMCell(3, 6, proj_size=2, dtype="float64")
    for block in np.split(projected.weight_hh.numpy(), 4):
        np.testing.assert_allclose(block.T @ block, np.eye(2), atol=1e-12)
    assert 0 < np.abs(projected.weight_hr.numpy()).max() <= np.sqrt(6 / 8)


def test_independent_units_begin_within_the_range_of_their_sequences():
    tr.seed(0)
    for steps, bound in ((None, 1.0), (1, 2.0), (10, 2 ** (1 / 10))):
        u = nn.IndRNNCell(3, 2000, max_steps=steps).weight_hh.numpy()
        assert 0 <= u.min() < 0.01 * bound
        assert 0.99 * bound < u.max() <= bound
        assert abs(u.mean() - bound / 2) < 0.02 * bound


@pytest.mark.parametrize(("r_min", "r_max", "phase"), [(0.0, 1.0, 2 * np.pi), (0.9, 0.99, 0.3)])
def test_eigenvalues_begin_in_a_ring(r_min, r_max, phase):
    tr.seed(0)
    cell = nn.LRUCell(3, 800, r_min, r_max, phase, dtype="float64")
    size, angle = np.exp(-np.exp(cell.nu_log.numpy())), np.exp(cell.theta_log.numpy())
    assert r_min <= size.min()
    assert size.max() <= r_max
    area = (size**2 - r_min**2) / (r_max**2 - r_min**2)
    assert abs(area.mean() - 1 / 2) < 0.04  # uniform on the ring, not on its radius
    assert abs(area.std() - np.sqrt(1 / 12)) < 0.02
    assert angle.min() > 0
    assert angle.max() <= phase
    assert abs(angle.mean() - phase / 2) < 0.04 * phase
    np.testing.assert_allclose(np.exp(cell.gamma_log.numpy()), np.sqrt(1 - size**2), rtol=1e-9)
    assert abs(cell.weight_b.numpy().std() - np.sqrt(1 / 6)) < 0.02
    assert nn.LRUCell(3, 8).nu_log.dtype == np.float32


def test_a_linear_unit_keeps_the_scale_of_white_noise():
    """gamma makes up for what adds up over time: at every radius the state settles at the variance of B x."""
    tr.seed(0)
    cell = nn.LRUCell(50, 300, r_min=0.5, r_max=0.99, dtype="float64")
    x = np.random.default_rng(0).standard_normal((800, 4, 50))
    with tr.no_grad():
        _, (re, im) = nn.Recurrent(cell, mode="eager")(x)
    np.testing.assert_allclose((re.numpy() ** 2 + im.numpy() ** 2).mean(), 1.0, rtol=0.15)


def test_torch_initialisation_leaves_gains_alone():
    cell = nn.LayerNormGRUCell(3, 4, init="torch")
    assert (cell.norm_ih.weight.numpy() == 1).all()
    assert 0 < np.abs(cell.bias.numpy()).max() <= 0.5
    cell.norm_ih.weight.data[...] = 3
    cell.reset_parameters()
    assert (cell.norm_ih.weight.numpy() == 1).all()


def test_an_initialiser_of_ones_own_starts_from_the_default():
    def freeze_gate(cell):
        nn.init.constant(cell.nu, 0.5)

    cell = nn.FastGRNNCell(3, 4, init=freeze_gate)
    assert (cell.zeta.item(), cell.nu.item()) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTMCell(3, 4, proj_size=4), r"LSTMCell: proj_size: got 4, wanted 0 or less than hidden_size, 4"),
        (lambda: nn.LSTM(3, 4, proj_size=-1), r"LSTM: proj_size: got -1, wanted 0 or less"),
        (lambda: nn.LRUCell(3, 4, 0.9, 0.5), r"LRUCell: r_min, r_max: got 0\.9, 0\.5, wanted 0 <= r_min < r_max <= 1"),
        (lambda: nn.LRUCell(3, 4, max_phase=0), r"LRUCell: max_phase: got 0, wanted a positive angle"),
        (lambda: nn.IndRNNCell(3, 4, max_steps=0), r"IndRNNCell: max_steps: got 0, wanted a positive integer"),
        (lambda: nn.IndRNNCell(3, 4, nonlinearity="elu"), r"IndRNNCell: nonlinearity: got 'elu', wanted one of tanh"),
        (
            lambda: nn.Stacked([nn.LSTMCell(3, 4, proj_size=2), nn.GRUCell(4, 4)]),
            r"Stacked: cells\[1\]: got input_size 4, wanted 2 as the cell before it puts out",
        ),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
