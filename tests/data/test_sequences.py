import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.data import collate_sequences, one_hot, pad_sequences, stack_examples, train_test_split, windows
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError


@st.composite
def ragged(draw):
    features = draw(st.sampled_from([(), (2,), (2, 1)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int64]))
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    return [draw(hnp.arrays(dtype, (n, *features), elements=st.integers(1, 99))) for n in lengths]


@given(
    ragged(),
    st.sampled_from(["post", "pre"]),
    st.booleans(),
    st.none() | st.integers(1, 8),
    st.integers(-3, 0),
)
def test_padding_keeps_every_sequence(sequences, padding, time_major, max_length, value):
    padded, valid = pad_sequences(sequences, value, max_length, padding, time_major)
    assert padded.dtype == sequences[0].dtype
    steps = max_length or max(map(len, sequences))
    rows = padded.swapaxes(0, 1) if time_major else padded
    assert rows.shape == (len(sequences), steps, *sequences[0].shape[1:])
    lengths = np.array([min(len(sequence), steps) for sequence in sequences])
    if padding == "post":
        np.testing.assert_array_equal(valid, lengths)
    else:
        np.testing.assert_array_equal(valid.T if time_major else valid, np.arange(steps) >= steps - lengths[:, None])
    for row, sequence, length in zip(rows, sequences, lengths):
        if padding == "post":
            data, rest, kept = row[:length], row[length:], sequence[:length]
        else:
            data, rest, kept = (
                row[steps - length :],
                row[: steps - length],
                sequence[len(sequence) - length :],
            )
        np.testing.assert_array_equal(data, kept)
        assert (rest == value).all()


def test_dtype_of_padded_lists():
    assert pad_sequences([[1, 2], [3]])[0].dtype == np.int64
    assert pad_sequences([[1.0, 2.0], [3]])[0].dtype == np.float32
    assert pad_sequences([np.ones(2), [3]])[0].dtype == np.float64
    assert pad_sequences([[1, 2], [3]], dtype=np.float64)[0].dtype == np.float64
    assert np.isnan(pad_sequences([[1.0, 2.0], [3.0]], value=np.nan)[0][1, 1])


def test_errors_of_pad_sequences():
    with pytest.raises(DataError, match=r"sequences: got none, wanted at least one"):
        pad_sequences([])
    with pytest.raises(DataError, match=r"sequences\[1\]\[0\]: got 300, which uint8 cannot hold"):
        pad_sequences([[1], [300]], dtype=np.uint8)
    with pytest.raises(DataError, match=r"sequences\[0\]\[1\]: got 1.5, which int64 cannot hold"):
        pad_sequences([[1, 1.5]], dtype=int)
    with pytest.raises(ShapeError, match=r"sequences\[1\]: got shape \(1, 3\), wanted \(length, 2\)"):
        pad_sequences([np.ones((4, 2)), np.ones((1, 3))])
    with pytest.raises(ShapeError, match=r"sequences\[0\]: got shape \(\), wanted \(length\)"):
        pad_sequences([1, 2])
    with pytest.raises(ShapeError, match=r"sequences\[0\]: got values that form no array"):
        pad_sequences([[[1, 2], [3]]])
    with pytest.raises(DTypeError, match=r"sequences\[0\]: got dtype <U1, wanted real numbers"):
        pad_sequences([["a"]])
    with pytest.raises(ValueError, match=r"padding: got 'left', wanted 'post' or 'pre'"):
        pad_sequences([[1]], padding="left")
    with pytest.raises(ValueError, match=r"max_length: got 0, wanted an integer >= 1"):
        pad_sequences([[1]], max_length=0)
    for value in (0.5, np.nan, 2**70):
        with pytest.raises(ValueError, match=rf"value: got {value}, which int64 cannot hold"):
            pad_sequences([[1]], value=value)


