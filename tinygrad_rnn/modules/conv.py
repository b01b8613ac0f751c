"""Convolution along time."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..checks import flag, shown, whole_number
from ..core.aliases import DTypeLike, Value
from ..errors import ShapeError
from ..ops.linear import linear
from . import init
from .module import Module
from .parameter import Parameter, as_floats, empty

PADDINGS = ("causal", "same", "valid")


class Conv1d(Module):
    """A convolution along time, the first axis: causal by default, so that no output sees later inputs.

    ``y[t] = bias + sum over k of weight[:, :, K - 1 - k] @ x[t - k * dilation]``

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
        The number of steps K that an output sees.
    stride : int
        Only every `stride`-th output is computed.
    padding : {"causal", "same", "valid"} or int
        Zeros before the first step, so that outputs are as many as inputs; zeros on both sides for the same; none; or
        so many on both sides, as PyTorch has it.
    dilation : int
        The distance of the steps that an output sees.
    groups : int
        Groups of channels that are apart; ``groups=in_channels=out_channels`` has one filter a channel.
    bias : bool
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, (out_channels, in_channels // groups, kernel_size)
    bias : Parameter, (out_channels,), or None
        Both drawn uniformly from ``±1/sqrt(in_channels // groups * kernel_size)``. Names and shapes are PyTorch's.

    Notes
    -----
    Input is (T, B, in_channels), as everywhere here; PyTorch's is (B, in_channels, T). One step at a time, as inputs
    come in, it runs as a cell: ``nn.Recurrent(nn.Conv1dCell(conv)).stepper(batch_size)``.

    Examples
    --------
    In front of a recurrent layer:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> conv, rnn = nn.Conv1d(3, 8, kernel_size=4), nn.GRU(8, 16)
    >>> y, h = rnn(conv(np.zeros((10, 2, 3))))
    >>> y.shape
    (10, 2, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: str | int = "causal",
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size}
        sizes |= {"stride": stride, "dilation": dilation, "groups": groups}
        for name, value in sizes.items():
            setattr(self, name, whole_number(f"Conv1d: {name}", value))
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv1d: groups: got {groups} for {in_channels} and {out_channels} channels, wanted a divisor of both"
            )
        self.padding = self._checked(padding)
        bias = flag("Conv1d: bias", bias)
        self.weight = empty(out_channels, in_channels // groups, kernel_size, dtype=dtype)
        self.bias: Parameter | None = empty(out_channels, dtype=dtype) if bias else None
        self.reset_parameters()

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    dilation: int
    groups: int

    def _checked(self, padding: Any) -> str | int:
        if isinstance(padding, str) and padding in PADDINGS:
            if padding == "same" and self.stride > 1:
                raise ValueError(f"Conv1d: padding: got 'same' with stride={self.stride}, wanted stride=1")
            return padding
        if isinstance(padding, str):
            raise ValueError(f"Conv1d: padding: got {shown(padding)}, wanted 'causal', 'same', 'valid' or a number")
        return whole_number("Conv1d: padding", padding, 0)

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1.0 / math.sqrt(self.weight.shape[1] * self.kernel_size)
        for parameter in self.parameters():
            init.uniform(parameter, -bound, bound)

    @property
    def span(self) -> int:
        """Number of steps before its own that an output sees."""
        return (self.kernel_size - 1) * self.dilation

    def _zeros(self) -> tuple[int, int]:
        """Numbers of steps of zeros before and after the input."""
        if isinstance(self.padding, int):
            return self.padding, self.padding
        return {"causal": (self.span, 0), "valid": (0, 0)}.get(
            self.padding, (self.span // 2, self.span - self.span // 2)
        )

    def forward(self, x: Value) -> Value:
        x = as_floats(x, "Conv1d: x", self.weight)
        if len(x.shape) < 2 or x.shape[-1] != self.in_channels:
            raise ShapeError(f"Conv1d: x: got shape {tuple(x.shape)}, wanted (T, B, {self.in_channels})")
        before, after = self._zeros()
        if before or after:
            x = ops.pad(x, ((before, after), *((0, 0) for _ in x.shape[1:])))
        if x.shape[0] <= self.span and not (self.padding == "causal" and x.shape[0] == self.span):
            raise ShapeError(f"Conv1d: x: got {x.shape[0]} steps with padding, wanted more than {self.span}")
        last = x.shape[0] - self.span
        return self.taps(
            [x[k * self.dilation : k * self.dilation + last : self.stride] for k in range(self.kernel_size)]
        )

    def taps(self, inputs: list) -> Value:
        """The outputs from the inputs that they see, (..., in_channels) each, oldest first."""
        if self.groups == 1:
            total = self._sum([linear(x, self.weight[:, :, k]) for k, x in enumerate(inputs)])
        elif self.groups == self.in_channels == self.out_channels:
            total = self._sum([x * self.weight[:, 0, k] for k, x in enumerate(inputs)])
        else:
            width = self.in_channels // self.groups
            of = self.out_channels // self.groups
            parts = []
            for g in range(self.groups):
                own = self.weight[g * of : (g + 1) * of]
                rows = [x[..., g * width : (g + 1) * width] for x in inputs]
                parts.append(self._sum([linear(x, own[:, :, k]) for k, x in enumerate(rows)]))
            total = ops.concat(parts, -1)
        return total if self.bias is None else total + self.bias

    def _sum(self, terms: list) -> Value:
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def extra_repr(self) -> str:
        more = {"stride": 1, "padding": "causal", "dilation": 1, "groups": 1}
        options = "".join(f", {name}={getattr(self, name)!r}" for name, d in more.items() if getattr(self, name) != d)
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}{options}{bias}"
