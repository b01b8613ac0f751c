"""Initialisers: distributions, seeds, shapes."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.nn import init

SHAPE = (300, 200)

# initialiser -> (mean, standard deviation, largest magnitude or None)
TABLE = {
    "uniform": (lambda t: init.uniform(t, -1, 3), 1.0, 4 / 12**0.5, 3.0),
    "normal": (lambda t: init.normal(t, 2.0, 0.5), 2.0, 0.5, None),
    "constant": (lambda t: init.constant(t, 4.0), 4.0, 0.0, 4.0),
    "xavier_uniform": (
        lambda t: init.xavier_uniform(t, gain=2.0),
        0.0,
        2 * (2 / 500) ** 0.5,
        2 * (6 / 500) ** 0.5,
    ),
    "xavier_normal": (init.xavier_normal, 0.0, (2 / 500) ** 0.5, None),
    "kaiming_uniform": (
        lambda t: init.kaiming_uniform(t, nonlinearity="relu"),
        0.0,
        (2 / 200) ** 0.5,
        (6 / 200) ** 0.5,
    ),
    "kaiming_normal": (lambda t: init.kaiming_normal(t, a=1.0, mode="fan_out"), 0.0, (1 / 300) ** 0.5, None),
    "orthogonal": (init.orthogonal, 0.0, 300**-0.5, 1.0),
}


@pytest.mark.parametrize(("fill", "mean", "std", "largest"), TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(fill, mean, std, largest, dtype):
    tr.seed(0)
    t = tr.tensor(np.full(SHAPE, np.nan), dtype=dtype, requires_grad=True)
    array = t.data
    assert fill(t) is t
    assert t.data is array
    assert t.dtype == dtype
    assert abs(array.mean() - mean) < 0.02 * (std + 1e-9) + 1e-7
    assert abs(array.std() - std) <= 0.01 * std + 1e-7
    if largest is not None:
        assert 0 < np.abs(array).max() <= largest * (1 + 1e-6)


@pytest.mark.parametrize("fill", [row[0] for row in TABLE.values()], ids=TABLE)
def test_one_seed_gives_one_result_in_both_dtypes(fill):
    values = []
    for dtype in ("float32", "float64", "float64"):
        tr.seed(5)
        values.append(fill(tr.zeros((6, 4), dtype)).numpy())
    np.testing.assert_array_equal(values[1], values[2])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (6, 2, 3), (1, 1)])
def test_orthogonal(shape):
    m = init.orthogonal(tr.zeros(shape, "float64"), gain=2.0).numpy().reshape(shape[0], -1)
    small = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_orthogonal_signs_are_not_biased():
    tr.seed(0)
    corners = [init.orthogonal(tr.zeros((2, 2), "float64")).numpy()[0, 0] for _ in range(400)]
    assert abs(np.mean(corners)) < 0.1


def test_per_gate_fills_block_by_block():
    t = init.per_gate(init.orthogonal, 3)(tr.zeros((12, 4), "float64"), gain=0.5)
    for block in np.split(t.numpy(), 3):
        np.testing.assert_allclose(block @ block.T, 0.25 * np.eye(4), atol=1e-12)
    assert np.abs(t.numpy()[:4] - t.numpy()[4:8]).max() > 0.01


def test_a_graph_notices_that_values_changed():
    t = tr.tensor([[2.0]], requires_grad=True)
    for fill in (init.xavier_normal, init.per_gate(init.orthogonal, 1)):
        y = (t * t).sum()
        fill(t)
        with pytest.raises(tr.errors.GraphError, match="overwritten in place"):
            y.backward()


def test_gains():
    assert init.gain("tanh") == pytest.approx(5 / 3)
    assert init.gain("relu") == pytest.approx(2**0.5)
    assert init.gain("leaky_relu", 1.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"nonlinearity: got 'swish', wanted one of linear"):
        init.gain("swish")


def test_messages():
    with pytest.raises(ShapeError, match=r"tensor: got shape \(3,\), wanted a weight of at least two axes"):
        init.xavier_uniform(tr.zeros(3))
    with pytest.raises(ShapeError, match=r"tensor: got shape \(3,\), wanted a weight"):
        init.orthogonal(tr.zeros(3))
    with pytest.raises(ValueError, match=r"mode: got 'fan', wanted 'fan_in' or 'fan_out'"):
        init.kaiming_normal(tr.zeros((2, 2)), mode="fan")
    with pytest.raises(ShapeError, match=r"tensor: got shape \(5, 2\), wanted 2 equal blocks of rows"):
        init.per_gate(init.normal, 2)(tr.zeros((5, 2)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: init.constant(np.ones(3), 1.0), TypeError, "tensor: got ndarray, wanted a Tensor"),
        (lambda t: init.uniform(None), TypeError, "tensor: got NoneType, wanted a Tensor"),
        (lambda t: init.xavier_normal([[1.0]]), TypeError, "tensor: got list, wanted a Tensor"),
        (lambda t: init.constant(t, [1.0]), TypeError, r"value: got \[1.0\], wanted a number"),
        (lambda t: init.set_to(t, np.ones(5)), ShapeError, r"values: got shape \(5,\), wanted \(2, 3\)"),
        (lambda t: init.set_to(t, "ab"), DTypeError, "values: got str"),
        (lambda t: init.uniform(t, 1.0, -1.0), ValueError, "low, high: got 1.0 and -1.0, wanted low <= high"),
        (lambda t: init.normal(t, 0.0, -1.0), ValueError, "std: got -1.0, wanted at least 0"),
        (lambda t: init.orthogonal(t, (1, 2)), TypeError, r"gain: got \(1, 2\), wanted a number"),
        (lambda t: init.kaiming_uniform(t, "relu"), TypeError, "slope: got 'relu', wanted a number"),
        (lambda t: init.gain(["relu"]), ValueError, r"nonlinearity: got \['relu'\], wanted one of"),
    ],
)
def test_odd_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call(tr.zeros((2, 3)))
