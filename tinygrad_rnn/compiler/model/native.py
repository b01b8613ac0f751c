"""Native programs: a program bound to arrays, run by one native call where all is machine code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CompileError
from ...kernels.simd import types as simd
from ...ops import join
from ...ops import shape as shapes
from ..ir.program_ops import GETITEM, PICK
from ..ir.symbol import Symbol
from ..runtime.executable import check_available
from .bind_integers import bind_integer
from .bind_loops import bind_loop, bind_loop_gradient, bind_region
from .bind_operations import bind_operation, of_array
from .binder import Binder, is_integer
from .program import AFTER, LOOP, LOOP_GRADIENT, ModelProgram
from .region_loop import RegionLoop, compile_plan
from .regions import partition
from .simplify import simplify


class NativeProgram(Binder):
    """A program with memory of its own for every value, and its stages.

    One run at a time; what it returns is overwritten by the next one.

    Parameters
    ----------
    program : ModelProgram
    captured : dict
        Arrays of the captured tensors by uid: read where they are, at each run. There may be others among them, of
        what was captured after the program was made, whose uids stand for other values here.
    dtype : float32 or float64
        Of all its floats.
    copies : bool
        Copy the arrays of `captured` at each run, whichever they are then.
    first : int
        If not 0, a run is of two halves: so many outputs come of the first one, before some inputs are known.

    Raises
    ------
    CompileError
        Where nothing can be compiled.
    """

    def __init__(
        self,
        program: ModelProgram,
        captured: Mapping[int, np.ndarray],
        dtype: np.dtype,
        copies: bool = False,
        first: int = 0,
    ):
        check_available()
        if simd.BOUNDSCHECK:
            raise CompileError("arrays are checked (NUMBA_BOUNDSCHECK), which stages cannot do")
        # what rules have made since they were looked up are constants, and stay as they are
        self.given, self.copies = {uid: captured[uid] for uid in program.captured if uid in captured}, copies
        program = simplify(program)
        self.program, dtype = program, np.dtype(dtype)
        self.captured = {uid: t.data for uid, t in program.captured.items()} | self.given
        if copies:
            self.captured |= {uid: np.array(a) for uid, a in self.given.items()}
        self.converted: list[tuple[np.ndarray, np.ndarray]] = []  # captured arrays, and what is read in their place
        values = program.values()
        halves = _halves(program, first) if first else [(values, program.outputs)]
        plans = [compile_plan(partition(some, outputs, dtype)) for some, outputs in halves]
        plan = [part for one in plans for part in one]
        self.end, self.middle = len(plan), len(plans[0])
        last, checked = _last_uses(plan, program.outputs, self.end), [s.uid for c in program.checks for s in c.symbols]
        super().__init__(dtype, last, {*checked})
        self.time_first = _read_with_time_first(values)
        self._picked = {s.args[0].uid for s in values if s.op is PICK}
        for s in program.inputs:
            if s.dtype == self.dtype:
                self.at[s.uid] = self.room(s, self.end)
            else:
                self.at[s.uid] = np.empty(s.shape, np.int64 if is_integer(s.dtype) else s.dtype)
        for s in (s for draw in program.draws for s in draw.symbols):
            self.at[s.uid] = self.array(s.shape, self.end)  # zeros and ones
        for uid, a in self.captured.items():
            self.at[uid] = a
            kind = np.dtype(np.int64) if is_integer(a.dtype) else dtype if a.dtype.kind == "f" else a.dtype
            if a.dtype != kind:
                self.at[uid] = np.empty(a.shape, kind)
                self.converted.append((a, self.at[uid]))
        self.bound: list[tuple[RegionLoop | Symbol, int, int]] = []  # with how many stages, and operations in Python
        self.mark = 0  # where the stages of the second half begin
        for self.step, part in enumerate(plan):
            if self.step == self.middle:
                self.mark = self.stages.mark()
            before = self.stages.counts()
            self._bind(part)
            self.memory.release(self.step)
            stages, hosts = (b - a for a, b in zip(before, self.stages.counts()))
            self.bound.append((part, stages, hosts))
        self.stages.finish()
        self.outputs = [self.at[s.uid] for s in program.outputs]

    def reads(self, captured: Mapping[int, np.ndarray]) -> bool:
        """Whether runs read these arrays from now on."""
        for uid, a in self.given.items():
            if captured[uid] is not a:
                break
        else:
            return True
        if self.copies:
            self.given = {uid: captured[uid] for uid in self.given}
        return self.copies

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs, which belong to this object."""
        self.load(inputs)
        self.stages.run()
        return self.outputs

    def load_as(self, other: NativeProgram) -> None:
        """Write what another one was given for a run, of a program with the same draws, some alike inputs."""
        for s in (*self.program.inputs, *[s for draw in self.program.draws for s in draw.symbols]):
            if s.uid in other.at:
                self.at[s.uid][...] = other.at[s.uid]
        self.refresh()

    def load(self, inputs: Sequence[np.ndarray]) -> None:
        """Write all that a run reads and that may be new: inputs, random draws, copies of captured arrays."""
        for s, a in zip(self.program.inputs, inputs):
            self.at[s.uid][...] = a
        for symbols, draw in self.program.draws:
            for s, a in zip(symbols, draw()):
                self.at[s.uid][...] = a
        self.refresh()

    def refresh(self) -> None:
        """Read captured arrays that are not read where they are."""
        if self.copies:
            for uid, a in self.given.items():
                self.captured[uid][...] = a
        for source, target in self.converted:
            target[...] = source

    # ---- operations

    def _bind(self, part: RegionLoop | Symbol) -> None:
        if isinstance(part, RegionLoop):
            bind_region(self, part)
        elif part.op is PICK:
            self.place(part, self.at[part.args[0].uid][part.static["index"]])
        elif part.op is AFTER:
            self.place(part, self.at[part.args[0].uid])
        elif part.op is LOOP:
            bind_loop(self, part)
        elif part.op is LOOP_GRADIENT:
            bind_loop_gradient(self, part)
        elif not (self._bind_view(part) or bind_operation(self, part) or bind_integer(self, part)):
            self._bind_host(part)

    def _bind_view(self, s: Symbol) -> bool:
        """A result that shares memory with its argument takes no time."""
        first = s.args[0] if s.args else None
        if not isinstance(first, Symbol) or not _gives_views(s):
            return False
        source = self.at[first.uid]
        forward: Any = s.op.forward  # type: ignore[union-attr]
        if forward is None or not isinstance(source, np.ndarray):
            return False
        # NumPy makes the view, or shows that there is none by making a copy
        view = forward(source, **s.static)
        if isinstance(view, np.generic) and s.op is GETITEM:
            # a number has no memory, an array without axes has
            view = source[of_array(s.static["index"])]
        if isinstance(view, tuple):
            self.at[s.uid] = view
            for part in view:
                self.memory.keep(part, self.last[s.uid])
            return all(np.shares_memory(part, source) for part in view if part.size)
        if view.size and not np.shares_memory(view, source):
            if s.op is not shapes.RESHAPE or source.dtype not in (self.dtype, np.int64):
                return False
            in_order = self.contiguous if source.dtype == self.dtype else self.integers_in_order
            view = in_order(source).reshape(s.shape)
        self.place(s, view)
        return True

    def _bind_host(self, s: Symbol) -> None:
        """An operation without machine code: NumPy runs it, between two native calls."""
        args = [self.at[a.uid] if isinstance(a, Symbol) else a for a in s.args]
        kinds = [a.dtype if isinstance(a, Symbol) else None for a in s.args]
        op: Any = s.op

        def forward(*arrays: Any, **static: Any) -> Any:  # truth values are numbers in regions
            given = [a if k is None or a.dtype == k else a.astype(k) for a, k in zip(arrays, kinds)]
            return op.forward(*given, **static)

        example = self._example(s)
        if example is not None:
            targets = tuple(np.empty(shape, np.int64 if is_integer(dtype) else dtype) for shape, dtype in example)
            self.at[s.uid] = targets

            def several() -> None:
                for target, result in zip(targets, forward(*args, **s.static)):
                    target[...] = result

            self.stages.call(s.operation, several)
            return
        if s.dtype == self.dtype:
            target = self.result(s)
        else:
            target = self.at[s.uid] = np.empty(s.shape, np.int64 if is_integer(s.dtype) else s.dtype)

        def one() -> None:
            with np.errstate(all="ignore"):
                target[...] = forward(*args, **s.static)

        self.stages.call(s.operation, one)

    def _example(self, s: Symbol) -> list[tuple[tuple, np.dtype]] | None:
        """Shapes and dtypes of the results of an operation with several; None if it has one."""
        if s.uid not in self._picked:
            return None
        args = [np.ones(a.shape, a.dtype) if isinstance(a, Symbol) else a for a in s.args]
        return [(r.shape, r.dtype) for r in map(np.asarray, s.op.forward(*args, **s.static))]  # type: ignore[union-attr]


