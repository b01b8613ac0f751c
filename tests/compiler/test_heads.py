"""Products for each head: what they cost, what they leave apart, and threads that share them."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from .ranked_cells import RankedCell, arguments
from .test_threads import COUNTS, inputs, results, same


def by_heads(c, x, h):
    h = tr.tanh(tr.einsum("bhk,hkn->bhn", h, c.w) + x.reshape((-1, 3, 8)))
    return h, [h]


def layer(mode="compiled"):
    return nn.Recurrent(RankedCell(by_heads, [(3, 8)], {"w": (3, 8, 8)}), mode=mode)


def test_no_product_is_larger_than_its_heads():
    x = tr.tensor(np.ones((2, 4, 24)), requires_grad=True)
    report = layer().explain(x).cells[0].step
    assert [loop.matrix_flops for loop in report.loops] == [2 * 3 * 8 * 8] * 3
    assert report.after_flops == 2 * 3 * 8 * 8
    text = str(report)
    assert "state[0] @ heads(" in text
    assert "3 of (8, T B) @ (T B, 8)" in text


def test_infinity_stays_in_its_head():
    x, h = np.ones((2, 4, 24)), np.ones((4, 3, 8))
    h[:, 1, 2] = np.inf
    with np.errstate(invalid="ignore"):
        wanted, found = (layer(mode)(x, [tr.tensor(h)])[0].numpy() for mode in ("eager", "compiled"))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.isfinite(found[:, :, [0, 2]]).all()


@pytest.mark.slow
@pytest.mark.sampled(6)
@pytest.mark.parametrize("B", [1, 7])
def test_the_same_bits_for_any_number_of_threads(shared, B):
    tr.seed(0)
    found = nn.Recurrent(nn.SLSTMCell(5, 57, heads=3), mode="compiled")
    cell, x, _ = arguments("one_matrix_for_many_rows", 3, B)
    for made, given in ((found, inputs(4, B, 5)), (nn.Recurrent(cell, mode="compiled"), x.numpy())):
        tr.set_num_threads(1)
        wanted = results(made, given)
        for n in COUNTS:
            tr.set_num_threads(n)
            same(results(made, given), wanted)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("make", [lambda: nn.MLSTMCell(4, 8, heads=2), lambda: nn.S6Cell(4, 8)])
def test_one_sweep_over_a_matrix(make):
    """Both ways, a step goes over the matrix of its state once."""
    x = tr.tensor(np.ones((2, 3, 4), np.float32), requires_grad=True)
    report = nn.Recurrent(make(), mode="compiled").explain(x).cells[0].step
    for layout in report.executable.training[:2]:
        width = max(s.width for s in layout.schedule.live.values())
        sweeps = [level for level, values in layout.emitter.loops if any(s.width == width for s in values)]
        assert len(sweeps) == 1
