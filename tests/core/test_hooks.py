"""Gradient hooks and retain_grad."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError, GraphError, ShapeError


def leaf(values, dtype=np.float64) -> tr.Tensor:
    return tr.tensor(np.asarray(values, dtype), requires_grad=True)


@pytest.mark.parametrize("computed", [False, True])
def test_hook_sees_the_whole_gradient_once(computed):
    x = leaf([1.0, 2.0])
    h = x * 1.0 if computed else x
    seen = []
    h.register_hook(lambda g: seen.append(g.tolist()))
    (h * 2 + h * h).sum().backward()
    assert seen == [[4.0, 6.0]]
    assert x.grad.tolist() == [4.0, 6.0]


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("kind", ["tensor", "array", "long", "list"])
def test_hook_replaces_the_gradient(computed, kind):
    x = leaf([1.0, 2.0], np.float32)
    h = x * 1.0 if computed else x
    convert = {
        "tensor": lambda g: g,
        "array": lambda g: g.numpy().astype(np.float64),
        "long": lambda g: g.numpy().astype(np.longdouble),
        "list": tr.Tensor.tolist,
    }
    h.register_hook(lambda g: convert[kind](g * 10))
    (h * h).sum().backward()
    assert x.grad.tolist() == [20.0, 40.0]
    assert x.grad.dtype == np.float32


def test_hooks_run_in_order_and_can_be_removed():
    x = leaf([1.0])
    first = x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 10)
    (x * 1.0).sum().backward()
    assert x.grad.tolist() == [20.0]
    first()
    first()  # removing twice is harmless
    x.grad = None
    (x * 1.0).sum().backward()
    assert x.grad.tolist() == [10.0]


def test_hooks_work_in_tr_grad_and_differentiate():
    x = leaf([3.0])
    h = x * x
    h.register_hook(lambda g: g * 2)
    (g,) = tr.grad(h.sum(), x, create_graph=True)
    assert g.tolist() == [12.0]
    assert tr.grad(g.sum(), x)[0].tolist() == [4.0]


def test_hook_of_one_output_of_several():
    x = leaf([1.0, 2.0])
    a, b = tr.unstack(x)
    a.register_hook(lambda g: g * 5)
    (a + b).backward()
    assert x.grad.tolist() == [5.0, 1.0]


def test_hook_may_change_its_gradient_in_place_without_reaching_others():
    x = leaf([1.0, 2.0])
    h, k = x * 1.0, x * 1.0

    def spoil(g):
        g.data[...] = 100.0

    h.register_hook(spoil)
    (h + k).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_bad_hooks():
    x = leaf([1.0, 2.0])
    h = x * 2
    remove = h.register_hook(lambda g: g.sum())
    with pytest.raises(ShapeError, match=r"hook: returned shape \(\), wanted \(2,\)"):
        h.sum().backward(retain_graph=True)
    remove()
    h.register_hook(lambda g: g.astype(np.float32))
    with pytest.raises(DTypeError, match="hook: returned float32, wanted float64"):
        h.sum().backward()
    with pytest.raises(GraphError, match="register_hook: this tensor does not require gradients"):
        tr.tensor([1.0]).register_hook(print)


def test_retain_grad():
    x = leaf([1.0, 2.0])
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward(retain_graph=True)
    assert h.grad.tolist() == [4.0, 8.0]
    (h * h).sum().backward()
    assert h.grad.tolist() == [8.0, 16.0]
    assert (x * 2).grad is None


def test_retained_grads_do_not_share_memory():
    x = leaf([1.0])
    a, b = x * 2, x * 3
    a.retain_grad()
    b.retain_grad()
    (a + b).sum().backward()
    a.grad.data[...] = 7.0
    assert b.grad.tolist() == [1.0]


def test_retain_grad_of_a_leaf_changes_nothing():
    x = leaf([1.0])
    x.retain_grad()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_retain_grad_twice_is_as_once():
    x = leaf([2.0])
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [12.0]


@pytest.mark.parametrize("first", [True, False])
def test_retain_grad_keeps_what_hooks_leave(first):
    x = leaf([1.0])
    y = x * 2
    if first:
        y.retain_grad()
    removed = y.register_hook(lambda g: g * 10)
    if not first:
        y.retain_grad()
    kept = y.register_hook(lambda g: g + 1)
    (y * 1.0).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [11.0]
    removed()
    y.grad = None
    (y * 1.0).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [2.0]
    kept()
    y.grad = None
    (y * 1.0).sum().backward()
    assert y.grad.tolist() == [1.0]


def test_retain_grad_needs_gradients():
    with pytest.raises(GraphError, match="retain_grad: this tensor does not require gradients"):
        tr.tensor([1.0]).retain_grad()
