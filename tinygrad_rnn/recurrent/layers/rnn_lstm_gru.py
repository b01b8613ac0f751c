"""RNN, LSTM and GRU: layers of built-in cells behind the interface of ``torch.nn``."""

from __future__ import annotations

from ...checks import flag
from ..cells import GRUCell, LSTMCell, RNNCell
from ..cells.base import Init
from ..cells.lstm import check_projection
from ..cells.rnn import check_nonlinearity
from .multilayer import Layered


class RNN(Layered):
    """Layers of :class:`RNNCell`, as ``torch.nn.RNN``.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu", "sigmoid"}
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, mode, dtype, init, **options
        See :class:`Layered`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> output, h_n = nn.RNN(3, 4, num_layers=2)(np.zeros((7, 2, 3)))
    >>> output.shape, h_n.shape
    ((7, 2, 4), (2, 2, 4))
    """

    cell_type = RNNCell

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
        mode: str = "auto",
        dtype=None,
        init: Init = "default",
        **options,
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
            mode,
            dtype,
            init,
            cell_options={"nonlinearity": nonlinearity},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}")


class LSTM(Layered):
    """Layers of :class:`LSTMCell`, as ``torch.nn.LSTM``; states are pairs (h, c).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, mode, dtype, init, **options
        See :class:`Layered`.
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
        mode: str = "auto",
        dtype=None,
        init: Init = "default",
        **options,
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
            mode,
            dtype,
            init,
            cell_options={"proj_size": proj_size},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


class GRU(Layered):
    """Layers of :class:`GRUCell`, as ``torch.nn.GRU``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, mode, dtype, init, **options
        See :class:`Layered`.
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

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        mode: str = "auto",
        dtype=None,
        init: Init = "default",
        reset_after: bool = True,
        **options,
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
            mode,
            dtype,
            init,
            cell_options={"reset_after": reset_after},
            **options,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
