"""Laying sequences of different lengths: against the NumPy twin, and what the layout promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.gemm.extern import link
from tinygrad_rnn.kernels.loops import segments, tasks
from tinygrad_rnn.kernels.reference import segments as reference

from .jit import dtypes, needs_jit

NONE = np.zeros((0, 0), bool)


def sections(T, lengths, mask, resets, *more):
    """What the kernel finds, section by section."""
    B = len(lengths)
    most = reference.rounded(B + int(resets.sum()))
    size = segments.HEADER + 7 * most + 3 * B + T + 1 + 3 * T * B
    out = np.full(size + 5, -99)
    S, longest = segments.lay_rows(T, lengths, mask, resets, *more, out)
    assert (out[size:] == -99).all(), "nothing is written behind the end"
    found = {}
    for name in [name for name in vars(segments) if name.isupper() and name != "HEADER"]:
        start, n = out[1 + 2 * getattr(segments, name) :][:2]
        found[name] = out[start : start + n]
    assert (len(found["LENGTHS"]), len(found["OFFSETS"]) - 1, len(found["SOURCE"])) == (S, longest, out[0])
    return found


def lay_rows(*batch):
    """The kernel, giving what its twin gives."""
    found = sections(*batch)
    fresh = found["FRESH"] >= 0 if len(found["FRESH"]) else np.zeros(len(found["OWNER"]), bool)
    names = ["LENGTHS", "OWNER", "BEGINS", "FRESH", "LAST", "OFFSETS", "SOURCE", "NOW", "LATE"]
    return [fresh if name == "FRESH" else found[name] for name in names]


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


@given(batches())
def test_where_states_lie(batch):
    """What follows from the layout, for whoever brings states to segments and back."""
    found = sections(*batch)
    length, owner, last = found["LENGTHS"], found["OWNER"], found["LAST"]
    S, longest, rows = len(length), len(found["OFFSETS"]) - 1, len(found["SOURCE"])
    np.testing.assert_array_equal(found["ENDS"], length % 2 * S + np.arange(S))
    np.testing.assert_array_equal(found["TURN"], longest % 2 * S + last)
    np.testing.assert_array_equal(found["FINAL"], rows + last)
    closes = np.full(S, -1)
    closes[last] = np.arange(len(last))
    np.testing.assert_array_equal(found["CLOSES"], closes)
    fresh = found["FRESH"] if len(found["FRESH"]) else np.full(S, -1)
    np.testing.assert_array_equal(np.maximum(found["CARRIED"], fresh), owner)
    np.testing.assert_array_equal(found["CARRIED"] < 0, fresh >= 0)


MODES = {"zero": tasks.ZERO, "skip": tasks.SKIP, "plus": tasks.PLUS}


@needs_jit
@pytest.mark.parametrize("mode", MODES)
@given(dtypes, st.integers(1, 40), st.integers(0, 6), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_moving(mode, dtype, width, n, from_some, to_some, seed):
    """Rows with padding, from a section to another; -1 and what is not given are as the mode says."""
    if not (from_some or to_some):
        return
    rng, ld, ldt, start, to = np.random.default_rng(seed), width + 3, width + 2, 5, 7
    source = rng.integers(-1, 6, n) if from_some else np.arange(n)
    target = rng.permutation(np.r_[np.arange(6), -1])[:n] if to_some else np.arange(n)
    if mode == "plus" and to_some:
        target = rng.integers(-1, 6, n)  # several may be added to one
    steps = np.concatenate([[n, 5, n, 5 + n, n], source, target]).astype(np.int64)
    x = rng.standard_normal(start + 6 * ld).astype(dtype)
    out = rng.standard_normal(to + 6 * ldt).astype(dtype)
    wanted = out.copy()
    for r, s in zip(source, target):
        row, at = x[start + r * ld :][:width], slice(to + s * ldt, to + s * ldt + width)
        if s >= 0 and (r >= 0 or mode == "zero"):
            wanted[at] = 0 if r < 0 else row + wanted[at] if mode == "plus" else row
    job = [tasks.MOVE, 0, 1, start, ld, 0 if from_some else -1, 1 if to_some else -1, to, ldt, width, MODES[mode]]
    link(np.dtype(dtype))
    tasks.link(np.dtype(dtype))
    table = np.zeros((1, tasks.COLUMNS), np.int64)
    table[0, : len(job)] = job
    places = np.array([(a.ctypes.data, a.size) for a in (x, out)])
    todo = np.zeros(tasks.USED, np.int64)
    todo[[tasks.MIDDLE, tasks.LAST]] = 1
    for at, array in ((tasks.JOBS, table), (tasks.STEPS, steps)):
        todo[2 * at : 2 * at + 2] = array.ctypes.data, array.size
    tasks.work(todo, places, x)
    np.testing.assert_array_equal(out, wanted)
