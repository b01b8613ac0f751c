"""Noise in training: dropout of inputs, states and recurrent weights, and zoneout, around any cell.

All of it is drawn from the package's generator, when a sequence begins or at each step. In evaluation mode the cell is
itself, or its expectation.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ... import ops
from ...checks import probability, shown
from ...core import as_tensor, tree
from ...errors import ShapeError
from ...modules.dropout import dropout_mask, keep_mask
from ..cell import Cell
from .cell_wrapper import Modifier


class VariationalDropout(Modifier):
    """Dropout with the same mask at all steps of a sequence (Gal and Ghahramani 2016).

    "A theoretically grounded application of dropout in recurrent neural networks".

    A mask has a row for each row of the batch; what it keeps is scaled by ``1 / (1 - p)``. It is drawn when a sequence
    begins: a piece of a stream that is run by a call of its own gets its own.

    Parameters
    ----------
    cell : Cell
    inputs : float
        Probability that a feature of the input is zero.
    states : float
        Probability that a unit of the state is zero where it is multiplied with recurrent weights; what is carried
        from step to step stays whole. The cell has to take the mask: ``step(x, state, recurrent_mask=None)``, (B, H).
        All built-in cells with recurrent products do.
    outputs : float
        Probability that a feature of the output is zero.

    Raises
    ------
    ValueError
        If a probability is not between 0 and 1, or the cell does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> cell = nn.VariationalDropout(nn.LSTMCell(3, 4), inputs=0.2, states=0.3)
    >>> ys, (h, c) = nn.Recurrent(cell)(np.zeros((7, 2, 3)))
    >>> ys.shape
    (7, 2, 4)
    """

    def __init__(self, cell: Cell, inputs: float = 0.0, states: float = 0.0, outputs: float = 0.0):
        super().__init__(cell)
        self.inputs = probability("VariationalDropout: inputs", inputs)
        self.states = probability("VariationalDropout: states", states)
        self.outputs = probability("VariationalDropout: outputs", outputs)
        name, width = type(cell).__name__, cell.output_size or cell.hidden_size
        if self.inputs and cell.input_size is None:
            raise ValueError(f"VariationalDropout: inputs: {name} sets no input_size")
        if (self.states or self.outputs) and width is None:
            raise ValueError(f"VariationalDropout: states, outputs: {name} sets no hidden_size")
        if self.states and not takes_mask(cell):
            raise ValueError(
                f"VariationalDropout: states: {name}.step does not take recurrent_mask, which it should multiply its "
                "state with in products with recurrent weights"
            )
        self._masks: tuple = ()

    def __getstate__(self):
        return {**vars(self), "_masks": ()}  # copies draw their own

    def begin_sequence(self, batch_size: int) -> None:
        self.cell.begin_sequence(batch_size)
        width = self.output_size or self.hidden_size
        sizes = ((self.input_size, self.inputs), (width, self.states), (width, self.outputs))
        self._masks = tuple(
            as_tensor(dropout_mask((batch_size, n), p, self.dtype)) if p and self.training else None for n, p in sizes
        )

    def step(self, x, state, **options) -> tuple[Any, Any]:
        if not self.training:
            return self.cell.step(x, state, **options)
        if not self._masks:
            self.begin_sequence(x.shape[0])
        inputs, states, outputs = self._masks
        if inputs is not None:
            x = x * inputs
        if states is not None:
            options["recurrent_mask"] = states
        y, state = self.cell.step(x, state, **options)
        return y if outputs is None else y * outputs, state

    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, states={self.states}, outputs={self.outputs}"


def takes_mask(cell: Cell) -> bool:
    """Whether the innermost cell's ``step`` takes ``recurrent_mask``."""
    while isinstance(cell, Modifier):
        cell = cell.cell
    return "recurrent_mask" in inspect.signature(cell.step).parameters


