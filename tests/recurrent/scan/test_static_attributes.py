"""What a compiled step has frozen is never stale: attributes, parameters, dtypes, copies of a cell."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan import call_cache, compiled
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from ...compiler.agreement import agree
from ...compiler.corner_cells import BY_NAME

X = np.random.default_rng(0).uniform(-1, 1, (3, 2, 4))


class Attributes(nn.Cell):
    """Reads an attribute of every kind."""

    def __init__(self):
        self.input_size = self.hidden_size = 4
        self.w = nn.Parameter(np.random.default_rng(1).uniform(-1, 1, (4, 4)))
        self.alpha, self.flag, self.act = 0.5, False, tr.tanh
        self.scale, self.numbers, self.table = np.float32(0.25), [1.0, 2.0], {"a": 0.1}
        self.array, self.options = np.array([0.1, 0.2, 0.3, 0.4]), SimpleNamespace(shift=0.3)
        self.inner = nn.Dropout(0.5)
        self.inner.p = 0.25

    def step(self, x, h):
        z = self.act(x @ self.w + self.alpha * h) * float(self.scale) + self.numbers[0] * self.table["a"]
        z = z + self.array + self.options.shift * (h if self.flag else x) * self.inner.p
        return z, (-z if self.training else z)

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 4), "float64")


def change(name, value):
    def apply(cell):
        setattr(cell, name, value)

    return apply


CHANGES = {
    "number": change("alpha", 0.7),
    "flag": change("flag", True),
    "function": change("act", tr.sigmoid),
    "NumPy number": change("scale", np.float32(0.75)),
    "list": lambda cell: cell.numbers.__setitem__(0, 3.0),
    "dict": lambda cell: cell.table.update(a=-1.0),
    "array": lambda cell: cell.array.__setitem__(1, 5.0),
    "another array": change("array", np.array([4.0, 3.0, 2.0, 1.0])),
    "object": lambda cell: setattr(cell.options, "shift", 2.0),
    "part": lambda cell: setattr(cell.inner, "p", 0.9),
    "train and eval": lambda cell: cell.eval(),
    "new attribute": lambda cell: setattr(cell, "alpha", 0.0) or setattr(cell, "beta", 1),
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("name", CHANGES)
def test_changed_attributes_are_read(name):
    cell = Attributes()
    before = agree(cell, tr.tensor(X), None)[0]
    CHANGES[name](cell)
    after = agree(cell, tr.tensor(X), None)[0]
    assert not np.array_equal(before[0], after[0]), "the change shows"


def test_attributes_changed_back_and_forth():
    cell, found = Attributes(), []
    for alpha in (0.1, 0.2, 0.1, 0.2, 0.1):
        cell.alpha = alpha
        found.append(scan(cell, X, mode="compiled")[0].numpy().copy())
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    assert len(cache_of(cell).programs) == 2, "each value is traced once"


def test_the_same_attributes_are_traced_once(monkeypatch):
    cell = Attributes()
    scan(cell, X, mode="compiled")
    monkeypatch.setattr(compiled, "trace_program", lambda *a: pytest.fail("traced again"))
    scan(cell, np.concatenate([X, X], 1), mode="compiled")
    scan(cell, X[:1], mode="compiled")


# ---- parameters

LSTM = BY_NAME["peephole_lstm"]


def check(cell):
    agree(cell, LSTM.sequences(3, 2, dtype=cell.dtype), LSTM.states(2, dtype=cell.dtype))


def test_parameters_written_in_place():
    cell = LSTM.cell()
    check(cell)
    with tr.no_grad():
        cell.w.copy_(cell.w.data * 2)
        cell.b.data[...] = 0.5
    check(cell)


def test_replaced_parameters():
    cell = LSTM.cell()
    check(cell)
    cell.w = nn.Parameter(cell.w.data * 2)
    cell.u.data = cell.u.data.T.copy().T  # in another order in memory
    check(cell)


class Equal(Attributes):
    """Cells that say that they are equal, and have no hash."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    __hash__ = None


def test_equal_cells_are_different_cells():
    one, other = Equal(), Equal()
    with tr.no_grad():
        other.w.copy_(other.w.data * 2)
    other.alpha = 0.9
    first, second = (agree(c, tr.tensor(X), None)[0][0] for c in (one, other))
    assert not np.array_equal(first, second)


