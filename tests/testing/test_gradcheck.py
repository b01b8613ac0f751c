"""The gradient checks accept right gradients and say exactly what is wrong with wrong ones."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import registry
from tinygrad_rnn.errors import DTypeError, GradcheckError, GraphError
from tinygrad_rnn.testing import gradcheck, gradgradcheck


@pytest.fixture
def make():
    """A factory of operations ``x**3`` with any rule; they leave the registry afterwards."""
    before = set(registry)

    def factory(rule):
        @tr.primitive(vjps=[rule], saves=(0,))
        def cube(x):
            return x**3

        return cube

    yield factory
    for name in set(registry) - before:
        del registry[name]


def leaf(*values: float) -> tr.Tensor:
    return tr.tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize("fast", [False, True])
class TestBothModes:
    def test_accepts_right_gradients(self, fast, make):
        cube = make(lambda g, y, x: g * (3 * x * x))
        assert gradcheck(cube, leaf(0.5, -2.0), fast=fast)
        assert gradgradcheck(cube, leaf(0.5, -2.0), fast=fast)

    def test_rejects_a_wrong_factor(self, fast, make):
        cube = make(lambda g, y, x: g * (2 * x * x))
        with pytest.raises(GradcheckError, match=r"output 0 at \(1,\) with respect to input 0 at \(1,\)"):
            gradcheck(cube, leaf(0.5, -2.0), fast=fast)

    def test_rejects_one_wrong_entry(self, fast, make):
        def rule(g, y, x):
            wrong = np.ones(x.shape)
            wrong[17] = 1.01
            return g * (3 * x * x) * wrong

        x = tr.tensor(np.linspace(0.5, 1.5, 40), requires_grad=True)
        expected = 3 * x.numpy()[17] ** 2
        with pytest.raises(GradcheckError) as e:
            gradcheck(make(rule), x, fast=fast)
        message = str(e.value)
        assert "input 0 at (17,)" in message
        assert "1 of 1600 entries" in message
        analytical, numerical = (float(v) for v in re.findall(r"(?:analytical|numerical) ([\d.]+)", message))
        assert analytical == pytest.approx(1.01 * expected, rel=1e-8)
        assert numerical == pytest.approx(expected, rel=1e-6)

    def test_rejects_a_missing_gradient(self, fast):
        with pytest.raises(GradcheckError, match="analytical 1, numerical 2"):
            gradcheck(lambda x: x + x.detach(), leaf(1.0), fast=fast)

    def test_rejects_nan(self, fast, make):
        cube = make(lambda g, y, x: g * np.nan)
        with pytest.raises(GradcheckError, match="analytical nan"):
            gradcheck(cube, leaf(1.0), fast=fast)

    def test_names_output_and_input(self, fast):
        def fn(x, y):
            return {"good": x * y, "bad": (x * x, y.detach() * y)}

        with pytest.raises(GradcheckError, match=r"output 2 at .* input 1 at"):
            gradcheck(fn, [leaf(1.0, 2.0), leaf(3.0, 4.0)], fast=fast)

    def test_wrong_second_rule_passes_only_the_first_check(self, fast, make):
        cube = make(lambda g, y, x: g * (3 * x.data**2 if isinstance(x, tr.Tensor) else 3 * x * x))
        assert gradcheck(cube, leaf(0.5, -2.0), fast=fast)
        with pytest.raises(GradcheckError):
            gradgradcheck(cube, leaf(0.5, -2.0), fast=fast)

    def test_integer_outputs_and_other_arguments_pass_through(self, fast):
        assert gradcheck(lambda x, k: (x * k, tr.argmax(x)), [leaf(1.0, 2.0), 3], fast=fast)

    def test_scalars_and_empty_arrays(self, fast):
        x = tr.tensor(np.float64(2.0), requires_grad=True)
        empty = tr.tensor(np.zeros((0, 3)), requires_grad=True)
        assert gradcheck(lambda x, e: x * x + e.sum(), [x, empty], fast=fast)

    def test_linear_functions_have_second_gradients_in_the_cotangent(self, fast):
        assert gradgradcheck(lambda x: 3 * x, leaf(1.0, 2.0), fast=fast)


def test_captured_tensors_are_perturbed_and_restored():
    w = leaf(2.0, 3.0)
    assert gradcheck(lambda *_: (w * w).sum(), [w])
    assert w.tolist() == [2.0, 3.0]
    assert w.grad is None


def test_graphs_made_before_the_check_stay_valid():
    w = leaf(2.0, 3.0)
    y = (w * w).sum()
    gradcheck(lambda w: w * w, w)
    y.backward()
    assert w.grad.tolist() == [4.0, 6.0]


def test_inputs_are_restored_when_fn_raises():
    w, calls = leaf(2.0), []

    def fn(x):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("stop")
        return x * x

    with pytest.raises(RuntimeError, match="stop"):
        gradcheck(fn, w)
    assert w.tolist() == [2.0]


def test_float32_is_refused():
    with pytest.raises(DTypeError, match=r"inputs\[1\]: got float32, wanted float64"):
        gradcheck(lambda x, y: x, [leaf(1.0), tr.tensor([1.0], requires_grad=True)])


def test_float32_output_is_refused():
    with pytest.raises(DTypeError, match="output 0: got float32"):
        gradcheck(lambda x: x.astype(np.float32), leaf(1.0))


def test_something_must_require_gradients():
    with pytest.raises(GraphError, match="none requires gradients"):
        gradcheck(lambda x: x, tr.tensor(np.ones(2)))


def test_computed_inputs_are_refused():
    with pytest.raises(GraphError, match=r"inputs\[0\]: got a computed tensor"):
        gradcheck(lambda x: x, leaf(1.0) * 2)


def test_random_functions_are_refused():
    with pytest.raises(GradcheckError, match="differs between two calls"):
        gradcheck(lambda x: x * tr.randn((1,), np.float64), leaf(1.0))


@tr.no_grad
def test_inside_no_grad():
    assert gradcheck(lambda x: x * x, leaf(0.5, 2.0))
    assert gradgradcheck(lambda x: x * x * x, leaf(0.5, 2.0))
    assert not tr.is_grad_enabled()


@pytest.mark.parametrize("fast", [False, True])
def test_inputs_that_share_memory(fast):
    x = leaf(0.5, 2.0, 3.0)
    y = tr.as_tensor(x.numpy()).requires_grad_()
    part = tr.as_tensor(x.numpy()[1:]).requires_grad_()
    assert gradcheck(lambda x, y, c, p: x * x * y * c + (p * p).sum(), [x, y, x.detach(), part], fast=fast)
    assert gradcheck(lambda x, again: x * again, [x, x], fast=fast)
    constant = x.detach()
    assert gradcheck(lambda x: x * constant, x, fast=fast)
    assert x.tolist() == [0.5, 2.0, 3.0]
    assert np.shares_memory(x.numpy(), y.numpy())


@pytest.mark.parametrize("fast", [False, True])
def test_inputs_that_cannot_be_written_to(fast):
    array = np.array([0.5, 2.0])
    array.flags.writeable = False
    for values in (array, np.broadcast_to(np.array([1.5]), 2), np.array([0.5, 1.0, 2.0])[::-2]):
        x = tr.as_tensor(values).requires_grad_()
        assert gradcheck(lambda x: tr.tanh(x) * x, x, fast=fast)
        assert x.numpy() is values


KINKS = {
    "relu": (tr.relu, [0.0]),
    "jump": (lambda x: tr.where(x > 0, x + 1.0, x), [0.0]),
    "clip": (lambda x: tr.clip(x, 0.3, None), [0.3]),
    "just beside one": (tr.relu, [3e-7]),
}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_told_as_a_kink(name, fast):
    fn, at = KINKS[name]
    with pytest.raises(GradcheckError, match="a kink or a jump, where there is no derivative") as caught:
        gradcheck(lambda x: 3.0 * fn(x), leaf(*at), fast=fast)
    assert caught.value.kink
    assert caught.value.at == (0,)


def test_a_fault_beside_a_kink_and_at_a_bend_is_a_fault(make):
    cube = make(lambda g, y, x: g * x)
    with pytest.raises(GradcheckError, match=r"input 0 at \(1,\): analytical 2, numerical 12") as caught:
        gradcheck(lambda x: tr.concat([tr.relu(x[:1]), cube(x[1:])]), leaf(0.0, 2.0))
    assert not caught.value.kink
    bend = make(lambda g, y, x: g * (3 * x * x + 0.1))  # as bent as it is, no kink
    with pytest.raises(GradcheckError, match="analytical") as caught:
        gradcheck(lambda x: 1e5 * bend(x), leaf(1.0))
    assert not caught.value.kink


@pytest.mark.parametrize("fast", [False, True])
def test_half_of_both_sides_is_taken_at_a_kink(fast):
    """The central difference there, and so no fault."""
    assert gradcheck(tr.abs, leaf(0.0, 1.0), fast=fast)
    assert gradcheck(lambda x: tr.maximum(x, 0.3), leaf(0.3), fast=fast)
