import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import config
from tinygrad_rnn.data import DataLoader, pad_sequences, stack_examples
from tinygrad_rnn.errors import CheckpointError, DataError, ShapeError

counts = st.integers(1, 30)
sizes = st.integers(1, 8)


@given(counts, sizes, st.booleans(), st.integers(0, 2**70))
def test_every_example_appears_once_per_epoch(count, size, shuffle, seed):
    x = np.arange(count)
    loader = DataLoader((x, -x), size, shuffle=shuffle, seed=seed)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == -(-count // size)
        assert [len(a) for a, _ in batches[:-1]] == [size] * (len(loader) - 1)
        for a, b in batches:
            np.testing.assert_array_equal(a, -b)
        seen = np.concatenate([a for a, _ in batches])
        np.testing.assert_array_equal(np.sort(seen) if shuffle else seen, x)


@given(st.integers(8, 30), sizes, st.booleans())
def test_drop_last_leaves_only_full_batches(count, size, shuffle):
    loader = DataLoader(np.arange(count), size, shuffle=shuffle, drop_last=True, seed=0)
    batches = list(loader)
    assert len(batches) == len(loader) == count // size
    assert all(len(batch) == size for batch in batches)
    assert len(np.unique(np.concatenate(batches))) == size * len(loader)


def epochs(loader, count):
    return [[batch.tolist() for batch in loader] for _ in range(count)]


@given(sizes, st.integers(0, 1000))
def test_the_order_follows_from_seed_and_epoch(size, seed):
    x = np.arange(20)
    first = epochs(DataLoader(x, size, shuffle=True, seed=seed), 3)
    assert first == epochs(DataLoader(x, size, shuffle=True, seed=seed), 3)
    assert first[0] != first[1]
    assert first != epochs(DataLoader(x, size, shuffle=True, seed=seed + 1), 3)


def test_an_epoch_left_early_is_not_taken_up_again():
    x = np.arange(20)
    whole = epochs(DataLoader(x, 4, shuffle=True, seed=3), 2)
    loader = DataLoader(x, 4, shuffle=True, seed=3)
    for _ in loader:
        break
    assert epochs(loader, 1)[0] == whole[1]


@given(counts, sizes, st.booleans(), st.booleans(), st.booleans(), st.data())
def test_several_epochs_at_once_are_those_one_by_one(count, size, shuffle, bucketed, drop_last, data):
    buckets = {"lengths": np.arange(count) % 7 + 1, "bucket": 3} if bucketed else {}
    size = min(size, count)
    if bucketed and drop_last:
        size = 1

    def make():
        return DataLoader(np.arange(count), size, shuffle=shuffle, drop_last=drop_last, seed=5, **buckets)

    one, several = make(), make()
    for loader in one, several:  # from amid an epoch
        loader.load_state_dict({**loader.state_dict(), "position": len(loader) // 2})
    batches = several.epoch(3)
    expected = [np.arange(count)[rows].tolist() for _ in range(3) for rows in one.epoch()]
    done, unread = data.draw(st.integers(1, len(expected))), data.draw(st.integers(0, 1))
    taken = batches.take(done)
    assert batches.rows(taken).tolist() == [i for batch in expected[:done] for i in batch]
    several.unread(unread)
    resumed, at = make(), done - unread
    resumed.load_state_dict(several.state_dict())
    if at < len(expected):
        assert next(iter(resumed)).tolist() == expected[at]
    several.unread(-unread)
    assert [np.arange(count)[rows].tolist() for rows in batches] == expected[done:]
    assert several.state_dict() == one.state_dict()
    assert epochs(several, 1) == epochs(one, 1)


@given(counts, sizes, st.booleans(), st.booleans(), st.data())
def test_a_saved_state_goes_on_with_the_next_batch(count, size, shuffle, bucketed, data):
    buckets = {"lengths": np.arange(count) % 7 + 1, "bucket": 3} if bucketed else {}

    def make(seed):
        return DataLoader(np.arange(count), size, shuffle=shuffle, seed=seed, **buckets)

    stop = data.draw(st.integers(0, 2 * len(make(0))))
    everything = [batch for epoch in epochs(make(5), 4) for batch in epoch]
    loader = make(5)
    seen, state = [], loader.state_dict()
    while len(seen) < stop:
        for batch in loader:
            seen.append(batch.tolist())
            state = json.loads(json.dumps(loader.state_dict()))
            if len(seen) == stop:
                break
    resumed = make(99)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    rest = [batch for epoch in epochs(resumed, 2) for batch in epoch]
    assert seen + rest == everything[: stop + len(rest)]


def test_without_a_seed_the_package_decides():
    def order():
        return epochs(DataLoader(np.arange(50), 50, shuffle=True), 1)

    before = config._generator
    try:
        config.seed(7)
        first, second = order(), order()
        config.seed(7)
        assert order() == first != second
        state = config.generator().bit_generator.state
        DataLoader(np.arange(50), 50)  # nothing random in it
        assert config.generator().bit_generator.state == state
    finally:
        config._generator = before


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), sizes, st.integers(1, 10), st.booleans())
def test_a_bucket_of_some_width_bounds_the_lengths_in_a_batch(lengths, size, width, shuffle):
    examples = [[i] * n for i, n in enumerate(lengths)]
    loader = DataLoader(examples, size, shuffle, seed=1, lengths=lengths, bucket=width, collate=pad_sequences)
    batches = list(loader)
    assert len(batches) == len(loader)
    seen = []
    for padded, steps in batches:
        assert len(padded) <= size
        assert steps.max() - steps.min() < width
        assert padded.shape[1] == steps.max()
        seen += padded[:, 0].tolist()
        assert [lengths[i] for i in padded[:, 0]] == steps.tolist()
    assert sorted(seen) == list(range(len(lengths)))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), sizes)
