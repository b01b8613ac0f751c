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


# ---- text and numbers


def test_format():
    assert f"{tr.tensor(2.5):.3f}" == "2.500"
    assert f"{leaf([[2.5]]):8.2e}" == "2.50e+00"
    assert f"{leaf(2.5) * 2:.1f}" == "5.0"
    assert f"{tr.tensor([3]):04d}" == "0003"
    assert f"{tr.tensor([1.0, 2.0])}" == "tensor([1., 2.], dtype=float32)"
    assert f"loss {tr.tensor(1.5)}" == "loss tensor(1.5, dtype=float32)"
    with pytest.raises(TypeError, match=r"format: got a tensor of shape \(2,\) for '.3f', wanted one element"):
        f"{tr.tensor([1.0, 2.0]):.3f}"


def test_round():
    assert float(round(tr.tensor(np.float64(2.346)), 2)) == pytest.approx(2.35)
    assert round(tr.tensor([1.26, 12.0]), 1).tolist() == pytest.approx([1.3, 12.0])
    assert round(tr.tensor([1.5, 2.5])).tolist() == [2.0, 2.0]
    assert tr.tensor([1.5]).round().tolist() == [2.0]


def test_membership_and_equality():
    t = tr.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert 2.0 in t
    assert 5 not in t
    assert [1.0, 9.0] in t  # as NumPy: some element is equal
    assert (t == None).tolist() == [[False, False], [False, False]]  # noqa: E711
    assert (t != None).all()  # noqa: E711
    assert (t == "text").tolist() == [[False, False], [False, False]]
    assert (t == object()) is False
    assert (t != object()) is True
    assert t in [t]
    assert tr.tensor(2.0) in [1.0, tr.tensor(2.0)]
    assert None not in [t[0, 0]]
    with pytest.raises(ShapeError, match=r"bool\(\): got a tensor of shape \(2, 2\), wanted one element; ask for .any"):
        assert t in [t * 1.0]


def test_divmod():
    t = tr.tensor([7, -7])
    for got, want in zip(divmod(t, 2), divmod(np.array([7, -7]), 2)):
        assert got.tolist() == want.tolist()
    for got, want in zip(divmod(7.5, tr.tensor(np.array([2.0, 3.0]))), divmod(7.5, np.array([2.0, 3.0]))):
        assert got.tolist() == want.tolist()


@pytest.mark.parametrize("call", [iter, list, tuple, lambda t: [*t], lambda t: 1.0 in [*t]])
def test_a_number_has_no_elements(call):
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        call(tr.tensor(1.0))


@pytest.mark.parametrize(
    ("method", "function"),
    [
        (lambda t: t.copy(), lambda a: a.copy()),
        (lambda t: t.ravel(), lambda a: a.ravel()),
        (lambda t: t.round(), lambda a: a.round()),
        (lambda t: t.argsort(), lambda a: a.argsort()),
        (lambda t: t.sign() + t.floor() + t.ceil(), lambda a: np.sign(a) + np.floor(a) + np.ceil(a)),
        (lambda t: t.sin() * t.cos(), lambda a: np.sin(a) * np.cos(a)),
        (lambda t: t.abs().log1p().expm1(), abs),
    ],
)
def test_more_methods(method, function, rng):
    a = rng.normal(size=(2, 3))
    np.testing.assert_allclose(method(tr.tensor(a)).numpy(), function(a), rtol=1e-12)


# ---- copies


def test_a_copy_stands_at_the_same_place_of_the_graph():
    x = leaf([1.0, 2.0])
    y = x * 3
    again = copy.copy(y)
    assert again is not y
    assert np.shares_memory(again.numpy(), y.numpy())
    (again * again).sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]
    p = tr.nn.Parameter([1.0, 2.0])
    p.grad = tr.tensor([5.0, 6.0])
    q = copy.copy(p)
    assert type(q) is tr.nn.Parameter
    assert (q.requires_grad, q.is_leaf, q.grad.tolist()) == (True, True, [5.0, 6.0])
    assert np.shares_memory(p.numpy(), q.numpy())


@pytest.mark.parametrize("make", [leaf, tr.nn.Parameter])
def test_pickles_and_copies_keep_the_gradient(make):
    t = make([1.0, 2.0])
    (t * t).sum().backward(create_graph=True)
    for again in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), copy.copy(t)):
        assert type(again) is type(t)
        assert again.grad.tolist() == [2.0, 4.0]
    assert not pickle.loads(pickle.dumps(t)).grad.requires_grad
    assert pickle.loads(pickle.dumps(make([1.0]))).grad is None


# ---- other libraries


def test_torch_reads_tensors():
    torch = pytest.importorskip("torch")
    t = tr.tensor([[1.0, 2.0], [3.0, 4.0]])
    shared = torch.from_dlpack(t)
    assert shared.dtype == torch.float32
    t[0, 0] = 9.0
    assert shared.tolist() == [[9.0, 2.0], [3.0, 4.0]]
    assert torch.tensor(t).tolist() == [[9.0, 2.0], [3.0, 4.0]]
    assert torch.tensor(t).dtype == torch.float32
    assert torch.as_tensor(t).tolist() == t.tolist()
    assert torch.tensor(tr.tensor(2.5)).item() == 2.5
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    with pytest.raises(BufferError, match=r"requires gradients, which get lost; pass t.detach\(\)"):
        torch.from_dlpack(leaf([1.0]))


@pytest.mark.parametrize("name", ["data", "dtype", "ndim", "shape", "size"])
def test_help_says_what_attributes_are(name):
    assert "attrgetter" not in getattr(tr.Tensor, name).__doc__
