"""Augmented assignment: in place where nothing is lost by it, a new tensor where gradients flow."""

import copy
import operator

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, GraphError, ShapeError


def leaf(values, dtype=np.float64) -> tr.Tensor:
    return tr.tensor(np.asarray(values, dtype), requires_grad=True)


FLOATS = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
    operator.ifloordiv,
    operator.imod,
]
WHOLE = [*FLOATS[:3], operator.ipow, operator.ifloordiv, operator.imod]
WHOLE += [operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift]
values = pytest.mark.parametrize("value", [2.0, np.array([2.0, 3.0]), tr.tensor(np.array([2.0, 3.0]))], ids=repr)


@values
@pytest.mark.parametrize("update", FLOATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_in_no_grad(update, value, dtype):
    if isinstance(value, tr.Tensor):
        value = value.astype(dtype)
    p = leaf([5.0, 7.0], dtype)
    want, array = update(np.array([5.0, 7.0], dtype), np.asarray(value, dtype)), p.data
    y = (p * p).sum()
    name = p
    with tr.no_grad():
        p = update(p, value)
    assert p is name
    assert p.data is array
    np.testing.assert_array_equal(array, want)
    assert p.requires_grad
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()


@pytest.mark.parametrize("update", WHOLE)
def test_integers(update):
    t = tr.tensor([6, 1, 3])
    array = t.data
    got = update(t, 2)
    assert got is t
    assert array.tolist() == update(np.array([6, 1, 3]), 2).tolist()
    assert array.dtype == np.int64


def test_a_training_loop_trains():
    model, x = nn.Linear(2, 1), np.ones((4, 2), np.float32)
    losses = []
    for _ in range(30):
        loss = (model(x) ** 2).mean()
        loss.backward()
        with tr.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        model.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * max(losses[0], 1e-3)


def test_a_detached_tensor_is_a_window():
    w = leaf([3.0, 4.0])
    y = (w * w).sum()
    v = w.detach()
    v -= 1
    v *= tr.tensor(np.array([2.0, 3.0]))
    assert w.tolist() == [4.0, 9.0]
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()


def test_plain_tensors_are_updated_in_place():
    t = tr.tensor([1.0, 2.0])
    other, part = t, t[1:]
    t += 1
    part *= 10
    assert other.tolist() == [2.0, 30.0]
    array = np.array([1.0, 2.0])
    shared = tr.as_tensor(array)
    shared /= 2
    assert array.tolist() == [0.5, 1.0]


def test_where_gradients_flow_the_name_gets_a_new_tensor():
    w = leaf([1.0, 2.0])
    h = w * 2
    before = h
    h += 1
    h *= h
    assert before.tolist() == [2.0, 4.0]
    h.sum().backward()
    assert w.grad.tolist() == [12.0, 20.0]  # 4 (2 w + 1)

    w.grad = None
    total = zero = tr.zeros((2,), np.float64)
    for k in range(3):
        total += w * k
    total -= 1
    total.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    assert zero.tolist() == [0.0, 0.0]


def test_a_leaf_is_refused_where_gradients_are_recorded():
    w = leaf([1.0])
    with pytest.raises(GraphError, match=r"t \+= value: this tensor is part of the graph; write to it inside"):
        w += 1.0
    with pytest.raises(GraphError, match=r"t \*= value: this tensor is part of the graph"):
        w *= w
    assert w.tolist() == [1.0]


def test_shape_and_dtype_stay():
    t, i, b = tr.tensor([1.0, 2.0]), tr.tensor([1, 2]), tr.tensor([True, False])
    with pytest.raises(ShapeError, match=r"t \+= value: got a result of shape \(3, 2\), wanted \(2,\) as the tensor"):
        t += np.ones((3, 2))
    with pytest.raises(DTypeError, match=r"t /= value: got a result of float32, wanted int64 as the tensor"):
        i /= 2
    with pytest.raises(DTypeError, match="wanted int64"):
        i += 0.5
    with pytest.raises(DTypeError, match="wanted bool"):
        b += 1
    with pytest.raises(DTypeError, match="float32 and float64"):
        t += tr.tensor(np.ones(2))
    b &= True
    assert (t.tolist(), i.tolist(), b.tolist()) == ([1.0, 2.0], [1, 2], [True, False])


def test_read_only_memory():
    array = np.ones(2)
    array.flags.writeable = False
    t = tr.as_tensor(array)
    for write in (lambda: operator.iadd(t, 1), lambda: t.fill_(1), lambda: t.copy_(np.ones(2)), lambda: t[1:].fill_(1)):
        with pytest.raises(ValueError, match="the memory of this tensor is read-only; write to a copy"):
            write()


def test_data_by_hand():
    w = leaf([3.0, 4.0], np.float32)
    (w * w).sum().backward()
    y = (w * w).sum()
    array = w.data
    w.data -= 0.5 * w.grad
    assert w.data is array
    assert array.tolist() == [0.0, 0.0]
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()
    w.data = w.data - 0.5 * w.grad
    assert type(w.data) is np.ndarray
    assert w.tolist() == [-3.0, -4.0]
    (w * w).sum().backward()
    assert w.grad.tolist() == [0.0, 0.0]
    other = tr.tensor([1.0, 2.0])
    w.data = other
    other.zero_()
    assert w.tolist() == [1.0, 2.0]
    w.data = np.ones(3)
    assert (w.shape, w.dtype, w.requires_grad) == ((3,), np.float64, True)
    number = leaf(2.0)
    number.data = number.data * 3  # of arrays of shape () NumPy makes a number
    assert number.data.shape == ()
    assert float(number * 2) == 12.0


@pytest.mark.parametrize("value", [1.0, [1.0], None, np.ones(2, int), np.ones(2, bool), np.ones(2, np.float16)])
def test_data_that_do_not_fit(value):
    w = leaf([1.0, 2.0])
    with pytest.raises(DTypeError, match="data: got"):
        w.data = value
    assert w.tolist() == [1.0, 2.0]


def test_writes_that_do_not_fit():
    t = tr.tensor(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"t\[index\] = value: got a value of shape \(2,\) for \(2, 3\)"):
        t[0] = [1.0, 2.0]
    with pytest.raises(IndexError, match=r"index: got 5 for shape \(2, 3\)"):
        t[5] = 1.0
    with pytest.raises(ShapeError, match=r"fill_: got shape \(2,\), wanted a number, or what fills \(2, 3\)"):
        t.fill_(np.ones(2))


class Accumulator(nn.Cell):
    """Writes its step with augmented assignments."""

    def __init__(self):
        self.input_size = self.hidden_size = 2
        self.rate = nn.Parameter([0.5, 0.25])

    def step(self, x, h):
        h *= 0.5
        h += x
        y = h
        y -= self.rate
        return y, h


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("switch", [tr.no_grad, tr.enable_grad])
def test_steps_give_values_of_their_own(mode, switch):
    xs, start = np.ones((3, 1, 2), np.float32), tr.tensor(np.ones((1, 2), np.float32))
    layer = nn.Recurrent(Accumulator(), mode=mode)
    with switch():
        ys, final = layer(xs, start)
    h, want = np.ones((1, 2)), []
    for x in xs:
        h = h * 0.5 + x
        want.append(h - [0.5, 0.25])
    np.testing.assert_allclose(ys.numpy(), want, rtol=1e-6)
    np.testing.assert_allclose(final.numpy(), h, rtol=1e-6)
    assert start.tolist() == [[1.0, 1.0]]
    assert (xs == 1).all()
    step = layer.stepper(1)
    streamed = [step(x) for x in xs]
    with switch():
        np.testing.assert_allclose(streamed, layer(xs)[0].numpy(), rtol=1e-6)
        _, state = layer.cell(tr.tensor(xs[0]), start)
    np.testing.assert_allclose(state.numpy(), 1.5)
    assert start.tolist() == [[1.0, 1.0]]


# ---- memory that is shared, and memory that is not

COPIES = {
    "flatten": lambda x: x.flatten(),
    "flatten of two axes": lambda x: x.reshape(1, -1).flatten(),
    "astype": lambda x: x.astype(x.dtype),
    "plus": lambda x: +x,
    "clip": lambda x: x.clip(),
    "tr.clip": lambda x: tr.clip(x),
    "copy": lambda x: x.copy(),
    "tr.copy": tr.copy,
    "tile": lambda x: tr.tile(x, 1),
    "repeat": lambda x: tr.repeat(x, 1),
    "pad": lambda x: tr.pad(x, 0),
    "pad with edges": lambda x: tr.pad(x, 0, mode="edge"),
    "concat": lambda x: tr.concat([x]),
}
VIEWS = {
    "reshape": lambda x: x.reshape(x.shape),
    "ravel": lambda x: x.ravel(),
    "squeeze": lambda x: x.squeeze(),
    "broadcast_to": lambda x: tr.broadcast_to(x, x.shape),
    "transpose": lambda x: x.transpose(),
    "index": lambda x: x[...],
}


@pytest.mark.parametrize("name", [*COPIES, *VIEWS])
def test_what_changes_nothing_is_another_tensor(name):
    function = {**COPIES, **VIEWS}[name]
    x = leaf([1.0, 2.0])
    with tr.no_grad():
        y = function(x)
        assert not y.requires_grad
    assert x.requires_grad
    assert np.shares_memory(x.numpy(), y.numpy()) == (name in VIEWS)
    y = function(x)
    assert y is not x
    assert np.shares_memory(x.numpy(), y.numpy()) == (name in VIEWS)
    (y * y).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    if name in COPIES:
        before = copy.copy(y)
        with tr.no_grad():
            x -= 1
        assert before.tolist() == [1.0, 2.0]


# ---- operands that the caller writes to afterwards

OPERANDS = {
    "multiply": lambda w, a: w * a,
    "on the left": lambda w, a: a * w,
    "divide": lambda w, a: w / a,
    "power": lambda w, a: w**a,
    "matmul": lambda w, a: w @ a,
    "matrix on the left": lambda w, a: np.outer(a, a)[:2] @ w,
    "maximum": lambda w, a: tr.maximum(w, a),
    "where": lambda w, a: tr.where(a > 0.5, w, 0 * w) * a,
    "condition": lambda w, a: tr.where(a, w, 0.0),
    "einsum": lambda w, a: tr.einsum("i,i->i", w, a),
    "a view": lambda w, a: w * a[::-1],
    "as_tensor": lambda w, a: w * tr.as_tensor(a),
    "a view of as_tensor": lambda w, a: w * tr.as_tensor(a)[::-1],
    "two operations": lambda w, a: tr.tanh(w * tr.as_tensor(a).reshape(1, 2)) * a,
    "mse_loss": lambda w, a: nn.mse_loss(w, a),
    "l1_loss": lambda w, a: nn.l1_loss(w, a),
    "huber_loss": lambda w, a: nn.huber_loss(w, a),
    "primitive": lambda w, a: _product(w, a),
}


@pytest.fixture(autouse=True, scope="module")
def product():
    global _product

    @tr.primitive(vjps=[lambda g, y, x, a: g * a, None])
    def _product(x, a):
        return x * a

    yield
    del tr.core.registry["product"]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERANDS)
def test_operands_may_be_reused(name, dtype, recorded):
    function = OPERANDS[name]
    gradients = []
    for spoil in (False, True):
        w, a = leaf([3.0, 4.0], dtype), np.array([1.0, 2.0], dtype)
        y = function(w, a).sum()
        if spoil:
            a[:] = [9.0, -9.0]
        y.backward(create_graph=recorded)
        gradients.append(w.grad.tolist())
    assert gradients[0] == gradients[1]
