"""Metrics against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
