"""Tensors as Python and NumPy objects: copies, pickles, printing, conversion."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError, GraphError, ShapeError


def leaf(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64), requires_grad=True)


def test_tensor_copies_as_tensor_shares():
    a = np.ones(2)
    assert not np.shares_memory(tr.tensor(a).numpy(), a)
    assert np.shares_memory(tr.as_tensor(a).numpy(), a)
    t = tr.tensor(a)
    assert tr.as_tensor(t) is t
    assert tr.as_tensor(t, np.float32).dtype == np.float32
    assert tr.tensor(t).numpy() is not t.numpy()
    assert np.shares_memory(t.numpy(), t.numpy())


def test_non_contiguous_arrays():
    a = np.arange(12.0).reshape(3, 4)[::-1, ::2].T
    assert tr.tensor(a).numpy().flags.c_contiguous
    np.testing.assert_array_equal(tr.tensor(a).numpy(), a)
    np.testing.assert_array_equal((tr.as_tensor(a) * 2).numpy(), a * 2)


def test_attributes():
    t = leaf(np.zeros((2, 3)))
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float64, 2)
    assert t.is_leaf
    assert not (t * 2).is_leaf
    assert (tr.tensor([1.0]) * 2).is_leaf
    assert t.T.shape == (3, 2)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    t = leaf([1.0, 2.0])
    again = pickle.loads(pickle.dumps(t, protocol))
    assert again.requires_grad
    assert again.dtype == np.float64
    assert again.tolist() == [1.0, 2.0]
    (again * again).sum().backward()  # an unpickled dtype is another object
    assert again.grad.tolist() == [2.0, 4.0]
    (again.detach() * t).sum().backward()


def test_deepcopy():
    t = leaf([1.0, 2.0])
    (t * t).sum().backward()
    both = copy.deepcopy([t, t])
    assert both[0] is both[1]
    assert both[0].requires_grad
    assert both[0].grad.tolist() == [2.0, 4.0]
    both[0].data[0] = 9.0
    both[0].grad.data[0] = 9.0
    assert (t.tolist(), t.grad.tolist()) == ([1.0, 2.0], [2.0, 4.0])


def test_computed_tensors_are_neither_pickled_nor_deepcopied():
    y = leaf([1.0]) * 2
    with pytest.raises(GraphError, match=r"pickle: got a tensor computed by the graph.*t.detach\(\)"):
        pickle.dumps(y)
    with pytest.raises(GraphError, match="deepcopy"):
        copy.deepcopy(y)
    assert copy.deepcopy(y.detach()).tolist() == [2.0]


def test_conversion():
    assert float(tr.tensor([2.5])) == 2.5
    assert int(tr.tensor(3)) == 3
    assert [10, 20, 30][tr.tensor(1)] == 20
    assert list(range(tr.tensor(3))) == [0, 1, 2]
    assert bool(tr.tensor([True]))
    assert tr.tensor([[1, 2]]).tolist() == [[1, 2]]
    with pytest.raises(ShapeError, match=r"item\(\): got a tensor of shape \(2,\), wanted one element"):
        float(tr.tensor([1.0, 2.0]))
    with pytest.raises(ShapeError):
        bool(tr.tensor([True, False]))
    with pytest.raises(DTypeError, match="index: got a float32 tensor"):
        [1, 2][tr.tensor(1.0)]
    with pytest.raises(TypeError):
        len(tr.tensor(1.0))


def test_numpy_reads_tensors():
    t = tr.tensor([1.0, 2.0])
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert np.array(t, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(t, copy=True), t.numpy())
    with pytest.raises(TypeError):
        np.exp(t)  # it would leave the tape in silence


def test_repr():
    assert repr(tr.tensor([1.0, 2.5])) == "tensor([1. , 2.5], dtype=float32)"
    assert repr(tr.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(leaf([1.0])) == "tensor([1.], dtype=float64, requires_grad=True)"
    assert repr(leaf([1.0]) * 2) == "tensor([2.], dtype=float64, from=multiply)"
    assert repr(tr.unstack(leaf([1.0]))[0]) == "tensor(1., dtype=float64, from=unstack)"
    assert len(repr(tr.zeros((1000, 1000)))) < 1000


def test_tensors_hash_by_identity():
    a, b = tr.tensor([1.0]), tr.tensor([1.0])
    assert len({a, b, a}) == 2
    assert {a: 1}[a] == 1
    assert (a == b).tolist() == [True]


@pytest.mark.parametrize(
    ("method", "function"),
    [
        (lambda t: t.sum(0), lambda a: a.sum(0)),
        (lambda t: t.mean(axis=1, keepdims=True), lambda a: a.mean(axis=1, keepdims=True)),
        (lambda t: t.var(ddof=1), lambda a: a.var(ddof=1)),
        (lambda t: t.std(0), lambda a: a.std(0)),
        (lambda t: t.max(1), lambda a: a.max(1)),
        (lambda t: t.min(), lambda a: a.min()),
        (lambda t: t.prod(0), lambda a: a.prod(0)),
        (lambda t: t.cumsum(1), lambda a: a.cumsum(1)),
        (lambda t: t.argmax(1), lambda a: a.argmax(1)),
        (lambda t: t.argmin(), lambda a: a.argmin()),
        (lambda t: (t > 0).all(0), lambda a: (a > 0).all(0)),
        (lambda t: (t > 0).any(), lambda a: (a > 0).any()),
        (lambda t: t.reshape(3, 2), lambda a: a.reshape(3, 2)),
        (lambda t: t.reshape((-1,)), lambda a: a.reshape((-1,))),
        (lambda t: t.transpose(), lambda a: a.transpose()),
        (lambda t: t.transpose(1, 0), lambda a: a.transpose(1, 0)),
        (lambda t: t.swapaxes(0, 1), lambda a: a.swapaxes(0, 1)),
        (lambda t: t[None].squeeze(0), lambda a: a[None].squeeze(0)),
        (lambda t: t.flatten(), lambda a: a.flatten()),
        (lambda t: t.repeat(2, 1), lambda a: a.repeat(2, 1)),
        (lambda t: t.take([0, 2], axis=1), lambda a: a.take([0, 2], axis=1)),
        (lambda t: t.clip(-0.5, 0.5), lambda a: a.clip(-0.5, 0.5)),
        (lambda t: t.astype(int), lambda a: a.astype(int)),
        (lambda t: abs(-t) + (+t), lambda a: abs(-a) + (+a)),
        (lambda t: t.abs().log().exp().sqrt(), lambda a: np.sqrt(abs(a))),
        (lambda t: t.tanh().sigmoid().relu(), lambda a: 1 / (1 + np.exp(-np.tanh(a)))),
        (lambda t: (t != 0) ^ (t >= 1), lambda a: (a != 0) ^ (a >= 1)),
        (lambda t: (t <= 1) & (t < 0) | (t > 2), lambda a: (a < 0) | (a > 2)),
    ],
)
def test_methods_as_numpy(method, function, rng):
    a = rng.normal(size=(2, 3))
    got, want = method(tr.tensor(a)), np.asarray(function(a))
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
