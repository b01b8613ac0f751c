"""Gradients by parameters, as symbols, through what is computed from parameters, too."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

from ...core.backward import unbroadcast
from ...errors import CompileError
from ..frontend.trace import Trace
from ..ir.heads import heads_of
from ..ir.program_ops import PICK, is_ours
from ..ir.symbol import BATCH, Symbol
from ..ir.weight_slices import WeightSlice, resolve_slice


class GradientSymbols(NamedTuple):
    """Part of a gradient: to a rectangle adds ``left.T @ right``, or the sum of the rows of `left`.

    Attributes
    ----------
    base : Symbol
        The invariant: a parameter, or a value computed from parameters.
    at, ld, rows, columns : int
        The rectangle, in its elements.
    left, right : Symbol
        Rows, (B, rows) and (B, columns), or without `right` (B, rows columns).
    """

    base: Symbol
    at: int
    ld: int
    rows: int
    columns: int
    left: Symbol
    right: Symbol | None


class ParameterGradients:
    """Collects cotangents of invariants, one for each row of the batch.

    Those of an elementwise expression of invariants are carried on to what it is computed from: a loop does so in no
    time, and on the tape it would take longer than the step. Operations have to be recorded in `trace` meanwhile.

    Parameters
    ----------
    trace : Trace
    wanted : set of uids
        Invariants that need gradients.
    """

    def __init__(self, trace: Trace, wanted: set[int]):
        self.trace, self.wanted = trace, wanted
        self.found: list[GradientSymbols] = []
        self._whole: dict[int, tuple[Symbol, Symbol]] = {}  # uid -> an invariant, and its cotangent (B, ...)
        self._queue: list[int] = []

    def add(self, view: WeightSlice, rows: Symbol) -> None:
        """Add rows of gradients by a view; each is in the C order of the view's base."""
        view = _followed(view)
        base = self._checked(view.base)
        parts = [n for _, n in sorted((axis, stop - start) for axis, start, stop in view.axes)]
        if parts != list(base.shape):
            self.found.append(GradientSymbols(base, *_rectangle(view), rows, None))
            return
        rows = self.trace.shaped(rows, base.shape)
        if base.uid in self._whole:
            self._whole[base.uid] = base, self._whole[base.uid][1] + rows
        else:
            self._whole[base.uid] = base, rows
            heapq.heappush(self._queue, -base.uid)

    def add_product(self, view: WeightSlice, a: Symbol, g: Symbol) -> None:
        """Add ``a.T @ g``, the gradient by a matrix that is a view."""
        deep = _followed(view)
        if deep.transposed:
            a, g = g, a
        if self._is_elementwise(self._checked(deep.base)) and all(
            (start, stop) == (0, deep.base.shape[axis]) for axis, start, stop in deep.axes
        ):
            shaped, flat = self.trace.shaped, self.trace.flat
            outer: Any = shaped(flat(a), (a.width, 1)) * shaped(flat(g), (1, g.width))
            self.add(view, self.trace.flat(outer))
            return
        self.found.append(GradientSymbols(deep.base, *_rectangle(deep), a, g))

    def finish(self) -> list[GradientSymbols]:
        """All that was added, carried on as far as it goes."""
        while self._queue:
            v, g = self._whole.pop(-heapq.heappop(self._queue))
            if self._is_elementwise(v):
                self._carry_on(v, g)
            else:
                size = v.size
                self.found.append(GradientSymbols(v, 0, size, 1, size, self.trace.flat(g), None))
        return self.found

    def _is_elementwise(self, v: Symbol) -> bool:
        if v.op is None or v.op.lowering is None or v.lowering.kind != "elementwise" or not is_ours(v.op):
            return False
        return (v.op.vjps or v.op.joint_vjp) is not None and v.dtype == self.trace.dtype

    def _carry_on(self, v: Symbol, g: Symbol) -> None:
        op: Any = v.op
        needs = [isinstance(a, Symbol) and a.uid in self.wanted for a in v.args]
        if op.joint_vjp is not None:
            found = op.joint_vjp(g, v, *v.args, needs=needs, **v.static)
        else:
            found = [rule(g, v, *v.args, **v.static) if n and rule else None for rule, n in zip(op.vjps, needs)]
        for a, ga, needed in zip(v.args, found, needs):
            if needed and ga is not None:
                shape = (BATCH, *(1,) * (v.ndim - a.ndim), *a.shape)
                self.add(resolve_slice(a), self._in_base_order(a, self.trace.flat(unbroadcast(ga, shape))))

    def _in_base_order(self, a: Symbol, row: Symbol) -> Symbol:
        """A row that holds a value in C order, in that of its base."""
        if a.ndim != 2 or not resolve_slice(a).transposed:
            return row
        transposed: Any = self.trace.shaped(row, a.shape).transpose((0, 2, 1))
        return self.trace.flat(transposed)

    def _checked(self, base: Symbol) -> Symbol:
        if heads_of(base) is not None or BATCH in base.shape:
            raise CompileError("gradients of matrices for each head, or of values for each row, are added up eagerly")
        return base


def _followed(view: WeightSlice) -> WeightSlice:
    """The view of what a base is a part of, where it is one of those that a matrix was split into."""
    base = view.base
    while base.op is PICK and base.args[0].lowering.kind == "split":
        (stem,) = base.args
        (source,), axis = stem.args, stem.static["axis"]
        start = stem.static["bounds"][base.static["index"]]
        inner = resolve_slice(source)
        axes = []
        for number, a, b in view.axes:
            number_of_source, begin, _ = inner.axes[number]
            shift = begin + (start if number == axis else 0)
            axes.append((number_of_source, a + shift, b + shift))
        view = WeightSlice(inner.base, tuple(axes))
        base = view.base
    return view


def _rectangle(view: WeightSlice) -> tuple[int, int, int, int]:
    """Where a view is in its base: first element, elements of a row of the base, rows, columns."""
    axes = sorted(view.axes)
    if len(axes) > 2:
        raise CompileError("gradients of parts of values with three axes or more are added up eagerly")
    _, start, stop = axes[-1]
    ld = view.base.shape[-1]
    if len(axes) == 1:
        return start, ld, 1, stop - start
    _, first, last = axes[0]
    return first * ld + start, ld, last - first, stop - start
