"""Stages of machine code do what their twins do, on arrays of any strides, and leave their surroundings alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn.compiler.model.bind import Stages, packed_elements
from tinygrad_rnn.kernels.fused import optimizers
from tinygrad_rnn.kernels.reference import stages as twins
from tinygrad_rnn.kernels.stages.stage_codes import CopyMode, IntegerOp
from tinygrad_rnn.optim import clip_grad_norm_

from .jit import dtypes, needs_jit

pytestmark = needs_jit


@st.composite
def views(draw, shape):
    """A function from a dtype to an array and a view of it of this shape, with strides of all kinds."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 2, -1, -2])) for _ in shape]
    pads = [draw(st.integers(0, 2)) for _ in shape]

    def make(dtype, rng):
        base = rng.normal(size=[abs(steps[i]) * shape[i] + pads[i] for i in order]).astype(dtype)
        view = base.transpose(np.argsort(order)) if shape else base
        index = (
            ...,
            *[slice(0, n * abs(s), abs(s)) for n, s in zip(shape, steps)],
        )
        flips = (..., *[slice(None, None, -1 if s < 0 else 1) for s in steps])
        return base, view[index][flips]

    return make


@given(st.data(), st.lists(st.integers(0, 4), max_size=6), dtypes, st.booleans())
@settings(max_examples=80)
def test_copies(data, shape, dtype, add):
    rng = np.random.default_rng(0)
    _, source = data.draw(views(shape))(dtype, rng)
    base, target = data.draw(views(shape))(dtype, rng)
    wanted = base.copy()
    if target.size:
        at = (target.ctypes.data - base.ctypes.data) // base.itemsize
        flat = wanted.reshape(-1)
        offsets = np.full(target.shape, at)
        for axis, (n, stride) in enumerate(zip(target.shape, target.strides)):
            offsets += (np.arange(n) * (stride // base.itemsize)).reshape(
                [-1 if i == axis else 1 for i in range(target.ndim)]
            )
        result = np.asarray(flat[offsets])
        twins.copy(source, result, add)
        flat[offsets] = result
    stages = Stages(np.dtype(dtype))
    stages.copy(source, target, CopyMode.ADD if add else CopyMode.COPY)
    stages.finish()
    stages.run()
    np.testing.assert_array_equal(base, wanted)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.booleans(), dtypes)
@settings(max_examples=30)
def test_products(m, k, n, transposed, dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(k, m) if transposed else (m, k)).astype(dtype)
    b = rng.normal(size=(k, n)).astype(dtype)
    around = np.full((m + 2, n), np.nan, dtype)
    stages = Stages(np.dtype(dtype))
    packed = None if transposed else np.full(packed_elements(k, n, np.dtype(dtype)), np.nan, dtype)
    stages.product(a.T if transposed else a, b, around[1:-1], packed)
    stages.finish()
    stages.run()
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(around[1:-1], (a.T if transposed else a) @ b, rtol=tolerance, atol=tolerance)
    assert np.isnan(around[[0, -1]]).all()


@given(st.integers(1, 40), st.integers(1, 40), dtypes)
@settings(max_examples=30)
def test_sums_of_rows_and_clearing(rows, columns, dtype):
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype(dtype)
    out, cleared = np.full(columns, np.nan, dtype), np.full(columns, np.nan, dtype)
    stages = Stages(np.dtype(dtype))
    stages.sum_rows(x, out)
    stages.clear(cleared)
    stages.finish()
    stages.run()
    np.testing.assert_allclose(out, x.sum(axis=0), rtol=1e-4, atol=1e-5)
    wanted = np.empty(columns, dtype)
    twins.clear(wanted)
    np.testing.assert_array_equal(cleared, wanted)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.sampled_from([0.5, 100.0, np.inf]), dtypes, st.data())
@settings(max_examples=60)
def test_clipping_by_norm(sizes, largest, dtype, data):
    scales = [1.0, 1e-30, 1e30, np.inf, np.nan, 0.0] + [1e-300, 1e300] * (dtype is np.float64)
    scale = data.draw(st.sampled_from(scales))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=n).astype(dtype) for n in sizes]
    if arrays[0].size:
        arrays[0][0] *= dtype(scale) if np.isfinite(scale) else 1
        arrays[0][0] = scale if not np.isfinite(scale) else arrays[0][0]
    tensors = [tr.tensor(np.zeros_like(a), requires_grad=True) for a in arrays]
    for t, a in zip(tensors, arrays):
        t.grad = tr.tensor(a.copy())
    stages = Stages(np.dtype(dtype))
    numbers = stages.clip_norm(arrays, largest)
    stages.finish()
    stages.run()
    norm = clip_grad_norm_(tensors, largest)
    np.testing.assert_allclose(numbers[1], norm, rtol=1e-5)
    for t, a in zip(tensors, arrays):
        np.testing.assert_allclose(a, t.grad.data, rtol=1e-5)


@given(st.integers(0, 40), dtypes)
@settings(max_examples=20)
def test_clipping_by_value(size, dtype):
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    x[:2] = [np.nan, -np.inf][:size]
    wanted = np.clip(x, -0.3, 0.3)
    stages = Stages(np.dtype(dtype))
    stages.clip_value(x, 0.3)
    stages.finish()
    stages.run()
    np.testing.assert_array_equal(x, wanted)


