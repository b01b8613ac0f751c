"""Every cell of the table: gradients, and equality of the driver with a loop written by hand."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.testing.cell_table import CELLS

from ...differences import check_gradients, project
from ..sequences import draw, draw_state, leaves, scan

SIZES = [(4, 2, 3, 2), (1, 1, 1, 1), (3, 1, 2, 3)]  # T, B, I, H

every_cell = pytest.mark.parametrize("case", CELLS, ids=lambda c: c.name)
smooth_cells = pytest.mark.parametrize("case", [c for c in CELLS if c.smooth], ids=lambda c: c.name)


@pytest.fixture(autouse=True)
def seed():
    tr.seed(0)


def by_hand(cell, xs, state):
    """The loop that `scan` must equal: no nests, no checks."""
    flat, structure = tree.flatten(xs)
    cell.begin_sequence(flat[0].shape[1])
    ys = []
    for t in range(flat[0].shape[0]):
        y, state = cell.step(tree.unflatten(structure, [x[t] for x in flat]), state)
        ys.append(tree.flatten(y)[0])
    return [tr.stack(column) for column in zip(*ys)], state


def gradients(outputs, wanted):
    return [g.numpy() for g in tr.grad(project(outputs), wanted)]


@pytest.mark.sampled(40)
@smooth_cells
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradients_equal_finite_differences(case, size):
    _, B, I, H = size
    cell = case.make(I, H, np.float64)
    xs, state = draw(case.shapes(*size)), draw_state(cell, B)
    wanted = [p for n, p in cell.named_parameters() if n != "first"] + leaves(xs, state)
    check_gradients(lambda: leaves(*scan(cell, xs, state)), wanted)


@pytest.mark.sampled(20)
@smooth_cells
def test_default_state_equals_finite_differences(case):
    cell = case.make(3, 2, np.float64)
    xs = draw(case.shapes(3, 2, 3, 2))
    check_gradients(lambda: leaves(scan(cell, xs)[0]), [*cell.parameters(), *leaves(xs)])


def agree(ours, theirs, wanted):
    """The same values to the bit, and the same gradients of all that are wanted but for rounding."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(gradients(ours, wanted), gradients(theirs, wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@every_cell
def test_backpropagation_through_time_equals_the_loop_by_hand(case):
    cell = case.make(3, 4, np.float64)
    xs, state = draw(case.shapes(5, 2, 3, 4)), draw_state(cell, 2)
    wanted = [p for n, p in cell.named_parameters() if n != "first"] + leaves(xs, state)
    ys, final = scan(cell, xs, state)
    expected, last = by_hand(cell, xs, state)
    assert tree.flatten(final)[1] == tree.flatten(state)[1]
    ours, theirs = leaves(ys, final), [*expected, *leaves(last)]
    agree(ours, theirs, wanted)


@every_cell
def test_chunks_equal_the_whole(case):
    cell = case.make(3, 4, np.float64)
    xs = draw(case.shapes(7, 2, 3, 4))
    wanted = [*cell.parameters(), *leaves(xs)]
    whole = leaves(*scan(cell, xs))
    first, state = scan(cell, tree.map(lambda x: x[:3], xs))
    second, state = scan(cell, tree.map(lambda x: x[3:], xs), state)
    chunked = leaves(tree.map(lambda a, b: tr.concat([a, b]), first, second), state)
    agree(whole, chunked, wanted)


