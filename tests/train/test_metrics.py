"""Metrics against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError
from tinygrad_rnn.train import confusion_matrix, edit_distance, error_rate, f1_scores

words = st.text("ab", max_size=6)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_confusion_matrix_and_f1(pairs):
    matrix = confusion_matrix([t for t, _ in pairs], [p for _, p in pairs], 4)
    for i, j in itertools.product(range(4), repeat=2):
        assert matrix[i, j] == pairs.count((i, j))
    for c, score in enumerate(f1_scores(matrix)):
        hits = pairs.count((c, c))
        true, predicted = sum(t == c for t, _ in pairs), sum(p == c for _, p in pairs)
        if not true and not predicted:
            assert np.isnan(score)
        elif not hits:
            assert score == 0
        else:
            precision, recall = hits / predicted, hits / true
            assert score == pytest.approx(2 * precision * recall / (precision + recall))


def test_bad_classes():
    with pytest.raises(ShapeError, match="predictions: got shape"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(DataError, match="targets: got the class 2, wanted 0 to 1"):
        confusion_matrix([2], [0], 2)
    with pytest.raises(DataError, match="predictions: got the class -1"):
        confusion_matrix([0], [-1], 2)
    with pytest.raises(DTypeError, match="predictions: got float64, wanted integers"):
        confusion_matrix([0], [0.7], 2)


def naive(a, b):
    """By the definition: the cheapest way to deal with the first symbols."""
    if not a or not b:
        return len(a) + len(b)
    return min(naive(a[1:], b) + 1, naive(a, b[1:]) + 1, naive(a[1:], b[1:]) + (a[0] != b[0]))


@given(words, words, words)
def test_edit_distance(a, b, c):
    assert edit_distance(a, b) == naive(a, b) == edit_distance(list(b), list(a))
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_error_rate():
    assert error_rate(["abcd", "ef"], ["abd", "xf"]) == 2 / 6
    assert error_rate([["one", "two"]], [["two"]]) == 0.5
    assert error_rate(["a"], ["bcd"]) == 3
    with pytest.raises(ShapeError, match="got 0 sequences, wanted 1"):
        error_rate(["a"], [])
    with pytest.raises(DataError, match="got no symbols"):
        error_rate([""], ["a"])


def test_what_is_no_sequence():
    for value in (1, None, {1, 2}, {1: 2}, iter("ab")):
        kind = type(value).__name__
        with pytest.raises(TypeError, match=f"^a: got {kind}, wanted a string or a sequence of symbols"):
            edit_distance(value, "ab")
        with pytest.raises(TypeError, match=f"^b: got {kind}, wanted a string"):
            edit_distance("ab", value)
        with pytest.raises(TypeError, match=f"^predictions: got {kind}, wanted a sequence of sequences"):
            error_rate(["ab"], value)
        with pytest.raises(TypeError, match=rf"^targets\[1\]: got {kind}, wanted a string"):
            error_rate(["ab", value], ["ab", "ab"])
    with pytest.raises(ShapeError, match=r"^a: got shape \(2, 2\), wanted one axis"):
        edit_distance(np.ones((2, 2)), [1, 2])
    with pytest.raises(ShapeError, match=r"^b\[1\]: got shape \(2,\), wanted a single symbol"):
        edit_distance([1, 2], [1, np.ones(2)])


def test_arrays_and_tensors_are_sequences():
    for kind in (list, tuple, np.array, tr.tensor, lambda ids: [np.int64(i) for i in ids]):
        assert edit_distance(kind([1, 2, 3]), [1, 3]) == 1
        assert type(edit_distance([1, 3], kind([1, 2, 3]))) is int
    assert error_rate(np.array([[1, 2], [3, 4]]), tr.tensor([[1, 2], [3, 5]])) == 0.25
    assert edit_distance(range(3), [0, 2]) == 1


def test_what_is_no_confusion_matrix():
    for value, error, words in (
        (3, ShapeError, r"got shape \(\), wanted a square matrix"),
        ([1, 2], ShapeError, r"got shape \(2,\), wanted a square"),
        (np.ones((2, 3)), ShapeError, r"got shape \(2, 3\)"),
        ("abc", DTypeError, "got str of dtype <U3, wanted numbers"),
        ([[1], [1, 2]], DTypeError, "got nested sequences"),
        ([[1, -2], [0, 1]], DataError, "got -2, wanted counts of at least 0"),
        ([[1.0, np.nan], [0, 1]], DataError, "got nan, wanted counts"),
    ):
        with pytest.raises(error, match=f"^confusion: {words}"):
            f1_scores(value)
    wanted = f1_scores(np.array([[1, 0], [1, 2]]))
    np.testing.assert_array_equal(f1_scores([[1, 0], [1, 2]]), wanted)
    np.testing.assert_array_equal(f1_scores(tr.tensor([[1, 0], [1, 2]])), wanted)


@pytest.mark.parametrize("classes", ["2", 2.0, None, True, 0, -2, 10**12])
def test_what_is_no_number_of_classes(classes):
    error = ValueError if type(classes) is int else TypeError
    with pytest.raises(error, match=f"^classes: got {classes!r}, wanted"):
        confusion_matrix([0, 1], [0, 1], classes)
    with pytest.raises(DTypeError, match=r"^targets: got nested sequences"):
        confusion_matrix([[0], [0, 1]], [0, 1], 2)
