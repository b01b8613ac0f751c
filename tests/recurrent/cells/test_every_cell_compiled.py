"""Every cell of the table that compiles: the loop gives what the tape gives, also in pieces and step by step."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tests.compiler.agreement import agree
from tinygrad_rnn import recurrent
from tinygrad_rnn.core import tree
from tinygrad_rnn.recurrent.streaming.stepper import Stepper
from tinygrad_rnn.testing.cell_table import CELLS

from ..sequences import draw, draw_state, leaves

# packing has corners: one unit, one input, no multiple of a vector
SIZES = [(1, 1), (1, 4), (3, 1), (9, 17)]

# variants of others, or of cells in tests/compiler: each compiles for some seconds
LONG = {
    "rnn-relu", "rnn-sigmoid-nobias", "lstm-nobias", "gru-before-nobias", "layernorm-gru-nobias", "stateless",
    "own-mgu", "own-peephole", "learned-start", "slstm-heads", "mlstm-heads", "linear-attention-heads",
    "deltanet-heads", "gated-deltanet-heads", "s6",
}  # fmt: skip
every_cell = pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] * (c.name in LONG)) for c in CELLS if c.compiled]
)


def make(case, I=3, H=4):
    cell = case.make(I, H, np.float64)
    rng = np.random.default_rng(0)
    for p in cell.parameters():  # all of them count: none may stay zero
        p.data += 0.3 * rng.normal(size=p.shape)
        p.touch()
    return cell


@pytest.mark.sampled(20)
@every_cell
def test_compiled_equals_eager(case):
    for I, H in SIZES:
        cell = make(case, I, H)
        for name, p in cell.named_parameters():
            assert p.data.any(), name
        # a quotient of states, which are drawn at random here, magnifies roundings
        tol = 1e-11 if case.name.startswith("slstm") else None
        agree(cell, draw(case.shapes(4, 3, I, H)), draw_state(cell, 3), tol)
        agree(cell, draw(case.shapes(1, 1, I, H)), draw_state(cell, 1), tol)
    agree(cell, draw(case.shapes(4, 3, I, H)), draw_state(cell, 3), tol, lengths=np.array([2, 0, 4]))


@pytest.mark.sampled(18)
@every_cell
def test_pieces_and_single_steps_equal_the_whole(case):
    cell = make(case)
    xs = draw(case.shapes(5, 2, 3, 4), requires_grad=False)
    with tr.no_grad():
        ys, final = recurrent.scan(cell, xs, mode="compiled")
        first, state = recurrent.scan(cell, tree.map(lambda x: x[:2], xs), mode="compiled")
        second, state = recurrent.scan(cell, tree.map(lambda x: x[2:], xs), state, mode="compiled")
    whole = [y.numpy() for y in leaves(ys, final)]
    pieces = leaves(tree.map(lambda a, b: tr.concat([a, b]), first, second), state)
    step = Stepper([cell], 2, tree.map(lambda x: x[0], xs), mode="compiled")
    streamed = [leaves(step(tree.map(lambda x, t=t: x[t], xs))) for t in range(5)]
    streamed = [np.stack([np.asarray(y) for y in column]) for column in zip(*streamed)] + leaves(step.state)
    for a, b, c in zip(whole, pieces, streamed, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
        np.testing.assert_array_equal(a, np.asarray(c))
