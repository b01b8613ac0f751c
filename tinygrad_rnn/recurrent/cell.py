"""The protocol of a recurrent cell: one time step in plain tensor maths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np

from .. import config, ops
from ..checks import shown
from ..core import Tensor, is_float, tree
from ..core.node import as_operand
from ..errors import DTypeError, ShapeError
from ..modules.module import Module
from .as_tensors import as_state, kind_of

_UNLOCKED = nullcontext()


# ---- marks: what methods promise, so that layers can leave calls out


def constant(initial_state):
    """Mark an ``initial_state`` that depends on batch size and dtype only, so that layers cache it."""
    initial_state.constant = True
    return initial_state


def forwards_to(cells: Callable[[Any], Iterable]) -> Callable:
    """Mark a ``begin_sequence`` that only calls that of other cells, ``cells(self)``."""

    def mark(begin_sequence):
        begin_sequence.forwards_to = cells
        return begin_sequence

    return mark


def of_parameters(dtype):
    """Mark a ``dtype`` that depends on nothing but the cell's parameters, if there are any."""
    dtype.of_parameters = True
    return dtype


class Cell(Module):
    """One time step. Subclass it, write :meth:`step`, and run it over sequences with :class:`Recurrent`.

    Attributes
    ----------
    input_size : int, optional
        The features of the input at one step; checked before a sequence runs, if set.
    hidden_size : int, optional
        The features of the default state.
    output_size : int, optional
        The features of the output, where they are not `hidden_size`.

    Notes
    -----
    Rows of the batch are independent: every tensor of the state and of the output has the batch as its first
    axis.
    A step should branch on the cell's own settings only, never on the values of tensors.

    Examples
    --------
    A minimal gated unit (Zhou et al. 2016):

    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> class MGU(nn.Cell):
    ...     def __init__(self, input_size, hidden_size):
    ...         self.input_size, self.hidden_size = input_size, hidden_size
    ...         self.gate = nn.Linear(input_size + hidden_size, hidden_size)
    ...         self.new = nn.Linear(input_size + hidden_size, hidden_size)
    ...     def step(self, x, h):
    ...         f = tr.sigmoid(self.gate(tr.concat([x, h], axis=-1)))
    ...         n = tr.tanh(self.new(tr.concat([x, f * h], axis=-1)))
    ...         h = (1 - f) * h + f * n
    ...         return h, h
    >>> ys, h = nn.Recurrent(MGU(3, 4))(np.zeros((7, 2, 3)))
    >>> ys.shape, h.shape
    ((7, 2, 4), (2, 4))
    """

    input_size: Any = None  # an int where a cell has set it
    hidden_size: Any = None
    output_size: Any = None

    def step(self, x, state) -> tuple[Any, Any]:
        """One time step, in tensor operations.

        Parameters
        ----------
        x : Tensor, (B, features), or a nest of such
        state : nest of tensors, (B, ...)

        Returns
        -------
        output : Tensor, (B, ...), or a nest of such
        next_state : nest of tensors
            Of the same structure, shapes and dtypes as `state`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step(x, state)")

    @constant
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step: any nest of tensors (B, ...). Default: zeros, (B, hidden_size)."""
        if self.hidden_size is None:
            raise NotImplementedError(
                f"{type(self).__name__} sets no hidden_size; set it, or define initial_state(batch_size)"
            )
        return ops.zeros((batch_size, self.hidden_size), self.dtype)

    def begin_sequence(self, batch_size: int) -> None:
        """Called once before the first step of a sequence.

        Here a cell draws what stays constant over the sequence, such as a dropout mask, and keeps it as a
        plain tensor attribute that :meth:`step` reads.
        """

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        """The dtype of the cell's parameters; of a cell without any, the default dtype."""
        return next((p.dtype for p in self.parameters() if is_float(p.dtype)), config.get_default_dtype())

    def forward(self, x, state=None) -> tuple[Any, Any]:
        """One step from `state`, or, without one, the first step of a new sequence."""
        if not isinstance(x, Tensor | np.ndarray):
            x = _as_arrays(x, title_of(self))
        if state is not None:
            try:
                with config.functional():
                    return self.step(x, state)
            except (TypeError, ValueError, AttributeError) as error:
                self._explain(error, x, state)
                raise
        batch_size = _batch_of(x, title_of(self))
        with sequence_lock(self):
            self.begin_sequence(batch_size)
            with config.functional():
                return self.step(x, self.initial_state(batch_size))

    def _explain(self, error: Exception, x: Any, state: Any) -> None:
        """Raise for a state that does not fit; nothing else is checked before a step, which costs too much."""
        if config.grad_mode.tracer is None:
            try:
                check_state(self, state, _batch_of(x, title_of(self)))
            except (ShapeError, DTypeError) as misfit:
                raise misfit from error

    def _loses(self, name: str, value: Any) -> bool:
        """As :meth:`.Module._loses`, but never of begin_sequence()'s tensors, which last for one sequence."""
        return type(self).begin_sequence is Cell.begin_sequence and super()._loses(name, value)

    def extra_repr(self) -> str:
        sizes = (self.input_size, self.hidden_size)
        return ", ".join(str(n) for n in sizes if n is not None)


