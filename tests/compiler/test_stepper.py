"""One step per call gives, to the last bit, what one call over all steps gives."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.streaming.stepper import Stepper

from ..recurrent.scan.test_static_attributes import Parts, drawn_map
from .agreement import leaves_of
from .corner_cells import BY_NAME, CASES

FEW = ["peephole_lstm", "delayed", "several_inputs", "masked_counter", "swapped", "variational_dropout"]
some = [pytest.param(c, id=c.name, marks=() if c.name in FEW else pytest.mark.slow) for c in CASES]


def stepper(case, cell, batch, mode="compiled"):
    example = tree.map(lambda x: x[0], case.sequences(1, batch, requires_grad=False))
    return Stepper([cell], batch, example, mode=mode)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", some)
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_equal_the_loop(case, batch):
    cell, xs = case.cell(), case.sequences(5, batch, requires_grad=False)
    step = stepper(case, cell, batch)
    tr.seed(0)
    step.reset()
    tr.seed(0)
    with tr.no_grad():
        ys, final = scan(cell, xs, mode="compiled")
    for t in range(5):
        y = step(tree.map(lambda x, t=t: x[t], xs))
        for a, b in zip(leaves_of(y), leaves_of(ys), strict=True):
            np.testing.assert_array_equal(np.asarray(a), b.numpy()[t])
    for a, b in zip(leaves_of(step.state), leaves_of(final), strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_changed_parameters_are_taken_over_on_request():
    case = BY_NAME["peephole_lstm"]
    cell = case.cell()
    step, x = stepper(case, cell, 2), case.sequences(1, 2).numpy()[0]
    before = step(x)
    with tr.no_grad():
        cell.w.copy_(cell.w.data * 2)
    step.reset()
    np.testing.assert_array_equal(step(x), scan(cell, x[None])[0].numpy()[0])
    assert not np.array_equal(before, step(x))
    cell.w.data = np.zeros((7, 20))
    with pytest.raises(ShapeError, match="new stepper"):
        step.refresh()


def test_a_replaced_part_is_taken_over_on_request():
    cell, xs = Parts(), np.random.default_rng(0).normal(size=(4, 2, 3))
    step = Stepper([cell], 2)
    half, state = step(xs[0]), step.state
    np.testing.assert_array_equal(half, scan(cell, xs[:1])[0].numpy()[0])
    cell.map = drawn_map(1)
    step.refresh()
    np.testing.assert_array_equal(step(xs[1]), scan(cell, xs[1:2], tr.tensor(state))[0].numpy()[0])


MANY = """
import numpy as np
import tinygrad_rnn as tr
from tinygrad_rnn import nn

class Many(nn.Cell):
    input_size = 3

    def __init__(self):
        self.linear = nn.Linear(3, 2)

    def initial_state(self, batch_size):
        return tuple(tr.zeros((batch_size, 2)) for _ in range(20))

    def step(self, x, state):
        z = self.linear(x)
        new = tuple(tr.tanh(z * i / 9 + s / 2) for i, s in enumerate(state))
        return tuple(s * 2 for s in new), new

layer, x = nn.Recurrent(Many(), mode="compiled"), np.ones((2, 3), np.float32)
with tr.no_grad():
    wanted, _ = layer(x[None])
np.testing.assert_array_equal(np.stack(layer.stepper(2)(x)), np.stack([y.numpy()[0] for y in wanted]))
"""


@pytest.mark.slow
def test_a_cell_with_many_arrays():
    """What a step is prepared from is held as long as it is read: freed memory is overwritten here at once."""
    environment = os.environ | {"MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", MANY], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_several_steppers_of_one_cell():
    """Each has its own state."""
    case = BY_NAME["peephole_lstm"]
    cell, x = case.cell(), case.sequences(3, 2).numpy()
    one, two = stepper(case, cell, 2), stepper(case, cell, 2)
    found = [[one(x[t]), two(x[2 - t])] for t in range(3)]
    for i, order in enumerate((x, x[::-1])):
        wanted = scan(cell, order)[0].numpy()
        np.testing.assert_array_equal(np.stack([f[i] for f in found]), wanted)


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize("name", ["peephole_lstm", "delayed"])
def test_rows_that_begin_anew(mode, name):
    """As the resets of a layer."""
    case, (T, B) = BY_NAME[name], (6, 4)
    cell, xs = case.cell(), case.sequences(T, B, requires_grad=False)
    resets = np.random.default_rng(0).random((T, B)) < 0.4
    step = stepper(case, cell, B, mode)
    with tr.no_grad():
        ys, final = scan(cell, xs, mode=mode, resets=resets)
    for t in range(T):
        y = step(tree.map(lambda x, t=t: x[t], xs), resets[t])
        for a, b in zip(leaves_of(y), leaves_of(ys), strict=True):
            np.testing.assert_allclose(np.asarray(a), b.numpy()[t], rtol=1e-14, atol=1e-15)
    for a, b in zip(leaves_of(step.state), leaves_of(final), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-14, atol=1e-15)
    x = tree.map(lambda x: x[0], xs)
    with pytest.raises(ShapeError, match=r"resets: got shape \(3,\), wanted \(4,\), which is \(B,\)"):
        step(x, [True] * 3)
    with pytest.raises(DTypeError, match="resets: got int64, wanted bool"):
        step(x, [0, 1, 0, 1])
