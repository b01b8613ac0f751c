"""The tape: accumulation, deep graphs, memory, several outputs."""

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import sum_rows
from tinygrad_rnn.errors import GraphError, ShapeError


def leaf(values, dtype=np.float64) -> tr.Tensor:
    return tr.tensor(np.asarray(values, dtype), requires_grad=True)


def chain(h, steps: int):
    """`steps` steps of five operations each."""
    for _ in range(steps):
        h = h * 0.999 + 0.1 * tr.tanh(h - 0.5)
    return h


def test_shared_sub_expressions_accumulate():
    x = leaf([2.0, 3.0])
    s = x * x
    (s * s + s + x).sum().backward()  # x**4 + x**2 + x
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.numpy() ** 3 + 2 * x.numpy() + 1)


def test_one_tensor_at_both_inputs():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    (x @ x).sum().backward()
    ones = np.ones((2, 2))
    np.testing.assert_allclose(x.grad.numpy(), ones @ x.numpy().T + x.numpy().T @ ones)


def test_diamond_of_exponential_paths():
    """60 doublings: 2**60 paths, walked once per node."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_backward_adds_to_grad():
    x = leaf([1.0, 2.0])
    (2 * x).sum().backward()
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_grads_do_not_share_memory():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x + y).backward(np.array([1.0, 1.0]))
    x.grad.data[0] = 7.0
    assert y.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("function", [lambda x: x + x, lambda x: x * x, lambda x: tr.nn.mse_loss(x, x * 2)])
def test_gradients_of_numbers_are_arrays(function):
    x = leaf(3.0)
    for _ in range(2):  # the second one is added
        function(x).backward()
        assert type(x.grad.data) is np.ndarray
        assert x.grad.data.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_rows(dtype):
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (5, 3), (300, 7), (2, 300), (0, 3), (3, 0)):  # more rows, then fewer
        g = rng.standard_normal((rows, columns)).astype(dtype)
        for view in (g, g[::2], g[:, ::-2], np.asfortranarray(g), np.broadcast_to(g[:1], (rows and 4, columns))):
            total = sum_rows(view)
            assert total.dtype == dtype
            np.testing.assert_allclose(total, view.astype(np.float64).sum(0), rtol=1e-5, atol=1e-4)
    g = np.ones((3, 3), dtype)
    g[0, 0], g[1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(sum_rows(g), [np.nan, np.inf, 3])


def test_gradient_argument_is_not_kept_or_changed():
    x, g = leaf([1.0, 2.0]), np.array([1.0, 2.0])
    y = x + 0
    y.backward(g, retain_graph=True)
    g[0] = 9.0
    assert x.grad.tolist() == [1.0, 2.0]
    y.backward(g)
    assert g.tolist() == [9.0, 2.0]


def test_backward_with_gradient_tensor_and_array():
    for g in (np.array([1.0, 10.0]), tr.tensor(np.array([1.0, 10.0])), [1, 10]):
        x = leaf([1.0, 2.0])
        (x * x).backward(g)
        assert x.grad.tolist() == [2.0, 40.0]


def test_backward_without_gradient_wants_one_element():
    with pytest.raises(ShapeError, match=r"got an output of shape \(2,\), wanted a scalar"):
        leaf([1.0, 2.0]).backward()
    x = leaf([[3.0]])
    (x * x).backward()
    assert x.grad.tolist() == [[6.0]]


def test_gradient_of_wrong_shape():
    with pytest.raises(ShapeError, match=r"gradient: got shape \(3,\), wanted \(2,\)"):
        (leaf([1.0, 2.0]) * 2).backward(np.ones(3))


def test_backward_of_a_leaf():
    x = leaf(3.0)
    x.backward()
    assert x.grad.item() == 1.0


def test_backward_without_graph():
    with pytest.raises(GraphError, match="does not depend on any tensor that requires gradients"):
        tr.tensor([1.0]).sum().backward()


def test_constants_get_no_gradient():
    x, c = leaf([1.0]), tr.tensor(np.array([2.0]))
    (x * c).sum().backward()
    assert c.grad is None
    assert x.grad.tolist() == [2.0]


# ---- depth and memory


def test_5000_steps_without_recursion():
    x = leaf([0.1, 0.2])
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150)
    try:
        chain(x, 5000).sum().backward()
    finally:
        sys.setrecursionlimit(limit)
    a, grad = x.numpy(), np.ones(2)
    for _ in range(5000):
        grad, a = grad * (0.999 + 0.1 * (1 - np.tanh(a - 0.5) ** 2)), a * 0.999 + 0.1 * np.tanh(a - 0.5)
    np.testing.assert_allclose(x.grad.numpy(), grad, rtol=1e-9)


@pytest.mark.slow
def test_5000_steps_differentiated_twice():
    x = leaf([0.1, 0.2])
    (g,) = tr.grad(chain(x, 5000).sum(), x, create_graph=True)
    (h,) = tr.grad(g.sum(), x)
    assert np.isfinite(h.numpy()).all()


@pytest.fixture
def no_collector():
    """Reference counts alone must free graphs."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


