"""The n-gram model against its formula, written as a recursion over Counters."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import NGramModel
from tinygrad_rnn.errors import DataError

texts = st.lists(st.integers(0, 2), min_size=4, max_size=30)


def naive(train, context, c, size):
    """p(c | context), from the definition."""
    shorter = 1 / size if not context else naive(train, context[1:], c, size)
    n = len(context)
    after = Counter(train[i + n] for i in range(len(train) - n) if train[i : i + n] == context)
    total, kinds = sum(after.values()), len(after)
    return (after[c] + kinds * shorter) / (total + kinds) if total else shorter


@given(texts, texts, st.integers(1, 3))
def test_against_the_definition(train, text, order):
    model = NGramModel(train, order, 3)
    p = [naive(train, text[max(0, i - order + 1) : i], c, 3) for i, c in enumerate(text)]
    assert model.cross_entropy(text) == pytest.approx(-sum(map(math.log, p)) / len(p))
    context = text[:2]
    kept = context[len(context) - order + 1 :] if order <= len(context) else context
    expected = [naive(train, kept if order > 1 else [], c, 3) for c in range(3)]
    np.testing.assert_allclose(model.probabilities(context), expected)
    assert sum(expected) == pytest.approx(1)


def test_a_longer_context_helps_where_there_is_order():
    text = np.tile([0, 1, 1, 2], 200)
    losses = [NGramModel(text, order, 3).cross_entropy(text) for order in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.02


def test_bad_texts():
    with pytest.raises(DataError, match="got 1 symbols, wanted at least order = 2"):
        NGramModel([0], 2, 3)
    with pytest.raises(DataError, match=r"ids\[1\]: got 3"):
        NGramModel([0, 3], 2, 3)
    with pytest.raises(DataError, match="got an empty text"):
        NGramModel([0, 1], 2, 3).cross_entropy([])
    with pytest.raises(OverflowError, match="order: got 5 for 10000 symbols"):
        NGramModel([0] * 5, 5, 10000)
