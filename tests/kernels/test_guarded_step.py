"""The guarded step against its NumPy twin: watched arrays, checks of results, and states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.loops.task_codes import (
    STEP_TURNS,
    GuardedStep,
    Result,
    Span,
    State,
    Turn,
    Watched,
    integers_of,
)
from tinygrad_rnn.kernels.reference import guarded_step as reference

from .jit import dtypes, needs_jit

pytestmark = needs_jit


def table(dtype, every=1, watched=(), results=(), states=()):
    """The table of a step over arrays of rows."""
    words = lambda a: Span(a.ctypes.data, a.nbytes // 4)
    layout = lambda rows: (rows.strides[0] // rows.itemsize, rows.shape[1])
    span = lambda rows: Span(rows.ctypes.data, (len(rows) - 1) * layout(rows)[0] + rows.shape[1])
    counts = len(watched), len(results), len(states)
    records = [
        GuardedStep(0, 0, 0, np.dtype(dtype).itemsize, 0, every, *counts),
        *(Watched(words(a), words(copy)) for a, copy in watched),
        *(Result(span(rows), *layout(rows)) for rows in results),
        *(State(span(new), span(present), layout(new)[0], *layout(present)) for new, present in states),
    ]
    return np.array(integers_of(records), np.int64)


def padded_rows(rng, dtype, rows, columns, padding):
    """Rows with NaN between them, which nobody may look at or write to."""
    whole = np.full((rows, columns + padding), np.nan, dtype)
    whole[:, :columns] = rng.standard_normal((rows, columns))
    return whole[:, :columns]


sizes = st.lists(st.integers(1, 90), min_size=1, max_size=3)
seeds = st.integers(0, 2**32 - 1)


@given(dtypes, sizes, seeds, st.sampled_from([1, 2, 3, 5]), st.integers(0, 4), st.booleans())
def test_differences_are_found(dtype, lengths, seed, every, first, change):
    from tinygrad_rnn.kernels.loops import guarded_step

    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(n).astype(dtype) for n in lengths]
    watched = [(a, a.copy()) for a in arrays]
    if change:
        array = arrays[rng.integers(len(arrays))]
        array[rng.integers(array.size)] *= -1
    first = first % every
    wanted, step = reference.differs(watched, every, first), table(dtype, every, watched)
    assert guarded_step.differs(step.ctypes.data, first) == wanted
    assert any(reference.differs(watched, every, i) for i in range(every)) == change


def test_each_line_has_its_turn():
    from tinygrad_rnn.kernels.loops import guarded_step

    array = np.zeros(16 * 6, np.float32)
    watched = [(array, array.copy())]
    for line in range(6):
        array[:] = 0
        array[16 * line + 5] = 1
        step = table(np.float32, 3, watched)
        at = step.ctypes.data
        assert [guarded_step.has_changed(at) for _ in range(6)] == [(i + 1) % 3 == line % 3 for i in range(6)]


@given(dtypes, st.lists(st.tuples(*[st.integers(1, 6)] * 2), min_size=1, max_size=3), st.integers(0, 3), seeds)
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
def test_results_are_checked(value, dtype, shapes, padding, seed):
    from tinygrad_rnn.kernels.loops import guarded_step

    rng = np.random.default_rng(seed)
    results = [padded_rows(rng, dtype, *shape, padding) for shape in shapes]
    rows = results[rng.integers(len(results))]
    rows[rng.integers(rows.shape[0]), rng.integers(rows.shape[1])] = value
    step = table(dtype, results=results)
    assert guarded_step.are_finite(step.ctypes.data) == reference.are_finite(results) == np.isfinite(value)


@given(dtypes, st.integers(1, 6), st.integers(1, 6), st.tuples(st.integers(0, 3), st.integers(0, 3)), seeds)
def test_states_are_copied(dtype, rows, columns, paddings, seed):
    from tinygrad_rnn.kernels.loops import guarded_step

    rng = np.random.default_rng(seed)
    new, mine = (padded_rows(rng, dtype, rows, columns, padding) for padding in paddings)
    its, padding_before = mine.copy(), mine.base.copy()
    step = table(dtype, states=[(new, mine)])
    guarded_step.advance_states(step.ctypes.data)
    reference.advance_states([(new, its)])
    np.testing.assert_array_equal(mine, its)
    padding_before[:, :columns] = its
    np.testing.assert_array_equal(mine.base, padding_before)


@given(st.lists(st.tuples(st.integers(0, 9), *[st.integers(-(2**62), 2**62)] * 2), unique_by=lambda p: p[0]), seeds)
def test_words_take_turns(pairs, seed):
    from tinygrad_rnn.kernels.loops import guarded_step

    words = np.random.default_rng(seed).integers(0, 9, 10)
    for i, a, _ in pairs:
        words[i] = a
    first, step = words.copy(), table(np.float32)
    turns = np.array([Turn(words[i:].ctypes.data, a ^ b) for i, a, b in pairs], np.int64)
    step[STEP_TURNS.address], step[STEP_TURNS.size] = turns.ctypes.data, len(turns)
    second = reference.exchange(first, [(i, a ^ b) for i, a, b in pairs])
    for wanted in (second, first, second):
        guarded_step.exchange(step.ctypes.data)
        np.testing.assert_array_equal(words, wanted)
    assert all(second[i] == b for i, _, b in pairs)
