"""Sampling, greedy and beam search over a small network whose answers can be counted out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

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
        (lambda s: nn.sample(s, [[1], [1, 2]], 3), ShapeError, "prefix: got rows of unequal lengths"),
        (lambda s: nn.sample(s, [[1]], 3.5), ValueError, "length: got 3.5, wanted a whole number"),
        (
            lambda s: nn.sample(s, [[1]], 3, temperature=-1),
            ValueError,
            "temperature: got -1, wanted a number, at least 0",
        ),
        (lambda s: nn.sample(s, [[1]], 3, temperature=np.nan), ValueError, "temperature: got nan"),
        (lambda s: nn.sample(s, [[1]], 3, temperature="hot"), ValueError, "temperature: got 'hot'"),
        (lambda s: nn.sample(s, [[1]], 3, stop=9), ValueError, "stop: got 9, wanted symbols from 0 to 3"),
        (
            lambda s: nn.greedy_search(s, [1], stop=4, max_length=3),
            ValueError,
            "stop: got 4, wanted symbols from 0 to 3",
        ),
        (lambda s: nn.beam_search(s, [1], stop=9, max_length=3), ValueError, "stop: got 9, wanted symbols from 0 to 3"),
        (lambda s: nn.beam_search(s, [1], stop=-2, max_length=3), ValueError, "stop: got -2, wanted symbols from 0"),
        (lambda s: nn.greedy_search(s, [1], stop=0.5, max_length=3), DTypeError, "stop: got 0.5"),
        (
            lambda s: nn.greedy_search(s, [], stop=0, max_length=3),
            ShapeError,
            r"first: got shape \(0,\), wanted \(B,\)",
        ),
        (lambda s: nn.beam_search(s, [], stop=0, max_length=3), ShapeError, r"first: got shape \(0,\), wanted \(B,\)"),
        (
            lambda s: nn.greedy_search(lambda i, h: None, [1], stop=0, max_length=3),
            ShapeError,
            "step: returned NoneType",
        ),
        (
            lambda s: nn.beam_search(s, [1], {"h": (np.zeros((3, 5)),)}, stop=0, max_length=3),
            ShapeError,
            r"beam_search: state: got shape \(3, 5\), wanted an axis with 1 rows",
        ),
        (
            lambda s: nn.beam_search(s, [1], {"h": (np.zeros((1, 5)),)}, stop=0, max_length=3, batch_axis=1),
            ShapeError,
            r"beam_search: state: got shape \(1, 5\), wanted axis 1 with 1 rows",
        ),
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


# ---- states of layers, whose rows are behind the layers


def layer_step(kind, layers, seed=3, **options):
    tr.seed(seed)
    embedding, layer, head = nn.Embedding(6, 4), kind(4, 8, num_layers=layers, **options), nn.Linear(8, 6)
    with tr.no_grad():
        for p in [*layer.parameters(), head.weight]:
            p.data[...] *= 4

    def step(ids, state):
        y, state = layer(embedding(np.asarray(ids)[None]), state)
        return head(y[0]), state

    return step


def log_prob_of(step, first, ids, state=None, ends=(0,)):
    """By hand, row by row: the text, and the end if there is one."""
    total = 0.0
    for symbol, following in itertools.pairwise([first, *ids, None]):
        logits, state = step(np.array([symbol]), state)
        z = logits.numpy()[0].astype(float)
        z = z - np.log(np.exp(z - z.max()).sum()) - z.max()
        total += np.logaddexp.reduce(z[list(ends)]) if following is None else z[following]
    return total


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    ("layers", "rows", "beam"), [(1, 1, 1), (1, 1, 3), (2, 1, 2), (2, 2, 2), (4, 2, 2), (8, 4, 2), (3, 3, 2)]
)
@pytest.mark.parametrize("given", [False, True])
def test_states_with_the_layers_first(kind, layers, rows, beam, given):
    step = layer_step(kind, layers)
    firsts = np.arange(rows) % 5 + 1
    state, alone = None, [None] * rows
    if given:
        with tr.no_grad():
            _, state = step(firsts, None)
            alone = [step(firsts[b : b + 1], None)[1] for b in range(rows)]
    found = nn.beam_search(step, firsts, state, stop=0, max_length=6, beam_size=beam)
    for b, hypotheses in enumerate(found):
        (separately,) = nn.beam_search(step, firsts[b : b + 1], alone[b], stop=0, max_length=6, beam_size=beam)
        assert [h.ids for h in hypotheses] == [h.ids for h in separately]
        for h in hypotheses:
            with tr.no_grad():
                wanted = log_prob_of(step, firsts[b], h.ids, alone[b])
            assert len(h.ids) == 6 or h.log_prob == pytest.approx(wanted, rel=1e-4)


def test_the_axis_can_be_said():
    step = layer_step(nn.GRU, 2)
    kwargs = {"stop": 0, "max_length": 5, "beam_size": 2}
    assert nn.beam_search(step, [1], batch_axis=1, **kwargs) == nn.beam_search(step, [1], **kwargs)


def test_an_axis_that_cannot_be_told():
    """Noise hides which rows belong together."""
    step = layer_step(nn.GRU, 2, dropout=0.5)
    with pytest.raises(ShapeError, match=r"beam_search: state: got shapes \(2, 2, 8\) for 2 rows.*pass batch_axis="):
        nn.beam_search(step, [1], stop=0, max_length=5, beam_size=2)


# ---- the end, and what is no number


def test_no_end():
    logits = np.log([[0.2, 0.3, 0.5]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    for stop in (-1, (), None, [-1]):
        assert nn.greedy_search(step, [0], stop=stop, max_length=3) == [[2, 2, 2]]
        assert nn.sample(step, [[0]], 3, stop=stop, top_k=1) == [[2, 2, 2]]
        ((best, *_),) = nn.beam_search(step, [0], stop=stop, max_length=3, beam_size=2)
        assert best.ids == [2, 2, 2]
        assert best.log_prob == pytest.approx(3 * np.log(0.5))


def test_an_end_that_is_named_twice_counts_once():
    logits = np.log([[0.2, 0.3, 0.5]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    (once,) = nn.beam_search(step, [0], stop=2, max_length=3, beam_size=2)
    assert nn.beam_search(step, [0], stop=[2, 2], max_length=3, beam_size=2) == [once]
    assert once[0].log_prob == pytest.approx(np.log(0.5))


@pytest.mark.parametrize(("bad", "what"), [(np.nan, "a logit of nan"), (np.inf, "a logit of inf")])
def test_logits_that_are_no_numbers(bad, what):
    def step(ids, state):
        t = 0 if state is None else int(np.asarray(state)[0])
        logits = np.tile([0.1, 0.2, 0.3], (len(ids), 1))
        if t == 2:
            logits[-1, 0] = bad
        return logits, np.full(len(ids), t + 1)

    calls = {
        "greedy_search": lambda: nn.greedy_search(step, [1, 1], stop=0, max_length=5),
        "sample": lambda: nn.sample(step, [[1], [1]], 5),
        "beam_search": lambda: nn.beam_search(step, [1, 1], stop=0, max_length=5, beam_size=2),
    }
    for name, call in calls.items():
        with pytest.raises(DataError, match=f"{name}: step: got {what} in row [13] at step 2"):
            call()
    never = lambda ids, state: (np.full((len(ids), 3), -np.inf), state)
    with pytest.raises(DataError, match="greedy_search: step: got no possible symbol in row 0 at step 0"):
        nn.greedy_search(never, [1], stop=0, max_length=5)


@pytest.mark.parametrize("temperature", [0, 0.0, 1e-310, 5e-324, 1e-30])
def test_no_temperature_takes_the_likeliest(temperature):
    logits = np.array([[-1e3, 7.0, 7.1, -np.inf]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    assert nn.sample(step, np.zeros((50, 1), int), 2, temperature=temperature) == [[2, 2]] * 50


def test_an_infinite_temperature_knows_possible_and_impossible():
    logits = np.array([[-1e3, 7.0, -np.inf]])
    step = lambda ids, state: (np.repeat(logits, len(ids), 0), state)
    found = nn.sample(step, np.zeros((400, 1), int), 1, temperature=np.inf, rng=np.random.default_rng(0))
    assert 150 < sum(row == [0] for row in found) < 250
    assert not any(row == [2] for row in found)


# ---- a model that takes (T, B)


class Sequences(nn.Module):
    def __init__(self, kind=nn.RNN, layers=1):
        self.emb, self.rnn, self.out = nn.Embedding(9, 16), kind(16, 16, num_layers=layers), nn.Linear(16, 9)

    def forward(self, ids, state=None):
        y, state = self.rnn(self.emb(ids), state)
        return self.out(y), state


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(("layers", "scale"), [(1, 1.0), (2, 1.0), (1, 1e-4), (1, 1e4)])
def test_rows_that_are_read_as_steps(kind, layers, scale):
    tr.seed(0)
    model = Sequences(kind, layers)
    model.out.weight.data *= scale
    model.out.bias.data *= scale
    nn.sample(model, [[1, 2, 3]], 6, top_k=1)  # one row is one step
    calls = {
        "sample": lambda f: nn.sample(f, [[1, 2, 3], [4, 5, 6]], 6, top_k=1),
        "greedy_search": lambda f: nn.greedy_search(f, [1, 4], stop=0, max_length=5),
        "beam_search": lambda f: nn.beam_search(f, [1], stop=0, max_length=5, beam_size=2),
    }

    def right(ids, state):
        logits, state = model(ids[None], state)
        return logits[0], state

    for name, call in calls.items():
        with pytest.raises(ShapeError, match=rf"{name}: step: .* rows apart; a model that takes \(T, B\)"):
            call(model)
        call(right)
    rows = [nn.sample(right, [prefix], 6, top_k=1)[0] for prefix in ([1, 2, 3], [4, 5, 6])]
    assert calls["sample"](right) == rows


def test_noise_is_not_taken_for_dependence():
    tr.seed(0)
    emb, drop, out = nn.Embedding(9, 16), nn.Dropout(0.5), nn.Linear(16, 9)
    step = lambda ids, state: (out(drop(emb(ids))), state)
    assert len(nn.sample(step, [[1], [2]], 3)) == 2
