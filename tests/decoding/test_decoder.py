"""Decoders write what sampling step by step writes, in either mode, and learn from what they read of their own."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

V, E, H = 7, 4, 8
PREFIX = [[0, 1], [5, 6], [3, 3]]


@pytest.fixture(scope="module")
def parts():
    tr.seed(0)
    found = nn.Embedding(V, E), nn.LSTM(E, H, num_layers=2), nn.Linear(H, V)
    for p in [*found[1].parameters(), found[2].weight]:
        p.data[...] *= 3
    return found


def step_of(parts):
    embedding, layer, head = parts

    def step(ids, state):
        y, state = layer(embedding(ids[None]), state)
        return head(y[0]), state

    return step


def generator():
    return np.random.default_rng(1)


HOW = [
    {"temperature": 0},
    {},
    {"temperature": 0.7, "top_k": 3},
    {"stop": [2, 3]},
    {"temperature": 0.5, "top_k": 1, "stop": 5},
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_it_writes_what_sampling_writes(parts, mode):
    decoder = nn.Decoder(parts[1], parts[0], parts[2], mode=mode)
    for how in HOW:
        found = decoder.generate(PREFIX, 80, rng=generator(), **how)
        assert found == nn.sample(step_of(parts), PREFIX, 80, rng=generator(), **how)
    _, state = parts[1](parts[0](np.array(PREFIX).T))
    first = [[1], [2], [3]]
    wanted = nn.sample(step_of(parts), first, 5, state, temperature=0)
    assert decoder.generate(first, 5, state, temperature=0) == wanted
    tr.seed(5)
    found = decoder.generate(PREFIX, 9)
    tr.seed(5)
    assert found == nn.sample(step_of(parts), PREFIX, 9)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_what_may_be_drawn(mode):
    """Of a cell whose logits are always the same, each symbol comes as often as its share says."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])

    class Same(nn.Cell):
        hidden_size = input_size = 4

        def __init__(self):
            self.logits = nn.Parameter(logits)

        def step(self, x, h):
            return h * 0 + self.logits, h

    decoder = nn.Decoder(Same(), mode=mode)

    def shares(**how):
        ids = np.array(decoder.generate([[0]] * 40, 100, rng=generator(), **how))
        return np.bincount(ids.ravel(), minlength=4) / ids.size

    np.testing.assert_allclose(shares(), [0.4, 0.3, 0.2, 0.1], atol=0.03)
    np.testing.assert_allclose(shares(top_k=2), [4 / 7, 3 / 7, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(top_p=0.65), [4 / 7, 3 / 7, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0], atol=0.03)
    np.testing.assert_allclose(shares(top_k=3, top_p=0.5), [4 / 7, 3 / 7, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(never=[0]), [0, 3 / 6, 2 / 6, 1 / 6], atol=0.03)
    np.testing.assert_allclose(shares(temperature=0.5), np.array([16, 9, 4, 1]) / 30, atol=0.03)
    assert shares(temperature=0).tolist() == [1, 0, 0, 0]
    assert shares(top_p=0.0001).tolist() == [1, 0, 0, 0]


@pytest.mark.slow
def test_training(parts):
    """Without symbols of its own, logits are those of the layer; with them, both modes read the same."""
    ids = np.random.default_rng(2).integers(0, V, (6, 3))
    compiled, eager = (nn.Decoder(parts[1], parts[0], parts[2], mode=mode) for mode in ("compiled", "eager"))
    logits, _ = compiled(ids)
    np.testing.assert_allclose(logits.numpy(), parts[2](parts[1](parts[0](ids))[0]).numpy(), rtol=1e-4, atol=1e-5)
    found = []
    for decoder in (compiled, eager):
        tr.seed(3)
        logits, _ = decoder(ids, own=0.5)
        loss = nn.cross_entropy(logits, ids)
        grads = tr.grad(loss, [parts[0].weight, parts[2].weight, next(iter(parts[1].parameters()))])
        found.append([logits.numpy(), *[g.numpy() for g in grads]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert abs(found[0][0] - compiled(ids)[0].numpy()).max() > 0.01


def test_values():
    cell, head = nn.GRUCell(2, H, dtype="float64"), nn.Linear(H, 2, dtype="float64")
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    h, wanted = cell.initial_state(4), []
    for t in range(7):
        y, h = cell.step(tr.tensor(x[t]) if t < 3 else wanted[-1], h)
        wanted.append(head(y))
    (g,) = tr.grad((tr.stack(wanted[2:]) ** 2).sum(), [cell.weight_hh])
    for mode in ("compiled", "eager"):
        ys, state = nn.Decoder(cell, head=head, mode=mode).run(x, 5)
        np.testing.assert_allclose(ys.numpy(), [y.numpy() for y in wanted[2:]], rtol=1e-12)
        np.testing.assert_allclose(state.numpy(), h.numpy(), rtol=1e-12)
        np.testing.assert_allclose(tr.grad((ys**2).sum(), [cell.weight_hh])[0].numpy(), g.numpy(), rtol=1e-10)
    assert nn.Decoder(cell, head=head).run(x[:1], 1)[0].shape == (1, 4, 2)


class Looking(nn.Module):
    """Logits of what an attention over a memory finds."""

    def __init__(self, dtype="float32"):
        self.attention, self.head = nn.LuongAttention(H, 5, dtype=dtype), nn.Linear(H, V, dtype=dtype)

    def forward(self, y, *prepared):
        return self.head(self.attention.look(y, *prepared))


@pytest.mark.slow
def test_context():
    """What an attention looks at; batches and memories of other sizes, and symbols that end rows, come later."""
    embedding, layer, head = nn.Embedding(V, E), nn.GRU(E, H, batch_first=True), Looking()
    for p in [*layer.parameters(), head.head.weight]:
        p.data[...] *= 3
    decoders = [nn.Decoder(layer, embedding, head, mode=mode) for mode in ("compiled", "eager")]
    for batch, steps in ((3, 4), (2, 6), (3, 4), (1, 1)):
        rng = np.random.default_rng(batch)
        memory, lengths = rng.standard_normal((batch, steps, 5)), rng.integers(1, steps + 1, batch)
        prefix = rng.integers(0, V, (batch, 2))

        def step(ids, state, memory=memory, lengths=lengths):
            y, state = layer(embedding(ids[:, None]), state)
            return head.head(head.attention(y, memory, lengths)[0])[:, 0], state

        state = layer(embedding(rng.integers(0, V, (batch, 3))))[1]
        for how in ({"temperature": 0}, {}, {"stop": [2, 3]}):
            wanted = nn.sample(step, prefix, 20, state, rng=generator(), **how)
            for decoder in decoders:
                found = decoder.generate(
                    prefix, 20, state, rng=generator(), context=head.attention.prepare(memory, lengths), **how
                )
                assert found == wanted
    with pytest.raises(ShapeError, match=r"context\[0\]: got shape \(2, 3\), wanted \(1, ...\)"):
        decoders[1].generate([[0]], 3, context=[np.zeros((2, 3))])


@pytest.mark.slow
def test_gradients_flow_through_context():
    embedding, cell, head = nn.Embedding(V, E, dtype="float64"), nn.LSTMCell(E, H, dtype="float64"), Looking("float64")
    memory = tr.tensor(np.random.default_rng(0).standard_normal((3, 4, 5)), requires_grad=True)
    ids = np.random.default_rng(1).integers(0, V, (6, 3))
    found = []
    for mode in ("compiled", "eager"):
        decoder = nn.Decoder(cell, embedding, head, mode=mode)
        tr.seed(3)
        logits, _ = decoder(ids, own=0.5, context=head.attention.prepare(memory, [4, 1, 2]))
        grads = tr.grad(nn.cross_entropy(logits, ids), [memory, embedding.weight, head.attention.score.weight])
        found.append([logits.numpy(), *[g.numpy() for g in grads]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)
    assert not found[0][1][1, 1:].any()  # where no step counts


def test_known_inputs():
    """The cell reads its last value, and what is known of the step besides."""
    cell, head = nn.GRUCell(3, H, dtype="float64"), nn.Linear(H, 1, dtype="float64")
    rng = np.random.default_rng(0)
    x, known = rng.standard_normal((3, 4, 1)), rng.standard_normal((7, 4, 2))
    h, wanted = cell.initial_state(4), []
    for t in range(7):
        y, h = cell.step(tr.concat([tr.tensor(x[t]) if t < 3 else wanted[-1], tr.tensor(known[t])], axis=1), h)
        wanted.append(head(y))
    for mode in ("compiled", "eager"):
        ys, _ = nn.Decoder(cell, head=head, mode=mode).run(x, 5, known=known)
        np.testing.assert_allclose(ys.numpy(), [y.numpy() for y in wanted[2:]], rtol=1e-12)
    with pytest.raises(ShapeError, match=r"known: got shape \(3, 4, 2\), wanted \(7, 4, K\)"):
        nn.Decoder(cell, head=head).run(x, 5, known=known[:3])


class Noisy(nn.Module):
    def __init__(self):
        self.mean = nn.Linear(H, 1, dtype="float64")

    def forward(self, y):
        mean = self.mean(y)
        return mean + 0.3 * tr.random.normal(mean.shape, dtype="float64")


def test_samples_of_values():
    """A head that draws: rows that are given twice are two samples, the same ones in both modes."""
    cell, head, found = nn.GRUCell(1, H, dtype="float64"), Noisy(), []
    for mode in ("compiled", "eager"):
        tr.seed(4)
        found.append(nn.Decoder(cell, head=head, mode=mode).run(np.ones((2, 3, 1)), 6)[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-10)
    assert abs(found[0][:, 0] - found[0][:, 1]).min() > 1e-3


def test_bad_input(parts):
    decoder = nn.Decoder(parts[1], parts[0], parts[2], mode="eager")
    for arguments, options, error, message in [
        (([[7]], 3), {}, IndexError, "prefix: got 7, wanted symbols from 0 to 6"),
        (([[0]], 3), {"stop": 9}, IndexError, "stop: got 9"),
        (([[0]], 3), {"never": [-2]}, IndexError, "never: got -2"),
        (([0], 3), {}, ShapeError, "prefix: got shape"),
        (([[0.5]], 3), {}, DTypeError, "prefix: got float64, wanted integers"),
        (([[0]], -1), {}, ValueError, "length: got -1"),
        (([[0]], 3), {"temperature": -1}, ValueError, "temperature: got -1"),
        (([[0]], 3), {"top_k": 0}, ValueError, "top_k: got 0"),
        (([[0]], 3), {"top_p": 2}, ValueError, "top_p: got 2"),
        (([[0]], 3), {"never": [1.5]}, DTypeError, r"never: got \[1.5\], wanted symbols, which are integers"),
        (([[0]], 3), {"never": [True]}, DTypeError, "never: got"),
        (([[0]], 3), {"never": 3}, TypeError, "never: got 3, wanted several symbols"),
        (([[0]], 3), {"rng": 3}, TypeError, "rng: got 3, wanted a NumPy generator"),
        (([[0]], 3), {"context": np.zeros((1, 2))}, TypeError, "context: got ndarray, wanted a tuple or a list"),
        (([[0]], 3), {"never": range(7)}, ValueError, "never: got all 7 symbols, wanted one that may be written"),
    ]:
        with pytest.raises(error, match=message):
            decoder.generate(*arguments, **options)
    with pytest.raises(ShapeError, match="values: got shape"):
        nn.Decoder(nn.GRUCell(2, 2)).run(np.zeros((3, 2)), 2)
    with pytest.raises(TypeError, match="Decoder: cell: got Linear"):
        nn.Decoder(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Decoder: cell: got GRU"):
        nn.Decoder(nn.GRU(2, 2, bidirectional=True))
    for embedding, got in ((nn.Embedding(V, E), "one of 4 features"), (None, "none for 7 symbols")):
        with pytest.raises(ShapeError, match=f"embedding: got {got}, wanted input_size=5 of the cell"):
            nn.Decoder(nn.GRUCell(5, H), embedding, parts[2]).generate([[0]], 2)
    broken = nn.Linear(H, V)
    broken.weight.data[...] = np.nan
    with pytest.raises(DataError, match="Decoder: got a logit of nan in row 0, 0 symbols after the prefix"):
        nn.Decoder(parts[1], parts[0], broken).generate([[0]], 3)


def test_parts_that_are_replaced(parts):
    """It runs with the cell, the embedding and the head that it has now, and with the dropout of a layer."""
    decoder = nn.Decoder(nn.LSTMCell(E, H), parts[0], parts[2], mode="eager")
    values = nn.Decoder(nn.GRUCell(2, H), head=nn.Linear(H, 2), mode="eager")
    ids, x = np.random.default_rng(0).integers(0, 5, (4, 3)), np.ones((2, 3, 2))
    decoder(ids), values.run(x, 3)
    for name, part in [("cell", nn.GRUCell(E, H)), ("embedding", nn.Embedding(5, E)), ("head", nn.Linear(H, 5))]:
        setattr(decoder, name, part)
        wanted = nn.Decoder(decoder.cell, decoder.embedding, decoder.head, mode="eager")(ids)[0]
        np.testing.assert_array_equal(decoder(ids)[0].numpy(), wanted.numpy())
    for name, part in [("cell", nn.GRUCell(2, H)), ("head", nn.Linear(H, 2))]:
        setattr(values, name, part)
        wanted = nn.Decoder(values.cell, head=values.head, mode="eager").run(x, 3)[0]
        np.testing.assert_array_equal(values.run(x, 3)[0].numpy(), wanted.numpy())
    decoder.cell = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="Decoder: cell: got Linear"):
        decoder.generate([[0]], 2)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_dropout_between_layers(mode):
    embedding, layer, head = nn.Embedding(V, E), nn.GRU(E, H, num_layers=2, dropout=0.5), nn.Linear(H, V)
    decoder, ids = nn.Decoder(layer, embedding, head, mode=mode), np.random.default_rng(0).integers(0, V, (5, 2))
    plain = head(layer.eval()(embedding(ids))[0]).numpy()
    np.testing.assert_allclose(decoder(ids)[0].numpy(), plain, rtol=1e-4, atol=1e-6)
    layer.train()
    tr.seed(0)
    found = [decoder(ids)[0].numpy() for _ in range(40)]
    tr.seed(0)
    np.testing.assert_allclose(
        nn.Decoder(layer, embedding, head, mode="eager")(ids)[0].numpy(), found[0], rtol=1e-4, atol=1e-6
    )
    first, second = np.array(found)[:, 0], np.array(found)[:, -1]
    assert (first.std(axis=0) > 1e-3).all() and (second.std(axis=0) > 1e-3).all()  # each step draws
    layer.dropout = 0.0
    np.testing.assert_allclose(decoder(ids)[0].numpy(), plain, rtol=1e-4, atol=1e-6)


def test_heads_that_draw_do_so_alike_the_first_time():
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(H, V))
    decoder, ids, found = nn.Decoder(nn.GRUCell(V, H), head=head, mode="eager"), np.zeros((3, 2), int), []
    for _ in range(2):
        tr.seed(3)
        found.append(decoder(ids)[0].numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.sampled(1)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["auto", "eager"])
def test_extreme_temperatures(parts, mode):
    """Next to none, the likeliest; beyond all numbers, each alike; never what may not be."""
    decoder = nn.Decoder(parts[1], parts[0], parts[2], mode=mode)
    for cold in (1e-45, 1e-300):
        found = decoder.generate(PREFIX, 5, temperature=cold, rng=generator())
        assert found == decoder.generate(PREFIX, 5, temperature=0)
    ids = np.array(decoder.generate(PREFIX * 40, 20, temperature=1e300, never=(i for i in (2, 5)), rng=generator()))
    counts = np.bincount(ids.ravel(), minlength=V)
    assert counts[2] == counts[5] == 0 and counts[[0, 1, 3, 4, 6]].min() > 0.18 * ids.size
    assert decoder.generate(PREFIX, 5, top_p=0) == decoder.generate(PREFIX, 5, temperature=0)


def test_bad_values():
    decoder = nn.Decoder(nn.GRUCell(3, H), head=nn.Linear(H, 2))
    for values, known, error, message in [
        (np.ones((2, 1, 3)), None, ShapeError, "values: got 3 features, wanted 2, as many as are read after them"),
        (np.ones((2, 1, 2)), None, ShapeError, "values: got 2 features, wanted input_size=3 of the cell"),
        (np.ones((2, 1, 2)), np.ones((4, 1, 2)), ShapeError, "values: got 4 features, with those of known=2, wanted"),
        (tr.tensor(np.ones((2, 1, 2))), None, DTypeError, "values: got a float64 tensor, wanted float32"),
        ("ab", None, DTypeError, "values: got"),
    ]:
        with pytest.raises(error, match=message):
            decoder.run(values, 3, known=known)
    known, tensor = np.ones((4, 1, 1)), tr.tensor(np.ones((2, 1, 2), int))
    np.testing.assert_array_equal(
        decoder.run(tensor, 3, known=known)[0].numpy(), decoder.run(np.ones((2, 1, 2)), 3, known=known)[0].numpy()
    )