UPDATES = {
    "sgd": ((1,), [0.1, 0.9, 0.0, 0.01, 1.0], None),
    "adam": ((1, 1, 1), [0.1, 0.9, 0.99, 1e-8, 0.01, 1.0], 5),
    "rmsprop": ((1, 1, 1), [0.1, 0.9, 1e-8, 0.01, 0.5, 1.0], None),
    "adagrad": ((1,), [0.1, 0.01, 1e-8, 0.01], 4),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", UPDATES)
def test_updates_are_those_of_the_optimisers(kernel, dtype):
    states, numbers, at = UPDATES[kernel]
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 1, 11).astype(dtype) for _ in (0, 0, *states)]
    wanted = [a.copy() for a in arrays]
    stages, step = Stages(np.dtype(dtype)), np.zeros(1, np.int64)
    stages.update(kernel, arrays, np.array(numbers), step)
    stages.finish()
    for count in (1, 2, 3):
        stages.run()
        others = [*numbers[:-1], bool(numbers[-1])] if kernel != "adagrad" else list(numbers)
        if at is not None:
            others.insert(at, count)
        getattr(optimizers, kernel)(*wanted, *others)
        for a, b in zip(arrays, wanted):
            np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == np.float32 else 1e-14)
    assert step[0] == (3 if at is not None else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_over_a_data_set_end_where_a_number_is_not_finite(dtype):
    data, names = np.arange(12, dtype=dtype).reshape(6, 2), np.arange(6)
    order, step, status = np.array([3, 1, 5, 0, 2, 4]), np.zeros(1, np.int64), np.zeros(1, np.int64)
    rows, labels, losses = np.empty((2, 2), dtype), np.empty(2, np.int64), np.full(3, -1, dtype)
    stages = Stages(np.dtype(dtype))
    stages.feed(data, rows, order, step)
    stages.feed(names, labels, order, step)
    stages.finite(rows, status)
    stages.record(rows[1, 1:], losses, step)
    stages.finish()
    assert stages.run_steps(2, status) == 2
    np.testing.assert_array_equal(rows, data[[5, 0]])
    np.testing.assert_array_equal(labels, [5, 0])
    np.testing.assert_array_equal(losses, [3, 1, -1])
    data[4] = np.nan
    assert stages.run_steps(5, status) == 0
    assert status[0] == 1
    np.testing.assert_array_equal(losses, [3, 1, -1])
    assert step[0] == 2


@given(st.integers(1, 4), st.integers(0, 9), dtypes, st.data())
@settings(max_examples=30)
def test_steps_in_groups(every, count, dtype, data):
    """The first step of a group copies, later ones add, and the last one divides; a call may begin amid a group."""
    phase, size = data.draw(st.integers(0, every - 1)), data.draw(st.integers(0, 3))
    rows = np.random.default_rng(0).normal(size=(count, size)).astype(dtype)
    order, step, status = np.arange(count), np.zeros(1, np.int64), np.zeros(1, np.int64)
    row, total, losses = np.zeros((1, size), dtype), np.full((1, size), 7, dtype), np.zeros(count, dtype)
    stages = Stages(np.dtype(dtype))
    stages.feed(rows, row, order, step)
    stages.collect(row, total)
    with stages.last_of_group():
        stages.divide(total, every)
    stages.record(np.zeros(1, dtype), losses, step)
    stages.finish()
    assert stages.run_steps(count, status, phase, every) == count
    wanted = np.full((1, size), 7, dtype)
    for k in range(count):
        wanted = rows[k : k + 1] if (phase + k) % every == 0 else wanted + rows[k : k + 1]
        if (phase + k) % every == every - 1:
            wanted = wanted / dtype(every)
    np.testing.assert_array_equal(total, wanted)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("op", [op for op in IntegerOp if op not in (IntegerOp.WHERE, IntegerOp.COPY)])
def test_integers_are_numpys(op, kind):
    ufuncs = {
        IntegerOp.ADD: np.add,
        IntegerOp.SUBTRACT: np.subtract,
        IntegerOp.MULTIPLY: np.multiply,
        IntegerOp.FLOOR_DIVIDE: np.floor_divide,
        IntegerOp.REMAINDER: np.remainder,
        IntegerOp.NEGATIVE: np.negative,
        IntegerOp.ABS: np.abs,
        IntegerOp.MAXIMUM: np.maximum,
        IntegerOp.MINIMUM: np.minimum,
        IntegerOp.EQUAL: np.equal,
        IntegerOp.NOT_EQUAL: np.not_equal,
        IntegerOp.LESS: np.less,
        IntegerOp.LESS_EQUAL: np.less_equal,
        IntegerOp.AND: np.logical_and,
        IntegerOp.OR: np.logical_or,
        IntegerOp.XOR: np.logical_xor,
        IntegerOp.NOT: np.logical_not,
    }
    info, f = np.iinfo(kind), ufuncs[op]
    numbers = np.array([info.min, info.min + 1, -1 if info.min else 7, 0, 1, 2, info.max - 1, info.max], kind)
    a, b = numbers[:, None], numbers[None, ::-1]
    with np.errstate(all="ignore"):
        wanted = f(*(np.broadcast_arrays(a, b)[: f.nin]))
    out = np.zeros(wanted.shape, np.int64)
    stages = Stages(np.dtype(np.float32))
    wide = [x.astype(np.int64) for x in (a, b)][: f.nin]
    stages.integers(op, [np.broadcast_to(x, out.shape) for x in wide], out, wanted.dtype)
    stages.finish()
    stages.run()
    np.testing.assert_array_equal(out, wanted.astype(np.int64))
