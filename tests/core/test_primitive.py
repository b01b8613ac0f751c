"""The door for operations of one's own: forward, rules, several outputs, statics; a worked example."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import registry
from tinygrad_rnn.errors import DTypeError, GraphError, ShapeError
from tinygrad_rnn.testing import gradcheck, gradgradcheck


@pytest.fixture(autouse=True)
def _clean_registry():
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def leaf(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64), requires_grad=True)


def test_worked_example():
    """A Gaussian bump ``exp(-s * x * x)``, from its formula to its third derivative.

    Three parts make an operation: the forward in NumPy, which may look inside arrays as it likes; a rule for
    each input, written in tensor operations so that it can be differentiated itself; and, for use within
    compiled cells, the same formula on SIMD lanes.
    """

    @tr.primitive(
        vjps=[lambda g, y, x, s: g * (-2 * s * x * y)],  # g: cotangent of y; y: the result; x: the input
        saves=(0, tr.OUT),  # the rule reads the values of input 0 and of the result
        lowering=tr.Lowering("elementwise", "exp(-{s} * {0} * {0})", cost=10),
        floats=True,  # integers become floats first, as for exp
    )
    def bump(x, s):
        return np.exp(-s * x * x)

    x = leaf([[0.3, -0.7], [1.1, 0.0]])
    y = bump(x, s=0.5)
    np.testing.assert_allclose(y.numpy(), np.exp(-0.5 * x.numpy() ** 2))
    assert gradcheck(lambda x: bump(x, s=0.5), x)
    assert gradgradcheck(lambda x: bump(x, s=0.5), x)

    derivative = y  # y''' = (3x - x**3) y for s = 1/2
    for _ in range(3):
        (derivative,) = tr.grad(derivative.sum(), x, create_graph=True)
    v = x.numpy()
    np.testing.assert_allclose(derivative.numpy(), (3 * v - v**3) * y.numpy(), rtol=1e-12, atol=1e-15)

    assert bump(tr.tensor([1, 2]), s=0.5).dtype == np.float32
    assert isinstance(bump(np.ones(2), s=0.5), np.ndarray)
    assert registry["bump"] is bump.op
    assert bump.__name__ == "bump"


def test_names_of_built_in_operations_are_taken():
    """The compiler knows operations by name."""
    with pytest.raises(ValueError, match=r"got the name .power., which tinygrad_rnn\.ops\.power has"):

        @tr.primitive()
        def power(a, b):
            return a


def test_one_s_own_operations_may_be_defined_again():
    for factor in (2, 3):

        @tr.primitive()
        def scaled(x, factor=factor):
            return x * factor

        assert scaled(tr.tensor([1])).tolist() == [factor]


def test_broadcast_results_are_summed_back():
    """A rule returns its cotangent in the shape of the result; the walk sums it to the input's."""

    @tr.primitive(vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a])
    def times(a, b):
        return a * b

    assert gradcheck(times, [leaf(np.ones((3, 1))), leaf(np.arange(4.0))])
    assert gradcheck(times, [leaf(2.0), leaf(np.arange(4.0))])


def test_inputs_without_gradient():
    @tr.primitive(vjps=[lambda g, y, x, mask: tr.where(mask, g, 0.0), None], saves=(1,), untyped=(1,))
    def keep(x, mask):
        return np.where(mask, x, 0)

    x, mask = leaf([1.0, 2.0]), np.array([True, False])
    assert gradcheck(keep, [x, mask])
    weights = leaf([1.0, 0.0])
    keep(x, weights).sum().backward()
    assert weights.grad is None


def test_joint_rule_computes_only_what_is_needed():
    asked = []

    def rule(g, y, *xs, needs):
        asked.append(needs)
        total = None
        return [g * 2.0 if need else total for need in needs]

    @tr.primitive(joint_vjp=rule, saves=())
    def twice_the_sum(*xs):
        return 2.0 * sum(xs)

    a, b = leaf([1.0]), leaf([2.0])
    twice_the_sum(a, tr.tensor(np.ones(1)), b).sum().backward()
    assert asked == [(True, False, True)]
    assert a.grad.tolist() == [2.0]
    tr.grad(twice_the_sum(a, b).sum(), b)
    assert asked[-1] == (False, True)


