"""The strategies give what they promise, and reach the corners that they are there for."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.testing import gradcheck, gradgradcheck, strategies

SEARCH = settings(max_examples=2000, derandomize=True, database=None, phases=[Phase.generate])


def reaches(strategy, condition) -> bool:
    try:
        find(strategy, condition, settings=SEARCH)
    except NoSuchExample:
        return False
    return True


@given(strategies.shapes(min_dims=1, max_dims=2, min_side=0, max_side=3))
def test_shapes_within_bounds(shape):
    assert 1 <= len(shape) <= 2
    assert all(0 <= n <= 3 for n in shape)


@given(strategies.broadcastable_shapes(3, min_side=0))
def test_shapes_broadcast(shapes):
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


@given(st.sampled_from([np.float32, np.float64, np.int32, np.bool_]), st.data())
def test_dtype_of_arrays(dtype, data):
    array = data.draw(strategies.arrays(dtype=dtype))
    assert array.dtype == dtype


@given(strategies.arrays(min_value=-1.0, max_value=3.0, avoid=(0.0, 1.0)))
def test_values_in_range_and_away_from_points(array):
    assert ((array >= -1) & (array <= 3)).all()
    for point in (0.0, 1.0):
        assert (np.abs(array - point) >= 0.0499).all()


@given(strategies.arrays(shape=(3, 4), unique=True))
def test_unique_arrays_have_no_ties(array):
    assert len(np.unique(array)) == 12


@given(strategies.arrays(dtype=np.float32))
def test_arrays_are_finite_by_default(array):
    assert np.isfinite(array).all()


SPECIALS = {
    "nan": np.isnan,
    "inf": np.isposinf,
    "-inf": np.isneginf,
    "-0.0": lambda x: (x == 0) & np.signbit(x),
    "subnormal": lambda x: (x != 0) & (np.abs(x) < np.finfo(np.float32).tiny),
}


@pytest.mark.parametrize("name", SPECIALS)
def test_specials_are_reached(name):
    strategy = strategies.arrays(dtype=np.float32, specials=True)
    assert reaches(strategy, lambda x: SPECIALS[name](x).any())


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "condition",
    [
        lambda a, b: a.shape != b.shape,
        lambda a, b: a.ndim == 0 and b.ndim > 0,
        lambda a, b: a.ndim > b.ndim > 0,
        lambda a, b: a.ndim == b.ndim == 2 and a.shape[0] == 1 < b.shape[0],
        lambda a, b: np.broadcast_shapes(a.shape, b.shape) != a.shape and a.size == 0,
    ],
    ids=["differ", "scalar", "fewer axes", "length one", "empty"],
)
def test_broadcasting_is_reached(condition):
    strategy = strategies.broadcastable_arrays(2, min_side=0)
    assert reaches(strategy, lambda arrays: condition(*arrays))


@given(st.integers(0, 3), st.data())
def test_axes_fit(ndim, data):
    axis = data.draw(strategies.axes(ndim))
    np.sum(np.zeros((2,) * ndim), axis=axis)


@given(strategies.shapes(min_side=0), st.data())
def test_indices_fit(shape, data):
    np.zeros(shape)[data.draw(strategies.indices(shape))]


def parts(index) -> tuple:
    return index if isinstance(index, tuple) else (index,)


def integers(index) -> list[np.ndarray]:
    return [i for i in parts(index) if isinstance(i, np.ndarray) and i.dtype != bool]


KINDS_OF_INDEX = {
    "mask": lambda i: isinstance(i, np.ndarray) and i.dtype == bool and i.any(),
    "negative": lambda i: any((a < 0).any() for a in integers(i)),
    "repeated": lambda i: any(len(integers(i)) == 1 and a.size > len(np.unique(a)) for a in integers(i)),
    "two arrays": lambda i: len(integers(i)) == 2,
    "array and slice": lambda i: len(integers(i)) == 1 and any(isinstance(p, slice) for p in parts(i)),
    "backwards": lambda i: any(isinstance(p, slice) and (p.step or 1) < 0 for p in parts(i)),
    "new axis": lambda i: any(p is None for p in parts(i)),
    "ellipsis": lambda i: any(p is Ellipsis for p in parts(i)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KINDS_OF_INDEX)
def test_kinds_of_indices_are_reached(kind):
    assert reaches(strategies.indices((3, 4)), KINDS_OF_INDEX[kind])


@given(strategies.cells(input_size=3))
def test_cells_take_a_step(cell):
    assert isinstance(cell, nn.Cell)
    assert cell.input_size == 3
    y, _ = cell.step(tr.zeros((2, 3), np.float64), cell.initial_state(2))
    assert y.shape == (2, cell.hidden_size)
    assert y.dtype == np.float64
    assert all(np.abs(p.numpy()).max() > 0 for p in cell.parameters())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("bias", [False, True])
def test_kinds_of_cells_are_reached(kind, bias):
    assert reaches(strategies.cells(), lambda c: isinstance(c, kind) and (c.bias_ih is not None) == bias)


@pytest.mark.slow
@settings(max_examples=30)
@given(strategies.cells(), st.integers(1, 3))
def test_cells_pass_the_gradient_checks(cell, batch):
    rng = np.random.default_rng(1)
    state = cell.initial_state(batch)
    several = isinstance(state, tuple)
    leaves = [tr.tensor(rng.normal(size=(batch, cell.input_size)), requires_grad=True)]
    leaves += [tr.tensor(rng.normal(size=s.shape), requires_grad=True) for s in (state if several else (state,))]

    def step(x, *rest):
        hs = rest[: len(leaves) - 1]
        return cell.step(x, hs if several else hs[0])

    assert gradcheck(step, [*leaves, *cell.parameters()])
    assert gradgradcheck(step, [*leaves, *cell.parameters()], fast=True)
