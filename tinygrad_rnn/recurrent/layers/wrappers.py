"""Layers and stacks of any cell, the user's own included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from ... import ops
from ...checks import flag, one_of
from ...core import tree
from ...errors import ShapeError
from ...modules.containers import ModuleList
from ...modules.module import Module
from ..cell import Cell, check_cell_type, forwards_to
from ..scan.driver import check_every, check_mode, check_returns, scan
from .cell_wrapper import LearnedInitialState, with_states


class Recurrent(Module):
    """A layer that runs a cell over sequences.

    Parameters
    ----------
    cell : Cell
    mode : {"auto", "compiled", "eager"}
        How to run it; "auto" compiles what it can.
    batch_first : bool
        Inputs and outputs are (B, T, ...) instead of (T, B, ...). States have no time axis and stay as they
        are.
    reverse : bool
        Run from the last step to the first; outputs stay at their inputs' places.
    learn_initial_state : bool
        Make the initial state a parameter: `cell` is wrapped in :class:`LearnedInitialState`.
    checkpoint_every : int, optional
        Keep what gradients need of so many time steps only, and run the others once more; see
        :func:`~tinygrad_rnn.recurrent.scan`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> ys, (h, c) = nn.Recurrent(nn.LSTMCell(3, 4), batch_first=True)(np.zeros((2, 7, 3)))
    >>> ys.shape, h.shape
    ((2, 7, 4), (2, 4))
    """

    def __init__(
        self,
        cell: Cell,
        mode: str = "auto",
        batch_first: bool = False,
        reverse: bool = False,
        learn_initial_state: bool = False,
        checkpoint_every: int | None = None,
    ):
        check_cell_type(cell, type(self).__name__)
        self.checkpoint_every = check_every(checkpoint_every, type(self).__name__)
        self.mode = check_mode(mode)
        self.batch_first, self.reverse = flag("batch_first", batch_first), flag("reverse", reverse)
        self.cell = LearnedInitialState(cell) if flag("learn_initial_state", learn_initial_state) else cell

    def forward(
        self,
        xs,
        state=None,
        lengths=None,
        mask=None,
        resets=None,
        return_states: str = "final",
        return_outputs: bool = True,
    ) -> tuple[Any, Any]:
        """Run over `xs`, (T, B, ...), from `state`; returns outputs and states.

        See :func:`~tinygrad_rnn.recurrent.scan`.

        Parameters
        ----------
        xs : Tensor or array, or a nest of such, (T, B, ...)
        state : nest of tensors, (B, ...), optional
        lengths : ints (B,), optional
            Steps of each row that count, from the first on; zero is allowed, and nothing has to be sorted.
        mask : bools (T, B), optional
            Steps that count; at the others the state is carried through, and outputs are zero.
        resets : bools (T, B), optional
            Steps before which a row is reset to the cell's initial state.
        return_states : {"final", "all"}
            "all": the states after every step, sequences as the outputs are, instead of the final one alone; zero
            where steps do not count.
        return_outputs : bool
            False: None in the place of the outputs; with `checkpoint_every`, they take no memory then.

        Returns
        -------
        ys : nest of tensors, (T, B, ...)
        state : nest of tensors
            After the last step; (T, B, ...) with ``return_states="all"``.
        """
        every, return_outputs = check_returns(return_states, return_outputs)
        cell = with_states(self, self.cell) if every else self.cell
        ys, state = scan(
            cell,
            xs,
            state,
            self.mode,
            self.reverse,
            self.batch_first,
            lengths,
            mask,
            resets,
            checkpoint_every=self.checkpoint_every,
            return_outputs=return_outputs or every,
        )
        if every:
            ys, state = ys
        return ys if return_outputs else None, state

    def stepper(self, batch_size: int = 1, example: Any = None):
        """A stepper for streams, with one step per call.

        See :class:`~tinygrad_rnn.recurrent.streaming.stepper.Stepper`.
        """
        from ..streaming.stepper import Stepper  # the compiler is loaded at first use

        return Stepper([self.streamed_cell("stepper")], batch_size, example, self.mode)

    def streamed_cell(self, owner: str) -> Cell:
        """The cell to run step by step over a stream; `owner` is named in the error of a layer that cannot.

        Raises
        ------
        ValueError
            If the layer runs in reverse.
        """
        if self.reverse:
            raise ValueError(f"{owner}: this layer runs in reverse, which a stream cannot")
        return self.cell

    def explain(self, x: Any = None):
        """Report what was compiled: programs, loops, saved bytes, FLOPs, source; or why it was not.

        See :func:`~tinygrad_rnn.recurrent.explain.explain`; `x` is an example of the input, or the pair (T, B).
        """
        from ..explain import explain_cells

        return explain_cells([("reverse" if self.reverse else "", self.cell)], x, self.mode, self.batch_first)

    def extra_repr(self) -> str:
        flags = [f"mode={self.mode!r}"] if self.mode != "auto" else []
        flags += [f"{name}=True" for name in ("batch_first", "reverse") if getattr(self, name)]
        flags += [f"checkpoint_every={self.checkpoint_every}"] if self.checkpoint_every is not None else []
        return ", ".join(flags)


MERGES = {
    "concat": lambda a, b: ops.concat([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) * 0.5,
}


def check_merge(merge: str) -> str:
    return one_of("merge", merge, MERGES, f"one of {', '.join(MERGES)}")


class Bidirectional(Module):
    """Two cells over one sequence, one forwards and one backwards (Schuster and Paliwal 1997).

    Parameters
    ----------
    cell_fw, cell_bw : Cell
    merge : {"concat", "sum", "mean"}
        How the two outputs at a step become one; "concat" joins the features.
    mode, batch_first, learn_initial_state, checkpoint_every
        As for :class:`Recurrent`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> ys, (fw, bw) = nn.Bidirectional(nn.GRUCell(3, 4), nn.GRUCell(3, 4))(np.zeros((7, 2, 3)))
    >>> ys.shape, bw.shape
    ((7, 2, 8), (2, 4))
    """

    def __init__(
        self,
        cell_fw: Cell,
        cell_bw: Cell,
        merge: str = "concat",
        mode: str = "auto",
        batch_first: bool = False,
        learn_initial_state: bool = False,
        checkpoint_every: int | None = None,
    ):
        self.merge = check_merge(merge)
        self.checkpoint_every = check_every(checkpoint_every, "Bidirectional")
        for cell in (cell_fw, cell_bw):
            check_cell_type(cell, "Bidirectional")
        learn_initial_state = flag("learn_initial_state", learn_initial_state)
        self.cell_fw = LearnedInitialState(cell_fw) if learn_initial_state else cell_fw
        self.cell_bw = LearnedInitialState(cell_bw) if learn_initial_state else cell_bw
        self.mode, self.batch_first = check_mode(mode), flag("batch_first", batch_first)

    def forward(
        self,
        xs,
        state=None,
        lengths=None,
        mask=None,
        resets=None,
        return_states: str = "final",
        return_outputs: bool = True,
    ) -> tuple[Any, tuple[Any, Any]]:
        """Run over `xs`, (T, B, ...); `state` and the states returned are the pair (forwards, backwards).

        See :meth:`Recurrent.forward`; backwards, a row starts at its last step that counts.
        """
        if state is not None and (not isinstance(state, tuple | list) or len(state) != 2):
            raise ShapeError("Bidirectional: state: wanted the pair (forwards, backwards)")
        fw, bw = (None, None) if state is None else state
        which = {"lengths": lengths, "mask": mask, "resets": resets, "checkpoint_every": self.checkpoint_every}
        every, return_outputs = check_returns(return_states, return_outputs)
        which["return_outputs"] = return_outputs or every
        cells = [with_states(self, cell) if every else cell for cell in (self.cell_fw, self.cell_bw)]
        ys_fw, fw = scan(cells[0], xs, fw, self.mode, False, self.batch_first, **which)
        ys_bw, bw = scan(cells[1], xs, bw, self.mode, True, self.batch_first, **which)
        if every:
            (ys_fw, fw), (ys_bw, bw) = ys_fw, ys_bw
        return tree.map(MERGES[self.merge], ys_fw, ys_bw) if return_outputs else None, (fw, bw)

    def explain(self, x: Any = None):
        """Report what was compiled: programs, loops, saved bytes, FLOPs, source; or why it was not.

        See :func:`~tinygrad_rnn.recurrent.explain.explain`; `x` is an example of the input, or the pair (T, B).
        """
        from ..explain import explain_cells

        cells = [("forwards", self.cell_fw), ("backwards", self.cell_bw)]
        return explain_cells(cells, x, self.mode, self.batch_first)

    def extra_repr(self) -> str:
        return f"merge={self.merge!r}"


class Stacked(Cell):
    """Several cells as one: each takes the output of the one before.

    The state is the tuple of their states. Being a cell, the stack runs (and compiles) as one step.

    Parameters
    ----------
    cells : sequence of Cell

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> cell = nn.Stacked([nn.GRUCell(3, 4), nn.GRUCell(4, 5)])
    >>> ys, (first, second) = nn.Recurrent(cell)(np.zeros((7, 2, 3)))
    >>> ys.shape, first.shape
    ((7, 2, 5), (2, 4))
    """

    def __init__(self, cells: Iterable[Cell], *more: Cell):
        if more or not isinstance(cells, Iterable) or isinstance(cells, str | Mapping):
            got = f"{1 + len(more)} arguments" if more else type(cells).__name__
            raise TypeError(f"Stacked: cells: got {got}, wanted a list of cells, such as Stacked([cell, cell])")
        cells = [check_cell_type(cell, "Stacked", f"cells[{i}]") for i, cell in enumerate(cells)]
        if not cells:
            raise ValueError("Stacked: cells: got none, wanted at least one")
        for i, (a, b) in enumerate(pairwise(cells)):
            width = a.output_size or a.hidden_size
            if width is not None and b.input_size not in (None, width):
                raise ShapeError(
                    f"Stacked: cells[{i + 1}]: got input_size {b.input_size}, "
                    f"wanted {width} as the cell before it puts out"
                )
        self.input_size, last = cells[0].input_size, cells[-1]
        self.hidden_size, self.output_size = last.hidden_size, last.output_size
        self.cells: Any = ModuleList(cells)

    @property
    def chained_cells(self) -> list[Cell]:
        """The cells, of which each takes the output of the one before."""
        return list(self.cells)

    def initial_state(self, batch_size: int):
        return tuple(cell.initial_state(batch_size) for cell in self.cells)

    @forwards_to(lambda stack: stack.cells)
    def begin_sequence(self, batch_size: int) -> None:
        for cell in self.cells:
            cell.begin_sequence(batch_size)

    def step(self, x, state):
        states = []
        for cell, s in zip(self.cells, state):
            x, s = cell.step(x, s)
            states.append(s)
        return x, tuple(states)

    def extra_repr(self) -> str:
        return ""
