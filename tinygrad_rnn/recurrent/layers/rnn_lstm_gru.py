"""RNN, LSTM and GRU: layers of built-in cells behind the interface of ``torch.nn``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ...checks import flag
from ..cells import GRUCell, LSTMCell, RNNCell
from ..cells.lstm import check_projection
from ..cells.rnn import check_nonlinearity
from .layer_options import LayerOptions, lists_options
from .multilayer import RNNBase

if TYPE_CHECKING or sys.version_info >= (3, 11):
    from typing import Unpack


class RNN(RNNBase):
    """Layers of :class:`RNNCell`, as ``torch.nn.RNN``.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu", "sigmoid"}
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options
        See :class:`RNNBase`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> output, h_n = nn.RNN(3, 4, num_layers=2)(np.zeros((7, 2, 3)))
    >>> output.shape, h_n.shape
    ((7, 2, 4), (2, 2, 4))
    """

    cell_type = RNNCell

    @lists_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[LayerOptions],
    ):
        self.nonlinearity = check_nonlinearity(nonlinearity, "RNN")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            cell_options={"nonlinearity": nonlinearity},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}")


class LSTM(RNNBase):
    """Layers of :class:`LSTMCell`, as ``torch.nn.LSTM``; states are pairs (h, c).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options
        See :class:`RNNBase`.
    proj_size : int
        If positive, h and the outputs are projections to so many features, with parameters ``weight_hr_l0``, ...; see
        :class:`LSTMCell`. h_0 is then (num_layers * directions, B, proj_size).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> output, (h_n, c_n) = nn.LSTM(3, 4, bidirectional=True)(np.zeros((7, 2, 3)))
    >>> output.shape, c_n.shape
    ((7, 2, 8), (2, 2, 4))
    """

    cell_type = LSTMCell

    @lists_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        **options: Unpack[LayerOptions],
    ):
        self.proj_size = check_projection(proj_size, hidden_size, "LSTM")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            cell_options={"proj_size": proj_size},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


class GRU(RNNBase):
    """Layers of :class:`GRUCell`, as ``torch.nn.GRU``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options
        See :class:`RNNBase`.
    reset_after : bool
        True as PyTorch; False as the original paper, see :class:`GRUCell`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> output, h_n = nn.GRU(3, 4, batch_first=True)(np.zeros((2, 7, 3)))
    >>> output.shape, h_n.shape
    ((2, 7, 4), (1, 2, 4))
    """

    cell_type = GRUCell

    @lists_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        **options: Unpack[LayerOptions],
    ):
        self.reset_after = flag("GRU: reset_after", reset_after)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            cell_options={"reset_after": reset_after},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
