"""Simplification: operations become products, elementwise maths and sums of rows, as far as they can."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import Op
from ...ops.elementwise import COPY
from ...ops.index import scatter_add
from ...ops.join import SPLIT
from ...ops.reduce import PROD
from ..frontend.trace import recording
from ..ir.program_ops import BROADCAST, CONSTANT, DIVIDE, GETITEM, MATMUL, MULTIPLY, RESHAPE, SUM, TRANSPOSE, is_ours
from ..ir.symbol import Symbol
from . import losses
from .program import AFTER, ASTYPE, LOOP, LOOP_GRADIENT, PICK, SUM_ROWS, ModelProgram
from .rows import Access, accesses, layouts, reduced_axes, size, stored
from .trace import ModelTrace

MOST = 4096  # elements that are added up as one row; sums of more keep more digits row by row


def simplify(program: ModelProgram) -> ModelProgram:
    """The same program of simpler operations; its leaves are those of `program`.

    Values that it is given are leaves, too, whatever they were computed of: that is not there.
    """
    trace = Simplification(program)
    given = {s.uid: trace.given(s, i) for i, s in enumerate(program.inputs) if s.leaf is None and s.op is not LOOP}
    values: dict[int, Any] = {**given}
    with recording(trace):
        for s in program.values():
            args = tuple([values.get(a.uid, a) if isinstance(a, Symbol) else a for a in s.args])
            values[s.uid] = trace.again(s, args)
        outputs = tuple([values.get(s.uid, s) for s in program.outputs])
    captured = dict(program.captured) | {s.uid: tensor for _, tensor, s in trace.captured.values()}
    now = lambda symbols: tuple([values.get(s.uid, s) for s in symbols])
    checks = tuple([check._replace(symbols=now(check.symbols)) for check in program.checks])
    return ModelProgram(now(program.inputs), captured, program.draws, checks, outputs)


class Simplification(ModelTrace):
    """The recorder of a simplified program: takes operations apart as they come."""

    def __init__(self, program: ModelProgram) -> None:
        super().__init__()
        leaves = (*program.inputs, *program.outputs, *[s for draw in program.draws for s in draw.symbols])
        checked = [s for check in program.checks for s in check.symbols]
        self._uids = 1 + max((s.uid for v in (leaves, checked, program.values()) for s in v), default=0)
        self._uids = max(self._uids, 1 + max(program.captured, default=0))
        self._constants: dict[tuple, np.ndarray] = {}
        self._rows: dict[int, set[int]] = {}  # in how many rows a value can be computed, with those that it needs

    def given(self, s: Symbol, number: int) -> Symbol:
        """A computed value as a leaf of the same uid."""
        found = Symbol(self, None, (), {}, s.shape, s.dtype, False, leaf=("input", number), where=s.where)
        found.uid = s.uid
        return found

    def again(self, s: Symbol, args: tuple) -> Any:
        """A value of the program, with new arguments; a tuple for the common value of several results."""
        self.at = s.where
        if s.op is PICK and isinstance(args[0], tuple):
            return args[0][s.static["index"]]
        if s.op in (LOOP, LOOP_GRADIENT, PICK, AFTER):
            return self.make(s.op, args, s.static, s.shape, s.dtype, False)
        if s.op in (CONSTANT, COPY):  # gradients are recorded already, and nothing is written to
            return args[0]
        assert s.op is not None
        return self._record(s.op, args, s.static)

    def make(self, op: Op, args: tuple, static: dict, shape: Any, dtype: Any, needs: bool) -> Symbol:
        found = super().make(op, args, static, shape, dtype, needs)
        if found.uid not in self._rows:
            self._rows[found.uid] = self._possible(found)
        return found

    def _possible(self, s: Symbol) -> set[int]:
        """In how many rows a value can be computed, together with what it is computed from if that can be."""
        found = layouts(s)
        rows = set(found)
        symbols = [(i, a) for i, a in enumerate(s.args) if isinstance(a, Symbol)]
        for i, a in sorted(symbols, key=lambda pair: -pair[1].size):  # the largest decides
            rows = {r for r in rows & self.rows_of(a) if found[r][i] is Access.ROWS} or rows
        return rows

    def rows_of(self, x: Symbol) -> set[int]:
        return self._rows.get(stored(x).uid, set())

    def constant(self, array: np.ndarray) -> Symbol:
        """The symbol of an array of the program's own, the same for equal ones."""
        key = array.tobytes(), array.dtype
        return self.lift(self._constants.setdefault(key, array))

    # ---- rules

    def _record(self, op: Op, args: tuple, static: dict) -> Any:
        symbols = [a for a in args if isinstance(a, Symbol)]
        plain = all(isinstance(a, Symbol | bool | int | float) for a in args)
        if plain and symbols and all(a.size for a in symbols):
            rule = RULES.get(op)
            found = self._along_the_end(op, args, static)
            if found is NotImplemented:
                found = self._decompose(op, args, static) if rule is None else rule(self, *args, **static)
            if found is not NotImplemented:
                return found
            if op in (MULTIPLY, DIVIDE) and (found := self._scaled_sum(op, *args)) is not None:
                return found
            if op.lowering is not None and op.lowering.kind == "elementwise":
                args = self._in_rows(_without_broadcasts(args))
        return super()._record(op, args, static)

    def _along_the_end(self, op: Op, args: tuple, static: dict) -> Any:
        """Extrema and softmaxes along other axes than the last, as those of a transpose."""
        kind = None if op.lowering is None else op.lowering
        x = args[0]
        along = static.get("axis")  # of an argmax over all elements: None
        if kind is None or len(args) > 1 or along is None or not is_ours(op) or op is SUM or x.dtype.kind != "f":
            return NotImplemented
        axes = [int(i) for i in np.atleast_1d(along)]
        if not reduced_axes(x.shape, axes)[1]:
            return NotImplemented
        wanted = self._infer(op, [x], [True], static)
        if isinstance(wanted, list) or (kind.kind != "reduce" and kind.decompose is None):
            return NotImplemented
        reduces = size(wanted[0]) * size(x.shape[i] for i in axes) == x.size
        if not reduces and wanted != (x.shape, x.dtype):
            return NotImplemented
        order, last = [i for i in range(x.ndim) if i not in axes] + axes, tuple(range(x.ndim - len(axes), x.ndim))
        turned = super()._record(TRANSPOSE, (x,), {"axes": tuple(order)})
        at_end = last if isinstance(along, tuple) else last[0]
        found = self._record(op, (turned,), {**static, "axis": at_end})
        if reduces:
            return self._reshaped(found, wanted[0])
        return super()._record(TRANSPOSE, (found,), {"axes": tuple(map(int, np.argsort(order)))})

    def _in_rows(self, args: tuple) -> tuple:
        """Arguments that a loop over rows can read: what repeats along a middle axis is spread out."""
        shape = np.broadcast_shapes(*[a.shape for a in args if isinstance(a, Symbol)])
        if any(Access.ROWS in accesses(args, shape, k) for k in range(len(shape) + 1)):
            return args
        return tuple(
            super(Simplification, self)._record(BROADCAST, (a,), {"shape": shape})
            if isinstance(a, Symbol) and a.size > 1 and a.shape != shape
            else a
            for a in args
        )

    def _decompose(self, op: Op, args: tuple, static: dict) -> Any:
        """The parts that the record of an operation names, unless rows would have to be taken apart for them."""
        decompose = None if op.lowering is None else op.lowering.decompose
        if decompose is None or op is PROD:
            return NotImplemented
        if static.get("axis") is not None and reduced_axes(args[0].shape, np.atleast_1d(static["axis"]))[1]:
            return NotImplemented
        if is_ours(op):
            return decompose(*args, **static)
        wanted = self._infer(op, [self.lift(a) for a in args], [isinstance(a, Symbol) for a in args], static)
        try:
            found = decompose(*args, **static)
        except Exception:  # of a user's, which was made for rows
            return NotImplemented
        parts = found if isinstance(found, tuple) else (found,)
        given = [(p.shape, p.dtype) if isinstance(p, Symbol) else None for p in parts]
        return found if given == (wanted if isinstance(wanted, list) else [wanted]) else NotImplemented

    def _sum(self, x: Symbol, axis: tuple[int, ...], keepdims: bool) -> Any:
        """A sum along the last axes, then one of rows."""
        if x.dtype.kind != "f":
            return NotImplemented
        kept = tuple([1 if i in axis else n for i, n in enumerate(x.shape)])
        shape = kept if keepdims else tuple([n for i, n in enumerate(kept) if i not in axis])
        last, rest = reduced_axes(x.shape, axis)
        wide = [i for i, n in enumerate(x.shape) if n != 1]
        if rest != wide[: len(rest)]:  # an axis in the middle
            return NotImplemented
        if last == wide:  # all of it
            last = self._in_one_row(x, last)
            rest = [i for i in wide if i not in last]
        if last:
            x = super()._record(SUM, (x,), {"axis": tuple(last), "keepdims": True})
        if rest:
            rows = size(x.shape[i] for i in rest)
            x = super()._record(SUM_ROWS, (self._reshaped(x, (rows, x.size // rows)),), {})
        return self._reshaped(x, shape)

    def _scaled_sum(self, op: Op, x: Any, scale: Any) -> Any:
        """A sum of rows times a number, as the sum of what is multiplied: one stage less."""
        if not isinstance(x, Symbol) or isinstance(scale, Symbol) or stored(x).op is not SUM_ROWS or x.size != 1:
            return None
        (rows,) = stored(x).args
        return self._reshaped(super()._record(SUM_ROWS, (self._record(op, (rows, scale), {}),), {}), x.shape)

    def _in_one_row(self, x: Symbol, axes: list[int]) -> list[int]:
        """Over which of `axes`, all there are, to sum row by row, so that `x` need not be stored for the sum."""
        rows = self.rows_of(x)
        if x.size <= MOST and (not rows or 1 in rows):
            return axes
        if not rows:
            return axes[-1:] if len(axes) > 1 else []
        for i in (*range(len(axes) - 1, 0, -1), len(axes)):
            if size(x.shape[a] for a in axes[:i]) in rows:
                return axes[i:]
        return axes

    def _reshaped(self, x: Symbol, shape: tuple) -> Symbol:
        dtype, x = x.dtype, stored(x)
        if x.shape != shape:
            x = super()._record(RESHAPE, (x,), {"shape": shape})
        return x if x.dtype == dtype else super()._record(ASTYPE, (x,), {"dtype": dtype})  # of integers

    def _getitem(self, x: Symbol, index: tuple) -> Any:
        """A reshape, where the index takes all elements, such as those of the only step."""
        shape = _shape_of(x.shape, index)
        return NotImplemented if size(shape) != x.size else self._reshaped(x, shape)

    def _split(self, x: Symbol, bounds: tuple[int, ...], axis: int) -> Any:
        """Parts of rows are slices, which loops over rows know."""
        if axis != x.ndim - 1 or any(a == b for a, b in itertools.pairwise(bounds)):
            return NotImplemented
        return tuple([x[..., a:b] for a, b in itertools.pairwise(bounds)])

    def _scatter_add(self, x: Symbol, index: tuple, shape: tuple[int, ...]) -> Any:
        whole = size(shape) == x.size and size(_shape_of(shape, index)) == x.size
        return self._reshaped(x, shape) if whole else NotImplemented

    def _matmul(self, a: Symbol, b: Symbol) -> Any:
        """Products with a vector are sums."""
        if (
            isinstance(a, Symbol)
            and isinstance(b, Symbol)
            and b.ndim == 1
            and a.dtype == b.dtype
            and a.dtype.kind == "f"
        ):
            return (a * b).sum(axis=-1)
        return NotImplemented


RULES: dict[Op, Callable[..., Any]] = {
    SUM: Simplification._sum,
    RESHAPE: Simplification._reshaped,
    MATMUL: Simplification._matmul,
    GETITEM: Simplification._getitem,
    SPLIT: Simplification._split,
    scatter_add.op: Simplification._scatter_add,
    **losses.RULES,
}


def _shape_of(shape: tuple[int, ...], index: Any) -> tuple[int, ...]:
    """The shape of ``x[index]`` if elements stay in order; otherwise one without elements."""
    parts = index if isinstance(index, tuple) else (index,)
    in_order = all(i is None or i is Ellipsis or isinstance(i, int) or _is_run(i) for i in parts)
    return np.broadcast_to(0, shape)[index].shape if in_order else (0,)


def _is_run(index: Any) -> bool:
    return isinstance(index, slice) and index.step in (None, 1)


def _without_broadcasts(args: tuple) -> tuple:
    """Arguments of elementwise maths, which broadcasts by itself."""
    found = list(args)
    shapes = [a.shape if isinstance(a, Symbol) else () for a in args]
    shape = np.broadcast_shapes(*shapes)
    for i, a in enumerate(args):
        if isinstance(a, Symbol) and a.op is BROADCAST:
            before, shapes[i] = shapes[i], a.args[0].shape
            if np.broadcast_shapes(*shapes) == shape:
                found[i] = a.args[0]
            else:
                shapes[i] = before
    return tuple(found)