class WeightDrop(Modifier):
    """DropConnect on weights of a cell (Wan et al. 2013), as in AWD-LSTM (Merity, Keskar and Socher 2018).

    Each weight is zero with probability `p`, else scaled by ``1 / (1 - p)``, for a whole sequence and all rows of the
    batch. The parameters keep their names and values; they are masked once, before the first step.

    Parameters
    ----------
    cell : Cell
    p : float
    names : str or sequence of str
        Parameters of the cell; dotted where they belong to a module inside.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1, or the cell has no parameter of a name.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> cell = nn.WeightDrop(nn.LSTMCell(3, 4), 0.5)
    >>> ys, state = nn.Recurrent(cell)(np.zeros((7, 2, 3)))
    >>> ys.shape
    (7, 2, 4)
    """

    def __init__(self, cell: Cell, p: float, names: str | Sequence[str] = "weight_hh"):
        super().__init__(cell)
        self.p = probability("WeightDrop: p", p)
        self.names = tuple(names) if isinstance(names, list | tuple) else (names,)
        known = dict(cell.named_parameters())
        for name in self.names:
            if not isinstance(name, str) or name not in known:
                raise ValueError(f"WeightDrop: names: got {shown(name)}, wanted some of {', '.join(known)}")
        modules = dict(cell.named_modules())
        self._places = tuple((modules[path], key) for path, _, key in (name.rpartition(".") for name in self.names))
        self._dropped: tuple = ()  # the weights under their masks

    def __getstate__(self):
        return {**vars(self), "_dropped": ()}  # copies draw their own

    def begin_sequence(self, batch_size: int) -> None:
        self.cell.begin_sequence(batch_size)
        self._dropped = ()
        if self.training and self.p:
            weights = [getattr(owner, key) for owner, key in self._places]
            self._dropped = tuple(w * dropout_mask(w.shape, self.p, w.dtype) for w in weights)

    def step(self, x, state, **options) -> tuple[Any, Any]:
        if not (self.training and self.p):
            return self.cell.step(x, state, **options)
        if not self._dropped:
            self.begin_sequence(x.shape[0])
        kept = [vars(owner)[key] for owner, key in self._places]
        self._put(self._dropped)
        try:
            return self.cell.step(x, state, **options)
        finally:
            self._put(kept)

    def _put(self, weights) -> None:
        for (owner, key), weight in zip(self._places, weights):
            vars(owner)[key] = weight

    def extra_repr(self) -> str:
        return f"p={self.p}, names={self.names}"


class Zoneout(Modifier):
    """Random units keep their old state at each step (Krueger et al. 2017).

    "Zoneout: regularizing RNNs by randomly preserving hidden activations".

    ``s' = s`` with probability `p`, else what the cell computes; in evaluation the expectation,
    ``p * s + (1 - p) * s'``. An output that is also a state, such as h, is the mixed one.

    Parameters
    ----------
    cell : Cell
    p : float or nest of floats
        For all states, or one for each in a nest as the state: ``(0.05, 0.5)`` for the (h, c) of an LSTM.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.
    ShapeError
        If a nest of probabilities does not fit the state.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> ys, (h, c) = nn.Recurrent(nn.Zoneout(nn.LSTMCell(3, 4), (0.05, 0.5)))(np.zeros((7, 2, 3)))
    >>> ys.shape
    (7, 2, 4)
    """

    def __init__(self, cell: Cell, p: Any):
        super().__init__(cell)
        leaves, structure = tree.flatten(cell.initial_state(1))
        found, its = tree.flatten(p)
        if its is tree.LEAF:
            found, its = found * len(leaves), structure
        if its != structure:
            raise ShapeError(f"Zoneout: p: got {tree.describe(its)}, wanted a number or {tree.describe(structure)}")
        self.p = tuple(probability("Zoneout: p", q) for q in found)

    def step(self, x, state, **options) -> tuple[Any, Any]:
        y, new = self.cell.step(x, state, **options)
        (old, _), (fresh, structure) = tree.flatten(state), tree.flatten(new)
        mixed = [self._mix(a, b, p) for a, b, p in zip(old, fresh, self.p)]
        by_id = {id(s): m for s, m in zip(fresh, mixed)}
        return tree.map(lambda v: by_id.get(id(v), v), y), tree.unflatten(structure, mixed)

    def _mix(self, old, new, p: float):
        if not p:
            return new
        if self.training:
            return ops.where(keep_mask(new.shape, p), new, old)
        return p * old + (1 - p) * new

    def extra_repr(self) -> str:
        return f"p={self.p[0] if len(self.p) == 1 else self.p}"
