"""Cells of memories, times, spikes and convolutions against loops in NumPy, and the errors of their options."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent.cells.memory_unit import exponential, legendre_memory
from tinygrad_rnn.testing import check_cell

T, B, I, H = 6, 3, 4, 5
sigmoid = lambda a: 1 / (1 + np.exp(-a))


def moved(cell):
    rng = np.random.default_rng(1)
    for p in cell.parameters():
        p.data[...] += 0.3 * rng.standard_normal(p.shape)
    return cell


def both(cell, x):
    """Outputs of the tape, which those of a compiled loop equal."""
    found = [nn.Recurrent(cell, mode=mode)(x)[0].numpy() for mode in ("eager", "compiled")]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-11, atol=1e-13)
    return found[0]


def draw(*shape):
    return np.random.default_rng(2).standard_normal(shape)


def test_lmu():
    cell, x = moved(nn.LMUCell(I, H, memory_size=3, window=7.0, dtype="float64")), draw(T, B, I)
    p = cell.state_dict()
    a, b = legendre_memory(3, 7.0)
    h, m = np.zeros((B, H)), np.zeros((B, 3))
    for t, y in enumerate(both(cell, x)):
        u = x[t] @ p["e_x"] + h @ p["e_h"] + m @ p["e_m"]
        m = m @ a.T + u[:, None] * b
        h = np.tanh(x[t] @ p["weight_ih"].T + h @ p["weight_hh"].T + m @ p["weight_mh"].T)
        np.testing.assert_allclose(y, h, rtol=1e-11, atol=1e-13)


def test_the_memory_of_an_lmu_holds_a_window():
    """Section 2 of the paper: the input `window` steps ago is a sum of all coefficients."""
    a, b = legendre_memory(12, 50.0)
    m, u = np.zeros(12), np.sin(np.arange(400) / 15)
    for value in u:
        m = a @ m + b * value
    assert abs(m.sum() - u[-1 - 50]) < 0.05
    assert abs((m * (-1.0) ** np.arange(12)).sum() - u[-1]) < 0.05


def test_exponentials():
    angle = 40.0
    turned = exponential(np.array([[0.0, -angle], [angle, 0.0]]))
    wanted = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(turned, wanted, atol=1e-11)
    np.testing.assert_array_equal(exponential(np.zeros((2, 2))), np.eye(2))


def test_cfc_with_times():
    cell, x, times = moved(nn.CfCCell(I, H, backbone_size=7, dtype="float64")), draw(T, B, I), abs(draw(T, B, 1))
    p, h = cell.state_dict(), np.zeros((B, H))
    for t, y in enumerate(both(cell, (x, times))):
        z = x[t] @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"]
        g, k, f, s = np.split(1.7159 * np.tanh(2 / 3 * z) @ p["weight_z"].T + p["bias_z"], 4, -1)
        gate = sigmoid(f * times[t] + s)
        h = np.tanh(g) * (1 - gate) + np.tanh(k) * gate
        np.testing.assert_allclose(y, h, rtol=1e-11, atol=1e-13)
    ones = both(cell, (x, np.ones((T, B, 1))))
    np.testing.assert_allclose(both(cell, x), ones, rtol=1e-13)


@pytest.mark.parametrize("recurrent", [True, False])
def test_lif(recurrent):
    cell = nn.LIFCell(I, H, alpha=0.8, beta=0.7, threshold=0.5, recurrent=recurrent, dtype="float64")
    cell, x = moved(cell), 3 * draw(T, B, I)
    p, (i, v, s) = cell.state_dict(), np.zeros((3, B, H))
    found = both(cell, x)
    for t, y in enumerate(found):
        v = 0.7 * v + i - 0.5 * s
        i = 0.8 * i + x[t] @ p["weight_ih"].T + (s @ p["weight_hh"].T if recurrent else 0)
        s = (v > 0.5) * 1.0
        np.testing.assert_array_equal(y, s)
    assert 0.05 < found.mean() < 0.95


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_gradient_of_spikes_is_that_of_the_stand_in(mode):
    """The membrane's potential after two steps is W x: the first spike that a current can make."""
    cell = nn.LIFCell(1, 1, slope=3.0, dtype="float64")
    x = tr.tensor(np.array([[[0.9]], [[0.0]]]), requires_grad=True)
    with tr.no_grad():
        cell.weight_ih.copy_(np.array([[1.5]]))
    nn.Recurrent(cell, mode=mode)(x)[0].sum().backward()
    wanted = 0.9 / (1 + 3.0 * abs(0.9 * 1.5 - 1.0)) ** 2
    np.testing.assert_allclose(cell.weight_ih.grad.numpy(), [[wanted]], rtol=1e-12)


def test_conv_lstm_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    L, C, K, kernel = 6, 2, 3, 5
    cell, x = moved(nn.ConvLSTMCell(L * C, L * K, length=L, kernel_size=kernel, dtype="float64")), draw(T, B, L * C)
    p = {name: torch.tensor(np.array(v)) for name, v in cell.state_dict().items()}

    def convolved(v, weight):  # (B, L, n), as PyTorch has it: (B, n, L)
        taps = weight.reshape(len(weight), kernel, -1).permute(0, 2, 1)
        return torch.nn.functional.conv1d(v.permute(0, 2, 1), taps, padding=kernel // 2).permute(0, 2, 1)

    h = c = torch.zeros(B, L, K, dtype=torch.float64)
    for t, y in enumerate(both(cell, x)):
        gates = (
            convolved(torch.tensor(x[t]).reshape(B, L, C), p["weight_ih"]) + convolved(h, p["weight_hh"]) + p["bias"]
        )
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        np.testing.assert_allclose(y, h.reshape(B, -1).numpy(), rtol=1e-11, atol=1e-13)


SURROGATE = ["gradients_of_inputs", "gradients_of_states", "gradients_of_parameters"]  # which differences do not show
KINDS = {
    "lmu": lambda: nn.LMUCell(2, 3, memory_size=3, window=4.0),
    "cfc": lambda: nn.CfCCell(2, 3),
    "conv_lstm": lambda: nn.ConvLSTMCell(4, 6, length=2),
    "lif": lambda: nn.LIFCell(2, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_checks(name):
    check_cell(KINDS[name], skip=[] if name != "lif" else SURROGATE)
    assert type(KINDS[name]()) is nn.cell_by_name(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LMUCell(3, 4, window=0), "LMUCell: window: got 0, wanted a positive number of steps"),
        (lambda: nn.LMUCell(3, 4, memory_size=0), "LMUCell: memory_size: got 0"),
        (lambda: nn.CfCCell(3, 4, backbone_size=1.5), "CfCCell: backbone_size: got 1.5"),
        (lambda: nn.LIFCell(3, 4, beta=1.5), "LIFCell: beta: got 1.5, wanted a share from 0 to 1"),
        (lambda: nn.LIFCell(3, 4, slope=0), "LIFCell: slope: got 0, wanted a positive number"),
        (lambda: nn.ConvLSTMCell(6, 4, length=3), "ConvLSTMCell: length: got 3, wanted a divisor of hidden_size=4"),
        (lambda: nn.ConvLSTMCell(6, 6, kernel_size=2), "ConvLSTMCell: kernel_size: got 2, wanted an odd number"),
    ],
)
def test_options_have_words(make, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()