def test_bounds_of_buckets(lengths, size):
    loader = DataLoader(np.array(lengths), size, lengths=lengths, bucket=[5, 20])
    batches = list(loader)
    assert len(batches) == len(loader)
    assert sorted(np.concatenate(batches).tolist()) == sorted(lengths)
    for batch in batches:
        assert len({0 if n <= 5 else 1 if n <= 20 else 2 for n in batch.tolist()}) == 1
    kinds = [np.digitize(batch[0], [5, 20], right=True) for batch in batches]
    assert kinds == sorted(kinds)


def test_shuffling_mixes_the_buckets():
    lengths = np.arange(60) % 30 + 1
    loader = DataLoader(lengths, 2, True, seed=0, lengths=lengths, bucket=10)
    buckets = [(batch[0] - 1) // 10 for batch in loader]
    assert buckets != sorted(buckets)


def test_drop_last_with_buckets():
    loader = DataLoader(np.arange(5), 2, drop_last=True, lengths=[1, 1, 1, 9, 9], bucket=4)
    assert [batch.tolist() for batch in loader] == [[0, 1], [3, 4]]
    assert len(loader) == 2


@given(sizes, st.booleans(), st.booleans())
def test_batch_axis(size, shuffle, negative):
    x = np.arange(3 * 10 * 2).reshape(3, 10, 2)
    y = np.arange(10)
    axes = (-2, -1) if negative else (1, 0)
    for inputs, targets in DataLoader((x, y), size, shuffle, seed=0, batch_axis=axes):
        np.testing.assert_array_equal(inputs, x[:, targets])


def test_batches_in_order_are_views_and_gathered_ones_copies():
    x = np.arange(10.0)
    assert all(np.shares_memory(batch, x) for batch in DataLoader(x, 3))
    assert all(np.shares_memory(batch, x) for batch in DataLoader(x, 1, shuffle=True, seed=0))
    assert not any(np.shares_memory(batch, x) for batch in DataLoader(x, 3, shuffle=True, seed=0))


def test_collate():
    x = np.arange(4)
    assert [b.tolist() for b in DataLoader(x, 2, collate=lambda a: a * 10)] == [[0, 10], [20, 30]]
    assert list(DataLoader((x, x), 2, collate=lambda ab: int((ab[0] * ab[1]).sum()))) == [1, 13]
    assert list(DataLoader(range(5), 2, collate=sum)) == [1, 5, 4]


def test_examples_are_stacked():
    examples = [([0.5, i], i) for i in range(3)]
    (x, y), last = DataLoader(examples, 2)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.float32([[0.5, 0], [0.5, 1]]))
    np.testing.assert_array_equal(y, [0, 1])
    assert last[0].shape == (1, 2)
    assert stack_examples([np.ones((2, 3))] * 4).shape == (4, 2, 3)


def test_errors():
    x = np.arange(6)
    loader = DataLoader(x)
    with pytest.raises(ValueError, match=r"count: got 0, wanted"):
        loader.epoch(0)
    assert loader.state_dict()["epoch"] == 0
    with pytest.raises(DataError, match=r"data: got no examples, wanted at least one"):
        DataLoader([])
    with pytest.raises(DataError, match=r"data: got no examples"):
        DataLoader(np.ones((3, 0)), batch_axis=1)
    with pytest.raises(DataError, match=r"data: got an empty tuple"):
        DataLoader(())
    with pytest.raises(ShapeError, match=r"data: got the shapes \(6,\), \(5,\), wanted the same number .* \[6, 5\]"):
        DataLoader((x, x[:5]))
    with pytest.raises(TypeError, match=r"data: got a tuple that holds list, wanted arrays; examples go in a list"):
        DataLoader((x, [1, 2]))
    with pytest.raises(TypeError, match=r"data: got generator, wanted arrays or a sequence of examples"):
        DataLoader(i for i in range(3))
    with pytest.raises(ValueError, match=r"batch_size: got 0, wanted an integer >= 1"):
        DataLoader(x, 0)
    with pytest.raises(ValueError, match=r"batch_size: got 7 with drop_last=True for 6 examples, which leaves no"):
        DataLoader(x, 7, drop_last=True)
    with pytest.raises(ValueError, match=r"seed: got -1, wanted an integer >= 0"):
        DataLoader(x, seed=-1)
    with pytest.raises(ShapeError, match=r"data\[0\]: got shape \(6,\), wanted an axis 1 \(batch_axis\)"):
        DataLoader(x, batch_axis=1)
    with pytest.raises(ValueError, match=r"batch_axis: got 2 axes, wanted one for each of 1 arrays"):
        DataLoader(x, batch_axis=(0, 1))
    with pytest.raises(ValueError, match=r"batch_axis: got 1 for a sequence of examples, wanted arrays to slice"):
        DataLoader([1, 2], batch_axis=1)
    with pytest.raises(ShapeError, match=r"examples: got the shapes \(1,\), \(2,\) in one batch, wanted one shape"):
        list(DataLoader([[1], [1, 2]], 2))


