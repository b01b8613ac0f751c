"""``tr.grad``, graphs of gradients, no_grad, detach, freed graphs."""

import threading

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import partial_grad
from tinygrad_rnn.errors import DTypeError, GraphError, ShapeError


def leaf(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64), requires_grad=True)


def test_grad_touches_no_grad_attribute():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (g,) = tr.grad((x * w).sum(), x)
    assert g.tolist() == [3.0, 4.0]
    assert x.grad is None
    assert w.grad is None


def test_higher_orders():
    x = leaf(0.7)
    y = tr.sin(x) * tr.exp(x)
    derivatives = []
    for _ in range(4):
        (y,) = tr.grad(y, x, create_graph=True)
        derivatives.append(y.item())
    s, c, e = np.sin(0.7), np.cos(0.7), np.exp(0.7)
    expected = [e * (s + c), 2 * e * c, 2 * e * (c - s), -4 * e * s]
    np.testing.assert_allclose(derivatives, expected, rtol=1e-12)


def test_third_order_through_a_recurrence():
    w, x = leaf([[0.3, -0.2], [0.5, 0.1]]), np.array([[0.4, -0.6]])

    def loss(w):
        h = tr.as_tensor(np.zeros((1, 2)))
        for _ in range(3):
            h = tr.tanh(x + h @ w)
        return (h * h).sum()

    def second(w):
        (g,) = tr.grad(loss(w), w, create_graph=True)
        (gg,) = tr.grad((g * g).sum(), w, create_graph=True)
        return (gg * gg).sum()

    (third,) = tr.grad(second(w), w)
    eps = 1e-6
    for i in range(2):
        for j in range(2):
            shift = np.zeros((2, 2))
            shift[i, j] = eps
            up, down = second(leaf(w.numpy() + shift)), second(leaf(w.numpy() - shift))
            assert third.numpy()[i, j] == pytest.approx((up.item() - down.item()) / (2 * eps), rel=1e-5)


def test_backward_with_create_graph_fills_differentiable_grads():
    x = leaf([1.0, 2.0])
    (x**3).sum().backward(create_graph=True)
    (g,) = tr.grad(x.grad.sum(), x)
    assert g.tolist() == [6.0, 12.0]


def test_gradients_that_can_be_differentiated_are_tensors_of_their_own():
    a, b, w = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0, 6.0])
    ((a + b) * w).sum().backward(create_graph=True)
    a.grad.detach().zero_()
    assert b.grad.tolist() == [5.0, 6.0]
    c = leaf(2.0)
    (c.sum() + 0.0).backward(create_graph=True)
    c.backward(create_graph=True)
    c.grad.detach().fill_(7.0)
    c.grad = None
    c.backward(create_graph=True)
    assert c.grad.item() == 1.0


def test_gradient_penalty_reaches_the_weights():
    w, x = leaf([2.0, 3.0]), leaf([1.0, 1.0])
    (dx,) = tr.grad((w * w * x).sum(), x, create_graph=True)
    (dx * dx).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 4 * w.numpy() ** 3)


def test_with_respect_to_a_computed_tensor():
    x = leaf([1.0, 2.0])
    h = x * 3
    y = (h * h).sum()
    dh, dx = tr.grad(y, [h, x])
    assert dh.tolist() == [6.0, 12.0]
    assert dx.tolist() == [18.0, 36.0]


def test_partial_gradients():
    """Of independent variables: what one input does through another is not counted, and its hooks wait."""
    x = tr.tensor([2.0, 3.0], requires_grad=True)
    y = x * x
    seen = []
    y.register_hook(lambda g: seen.append(g))
    for create_graph in (False, True):
        dx, dy, none = partial_grad([(x * y).sum()], [x, y, tr.ones(2).requires_grad_()], [None], create_graph)
        assert dx.tolist() == [4.0, 9.0]
        assert dy.tolist() == [2.0, 3.0]
        assert none is None
    assert not seen
    assert tr.grad(dx.sum(), x)[0].tolist() == [4.0, 6.0]


def test_with_respect_to_one_output_of_several():
    x = leaf([1.0, 2.0, 3.0])
    a, b, _ = tr.unstack(x)
    da, db = tr.grad(a * b, [a, b])
    assert (da.item(), db.item()) == (2.0, 1.0)


def test_with_respect_to_the_output_itself():
    x = leaf(2.0)
    y = x * x
    dy, dx = tr.grad(y, [y, x])
    assert (dy.item(), dx.item()) == (1.0, 4.0)


