"""The normal distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config, ops
from ..checks import flag
from ..core import Tensor
from ..core.aliases import Shape, Value
from ..ops.arguments import operand
from ..ops.bounds import require_between
from .distribution import Distribution, broadcast_shape, check_values, floats


class Normal(Distribution):
    """Gauss's bell, ``exp(-((x - loc) / scale)**2 / 2) / (scale * sqrt(2 * pi))``.

    Parameters
    ----------
    loc : Tensor, array or number
        The mean.
    scale : Tensor, array or number
        The standard deviation, above 0; both broadcast together.
    validate_args : bool
        Whether values are checked.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> normal = tr.distributions.Normal(0.0, 2.0)
    >>> round(normal.log_prob(1.0).item(), 4), round(normal.entropy().item(), 4)
    (-1.7371, 2.1121)
    """

    def __init__(self, loc: Any, scale: Any, validate_args: bool = True) -> None:
        self.validate_args = flag("validate_args", validate_args)
        loc, scale = floats(loc, "Normal: loc"), floats(scale, "Normal: scale")
        if loc.dtype != scale.dtype:  # a number or an array beside a tensor takes its dtype
            wide = scale.dtype if scale.requires_grad and not loc.requires_grad else loc.dtype
            loc, scale = (x if x.requires_grad else ops.astype(x, wide) for x in (loc, scale))
        shape = broadcast_shape("Normal", tuple(loc.shape), tuple(scale.shape))
        if self.validate_args:
            check_values(lambda: np.isfinite(loc.data), "Normal: loc: got NaN or infinity, wanted finite numbers")
            text = "Normal: scale: got numbers that are not positive, wanted standard deviations"
            check_values(lambda: scale.data > 0, text)
            scale = require_between(scale, 0.0, math.inf, text)  # of 0 a program gets infinity
        self.loc, self.scale = ops.broadcast_to(loc, shape), ops.broadcast_to(scale, shape)
        self.batch_shape = shape

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """`scale`."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """``scale**2``."""
        return self.scale * self.scale

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws, floats of `sample_shape` + `batch_shape`, through which no gradient flows."""
        return self.rsample(sample_shape).detach()

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws ``loc + scale * noise`` through which gradients flow to both (Kingma and Welling 2014)."""
        noise = config.generator().standard_normal(self._shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + self.scale * np.asarray(noise)

    def log_prob(self, value: Value) -> Tensor:
        """The logarithm of the density at `value`, which broadcasts with the batch."""
        value = operand(value, "Normal: value")
        broadcast_shape("Normal: value", tuple(value.shape), self.batch_shape)
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - ops.log(self.scale) - 0.5 * math.log(2 * math.pi)

    def cdf(self, value: Value) -> Tensor:
        """The probability of no more than `value`."""
        value = operand(value, "Normal: value")
        return 0.5 * (1 + ops.erf((value - self.loc) / (self.scale * math.sqrt(2))))

    def entropy(self) -> Tensor:
        """``log(scale) + (1 + log(2 * pi)) / 2``."""
        return ops.log(self.scale) + 0.5 * (1 + math.log(2 * math.pi))
