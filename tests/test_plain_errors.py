"""Values of a wrong kind are named with their argument, not met by an error of Python's from inside."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.train import Trainer

ARRAY = np.ones(2)
RAGGED = [[1], [2, 3]]
CELLS = {
    name: getattr(nn, name)
    for name in dir(nn)
    if name.endswith("Cell") and name not in ("Cell", "Conv1dCell", "CustomCell") and not name.startswith("_")
}


def X():
    return tr.tensor(np.ones((2, 3)))


def fit(*batch):
    layer = nn.Linear(3, 1)
    Trainer(layer, optim.SGD(layer.parameters(), lr=0.1), nn.mse_loss, progress=False).fit([batch])


REDUCTIONS = ("sum", "mean", "max", "min", "prod", "var", "std", "norm", "logsumexp", "all", "any", "argmax", "argmin")


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("value", [ARRAY, "no", None, []], ids=repr)
def test_keepdims(name, value):
    with pytest.raises(TypeError, match=r"^keepdims: got .*, wanted True or False"):
        getattr(tr, name)(X(), keepdims=value)
    assert getattr(tr, name)(X(), keepdims=np.True_).ndim == 2


@pytest.mark.parametrize("value", [ARRAY, "2", [1], {}], ids=repr)
def test_order_of_norms(value):
    with pytest.raises(ValueError, match=r"^norm: got ord=.*, wanted None, or 1, 2 or inf"):
        tr.norm(X(), value, axis=0)


@pytest.mark.parametrize("value", [ARRAY, "no", None], ids=repr)
def test_flags_of_tensors(value):
    for call in (lambda: tr.tensor([1.0], value), lambda: tr.tensor([1.0]).requires_grad_(value)):
        with pytest.raises(TypeError, match=r"^requires_grad: got .*, wanted True or False"):
            call()


@pytest.mark.parametrize("value", ["abc", None, [], RAGGED, ARRAY, print, int, 1j, "float16"], ids=repr)
def test_default_dtype(value):
    before = tr.get_default_dtype()
    with pytest.raises(DTypeError, match=r"^dtype: got .*, wanted float32 or float64"):
        tr.set_default_dtype(value)
    assert tr.get_default_dtype() == before


@pytest.mark.parametrize("value", [{}, RAGGED, print, 1j, "a", [None], np.array(["a"])], ids=repr)
def test_written_values(value):
    for what, call in (
        (r"t\[index\] = value", lambda t: t.__setitem__(..., value)),
        (r"t\[index\] = value", lambda t: t.__setitem__(0, value)),
        ("copy_", lambda t: t.copy_(value)),
        ("fill_", lambda t: t.fill_(value)),
    ):
        t = X()
        with pytest.raises(DTypeError, match=rf"^{what}: got .*, wanted (numbers|a rectangular array)"):
            call(t)
        assert (t.numpy() == 1).all()


def test_written_values_keep_their_digits():
    t = X()
    t[0] = [0.1, 0.2, 0.3]
    t[1, 0] = np.float16(2)
    t[1, 1:] = (np.longdouble(4), 5)
    assert t.tolist() == [[0.1, 0.2, 0.3], [2.0, 4.0, 5.0]]


@pytest.mark.parametrize("name", CELLS)
def test_cells_take_what_layers_take(name):
    cell = CELLS[name](3, 2)
    with tr.no_grad():
        wanted, _ = cell(np.ones((2, 3)))
        found, state = cell([[1.0] * 3] * 2)
        cell([[1] * 3] * 2, state)
    np.testing.assert_array_equal(found, wanted)
    for x, error in ((None, ShapeError), (3, ShapeError), ({}, ShapeError), (RAGGED, DTypeError), ("a", DTypeError)):
        with pytest.raises(error, match=rf"^{name}: x: got .*, wanted"):
            cell(x)
    for state in ({}, 1j, "a", [np.ones((2, 5))] * 3):
        with pytest.raises((ShapeError, DTypeError), match=rf"^{name}: state: got .*, wanted"):
            cell(np.ones((2, 3)), state)


def test_cells_take_nests():
    class Pair(nn.Cell):
        hidden_size = 3

        def step(self, x, h):
            a, b = x
            return a + b + h, h

    y, _ = Pair()((np.ones((2, 3), np.float32), [[1.0] * 3] * 2))
    assert y.tolist() == [[2.0] * 3] * 2


def test_errors_of_a_step_stay_its_own():
    class Wrong(nn.Cell):
        hidden_size = 3

        def step(self, x, h):
            raise ValueError("mine")

    for state in ((), (np.ones((2, 3), np.float32),)):
        with pytest.raises(ValueError, match=r"^mine$"):
            Wrong()(np.ones((2, 3)), *state)


def test_batches_of_unequal_lists():
    x, y = np.ones((2, 3), np.float32), np.ones((2, 1), np.float32)
    for batch, name in (((x, RAGGED), "targets"), ((RAGGED, y), "inputs"), ((x, "a"), "targets")):
        with pytest.raises(DTypeError, match=rf"^{name}: got .*, wanted"):
            fit(*batch)
    fit(x.tolist(), [[1], [2]])
