"""Program of a whole function of tensors, as tracing returns it, and the operations that only it has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...core import Op, Tensor
from ...ops import elementwise
from ..ir.interpret import order
from ..ir.program_ops import PICK
from ..ir.symbol import Symbol


class Draw(NamedTuple):
    """Random masks or numbers that are drawn at each call, in the order in which they are asked for.

    Attributes
    ----------
    symbols : tuple of Symbol
        The leaves: of a mask, True where an element is kept; uniform numbers.
    draw : callable
        ``draw()`` gives their arrays, from the package's generator.
    """

    symbols: tuple[Symbol, ...]
    draw: Callable[[], Sequence[np.ndarray]]


class Check(NamedTuple):
    """What has to hold of values of inputs before a run: ``test(*arrays)`` raises what the tape would."""

    symbols: tuple[Symbol, ...]
    test: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class ModelProgram:
    """A traced function of tensors.

    Attributes
    ----------
    inputs : tuple of Symbol
        Leaves, in the order of the arguments.
    captured : mapping of uid to Tensor
        Parameters and other tensors that the function reads, as they were in the trace.
    draws : tuple of Draw
    checks : tuple of Check
    outputs : tuple of Symbol
    """

    inputs: tuple[Symbol, ...]
    captured: Mapping[int, Tensor]
    draws: tuple[Draw, ...]
    checks: tuple[Check, ...]
    outputs: tuple[Symbol, ...]

    def values(self) -> list[Symbol]:
        """All values that the outputs need and that are computed, operands first."""
        return list(self._values)

    @functools.cached_property
    def _values(self) -> list[Symbol]:
        given = {s.uid for s in self.inputs} | set(self.captured) | {s.uid for d in self.draws for s in d.symbols}
        return order(self.outputs, given)


class Loop(NamedTuple):
    """A recurrent layer in a program: what the operation `LOOP` runs.

    The operands of the operation are the inputs, the states, those after a reset if they are others, and the bases of
    the loop, in this order; then what `steps` reads.

    Attributes
    ----------
    run : Any
        The compiled loop of the layer, see :class:`~tinygrad_rnn.recurrent.scan.loop.CompiledLoop`.
    layout : Any
        The axes and the direction of inputs, outputs and final states.
    inputs, states, outputs : int
        How many there are of each.
    reset_states : int
        As many as states if a reset leads to others than the first ones, else 0.
    time, batch : int
    steps : Any
        None if all steps count; otherwise what reads those that do, see
        :class:`~tinygrad_rnn.recurrent.scan.valid_steps.StepsReader`: of the last operands.
    again : bool
        Keep nothing for the gradient, which runs the loop once more.
    """

    run: Any
    layout: Any
    inputs: int
    states: int
    outputs: int
    reset_states: int
    time: int
    batch: int
    steps: Any = None
    again: bool = False

    @property
    def saves(self) -> bool:
        """Whether it keeps what its gradient reads."""
        return self.run.train and not self.again

    @property
    def lead(self) -> tuple[int, int]:
        """The first two axes of inputs and outputs."""
        return (self.batch, self.time) if self.layout.batch_first else (self.time, self.batch)


ASTYPE = elementwise.ASTYPE
LOOP = Op("recurrent_loop", None)  # a first result, for LOOP_GRADIENT alone; PICK takes outputs and final states
LOOP_GRADIENT = Op("recurrent_loop_gradient", None)  # of a LOOP and cotangents; PICK takes those of its operands
AFTER = Op("after", lambda x, *others: x)  # the first argument, once the others are there
SUM_ROWS = Op("sum_rows", lambda x: np.add.reduce(x, axis=0))  # (rows, n) to (n,)

__all__ = ["AFTER", "ASTYPE", "LOOP", "LOOP_GRADIENT", "PICK", "SUM_ROWS", "Check", "Draw", "Loop", "ModelProgram"]
