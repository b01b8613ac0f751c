"""A cell that runs any function as its step, and the question whether both roads give the same."""

import warnings

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent import scan

from .agreement import close


class Cell(nn.Cell):
    """Runs the function that it is given as its step."""

    input_size = hidden_size = 2

    def __init__(self, function=None, **attributes):
        self.function = function
        self.w = nn.Parameter(np.array([1.0, 2.0], np.float32))
        for name, value in attributes.items():
            setattr(self, name, value)

    def step(self, x, h):
        y = self.function(self, x, h)
        return y, 0.5 * h + y


class Slotted:
    """An object without a dict."""

    __slots__ = ("scale", "vector")

    def __init__(self, vector):
        self.scale, self.vector = 2.0, vector


def sequence(batch, time=3, width=2):
    return np.random.default_rng(batch).uniform(-1, 1, (time, batch, width)).astype(np.float32)


def run(cell, mode, batch):
    """Outputs, final state and gradients of the parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cell.zero_grad()
        x = tr.tensor(sequence(batch, width=cell.input_size), requires_grad=True)
        y, h = scan(cell, x, mode=mode)
        if y.requires_grad:
            ((y * y).sum() + h.sum()).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quiet, _ = scan(cell, x, mode=mode) if mode else (y, h)
        found = [y, h, quiet, x.grad, *[p.grad for p in cell.parameters()]]
        return [None if t is None else t.numpy().copy() for t in found]


def agree(cell, *batches):
    for batch in batches:
        for _ in range(2):  # the second call may take a shorter way
            for a, b in zip(run(cell, "auto", batch), run(cell, "eager", batch), strict=True):
                close(a, b, 3e-5)


def compiles(cell):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(cell, sequence(3, width=cell.input_size), mode="compiled")


def changes_show(cell, change):
    """Compiled layer and stepper give what eager ones give, before and after a change that shows; and compile."""
    layers = [nn.Recurrent(cell, mode=mode) for mode in ("auto", "eager")]
    x = sequence(2)

    def both():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one, other = [(layer(x)[0].numpy(), np.asarray(step(x[0]))) for layer, step in zip(layers, steppers)]
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, rtol=1e-5)
        return one

    steppers = [layer.stepper(2) for layer in layers]
    before = both()
    both()
    change()
    for _ in range(2):
        after = both()
        assert not any(np.array_equal(a, b) for a, b in zip(before, after)), "the change shows"