def allocated() -> int:
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
def test_backward_frees_the_graph_while_the_result_lives(no_collector):
    x = leaf(np.linspace(0, 1, 500), np.float32)
    before = allocated()
    y = chain(x, 5000).sum()
    held = allocated() - before
    y.backward()
    after = allocated() - before
    assert held > 5000 * 500 * 4  # the test sees what it is about
    assert after < held / 100  # what is left are Python's own free lists
    assert y.item() == pytest.approx(y.numpy())


@pytest.mark.slow
def test_dropping_the_result_frees_the_graph(no_collector):
    x = leaf(np.linspace(0, 1, 500), np.float32)
    before = allocated()
    y = chain(x, 5000)
    held = allocated() - before
    assert held > 5000 * 500 * 4
    del y
    assert allocated() - before < held / 100


@pytest.mark.slow
def test_backward_needs_little_memory_beyond_the_graph(no_collector):
    x = leaf(np.linspace(0, 1, 500), np.float32)
    y = chain(x, 2000).sum()
    held = allocated()
    tracemalloc.reset_peak()
    y.backward()
    peak = tracemalloc.get_traced_memory()[1]
    assert peak < 1.4 * held  # bookkeeping, but not a cotangent for every node


def test_intermediate_tensors_are_not_kept(no_collector):
    x = leaf([1.0, 2.0])
    h = tr.tanh(x)
    gone = weakref.ref(h)
    y = (h * h).sum()
    del h
    assert gone() is None
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.tanh([1, 2]) * (1 - np.tanh([1, 2]) ** 2))


def test_additions_keep_no_values(no_collector):
    x = leaf(np.zeros(100_000), np.float32)
    before = allocated()
    y = x
    for _ in range(50):
        y = y + x
    assert allocated() - before < 3 * x.numpy().nbytes
    del y


@pytest.mark.parametrize("hooked", [False, True])
def test_create_graph_leaves_no_cycles(no_collector, hooked):
    x = leaf(np.linspace(0, 1, 10_000))

    def differentiate_twice():
        y = tr.tanh(x)
        if hooked:
            y.retain_grad()
        (g,) = tr.grad((y * y).sum(), x, create_graph=True)
        tr.grad((g * g).sum(), x)

    differentiate_twice()  # what is imported or kept once does not count
    before = allocated()
    differentiate_twice()
    assert allocated() - before < 20_000


# ---- several outputs


@pytest.mark.parametrize("used", [(0,), (2,), (0, 2), (0, 1, 2), (1, 1)])
@pytest.mark.parametrize("name", ["split", "unstack"])
def test_unused_outputs_count_as_zero(name, used):
    x = leaf(np.arange(12.0).reshape(3, 4))
    parts = tr.split(x, 3) if name == "split" else tr.unstack(x)
    sum((parts[i] * parts[i]).sum() for i in used).backward()
    expected = np.zeros((3, 4))
    for i in used:
        expected[i] += 2 * x.numpy()[i]
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_nan_in_one_output_stays_there():
    x = leaf([1.0, 2.0])
    a, _ = tr.unstack(x)
    (a * np.nan).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [np.nan, 0.0])


def test_uneven_split_with_empty_and_unused_parts():
    x = leaf(np.arange(5.0))
    empty, head, _ = tr.split(x, [0, 2])
    (head.sum() + empty.sum()).backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_iterating_a_tensor_differentiates():
    x = leaf(np.arange(6.0).reshape(3, 2))
    total = None
    for i, row in enumerate(x):
        term = (row * (i + 1)).sum()
        total = term if total is None else total + term
    total.backward()
    assert x.grad.tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_outputs_outlive_each_other(no_collector):
    x = leaf(np.zeros((4, 10_000)))
    before = allocated()
    first = tr.unstack(x * 2)[0]
    first.sum().backward()
    assert x.grad.numpy()[0].tolist() == [2.0] * 10_000
    del first
    x.grad = None
    assert allocated() - before < 20_000
