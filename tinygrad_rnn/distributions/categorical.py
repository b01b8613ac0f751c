"""One of several classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config, ops
from ..core import Tensor
from ..core.aliases import Shape, Value
from ..errors import DTypeError, ShapeError
from ..ops.arguments import operand
from ..ops.bounds import require_between
from .distribution import Distribution, broadcast_shape, check_argument, check_values, grad_mode, one_of_two, weighted


class Categorical(Distribution):
    """Classes 0 to K - 1, by their probabilities or logits along the last axis.

    Parameters
    ----------
    probs : Tensor or array, (..., K), optional
        From 0 on; they are divided by their sum.
    logits : Tensor or array, (..., K), optional
        Logarithms of probabilities, up to a constant. One of both is wanted.
    validate_args : bool
        Whether values are checked.

    Examples
    --------
    A step of a policy gradient (Williams 1992):

    >>> import numpy as np, tinygrad_rnn as tr
    >>> tr.seed(0)
    >>> logits = tr.tensor(np.zeros((5, 3)), requires_grad=True)
    >>> policy = tr.distributions.Categorical(logits=logits)
    >>> action = policy.sample()
    >>> loss = -(policy.log_prob(action) * np.ones(5)).mean() - 0.01 * policy.entropy().mean()
    >>> loss.backward()
    >>> action.shape, logits.grad.shape
    ((5,), (5, 3))
    """

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool = True) -> None:
        name, given = one_of_two("Categorical", probs, logits, validate_args)
        self.validate_args = bool(validate_args)
        if not given.shape or not given.shape[-1]:
            raise ShapeError(f"Categorical: {name}: got shape {tuple(given.shape)}, wanted (..., K)")
        if self.validate_args:
            if name == "probs":
                good = lambda: np.isfinite(given.data).all(-1) & (given.data >= 0).all(-1) & (given.data.sum(-1) > 0)
                text = "Categorical: probs: got rows that are no probabilities, wanted numbers from 0 on"
                check_values(good, text)
                given = require_between(given, 0.0, math.inf, text)
            else:
                good = lambda: np.isfinite(given.data.max(-1))
                check_values(good, "Categorical: logits: got NaN or infinity, wanted a finite largest one")
        if name == "probs":
            self.probs = given / given.sum(-1, keepdims=True)
            self.logits = _log(self.probs)
        else:
            self.logits = ops.log_softmax(given, -1)
            self.probs = ops.softmax(given, -1)
        self.batch_shape, self.classes = tuple(given.shape[:-1]), given.shape[-1]

    @property
    def mode(self) -> Tensor:
        """The most probable class."""
        return ops.argmax(self.probs, -1)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Classes, integers of `sample_shape` + `batch_shape`."""
        shape = self._shape(sample_shape)
        bounds = np.cumsum(self.probs.data, -1, dtype=np.float64)
        bounds /= bounds[..., -1:]
        numbers = config.generator().random((*shape, 1))
        # the first class whose bound lies above: one of probability 0 never does
        return Tensor(np.argmax(bounds > numbers, -1))

    def log_prob(self, value: Value) -> Tensor:
        """The logarithm of the probability of the classes `value`, which broadcast with the batch."""
        value = operand(value, "Categorical: value")
        if value.dtype.kind == "f" and grad_mode.tracer is None and (np.mod(value, 1) == 0).all():
            value = ops.astype(value, np.int64)
        if value.dtype.kind not in "iu":
            raise DTypeError(f"Categorical: value: got {value.dtype}, wanted classes")
        shape = broadcast_shape("Categorical: value", tuple(value.shape), self.batch_shape)
        check_argument(value, self._check_classes)
        if grad_mode.tracer is None:
            picked = np.broadcast_to(np.asarray(value), shape)[..., None]
            logits = ops.broadcast_to(self.logits, (*shape, self.classes))
            return ops.take_along_axis(logits, picked, -1)[..., 0]
        chosen = ops.equal(ops.expand_dims(value, -1), np.arange(self.classes))
        return ops.where(chosen, self.logits, 0.0).sum(-1)

    def _check_classes(self, value: np.ndarray) -> None:
        if value.size and not 0 <= value.min() <= value.max() < self.classes:
            worst = value.min() if value.min() < 0 else value.max()
            raise IndexError(f"Categorical: value: got {worst}, wanted classes from 0 to {self.classes - 1}")

    def entropy(self) -> Tensor:
        """``-sum of p * log(p)``; classes of probability 0 count for nothing."""
        return -weighted(self.probs, self.logits).sum(-1)


def _log(p: Any) -> Any:
    """The logarithm; minus infinity, without a gradient, at 0."""
    none = p == 0
    return ops.where(none, -np.inf, ops.log(ops.where(none, 1.0, p)))