def test_empty_sequences():
    padded, lengths = pad_sequences([[], [1, 2], []])
    assert padded.tolist() == [[0, 0], [1, 2], [0, 0]]
    assert padded.dtype == np.int64  # of the items that there are
    assert lengths.tolist() == [0, 2, 0]
    assert pad_sequences([[], np.ones((2, 3), np.float32)])[0].shape == (2, 2, 3)
    assert pad_sequences([np.ones((0, 3)), np.ones((2, 3))])[0].shape == (2, 2, 3)
    padded, lengths = pad_sequences([[], []])
    assert padded.shape == (2, 0)
    assert lengths.tolist() == [0, 0]
    assert pad_sequences([[], []], max_length=2, value=7, dtype=int)[0].tolist() == [[7, 7], [7, 7]]
    assert pad_sequences([[], [1]], padding="pre")[1].tolist() == [[False], [True]]


def test_padding_before_goes_with_a_mask():
    """Lengths would count from the first step, which is padding."""
    tr.seed(0)
    layer = nn.GRU(2, 3)
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 2)).astype(np.float32) for n in (4, 1, 0, 3)]
    before, mask = pad_sequences(sequences, padding="pre", time_major=True)
    after, lengths = pad_sequences(sequences, time_major=True)
    with tr.no_grad():
        np.testing.assert_array_equal(layer(before, mask=mask)[1].numpy(), layer(after, lengths=lengths)[1].numpy())
        with pytest.raises((ShapeError, DTypeError), match="lengths"):
            layer(before, lengths=mask)


def test_dtype_of_targets():
    """Python's numbers take the default dtype, whatever stands beside them."""
    for targets in ([1.5, 2], [2, 2.5], [1.5, 2.5]):
        assert collate_sequences([([1], target) for target in targets])[1].dtype == np.float32
        assert stack_examples(targets).dtype == np.float32
    assert collate_sequences([([1], np.float64(1)), ([1], 2)])[1].dtype == np.float64
    assert collate_sequences([([1], 1), ([1], 2)])[1].dtype == np.int64


def test_targets_of_unequal_length_in_lists():
    """As CTC has them."""
    (_, lengths), targets = collate_sequences([([1, 2, 3], [1]), ([4], [2, 3]), ([5], [])], ignore_index=-1)
    assert targets.tolist() == [[1, -1], [2, 3], [-1, -1]]
    assert lengths.tolist() == [3, 1, 1]
    with pytest.raises(ShapeError, match=r"targets\[1\]: got values that form no array"):
        collate_sequences([([1], [1]), ([2], [[1, 2], [3]])])
    with pytest.raises(TypeError, match=r"examples\[0\]: got 3, wanted a pair"):
        collate_sequences([3])
    with pytest.raises(DataError, match="examples: got none"):
        collate_sequences([])


def test_tables_of_objects():
    """pandas hands out an array of objects where a column is of booleans."""
    table = np.array([[1.5, True], [2.5, False], [3.5, True]], object)
    inputs, targets = windows(table, 2)
    assert inputs.dtype == np.float64
    assert inputs.tolist() == [[[1.5, 1], [2.5, 0]]]
    assert targets.tolist() == [[[3.5, 1]]]
    table[1, 0] = None
    with pytest.raises(DTypeError, match=r"series\[1, 0\]: got None in an array of dtype object, wanted real numbers"):
        windows(table, 2)


@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, min_side=0), elements=st.integers(0, 6)))
def test_one_hot_is_1_at_the_index_only(indices):
    codes = one_hot(indices, 7)
    assert codes.dtype == np.float32
    assert codes.shape == (*indices.shape, 7)
    np.testing.assert_array_equal(codes.argmax(-1), indices)
    assert (codes.sum(-1) == 1).all()
    assert ((codes == 0) | (codes == 1)).all()


def test_dtypes_and_errors_of_one_hot():
    assert one_hot([0], 1, dtype=bool).dtype == bool
    assert one_hot([], 3).shape == (0, 3)
    with pytest.raises(DataError, match=r"indices\[1, 0\]: got 3, wanted 0 <= value < 3"):
        one_hot([[0, 1], [3, 0]], 3)
    with pytest.raises(DataError, match=r"indices: got -1, wanted 0 <= value < 3"):
        one_hot(-1, 3)
    with pytest.raises(DTypeError, match=r"indices: got dtype float64, wanted integers"):
        one_hot([0.0], 3)
    with pytest.raises(ValueError, match=r"depth: got 0, wanted an integer >= 1"):
        one_hot([0], 0)


