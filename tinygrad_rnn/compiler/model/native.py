"""Native programs: a program bound to arrays, run by one native call where all is machine code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CompileError
from ...kernels.simd import types as simd
from ...ops import index as indexing
from ...ops import join
from ...ops import shape as shapes
from ..ir.program_ops import GETITEM, MATMUL, PICK, SUM
from ..ir.symbol import Symbol
from ..runtime.executable import check_available
from .bind import Memory, Stages, packed_elements
from .program import LOOP, LOOP_GRADIENT, SUM_ROWS, Loop, ModelProgram
from .region_loop import RegionLoop, compile_plan
from .regions import partition
from .simplify import simplify


class NativeProgram:
    """A program with memory of its own for every value, and its stages.

    One run at a time; what it returns is overwritten by the next one.

    Parameters
    ----------
    program : ModelProgram
    captured : dict
        Arrays of the captured tensors by uid: read where they are, at each run.
    dtype : float32 or float64
        Of all its floats.
    copies : bool
        Copy the arrays of `captured` at each run, whichever they are then.

    Raises
    ------
    CompileError
        Where nothing can be compiled.
    """

    def __init__(
        self, program: ModelProgram, captured: Mapping[int, np.ndarray], dtype: np.dtype, copies: bool = False
    ):
        check_available()
        if simd.BOUNDSCHECK:
            raise CompileError("arrays are checked (NUMBA_BOUNDSCHECK), which stages cannot do")
        program = simplify(program)
        self.program, self.dtype = program, np.dtype(dtype)
        self.given, self.copies = dict(captured), copies
        self.captured = {uid: t.data for uid, t in program.captured.items()} | dict(captured)
        if copies:
            self.captured |= {uid: np.array(a) for uid, a in captured.items()}
        self.stages, self.memory = Stages(self.dtype), Memory(self.dtype)
        self.at: dict[int, Any] = {}  # where values are, by uid
        self._floats: dict[int, np.ndarray] = {}  # integers and truth values as floats, by uid
        self._integers: dict[int, np.ndarray] = {}
        self.converted: list[tuple[int, np.ndarray]] = []
        values = program.values()
        plan = compile_plan(partition(values, program.outputs, self.dtype))
        self.end = len(plan)
        self.last = _last_uses(plan, program.outputs, self.end)
        self._picked = {s.args[0].uid for s in values if s.op is PICK}
        for s in (*program.inputs, *(s for draw in program.draws for s in draw.symbols)):
            self.at[s.uid] = self._array(s.shape, self.end) if s.dtype == self.dtype else np.empty(s.shape, s.dtype)
        self.at |= self.captured
        self.bound: list[tuple[RegionLoop | Symbol, int, int]] = []  # with how many stages, and operations in Python
        for self.step, part in enumerate(plan):
            before = self.stages.counts()
            if isinstance(part, RegionLoop):
                self._bind_region(part)
            else:
                self._bind(part)
            self.memory.release(self.step)
            stages, hosts = (b - a for a, b in zip(before, self.stages.counts()))
            self.bound.append((part, stages, hosts))
        self.stages.finish()
        self.outputs = [self.at[s.uid] for s in program.outputs]

    def reads(self, captured: Mapping[int, np.ndarray]) -> bool:
        """Whether runs read these arrays from now on."""
        given = self.given
        for uid, a in captured.items():
            if given[uid] is not a:
                break
        else:
            return True
        if self.copies:
            self.given = dict(captured)
        return self.copies

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs, which belong to this object."""
        self.load(inputs)
        self.stages.run()
        return self.outputs

    def load(self, inputs: Sequence[np.ndarray]) -> None:
        """Write all that a run reads and that may be new: inputs, random draws, copies of captured arrays."""
        for s, a in zip(self.program.inputs, inputs):
            self.at[s.uid][...] = a
        for symbols, draw in self.program.draws:
            for s, a in zip(symbols, draw()):
                self.at[s.uid][...] = a
        if self.copies:
            for uid, a in self.given.items():
                self.captured[uid][...] = a
        for uid, target in self.converted:
            target[...] = self.at[uid]

    # ---- memory

    def _array(self, shape: Sequence[int], until: int) -> np.ndarray:
        size = math.prod(shape)
        return self.memory.new(size, until)[:size].reshape(shape)

    def _result(self, s: Symbol) -> np.ndarray:
        """Memory for the value of `s`."""
        found = self._array(s.shape, self.last[s.uid])
        self.at[s.uid] = found
        return found

    def contiguous(self, view: np.ndarray) -> np.ndarray:
        """The array itself, or a copy for this step; integers and truth values as floats."""
        if view.flags.c_contiguous and view.dtype == self.dtype:
            return view
        out = self._array(view.shape, self.step)
        self.stages.copy(view, out)
        return out

    def matrix(self, view: np.ndarray) -> np.ndarray:
        """The matrix itself, or a copy for this step, with contiguous rows."""
        rows, columns = view.shape
        steps = [n // view.itemsize for n in view.strides]
        fits = (columns == 1 or steps[1] == 1) and (rows == 1 or steps[0] >= columns)
        return view if fits and view.dtype == self.dtype else self.contiguous(view)

    def operand(self, s: Any) -> np.ndarray:
        """The array of an argument, as floats."""
        if not isinstance(s, Symbol):
            return np.asarray(s, self.dtype)
        found = self.at[s.uid]
        if found.dtype == self.dtype:
            return found
        if s.uid not in self._floats:
            self._floats[s.uid] = np.empty(s.shape, self.dtype)  # of its own: it is written to before the first stage
            if s.leaf is None:
                source, target = found, self._floats[s.uid]
                self.stages.call("cast", lambda: np.copyto(target, source))
            else:
                self.converted.append((s.uid, self._floats[s.uid]))
        return self._floats[s.uid]

    def integers(self, s: Symbol) -> np.ndarray | None:
        """An argument of integers as int64, in order; None if it is computed."""
        if s.leaf is None:
            return None
        found = self.at[s.uid]
        if found.dtype == np.int64 and found.flags.c_contiguous:
            return found
        if s.uid not in self._integers:
            self._integers[s.uid] = np.empty(s.shape, np.int64)
            self.converted.append((s.uid, self._integers[s.uid]))
        return self._integers[s.uid]

    def _place(self, s: Symbol, view: np.ndarray) -> None:
        """Let the value of `s` be `view`, whose memory is in use as long as `s` is."""
        self.at[s.uid] = view
        self.memory.keep(view, self.last[s.uid])

    # ---- operations

    def _bind(self, s: Symbol) -> None:
        if s.op is PICK:
            self._place(s, self.at[s.args[0].uid][s.static["index"]])
        elif s.op is LOOP:
            self._bind_loop(s)
        elif s.op is LOOP_GRADIENT:
            self._bind_loop_gradient(s)
        elif not (self._bind_view(s) or self._bind_native(s)):
            self._bind_host(s)

    def _bind_view(self, s: Symbol) -> bool:
        """A result that shares memory with its argument takes no time."""
        first = s.args[0] if s.args else None
        if not isinstance(first, Symbol) or not _gives_views(s):
            return False
        source = self.at[first.uid]
        forward: Any = s.op.forward  # type: ignore[union-attr]
        if forward is None or not isinstance(source, np.ndarray):
            return False
        view = forward(source, **s.static)
        if isinstance(view, np.generic) and s.op is GETITEM:
            view = source[_of_array(s.static["index"])]
        if isinstance(view, tuple):
            self.at[s.uid] = view
            for part in view:
                self.memory.keep(part, self.last[s.uid])
            return all(np.shares_memory(part, source) for part in view if part.size)
        if view.size and not np.shares_memory(view, source):
            if s.op is not shapes._reshape.op or source.dtype != self.dtype:
                return False
            view = self.contiguous(source).reshape(s.shape)
        self._place(s, view)
        return True

    def _bind_native(self, s: Symbol) -> bool:
        """An operation that is a task of its own."""
        if s.dtype != self.dtype:
            return False
        rule = _RULES.get(id(s.op))
        return rule is not None and rule(self, s)

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
            targets = tuple(np.empty(shape, dtype) for shape, dtype in example)
            self.at[s.uid] = targets

            def several() -> None:
                for target, result in zip(targets, forward(*args, **s.static)):
                    target[...] = result

            self.stages.call(s.operation, several)
            return
        target = self._result(s) if s.dtype == self.dtype else np.empty(s.shape, s.dtype)
        self.at[s.uid] = target

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

    # ---- loops

    def _bind_region(self, loop: RegionLoop) -> None:
        executable, rows = loop.executable, loop.region.rows
        if loop.region.dtype != self.dtype:
            raise CompileError(f"floats: got {loop.region.dtype} and {self.dtype}, wanted one dtype")
        bound = executable.binding("inference", 1, rows)
        arrays = [self.memory.new(bound.arena, self.step)]
        arrays += [self.contiguous(self.operand(s)).reshape(-1) for s in loop.inputs]
        copies, results = [], []
        for i, s in enumerate(loop.outputs):
            if bound.copies:
                out = self._result(s)
                copies.append(out.reshape(-1))
            else:
                results.append(self.memory.new(bound.results[i], self.last[s.uid]))
        arrays += results
        arrays += [self.contiguous(self.operand(s)).reshape(n) for s, n in zip(loop.bases, loop.shapes)]
        packed = [self.memory.new(size, self.step) for size in bound.w]
        self.stages.launch(bound.launch, [*arrays, *copies, *packed])
        if not bound.copies:
            for s, view in zip(loop.outputs, bound.outputs):
                self._place(s, view.of(arrays).reshape(s.shape))  # a view: rows are its first axes

    def _bind_loop(self, s: Symbol) -> None:
        loop: Loop = s.static["loop"]
        if loop.steps is not None:
            raise CompileError("a layer with lengths, masks or resets: stages run all steps")
        run, layout, until = loop.run, loop.layout, self.last[s.uid]
        executable, n = run.executable, loop.inputs
        bound = executable.binding("training" if run.train else "inference", loop.time, loop.batch)
        operands = [self.operand(a) for a in s.args]
        given = [self.contiguous(layout.to_time_major(a)) for a in operands[:n]]
        given += [self.contiguous(a) for a in operands[n:]]
        for a in given:  # the gradient reads them, too
            self.memory.keep(a, until)
        flat = [a.reshape(-1) for a in given]
        m = n + loop.states
        copies = [self._array(shape, until) for shape in bound.copies]
        arrays = [self.memory.new(bound.arena, until), *flat[:m]]
        arrays += [self.memory.new(size, until) for size in bound.results]
        arrays += given[m:]
        packed = [self.memory.new(size, self.step) for size in bound.w]
        self.stages.launch(bound.launch, [*arrays, *[c.reshape(-1) for c in copies], *packed])
        count = len(copies) - loop.states
        ys = copies[:count] or [view.of(arrays) for view in bound.outputs]
        finals = copies[count:] if layout.layer_axis else [f[0] for f in copies[count:]]
        self.at[s.uid] = _Results([*map(layout.from_time_major, ys), *finals], arrays)

    def _bind_loop_gradient(self, s: Symbol) -> None:
        lead = s.args[0]
        loop: Loop = lead.static["loop"]
        run, layout, until = loop.run, loop.layout, self.last[s.uid]
        executable, n, m, k = run.executable, loop.inputs, loop.states, loop.outputs
        bound = executable.binding("backward", loop.time, loop.batch)
        forward = self.at[lead.uid].arrays
        cotangents = dict(zip(s.static["indices"], s.args[1:]))
        seeds = []
        for i, size in enumerate(bound.seeds):
            if i in cotangents:
                g = self.operand(cotangents[i])
                seeds.append(self.contiguous(layout.to_time_major(g) if i < k else g).reshape(-1))
            else:
                seeds.append(np.zeros(size, self.dtype))  # of its own: nothing writes to it
        grads = self.memory.new(bound.grads, until)
        arrays = [self.memory.new(bound.arena, self.step), *seeds]
        arrays += [self.memory.new(size, until) for size in bound.results]
        arrays += [grads, forward[0], *forward[1 : 1 + n], *forward[1 + n + m :]]
        copies = [self._array(shape, until) for shape in bound.copies]
        whole = [*arrays, *[c.reshape(-1) for c in copies], *[self.memory.new(size, self.step) for size in bound.w]]
        self.stages.launch(bound.launch, whole)
        found: list[Any] = [None] * (n + m + len(run.bases))
        rest = list(copies)
        for i, view in bound.wanted:
            found[i] = layout.from_time_major(rest.pop(0) if view is None else view.of(arrays))
        found[n : n + m] = rest
        by_uid = {uid: np.ndarray(shape, dtype, grads, at) for uid, shape, dtype, at in bound.bases}
        found[n + m :] = [by_uid.get(b.uid) for b in run.bases]
        results = []
        for a, g in zip(lead.operands, found):
            results.append(np.zeros(a.shape, self.dtype) if g is None else g.reshape(a.shape))
        self.at[s.uid] = tuple(results)


class _Results(tuple):
    """Results of a loop, with the arrays of its call, which its gradient reads."""

    def __new__(cls, results: Sequence[np.ndarray], arrays: list[np.ndarray]) -> _Results:
        self = super().__new__(cls, results)
        self.arrays = arrays
        return self

    arrays: list[np.ndarray]


def _last_uses(plan: Sequence[RegionLoop | Symbol], outputs: Sequence[Symbol], end: int) -> dict[int, int]:
    """For each value the last step that reads it."""
    last: dict[int, int] = {}
    for i, part in enumerate(plan):
        if isinstance(part, RegionLoop):
            met = (*part.outputs, *part.inputs, *part.bases)
        else:
            met = (part, *part.operands)
        last |= {s.uid: i for s in met}
    return last | {s.uid: end for s in outputs}


_VIEWS = {id(op) for op in (shapes._reshape.op, shapes._transpose.op, shapes._broadcast_to.op, join._split.op)}


def _gives_views(s: Symbol) -> bool:
    """Whether the operation may give a view of its first argument."""
    return (s.op is not None and s.op.view) or id(s.op) in _VIEWS


# ---- operations that are tasks of their own


def _matmul(native: NativeProgram, s: Symbol) -> bool:
    a, b = map(native.operand, s.args)
    if a.ndim != 2 or b.ndim != 2 or not a.size or not b.size:
        return False
    b = native.matrix(b)
    transposed = a.shape[0] > 1 and a.strides[0] == a.itemsize and a.strides[1] >= a.shape[0] * a.itemsize
    packed = None
    if not transposed:
        a = native.matrix(a)
        packed = native.memory.new(packed_elements(b.shape[0], b.shape[1], native.dtype), native.step)
    native.stages.product(a, b, native._result(s), packed)
    return True


def _sum(native: NativeProgram, s: Symbol) -> bool:
    """A sum over the first axes."""
    x = native.operand(s.args[0])
    axes = tuple(sorted(s.static["axis"]))
    if not axes or axes != tuple(range(len(axes))) or not x.size:
        return False
    rows = math.prod(x.shape[: len(axes)])
    matrix = native.contiguous(x).reshape(rows, -1)
    native.stages.sum_rows(matrix, native._result(s).reshape(-1))
    return True


def _scatter_add(native: NativeProgram, s: Symbol) -> bool:
    """The transpose of a slice: zeros, with the argument in its place."""
    index = s.static["index"]
    parts = index if isinstance(index, tuple) else (index,)
    if not all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts):
        return False
    target = native._result(s)
    native.stages.clear(target.reshape(-1))
    place = target[_of_array(index)]
    native.stages.copy(np.broadcast_to(native.operand(s.args[0]), place.shape), place)
    return True


