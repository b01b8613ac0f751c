"""Random draws from one stream of uniform numbers, also inside of steps: ``tr.random``.

Every draw is maths on uniform numbers of the package's generator (:func:`tinygrad_rnn.seed`). In a step that is
compiled, those of all steps are drawn before the loop, in the order in which the tape draws them: so both give the same
numbers, whatever the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config
from ..core import Tensor, check_dtype, is_float
from ..core.aliases import DTypeLike, Shape, Value
from ..errors import DTypeError
from .arguments import operand
from .elementwise import cos, log, sqrt
from .reduce import argmax


def between_0_and_1(numbers: np.ndarray) -> np.ndarray:
    """Numbers of a generator, from 0 on and below 1, as such that are never 0."""
    return numbers * np.float32(1 - 2**-24) + np.float32(2**-25)


def uniform(shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike | None = None) -> Any:
    """Numbers between `low` and `high`, neither of which is drawn.

    Parameters
    ----------
    shape : tuple of int
        In a step, (B, ...): it begins with that of an input.
    dtype : float32 or float64, optional
        In a step it has to be that of the cell.
    """
    kind = config.get_default_dtype() if dtype is None else check_dtype(dtype)
    if not is_float(kind):
        raise DTypeError(f"uniform: dtype: got {kind}, wanted float32 or float64")
    tracer, shape = config.grad_mode.tracer, tuple(shape) if not isinstance(shape, int) else (shape,)
    if tracer is not None:
        found = tracer.draw_uniform(shape, kind)
    else:
        numbers = config.generator().random(shape, dtype=np.float32)
        found = Tensor(np.asarray(between_0_and_1(numbers)).astype(kind))
    return found if (low, high) == (0.0, 1.0) else low + (high - low) * found


def normal(shape: Shape, mean: Value = 0.0, std: Value = 1.0, dtype: DTypeLike | None = None) -> Any:
    """Normal numbers; gradients flow to `mean` and `std` (Box and Muller 1958).

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> class Noisy(nn.Cell):
    ...     input_size = hidden_size = 2
    ...     def step(self, x, h):
    ...         h = tr.tanh(x + h) + 0.1 * tr.random.normal(h.shape)
    ...         return h, h
    >>> x = np.zeros((3, 4, 2), np.float32)
    >>> for mode in ("compiled", "eager"):
    ...     tr.seed(1)
    ...     print(round(float(nn.Recurrent(Noisy(), mode=mode)(x)[0].mean()), 4))
    -0.0108
    -0.0108
    """
    radius, angle = uniform(shape, dtype=dtype), uniform(shape, dtype=dtype)
    return mean + std * (sqrt(-2.0 * log(radius)) * cos(2.0 * math.pi * angle))


def gumbel(shape: Shape, dtype: DTypeLike | None = None) -> Any:
    """Gumbel numbers: where the sum of logits and these is largest is a draw from their softmax."""
    return -log(-log(uniform(shape, dtype=dtype)))


def bernoulli(p: Value) -> Any:
    """True with probability `p` of each element; for a gradient see straight_through()."""
    p = operand(p, "bernoulli")
    return uniform(p.shape, dtype=p.dtype) < p


def categorical(logits: Value, axis: int = -1) -> Any:
    """Integers drawn from the softmax of `logits` along an axis, without a gradient."""
    logits = operand(logits, "categorical")
    return argmax(logits + gumbel(logits.shape, dtype=logits.dtype), axis=axis)


def straight_through(hard: Value, soft: Value) -> Any:
    """`hard`, with the gradient of `soft` (Bengio, Leonard and Courville 2013).

    Parameters
    ----------
    hard : Tensor
        What is drawn, such as ``bernoulli(p)``, in the dtype of `soft` or cast to it.
    soft : Tensor
        What it is drawn from, such as `p`.
    """
    soft, hard = operand(soft, "straight_through"), operand(hard, "straight_through")
    return hard.astype(soft.dtype) + (soft - soft.detach())


__all__ = ["bernoulli", "categorical", "gumbel", "normal", "straight_through", "uniform"]
