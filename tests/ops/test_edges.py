"""Edges where libraries differ: what was decided, as docs/edges.md lists it, eager and compiled."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.ops.index import all_within
from tinygrad_rnn.recurrent import scan

INF, NAN = np.inf, np.nan


def W(a, dtype=np.float64):
    return tr.tensor(np.array(a, dtype), requires_grad=True)


def gradient(f, *xs):
    """Of a sum, by all inputs; NaN as None, to compare."""
    xs = [x if isinstance(x, tr.Tensor) else W(x) for x in xs]
    with np.errstate(all="ignore"):
        gs = tr.grad(f(*xs).sum(), xs)
    return [[None if v != v else v for v in np.ravel(g.numpy()).tolist()] for g in gs]


class Step(nn.Cell):
    def __init__(self, f, dtype=np.float64):
        self.f, self.kind = f, np.dtype(dtype)

    @property
    def dtype(self):
        return self.kind

    def initial_state(self, batch_size):
        return None

    def step(self, xs, state):
        return self.f(*xs).astype(self.kind), None


def on_both_roads(f, *arrays, dtype=np.float64):
    """Value and gradients of ``f`` on rows of features: of the tape and of a loop, which are the same to rounding."""
    found = []
    for mode in ("eager", "compiled"):
        xs = [W(np.array(a)[None], dtype) for a in arrays]
        with np.errstate(all="ignore"):
            y, _ = scan(Step(f, dtype), xs, mode=mode)
            gs = tr.grad(y.sum(), xs, allow_unused=True)
        found.append([y.numpy()[0], *(np.zeros(x.shape)[0] if g is None else g.numpy()[0] for g, x in zip(gs, xs))])
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-300)
    return found[0]


# ---- NaN, ties and bounds


NAN_PASSES = {
    "relu": tr.relu, "abs": tr.abs, "elu": tr.elu, "hard_tanh": tr.hard_tanh, "leaky_relu": tr.leaky_relu,
    "hard_sigmoid": tr.hard_sigmoid, "clip": lambda x: tr.clip(x, -1.0, 1.0), "clip below": lambda x: tr.clip(x, 0.0),
    "maximum": lambda x: tr.maximum(x, 0.5), "minimum": lambda x: tr.minimum(0.5, x), "silu": tr.silu,
    "softplus": tr.softplus, "sqrt": tr.sqrt, "sum": lambda x: x.sum(-1, keepdims=True),
    "max": lambda x: x.max(-1, keepdims=True), "min": lambda x: x.min(-1, keepdims=True),
}  # fmt: skip


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", NAN_PASSES)
def test_nan_stays_and_passes_the_gradient_on(name):
    y, g = on_both_roads(NAN_PASSES[name], [[NAN, 2.0]])
    assert np.isnan(y[0, 0])
    assert g[0, 0] != 0  # the cotangent, or NaN


def test_maxima_of_nan():
    assert gradient(tr.max, [1.0, NAN, 2.0]) == [[0.0, 1.0, 0.0]]
    assert gradient(tr.min, [NAN, 1.0, NAN]) == [[0.5, 0.0, 0.5]]
    assert gradient(tr.maximum, [NAN, 1.0, 2.0], [1.0, NAN, 2.0]) == [[1.0, 1.0, 0.5]] * 2
    assert gradient(tr.minimum, [NAN, 1.0, 2.0], [1.0, NAN, 2.0]) == [[1.0, 1.0, 0.5]] * 2


def test_bounds_of_hard_activations():
    """As PyTorch's: no gradient on them."""
    y, g = on_both_roads(tr.hard_tanh, [[-1.0, 1.0, 0.5, -2.0]])
    assert y.tolist() == [[-1.0, 1.0, 0.5, -1.0]]
    assert g.tolist() == [[0.0, 0.0, 1.0, 0.0]]
    y, g = on_both_roads(tr.hard_sigmoid, [[-3.0, 3.0, 0.0]])
    assert y.tolist() == [[0.0, 1.0, 0.5]]
    np.testing.assert_allclose(g, [[0.0, 0.0, 1 / 6]])
    with pytest.raises(ValueError, match=r"hard_tanh: got min=2.0 and max=1.0, wanted min <= max"):
        tr.hard_tanh(W([0.0]), 2.0, 1.0)
    assert tr.hard_tanh(W([0.3, -0.3]), np.float32(-0.25), np.int64(1)).tolist() == [0.3, -0.25]