@every_cell
def test_reverse_equals_flipped_sequences(case):
    cell = case.make(3, 4, np.float64)
    xs = draw(case.shapes(5, 2, 3, 4))
    ys, final = scan(cell, xs, reverse=True)
    flipped, last = scan(cell, tree.map(lambda x: tr.flip(x, 0), xs))
    expected = leaves(tree.map(lambda y: tr.flip(y, 0), flipped), last)
    for a, b in zip(leaves(ys, final), expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@every_cell
def test_rows_of_the_batch_are_independent(case):
    cell = case.make(3, 4, np.float64)
    xs = draw(case.shapes(4, 3, 3, 4))
    whole = leaves(scan(cell, xs)[0])
    row = leaves(scan(cell, tree.map(lambda x: x[:, 1:2], xs))[0])
    for a, b in zip(whole, row, strict=True):
        np.testing.assert_allclose(a.numpy()[:, 1:2], b.numpy(), rtol=1e-12, atol=1e-14)


@every_cell
def test_float32_is_close_to_float64(case):
    cell = case.make(3, 4, np.float64)
    small = case.make(3, 4, np.float32)
    assert all(p.dtype == np.float32 for p in small.parameters())
    small.load_state_dict(cell.state_dict())
    xs = draw(case.shapes(6, 2, 3, 4))
    wide = leaves(*scan(cell, xs))
    narrow = leaves(*scan(small, tree.map(lambda x: tr.tensor(x.numpy(), dtype=np.float32), xs)))
    for a, b in zip(wide, narrow, strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@every_cell
def test_state_dict_round_trip_copies_and_pickles(case):
    cell, other = case.make(3, 4, np.float64), case.make(3, 4, np.float64)
    for p in cell.parameters():
        p.data += 0.25
    xs = draw(case.shapes(3, 2, 3, 4))
    expected = leaves(*scan(cell, xs))
    other.load_state_dict(cell.state_dict())
    for twin in (other, copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        for a, b in zip(leaves(*scan(twin, xs)), expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@every_cell
def test_to_casts_the_whole_cell(case):
    cell = case.make(3, 4, np.float32).to("float64")
    assert cell.dtype == np.float64
    ys, _ = scan(cell, draw(case.shapes(2, 2, 3, 4)))
    assert all(y.dtype == np.float64 for y in leaves(ys))


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn-tanh"])
def test_second_derivatives_equal_finite_differences(name):
    case = next(c for c in CELLS if c.name == name)
    cell = case.make(2, 2, np.float64)
    xs = draw((2, 1, 2))
    wanted = [*cell.parameters(), xs]

    def first():
        return tr.grad(project(leaves(*scan(cell, xs))), wanted, create_graph=True)

    check_gradients(first, wanted)


# ---- the protocol


class Masked(nn.Cell):
    """Draws a mask once for each sequence."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.calls = 0

    def begin_sequence(self, batch_size):
        self.calls += 1
        self.mask = tr.tensor(np.full((batch_size, 3), float(self.calls)), dtype=self.dtype)

    def step(self, x, h):
        return x * self.mask, h


def test_begin_sequence_is_called_once_for_each_sequence():
    cell = Masked()
    layer = nn.Recurrent(cell, mode="eager")
    x = np.ones((4, 2, 3))
    first, _ = layer(x)
    second, _ = layer(x)
    assert cell.calls == 2
    assert first.numpy().tolist() == x.tolist()
    assert second.numpy().tolist() == (2 * x).tolist()
    assert list(cell.state_dict()) == []


def test_calling_a_cell_is_one_step():
    cell = nn.LSTMCell(3, 4)
    x = tr.randn((2, 3))
    y, state = cell(x)
    expected, final = cell.step(x, cell.initial_state(2))
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    z, _ = cell(x, state)
    np.testing.assert_array_equal(z.numpy(), cell.step(x, final)[0].numpy())


def test_a_cell_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match=r"Cell does not define step"):
        nn.Cell().step(None, None)
    with pytest.raises(NotImplementedError, match=r"Cell sets no hidden_size"):
        nn.Cell().initial_state(3)


def test_gru_before_equals_a_naive_loop():
    """Cho et al. 2014: the reset gate acts on the state, before the product."""
    cell = nn.GRUCell(3, 2, reset_after=False, dtype=np.float64)
    for p in cell.parameters():
        p.data[...] = np.random.default_rng(p.size).standard_normal(p.shape)
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    wi, wh, bi, bh = (p.numpy() for p in cell.parameters())
    h = np.zeros((4, 2))
    ys = []
    for t in range(5):
        gate = lambda k, u, t=t: (
            x[t] @ wi[2 * k : 2 * k + 2].T + bi[2 * k : 2 * k + 2]
            + u @ wh[2 * k : 2 * k + 2].T + bh[2 * k : 2 * k + 2]
        )  # fmt: skip
        r, z = 1 / (1 + np.exp(-gate(0, h))), 1 / (1 + np.exp(-gate(1, h)))
        n = np.tanh(gate(2, r * h))
        h = (1 - z) * n + z * h
        ys.append(h)
    np.testing.assert_allclose(scan(cell, x)[0].numpy(), np.stack(ys), rtol=1e-13, atol=1e-14)


def test_other_initialisations():
    tr.seed(3)
    cell = nn.GRUCell(5, 4, init="torch", dtype=np.float64)
    values = np.concatenate([p.numpy().ravel() for p in cell.parameters()])
    assert 0.4 < np.abs(values).max() <= 0.5
    tr.seed(3)
    again = nn.GRUCell(5, 4, init="torch", dtype=np.float64)
    np.testing.assert_array_equal(cell.weight_ih.numpy(), again.weight_ih.numpy())
    ones = nn.RNNCell(2, 3, init=lambda c: [nn.init.constant(p, 1.0) for p in c.parameters()])
    assert all((p.numpy() == 1).all() for p in ones.parameters())


def test_sizes_may_be_numpy_integers():
    assert nn.LSTM(np.int64(3), np.int32(4), np.int8(2)).weight_ih_l1.shape == (16, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTMCell(0, 3), r"LSTMCell: input_size: got 0, wanted a positive integer"),
        (lambda: nn.GRUCell(3, 2.5), r"GRUCell: hidden_size: got 2\.5, wanted a positive integer"),
        (
            lambda: nn.RNNCell(3, 2, nonlinearity="gelu"),
            r"RNNCell: nonlinearity: got 'gelu', wanted one of tanh",
        ),
        (lambda: nn.RNNCell(3, 2, init="best"), r"RNNCell: init: got 'best', wanted 'default', 'torch'"),
        (lambda: nn.Stacked([]), r"Stacked: cells: got none"),
        (
            lambda: nn.Stacked([nn.GRUCell(3, 4), nn.GRUCell(5, 4)]),
            r"Stacked: cells\[1\]: got input_size 5, wanted 4",
        ),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- cells by name


def test_cells_are_found_by_name():
    assert {"rnn", "lstm", "gru"} <= set(nn.cell_names())
    assert nn.cell_by_name("gru") is nn.GRUCell
    with pytest.raises(ValueError, match=r"name: got 'gru2', wanted one of [\w, ]*gru, [\w, ]*lstm"):
        nn.cell_by_name("gru2")


@pytest.mark.parametrize("name", nn.cell_names())
def test_every_named_cell_runs_and_is_public(name):
    kind = nn.cell_by_name(name)
    assert getattr(nn, kind.__name__) is kind
    assert kind.__name__ in nn.__all__
    cell = kind(3, 4, dtype="float64")
    ys, _ = scan(cell, draw((2, 2, 3)))
    assert ys.shape == (2, 2, 4)
    assert ys.dtype == np.float64


def test_names_of_cells_are_taken_once():
    with pytest.raises(ValueError, match=r"name: got 'gru', which is GRUCell; wanted another name"):
        nn.register_cell("gru")(Masked)
    assert nn.register_cell("gru")(nn.GRUCell) is nn.GRUCell