def _of_array(index: Any) -> tuple:
    """A basic index that takes arrays out of arrays, where integers for all axes would take a number."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)


def _concat(native: NativeProgram, s: Symbol) -> bool:
    target, axis, at = native._result(s), s.static["axis"], 0
    for a in s.args:
        x = native.operand(a)
        place = np.moveaxis(np.moveaxis(target, axis, 0)[at : at + x.shape[axis]], 0, axis)
        native.stages.copy(x, place)
        at += x.shape[axis]
    return True


def _sum_rows(native: NativeProgram, s: Symbol) -> bool:
    matrix = native.matrix(native.operand(s.args[0]))
    native.stages.sum_rows(matrix, native._result(s))
    return True


def _embedding(native: NativeProgram, s: Symbol) -> bool:
    table, indices = native.operand(s.args[0]), _indices(native, s)
    if indices is None or not table.size:
        return False
    native.stages.gather(native.contiguous(table), indices, native._result(s))
    return True


def _scatter_rows(native: NativeProgram, s: Symbol) -> bool:
    rows, indices = native.operand(s.args[0]), _indices(native, s)
    if indices is None or not s.size:
        return False
    native.stages.scatter(native.contiguous(rows), indices, s.static["padding"], native._result(s))
    return True


def _indices(native: NativeProgram, s: Symbol) -> np.ndarray | None:
    """The integers that an operation looks up: an argument, or known to the trace."""
    return native.integers(s.args[1]) if len(s.args) > 1 else None


_RULES = {
    id(indexing._embedding.op): _embedding,
    id(indexing._scatter_rows.op): _scatter_rows,
    id(SUM_ROWS): _sum_rows,
    id(MATMUL): _matmul,
    id(SUM): _sum,
    id(indexing.scatter_add.op): _scatter_add,
    id(join._concat.op): _concat,
}