BOUNDS = [0, 0.0, np.float64(0), np.float32(0), np.int64(0), np.array(0.0), np.array([0.0])]


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda b: f"{type(b).__name__}{np.shape(b)}")
def test_the_gradient_on_a_bound_is_that_inside(bound):
    assert gradient(lambda x: tr.clip(x, bound, None), [0.0, -1.0, 1.0]) == [[1.0, 0.0, 1.0]]
    assert gradient(lambda x: tr.clip(x, None, bound), [0.0, -1.0, 1.0]) == [[1.0, 1.0, 0.0]]
    assert gradient(lambda x: tr.clip(x, bound, bound), [0.0, -1.0, 1.0]) == [[1.0, 0.0, 0.0]]


def test_bounds_that_are_tensors():
    x, low, high = [0.0, -1.0, 2.0, 0.5, NAN], [0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]
    assert gradient(tr.clip, x, low, high) == [
        [1.0, 0.0, 0.0, 1.0, 1.0],
        [0.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
    ]
    found = on_both_roads(tr.clip, [x], [low], [high])
    assert found[1].tolist() == [[1.0, 0.0, 0.0, 1.0, 1.0]]
    np.testing.assert_array_equal(tr.clip(W([1.0, 2.0]), np.array([NAN, 0.0]), 5.0), [NAN, 2.0])
    np.testing.assert_array_equal(tr.clip(W([1.0, 2.0]), NAN, 5.0), [NAN, NAN])


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (np.float32(2), np.float32(1)), (np.array([2.0]), np.array([1.0]))])
def test_a_lower_bound_above_the_upper(bounds):
    x = [0.0, 1.5, 3.0, 1.0]
    assert tr.clip(W(x), *bounds).tolist() == np.clip(x, *bounds).tolist() == [1.0] * 4
    assert gradient(lambda x: tr.clip(x, *bounds), x) == [[0.0] * 4]
    assert tr.clip(tr.tensor([0, 5]), 3, 1).tolist() == [1, 1]
    y, g = on_both_roads(lambda x: tr.clip(x, 2.0, 1.0), [x])
    assert y.tolist() == [[1.0] * 4]
    assert not g.any()


# ---- powers, quotients, steps


def test_powers_of_zero():
    p = [2.0, 0.0, -1.0, -2.0, 0.5, 1.0]
    value, by_base, by_exponent = on_both_roads(tr.power, [[0.0] * 6], [p])
    assert value.tolist() == [[0.0, 1.0, INF, INF, 0.0, 0.0]]
    assert by_base.tolist() == [[0.0, 0.0, -INF, -INF, INF, 1.0]]
    assert by_exponent.tolist() == [[0.0, 0.0, -INF, -INF, 0.0, 0.0]]
    assert gradient(lambda p: 0.0**p, p) == [by_exponent[0].tolist()]
    assert gradient(lambda x: x**-2, [0.0, -0.0, INF]) == [[-INF, INF, -0.0]]
    assert gradient(lambda x: x**0.5, [0.0, -0.0, 4.0]) == [[INF, INF, 0.25]]
    assert gradient(lambda p: tr.power(-2.0, p), [2.0]) == [[None]]


