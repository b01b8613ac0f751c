"""Rewriting a program: its values recorded again, with others in place of some leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..frontend.trace import Trace, recording
from ..ir.interpret import order
from ..ir.program import Captured, Shapes, StepProgram
from ..ir.program_ops import SLICE
from ..ir.symbol import Symbol


class Rewriter:
    """Records values of a trace again as a program without states.

    Parameters
    ----------
    source : Trace
    inputs : sequence of Symbol
        Leaves of `source` that vary in time, which become the inputs.
    ones : iterable of Symbol
        Leaves in whose place there are ones.

    Attributes
    ----------
    originals : dict
        uid of each value that does not vary in the new program -> what it is in `source`.
    """

    def __init__(self, source: Trace, inputs: Sequence[Symbol], ones: Iterable[Symbol] = ()):
        self.trace = Trace(source.dtype, stand_in=source.stand_in)
        self._captured = {c.symbol.uid: c for c in source.captured.values()}
        self.originals: dict[int, Symbol] = {}
        self.inputs = [self.trace.leaf("input", i, s.shape, s.dtype, True) for i, s in enumerate(inputs)]
        self._known = {s.uid: leaf for s, leaf in zip(inputs, self.inputs)}
        with recording(self.trace):
            self._known |= {s.uid: self.trace.zero(s.shape) + 1.0 for s in ones}

    def program(self, roots: Sequence[Symbol]) -> StepProgram:
        """The program that gives `roots`, rows (B, F)."""
        with recording(self.trace):
            for s in order(roots, self._known):
                self._known[s.uid] = self._again(s)
        outputs = [self._known[s.uid] for s in roots]
        rows = Shapes(
            tuple(tuple(x.shape[1:]) for x in self.inputs), (), tuple(tuple(y.shape[1:]) for y in outputs), (), ()
        )
        return self.trace.freeze(self.inputs, [], outputs, [], rows)

    def _again(self, s: Symbol) -> Symbol:
        trace = self.trace
        if s.leaf is not None:
            return self._invariant(s)
        args = tuple(self._known[a.uid] if isinstance(a, Symbol) else a for a in s.args)
        if s.op is SLICE:  # of a leaf that may be none any more
            return trace.columns(args[0], s.static["start"], s.static["stop"])
        assert s.op is not None
        found = trace.make(s.op, args, s.static, s.shape, s.dtype, s.varying)
        found.where = s.where
        if not s.varying:
            self.originals[found.uid] = s
        return found

    def _invariant(self, s: Symbol) -> Symbol:
        source, tensor, _ = self._captured[s.uid]
        found = self.trace.leaf("invariant", len(self.trace.captured), s.shape, s.dtype, False)
        self.trace.captured[id(source)] = Captured(source, tensor, found)
        self.originals[found.uid] = s
        return found
