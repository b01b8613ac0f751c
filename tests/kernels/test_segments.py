"""Segments of sequences of different lengths: against the NumPy twin, and what the layout promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.loops import segments
from tinygrad_rnn.kernels.loops.task_codes import HEADER, Section
from tinygrad_rnn.kernels.reference import segments as reference

NONE = np.zeros((0, 0), bool)


def sections(T, lengths, mask, resets, *more, least=0):
    """What the kernel finds, section by section."""
    B = len(lengths)
    most = max(reference.rounded(B + int(resets.sum())), least)
    size = HEADER + 7 * most + 3 * B + T + 1 + 4 * T * B
    out = np.full(size + 5, -99)
    S, longest = segments.find_segments(T, lengths, mask, resets, *more, least, out)
    assert (out[size:] == -99).all(), "nothing is written behind the end"
    found = {}
    for section in Section:
        start, n = out[section : section + 2]
        found[section.name] = out[start : start + n]
    assert (len(found["LENGTH"]), len(found["OFFSETS"]) - 1, len(found["PADDED_ROW"])) == (S, longest, out[0])
    return found


def find_segments(*batch):
    """The kernel, giving what its twin gives."""
    found = sections(*batch)
    is_reset = found["RESET_ROW"] >= 0 if len(found["RESET_ROW"]) else np.zeros(len(found["BATCH_ROW"]), bool)
    names = [
        "LENGTH",
        "BATCH_ROW",
        "FIRST_STATE",
        "RESET_ROW",
        "LAST_SEGMENT",
        "OFFSETS",
        "PADDED_ROW",
        "PACKED_ROW",
        "PACKED_STATE",
    ]
    return [is_reset if name == "RESET_ROW" else found[name] for name in names]


@st.composite
def batches(draw):
    """The arguments of `find_segments`."""
    T, B = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = rng.integers(0, T + 1, B) if draw(st.booleans()) else np.full(B, draw(st.sampled_from([T, T, 0])))
    mask = rng.random((T, B)) < draw(st.floats(0, 1)) if draw(st.booleans()) else NONE
    resets = rng.random((T, B)) < draw(st.floats(0, 1)) if draw(st.booleans()) else NONE
    return T, lengths, mask, resets, draw(st.booleans()), draw(st.booleans())


@given(batches())
def test_twins_agree(batch):
    for mine, its in zip(find_segments(*batch), reference.find_segments(*batch), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("find", [find_segments, reference.find_segments])
@given(batch=batches())
def test_what_the_layout_promises(find, batch):
    T, lengths, mask, resets, reverse, batch_first = batch
    B = len(lengths)
    length, row, first_state, is_reset, last, offsets, padded, packed, packed_state = find(*batch)
    counts = np.arange(T)[:, None] < lengths
    counts = counts & mask if len(mask) else counts
    place = lambda t, b: b * T + t if batch_first else t * B + b
    assert (np.diff(length) <= 0).all(), "sorted"
    assert len(padded) == counts.sum() == length.sum() == offsets[-1]
    assert sorted(padded) == sorted(place(t, b) for t, b in zip(*np.nonzero(counts)))
    np.testing.assert_array_equal(packed[padded], np.arange(len(padded)))
    assert (packed < 0).sum() == T * B - len(padded)
    longest = len(offsets) - 1
    for s, n in enumerate(length):
        steps = [offsets[t] + s for t in range(longest - n, longest)]  # of one segment, one after the other
        times = [(padded[i] % T, padded[i] // T) if batch_first else divmod(padded[i], B) for i in steps]
        assert all(b == row[s] for _, b in times)
        in_time = [t for t, _ in times]
        assert in_time == sorted(in_time, reverse=reverse)
        assert first_state[s] == offsets[longest - n] + s
        assert [packed_state[padded[i]] for i in steps] == [offsets[t + 1] + s for t in range(longest - n, longest)]
        if len(resets) and n:
            assert not resets[min(in_time) + 1 : max(in_time) + 1, row[s]].any(), "cut there"
    assert [row[s] for s in last] == list(range(B))
    if not len(resets):
        assert len(length) == B
        assert not np.any(is_reset)


@given(batches())
def test_where_states_lie(batch):
    """What follows from the layout, for whoever brings states to segments and back."""
    found = sections(*batch)
    length, row, last = found["LENGTH"], found["BATCH_ROW"], found["LAST_SEGMENT"]
    S, longest, rows = len(length), len(found["OFFSETS"]) - 1, len(found["PADDED_ROW"])
    np.testing.assert_array_equal(found["FIRST_GRAD"], length % 2 * S + np.arange(S))
    np.testing.assert_array_equal(found["FINAL_SLOT"], longest % 2 * S + last)
    np.testing.assert_array_equal(found["FINAL_STATE"], rows + last)
    np.testing.assert_array_equal(found["NEXT_STATE"], found["PACKED_STATE"][found["PADDED_ROW"]])
    final_row = np.full(S, -1)
    final_row[last] = np.arange(len(last))
    np.testing.assert_array_equal(found["FINAL_ROW"], final_row)
    reset_row = found["RESET_ROW"] if len(found["RESET_ROW"]) else np.full(S, -1)
    np.testing.assert_array_equal(np.maximum(found["INITIAL_ROW"], reset_row), row)
    np.testing.assert_array_equal(found["INITIAL_ROW"] < 0, reset_row >= 0)


@given(batches())
def test_empty_segments_fill_up_to_a_number(batch):
    """One number of segments serves all batches of a size: no row has more that are not empty than steps."""
    T, B = batch[0], len(batch[1])
    few, many = sections(*batch), sections(*batch, least=T * B)
    n = min(len(few["LENGTH"]), T * B)
    assert len(many["LENGTH"]) == max(T * B, B)
    np.testing.assert_array_equal(many["LENGTH"][:n], few["LENGTH"][:n])
    for name in ("LAST_SEGMENT", "OFFSETS", "PADDED_ROW", "PACKED_ROW", "PACKED_STATE", "NEXT_STATE"):
        np.testing.assert_array_equal(many[name], few[name])
    assert not many["LENGTH"][n:].any()
    assert (many["INITIAL_ROW"][B * T :] < 0).all()
