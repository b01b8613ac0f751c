"""What messages of layers say where an axis is missing, or a pair is handed on."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.recurrent import scan

MODES = ["eager", "auto", "compiled"]


class Spans(nn.Cell):
    """Takes the time since the last step, as continuous-time networks do."""

    def __init__(self):
        self.hidden_size, self.lin = 3, nn.Linear(5, 3)

    def step(self, x, h):
        v, dt = x
        h = h + dt * tr.tanh(self.lin(tr.concat([v, h], axis=-1)))
        return h, h


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_time_spans_need_an_axis_of_features(mode, batch):
    """Where there are as many rows as units, one row's span would have been that of a unit of all rows."""
    layer = nn.Recurrent(Spans(), mode)
    v, dt = np.ones((4, batch, 2), np.float32), np.ones((4, batch), np.float32)
    with pytest.raises(
        ShapeError, match=rf"Spans: xs: got shape \(4, {batch}\), wanted an axis of features, \(T, B, 1\)"
    ):
        layer((v, dt))
    with pytest.raises(ShapeError, match=r"wanted an axis of features, \(B, T, 1\)"):
        nn.Recurrent(Spans(), mode, batch_first=True)((v.swapaxes(0, 1), dt.T))
    assert layer((v, dt[..., None]))[0].shape == (4, batch, 3)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_a_pair_that_is_handed_on(make):
    words = (
        rf"Sequential: {make.__name__} returned a tuple of 2, which Linear does not take; of a recurrent layer's pair"
    )
    with pytest.raises(DTypeError, match=words):
        nn.Sequential(make(3, 4), nn.Linear(4, 1))(np.ones((5, 2, 3), np.float32))

    class First(nn.Module):
        def forward(self, pair):
            return pair[0]

    model = nn.Sequential(make(3, 4), First(), nn.Linear(4, 1))
    assert model(np.ones((5, 2, 3), np.float32)).shape == (5, 2, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_of_any_precision_are_cast(mode, dtype):
    layer = nn.GRU(3, 4, mode=mode, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float16)
    wanted = layer(x.astype(dtype))[0].numpy()
    for kind in (np.float16, np.longdouble):
        np.testing.assert_array_equal(layer(x.astype(kind))[0].numpy(), wanted)
        np.testing.assert_array_equal(scan(layer._cells[0], x.astype(kind), mode=mode)[0].numpy(), wanted)
    np.testing.assert_array_equal(layer(x.astype(dtype).tolist())[0].numpy(), wanted)
    np.testing.assert_array_equal(scan(layer._cells[0], x.astype(dtype).tolist(), mode=mode)[0].numpy(), wanted)