def test_errors_of_buckets():
    x = np.arange(3)
    with pytest.raises(ValueError, match=r"bucket: got None, wanted both lengths and bucket, or neither"):
        DataLoader(x, lengths=[1, 2, 3])
    with pytest.raises(ValueError, match=r"lengths: got None, wanted both lengths and bucket, or neither"):
        DataLoader(x, bucket=3)
    with pytest.raises(ShapeError, match=r"lengths: got shape \(2,\), wanted \(3,\), one per example"):
        DataLoader(x, lengths=[1, 2], bucket=3)
    with pytest.raises(DataError, match=r"lengths\[1\]: got -1, wanted at least 0"):
        DataLoader(x, lengths=[1, -1, 2], bucket=3)
    with pytest.raises(ValueError, match=r"bucket: got 0, wanted an integer >= 1"):
        DataLoader(x, lengths=[1, 2, 3], bucket=0)
    for bounds in ([3, 3], [0, 2], np.array([4, 2], np.uint8)):
        with pytest.raises(ValueError, match=r"bucket: got .*, wanted a width or increasing bounds >= 1"):
            DataLoader(x, lengths=[1, 2, 3], bucket=bounds)


def test_errors_of_states():
    loader = DataLoader(np.arange(6), 2, shuffle=True, seed=0)
    state = loader.state_dict()
    with pytest.raises(CheckpointError, match=r"state: got the keys \['seed'\], wanted \['batches', 'epoch', "):
        loader.load_state_dict({"seed": 0})
    with pytest.raises(CheckpointError, match=r"state: got 7 examples, wanted 6 as this loader has"):
        loader.load_state_dict(DataLoader(np.arange(7), 3, seed=0).state_dict())
    with pytest.raises(CheckpointError, match=r"state: got 2 batches, wanted 3 as this loader has"):
        loader.load_state_dict(DataLoader(np.arange(6), 3, seed=0).state_dict())
    with pytest.raises(CheckpointError, match=r"state: got no seed, wanted one as this loader shuffles"):
        loader.load_state_dict({**state, "seed": None})
    with pytest.raises(CheckpointError, match=r"state: got position 3, wanted less than 3 batches"):
        loader.load_state_dict({**state, "position": 3})
    assert loader.state_dict() == state


def test_empty_sequences_lie_in_the_first_bucket():
    examples = [[1, 2], [], [3], [4, 5, 6], []]
    loader = DataLoader(examples, 5, lengths=[2, 0, 1, 3, 0], bucket=2, collate=pad_sequences)
    assert [lengths.tolist() for _, lengths in loader] == [[2, 0, 1, 0], [3]]
    assert [batch.tolist() for batch in DataLoader(np.arange(3), 3, lengths=[0, 0, 0], bucket=2)] == [[0, 1, 2]]


class Frame:
    """As pandas has it: looked up by names."""

    def __len__(self):
        return 3

    def __getitem__(self, name):
        raise KeyError(name)

    def keys(self):
        return ["a"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": np.ones(3)}, r"data: got a dict, wanted an array.*pass a tuple of its arrays, such as tuple\(data"),
        (Frame(), "data: got a Frame with keys, wanted an array"),
        ("text", "data: got str, wanted"),
        ({1, 2}, "data: got set, wanted"),
        (3, "data: got int, wanted"),
        (None, "data: got NoneType, wanted"),
    ],
)
def test_data_that_have_no_examples_by_number(data, message):
    with pytest.raises(TypeError, match=message):
        DataLoader(data)


def test_examples_that_are_no_pairs():
    with pytest.raises(TypeError, match=r"examples\[1\]: got 3, wanted a tuple of 2 as the first one is"):
        stack_examples([(1, 2), 3])
    with pytest.raises(TypeError, match=r"examples\[1\]: got \(3,\), wanted a tuple of 2"):
        stack_examples([(1, 2), (3,)])
    with pytest.raises(DataError, match="examples: got none"):
        stack_examples([])
