"""Programs of RTRL: a step that carries its influence along, and gradients of what it gives."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import CompileError
from ..frontend.trace import recording
from ..ir import verify
from ..ir.program import wanted_invariants
from ..ir.program_ops import LOOKUP, ZERO, is_ours
from ..ir.symbol import BATCH, Symbol
from .diagonal import DiagonalStep
from .influence import ParameterSlice
from .parameter_gradients import GradientSymbols, ParameterGradients
from .rewrite import Rewriter


class Carried(NamedTuple):
    """One of the derivatives that are carried along: of tensor `k` of the state.

    Attributes
    ----------
    part : ParameterSlice or None
        By what; None: by tensor `l` of the first state.
    shape : tuple of int
        Of a row of it: that of the part as its base lies in memory.
    """

    part: ParameterSlice | None
    k: int
    l: int
    shape: tuple[int, ...]

    @property
    def transposed(self) -> bool:
        """Whether its axes are those of the part in reverse."""
        return self.part is not None and bool(self.part.lead) and self.part.view.transposed


class Operand(NamedTuple):
    """Columns of an input or an output of a program."""

    output: bool
    number: int


class GradientPart(NamedTuple):
    """What adds to a rectangle of a gradient; see :class:`.parameter_gradients.GradientSymbols`."""

    base: int  # uid, in the program of the step
    at: int
    ld: int
    rows: int
    columns: int
    left: Operand
    right: Operand | None


class InfluencePrograms:
    """The two programs of a diagonal step.

    Both take the inputs, the states and what is carried; the second one also cotangents of the outputs.

    Parameters
    ----------
    step : DiagonalStep
    wanted : set of uids
        Parameters that need gradients.
    by_first : bool
        Whether gradients by the first state are needed.

    Attributes
    ----------
    carried : list of Carried
    advance : StepProgram
        Gives the outputs, the new states, and what is carried of these.
    pull : StepProgram
        Gives rows of gradients.
    gradients : list of GradientPart
        Where these belong.
    by_state, by_input : lists of Operand
        Which of them are gradients by the tensors of the first state, and by the inputs that need gradients.
    originals : pair of dicts
        For each program uids of its values that do not vary -> what they are in the trace of `step`.
    bases : dict
        uid -> Symbol: what `gradients` are of, in the program of the step.

    Raises
    ------
    CompileError
        If some part of it is for the tape alone.
    """

    def __init__(self, step: DiagonalStep, wanted: set[int], by_first: bool):
        self.step, t = step, step.traced
        self._wanted = wanted_invariants(t, wanted)
        if t.checks or t.cast_results or any(s.op is LOOKUP for s in t.expressions.values()):
            raise CompileError("steps with integers or look-ups are learned from eagerly")
        if not all(s.op is None or is_ours(s.op) for s in step.trace.values()):
            raise CompileError("operations of your own are differentiated eagerly")
        self._jacobians = [[None if a.op is ZERO else a for a in adj.states] for adj in step.new]
        self._list_carried(by_first)
        with recording(step.trace) as trace:
            self._old = [
                trace.leaf("influence", i, (BATCH, *_flat(c)), t.dtype, True) for i, c in enumerate(self.carried)
            ]
            new = [self._carry(c) for c in self.carried]
            rows = self._gather()
        given = [*t.inputs, *t.states, *self._old]
        ones = [s for seeds in step.seeds for s in seeds if s is not None]
        ahead = Rewriter(step.trace, given, ones)
        self.advance = ahead.program([*t.outputs, *t.new_states, *new])
        cotangents = [
            trace.leaf("cotangent", i, y.shape, t.dtype, True) if g is None else g
            for i, (y, g) in enumerate(zip(t.outputs, step.cotangents))
        ]
        back = Rewriter(step.trace, [*given, *cotangents])
        numbers = {s.uid: Operand(False, i) for i, s in enumerate([*given, *cotangents])}
        outputs: list[Symbol] = []

        def operand(s: Symbol) -> Operand:
            if s.uid not in numbers:
                numbers[s.uid] = Operand(True, len(outputs))
                outputs.append(s)
            return numbers[s.uid]

        self.gradients = [
            GradientPart(
                p.base.uid,
                p.at,
                p.ld,
                p.rows,
                p.columns,
                operand(p.left),
                None if p.right is None else operand(p.right),
            )
            for p in rows
        ]
        self.bases = {p.base.uid: p.base for p in rows}
        self.by_state = [operand(s) for s in self._first]
        self.by_input = [operand(g) for g in step.read.inputs if g is not None]
        self.pull = back.program(outputs or [trace.zero((BATCH, 1))])
        self.originals = ahead.originals, back.originals
        if verify.enabled:
            verify.verify_program(self.advance)
            verify.verify_program(self.pull)

    # ---- what is carried

    def _list_carried(self, by_first: bool) -> None:
        count = len(self.step.traced.states)
        self.carried: list[Carried] = []
        self._number: dict[tuple, int] = {}
        for part in self.step.parts:
            direct = {k for k, terms in enumerate(self.step.direct) if any(t.part.key == part.key for t in terms)}
            shape = (*part.lead, self.step.units)
            if part.lead and part.view.transposed:
                shape = shape[::-1]
            for k in self._reached(direct, count):
                self._append(Carried(part, k, 0, shape))
        for l in range(count) if by_first else ():
            for k in self._reached({l}, count):
                self._append(Carried(None, k, l, (self.step.units,)))

    def _reached(self, first: set[int], count: int) -> list[int]:
        """The tensors of the state that depend on some of them after any number of steps."""
        found = set(first)
        for _ in range(count):
            found |= {k for k in range(count) if any(self._jacobians[k][l] is not None for l in found)}
        return sorted(found)

    def _append(self, carried: Carried) -> None:
        self._number[_key(carried)] = len(self.carried)
        self.carried.append(carried)

    def _get(self, carried: Carried) -> Symbol | None:
        """What is carried of it, as its shape is; None: nothing ever reaches it."""
        number = self._number.get(_key(carried))
        return None if number is None else self.step.trace.shaped(self._old[number], carried.shape)

    def _carry(self, c: Carried) -> Symbol:
        """The row of a derivative after the step."""
        terms = []
        for l, jacobian in enumerate(self._jacobians[c.k]):
            old = self._get(c._replace(k=l))
            if jacobian is not None and old is not None:
                terms.append(self._across(jacobian, c) * old)
        for term in self.step.direct[c.k]:
            if c.part is not None and term.part.key == c.part.key:
                across = self._across(term.cotangent, c)
                terms.append(self._along(term.left[0], c) * across if term.left else across)
        trace = self.step.trace
        return trace.flat(_sum(terms)) if terms else trace.zero((BATCH, *_flat(c)))

    def _across(self, v: Symbol, c: Carried) -> Symbol:
        """A value for each unit, to be multiplied with what is carried."""
        row, n = self.step.trace.flat(v), self.step.units
        if len(c.shape) == 1:
            return row
        return self.step.trace.shaped(row, (n, 1) if c.transposed else (1, n))

    def _along(self, v: Symbol, c: Carried) -> Symbol:
        """A value for each row of a matrix, to be multiplied with what is carried."""
        row = self.step.trace.flat(v)
        return self.step.trace.shaped(row, (1, row.width) if c.transposed else (row.width, 1))

    # ---- gradients

    def _gather(self) -> list[GradientSymbols]:
        """Gradients of what reads the outputs."""
        step, trace = self.step, self.step.trace
        collected = ParameterGradients(trace, self._wanted)
        by_state = [None if g.op is ZERO else g for g in step.read.states]
        for part in step.parts:
            terms = []
            for k, g in enumerate(by_state):
                c = Carried(part, k, 0, self._shape_of(part))
                old = self._get(c)
                if g is not None and old is not None:
                    terms.append(self._across(g, c) * old)
            row = trace.flat(_sum(terms)) if terms else trace.zero((BATCH, *_flat(c)))
            if not part.lead and part.size == 1 and step.units > 1:  # it has reached all units
                row = row.sum(axis=1, keepdims=True)
            collected.add(part.view, row)
        for view, a, g in step.targets:
            collected.add_product(view, a, g)
        for view, v, g in step.sums:
            row = trace.flat(g)
            collected.add(view, row.sum(axis=1, keepdims=True) if v.size == 1 and row.width > 1 else row)
        self._first = self._by_first(by_state)
        return collected.finish()

    def _shape_of(self, part: ParameterSlice) -> tuple[int, ...]:
        return next(c.shape for c in self.carried if c.part is not None and c.part.key == part.key)

    def _by_first(self, by_state: list) -> list[Symbol]:
        """Gradients by the tensors of the first state, if they are carried."""
        found = []
        for l in range(len(by_state)) if any(c.part is None for c in self.carried) else ():
            terms = []
            for k, g in enumerate(by_state):
                old = self._get(Carried(None, k, l, (self.step.units,)))
                if g is not None and old is not None:
                    terms.append(g * old)
            found.append(_sum(terms) if terms else self.step.trace.zero((BATCH, self.step.units)))
        return found


def _key(c: Carried) -> tuple:
    return None if c.part is None else c.part.key, c.k, c.l


def _flat(c: Carried) -> tuple[int]:
    size = 1
    for n in c.shape:
        size *= n
    return (size,)


def _sum(terms: list) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
