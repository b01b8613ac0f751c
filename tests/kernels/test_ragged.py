"""Laying sequences of different lengths: against the NumPy twin, and what the layout promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels import ragged
from tinygrad_rnn.kernels import reference_ragged as reference
from tinygrad_rnn.kernels.ragged import add_rows, gather_rows

from .jit import dtypes, needs_jit

NONE = np.zeros((0, 0), bool)


def lay_rows(T, lengths, mask, resets, *more):
    """The kernel, with what it finds taken apart."""
    B = len(lengths)
    most = reference.rounded(B + int(resets.sum()))
    out = np.full(4 * most + B + T + 1 + 3 * T * B, -99)
    S, longest = ragged.lay_rows(T, lengths, mask, resets, *more, out)
    rows = out[4 * S + B + longest]
    sizes = [S, S, S, S, B, longest + 1, rows, T * B, T * B]
    assert (out[sum(sizes) :] == -99).all(), "nothing is written behind the end"
    return np.split(out[: sum(sizes)], np.cumsum(sizes)[:-1])


@st.composite
def batches(draw):
    """The arguments of `lay_rows`."""
    T, B = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = rng.integers(0, T + 1, B) if draw(st.booleans()) else np.full(B, draw(st.sampled_from([T, T, 0])))
    mask = rng.random((T, B)) < draw(st.floats(0, 1)) if draw(st.booleans()) else NONE
    resets = rng.random((T, B)) < draw(st.floats(0, 1)) if draw(st.booleans()) else NONE
    return T, lengths, mask, resets, draw(st.booleans()), draw(st.booleans())


@given(batches())
def test_twins_agree(batch):
    for mine, its in zip(lay_rows(*batch), reference.lay_rows(*batch), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("lay", [lay_rows, reference.lay_rows])
@given(batch=batches())
def test_what_the_layout_promises(lay, batch):
    T, lengths, mask, resets, reverse, batch_first = batch
    B = len(lengths)
    length, owner, begins, fresh, last, offsets, source, now, late = lay(*batch)
    counts = np.arange(T)[:, None] < lengths
    counts = counts & mask if len(mask) else counts
    place = lambda t, b: b * T + t if batch_first else t * B + b
    assert (np.diff(length) <= 0).all(), "sorted"
    assert len(source) == counts.sum() == length.sum() == offsets[-1]
    assert sorted(source) == sorted(place(t, b) for t, b in zip(*np.nonzero(counts)))
    np.testing.assert_array_equal(now[source], np.arange(len(source)))
    assert (now < 0).sum() == T * B - len(source)
    longest = len(offsets) - 1
    for s, n in enumerate(length):
        steps = [offsets[t] + s for t in range(longest - n, longest)]  # of one segment, one after the other
        times = [(source[i] % T, source[i] // T) if batch_first else divmod(source[i], B) for i in steps]
        assert all(b == owner[s] for _, b in times)
        in_time = [t for t, _ in times]
        assert in_time == sorted(in_time, reverse=reverse)
        assert begins[s] == offsets[longest - n] + s
        assert [late[source[i]] for i in steps] == [offsets[t + 1] + s for t in range(longest - n, longest)]
        if len(resets) and n:
            assert not resets[min(in_time) + 1 : max(in_time) + 1, owner[s]].any(), "cut there"
    assert [owner[s] for s in last] == list(range(B))
    if not len(resets):
        assert len(length) == B
        assert not np.any(fresh)


@needs_jit
@given(dtypes, st.integers(1, 40), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_gathering(dtype, width, rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(7 * width).astype(dtype)
    index = rng.integers(-1, 7, rows)
    out = np.full((rows + 1) * width, np.nan, dtype)
    gather_rows(x, index, out, width, 0, rows)
    np.testing.assert_array_equal(out[: rows * width].reshape(rows, width), reference.gather_rows(x, index, width))
    assert np.isnan(out[rows * width :]).all(), "nothing is written behind the end"


@given(dtypes, st.integers(1, 20), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_adding(dtype, width, rows, seed):
    rng = np.random.default_rng(seed)
    x, index = rng.standard_normal(rows * width).astype(dtype), rng.integers(0, 5, rows)
    found = [rng.standard_normal(5 * width).astype(dtype)]
    found.append(found[0].copy())
    for add, out in zip((add_rows, reference.add_rows), found):
        add(x, index, out, width)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
