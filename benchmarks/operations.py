"""What a step of a cell costs in floating-point operations, counted by running it on counters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.testing.step_cells import StepCell

from .cases import Shape


class Work(NamedTuple):
    """Floating-point operations of a whole sequence; a fused multiply-add is two.

    Attributes
    ----------
    products : int
        Of the products of matrices.
    total : int
        With the elementwise operations; tanh or a sigmoid counts as `ACTIVATION`.
    """

    products: int
    total: int


ACTIVATION = 20  # a range reduction, a polynomial of degree six, a division


class Counter:
    """Stands for an array while a step runs, and counts what the step does with it."""

    def __init__(self, shape: tuple[int, ...], tally: dict[str, int]):
        self.shape, self.tally = shape, tally

    def _elementwise(self, *others: Any, cost: int = 1) -> Counter:
        shape = np.broadcast_shapes(self.shape, *(getattr(o, "shape", ()) for o in others))
        if len(shape) == 2:  # what is done to weights alone is done once
            self.tally["elementwise"] += cost * int(np.prod(shape))
        return Counter(shape, self.tally)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _elementwise

    def __matmul__(self, w: Counter) -> Counter:
        self.tally["products"] += 2 * self.shape[0] * int(np.prod(w.shape))
        return Counter((self.shape[0], w.shape[1]), self.tally)

    def __getitem__(self, key: Any) -> Counter:
        return Counter(np.broadcast_to(np.float32(0), self.shape)[key].shape, self.tally)

    def mean(self, axis: int) -> Counter:
        self._elementwise()
        return Counter(self.shape[:axis], self.tally)


class _Counting:
    """Counts as `lib` of a step."""

    tanh = sigmoid = staticmethod(lambda a: a._elementwise(cost=ACTIVATION))
    relu = sqrt = staticmethod(lambda a: a._elementwise())


def work(custom: StepCell, shape: Shape, train: bool) -> Work:
    """Count the operations of a sequence.

    Training adds, for each product, one of the same size for the gradient of its matrix and, unless the other
    factor is the sequence's input, one for that of its other factor; elementwise operations count three times.
    """
    tally = {"products": 0, "elementwise": 0}

    class Parameters:
        def __getattr__(self, name: str) -> Counter:
            return Counter(weights[name], tally)

    weights = custom.weights(shape.I, shape.H)
    states = tuple(Counter((shape.B, shape.H), tally) for _ in range(custom.n_states))
    custom.step(
        _Counting, Parameters(), Counter((shape.B, shape.I), tally), states if custom.n_states > 1 else states[0]
    )
    products, elementwise = tally["products"], tally["elementwise"]
    if train:
        of_input = sum(2 * shape.B * int(np.prod(w)) for k, w in weights.items() if len(w) == 2 and k[0] == "w")
        products, elementwise = 3 * products - of_input, 3 * elementwise
    return Work(shape.T * products, shape.T * (products + elementwise))
