"""NaN and infinity are reported where they first appear, on the tape and on the way back."""

import threading
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core.finding import all_finite
from tinygrad_rnn.errors import AnomalyError, TinygradError


def here(error):
    return error.where.startswith(__file__)


def caught(f, *args):
    with pytest.raises(AnomalyError) as info, tr.detect_anomaly():
        f(*args)
    return info.value


FORWARD = [
    ("log of 0", lambda x: tr.log(x), [1.0, 0.0], "log", "-inf"),
    ("log of less", lambda x: tr.log(x), [1.0, -1.0], "log", "nan"),
    ("sqrt", lambda x: tr.sqrt(x), [1.0, -1.0], "sqrt", "nan"),
    ("division", lambda x: 1 / x, [1.0, 0.0], "divide", "inf"),
    ("exp", lambda x: tr.exp(x), [1.0, 1000.0], "exp", "inf"),
    ("power", lambda x: x**0.5, [1.0, -1.0], "power", "nan"),
    ("overflow", lambda x: x * 1e308, [1.0, 10.0], "multiply", "inf"),
    ("product", lambda x: x @ np.array([[1.0], [1e308]]), [1.0, 10.0], "matmul", "inf"),
]


@pytest.mark.parametrize(("f", "x", "op", "value"), [c[1:] for c in FORWARD], ids=[c[0] for c in FORWARD])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_operation_is_named_where_it_is_written(f, x, op, value, requires_grad):
    x = tr.tensor(np.array(x), requires_grad=requires_grad)
    error = caught(f, x)
    assert (error.op, error.phase, error.step, error.row, error.input) == (op, "forward", None, None, None)
    assert here(error)
    assert str(error).startswith(f"{op}: gives {value} at entry (")
    assert "is finite" in str(error)
    assert isinstance(error, FloatingPointError | TinygradError)


BACKWARD = [
    ("sqrt at 0", lambda x: tr.sqrt(x), [1.0, 0.0], "sqrt"),
    ("root by power", lambda x: x**0.5, [1.0, 0.0], "power"),
    ("overflow", lambda x: (x * 1e200) * 1e-100 * 1e200, [1e-200, 1e-200], "multiply"),
]


@pytest.mark.parametrize(("f", "x", "op"), [c[1:] for c in BACKWARD], ids=[c[0] for c in BACKWARD])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_is_named_by_the_line_of_its_operation(f, x, op, create_graph):
    x = tr.tensor(np.array(x), requires_grad=True)
    with tr.detect_anomaly():
        y = f(x).sum()
        with pytest.raises(AnomalyError, match=f"gradient of {op} by its input 0: is ") as info:
            tr.grad(y, x, gradient_of(y), create_graph=create_graph)
    assert info.value.phase == "backward"
    assert info.value.input == 0
    assert here(info.value)


def gradient_of(y):
    return tr.tensor(1e10, dtype=y.dtype)


def test_second_derivatives_are_looked_at_too():
    x = tr.tensor([1.0, 0.0], requires_grad=True)
    with tr.detect_anomaly():
        (g,) = tr.grad((x**1.5).sum(), x, create_graph=True)
        with pytest.raises(AnomalyError, match="gradient of power"):
            g.sum().backward()


def test_a_graph_from_outside_has_no_line_and_says_what_to_do():
    x = tr.tensor([1.0, 0.0], requires_grad=True)
    y = tr.sqrt(x).sum()
    error = caught(y.backward)
    assert error.where == ""
    assert "is inf at entry (1,), in a forward pass outside of detect_anomaly()" in str(error)
    error = caught(lambda: tr.grad(tr.sqrt(x).sum(), x, create_graph=True))
    assert here(error)


def test_what_was_given_is_no_anomaly():
    inf, nan = np.inf, np.nan
    scores = tr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    keep = np.array([[True, False], [True, True]])
    with tr.detect_anomaly():
        tr.softmax(tr.where(keep, scores, -inf), -1).sum().backward()
        tr.log_softmax(tr.where(keep, scores, -inf), -1)[keep].sum().backward()
        tr.logsumexp(tr.where(keep, scores, -inf), -1).sum().backward()
        assert np.isnan((tr.tensor([nan, 1.0]) * 2).numpy()[0])
        assert np.isinf((tr.tensor([inf, 1.0]) + 1).numpy()[0])
        tr.matmul(tr.tensor([[inf, 1.0]]), tr.tensor([[1.0], [1.0]]))
        tr.tensor([1, 0]) * 3
    assert caught(lambda: tr.tensor([inf, 1.0]) - inf).op == "subtract"  # NaN of no NaN
    assert "input 0 is not finite (inf)" in str(caught(lambda: tr.tensor([inf, 1.0]) - inf))
    assert caught(lambda: tr.log(tr.tensor([nan, 0.0]))).op == "log"  # beside one that was given


