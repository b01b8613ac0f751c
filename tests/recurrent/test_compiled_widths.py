"""Built-in cells at widths where packing has corners: one unit, one input, no multiple of a vector."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent import nest, scan

CELLS = {
    "rnn": nn.RNNCell,
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "gru-before": lambda *sizes, **options: nn.GRUCell(*sizes, reset_after=False, **options),
}


@pytest.mark.parametrize("sizes", [(1, 1), (1, 4), (3, 1), (9, 17)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_compiled_equals_eager(name, sizes, rng):
    cell = CELLS[name](*sizes, dtype="float64")
    for p in cell.parameters():  # both biases count: none may be zero
        p.data[...] = rng.normal(size=p.shape)
    x = tr.tensor(rng.normal(size=(4, 3, sizes[0])), requires_grad=True)
    weights = rng.normal(size=(4, 3, sizes[1]))
    results = []
    for mode in ("eager", "compiled"):
        ys, state = scan(cell, x, mode=mode)
        loss = (ys * weights).sum() + sum((s * s).sum() for s in nest.flatten(state)[0])
        grads = tr.grad(loss, [x, *cell.parameters()])
        results.append([ys.numpy(), *(g.numpy() for g in grads)])
    for eager, compiled in zip(*results):
        np.testing.assert_allclose(compiled, eager, rtol=1e-12, atol=1e-12)
