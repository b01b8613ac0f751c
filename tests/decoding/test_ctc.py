"""Greedy and prefix-beam decoding against enumeration of all alignments."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

from ..alignments import collapse, labellings


def log_probs(*shape, seed=0, sharpness=1.0):
    x = sharpness * np.random.default_rng(seed).standard_normal(shape)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


sizes = st.tuples(st.integers(1, 5), st.integers(2, 4))
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.slow
@given(sizes=sizes, seed=seeds, data=st.data())
def test_a_wide_beam_finds_every_labelling(sizes, seed, data):
    x, blank = log_probs(*sizes, seed=seed), data.draw(st.integers(0, sizes[1] - 1))
    expected = sorted(labellings(x, blank)[0].items(), key=lambda item: -item[1])
    found = nn.ctc_beam_search(x, blank=blank, beam_width=2000, top=2000)
    assert len(found) == len(expected)
    assert {d.labels for d in found} == {labels for labels, _ in expected}
    np.testing.assert_allclose([d.log_prob for d in found], [score for _, score in expected], rtol=1e-10, atol=1e-12)
    loss = nn.ctc_loss(x, list(found[0].labels), sizes[0], len(found[0].labels), blank=blank, reduction="none")
    assert found[0].log_prob == pytest.approx(-float(loss), rel=1e-10, abs=1e-12)


@given(sizes=sizes, seed=seeds, width=st.integers(1, 6))
def test_a_narrow_beam_never_claims_too_much(sizes, seed, width):
    x = log_probs(*sizes, seed=seed)
    exact, _ = labellings(x, 0)
    found = nn.ctc_beam_search(x, beam_width=width, top=width)
    assert 1 <= len(found) <= width
    assert len({d.labels for d in found}) == len(found)
    scores = [d.log_prob for d in found]
    assert scores == sorted(scores, reverse=True)
    assert all(d.log_prob <= exact[d.labels] + 1e-12 for d in found)


@given(sizes=sizes, seed=seeds)
def test_greedy_is_the_best_alignment(sizes, seed):
    x = log_probs(*sizes, seed=seed)
    paths = itertools.product(range(sizes[1]), repeat=sizes[0])
    best = max(paths, key=lambda path: sum(x[t, c] for t, c in enumerate(path)))
    found = nn.ctc_greedy_decode(x)
    assert found.labels == collapse(best, 0)
    assert found.log_prob == pytest.approx(labellings(x, 0)[1][found.labels], rel=1e-12)


def test_adding_up_alignments_beats_the_best_one():
    x = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert nn.ctc_greedy_decode(x).labels == ()
    (best,) = nn.ctc_beam_search(x, beam_width=2)
    assert best.labels == (1,)
    assert np.exp(best.log_prob) == pytest.approx(0.64)


def test_repeated_labels_need_a_blank_between():
    path = [2, 2, 0, 2, 1, 1]
    x = np.log(np.eye(3)[path] * 0.97 + 0.01)
    assert nn.ctc_greedy_decode(x).labels == (2, 2, 1)
    assert nn.ctc_beam_search(x)[0].labels == (2, 2, 1)


def test_rows_and_their_lengths():
    x, lengths = log_probs(6, 4, 3, sharpness=2.0), [6, 3, 0, 1]
    for function, options in ((nn.ctc_greedy_decode, {}), (nn.ctc_beam_search, {"beam_width": 5, "top": 3})):
        whole = function(tr.tensor(x), tr.tensor(lengths), **options)
        assert whole == [function(x[:n, b], **options) for b, n in enumerate(lengths)]
        assert function(x, **options) == function(x, [6] * 4, **options)
    assert nn.ctc_greedy_decode(x, lengths)[2] == ((), 0.0)
    assert nn.ctc_beam_search(x, lengths)[2] == [((), 0.0)]


@given(sizes=sizes, seed=seeds)
def test_a_language_model_multiplies_in(sizes, seed):
    x = log_probs(*sizes, seed=seed)
    table = np.random.default_rng(seed + 1).standard_normal((sizes[1] + 1, sizes[1]))  # of bigrams

    def model(prefix):
        assert isinstance(prefix, tuple)
        return table[prefix[-1] if prefix else -1]

    def score(labels):
        return sum(model(labels[:i])[c] for i, c in enumerate(labels))

    expected = {labels: p + score(labels) for labels, p in labellings(x, 0)[0].items()}
    found = nn.ctc_beam_search(x, beam_width=2000, top=2000, language_model=model)
    assert {d.labels for d in found} == set(expected)
    for d in found:
        assert d.log_prob == pytest.approx(expected[d.labels], rel=1e-9, abs=1e-9)


def test_the_first_of_equals_wins():
    x = np.full((3, 3), -np.log(3))
    assert nn.ctc_greedy_decode(x).labels == ()
    assert nn.ctc_beam_search(x, top=4) == nn.ctc_beam_search(x, top=4)


def test_the_impossible():
    x = np.full((3, 2), -np.inf)
    x[0, 1] = 0.0
    assert nn.ctc_beam_search(x) == []
    x[1:, 0] = 0.0
    assert nn.ctc_beam_search(x, top=5) == [((1,), 0.0)]


def test_long_sequences():
    labels = np.random.default_rng(0).integers(0, 30, 400)
    x = np.log(np.eye(30)[labels] * 0.7 + 0.01)
    assert nn.ctc_beam_search(x, beam_width=8)[0].labels == collapse(labels.tolist(), 0)


X = log_probs(4, 2, 3)


@pytest.mark.parametrize("function", [nn.ctc_greedy_decode, nn.ctc_beam_search])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(3),), ShapeError, r"log_probs: got shape \(3,\), wanted \(T, B, C\) or \(T, C\)"),
        ((np.zeros((2, 3), int),), DTypeError, "log_probs: got int64, wanted floats"),
        ((X, [5, 1]), ValueError, "input_lengths: got 5 for row 0, wanted 0 to 4"),
        ((X, [1]), ShapeError, r"input_lengths: got shape \(1,\), wanted \(2,\)"),
        ((X, None, 3), IndexError, "blank: got 3, wanted a class from 0 to 2"),
        ((np.where(X[1, 0, 2] == X, np.nan, X),), DataError, "log_probs: got NaN in row 0 at time 1, class 2"),
    ],
)
def test_misfits_are_explained(function, arguments, error, message):
    with pytest.raises(error, match=f"{function.__name__}: {message}"):
        function(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_width": 0}, ValueError, "beam_width: got 0, wanted a whole number, at least 1"),
        ({"top": 1.5}, ValueError, "top: got 1.5, wanted a whole number"),
        ({"beam_width": 2, "top": 3}, ValueError, "top: got 3, wanted at most 2 as beam_width"),
        ({"language_model": lambda p: np.zeros(2)}, ShapeError, r"language_model: returned shape \(2,\) for .* \(3,\)"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=f"ctc_beam_search: {message}"):
        nn.ctc_beam_search(X, **options)
