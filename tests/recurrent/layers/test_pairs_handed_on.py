"""What messages of layers say where a pair is handed on."""

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError
from tinygrad_rnn.recurrent import scan

MODES = ["eager", "auto", "compiled"]


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
