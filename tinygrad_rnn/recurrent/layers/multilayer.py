"""The base of RNN, LSTM and GRU: cells in layers and directions, behind the interface of ``torch.nn``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import ops
from ...checks import flag, probability, whole_number
from ...core import Tensor, tree
from ...core.dtype import as_array
from ...errors import ShapeError
from ...modules.dropout import drop
from ..as_tensors import as_input, as_state
from ..cells.base import check_count
from ..scan.axis_layout import SequenceLayout
from ..scan.driver import check_returns, run
from ..scan.valid_steps import read_valid_steps
from .cell_parameters import CellParameters
from .cell_wrapper import with_states
from .layer_options import LayerOptions, checked_options, in_words, lists_options, wrapped
from .wrappers import MERGES

if TYPE_CHECKING or sys.version_info >= (3, 11):
    from typing import Unpack

MOST_LAYERS = 10_000  # each is made at once, with parameters of its own


class RNNBase(CellParameters):
    """Base of RNN, LSTM and GRU: a cell for each layer and direction, parameters as in ``torch.nn``.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Layers on top of each other.
    bias : bool
    batch_first : bool
        Inputs and outputs are (B, T, features). States are (num_layers * directions, B, hidden_size) either
        way, as PyTorch has them.
    dropout : float
        Probability of dropout on the output of each layer but the last, in training.
    bidirectional : bool
        Every layer runs both ways.
    mode : {"auto", "compiled", "eager"}
        How to run the cells; "auto" compiles what it can.
    init : {"default", "torch"} or callable
        See :class:`~tinygrad_rnn.recurrent.cells.base.GatedCell`.
    dtype : float32 or float64, optional
    merge : {"concat", "sum", "mean"}
        How the outputs of both directions become one: "concat" gives 2 * hidden_size features.
    reverse : bool
        Run from the last step to the first; outputs stay at their inputs' places. Not with `bidirectional`.
    checkpoint_every : int, optional
        Keep what gradients need of so many time steps only, and run the others once more; see
        :func:`~tinygrad_rnn.recurrent.scan`.
    learn_initial_state : bool
        Make the initial states parameters, ``initial_state_0_l0``, ...; see :class:`LearnedInitialState`.
    input_dropout, recurrent_dropout : float
        Dropout of each layer's input and of its state in recurrent products, with one mask for all steps; see
        :class:`VariationalDropout`.
    weight_dropout : float
        DropConnect on the recurrent weights; see :class:`WeightDrop`.
    zoneout : float or nest of floats
        Probability that a unit keeps its old state, for all states or each of them; see :class:`Zoneout`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ... : Parameter
        Of layer 0; backwards with the suffix ``_reverse``. They are the parameters of the cells themselves;
        setting one sets it in its cell too. To run with a tensor that is computed of something else, such as weights
        under a mask, delete the parameter and set the tensor in its place before each call: gradients flow through it.
    """

    cell_type: type
    weight_ih_l0: Tensor

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
        cell_options: Mapping[str, Any] | None = None,
        **options: Unpack[LayerOptions],
    ):
        super().__init__()
        name, options = type(self).__name__, checked_options(type(self), options)
        self.input_size = input_size = check_count(input_size, f"{name}: input_size")
        self.hidden_size = hidden_size = check_count(hidden_size, f"{name}: hidden_size")
        self.num_layers = whole_number(f"{name}: num_layers", num_layers, 1, MOST_LAYERS, "a positive integer")
        self.bias, self.batch_first = flag(f"{name}: bias", bias), flag(f"{name}: batch_first", batch_first)
        self.dropout = probability(f"{name}: dropout", dropout)
        self.bidirectional = flag(f"{name}: bidirectional", bidirectional)
        self.mode, self.merge, self.reverse = options["mode"], options["merge"], options["reverse"]
        self.checkpoint_every, self._options = options["checkpoint_every"], options
        if self.reverse and self.bidirectional:
            raise ValueError(f"{name}: reverse: got True for a bidirectional layer, which runs both ways")
        if self.dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout={dropout} acts between layers, and there is one layer", stacklevel=3)
        of_cells = {"init": options["init"], "dtype": options["dtype"], **(cell_options or {})}
        suffixes, width = ("", "_reverse") if self.bidirectional else ("",), input_size
        for layer in range(num_layers):
            if layer:
                width = self._cells[-1].output_size or hidden_size
                width *= 2 if self.bidirectional and self.merge == "concat" else 1
            for suffix in suffixes:
                cell = self.cell_type(width, hidden_size, self.bias, **of_cells)
                self._adopt(wrapped(cell, options), f"_l{layer}{suffix}")

    def forward(
        self,
        input,
        state=None,
        lengths=None,
        mask=None,
        resets=None,
        return_states: str = "final",
        return_outputs: bool = True,
    ) -> tuple[Any, Any]:
        """Run over a sequence; returns outputs and final states.

        Parameters
        ----------
        input : Tensor or array, (T, B, input_size), or without a batch (T, input_size)
            (B, T, input_size) with ``batch_first``.
        state : Tensor, (num_layers * directions, B, hidden_size), optional
            h_0, for an LSTM the pair (h_0, c_0); without the axis B where the input has none. Default: zeros, or
            what has been learned.
        lengths : ints (B,), optional
            Steps of each row that count, from the first on, instead of a packed sequence: zero is allowed, and
            nothing has to be sorted.
        mask : bools (T, B), optional
            Steps that count; at the others the state is carried through, and outputs are zero.
        resets : bools (T, B), optional
            Steps before which a row is reset to the cell's initial state.
        return_states : {"final", "all"}
            "all": the states after every step, instead of the final ones alone.
        return_outputs : bool
            False: None in the place of the output; with `checkpoint_every`, it takes no memory then.

        Returns
        -------
        output : Tensor, (T, B, directions * hidden_size)
            The last layer's hidden states; zero where steps do not count.
        state : Tensor or pair of tensors
            The final states, shaped as the initial ones; with ``return_states="all"``
            (num_layers * directions, T, B, hidden_size), each layer's laid out as the output, and zero where it is.

        Raises
        ------
        ShapeError, DTypeError, ValueError
            If the input, a state, lengths or masks do not fit.

        Notes
        -----
        `mask` and `resets` are (B, T) with ``batch_first``, and (T,) without a batch. See
        :func:`~tinygrad_rnn.recurrent.scan` for what steps that do not count and new beginnings mean.
        """
        if self._missing:
            self._check_complete()
        x, dtype = input, self.weight_ih_l0.dtype
        if not isinstance(x, Tensor) or x.dtype != dtype:
            x = as_input(x, dtype, f"{type(self).__name__}: input")
        shape = x.shape
        if len(shape) != 3 or shape[2] != self.input_size or 0 in shape:
            self._check_input(x)
        batched, batch_first = len(shape) == 3, self.batch_first
        if not batched:
            x, batch_first = ops.expand_dims(x, 1), False
            name, time = type(self).__name__, x.shape[:1]
            lengths = _add_axis(f"{name}: lengths", lengths, ())
            mask, resets = _add_axis(f"{name}: mask", mask, time), _add_axis(f"{name}: resets", resets, time)
        steps = None
        if lengths is not None or mask is not None or resets is not None:
            steps = read_valid_steps(type(self).__name__, x.shape[:2], lengths, mask, resets, batch_first)
        cells, states = self._cells, None
        if state is not None:
            states = self._split_state(state, x.shape[0 if batch_first else 1], batched)
        every, return_outputs = check_returns(return_states, return_outputs)
        if every:
            cells = [with_states(self, cell) for cell in cells]
        finals = []
        directions, stacked = 1 + self.bidirectional, len(cells) == 1 and not every
        for first in range(0, len(cells), directions):
            if first and self.dropout and self.training:
                x = drop(x, self.dropout)
            feeds = first + directions < len(cells)  # another layer
            runs = []
            for i in range(first, first + directions):
                layout = SequenceLayout(batch_first, self.reverse or i != first, stacked)
                ys, final = run(
                    cells[i],
                    x,
                    None if states is None else states[i],
                    self.mode,
                    layout,
                    steps,
                    checkpoint_every=self.checkpoint_every,
                    return_outputs=return_outputs or every or feeds,
                )
                ys, final = ys if every else (ys, final)
                runs.append(ys)
                finals.append(final)
            if return_outputs or feeds:
                x = runs[0] if directions == 1 else MERGES[self.merge](*runs)
        output = None if not return_outputs else x if batched else ops.squeeze(x, 1)
        if stacked:
            return output, finals[0] if batched else tree.map(lambda s: ops.squeeze(s, 1), finals[0])
        return output, tree.map(lambda *s: ops.stack([t if batched else ops.squeeze(t, -2) for t in s]), *finals)

    def stepper(self, batch_size: int = 1):
        """A stepper for streams, with one step per call.

        See :class:`~tinygrad_rnn.recurrent.streaming.stepper.Stepper`.
        """
        from ..streaming.stepper import Stepper  # the compiler is loaded at first use

        if self.bidirectional:
            raise ValueError("stepper: this layer is bidirectional, which a stream cannot be")
        if self.reverse:
            raise ValueError("stepper: this layer runs in reverse, which a stream cannot")
        return Stepper(list(self._cells), batch_size, mode=self.mode, layer_axis=True)

    def explain(self, x: Any = None) -> Any:
        """Report what was compiled: programs, loops, saved bytes, FLOPs, source; or why it was not.

        See :func:`~tinygrad_rnn.recurrent.explain.explain`; `x` is an example of the input, or the pair (T, B).
        """
        from ..explain import explain_layers

        return explain_layers(self._cells, 1 + self.bidirectional, x, self.mode, self.batch_first)

    # ---- checks and shapes

    def _check_input(self, x: Tensor) -> None:
        shape, size = x.shape, self.input_size
        if len(shape) not in (2, 3) or shape[-1] != size:
            time_batch = "(B, T, " if self.batch_first else "(T, B, "
            raise ShapeError(
                f"{type(self).__name__}: input: got shape {shape}, wanted {time_batch}{size}) or (T, {size})"
            )
        if 0 in shape:
            raise ShapeError(f"{type(self).__name__}: input: got shape {shape}, wanted at least one step and one row")

    def _split_state(self, state, batch: int, batched: bool) -> list:
        """The initial states of all layers as a list of states, one for each cell."""
        count = len(self._cells)
        template, structure = tree.flatten(self._cells[0].initial_state(1))
        name, leaves = type(self).__name__, tree.leaves_like(structure, state)
        if leaves is None:
            its = tree.flatten(state)[1]
            raise ShapeError(f"{name}: state: got {tree.in_words(its)}, wanted {tree.in_words(structure)}")
        columns = []
        for s, t in zip(leaves, template):
            s = as_state(s, t.dtype, f"{name}: state")
            wanted = (count, batch, *t.shape[1:]) if batched else (count, *t.shape[1:])
            if s.shape != wanted:
                raise ShapeError(f"{name}: state: got shape {s.shape}, wanted {wanted}")
            columns.append(ops.unstack(s if batched else ops.expand_dims(s, 1)))
        return [tree.unflatten(structure, [column[i] for column in columns]) for i in range(count)]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers > 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += ", bias=False"
        if self.dropout:
            text += f", dropout={self.dropout}"
        for name in ("batch_first", "bidirectional", "reverse"):
            text += f", {name}=True" if getattr(self, name) else ""
        return text + in_words(self._options)


def _add_axis(argument: str, a: Any, wanted: tuple) -> np.ndarray | None:
    """Lengths, masks or resets without a batch axis as those of a batch of one row."""
    if a is None:
        return None
    array = a.data if isinstance(a, Tensor) else as_array(a, argument)
    if array.shape != wanted:
        raise ShapeError(f"{argument}: got shape {array.shape}, wanted {wanted or 'one number'}, as input has no batch")
    return np.expand_dims(array, -1)
