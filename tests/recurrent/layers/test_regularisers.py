"""Dropout, DropConnect and zoneout: what they do, that masks are drawn as promised, and that loops draw the same."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tr
from tests.compiler.agreement import agree
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, ShapeError
from tinygrad_rnn.testing import check_cell

from ...differences import check_gradients, project
from ..sequences import draw, draw_state, leaves, scan

T, B, I, H = 6, 3, 3, 4
WRAPPED = {
    "variational": lambda dtype: nn.VariationalDropout(nn.GRUCell(I, H, dtype=dtype), 0.2, 0.3, 0.1),
    "weights": lambda dtype: nn.WeightDrop(
        nn.LSTMCell(I, H, proj_size=2, dtype=dtype), 0.5, ("weight_hh", "weight_hr")
    ),
    "zoneout": lambda dtype: nn.Zoneout(nn.LSTMCell(I, H, dtype=dtype), (0.3, 0.5)),
    "all": lambda dtype: nn.Zoneout(
        nn.VariationalDropout(nn.WeightDrop(nn.RNNCell(I, H, dtype=dtype), 0.4), 0.1, 0.3), 0.2
    ),
    "stacked": lambda dtype: nn.Stacked(
        [nn.Zoneout(nn.RNNCell(I, H, dtype=dtype), 0.3), nn.VariationalDropout(nn.RNNCell(H, H, dtype=dtype), 0.5)]
    ),
}

each = pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
both_modes = pytest.mark.parametrize("mode", ["eager", "compiled"])


@pytest.fixture(autouse=True)
def seed():
    tr.seed(0)


def same(first, second, tol=0.0):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tol, atol=tol)


class Echo(nn.Cell):
    """Puts out what it gets: an input, the state as products would see it, and the state."""

    def __init__(self, size):
        self.input_size = self.hidden_size = size

    def step(self, x, h, recurrent_mask=None):
        return (x, h if recurrent_mask is None else h * recurrent_mask, h), h


# ---- loops, the tape, and evaluation


@pytest.mark.sampled(8)
@each
@pytest.mark.parametrize("reverse", [False, True])
def test_compiled_equals_eager_and_draws_the_same(make, reverse):
    cell = make("float64")
    agree(cell, draw((T, B, I)), draw_state(cell, B), reverse=reverse)


@pytest.mark.sampled(8)
@each
def test_gradients_with_frozen_masks(make):
    cell = make("float64")
    x, state = draw((T, B, I)), draw_state(cell, B)

    def run():
        tr.seed(5)
        return leaves(*scan(cell, x, state))

    check_gradients(run, [x, *leaves(state), *cell.parameters()])


@pytest.mark.sampled(2)
@each
@both_modes
def test_evaluation_is_the_plain_cell_or_its_expectation(make, mode):
    cell = make("float64").eval()
    inner = [m for m in cell.modules() if not isinstance(m, nn.Modifier | nn.Stacked | nn.ModuleList)]
    x = draw((T, B, I))
    before = tr.config.generator().bit_generator.state
    first = nn.Recurrent(cell, mode)(x)
    assert tr.config.generator().bit_generator.state == before  # nothing is drawn
    if not any(isinstance(m, nn.Zoneout) for m in cell.modules()):
        same(first, nn.Recurrent(inner[0], mode)(x))
    same(first, nn.Recurrent(cell, mode)(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n == "all" else pytest.param(n, marks=pytest.mark.slow) for n in WRAPPED])
def test_cells_keep_their_promises(name):
    check_cell(WRAPPED[name]("float32"), max_examples=3, max_time=3)


@pytest.mark.sampled(2)
@each
@both_modes
def test_a_seed_decides(make, mode):
    cell, x = make("float32"), draw((T, B, I), "float32", requires_grad=False)
    results = []
    for s in (1, 1, 2):
        tr.seed(s)
        results.append(leaves(*nn.Recurrent(cell, mode)(x)))
    same(results[0], results[1])
    assert not np.array_equal(results[0][0].numpy(), results[2][0].numpy())


@each
def test_copies_and_state_dicts_hold_no_masks(make):
    cell = make("float32")
    before = list(cell.state_dict())
    x = draw((T, B, I), "float32", requires_grad=False)
    scan(cell, x)
    assert list(cell.state_dict()) == before
    tr.seed(3)
    expected = scan(cell, x)
    for twin in (copy.deepcopy(cell.eval()).train(), pickle.loads(pickle.dumps(cell)).train()):
        tr.seed(3)
        same(scan(twin, x), expected)


def test_second_derivatives_of_a_loop_with_masks():
    """Gradients of gradients run the program again, with the same masks."""
    cell = WRAPPED["all"]("float64")
    x = draw((3, 2, I))
    found = []
    for mode in ("eager", "compiled"):
        tr.seed(1)
        ys, _ = nn.Recurrent(cell, mode)(x)
        (g,) = tr.grad(project([ys]), [x], create_graph=True)
        found.append(tr.grad((g * g).sum(), [x, *cell.parameters()]))
    same(found[0], found[1], tol=1e-9)


@pytest.mark.sampled(4)
@each
@both_modes
def test_steppers_draw_too(make, mode):
    cell = make("float32")
    x = draw((T, B, I), "float32", requires_grad=False)
    step = nn.Recurrent(cell, mode).stepper(B)
    tr.seed(4)
    step.reset()
    streamed = np.stack([step(x.numpy()[t]) for t in range(T)])
    tr.seed(4)
    with tr.no_grad():
        np.testing.assert_allclose(streamed, nn.Recurrent(cell, mode)(x)[0].numpy(), rtol=1e-6, atol=1e-7)
    cell.eval()
    step.reset()  # takes the cell as it is now
    quiet = np.stack([step(x.numpy()[t]) for t in range(T)])
    with tr.no_grad():
        np.testing.assert_allclose(quiet, nn.Recurrent(cell, mode)(x)[0].numpy(), rtol=1e-6, atol=1e-7)


# ---- variational dropout


def test_variational_masks_are_the_same_at_all_steps():
    size = 50
    cell = nn.VariationalDropout(Echo(size), inputs=0.2, states=0.4)
    ones = np.ones((7, 40, size), np.float32)
    (x, h, carried), _ = nn.Recurrent(cell, "eager")(ones, np.ones((40, size), np.float32))
    np.testing.assert_array_equal(carried.numpy(), 1)
    for seen, p in ((x, 0.2), (h, 0.4)):
        masks = seen.numpy()
        assert (masks == masks[0]).all()
        np.testing.assert_allclose(np.unique(masks), [0, 1 / (1 - p)], rtol=1e-6)
        dropped = masks[0] == 0
        assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / dropped.size)
        assert not (dropped == dropped[0]).all()  # rows differ
        assert not np.array_equal(x.numpy() == 0, h.numpy() == 0)
    again = nn.Recurrent(cell, "eager")(ones)[0][0]
    assert not np.array_equal(again.numpy(), x.numpy())


@pytest.mark.sampled(2)
@both_modes
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell, nn.MGUCell], ids=lambda k: k.__name__)
def test_states_are_masked_in_products_only(kind, mode):
    """The mask on h equals one on the columns of the recurrent weights, if all rows share it."""
    inner = kind(I, 4 * H, dtype="float64")
    cell = nn.VariationalDropout(inner, states=0.5)
    x = draw((T, 1, I))
    ys, state = nn.Recurrent(cell, mode)(x)
    mask = cell._masks[1].numpy()[0]
    assert 0 < (mask == 0).sum() < 4 * H
    plain = copy.deepcopy(inner)
    plain.weight_hh.data[...] *= mask
    same([ys, state], scan(plain, x), tol=1e-12)


def test_outputs_are_masked_but_not_states():
    cell = nn.VariationalDropout(nn.GRUCell(I, 50), outputs=0.5)
    ys, h = nn.Recurrent(cell, "eager")(draw((T, B, I), "float32"))
    zero = ys.numpy() == 0
    assert (zero == zero[0]).all()
    assert 0.3 < zero.mean() < 0.7
    assert (h.numpy() != 0).all()


def test_everything_may_be_dropped():
    cell = nn.VariationalDropout(Echo(I), 1.0, 1.0)
    (x, h, _), _ = nn.Recurrent(cell, "eager")(np.ones((T, B, I)), np.ones((B, I), np.float32))
    assert not x.numpy().any()
    assert not h.numpy().any()
    for mode in ("eager", "compiled"):
        _, h = nn.Recurrent(nn.Zoneout(nn.RNNCell(I, H), 1.0), mode)(np.ones((T, B, I)), np.ones((B, H), np.float32))
        assert (h.numpy() == 1).all()


# ---- DropConnect


@both_modes
def test_weights_are_dropped_once_for_a_sequence(mode):
    inner = nn.LSTMCell(I, 30, dtype="float64")
    cell = nn.WeightDrop(inner, 0.3)
    weight, x = inner.weight_hh, draw((T, B, I))
    ys, state = nn.Recurrent(cell, mode)(x)
    assert inner.weight_hh is weight
    (dropped,) = cell._dropped
    mask = dropped.numpy() / weight.numpy()
    np.testing.assert_allclose(np.unique(mask.round(9)), [0, 1 / 0.7], rtol=1e-8)
    assert abs((mask == 0).mean() - 0.3) < 4 * np.sqrt(0.21 / mask.size)
    plain = copy.deepcopy(inner)
    plain.weight_hh.data[...] *= mask
    same([ys, state], scan(plain, x), tol=1e-12)
    (g,) = tr.grad(project([ys]), [weight])
    (expected,) = tr.grad(project([scan(plain, x)[0]]), [plain.weight_hh])
    np.testing.assert_allclose(g.numpy(), expected.numpy() * mask, rtol=1e-9, atol=1e-12)


def test_weights_are_put_back_after_an_error():
    inner = nn.GRUCell(I, H)
    weight = inner.weight_hh
    with pytest.raises(ShapeError):
        nn.WeightDrop(inner, 0.5)(np.ones((B, I + 1), np.float32))
    assert inner.weight_hh is weight


def test_weights_of_modules_inside():
    cell = nn.WeightDrop(nn.LayerNormGRUCell(I, H), 1.0, ["weight_hh", "norm_hn.weight"])
    ys, _ = nn.Recurrent(cell, "eager")(np.ones((T, B, I)))
    assert ys.shape == (T, B, H)
    assert not any(w.numpy().any() for w in cell._dropped)


# ---- zoneout


def test_zoneout_keeps_units_at_random_and_anew_at_each_step():
    class Counter(nn.Cell):
        """Two states that grow by one at each step."""

        input_size = 1

        def initial_state(self, batch_size):
            return tuple(tr.zeros((batch_size, 50)) for _ in range(2))

        def step(self, x, state):
            a, b = (s + 1 for s in state)
            return a, (a, b)

    for mode in ("eager", "compiled"):
        layer = nn.Recurrent(nn.Zoneout(Counter(), (0.2, 0.6)), mode)
        ys, (a, b) = layer(np.zeros((30, 40, 1)), return_states="all")
        assert ys.numpy().tolist() == a.numpy().tolist()  # the output is the state that is kept
        moved = [np.diff(s.numpy(), axis=0, prepend=0) for s in (a, b)]
        for m, p in zip(moved, (0.2, 0.6)):
            assert set(np.unique(m)) == {0.0, 1.0}
            assert abs(m.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / m.size)
            assert abs(np.corrcoef(m[:-1].ravel(), m[1:].ravel())[0, 1]) < 0.02
        assert abs(np.corrcoef(moved[0].ravel(), moved[1].ravel())[0, 1]) < 0.02


@both_modes
def test_zoneout_gives_its_expectation_in_evaluation(mode):
    inner = nn.LSTMCell(I, H, dtype="float64")
    cell = nn.Zoneout(inner, (0.25, 0.5)).eval()
    x, (h, c) = draw((T, B, I)), draw_state(inner, B)
    ys, final = nn.Recurrent(cell, mode)(x, (h, c))
    for t in range(T):
        _, (h2, c2) = inner.step(x[t], (h, c))
        h, c = 0.25 * h + 0.75 * h2, 0.5 * c + 0.5 * c2
        same([ys[t]], [h], tol=1e-12)
    same(final, (h, c), tol=1e-12)


# ---- options of layers


@both_modes
def test_layers_take_them_as_options(mode):
    options = {"input_dropout": 0.2, "recurrent_dropout": 0.3, "weight_dropout": 0.4, "zoneout": (0.1, 0.2)}
    layer = nn.LSTM(I, H, num_layers=2, dtype="float64", mode=mode, **options)
    plain = nn.LSTM(I, H, num_layers=2, dtype="float64", mode=mode)
    assert list(layer.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(layer.state_dict())
    x = draw((T, B, I))
    tr.seed(2)
    y, state = layer(x)
    cells = [nn.Zoneout(nn.VariationalDropout(nn.WeightDrop(cell, 0.4), 0.2, 0.3), (0.1, 0.2)) for cell in plain._cells]
    tr.seed(2)
    z, first = scan(cells[0], x)
    z, second = scan(cells[1], z)
    same([y, state[0][1], state[1][0]], [z, second[0], first[1]], tol=1e-12)
    assert "zoneout=(0.1, 0.2)" in repr(layer)
    quiet = nn.LSTM(I, H, num_layers=2, dtype="float64", mode=mode, **options | {"zoneout": 0.0}).eval()
    quiet.load_state_dict(plain.state_dict())
    same(quiet(x), plain(x))


def test_a_dropout_inside_a_step_compiles():
    """Random masks for each row become inputs of the loop."""

    class Noisy(nn.Cell):
        def __init__(self):
            self.input_size, self.hidden_size = I, H
            self.inner, self.drop = nn.Linear(I + H, H, dtype="float64"), nn.Dropout(0.4)

        def step(self, x, h):
            n = tr.tanh(self.inner(tr.concat([self.drop(x), h], axis=-1)))
            return self.drop(n), n

    cell = Noisy()
    agree(cell, draw((T, B, I)), draw_state(cell, B))
    for batch_first in (False, True):
        layer = nn.Recurrent(cell, "compiled", batch_first=batch_first)
        tr.seed(3)
        y, _ = layer(draw((B, T, I) if batch_first else (T, B, I)))
        zeros = (y.numpy() == 0).mean()
        assert 0.2 < zeros < 0.6
    report = layer.explain()
    assert "mask0 (T, B, 3)" in str(report)
    cell.drop.p = 1.0  # nothing is drawn, and nothing passes
    y, _ = nn.Recurrent(cell, "compiled")(draw((T, B, I)))
    assert not y.numpy().any()


def test_masks_without_a_row_for_each_batch_row_do_not_compile():
    class Shared(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = I
            self.drop, self.scale = nn.Dropout(0.5), nn.Parameter(np.ones(I, np.float32))

        def step(self, x, h):
            return x * self.drop(self.scale), h

    with pytest.raises(CompileError, match=r"a random draw of shape \(3,\).*wanted one with a row for each batch row"):
        nn.Recurrent(Shared(), "compiled")(np.ones((T, B, I)))


# ---- messages


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.VariationalDropout(nn.GRUCell(I, H), 1.2), r"VariationalDropout: inputs: got 1\.2, wanted a prob"),
        (lambda: nn.WeightDrop(nn.GRUCell(I, H), -0.1), r"WeightDrop: p: got -0\.1"),
        (lambda: nn.WeightDrop(nn.GRUCell(I, H), 0.1, "w"), r"WeightDrop: names: got 'w', wanted some of weight_ih, "),
        (lambda: nn.WeightDrop(nn.GRUCell(I, H), 0.1, 3), r"WeightDrop: names: got 3, wanted some of weight_ih, "),
        (lambda: nn.WeightDrop(nn.GRUCell(I, H), 0.1, ["weight_hh", 3]), r"WeightDrop: names: got 3, wanted some of"),
        (lambda: nn.Zoneout(nn.LSTMCell(I, H), (0.1, 2)), r"Zoneout: p: got 2, wanted a probability"),
        (lambda: nn.Zoneout(nn.LSTMCell(I, H), "some"), r"Zoneout: p: got 'some', wanted a probability"),
        (
            lambda: nn.Zoneout(nn.LSTMCell(I, H), (0.1, 0.1, 0.1)),
            r"Zoneout: p: got \(\*, \*, \*\), wanted a number or \(\*, \*\)",
        ),
        (
            lambda: nn.VariationalDropout(nn.MinGRUCell(I, H), states=0.1),
            r"VariationalDropout: states: MinGRUCell\.step does not take recurrent_mask",
        ),
        (lambda: nn.VariationalDropout(nn.Cell(), 0.1), r"VariationalDropout: inputs: Cell sets no input_size"),
        (lambda: nn.VariationalDropout(nn.Cell(), outputs=0.1), r"outputs: Cell sets no hidden_size"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
