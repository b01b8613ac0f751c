"""Every row of the table of operations as a program: results, gradients and second derivatives of the tape."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr

from ..op_table import TABLE
from .agreement import leaves_of, same

SOME = settings(max_examples=2, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
MORE = settings(SOME, max_examples=12)
# all of them in the slow tests; every third one in the others
ROWS = [pytest.param(row, id=row.name, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, row in enumerate(TABLE)]
by_row = pytest.mark.parametrize("row", ROWS)


def is_float(array):
    return array.dtype.kind == "f"


def slopes(function, xs, second):
    """The result, its gradients by all floats, and with `second` the gradients of a sum of these."""
    leaves = [tr.tensor(x, requires_grad=True) if is_float(x) else x for x in xs]
    wanted = [x for x in leaves if isinstance(x, tr.Tensor)]
    result = function(*leaves)
    outputs = [y for y in leaves_of(result)[0] if isinstance(y, tr.Tensor) and y.requires_grad]
    if not outputs or not wanted:
        return result, [], []
    grads = tr.grad(weighted(outputs), wanted, create_graph=second, allow_unused=True, retain_graph=True)
    linked = [g for g in grads if g is not None and g.requires_grad]
    more = tr.grad(weighted([g * g for g in linked]), wanted, allow_unused=True) if second and linked else []
    return result, grads, more


def weighted(outputs):
    return sum((y * np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)).sum() for y in outputs)


def check(row, data, dtype, calls=2):
    """Fail unless the program of a drawn call, at its first and at later runs, gives what the tape gives."""
    arrays, options = data.draw(row.cases)
    arrays = [np.asarray(a, dtype if is_float(a) else None) for a in arrays]
    call = row.call  # the row holds strategies, and guards read all that a function holds
    function = lambda *xs: call(*xs, **options)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and Inf among the special values
        compiled = tr.compile(function, fallback="error")
        near, second = (1e-9, row.smooth) if dtype == np.float64 else (2e-4, False)
        plain, wanted = function(*map(tr.tensor, arrays)), slopes(function, arrays, second)
        for _ in range(calls):
            same(slopes(compiled, arrays, second), wanted, near)
            same(compiled(*map(tr.tensor, arrays)), plain, near)
            same(compiled(*arrays), function(*arrays), near)


@pytest.mark.sampled(16)
@by_row
@SOME
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_programs_of_operations(row, data, dtype):
    check(row, data, dtype, calls=1)


@pytest.mark.slow
@pytest.mark.sampled(4)
@by_row
@MORE
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_programs_of_operations_in_machine_code(row, data, dtype):
    check(row, data, dtype, calls=2)
