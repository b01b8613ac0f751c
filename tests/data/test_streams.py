import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import contiguous_batches
from tinygrad_rnn.errors import ShapeError


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 50), st.sampled_from([(), (2,)]))
def test_pieces_rebuild_the_stream(batch_size, seq_len, extra, features):
    count = batch_size + extra
    stream = np.arange(count * max(1, *features, 1)).reshape(count, *features)
    pieces = contiguous_batches(stream, batch_size, seq_len)
    assert all(inputs.shape == targets.shape for inputs, targets in pieces)
    assert all(inputs.shape[:2] == (seq_len, batch_size) for inputs, _ in pieces[:-1])
    assert 1 <= len(pieces[-1][0]) <= seq_len

    inputs = np.concatenate([i for i, _ in pieces]).swapaxes(0, 1)  # (B, steps, ...)
    targets = np.concatenate([t for _, t in pieces]).swapaxes(0, 1)
    used = inputs.reshape(-1, *features)
    np.testing.assert_array_equal(used, stream[: len(used)])
    np.testing.assert_array_equal(targets.reshape(-1, *features), stream[1 : len(used) + 1])
    assert 0 <= count - 1 - len(used) < batch_size


def test_pieces_are_contiguous_in_memory_and_share_it():
    stream = np.arange(50)
    pieces = contiguous_batches(stream, 4, 5)
    assert all(a.flags.c_contiguous for piece in pieces for a in piece)
    assert pieces[0][0].base is pieces[1][0].base
    assert not np.shares_memory(pieces[0][0], stream)


def test_errors():
    with pytest.raises(ShapeError, match=r"stream: got shape \(4,\), wanted at least batch_size \+ 1 = 5 steps"):
        contiguous_batches([1, 2, 3, 4], 4, 2)
    with pytest.raises(ShapeError, match=r"stream: got shape \(\), wanted at least"):
        contiguous_batches(1, 4, 2)
    with pytest.raises(ValueError, match=r"batch_size: got 0, wanted an integer >= 1"):
        contiguous_batches([1, 2], 0, 2)
    with pytest.raises(TypeError, match=r"seq_len: got 2.0, wanted an integer >= 1"):
        contiguous_batches([1, 2], 1, 2.0)
