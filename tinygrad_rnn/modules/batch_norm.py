"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from .. import config
from ..checks import flag, number, whole_number
from ..core import Tensor
from ..core.aliases import DTypeLike, Value
from ..errors import ShapeError
from . import init
from .module import Module
from .parameter import Parameter, as_floats, check_eps, empty, float_dtype


class BatchNorm1d(Module):
    """Batch normalisation of the features, which stand on the last axis (Ioffe and Szegedy 2015).

    ``(x - mean) / sqrt(var + eps) * weight + bias``; in training with mean and (biased) variance of all rows, over
    batch and time, else with the running averages.

    Parameters
    ----------
    num_features : int
    eps : float
    momentum : float or None
        The share of the newest batch in the running averages; None: a plain average over all batches.
    affine : bool
        Whether to learn `weight` and `bias`, both (num_features,).
    track_running_stats : bool
        False: there are no running averages, and evaluation uses those of the batch too.
    dtype : float32 or float64, optional

    Attributes
    ----------
    running_mean, running_var : Tensor, (num_features,)
        Buffers; the variance is the unbiased one.
    num_batches_tracked : Tensor, ()

    Raises
    ------
    ShapeError
        If the last axis has another length, or in training there is but one row.

    Notes
    -----
    Input is (B, C) or (T, B, C); PyTorch's is (B, C) or (B, C, T). Rows of padding count: use :class:`LayerNorm` or
    :class:`RMSNorm` for sequences of many lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y = nn.BatchNorm1d(3)(np.random.default_rng(0).normal(5, 2, (20, 3)).astype("float32"))
    >>> bool(abs(y.mean(0).numpy()).max() < 1e-5)
    True
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.num_features = whole_number("BatchNorm1d: num_features", num_features)
        self.eps = check_eps("BatchNorm1d", eps)
        if momentum is not None:
            momentum = number("BatchNorm1d: momentum", momentum, "a number from 0 to 1, or None", lambda m: 0 <= m <= 1)
        self.momentum = momentum
        affine = flag("BatchNorm1d: affine", affine)
        self.track_running_stats = flag("BatchNorm1d: track_running_stats", track_running_stats)
        self.weight: Parameter | None = empty(num_features, dtype=dtype) if affine else None
        self.bias: Parameter | None = empty(num_features, dtype=dtype) if affine else None
        kind = float_dtype(dtype)
        tracked = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.array(0) if tracked else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to one, the shift to zero, and forget the running averages."""
        for parameter, value in ((self.weight, 1.0), (self.bias, 0.0)):
            if parameter is not None:
                init.constant(parameter, value)
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                buffer.fill_(value)

    def forward(self, x: Value) -> Value:
        x = as_floats(x, "BatchNorm1d: x", self.weight)
        if len(x.shape) < 2 or x.shape[-1] != self.num_features:
            raise ShapeError(f"BatchNorm1d: x: got shape {tuple(x.shape)}, wanted (..., B, {self.num_features})")
        if self.training or self.running_mean is None or self.running_var is None:
            axes = tuple(range(len(x.shape) - 1))
            rows = x.size // self.num_features
            if rows < 2 and self.training:
                raise ShapeError(f"BatchNorm1d: x: got shape {tuple(x.shape)}, wanted more than one row in training")
            mean = x.mean(axes)
            centred = x - mean
            var = (centred * centred).mean(axes)
            if self.training and self.track_running_stats:
                self._track(mean, var, rows)
        else:
            mean, var = self.running_mean, self.running_var
            centred = x - mean
        y = centred / (var + self.eps).sqrt()
        return y if self.weight is None else y * self.weight + self.bias

    def _track(self, mean: Tensor, var: Tensor, rows: int) -> None:
        """Move the running averages towards those of a batch."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with config.no_grad():
            self.num_batches_tracked += 1
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            for running, new in ((self.running_mean, mean), (self.running_var, var * (rows / (rows - 1)))):
                running.copy_(running + share * (new.detach() - running))

    def extra_repr(self) -> str:
        affine = self.weight is not None
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
