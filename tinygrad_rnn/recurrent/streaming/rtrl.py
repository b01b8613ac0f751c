"""RTRL: exact gradients of streams, forward in time, in memory independent of their length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...checks import MOST_ELEMENTS, one_of, whole_number
from ...core import Tensor, as_tensor, tree
from ...errors import GraphError, ShapeError
from ..as_tensors import as_input
from ..cell import Cell

ndarray = np.ndarray
LEAF = tree.LEAF
MODES = ("auto", "compiled", "eager")


class RTRL:
    """Real-time recurrent learning for cells whose recurrence is diagonal (Williams and Zipser 1989).

    Backpropagation through time keeps all steps until the end of a sequence. This keeps, instead, the derivative of
    the present state by every parameter and carries it along: ``dS/dp`` of the new state is
    ``J * dS/dp + ds/dp``, with the Jacobian J of the step. Gradients of the loss at each step are there at once, and
    are those of backpropagation through time to rounding as long as parameters stay; where they are updated along the
    way, the past counts as it was computed.

    For a recurrence in general that takes memory of units times parameters. Where unit i of the new state depends on
    unit i of the old one only, J is diagonal (K by K for each unit, of a state of K tensors), each entry of a
    parameter reaches one unit, and the derivatives take ``K * batch_size`` times the memory of those parameters (Mozer
    1989; Zucchet et al. 2023, "Online learning of long-range dependencies"). Which cells these are is read off their
    traced steps: :class:`~tinygrad_rnn.nn.IndRNNCell`, :class:`~tinygrad_rnn.nn.LRUCell`,
    :class:`~tinygrad_rnn.nn.MinGRUCell`, :class:`~tinygrad_rnn.nn.MinLSTMCell`, and your own. All pieces of the
    derivatives come from the rules of the operations.

    A :class:`~tinygrad_rnn.nn.Stacked` cell is learned layer by layer, as Zucchet et al. do: each layer carries the
    derivatives of its own state by its own parameters, and a loss reaches the layers below through the same step alone.
    The last layer's gradients are exact. Those of the layers below are not: what they have put into the *past* state of
    a layer above is left out.

    Parameters
    ----------
    cell : Cell or Recurrent
        A cell whose recurrence is diagonal, or a :class:`~tinygrad_rnn.nn.Stacked` of such.
    batch_size : int
        Streams side by side.
    example : Tensor or array or nest of such, (B, ...), optional
        An input of one step; needed where the cell has no ``input_size``.
    mode : {"auto", "compiled", "eager"}
        "compiled": a step, and the gradients of what it gave, are a native call each. "eager": NumPy. "auto": compiled,
        or eager with a warning that says why.

    Attributes
    ----------
    cell : Cell
    exact : bool
        Whether gradients are those of backpropagation through time, as they are of one layer.
    state : nest of tensors, (B, n)
        The present state.
    nbytes : int
        Memory of the derivatives.

    Raises
    ------
    GraphError
        If the recurrence is not diagonal, or an entry of a parameter reaches several units; the operation is named.
    CompileError
        If the step cannot be traced; with ``mode="compiled"`` also if there is no kernel for it.

    Notes
    -----
    Compiled, a step with its gradients takes 8 to 10 microseconds for an LRU of 32 units, and some eighty times as
    long on NumPy. Backpropagation through a compiled loop takes about a microsecond for a step of a long sequence:
    where gradients may wait for the end of a chunk, :class:`~tinygrad_rnn.train.TruncatedBPTT` is faster.

    It cannot be copied or pickled; a new one that is reset to its :attr:`state` goes on from there, and takes what was
    before for constant.

    Parameters may change at any time; the next step runs with them. Other attributes of the cell are read at the
    beginning of a sequence. What a :class:`Stepper` says of writes to
    ``parameter.data`` holds here as well. Gradients add up in place, in arrays that are made at the first call of
    :meth:`accumulate` and after ``zero_grad``.

    Examples
    --------
    A stream with a loss and an update at each step:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn, optim
    >>> cell, head = nn.LRUCell(1, 8, r_min=0.9), nn.Linear(8, 1)
    >>> optimizer = optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-3)
    >>> learner = nn.RTRL(cell)
    >>> for t in range(20):
    ...     y = learner.step(np.array([[np.sin(0.3 * t)]]))
    ...     loss = nn.mse_loss(head(y), np.array([[np.sin(0.3 * (t + 1))]], np.float32))
    ...     loss.backward()
    ...     learner.accumulate()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    """

    def __init__(self, cell: Any, batch_size: int = 1, example: Any = None, mode: str = "auto"):
        from .learner import CellLearner  # at first use, as importing the compiler takes a while

        if hasattr(cell, "streamed_cell"):
            cell = cell.streamed_cell("RTRL: cell")
        if not isinstance(cell, Cell):
            raise TypeError(f"RTRL: cell: got {type(cell).__name__}, wanted an nn.Cell or nn.Recurrent")
        self.cell = cell
        self.batch_size = whole_number("RTRL: batch_size", batch_size, 1, MOST_ELEMENTS, error=ShapeError)
        self.mode = one_of("RTRL: mode", mode, MODES)
        self._name = f"RTRL: {type(cell).__name__}"
        if example is None:
            if cell.input_size is None:
                raise ShapeError(f"{self._name} sets no input_size; pass example=, an input of one step")
            example = np.zeros((self.batch_size, cell.input_size))
        layers = _layers(cell)
        self._learners: list[CellLearner] = []
        for i, layer in enumerate(layers):
            name = self._name if len(layers) == 1 else f"{self._name}: layer {i}: {type(layer).__name__}"
            learner = CellLearner(layer, self.batch_size, example, mode, name, i > 0)
            learner.reset()
            self._learners.append(learner)
            example = learner.example_outputs()
        self.exact = len(layers) == 1
        self._structure, self._rows = self._learners[0].structure, self._learners[0].rows
        self._shape = self._rows[0].shape if self._structure is LEAF else None  # of an input that is one array
        self._output_structure = self._learners[-1].program.output_structure
        self._outputs: list[Tensor] = []

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence, from `state` or from the cell's initial state.

        Gradients reach the state that is given, if it requires them, or the parameters that the initial state is
        made of.
        """
        first, *others = self._learners
        if not others:
            first.reset(state)
        else:
            for learner, part in zip(self._learners, self._parts(state)):
                learner.reset(part)
        self._outputs = []

    def _parts(self, state: Any) -> Sequence[Any]:
        """The states of the layers, as parts of one of all, which is nested as they are."""
        if state is None:
            return [None] * len(self._learners)
        given = _flat(self.cell, state)
        if given is None:
            wanted = tree.in_words(tree.flatten(self.state)[1])
            raise ShapeError(f"{self._name}: state: got {tree.in_words(tree.flatten(state)[1])}, wanted {wanted}")
        return given

    @property
    def state(self) -> Any:
        """A copy of the present state."""
        states = iter([tree.unflatten(r.state_structure, [Tensor(s) for s in r.states]) for r in self._learners])
        return _nested(self.cell, states)

    @property
    def nbytes(self) -> int:
        return sum(learner.nbytes for learner in self._learners)

    def step(self, x: Any) -> Any:
        """One step; the state moves on.

        Parameters
        ----------
        x : Tensor or array, (B, ...), or a nest of such

        Returns
        -------
        Tensor or nest of tensors, (B, ...)
            The output, a leaf that requires gradients: after ``loss.backward()`` its ``grad`` is what
            :meth:`accumulate` takes.

        Raises
        ------
        ShapeError, DTypeError
            If `x` does not fit.
        GraphError
            If `x` requires gradients: those that flow through the state cannot be given back to earlier inputs; or if
            attributes of the cell have changed since the beginning of the sequence.
        """
        if type(x) is ndarray and x.shape == self._shape and x.dtype.kind == "f":
            values: Sequence[ndarray] = (x,)
        else:
            values = self._checked(x)
        for learner in self._learners:
            values = learner.step(values)
        # leaves: the graph of the loss ends here, and accumulate() goes on from their gradients
        if self._output_structure is LEAF:
            y = Tensor(values[0].copy(), True)
            self._outputs = [y]
            return y
        self._outputs = [Tensor(y.copy(), True) for y in values]
        return tree.unflatten(self._output_structure, self._outputs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"{self._name}: cannot be copied or pickled; copy the cell, make a new RTRL, and reset it to state"
        )

    def _checked(self, x: Any) -> list[np.ndarray]:
        """The arrays of an input, checked to fit the example."""
        leaves, treedef = tree.flatten(x)
        if treedef != self._structure:
            raise ShapeError(f"{self._name}: x: got {tree.describe(treedef)}, wanted {tree.describe(self._structure)}")
        found = []
        for leaf, row in zip(leaves, self._rows):
            t = as_input(leaf, self.cell.dtype, f"{self._name}: x")
            if t.shape != row.shape:
                raise ShapeError(f"{self._name}: x: got shape {t.shape}, wanted {row.shape}")
            if t.requires_grad:
                raise GraphError(f"{self._name}: x: requires gradients, wanted data or a detached tensor")
            found.append(t.data)
        return found

    def accumulate(self, dy: Any = None) -> None:
        """Add the gradients of a loss of the last output to ``grad`` of the cell's parameters.

        Parameters
        ----------
        dy : Tensor or array, or a nest of such, optional
            The gradient of the loss by the last output. Default: its ``grad``, which is then taken away.

        Raises
        ------
        GraphError
            If no step was taken, or the output has no gradient.
        ShapeError
            If `dy` does not fit the output.
        """
        outputs = self._outputs
        if not outputs:
            raise GraphError(f"{self._name}: accumulate: no step was taken since the beginning")
        y = outputs[0]._array
        if type(dy) is ndarray and dy.shape == y.shape and dy.dtype is y.dtype and self._output_structure is LEAF:
            gs: Sequence[ndarray] = (dy,)
        else:
            gs = self._cotangents(dy)
        for learner in reversed(self._learners):
            gs = learner.pull(gs)

    def _cotangents(self, dy: Any) -> list[np.ndarray]:
        outputs = self._outputs
        if dy is None:
            given: list = [y.grad for y in outputs]
            if all(g is None for g in given):
                raise GraphError(f"{self._name}: accumulate: the output has no gradient; call loss.backward() before")
            for y in outputs:
                y.grad = None
        else:
            given, treedef = tree.flatten(dy)
            wanted = self._output_structure
            if treedef != wanted:
                raise ShapeError(f"{self._name}: dy: got {tree.describe(treedef)}, wanted {tree.describe(wanted)}")
        found = []
        for g, y in zip(given, outputs):
            g = np.zeros(y.shape, y.dtype) if g is None else as_tensor(g).data.astype(y.dtype, copy=False)
            if g.shape != y.shape:
                raise ShapeError(f"{self._name}: dy: got shape {g.shape}, wanted {y.shape} as the output")
            found.append(g)
        return found


def _layers(cell: Cell) -> list[Cell]:
    """The cells of a stack, one after the other; of another cell itself."""
    parts = getattr(cell, "chained_cells", None)
    return [cell] if parts is None else [layer for part in parts for layer in _layers(part)]


def _nested(cell: Cell, states: Any) -> Any:
    """The states of layers as that of their stack."""
    parts = getattr(cell, "chained_cells", None)
    return next(states) if parts is None else tuple([_nested(part, states) for part in parts])


def _flat(cell: Cell, state: Any) -> list | None:
    """The states of layers, of that of their stack; None if it is no such nest."""
    parts = getattr(cell, "chained_cells", None)
    if parts is None:
        return [state]
    if not isinstance(state, tuple | list) or len(state) != len(parts):
        return None
    found = [_flat(part, s) for part, s in zip(parts, state)]
    return None if None in found else [s for inner in found if inner is not None for s in inner]
