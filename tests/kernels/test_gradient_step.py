"""The gradient step against its NumPy twin: rectangles of gradients, from rows and from products."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.loops.task_codes import NOTHING, GradientPart, GradientStep, GuardedStep, Span, integers_of
from tinygrad_rnn.kernels.reference import gradient_step as reference

from .jit import dtypes, needs_jit
from .test_guarded_step import padded_rows

pytestmark = needs_jit
sizes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 19), st.booleans())


@given(dtypes, st.lists(sizes, min_size=1, max_size=3), st.tuples(*[st.integers(0, 3)] * 3), st.integers(0, 2**32 - 1))
def test_gradients_are_added(dtype, shapes, paddings, seed):
    from tinygrad_rnn.kernels.loops import gradient_step

    rng, batch = np.random.default_rng(seed), shapes[0][0]
    span = lambda a: Span(a.ctypes.data, a.strides[0] // a.itemsize * (len(a) - 1) + a.shape[1])
    ld = lambda a: a.strides[0] // a.itemsize
    arrays, records, whole = [], [], []
    for _, rows, columns, product in shapes:
        left = padded_rows(rng, dtype, batch, rows if product else rows * columns, paddings[0])
        right = padded_rows(rng, dtype, batch, columns, paddings[1]) if product else None
        target = padded_rows(rng, dtype, rows, columns, paddings[2])
        given_right = (span(right), ld(right)) if product else (NOTHING, 0)
        records.append(GradientPart(span(left), ld(left), *given_right, span(target), ld(target), rows, columns))
        arrays.append((left, right, target))
        whole.append((target, target.copy(), target.base.copy()))
    step = np.array(integers_of([GuardedStep(0, 0, batch, np.dtype(dtype).itemsize, *[0] * 6)]), np.int64)
    table = np.array(integers_of([GradientStep(step.ctypes.data, 0, len(records)), *records]), np.int64)
    gradient_step.add_gradients(table.ctypes.data)
    reference.add_gradients([(left, right, before) for (left, right, _), (_, before, _) in zip(arrays, whole)])
    for target, wanted, base in whole:
        np.testing.assert_allclose(target, wanted, rtol=1e-5, atol=1e-5)
        base[:, : target.shape[1]] = target
        np.testing.assert_array_equal(target.base, base)