def test_several_outputs_with_cotangents():
    x = leaf([1.0, 2.0])
    (g,) = tr.grad([x * 2, (x * x).sum()], x, [np.array([1.0, 10.0]), None])
    assert g.tolist() == [4.0, 24.0]


def test_wrong_number_of_cotangents():
    x = leaf([1.0])
    with pytest.raises(ShapeError, match="grad_outputs: got 2, wanted 1"):
        tr.grad([x * 2], x, [np.ones(1), np.ones(1)])


def test_unused_input():
    x, z = leaf([1.0]), leaf([1.0])
    y = (x * 2).sum()
    with pytest.raises(GraphError, match=r"inputs\[1\]: the outputs do not depend on it; pass allow_unused=True"):
        tr.grad(y, [x, z])
    gx, gz = tr.grad((x * 2).sum(), [x, z], allow_unused=True)
    assert gx.tolist() == [2.0]
    assert gz is None


def test_input_without_gradient():
    x, c = leaf([1.0]), tr.tensor(np.ones(1))
    with pytest.raises(GraphError, match=r"inputs\[1\]: this tensor does not require gradients"):
        tr.grad((x * c).sum(), [x, c])


def test_only_the_path_to_the_inputs_is_walked():
    """A weight gradient that nobody asked for is not computed."""
    seen = []

    def rule(g, y, x):
        seen.append(1)
        return g

    op = tr.primitive(vjps=[rule], saves=())(lambda x: x * 1.0)
    x, w = leaf([1.0]), leaf([2.0])
    y = (x * op(w)).sum()
    tr.grad(y, x, retain_graph=True)
    assert not seen
    tr.grad(y, w)
    assert seen


# ---- freed graphs


def test_backward_twice():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GraphError, match=r"freed by an earlier walk; pass retain_graph=True"):
        y.backward()


def test_retain_graph():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_grad_of_a_freed_graph_says_so():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    tr.grad(y, x)
    for options in ({}, {"allow_unused": True}):
        with pytest.raises(GraphError, match="the graph behind sum was freed"):
            tr.grad(y, x, **options)


def test_freed_part_beside_a_live_one():
    x, w = leaf([1.0]), leaf([2.0])
    h = x * x
    h.sum().backward()
    (g,) = tr.grad((h * w).sum(), w)  # needs the value of h, not what is behind it
    assert g.tolist() == [1.0]
    with pytest.raises(GraphError, match="the graph behind multiply was freed"):
        (h * w).sum().backward()


@pytest.mark.parametrize("again", [0, 1])
def test_freed_operation_with_several_outputs_is_named(again):
    x = leaf([1.0, 2.0])
    outputs = tr.unstack(x)
    outputs[0].backward()
    with pytest.raises(GraphError, match="the graph behind unstack was freed"):
        outputs[again].backward()


# ---- leaving the graph


def test_no_grad_and_enable_grad():
    x = leaf([1.0])
    with tr.no_grad():
        assert not tr.is_grad_enabled()
        assert not (x * 2).requires_grad
        with tr.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_a_decorator_and_after_an_exception():
    x = leaf([1.0])

    @tr.no_grad()
    def predict():
        return x * 2

    assert not predict().requires_grad
    assert not predict().requires_grad
    with pytest.raises(ZeroDivisionError), tr.no_grad():
        raise ZeroDivisionError
    assert tr.is_grad_enabled()


def test_set_grad_enabled_as_a_statement_a_block_and_a_decorator():
    x = leaf([1.0])
    tr.set_grad_enabled(False)
    try:
        assert not tr.is_grad_enabled()
        assert not (x * 2).requires_grad
        with tr.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not tr.is_grad_enabled()
        block = tr.set_grad_enabled(True)
        assert tr.is_grad_enabled()
        with block:
            assert tr.is_grad_enabled()
        assert not tr.is_grad_enabled()  # as it was before the call
        with block, block:
            assert tr.is_grad_enabled()
        assert not tr.is_grad_enabled()
    finally:
        tr.set_grad_enabled(True)

    @tr.set_grad_enabled(False)
    def predict():
        return x * 2

    assert tr.is_grad_enabled()  # it takes effect in the function only
    assert not predict().requires_grad
    assert not predict().requires_grad
    assert tr.is_grad_enabled()


