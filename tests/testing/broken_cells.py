"""Cells that break one promise each, for the tests of ``check_cell``."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import registry


class Elman(nn.Cell):
    """A sound cell; the others change one thing about it."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight = nn.Linear(input_size + hidden_size, hidden_size, dtype=dtype)

    def step(self, x, h):
        h = tr.tanh(self.new(x, h))
        return h, h

    def new(self, x, h):
        return self.weight(tr.concat([x, h], axis=-1))


class LogOfNegative(Elman):
    def new(self, x, h):
        return tr.log(h - 1.5) + super().new(x, h)


class GrowingState(Elman):
    def step(self, x, h):
        return h, tr.concat([h, x], axis=-1)


class Counter(Elman):
    """Counts its steps in an attribute."""

    count = 0

    def step(self, x, h):
        self.count += 1
        h = tr.tanh(self.new(x, h)) * (1.0 / self.count)
        return h, h


class Overwriting(Elman):
    def step(self, x, h):
        x.data[...] *= 0.5
        return super().step(x, h)


class NoiseInEvaluation(Elman):
    def step(self, x, h):
        h = tr.tanh(self.new(x, h)) + tr.randn(h.shape, dtype=h.dtype) * 0.1
        return h, h


def operation(name, function, rule, code):
    """An elementwise operation that is not kept in the registry, as tests look at everything in there."""
    function.__name__ = name
    made = tr.primitive(vjps=[rule], saves=(), lowering=tr.Lowering("elementwise", code))(function)
    del registry[name]
    return made


class WrongRule(Elman):
    """The rule of its operation on the inputs is wrong."""

    double = staticmethod(operation("double", lambda x: x + x, lambda g, y, x: 3 * g, "{0} + {0}"))

    def new(self, x, h):
        return super().new(self.double(x), h)


class DetachedState(Elman):
    def new(self, x, h):
        return super().new(x, h.detach())


class FrozenCopy(Elman):
    """Computes with values that were taken from its parameter when it was made."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.scale = nn.Parameter(np.full(hidden_size, 0.7, dtype or np.float32))

    def step(self, x, h):
        h = tr.tanh(self.new(x, h)) * self.scale.numpy()
        return h, h


class BatchMean(Elman):
    """Takes the mean over the batch, as batch normalisation does."""

    def new(self, x, h):
        a = super().new(x, h)
        return a - 0.5 * a.mean(axis=0, keepdims=True)


class LeakingRows(Elman):
    """Each row of the state goes on in the next row."""

    def new(self, x, h):
        return super().new(x, h[list(range(1, h.shape[0])) + [0]])


class RowNumbers(Elman):
    """Row b is scaled by b + 1."""

    def begin_sequence(self, batch_size):
        self.numbers = tr.tensor(np.arange(1.0, batch_size + 1)[:, None], dtype=self.dtype)

    def step(self, x, h):
        h = tr.tanh(self.new(x, h) * self.numbers)
        return h, h


class Clock(Elman):
    """Counts the steps since the sequence began."""

    def begin_sequence(self, batch_size):
        self.time = 0

    def step(self, x, h):
        self.time += 1
        h = tr.tanh(self.new(x, h)) * (1.0 / self.time)
        return h, h


class Sequences(Elman):
    """Counts its sequences."""

    count = 0

    def begin_sequence(self, batch_size):
        self.count += 1

    def step(self, x, h):
        h = tr.tanh(self.new(x, h)) * (1.0 + 0.1 * self.count)
        return h, h


class WrongLowering(Elman):
    """The compiled form of its operation is another function."""

    half = staticmethod(operation("half", lambda x: 0.5 * x, lambda g, y, x: 0.5 * g, "0.25 * {0}"))

    def new(self, x, h):
        return self.half(super().new(x, h))


class FixedFloat64(Elman):
    """Has a constant that stays in float64."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.scale = tr.tensor(np.full(hidden_size, 0.7))

    def new(self, x, h):
        return super().new(x, h) * self.scale


class FixedFloat32(FixedFloat64):
    """Has a constant that stays in float32."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.scale = self.scale.astype("float32")


class Unregistered(Elman):
    """Trains a tensor that is no parameter."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.gains = {"h": tr.tensor(np.full(hidden_size, 0.7), requires_grad=True)}

    def new(self, x, h):
        return super().new(x, h) * self.gains["h"].astype(h.dtype)


class Hardwired(Elman):
    """Fails for batches of one row."""

    def step(self, x, h):
        if x.shape[0] == 1:
            raise ValueError("no batch of one")
        return super().step(x, h)


class Reservoir(Elman):
    """Draws a constant that is not saved."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.fixed = np.random.default_rng().standard_normal((hidden_size, hidden_size))

    def new(self, x, h):
        return super().new(x, h) + h @ self.fixed


class SharedClock(Elman):
    """Counts the steps in its state, and all rows go by the clock that is furthest on."""

    def initial_state(self, batch_size):
        return {"h": super().initial_state(batch_size), "steps": tr.zeros((batch_size,), dtype="int64")}

    def step(self, x, state):
        steps = state["steps"] + 1
        scale = 1.0 / steps.max(axis=0, keepdims=True).astype(x.dtype)
        h = tr.tanh(self.new(x, state["h"])) * scale[:, None]
        return h, {"h": h, "steps": steps}