def _as_arrays(x: Any, name: str) -> Any:
    """The input of one step, with lists of numbers as arrays; a nest of inputs stays one."""
    leaves, structure = ([x], tree.LEAF) if tree.holds_numbers(x) else tree.flatten(x)
    if not leaves:
        raise ShapeError(f"{name}: x: got {shown(x)}, wanted (B, ...); for a cell without input, (B, 0)")
    arrays = [x if isinstance(x, Tensor | np.ndarray) else as_operand(x, f"{name}: x") for x in leaves]
    return tree.unflatten(structure, arrays)


def _batch_of(x: Any, name: str) -> int:
    """The size of the batch of the input of one step."""
    first = x if isinstance(x, Tensor | np.ndarray) else tree.flatten(x)[0][0]
    if not first.shape:
        raise ShapeError(f"{name}: x: got a number, wanted (B, ...)")
    return first.shape[0]


def check_state(cell: Cell, state, batch: int, argument: str = "state") -> tuple[list[Tensor], tree.Structure]:
    """The tensors of `state`, or of the initial state, checked to fit the cell; and its structure."""
    template, structure = tree.flatten(cell.initial_state(batch))
    for s in template:
        if not isinstance(s, Tensor) or not s.data.ndim or s.data.shape[0] != batch:
            name = title_of(cell)
            raise ShapeError(f"{name}.initial_state({batch}): got {kind_of(s)}, wanted tensors ({batch}, ...)")
    if state is None:
        return template, structure
    name = title_of(cell)
    leaves = tree.leaves_like(structure, state)
    if leaves is None:
        treedef = tree.flatten(state)[1]
        raise ShapeError(f"{name}: {argument}: got {tree.in_words(treedef)}, wanted {tree.in_words(structure)}")
    checked = []
    for s, t in zip(leaves, template):
        s = as_state(s, t.dtype, f"{name}: {argument}")
        if s.shape != t.shape:
            raise ShapeError(f"{name}: {argument}: got shape {s.shape}, wanted {t.shape}")
        checked.append(s)
    return checked, structure


def sets_attributes(cell: Cell) -> bool:
    """Whether ``begin_sequence`` may set attributes, in the cell or in those that it forwards to."""
    begin: Any = getattr(cell.begin_sequence, "__func__", None)  # None: an attribute of the instance
    if begin is Cell.begin_sequence:
        return False
    inner = getattr(begin, "forwards_to", None)
    return True if inner is None else any(map(sets_attributes, inner(cell)))


def sequence_lock(cell: Cell) -> Any:
    """The lock to hold while a sequence runs, of a cell whose ``begin_sequence`` sets attributes.

    It is the lock of tracing, so that no two threads can each hold one and wait for the other.
    """
    return tracing_lock() if sets_attributes(cell) else _UNLOCKED


def tracing_lock() -> Any:
    """The compiler's lock."""
    from ..compiler import making  # at first use, as importing the compiler takes a while

    return making


def title_of(cell: Cell) -> str:
    """The name of a cell in messages: its class, or that of the cell inside if a layer has wrapped it."""
    return type(cell.cell if getattr(type(cell), "anonymous", False) else cell).__name__  # type: ignore[attr-defined]


def check_cell_type(cell, owner: str, name: str = "cell") -> Cell:
    if not isinstance(cell, Cell):
        raise TypeError(f"{owner}: {name}: got {type(cell).__name__}, wanted an nn.Cell")
    return cell
