"""Corners: NaN and Inf, ties, empty arrays, 0-d arrays, extreme values, masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn.testing import gradcheck, strategies

by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
INF, NAN = np.inf, np.nan

# NumPy's own functions, or formulas that hold at special values too
SAME = {
    tr.negative: np.negative,
    tr.exp: np.exp,
    tr.expm1: np.expm1,
    tr.log: np.log,
    tr.log1p: np.log1p,
    tr.sqrt: np.sqrt,
    tr.abs: np.abs,
    tr.sign: np.sign,
    tr.sin: np.sin,
    tr.cos: np.cos,
    tr.tanh: np.tanh,
    tr.relu: lambda x: np.maximum(x, 0),
    tr.sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    tr.hard_tanh: lambda x: np.clip(x, -1, 1),
    tr.hard_sigmoid: lambda x: np.clip(x * (1 / 6) + 0.5, 0, 1),
    tr.leaky_relu: lambda x: np.where(x > 0, x, 0.01 * x),
    tr.elu: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    tr.softplus: lambda x: np.logaddexp(x, 0),
    tr.floor: np.floor,
    tr.ceil: np.ceil,
    tr.round: np.round,
}


@pytest.mark.parametrize("op", SAME, ids=lambda f: f.__name__)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_special_values_flow_as_in_numpy(op, data, dtype):
    x = data.draw(strategies.arrays(dtype=dtype, specials=True))
    with np.errstate(all="ignore"):
        got, want = op(tr.tensor(x)), SAME[op](x)
    assert got.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got.numpy(), want, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_array_equal(np.isnan(got.numpy()), np.isnan(want))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("op", "same"),
    [
        (tr.add, np.add),
        (tr.subtract, np.subtract),
        (tr.multiply, np.multiply),
        (tr.divide, np.divide),
        (tr.maximum, np.maximum),
        (tr.minimum, np.minimum),
        (tr.power, np.power),
        (tr.less, np.less),
        (tr.equal, np.equal),
        (tr.not_equal, np.not_equal),
    ],
    ids=lambda f: f.__name__,
)
@given(arrays=strategies.broadcastable_arrays(2, dtype=np.float32, specials=True, min_side=0))
def test_special_values_of_pairs(op, same, arrays):
    with np.errstate(all="ignore"):
        got, want = op(*map(tr.tensor, arrays)), same(*arrays)
    np.testing.assert_array_equal(got.numpy(), want)


@given(data=st.data())
def test_special_values_in_reductions(data):
    x = data.draw(strategies.arrays(strategies.shapes(min_dims=1), np.float64, specials=True))
    t, axis = tr.tensor(x), data.draw(st.integers(-x.ndim, x.ndim - 1))
    with np.errstate(all="ignore"):
        for op, same in ((tr.sum, np.sum), (tr.max, np.max), (tr.min, np.min), (tr.cumsum, np.cumsum)):
            np.testing.assert_allclose(op(t, axis).numpy(), same(x, axis))
        want = np.logaddexp.reduce(x, axis)
        np.testing.assert_allclose(tr.logsumexp(t, axis).numpy(), want)
        soft, log_soft = tr.softmax(t, axis).numpy(), tr.log_softmax(t, axis).numpy()
    bad = ~np.isfinite(np.max(x, axis, keepdims=True)) | np.isnan(x).any(axis, keepdims=True)
    assert np.isnan(soft[np.broadcast_to(bad, x.shape)]).all()
    good = ~np.broadcast_to(bad, x.shape)
    np.testing.assert_allclose(np.exp(log_soft[good]), soft[good], atol=1e-15)


@by_dtype
def test_matmul_with_nan_and_inf(dtype):
    a = np.array([[1, NAN], [INF, 2], [0, 1]], dtype)
    b = np.array([[1, -1], [0, 3]], dtype)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal((tr.tensor(a) @ tr.tensor(b)).numpy(), a @ b)


@by_dtype
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_no_overflow(dtype, size):
    x = tr.tensor(np.full(3, size, dtype), requires_grad=True)
    for op in (
        tr.sigmoid,
        tr.softplus,
        tr.tanh,
        tr.softmax,
        tr.log_softmax,
        tr.logsumexp,
        tr.elu,
        tr.silu,
        tr.gelu,
    ):
        y = op(x)
        assert np.isfinite(y.numpy()).all(), op
        (g,) = tr.grad(y.sum(), x)
        assert np.isfinite(g.numpy()).all(), op
        assert g.dtype == dtype


def test_accuracy_near_zero():
    x = np.array([1e-12, -1e-12])
    np.testing.assert_allclose(tr.log1p(tr.tensor(x)).numpy(), x, rtol=1e-10)
    np.testing.assert_allclose(tr.expm1(tr.tensor(x)).numpy(), x, rtol=1e-10)
    assert tr.sigmoid(tr.tensor(np.array(-40.0))).item() == pytest.approx(np.exp(-40), rel=1e-12)


def test_nan_gradients_are_not_hidden():
    x = tr.tensor([1.0, 2.0], requires_grad=True)
    (x * np.array([NAN, 1.0])).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.float32([NAN, 1.0]))


def test_where_keeps_nan_of_the_other_branch_out():
    x = tr.tensor([0.0, 4.0], requires_grad=True)
    tr.where(x > 0, x, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_masked_softmax():
    """Minus infinity marks what is masked: no weight, no gradient."""
    x = tr.tensor(np.array([1.0, 2.0, -INF]), requires_grad=True)
    y = tr.softmax(x)
    assert y.numpy()[2] == 0
    (g,) = tr.grad((y * np.array([1.0, 2.0, 3.0])).sum(), x)
    assert np.isfinite(g.numpy()).all()
    assert g.numpy()[2] == 0
    assert tr.logsumexp(x).item() == pytest.approx(np.logaddexp(1, 2))


# ---- ties and kinks: documented subgradients


def gradient(f, x) -> list:
    t = tr.tensor(np.asarray(x, np.float64), requires_grad=True)
    return tr.grad(f(t).sum(), t)[0].tolist()


def test_subgradients():
    assert gradient(tr.abs, [0.0]) == [0.0]
    assert gradient(tr.sign, [0.0, 2.0]) == [0.0, 0.0]
    assert gradient(tr.relu, [0.0, -0.0]) == [0.0, 0.0]
    assert gradient(tr.elu, [0.0]) == [1.0]  # smooth there
    assert gradient(lambda x: tr.clip(x, -1, 1), [-1.0, 1.0, 1.5]) == [1.0, 1.0, 0.0]
    assert gradient(tr.floor, [1.0, 1.5]) == [0.0, 0.0]
    assert gradient(lambda x: x**0, [0.0, 2.0]) == [0.0, 0.0]
    assert gradient(lambda x: x**1, [0.0]) == [1.0]
    assert gradient(lambda x: x**2, [0.0, -3.0]) == [0.0, -6.0]
    assert gradient(lambda x: tr.power(x, tr.tensor(np.array([0.0, 1.0, 2.0]))), [0.0, 0.0, 0.0]) == [
        0.0,
        1.0,
        0.0,
    ]
    assert gradient(lambda p: tr.power(tr.tensor(np.array([0.0, 1.0])), p), [2.0, 2.0]) == [0.0, 0.0]


def test_ties_share_the_gradient():
    a, b = (tr.tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
    for op in (tr.maximum, tr.minimum):
        ga, gb = tr.grad(op(a, b).sum(), [a, b])
        assert ga.tolist() == gb.tolist() == [0.5, 0.5]
    assert gradient(tr.max, [3.0, 3.0, 1.0]) == [0.5, 0.5, 0.0]
    assert gradient(lambda x: tr.min(x, axis=0), [[1.0, 2.0], [1.0, 5.0]]) == [[0.5, 1.0], [0.5, 0.0]]


def test_products_with_zeros():
    for zeros in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]):
        gradcheck(tr.prod, tr.tensor(np.array(zeros), requires_grad=True))
    assert gradient(tr.prod, [2.0, 0.0, 3.0]) == [0.0, 6.0, 0.0]


def test_first_of_equal_elements_wins():
    x = tr.tensor([1.0, 3.0, 3.0])
    assert tr.argmax(x).item() == 1
    assert tr.argmin(-x).item() == 1
    assert tr.argsort(tr.tensor([2, 1, 2, 1])).tolist() == [1, 3, 0, 2]


# ---- indices


@given(data=st.data())
def test_repeated_indices_accumulate(data):
    shape = data.draw(strategies.shapes(min_dims=1, max_dims=2))
    index = data.draw(strategies.indices(shape))
    x = tr.tensor(np.zeros(shape), requires_grad=True)
    y = x[index]
    g = np.arange(1.0, y.size + 1).reshape(y.shape)
    y.backward(g)
    expected = np.zeros(shape)
    np.add.at(expected, index, g)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of", [np.int64, np.int8, np.uint64])
def test_many_rows_that_are_read_add_up(dtype, of):
    """As many as a kernel takes up; from the end too."""
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(9, 5, 7)).astype(dtype), rng.normal(size=(20, 6, 5, 7)).astype(dtype)
    index = rng.integers(0 if of is np.uint64 else -9, 9, (20, 6)).astype(of)
    wanted = np.zeros(x.shape)
    np.add.at(wanted, index, g.astype(float))
    for read in (lambda x: x[index], lambda x: tr.take(x, index, 0)):
        t = tr.tensor(x, requires_grad=True)
        read(t).backward(g)
        np.testing.assert_allclose(t.grad.numpy(), wanted, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-5)


def test_embedding_accumulates():
    table = tr.tensor(np.zeros((3, 2)), requires_grad=True)
    tr.embedding(table, np.array([[0, 2], [2, 2]])).sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]


# ---- empty and 0-d


def test_empty_reductions():
    empty = tr.tensor(np.zeros((0, 3)), requires_grad=True)
    assert empty.sum().item() == 0
    assert empty.sum(0).tolist() == [0.0, 0.0, 0.0]
    assert empty.prod(0).tolist() == [1.0, 1.0, 1.0]
    assert tr.all(tr.tensor(np.zeros(0, bool))).item()
    assert not tr.any(tr.tensor(np.zeros(0, bool))).item()
    empty.sum().backward()
    assert empty.grad.shape == (0, 3)
    for op in (tr.mean, tr.max, tr.min, tr.var, tr.std, tr.argmax):
        with pytest.raises(tr.errors.ShapeError, match="got"):
            op(empty, axis=0)


def test_scalars_stay_arrays():
    x = tr.tensor(np.float32(0.5), requires_grad=True)
    for op in (
        tr.exp,
        tr.sigmoid,
        tr.erf,
        tr.sum,
        tr.max,
        tr.softplus,
        lambda x: x[None][0],
        lambda x: x.reshape(1)[0],
    ):
        y = op(x)
        assert isinstance(y.numpy(), np.ndarray)
        assert (y.shape, y.dtype) == ((), np.float32)
        (g,) = tr.grad(y, x, create_graph=True)
        assert isinstance(g.numpy(), np.ndarray)
        assert (g.shape, g.dtype) == ((), np.float32)


@pytest.mark.parametrize("shapes", [((1,), (0,)), ((3, 1), (0,)), ((), (2, 0)), ((1, 1), (2, 3)), ((2, 3), (3,))])
def test_broadcast_gradients_are_summed_back(shapes):
    a, b = (tr.tensor(np.ones(s), requires_grad=True) for s in shapes)
    y = a * 2 + b * 3
    y.backward(np.ones(y.shape))
    for t, factor in ((a, 2.0), (b, 3.0)):
        assert t.grad.shape == t.shape
        np.testing.assert_array_equal(t.grad.numpy(), np.full(t.shape, factor * y.size / max(t.size, 1)))


def test_non_contiguous_inputs(rng):
    a = rng.normal(size=(6, 8))[::2, ::-2].T
    t = tr.as_tensor(a).requires_grad_()
    assert not t.numpy().flags.c_contiguous
    for op in (
        tr.tanh,
        tr.erf,
        tr.sigmoid,
        tr.softmax,
        lambda x: x @ x.T,
        lambda x: x.reshape(-1),
        tr.cumsum,
    ):
        plain = tr.tensor(a, requires_grad=True)
        np.testing.assert_allclose(op(t).numpy(), op(plain).numpy(), rtol=1e-13)
        (g,), (want,) = tr.grad((op(t) ** 2).sum(), t), tr.grad((op(plain) ** 2).sum(), plain)
        np.testing.assert_allclose(g.numpy(), want.numpy(), rtol=1e-12)
