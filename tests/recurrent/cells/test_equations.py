"""The built-in cells against their papers' equations, run in NumPy, and how their parameters begin."""

from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.testing.cell_table import EQUATIONS

from ..sequences import scan

T, B, I, H = 5, 3, 4, 6
NUMPY = SimpleNamespace(
    tanh=np.tanh, exp=np.exp, sin=np.sin, cos=np.cos, sqrt=np.sqrt,
    log=np.log, abs=np.abs, maximum=np.maximum, sigmoid=lambda a: 1 / (1 + np.exp(-a)), relu=lambda a: np.maximum(a, 0),
)  # fmt: skip


def moved(kind):
    """A cell whose parameters, biases too, are random."""
    cell, rng = kind(I, H, dtype="float64"), np.random.default_rng(1)
    for p in cell.parameters():
        p.data += 0.2 * rng.standard_normal(p.shape)
    return cell


@pytest.mark.parametrize("kind", EQUATIONS, ids=lambda k: k.__name__)
def test_cells_equal_their_equations(kind):
    cell, (step, _) = moved(kind), EQUATIONS[kind]
    weights, rng = SimpleNamespace(**EQUATIONS[kind].weights(cell)), np.random.default_rng(2)
    x = rng.standard_normal((T, B, I))
    state = tree.map(lambda s: rng.standard_normal(s.shape), step.states(B, I, H))
    ys, final = scan(cell, x, state)
    for t in range(T):
        y, state = step.step(NUMPY, weights, x[t], state)
        np.testing.assert_allclose(ys.numpy()[t], y, rtol=1e-11, atol=1e-12)
    for a, b in zip(tree.flatten(final)[0], tree.flatten(state)[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", EQUATIONS, ids=lambda k: k.__name__)
def test_equations_have_all_weights(kind):
    """Each number of each parameter is in one weight, of the shape that the equations say."""
    cell, equations = kind(I, H), EQUATIONS[kind]
    for p in cell.parameters():
        p.data[...] = 0
    shapes = equations.step.weights(I, H)
    assert {*equations.places} == {*shapes}
    equations.load(cell, {key: np.ones(shape, np.float32) for key, shape in shapes.items()})
    assert {key: w.shape for key, w in equations.weights(cell).items()} == shapes
    assert all((p.numpy() == 1).all() for p in cell.parameters())
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == sum(p.size for p in cell.parameters())


def test_the_states_of_an_lru_are_parts_of_complex_numbers():
    cell = moved(nn.LRUCell)
    p, rng = cell.state_dict(), np.random.default_rng(2)
    x, (re, im) = rng.standard_normal((B, I)), rng.standard_normal((2, B, H))
    b_re, b_im = np.split(p["weight_b"], 2)
    c_re, c_im = np.split(p["weight_c"], 2, axis=1)
    eigenvalues = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    s = eigenvalues * (re + 1j * im) + np.exp(p["gamma_log"]) * (x @ (b_re + 1j * b_im).T)
    y, (new_re, new_im) = cell.step(tr.tensor(x), (tr.tensor(re), tr.tensor(im)))
    np.testing.assert_allclose(y.numpy(), (s @ (c_re - 1j * c_im).T).real + x @ p["weight_d"].T, rtol=1e-11)
    np.testing.assert_allclose(new_re.numpy() + 1j * new_im.numpy(), s, rtol=1e-11)


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