def test_functions_of_steps_have_the_gradient_zero():
    for f in (tr.floor, tr.ceil, tr.round, tr.sign, lambda x: tr.round(x, 1), lambda x: x // 2.0, lambda x: 2.0 // x):
        x = W([1.5, -2.5])
        assert tr.grad(f(x), x, [np.array([INF, NAN])])[0].tolist() == [0.0, 0.0]
    assert tr.sign(tr.tensor([True, False])).tolist() == [True, False]
    assert np.isnan(tr.sign(W(NAN)).item())


def test_two_float_dtypes_are_an_error():
    with pytest.raises(DTypeError, match="add: got float32 and float64 tensors, wanted one float dtype"):
        W([1.0]) + W([1.0], np.float32)


# ---- bits


def test_operators_of_bits():
    t = tr.tensor([6, 1, 2])
    assert (t & 1).tolist() == [0, 1, 0]
    assert (1 | t).tolist() == [7, 1, 3]
    assert (t ^ t).tolist() == [0, 0, 0]
    assert (~tr.tensor([1, 2])).tolist() == [-2, -3]
    assert (t << 1).tolist() == [12, 2, 4]
    assert (t >> 1).tolist() == [3, 0, 1]
    assert (~tr.tensor([True])).tolist() == [False]
    for f in (lambda a: a & 1, lambda a: 1 | a, lambda a: a ^ a, lambda a: ~a, lambda a: a << 1, lambda a: a >> 1):
        with pytest.raises(DTypeError, match="got float64, wanted integers or bool"):
            f(W([1.5]))
    with pytest.raises(DTypeError, match=r"bitwise_and: got .*, wanted integers or bool"):
        t & 1.5


# ---- digits


@pytest.mark.slow
def test_logits_of_any_size_keep_their_digits():
    for offset in (0.0, 1e3, 1e4, 1e6):
        logits = W([[offset + 1, offset + 2, offset + 3]], np.float32)
        loss = F.cross_entropy(logits, np.array([0]))
        assert abs(float(loss) - 2.4076059) < 3e-7
        (g,) = tr.grad(loss, logits)
        assert abs(g.numpy().sum()) < 1e-7
        for f in (tr.log_softmax, lambda x: tr.log(tr.softmax(x))):
            y, _ = on_both_roads(f, logits.numpy(), dtype=np.float32)
            np.testing.assert_allclose(y, [[-2.4076059, -1.4076059, -0.40760595]], rtol=1e-6)
    same = W(np.full((1, 11), 1e10), np.float32)
    assert abs(float(F.cross_entropy(same, np.array([3]))) - np.log(11)) < 1e-6
    three = W([[1e7] * 3], np.float32)
    (g,) = tr.grad(F.cross_entropy(three, np.array([0])), three)
    np.testing.assert_allclose(g.numpy(), [[-2 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    _, g = on_both_roads(lambda x: tr.logsumexp(x, -1, keepdims=True), [[1e7] * 3], dtype=np.float32)
    np.testing.assert_allclose(g, [[1 / 3] * 3], rtol=1e-6)


def test_decisions_keep_their_digits():
    x, t = W([[-20.0, 20.0, -20.0, 20.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 1.0, 0.0, 0.0, 1.0]])
    tail = np.log1p(np.exp(-20.0))
    wanted = [[tail, tail, 20 + tail, 20 + tail, np.log(2), np.log(2)]]
    for options in ({}, {"pos_weight": 1.0}):
        loss = F.binary_cross_entropy_with_logits(x, t, reduction="none", **options)
        np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-14)
        (g,) = tr.grad(loss.sum(), x)
        small = 1 / (1 + np.exp(20.0))
        np.testing.assert_allclose(g.numpy(), [[small, -small, small - 1, 1 - small, 0.5, -0.5]], rtol=1e-14)


def test_certain_decisions():
    """Infinite logits: right ones cost nothing, wrong ones everything; finite ones beside them what they cost alone."""
    x, t = W([[INF, -INF, INF, -INF, INF, 2.0]]), np.array([[1.0, 0.0, 0.0, 1.0, 0.25, 0.25]])
    alone = F.binary_cross_entropy_with_logits(W([2.0]), [0.25], reduction="none").item()
    for options in ({}, {"pos_weight": 1.0}):
        loss = F.binary_cross_entropy_with_logits(x, t, reduction="none", **options)
        np.testing.assert_allclose(loss.numpy(), [[0.0, 0.0, INF, INF, INF, alone]], rtol=1e-14)


@pytest.mark.parametrize("x", [37.43, -37.43, 0.0, 3.0, -700.0, 700.0])
def test_curvature_of_softplus(x):
    t = W(x)
    with localcontext() as context:
        context.prec = 60
        exact = float(1 / ((1 + Decimal(-x).exp()) * (1 + Decimal(x).exp())))
    for f, sign in ((tr.softplus, 1), (tr.log_sigmoid, -1)):
        (g,) = tr.grad(f(t), t, create_graph=True)
        np.testing.assert_allclose(tr.grad(g, t)[0].item(), sign * exact, rtol=1e-13)


def test_log_sigmoid_in_loops():
    x = [[-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4, NAN]]
    y, g = on_both_roads(tr.log_sigmoid, x)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(y, -np.logaddexp(0, -np.array(x)), rtol=1e-14)
    assert g[0, 0] == 1.0
    assert g[0, 6] == 0.0


def test_elu_keeps_the_digits_of_its_slope():
    assert gradient(tr.elu, [-20.0]) == [[np.exp(-20.0)]]
    assert gradient(tr.expm1, [-30.0]) == [[np.exp(-30.0)]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1000.1, 10000.3, 1e6, -3e9, 1e30, 1e-30])
@pytest.mark.parametrize("width", [1, 3, 10, 100])
def test_equal_elements_have_no_spread(value, width, dtype):
    x = np.full((1, width), value, dtype)
    assert tr.var(W(x, dtype)).item() == tr.std(W(x, dtype)).item() == 0.0
    assert not F.layer_norm(W(x, dtype), width).numpy().any()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("value", [0.1, 1000.1, 10000.3, 1e6, 1e10])
def test_equal_elements_in_loops(value):
    for width in (3, 10, 100):
        for f in (lambda x: F.layer_norm(x, x.shape[-1]), lambda x: tr.var(x, -1, keepdims=True)):
            y, _ = scan(Step(f, np.float32), [np.full((1, 2, width), value, np.float32)], mode="compiled")
            assert not y.numpy().any()
        assert gradient(lambda x: tr.std(x, -1), np.full((2, width), value)) == [[0.0] * 2 * width]


def test_squares_that_overflow():
    """Lengths and deviations do not, variances do; a row that cannot be normalised is NaN."""
    x = np.array([[1e30, -1e30, 2e30, 0.0]])
    np.testing.assert_allclose(tr.std(W(x, np.float32)).numpy(), np.std(x), rtol=1e-6)
    for scale in (1e30, 1e-30, 1e-36):
        y, g = on_both_roads(lambda x: tr.norm(x, axis=-1, keepdims=True), [[3 * scale, 4 * scale]], dtype=np.float32)
        np.testing.assert_allclose(y, [[5 * scale]], rtol=1e-6)
        np.testing.assert_allclose(g, [[0.6, 0.8]], rtol=1e-6)
    y, _ = on_both_roads(
        lambda x: F.layer_norm(x, 4), [[1e20, -1e20, 2e20, 0.0], [1.0, 2.0, 3.0, 4.0]], dtype=np.float32
    )
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize(
    ("ord", "axis"), [(3, 0), (0, 0), (-np.inf, 1), ("fro", 0), (1, None), (1, (0, 1)), (np.inf, None)]
)
def test_other_norms_are_refused(ord, axis):
    with pytest.raises(ValueError, match=r"norm: got ord=.*wanted None, or 1, 2 or inf over one axis"):
        tr.norm(W([[3.0, 4.0], [5.0, 12.0]]), ord, axis)


@pytest.mark.parametrize("f", [tr.logsumexp, lambda x, axis, keepdims: tr.log_softmax(x, axis)])
def test_one_term_outweighs_all_others(f):
    """The sum of the powers is exactly one, and none of them may be taken for none at all."""
    x = [[700.0, -700.0, -INF], [0.0, -INF, -INF], [-3.0, -800.0, -INF], [-INF, -INF, 2.0]]
    y, _ = on_both_roads(lambda x: f(x, axis=-1, keepdims=True)[:, :1], x)
    assert y.tolist() == ([[700.0], [0.0], [-3.0], [2.0]] if f is tr.logsumexp else [[0.0], [0.0], [0.0], [-INF]])


@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 3e38), (np.float64, 1.5e308)])
def test_elements_near_the_largest(dtype, huge):
    """Of which differences, sums and lengths overflow, but not what is asked for."""
    x = np.array([[huge, 1.0, 2.0], [huge] * 3, [huge, -huge, 0.0]], dtype)
    exact = np.sqrt(np.array([2 / 9, 0.0, 2 / 3])) * huge
    slope = np.array([[2.0, -1.0, -1.0], [0.0] * 3, [1.0, -1.0, 0.0]])
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1.0) * np.sqrt(3)
    for f in (lambda x: tr.std(x, -1, keepdims=True), lambda x: tr.std(x, 1)):
        y = f(t := W(x, dtype))
        np.testing.assert_allclose(np.ravel(y), exact, rtol=1e-6)
        np.testing.assert_allclose(tr.grad(y, t, [np.ones(y.shape)])[0].numpy(), slope, rtol=1e-6, atol=1e-7)
    t = W(x, dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(tr.var(t, -1).numpy(), [INF, 0.0, INF])
        (g,) = tr.grad(tr.var(t, -1).sum(), t)
    np.testing.assert_allclose(g[0].numpy() / huge, np.array([4.0, -2.0, -2.0]) / 9, rtol=1e-6)
    y, g = tr.norm(t, axis=-1), [[1.0, 0.0, 0.0], [3**-0.5] * 3, [2**-0.5, -(2**-0.5), 0.0]]
    np.testing.assert_array_equal(y.numpy() < INF, [True, False, False])
    np.testing.assert_allclose(tr.grad(y, t, [np.ones(3)])[0].numpy(), g, rtol=1e-6, atol=1e-7)
    twice = tr.grad(tr.norm(t, axis=-1)[1], t, create_graph=True)[0]
    assert np.isfinite(tr.grad((twice * [1.0, 2.0, 3.0]).sum(), t)[0].numpy()).all()


SHARES = [
    ([INF, 1.0], [1.0, 0.0]),
    ([INF, -INF, 3.0], [1.0, 0.0, 0.0]),
    ([INF, 2.0, INF], [0.5, 0.0, 0.5]),
    ([INF], [1.0]),
    ([-INF, -INF], [0.0, 0.0]),
    ([INF, NAN], [NAN, NAN]),
    ([-INF, NAN], [NAN, NAN]),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x", "wanted"), SHARES)
def test_logsumexp_of_infinities(x, wanted, dtype):
    """What outweighs all others by infinity has all of the gradient, and several share it, as those of a maximum."""
    y, g = on_both_roads(lambda x: tr.logsumexp(x, axis=-1, keepdims=True), [x, [0.0] * len(x)], dtype=dtype)
    np.testing.assert_array_equal(y[0], np.max(x))
    np.testing.assert_array_equal(g[0], np.array(wanted))
    np.testing.assert_allclose(g[1], 1 / len(x))  # rows do not disturb each other


FACTORS = [
    ([INF, 2.0], [2.0, INF]),
    ([1.0, 3.0, NAN], [NAN, NAN, 3.0]),
    ([NAN, 3.0, 2.0], [6.0, NAN, NAN]),
    ([0.0, INF, 2.0], [INF, 0.0, NAN]),
    ([INF], [1.0]),
    ([NAN], [1.0]),
    ([0.0, 0.0, INF, 5.0], [NAN, NAN, 0.0, NAN]),
    ([-INF, -INF, 0.5, 2.0], [-INF, -INF, INF, INF]),
]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x", "wanted"), FACTORS)
def test_products_of_the_others(x, wanted, dtype):
    """A factor's own value is not in its gradient, be it infinite or NaN."""
    y, g = on_both_roads(lambda x: x.prod(-1, keepdims=True), [x], dtype=dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(y[0], np.prod(x, keepdims=True))
    np.testing.assert_array_equal(g[0], wanted)


@pytest.mark.parametrize(("dtype", "small"), [(np.float32, 1e-39), (np.float64, 1e-310)])
def test_subnormal_divisors(dtype, small):
    """Their reciprocals overflow; quotients and gradients do not unless they are so large."""
    a, b = np.array([[0.0, -0.0, small / 1024, small, 1.0]], dtype), np.full((1, 5), small, dtype)
    y, by_a, by_b = on_both_roads(tr.divide, a, b, dtype=dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(y, a / b)
        np.testing.assert_array_equal(by_b, -(a / b / b))
    assert np.signbit(by_b).tolist() == [[True, False, True, True, True]]
    assert by_a.tolist() == [[INF] * 5]
    assert np.isfinite(by_b[0, 2])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("length", [33, 66])
def test_long_products(length):
    """Of as many factors as it takes; long ones are taken by halves where they are compiled."""
    x = np.random.default_rng(0).choice([-1.0, 1.0], (2, length)) * np.linspace(0.6, 1.5, 2 * length).reshape(2, length)
    y, g = on_both_roads(lambda x: x.prod(-1, keepdims=True), x)
    np.testing.assert_allclose(y, x.prod(-1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(g, x.prod(-1, keepdims=True) / x, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:overflow")
def test_products_are_taken_in_order():
    assert tr.prod(W([1e200, 1e-200, 1e200, 1e-200])).item() == 1.0
    assert tr.prod(W([1e20, 1e-20, 1e20, 1e-20], np.float32)).item() == pytest.approx(1.0)
    y, g = on_both_roads(lambda x: x.prod(-1, keepdims=True), [[1e200, 1e-200, 1e200, 1e-200]])
    assert y.tolist() == [[1.0]]
    np.testing.assert_allclose(g, [[1e-200, 1e200, 1e-200, 1e200]])
    x = np.linspace(0.5, 1.5, 70)
    x[[3, 60]] = 0.0
    assert not np.any(gradient(tr.prod, x))
    x[60] = 2.0
    (g,) = gradient(tr.prod, x)
    assert np.flatnonzero(g).tolist() == [3]
    assert g[3] == pytest.approx(np.prod(np.delete(x, 3)))


def test_many_equal_errors():
    x = tr.tensor(np.full(10**6, 0.1, np.float32))
    assert float(F.mse_loss(x, np.zeros(10**6))) == pytest.approx(0.01, rel=1e-6)


# ---- einsum


def test_diagonals_are_indexed():
    """What stands beside them does not matter."""
    x = W([[1.0, INF], [NAN, 2.0]])
    assert tr.einsum("ii->i", x).tolist() == [1.0, 2.0]
    assert tr.einsum("ii", x).item() == 3.0
    assert tr.grad(tr.einsum("ii->i", x).sum(), x)[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_labels_of_length_one():
    v, b = W([2.0]), W([0.0])
    tr.einsum("i,i->", np.array([1.0]), v + np.zeros(3)).backward()
    assert v.grad.tolist() == [3.0]
    tr.einsum("bi,i->b", np.ones((4, 1)), b + np.zeros(5)).sum().backward()
    assert b.grad.tolist() == [20.0]
    for shapes in (((0, 3), "ij->j"), ((3, 0), "ij->j"), ((0,), "i->")):
        x = W(np.zeros(shapes[0]))
        assert tr.grad(tr.einsum(shapes[1], x).sum(), x)[0].shape == shapes[0]


# ---- layers and losses


def test_huber_loss_of_infinite_errors():
    x = W([INF, 2.0, -INF])
    F.huber_loss(x, np.zeros(3), reduction="sum").backward()
    assert x.grad.tolist() == [1.0, 1.0, -1.0]
    assert gradient(lambda x: F.huber_loss(x, np.zeros(2), delta=INF), [1.0, 2.0]) == [[0.5, 1.0]]
    assert gradient(lambda x: F.huber_loss(x, np.zeros(3), reduction="sum"), [1.0, -1.0, 0.0]) == [[1.0, -1.0, 0.0]]


def test_layer_norm_takes_trailing_shapes():
    x = np.arange(6.0).reshape(2, 3, 1)
    assert not F.layer_norm(W(x), (1,)).numpy().any()
    np.testing.assert_allclose(F.layer_norm(W(x), (3, 1)).numpy().mean(1), 0, atol=1e-12)
    for shape, message in (
        ((3,), r"wanted \(..., 3\)"),
        ((), r"got shape .*, wanted \(...\)"),
        ((2, 3), r"wanted \(..., 2, 3\)"),
    ):
        with pytest.raises(tr.errors.ShapeError, match=message):
            F.layer_norm(W(x), shape)
    with pytest.raises(tr.errors.ShapeError, match=r"layer_norm: weight: got shape \(3,\), wanted \(1,\)"):
        F.layer_norm(W(x), 1, np.ones(3))


def test_dropout_of_integers():
    layer = nn.Dropout(0.1)
    with pytest.raises(DTypeError, match="Dropout: x: got int64, wanted floats"):
        layer(tr.tensor([1, 2]))
    assert layer.eval()(tr.tensor([1, 2])).tolist() == [1, 2]


def test_tables_are_matrices():
    with pytest.raises(tr.errors.ShapeError, match=r"embedding: weight: got shape \(3, 1, 2\), wanted \(V, E\)"):
        tr.embedding(W(np.ones((3, 1, 2))), np.array([0, 1]))


@pytest.mark.parametrize("call", [tr.elu, tr.leaky_relu])
def test_slopes(call):
    with pytest.raises(DTypeError, match=f"{call.__name__}: [a-z_]+: got nested sequences"):
        call([-1.0, 2.0], [[1, 2], [3]])
    x, slope = (tr.tensor(np.array(v), requires_grad=True) for v in ([-1.0, 2.0], [0.5, 0.25]))
    call(x, slope).sum().backward()  # a slope may be learned
    np.testing.assert_allclose(slope.grad.data, [call(-1.0, 1.0), 0.0])


def test_integers_are_found_to_lie_within_limits():
    rng = np.random.default_rng(0)
    for kind in ("i1", "i2", "i8", "u1", "u8", ">i4"):
        for low, high in ((0, 5), (0, 0), (-3, 4), (0, -1), (0, 300), (0, 1 << 40)):
            for shape in ((), (3,), (10, 12), (0,)):
                a = np.asarray(rng.integers(0 if kind[0] == "u" else -8, 9, shape)).astype(kind)
                for b in (a, a.T, a[..., ::-1] if a.ndim else np.abs(a)):
                    wanted = all(low <= int(v) <= high for v in np.asarray(b).ravel())
                    assert all_within(np.asarray(b), low, high) is wanted, (kind, low, high, b)
