"""Sampling, greedy and beam search over a small network whose answers can be counted out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, ShapeError

END = 3


class Net:
    """A random recurrent network over four symbols, the last of which is the end."""

    def __init__(self, seed, spread=2.0):
        rng = np.random.default_rng(seed)
        self.embed, self.hidden, self.out = (spread * rng.standard_normal(s) for s in ((4, 5), (5, 5), (5, 4)))

    def __call__(self, ids, state):
        before = 0.0 if state is None else state["h"][0].data @ self.hidden
        h = np.tanh(self.embed[ids] + before)
        return tr.tensor(h @ self.out), {"h": (tr.tensor(h),)}

    def log_prob(self, first, text, end=True):
        """Of writing `text`, and then the end, after `first`."""
        total, state = 0.0, None
        for symbol, following in itertools.pairwise([first, *text, *([END] if end else [])]):
            logits, state = self(np.array([symbol]), state)
            z = logits.data[0]
            total += z[following] - np.log(np.exp(z).sum())
        return total


def every_text(longest):
    for length in range(longest + 1):
        yield from itertools.product(range(3), repeat=length)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0]))
def test_a_beam_wide_enough_finds_the_best(seed, penalty):
    net = Net(seed)
    found = nn.beam_search(net, [0, 2], stop=END, max_length=3, beam_size=40, length_penalty=penalty)
    for first, hypotheses in zip((0, 2), found):
        texts = {text: net.log_prob(first, text) for text in every_text(3)}
        rank = {text: p / ((5 + len(text) + 1) / 6) ** penalty for text, p in texts.items()}
        assert len(hypotheses) == len(texts) == 40
        ranks = [rank[tuple(h.ids)] for h in hypotheses]
        assert ranks == sorted(ranks, reverse=True)
        for h in hypotheses:
            assert h.log_prob == pytest.approx(texts[tuple(h.ids)])


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_what_a_narrow_beam_finds_is_true(seed, beam_size):
    net = Net(seed)
    for first, hypotheses in zip((1, 0), nn.beam_search(net, [1, 0], stop=END, max_length=6, beam_size=beam_size)):
        assert 1 <= len(hypotheses) <= beam_size
        assert len({tuple(h.ids) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            cut = len(h.ids) == 6 and len(hypotheses) == 1
            ended = h.log_prob == pytest.approx(net.log_prob(first, h.ids))
            assert ended or (cut and h.log_prob == pytest.approx(net.log_prob(first, h.ids, end=False)))


@given(st.integers(0, 10_000))
def test_stopping_early_changes_nothing(seed):
    """A search that may go on much longer finds the same, as longer texts are less likely."""
    net = Net(seed, spread=1.0)
    short = nn.beam_search(net, [0], stop=END, max_length=30, beam_size=3)[0]
    long = nn.beam_search(net, [0], stop=END, max_length=60, beam_size=3)[0]
    assert short == long


def test_a_beam_of_one_is_greedy_where_the_end_is_sure():
    for seed in range(30):
        net = Net(seed, spread=3.0)
        (greedy,) = nn.greedy_search(net, [0], stop=END, max_length=5)
        (beam,) = nn.beam_search(net, [0], stop=END, max_length=5, beam_size=1)
        p = net.log_prob(0, greedy)
        assert beam[0].log_prob >= p - 1e-9 or len(greedy) == 5


def test_several_ends_are_one_event():
    logits = np.log([[0.4, 0.25, 0.35]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    (found,) = nn.beam_search(step, [0], stop=(1, 2), max_length=3, beam_size=4)
    assert [h.ids for h in found] == [[], [0], [0, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.exp([h.log_prob for h in found]), [0.6 * 0.4**n for n in range(4)])


def test_nothing_ends():
    never = np.array([[2.0, 1.0, -np.inf]])
    (found,) = nn.beam_search(lambda i, s: (np.repeat(never, len(i), 0), s), [0], stop=2, max_length=3, beam_size=2)
    assert [h.ids for h in found] == [[0, 0, 0]]
    assert nn.greedy_search(lambda i, s: (never, s), [0], stop=2, max_length=3) == [[0, 0, 0]]


def test_greedy_rows_are_independent():
    net = Net(3)
    alone = [nn.greedy_search(net, [first], stop=END, max_length=8)[0] for first in range(3)]
    assert nn.greedy_search(net, [0, 1, 2], stop=END, max_length=8) == alone


def test_sampling_follows_the_distribution():
    net, rng = Net(5, spread=1.0), np.random.default_rng(0)
    rows = nn.sample(net, np.zeros((5_000, 1), int), 2, stop=END, rng=rng)
    for text in ((), (0,), (1, 2), (2, 0)):
        expected = np.exp(net.log_prob(0, text, end=len(text) < 2))
        assert np.mean([tuple(row) == text for row in rows]) == pytest.approx(expected, abs=0.02)


def test_temperature_and_top_k():
    logits = np.log([[0.5, 0.3, 0.15, 0.05]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    draw = lambda **options: np.array(
        nn.sample(step, np.zeros((5_000, 1), int), 1, rng=np.random.default_rng(1), **options)
    )
    share = lambda ids: np.bincount(ids[:, 0], minlength=4) / len(ids)
    np.testing.assert_allclose(share(draw(temperature=0.5)), [0.685, 0.247, 0.062, 0.007], atol=0.02)
    np.testing.assert_allclose(share(draw(top_k=2)), [0.625, 0.375, 0, 0], atol=0.02)
    assert (draw(top_k=1) == 0).all()
    assert (draw(top_k=9) == draw()).all()


def test_the_prefix_is_read():
    net = Net(7)
    _, state = net(np.array([1]), None)
    _, state = net(np.array([2]), state)
    whole = nn.sample(net, [[1, 2, 0]], 5, top_k=1)
    assert whole == nn.sample(net, [[0]], 5, state, top_k=1)


def test_seeded():
    net = Net(1)
    runs = []
    for seed in (3, 3, 4):
        tr.seed(seed)
        runs.append(nn.sample(net, [[0]], 30))
    assert runs[0] == runs[1] != runs[2]


def test_with_a_layer():
    """The state of a layer, (h, c), goes with the beams."""
    tr.seed(0)
    embedding, layer, head = nn.Embedding(6, 4), nn.Recurrent(nn.LSTMCell(4, 8)), nn.Linear(8, 6)

    def step(ids, state):
        outputs, state = layer(embedding(ids[None]), state)
        return head(outputs[0]) * 5, state

    (best, *_), _ = nn.beam_search(step, [1, 2], stop=0, max_length=4, beam_size=3)
    state, total = None, 0.0
    for symbol, following in itertools.pairwise([1, *best.ids, 0]):
        logits, state = step(np.array([symbol]), state)
        total += tr.log_softmax(logits, -1).numpy()[0, following]
    assert best.log_prob == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: nn.sample(s, [1], 3), ShapeError, r"prefix: got shape \(1,\), wanted \(B, P\)"),
        (lambda s: nn.sample(s, np.zeros((2, 0), int), 3), ShapeError, r"prefix: got shape \(2, 0\)"),
        (lambda s: nn.sample(s, [[0.5]], 3), DTypeError, "prefix: got float64, wanted integers"),
        (lambda s: nn.sample(s, [[1]], 3, temperature=0), ValueError, "temperature: got 0"),
        (lambda s: nn.sample(s, [[1]], 3, top_k=0), ValueError, "top_k: got 0"),
        (lambda s: nn.greedy_search(s, [1], stop=0, max_length=0), ValueError, "max_length: got 0"),
        (lambda s: nn.beam_search(s, [1], stop=0, max_length=3, beam_size=0), ValueError, "beam_size: got 0"),
        (lambda s: nn.beam_search(s, [1], stop=0, max_length=3, length_penalty=-1), ValueError, "length_penalty"),
        (
            lambda s: nn.beam_search(lambda i, state: (np.zeros((1, 4)), state), [1, 1], stop=0, max_length=3),
            ShapeError,
            r"step: returned logits of shape \(1, 4\), wanted \(10, V\)",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(Net(0))
