"""A causal convolution as a cell, which remembers the inputs that its next outputs see."""

from __future__ import annotations

from ... import ops
from ...modules.conv import Conv1d
from ..cell import Cell, constant


class Conv1dCell(Cell):
    """A causal :class:`Conv1d` one step at a time: for streams, and in one loop with what comes after it.

    The state is the row of the inputs before, oldest first, (B, (kernel_size - 1) * dilation * in_channels).

    Parameters
    ----------
    conv : Conv1d
        With ``padding="causal"`` and ``stride=1``; the parameters are shared.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> conv = nn.Conv1d(3, 4, kernel_size=2)
    >>> step = nn.Recurrent(nn.Conv1dCell(conv)).stepper(1)
    >>> x = np.ones((5, 1, 3), np.float32)
    >>> bool(np.allclose([step(row) for row in x], conv(x), atol=1e-6))
    True
    """

    def __init__(self, conv: Conv1d) -> None:
        if not isinstance(conv, Conv1d):
            raise TypeError(f"Conv1dCell: conv: got {type(conv).__name__}, wanted an nn.Conv1d")
        if conv.padding != "causal" or conv.stride != 1:
            raise ValueError(
                f"Conv1dCell: conv: got padding={conv.padding!r} and stride={conv.stride}, wanted 'causal' and 1"
            )
        self.conv = conv
        self.input_size, self.output_size = conv.in_channels, conv.out_channels
        self.hidden_size = conv.span * conv.in_channels

    @constant
    def initial_state(self, batch_size: int):
        """Zeros, as before the first step; None if an output sees its own input only."""
        return ops.zeros((batch_size, self.hidden_size), self.dtype) if self.hidden_size else None

    def step(self, x, state):
        if state is None:
            return self.conv.taps([x]), None
        width, row = self.conv.in_channels, ops.concat([state, x], -1)
        starts = [k * self.conv.dilation * width for k in range(self.conv.kernel_size)]
        return self.conv.taps([row[:, s : s + width] for s in starts]), row[:, width:]