def _halves(program: ModelProgram, first: int) -> list[tuple[list[Symbol], tuple[Symbol, ...]]]:
    """Values and outputs of what the first outputs need, and of the rest, whose operands are among them."""
    one, two = program.outputs[:first], program.outputs[first:]
    own = {s.uid for s in dataclasses.replace(program, outputs=one).values()}
    early, late = ([s for s in program.values() if (s.uid in own) is there] for there in (True, False))
    read = {a.uid: a for a in (*two, *[a for s in late for a in s.operands]) if a.uid in own}
    return [(early, (*one, *read.values())), (late, two)]


def _last_uses(plan: Sequence[RegionLoop | Symbol], outputs: Sequence[Symbol], end: int) -> dict[int, int]:
    """For each value the last step that reads it."""
    last: dict[int, int] = {}
    for i, part in enumerate(plan):
        if isinstance(part, RegionLoop):
            met = (*part.outputs, *part.inputs, *part.bases)
        else:
            met = (part, *part.operands)
        last |= {s.uid: i for s in met}
    # outputs are read when all steps have run
    return last | {s.uid: end for s in outputs}


def _read_with_time_first(values: Sequence[Symbol]) -> set[int]:
    """Uids of the inputs and the cotangents of loops whose first axis is the batch."""
    found: set[int] = set()
    for s in values:
        loop: Any = s.static.get("loop") if s.op is LOOP else None
        read = [] if loop is None else s.operands[: loop.inputs]
        if s.op is LOOP_GRADIENT:
            loop = s.args[0].static["loop"]
            read = [a for i, a in zip(s.static["indices"], s.args[1:]) if i < loop.outputs and isinstance(a, Symbol)]
        if loop is not None and loop.steps is None and loop.layout.batch_first and not loop.layout.reverse:
            found |= {a.uid for a in read if a.ndim > 2}
    return found


_VIEWS = {id(op) for op in (shapes.RESHAPE, shapes.TRANSPOSE, shapes.BROADCAST_TO, join.SPLIT)}


def _gives_views(s: Symbol) -> bool:
    """Whether the operation may give a view of its first argument."""
    return (s.op is not None and s.op.view) or id(s.op) in _VIEWS