@pytest.mark.parametrize("switch", [tr.no_grad, tr.no_grad()], ids=["bare", "called"])
def test_decorators_with_and_without_brackets(switch):
    x = leaf([1.0])

    @switch
    def predict(k, *, twice=True):
        "Words."
        return predict(k - 1, twice=twice) if k else x * 2

    assert not predict(3).requires_grad
    assert (predict.__name__, predict.__doc__) == ("predict", "Words.")
    assert tr.is_grad_enabled()

    @tr.enable_grad
    def train():
        return x * 2

    with tr.no_grad():
        assert train().requires_grad
        assert not (x * 2).requires_grad
    with pytest.raises(TypeError, match="function: got int, wanted a function"):
        tr.no_grad(3)


def test_a_decorated_generator_keeps_to_itself():
    x = leaf([1.0])
    closed = []

    @tr.no_grad
    def batches():
        try:
            got = yield (x * 2).requires_grad
            try:
                yield got, tr.is_grad_enabled()
            except KeyError:
                yield "caught", tr.is_grad_enabled()
            return "end"
        finally:
            closed.append(tr.is_grad_enabled())

    running = batches()
    assert next(running) is False
    assert tr.is_grad_enabled()
    assert running.send(5) == (5, False)
    assert running.throw(KeyError()) == ("caught", False)
    assert tr.is_grad_enabled()
    with pytest.raises(StopIteration, match="end"):
        next(running)
    again = batches()
    next(again)
    again.close()
    assert closed == [False, False]
    assert tr.is_grad_enabled()


def test_a_block_may_be_entered_again_inside_itself():
    off = tr.no_grad()
    with off:
        with off:
            assert not tr.is_grad_enabled()
        assert not tr.is_grad_enabled()
    assert tr.is_grad_enabled()


def test_threads_that_share_parameters_lose_no_gradient(restless_threads):
    w = leaf(np.zeros(200_000))

    def work():
        for _ in range(10):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(w.grad.tolist()) == {80.0}


def test_grad_mode_is_per_thread():
    seen = []
    with tr.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tr.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_walking_inside_no_grad():
    x = leaf([3.0])
    y = (x * x).sum()
    with tr.no_grad():
        y.backward()
    assert x.grad.tolist() == [6.0]


def test_detach_shares_memory_and_stops_gradients():
    x = leaf([1.0, 2.0])
    h = x * 2
    d = h.detach()
    assert not d.requires_grad
    assert np.shares_memory(d.numpy(), h.numpy())
    (h * d).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_requires_grad_():
    x = tr.tensor([1.0])
    assert x.requires_grad_() is x
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0]
    assert not (x.requires_grad_(False) * 2).requires_grad
    with pytest.raises(GraphError, match="requires_grad_: got a tensor computed by the graph"):
        (leaf([1.0]) * 2).requires_grad_(False)
    with pytest.raises(DTypeError, match="requires_grad: got a int64 tensor, wanted float32 or float64"):
        tr.tensor([1]).requires_grad_()


X = leaf([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tr.grad(3, X), TypeError, r"outputs: got 3, wanted a Tensor or a sequence of tensors"),
        (lambda: tr.grad(X.sum(), (1,)), TypeError, r"inputs: got \(1,\), wanted a Tensor or a sequence of tensors"),
        (lambda: tr.grad(X.sum(), "w"), TypeError, r"inputs: got 'w', wanted a Tensor or a sequence of tensors"),
        (lambda: tr.grad(X.sum(), X, 1.0), TypeError, r"grad_outputs: got float, wanted a sequence"),
        (lambda: tr.grad(X * 2, X, [[1j, 0j]]), DTypeError, "gradient: got list of dtype complex128, wanted numbers"),
        (lambda: (X * 2).backward(np.ones(2, complex)), DTypeError, "gradient: got ndarray of dtype complex128"),
        (lambda: (X * 2).backward("ab"), DTypeError, "gradient: got str of dtype <U2, wanted numbers"),
        (lambda: (X * 2).backward([[1.0, 2.0], [3.0]]), DTypeError, "gradient: got nested sequences of unequal"),
        (lambda: X.register_hook("double"), TypeError, "hook: got str, wanted a callable"),
    ],
)
def test_odd_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_hook_that_returns_no_numbers():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: "twice")
    with pytest.raises(DTypeError, match="hook: got str"):
        (x * 2).sum().backward()


@pytest.mark.parametrize("wrong", [np.ones(2), [1.0, 2.0], "one"])
def test_grad_that_is_no_tensor(wrong):
    x = leaf([1.0, 2.0])
    x.grad = wrong
    with pytest.raises(TypeError, match=rf"grad: got {type(wrong).__name__}, wanted a Tensor or None"):
        (x * 2).sum().backward()
    x.grad = None
    (x * 2).sum().backward()  # the lock over the gradients is free
    assert x.grad.tolist() == [2.0, 2.0]
