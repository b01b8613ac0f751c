"""Arrays of the caller that he writes to later: neither states nor gradients are those of what is there then."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

MODES = ["eager", "auto"]
X = np.random.default_rng(0).normal(size=(6, 2, 3))


class Last(nn.Cell):
    """States that are the input, a slice of it, and what they were before."""

    def __init__(self):
        self.input_size = 3

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 3)), tr.zeros((batch_size, 2)), tr.zeros((batch_size, 3))

    def step(self, x, state):
        a, b, c = state
        return tr.concat([x - a, b, c], axis=-1), (x, x[:, :2], c)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("size", [1, 2])
def test_states_of_a_stream_through_one_buffer(mode, as_tensor, grad, size):
    layer = nn.Recurrent(Last(), mode)
    x = X.astype(np.float32)
    whole = layer(x)[0].numpy()
    buffer = np.zeros((size, 2, 3), np.float32)
    given = tr.tensor(buffer) if as_tensor else buffer
    state, found = None, []
    for t in range(0, 6, size):
        with tr.no_grad():
            given[...] = x[t : t + size]
        with tr.set_grad_enabled(grad):
            ys, state = layer(given, state)
        found.append(ys.numpy().copy())
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_that_is_handed_on_is_the_callers_own(mode):
    layer = nn.Recurrent(Last(), mode)
    state = tuple(tr.tensor(np.ones((2, n), np.float32)) for n in (3, 2, 3))
    _, after = layer(X[:1].astype(np.float32), state)
    with tr.no_grad():
        state[2].fill_(9.0)
    assert (after[2].numpy() == 1).all()


LAYERS = {
    "gru": lambda mode: nn.GRU(3, 4, mode=mode, dtype="float64"),
    "lstm, two layers": lambda mode: nn.LSTM(3, 4, num_layers=2, mode=mode, dtype="float64"),
    "checkpoints": lambda mode: nn.GRU(3, 4, mode=mode, dtype="float64", checkpoint_every=1),
    "batch first": lambda mode: nn.GRU(3, 4, mode=mode, dtype="float64", batch_first=True),
    "cell": lambda mode: nn.Recurrent(nn.MGUCell(3, 4, dtype="float64"), mode),
    "stack": lambda mode: nn.Recurrent(nn.Stacked([nn.GRUCell(3, 4, dtype="float64")]), mode),
}


@pytest.mark.sampled(9)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, [2, 1]])
def test_gradients_through_chunks_in_one_buffer(name, mode, lengths):
    layer = LAYERS[name](mode)
    x = X.swapaxes(0, 1).copy() if name == "batch first" else X
    cut = (lambda t: x[:, t : t + 2]) if name == "batch first" else lambda t: x[t : t + 2]

    def gradients(buffer):
        layer.zero_grad()
        state, total = None, 0.0
        for t in (0, 2, 4):
            chunk = cut(t).copy()
            if buffer is not None:
                buffer[...] = chunk
                chunk = buffer
            ys, state = layer(chunk, state, lengths=lengths)
            total = total + (ys * ys).sum()
        total.backward()
        return [p.grad.numpy().copy() for p in layer.parameters()]

    for a, b in zip(gradients(np.zeros_like(cut(0))), gradients(None)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gru", "cell", "checkpoints"])
def test_initial_states_and_resets_given_as_arrays(name, mode):
    layer = LAYERS[name](mode)
    shape = (2, 4) if name == "cell" else (1, 2, 4)

    def gradients(spoil):
        layer.zero_grad()
        state = np.full(shape, 0.3)
        lengths, mask, resets = np.array([6, 4]), np.ones((6, 2), bool), np.zeros((6, 2), bool)
        mask[2], resets[3] = False, True
        ys, _ = layer(X, state, lengths=lengths, mask=mask, resets=resets)
        if spoil:
            state[...], lengths[...], mask[...], resets[...] = 7.0, 1, True, False
        (ys * ys).sum().backward()
        return [p.grad.numpy().copy() for p in layer.parameters()]

    for a, b in zip(gradients(True), gradients(False)):
        np.testing.assert_array_equal(a, b)
