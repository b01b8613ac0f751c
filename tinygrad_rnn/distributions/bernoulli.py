"""Yes or no."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import config, ops
from ..core import Tensor
from ..core.aliases import Shape, Value
from ..ops.arguments import operand
from ..ops.bounds import require_between
from .categorical import _log
from .distribution import Distribution, broadcast_shape, check_argument, check_values, one_of_two, weighted


class Bernoulli(Distribution):
    """1 with a probability, else 0.

    Parameters
    ----------
    probs : Tensor or array, optional
        Between 0 and 1.
    logits : Tensor or array, optional
        ``log(p / (1 - p))``. One of both is wanted.
    validate_args : bool
        Whether values are checked.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> coin = tr.distributions.Bernoulli(probs=0.25)
    >>> round(coin.log_prob(1.0).item(), 4), round(coin.entropy().item(), 4)
    (-1.3863, 0.5623)
    """

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool = True) -> None:
        name, given = one_of_two("Bernoulli", probs, logits, validate_args)
        self.validate_args = bool(validate_args)
        if name == "probs":
            if self.validate_args:
                text = "Bernoulli: probs: got numbers outside [0, 1], wanted probabilities"
                given = require_between(given, 0.0, 1.0, text)
            self.probs = given
            self._yes, self._no = _log(given), _log(1 - given)
            self.logits = self._yes - self._no
        else:
            if self.validate_args:
                check_values(lambda: ~np.isnan(given.data), "Bernoulli: logits: got NaN, wanted numbers")
            self.logits, self.probs = given, ops.sigmoid(given)
            self._yes, self._no = ops.log_sigmoid(given), ops.log_sigmoid(-given)
        self.batch_shape = tuple(given.shape)

    @property
    def mean(self) -> Tensor:
        """The probability of 1."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """``p * (1 - p)``."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Zeros and ones, floats of `sample_shape` + `batch_shape`."""
        shape, p = self._shape(sample_shape), self.probs.data
        return Tensor(np.asarray(config.generator().random(shape) < p, p.dtype))

    def log_prob(self, value: Value) -> Tensor:
        """The logarithm of the probability of the zeros and ones `value`, which broadcast with the batch."""
        value = operand(value, "Bernoulli: value")
        broadcast_shape("Bernoulli: value", tuple(value.shape), self.batch_shape)
        if self.validate_args:
            check_argument(value, _zeros_and_ones)
        value = ops.astype(value, self.probs.dtype)
        return weighted(value, self._yes) + weighted(1 - value, self._no)

    def entropy(self) -> Tensor:
        """``-p * log(p) - (1 - p) * log(1 - p)``."""
        return -weighted(self.probs, self._yes) - weighted(1 - self.probs, self._no)


def _zeros_and_ones(value: np.ndarray) -> None:
    if not ((value == 0) | (value == 1)).all():
        raise ValueError("Bernoulli: value: got other numbers, wanted zeros and ones")
