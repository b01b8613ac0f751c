"""What is known of a cell: its programs, and calls that may come again.

A small layer's call consists of checks, not of arithmetic. So a call like an earlier one, of a cell that has not
changed since, is checked for just that, and needs none of the others.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ...config import grad_mode
from ...core import Tensor, tree
from ...modules.parameter import Parameter
from ..cell import Cell
from .axis_layout import Arrangement, is_solid
from .settings import Settings
from .valid_steps import Steps

if TYPE_CHECKING:
    from .compiled import Program, Refusal

PROGRAMS = 32  # of one cell that are kept
VARIANTS = 8  # of a program, with different guards
CALLS = 64
SMALL = 4096  # elements of an initial state that is kept


class Known:
    """The programs of one cell, or why there is none; and its earlier calls."""

    def __init__(self) -> None:
        self.programs: dict[tuple, list[Program | Refusal]] = {}  # of one key, with different guards
        self.calls: dict[tuple, Call] = {}
        self.warned: set[tuple] = set()
        self.settings = Settings()

    def add_program(self, key: tuple, program: Program | Refusal) -> None:
        if key not in self.programs and len(self.programs) >= PROGRAMS:
            self.programs.pop(next(iter(self.programs)))
        self.programs[key] = [program, *self.programs.get(key, ())][:VARIANTS]

    def remember(self, x: Tensor, arrange: Arrangement, call: Call) -> None:
        last = next(reversed(self.calls.values()), call)
        if [*map(id, last.arrays)] != [*map(id, call.arrays)]:
            self.calls.clear()  # they would keep arrays alive that no parameter has any more
        if len(self.calls) >= CALLS:
            self.calls.pop(next(iter(self.calls)), None)
        self.calls[_key(x, arrange)] = call


_known: dict[int, tuple[weakref.ref, Known]] = {}  # by identity: a cell may define what equal cells are


def _find(cell: Cell) -> Known | None:
    found = _known.get(id(cell))
    return found[1] if found is not None and found[0]() is cell else None


def known_of(cell: Cell) -> Known:
    found = _find(cell)
    if found is None:
        key, found = id(cell), Known()

        def forget(gone: weakref.ref, known: dict = _known) -> None:  # globals may be gone when Python ends
            if known.get(key, (None,))[0] is gone:
                del known[key]

        _known[key] = weakref.ref(cell, forget), found
    return found


def earlier_call(cell: Cell, x: Tensor, arrange: Arrangement) -> Call | None:
    """The last call of the cell on a sequence like `x`, if it took the compiled road and would take the same again."""
    known = _find(cell)
    if known is None or grad_mode.tracer is not None:
        return None
    call = known.calls.get(_key(x, arrange))
    return call if call is not None and call.holds(cell, known) else None


def _key(x: Tensor, arrange: Arrangement) -> tuple:
    array = x._array  # as everywhere on this path: `data` is a property, which takes three times as long
    return array.shape, array.dtype, x.requires_grad, grad_mode.enabled, arrange


class Call:
    """A call on one sequence, and all that has to be as it was for it to be made again."""

    __slots__ = (
        "arrays",
        "bases",
        "guards",
        "initial",
        "loop",
        "outputs",
        "settings",
        "state_structure",
        "states",
        "tensors",
    )

    def __init__(
        self, program: Program, loop: Any, tensors: list[Tensor], states: list[Tensor], state_structure, settings: tuple
    ):
        self.loop, self.outputs, self.settings = loop, program.output_structure, settings
        self.guards = [guards for guards in (program.guards, loop.guards) if not guards.empty]
        self.tensors, self.arrays = tensors, [t.data for t in tensors]
        self.bases = [
            (attributes, name, t, t.data, t.requires_grad)
            for (attributes, name, _), t in zip(program.plain or (), tensors)
        ]
        self.states = [(s.data.shape, s.data.dtype, s.requires_grad) for s in states]
        self.state_structure = state_structure
        self.initial: list[Tensor] | None = None  # where it is always the same

    @staticmethod
    def may_come_again(program: Program, tensors: list[Tensor]) -> bool:
        """Whether the loop reads nothing but parameters, as they lie, that are attributes of the cell and its parts."""
        if program.plain is None or program.traced.drawn:
            return False
        dtype = program.traced.dtype
        return all(
            isinstance(t, Parameter) and not source.path and is_solid(t.data, dtype)
            for source, t in zip(program.plain, tensors)
        )

    def states_like(self, cell: Cell, state: Any, batch: int) -> list[Tensor] | None:
        """The tensors of `state`, or of the cell's initial one; None if they are not like those of the call."""
        initial = self.initial
        if initial is None:
            initial, structure = tree.flatten(cell.initial_state(batch))
            if not self._fit(initial, structure, state is None):
                return None
            constant = state is None and self.bases and getattr(cell.initial_state, "constant", False)
            if constant and sum(s.data.size for s in initial) <= SMALL:
                self.initial = initial
        if state is None:
            return initial
        states, structure = tree.flatten(state)
        return states if self._fit(states, structure, True) else None

    def _fit(self, states: list, structure: tree.Structure, gradients: bool) -> bool:
        if structure != self.state_structure:
            return False
        for s, (shape, dtype, wanted) in zip(states, self.states):
            if not isinstance(s, Tensor) or s._array.shape != shape or s._array.dtype != dtype:
                return False
            if gradients and s.requires_grad != wanted:
                return False
        return True

    def holds(self, cell: Cell, known: Known) -> bool:
        """Whether the cell is as it was."""
        if known.settings.read(cell) is not self.settings:
            return False
        for guards in self.guards:
            if not guards.hold():
                return False
        for attributes, name, tensor, array, wanted in self.bases:
            if attributes[name] is not tensor or tensor._array is not array or tensor.requires_grad is not wanted:
                return False
        return True

    def begin(self, cell: Cell, batch: int) -> bool:
        """Begin a sequence; whether the call may be made."""
        cell.begin_sequence(batch)
        begins = getattr(cell.begin_sequence, "__func__", None)
        return (begins is Cell.begin_sequence and self.initial is not None) or self.holds(cell, known_of(cell))

    def run(self, x: Tensor, states: list[Tensor], arrange: Arrangement, steps: Steps | None = None) -> tuple[Any, Any]:
        """Outputs and final state; `steps` says which steps count."""
        loop: Any = self.loop
        results = loop.run([x], states, (), self.tensors, self.arrays, arrange, steps)
        n = loop.n_outputs
        return tree.unflatten(self.outputs, results[:n]), tree.unflatten(self.state_structure, results[n:])