@pytest.mark.parametrize(
    "record",
    [
        {"vjps": [lambda g, y, a, b: g]},
        {"joint_vjp": lambda g, y, a, b, needs: [g]},
        {"joint_vjp": lambda g, y, a, b, needs: [g, g, g]},
    ],
)
def test_rules_for_some_inputs_only_are_refused(record):
    @tr.primitive(**record)
    def one_rule_for_two(a, b):
        return a + b

    a, b = (tr.tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(GraphError, match=r"one_rule_for_two has rules for [13] inputs, wanted 2"):
        one_rule_for_two(a, b).backward()


def test_several_outputs():
    """The rule of an operation with several results gets a dict: the cotangents of those that were used."""

    def rule(gs, y, x, needs):
        c, s = tr.cos(x), tr.sin(x)
        return [sum(g * (c if i == 0 else -s) for i, g in gs.items())]

    @tr.primitive(joint_vjp=rule, saves=(0,))
    def sincos(x):
        return np.sin(x), np.cos(x)

    x = leaf([0.3, 0.8])
    assert gradcheck(sincos, x)
    assert gradgradcheck(sincos, x)
    assert gradgradcheck(lambda x: sincos(x)[1], x)
    np.testing.assert_array_equal(sincos(np.ones(1))[0], np.sin(np.ones(1)))


def test_whole_numbers_among_several_outputs_have_no_gradient():
    @tr.primitive(joint_vjp=lambda gs, y, x, needs: [gs[0] * tr.sign(x)], saves=(0,))
    def size_and_side(x):
        return np.abs(x), np.sign(x).astype(np.int64)

    x = leaf([-2.0, 3.0])
    size, side = size_and_side(x)
    assert size.requires_grad
    assert not side.requires_grad
    assert side.tolist() == [-1, 1]
    (size * side).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_without_rules_there_is_no_gradient():
    @tr.primitive()
    def halves(x):
        return np.floor(2 * x) / 2

    x = leaf([0.3, 1.8])
    y = halves(x)
    assert not y.requires_grad
    assert not halves.op.differentiable
    assert y.tolist() == [0.0, 1.5]


def test_rules_see_shapes_but_not_values_that_were_not_saved():
    seen = []

    def rule(g, y, x, w):
        seen.append((y, x))
        return g * w

    @tr.primitive(vjps=[rule, None], saves=(1,))
    def scale(x, w):
        return x * w

    x = leaf(np.ones((2, 3)))
    for source in (x, x * 1.0):
        scale(source, np.float64(2.0)).sum().backward()
    for y, x in seen:
        assert y is None
        assert x.shape == (2, 3)
        assert x.ndim == 2
        assert x.dtype == np.float64
        assert not hasattr(x, "__array__")


def test_view_operations_share_their_write_counter():
    @tr.primitive(vjps=[lambda g, y, x: tr.flip(g)], saves=(), view=True)
    def mirrored(x):
        return x[::-1]

    x, base = leaf([1.0, 2.0]), tr.tensor(np.array([3.0, 4.0]))
    y = (x * mirrored(base)).sum()
    base.zero_()
    with pytest.raises(tr.errors.GraphError, match="overwritten"):
        y.backward()
    assert gradgradcheck(mirrored, x)


WRONG = {
    "a number of shape ()": (lambda g, y, x: g.sum() * 2, r"returned shape \(\), wanted \(3,\) as input 0 of wrong"),
    "one element": (lambda g, y, x: g.sum().reshape(1), r"returned shape \(1,\), wanted \(3,\)"),
    "a row too many": (lambda g, y, x: g.reshape(3, 1), r"returned shape \(3, 1\), wanted \(3,\)"),
    "a Python number": (lambda g, y, x: 2.0, r"returned float, wanted an array as input 0 of wrong"),
    "nothing": (lambda g, y, x: None, r"returned NoneType, wanted an array"),
    "a list": (lambda g, y, x: [1.0, 2.0, 3.0], r"returned list, wanted an array"),
    "integers": (lambda g, y, x: np.ones(3, int), r"returned int64, wanted float64 as input 0 of wrong"),
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_what_a_rule_returns_is_checked(case, joint, recorded):
    rule, message = WRONG[case]
    rules = {"joint_vjp": lambda g, y, x, needs: (rule(g, y, x),)} if joint else {"vjps": [rule]}

    @tr.primitive(saves=(), **rules)
    def _wrong(x):
        return x * 2

    if joint and case == "nothing":  # which means: no gradient
        return
    x = tr.tensor(np.ones(3), requires_grad=True)
    with pytest.raises((ShapeError, DTypeError), match=f"vjp: a rule {message}"):
        _wrong(x * 1.0).sum().backward(create_graph=recorded)
    with pytest.raises((ShapeError, DTypeError), match=message):
        gradcheck(_wrong, x)
    assert x.grad is None


def test_a_sum_over_what_was_broadcast_is_left_to_the_walk():
    @tr.primitive(vjps=[lambda g, y, x, k: g, None], saves=())
    def _spread(x, k):
        return x + k

    x = tr.tensor(np.ones((1, 3)), requires_grad=True)
    _spread(x, np.zeros((4, 2, 3))).sum().backward()
    assert x.grad.tolist() == [[8.0, 8.0, 8.0]]


# ---- values by keyword


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "remainder"])
def test_values_by_keyword_get_gradients(name):
    function = getattr(tr, name)

    def grads(call):
        a, b = tr.tensor([1.5, 2.0], requires_grad=True), tr.tensor([0.7, 4.0], requires_grad=True)
        call(a, b).sum().backward()
        return a.grad.numpy(), b.grad.numpy()

    wanted = grads(function)
    for call in (lambda a, b: function(a, b=b), lambda a, b: function(b=b, a=a)):
        for g, w in zip(grads(call), wanted, strict=True):
            np.testing.assert_array_equal(g, w)


def test_where_by_keyword():
    a, b = (tr.tensor([x, x], requires_grad=True) for x in (1.0, 2.0))
    tr.where(np.array([True, False]), b=b, a=a).sum().backward()
    np.testing.assert_array_equal([a.grad, b.grad], [[1, 0], [0, 1]])


def test_arrays_by_keyword_are_named_like_others():
    with pytest.raises(ShapeError, match=r"add: got shapes \(2,\) and \(3,\), which do not broadcast together"):
        tr.add(tr.ones(2), b=[1, 2, 3])


def test_a_tensor_as_a_static_parameter_is_refused():
    @tr.primitive(vjps=[lambda g, y, x, scale: g * scale], saves=())
    def scaled(x, scale=2.0):
        return x * scale

    x = tr.tensor([1.0], requires_grad=True)
    scaled(x, scale=3.0).backward()
    assert float(x.grad) == 3.0
    with pytest.raises(GraphError, match="scaled: scale: got a tensor by keyword, wanted it by position"):
        scaled(x, scale=tr.tensor([1.0], requires_grad=True))


def test_a_value_that_is_missing_or_there_twice():
    x = tr.ones(2)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        tr.multiply(b=x)
    with pytest.raises(TypeError, match="multiple values for argument 'a'"):
        tr.multiply(x, a=x)