class Acting(nn.Cell):
    """Takes its nonlinearity, a scale and a shift from attributes."""

    hidden_size, scale, shift, act = 4, 1.0, 0.0, staticmethod(tr.tanh)
    dtype = np.dtype("float64")

    def step(self, x, h):
        h = self.act(x * self.scale + h + self.shift)
        return h, h


def test_functions_that_follow_each_other():
    cell = Acting()
    for factor in (None, 1.0, 0.5, 0.25, 0.125):
        cell.act = tr.tanh if factor is None else lambda v, factor=factor: tr.tanh(v) * factor
        agree(cell, tr.tensor(X), None)


def test_an_attribute_under_another_name():
    cell = Acting()
    cell.scale = value = 2.0
    first = agree(cell, tr.tensor(X), None)[0][0]
    del cell.scale
    cell.shift = value
    assert not np.array_equal(first, agree(cell, tr.tensor(X), None)[0][0])


class Nested(nn.Cell):
    """Keeps tensors inside of what its attributes hold."""

    hidden_size, dtype = 4, np.dtype("float64")

    def __init__(self):
        self.options = SimpleNamespace(w=tr.tensor(np.ones(4)), inner={"v": [tr.tensor(np.ones(4))]})
        self._pairs = ({"u": tr.tensor(np.ones(4))}, [tr.tensor(np.ones(4))])

    def step(self, x, h):
        h = tr.tanh(x * self.options.w + h * self.options.inner["v"][0]) * self._pairs[0]["u"] + self._pairs[1][0]
        return h, h


REPLACED = {
    "object": lambda cell, t: setattr(cell.options, "w", t),
    "list in a dict in an object": lambda cell, t: cell.options.inner["v"].__setitem__(0, t),
    "dict in a tuple": lambda cell, t: cell._pairs[0].update(u=t),
    "list in a tuple": lambda cell, t: cell._pairs[1].__setitem__(0, t),
}


@pytest.mark.parametrize("name", REPLACED)
def test_tensors_replaced_inside_of_attributes(name):
    cell = Nested()
    first = agree(cell, tr.tensor(X), None)[0][0]
    REPLACED[name](cell, tr.tensor(np.full(4, 0.5)))
    assert not np.array_equal(first, agree(cell, tr.tensor(X), None)[0][0])


def drawn_map(seed):
    tr.seed(seed)
    return nn.Linear(7, 4, dtype="float64")


class Parts(nn.Cell):
    input_size, hidden_size = 3, 4

    def __init__(self):
        self.map = drawn_map(0)

    def step(self, x, h):
        h = tr.tanh(self.map(tr.concat([x, h], axis=-1)))
        return h, h


def test_replaced_parts(monkeypatch):
    monkeypatch.setattr(call_cache, "PROGRAMS", 3)
    cell, x = Parts(), tr.tensor(np.random.default_rng(0).normal(size=(5, 2, 3)))
    first = agree(cell, x, None)[0][0]
    kept = cell.map
    for seed in range(1, 5):
        cell.map = drawn_map(seed)
        assert not np.array_equal(first, agree(cell, x, None)[0][0])
    assert len(cache_of(cell).programs) == 3
    cell.map = kept
    np.testing.assert_array_equal(first, agree(cell, x, None)[0][0])


def test_loaded_state_dict():
    cell, other = LSTM.cell(), LSTM.cell(seed=5)
    check(cell)
    cell.load_state_dict(other.state_dict())
    check(cell)