@given(
    st.sampled_from([(), (1,), (3,)]),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_windows_are_pieces_of_the_series(features, look_back, horizon, stride, extra):
    steps = look_back + horizon + extra
    series = np.arange(steps * math.prod(features)).reshape(steps, *features)
    inputs, targets = windows(series, look_back, horizon, stride)
    count = (steps - look_back - horizon) // stride + 1
    assert inputs.shape == (count, look_back, *features)
    assert targets.shape == (count, horizon, *features)
    for n in range(count):
        start = n * stride
        np.testing.assert_array_equal(inputs[n], series[start : start + look_back])
        np.testing.assert_array_equal(targets[n], series[start + look_back : start + look_back + horizon])
    assert start + stride + look_back + horizon > steps  # not one window more would fit


@given(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=20), st.integers(1, 2))
def test_windows_of_horizon_1_rebuild_the_series(series, look_back):
    inputs, targets = windows(series, look_back)
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([inputs[0], targets[:, 0]]), np.float32(series))


def test_windows_do_not_share_memory_with_the_series():
    series = np.arange(5.0)
    inputs, targets = windows(series, 2)
    inputs[0, 1] = targets[0, 0] = 99
    np.testing.assert_array_equal(series, np.arange(5.0))
    assert inputs[1, 0] == 1.0


def test_errors_of_windows():
    with pytest.raises(ShapeError, match=r"series: got 3 steps, wanted at least look_back \+ horizon = 4"):
        windows([1, 2, 3], 2, horizon=2)
    with pytest.raises(ShapeError, match=r"series: got a single number"):
        windows(3, 2)
    for name in ("look_back", "horizon", "stride"):
        with pytest.raises(ValueError, match=rf"{name}: got 0, wanted an integer >= 1"):
            windows([1, 2, 3], **{"look_back": 1, name: 0})


@given(st.integers(2, 200), st.data())
def test_split_keeps_time_order_and_the_exact_number_of_steps(steps, data):
    count = data.draw(st.integers(1, steps - 1))
    series = np.arange(steps)
    size = data.draw(st.sampled_from([count, np.int64(count), count / steps, np.float64(count / steps)]))
    for kwargs in ({"train_size": size}, {"test_size": size}):
        train, test = train_test_split(series, **kwargs)
        np.testing.assert_array_equal(np.concatenate([train, test]), series)
        assert len(train if "train_size" in kwargs else test) == count


@given(st.integers(5, 200), st.integers(20, 80))
def test_split_rounds_in_favour_of_the_test(steps, percent):
    train, _ = train_test_split(np.arange(steps), train_size=percent / 100)
    assert len(train) == math.floor(Fraction(percent, 100) * steps)
    _, test = train_test_split(np.arange(steps), test_size=percent / 100)
    assert len(test) == math.ceil(Fraction(percent, 100) * steps)


def test_split_of_several_arrays():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=3)
    assert (x_train.shape, x_test.shape, y_train.shape, y_test.shape) == ((7, 2), (3, 2), (7,), (3,))
    assert np.shares_memory(x, x_test)


def test_errors_of_train_test_split():
    x = np.arange(10)
    with pytest.raises(TypeError, match=r"got test_size=None and train_size=None, wanted exactly one of the two"):
        train_test_split(x)
    with pytest.raises(TypeError, match=r"got test_size=3 and train_size=7, wanted exactly one of the two"):
        train_test_split(x, test_size=3, train_size=7)
    with pytest.raises(TypeError, match=r"arrays: got none"):
        train_test_split(test_size=3)
    with pytest.raises(ShapeError, match=r"arrays\[1\]: got shape \(9,\), wanted \(10, \.\.\.\)"):
        train_test_split(x, x[:9], test_size=3)
    with pytest.raises(ShapeError, match=r"arrays\[0\]: got shape \(\), wanted \(length, \.\.\.\)"):
        train_test_split(3, test_size=3)
    for size in (0, 10, 11, 0.0, 1.0, 0.01, 1.5, -0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"train_size: got {size} of 10 steps, wanted a fraction or"):
            train_test_split(x, train_size=size)
    with pytest.raises(ValueError, match=r"test_size: got -1, wanted an integer >= 0"):
        train_test_split(x, test_size=-1)
    with pytest.raises(TypeError, match=r"test_size: got '3', wanted an integer >= 0"):
        train_test_split(x, test_size="3")