def test_nothing_outside_of_the_block_and_where_it_is_off():
    plain = tr.Tensor._record
    x = tr.tensor([0.0])
    with np.errstate(all="ignore"):
        tr.log(x)
        with tr.detect_anomaly(False):
            tr.log(x)
        with tr.detect_anomaly():
            assert tr.Tensor._record is not plain
            with tr.detect_anomaly(False):
                tr.log(x)
            with tr.detect_anomaly(), pytest.raises(AnomalyError):
                tr.log(x)
            with pytest.raises(AnomalyError):
                tr.log(x)
        tr.log(x)
    assert tr.Tensor._record is plain
    node = tr.sqrt(tr.tensor([1.0], requires_grad=True))._node
    assert not hasattr(node, "place")


def test_the_block_ends_where_it_fails():
    plain = tr.Tensor._record
    caught(lambda: tr.log(tr.tensor([0.0])))
    assert tr.Tensor._record is plain
    assert tr.config.grad_mode.anomaly is None


def test_it_decorates_functions():
    @tr.detect_anomaly()
    def f(x, depth=0):
        return f(x, depth - 1) if depth else tr.log(x)

    with pytest.raises(AnomalyError):
        f(tr.tensor([0.0]), 2)
    assert f(tr.tensor([1.0]), 2).tolist() == [0.0]
    with pytest.raises(TypeError, match=r"detect_anomaly: enabled: got function, wanted a bool"):
        tr.detect_anomaly(f)


def test_other_threads_are_left_alone():
    found = []

    def other():
        with np.errstate(all="ignore"):
            found.append(tr.log(tr.tensor([0.0])).tolist())

    with tr.detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [[-np.inf]]


def test_numpy_does_not_warn_first():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert caught(lambda: tr.log(tr.tensor([0.0]))).op == "log"


def test_lines_of_layers_are_those_that_call_them():
    linear = nn.Linear(2, 3)
    linear.weight.data[...] = 3e38
    error = caught(lambda: linear(tr.tensor([[10.0, 10.0]])))
    assert here(error)
    assert error.op == "linear"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 3e38])
@pytest.mark.parametrize("shape", [(), (3,), (5, 7), (300, 300)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_finite(value, shape, dtype):
    a = np.full(shape, 3e38, dtype)
    a[(-1,) * len(shape)] = value
    with np.errstate(all="ignore"):
        for b in (a, a.T, a[::-1] if shape else a, tr.Tensor(a)):
            assert all_finite(b) == np.isfinite(value)


def test_several_outputs():
    x = tr.tensor([[1.0, 0.0]], requires_grad=True)
    with tr.detect_anomaly():
        a, b = tr.split(x, 2, axis=-1)
        assert caught(lambda: tr.log(b)).op == "log"
        with pytest.raises(AnomalyError, match="gradient of sqrt"):
            (a + tr.sqrt(b)).sum().backward()


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_each_of_several_outputs_is_looked_at(bad, requires_grad):
    @tr.primitive(joint_vjp=lambda gs, y, x, needs: [gs[bad] / x], saves=(0,))
    def logarithm_and_more(x):
        results = [x + 1, x + 1]
        results[bad] = np.log(x)
        return tuple(results)

    x = tr.tensor(np.array([1.0, 0.0]), requires_grad=requires_grad)
    error = caught(logarithm_and_more, x)
    assert (error.op, error.phase) == ("logarithm_and_more", "forward")
    assert here(error)
    del tr.core.registry["logarithm_and_more"]


def test_sums_that_overflow():
    x = tr.tensor(np.array([1e-10]), requires_grad=True)
    with tr.detect_anomaly():
        y = (x * 1e308).sum() + (x * 1e308).sum()
        with pytest.raises(AnomalyError, match="sum of the gradients of a value: is not finite") as info:
            y.backward()
    assert here(info.value)
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="gradient of add by its input 1"):
        tr.grad((np.zeros((4, 1)) + x).sum(), x, tr.tensor(1e308, dtype="float64"))