def test_another_dtype():
    cell = LSTM.cell()
    check(cell)
    check(cell.to("float32"))
    check(cell.to("float64"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_copies_are_on_their_own(copied):
    cell = Attributes()
    agree(cell, tr.tensor(X), None)
    other = copied(cell)
    with tr.no_grad():
        other.w.copy_(other.w.data * 2)
    other.alpha = 0.9
    first, second = (agree(c, tr.tensor(X), None)[0][0] for c in (cell, other))
    assert not np.array_equal(first, second)


def test_cells_are_not_kept_alive():
    import gc
    import weakref

    cell = Attributes()
    agree(cell, tr.tensor(X), None)
    watched = weakref.ref(cell)
    del cell
    gc.collect()
    assert watched() is None


class Grown(nn.Cell):
    """Takes any width: its step reads the shapes of its parameters."""

    def __init__(self, n):
        self.hidden_size = 3
        self.w = nn.Parameter(np.random.default_rng(0).uniform(-1, 1, (n, 3)))

    def step(self, x, h):
        h = tr.tanh(x[:, : self.w.shape[0]] @ self.w + h)
        return h, h


def test_parameters_of_other_shapes():
    cell = Grown(2)
    for n in (2, 4, 1, 3):
        cell.w = nn.Parameter(np.random.default_rng(0).uniform(-1, 1, (n, 3)))
        agree(cell, tr.tensor(X), None)
    cell.w.data = np.zeros((4, 5))
    for mode in ("compiled", "auto", "eager"):
        with pytest.raises(ShapeError):
            scan(cell, X, mode=mode)


# ---- constants of the sequence


class PerRow(nn.Cell):
    """Keeps a constant that `rows` says how to make."""

    def __init__(self, rows):
        self.input_size = self.hidden_size = 4
        self.rows = rows

    dtype = np.dtype("float64")

    def begin_sequence(self, batch_size):
        self.mask = self.rows(batch_size)

    def step(self, x, h):
        h = 0.5 * h + x * self.mask
        return h, h


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "rows",
    [
        lambda n: tr.tensor(np.arange(n, dtype=float)[:, None]),
        lambda n: tr.tensor(np.arange(4.0 * n).reshape(n, 4), requires_grad=True),
        lambda n: tr.tensor(np.arange(4.0)),
        lambda n: tr.tensor(np.arange(8.0 * n).reshape(2 * n, 4))[::2],
        lambda n: 1.0 / n,
        lambda n: float(np.random.default_rng(n).random()),
        lambda n: np.arange(4.0),
    ],
)
def test_constants_of_any_batch(rows):
    cell = PerRow(rows)
    for batch in (2, 1, 7, 2):
        agree(cell, tr.tensor(np.random.default_rng(0).uniform(-1, 1, (3, batch, 4))), None)


def test_a_constant_with_too_few_rows_is_rejected_as_on_the_tape():
    """No kernel reads beyond it."""
    cell = PerRow(lambda n: tr.tensor(np.ones((5 if n > 100 else n, 4))))
    cell.mask = None
    for mode in ("compiled", "auto", "eager"):
        good = scan(cell, np.ones((2, 3, 4)), mode="eager")[0].numpy()
        np.testing.assert_array_equal(scan(cell, np.ones((2, 3, 4)), mode="eager")[0].numpy(), good)
        cell.begin_sequence = lambda n: setattr(cell, "mask", tr.tensor(np.ones((2, 4))))
        with pytest.raises(ShapeError):
            scan(cell, np.ones((2, 3, 4)), mode=mode)
        del cell.begin_sequence


class Rows(nn.Cell):
    """Its constants are a row for each row of one batch size only."""

    def __init__(self, n):
        self.input_size = self.hidden_size = 4
        self.constant = tr.tensor(np.arange(4.0 * n).reshape(n, 4))

    dtype = np.dtype("float64")

    def step(self, x, h):
        h = 0.5 * h + x * self.constant
        return h, h


class Noisy(nn.Cell):
    hidden_size = 3

    def step(self, x, h):
        h = h + tr.randn(h.shape)
        return h, h


def test_noise_of_one_step_is_not_advised_to_stay():
    with pytest.warns(RuntimeWarning, match=r"draw noise by tr\.random, anew at each step; what stays the same"):
        nn.Recurrent(Noisy())(np.ones((2, 3, 3), np.float32))


def test_constants_made_for_one_batch():
    """They fit that batch on the tape, and no other."""
    cell = Rows(3)
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        scan(cell, np.ones((2, 3, 4)))
    for mode in ("compiled", "auto"):
        with pytest.raises(ShapeError):
            scan(cell, np.ones((2, 2, 4)), mode=mode)
    cell = Rows(211)  # as many as the compiler traces with
    with pytest.raises(ShapeError):
        scan(cell, np.ones((2, 2, 4)), mode="compiled")
