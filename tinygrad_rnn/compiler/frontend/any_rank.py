"""Values of any rank: a step sees (B, m, n, ...), and a program holds rows of features (B, m n ...).

This file owns how a value lies in a row: in C order, without gaps. So a reshape costs nothing, and elementwise maths on
equal shapes is that of rows. What a step sees of such a row is a view, which no program holds: the rules here take
views apart and hand rows to the normal form. Besides elementwise maths, products and reductions of whole rows there
are three kinds of operations on rows: EXPAND repeats features along some axes, a reduction goes along one axis, and
GATHER picks features by constant numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ...ops import broadcast_to, not_equal, reshape, where
from ..ir.heads import heads_of
from ..ir.lane_language import TRUTH, Input, reduction_code
from ..ir.program_ops import (
    BROADCAST_ROW,
    CONCAT,
    EXPAND,
    FLATTEN,
    GATHER,
    JOIN,
    LOOKUP,
    MATMUL,
    SUM,
    VIEW,
    ZERO,
    is_ours,
)
from ..ir.rearranged import Table, merged, numbers_of, widths
from ..ir.symbol import BATCH, Symbol
from .contraction import contract
from .normal_form import NormalForm

ONE_BATCH_AXIS = "operands whose first axis is the batch, or that do not vary in time; write v[:, None] for more axes"


FEWER = 8  # times that a row repeats an invariant which each step therefore lays out in a row of its own


class AnyRank(NormalForm):
    """Rules for values of any rank; `RANKED` maps kinds of lowerings to them."""

    leaf: Any
    record: Any
    detach: Any

    # ---- between what a step sees and rows

    def flat(self, s: Symbol) -> Symbol:
        """The row of features (B, F) of a time-varying value."""
        if s.op is VIEW:
            return s.args[0]
        return self.reshape_row(s, (BATCH, 1)) if s.ndim == 1 else s

    def shaped(self, row: Symbol, shape: tuple, dtype: Any = None) -> Symbol:
        """A row of features as a value of which each batch row has `shape`; as integers, if `dtype` says so."""
        if dtype is not None and dtype.kind in "iu":
            static = {"row": shape, "dtype": str(dtype)}
            return self.make(VIEW, (row,), static, (BATCH, *shape), dtype)
        if len(shape) == 1:
            return row
        if not shape:
            return self.reshape_row(row, (BATCH,))
        return self.make(VIEW, (row,), {"row": shape}, (BATCH, *shape), row.dtype)

    def argument(self, kind: str, index: int, shape: tuple, dtype: Any) -> tuple[Symbol, Symbol]:
        """The leaf of an argument of the step, and what the step sees of it."""
        dtype = np.dtype(dtype)
        held = self.dtype if dtype.kind in "iu" or (dtype.kind == "b" and kind == "state") else dtype
        row = self.leaf(kind, index, (BATCH, math.prod(shape)) if len(shape) > 1 else (BATCH, *shape), held, True)
        seen = row
        if dtype.kind in "iu":
            # no gradient flows through integers, whatever a program holds them as
            return row, self.shaped(self.flat(self.detach(row) if kind == "state" else row), shape, dtype)
        if held != dtype:
            seen = not_equal(row, 0)
        return row, self.shaped(seen, shape) if len(shape) > 1 else seen

    def has_rank(self, op: Any, args: tuple, static: dict) -> bool:
        """Whether an operation is one for the rules of this file."""
        if any(isinstance(a, Symbol) and a.varying and a.ndim > 2 for a in args):
            return True
        kind = op.lowering.kind
        if kind in ("einsum", "pad", "lookup"):
            return True
        if kind == "transpose":
            return static["axes"][0] == 0
        if kind in ("reshape", "broadcast"):
            return len(static["shape"]) > 2 or {args[0].shape, static["shape"]} != {(BATCH,), (BATCH, 1)}
        if kind == "slice":
            return not self.is_plain_slice(args[0], static["index"])
        return kind == "elementwise" and any(isinstance(a, Symbol) and a.ndim > 2 for a in args)

    def is_plain_slice(self, x: Symbol, index: tuple) -> bool:
        """Whether an index takes columns of a row, as the normal form has them, or is refused there."""
        if x.ndim > 2:
            return False
        given = list(index)
        at = next((i for i, part in enumerate(given) if part is Ellipsis), None)
        if at is not None:
            used = sum(part is not None for part in given) - 1
            given[at : at + 1] = [slice(None)] * (x.ndim - used)
        if not given or not isinstance(given[0], slice) or given[0] != slice(None):
            return True
        rest = given[1:]
        if len(rest) != 1 or x.ndim == 1:
            return not rest or rest == [None]
        plain = isinstance(rest[0], slice) and rest[0].step in (None, 1)
        return plain or (isinstance(rest[0], int | np.integer) and not isinstance(rest[0], bool))

    @staticmethod
    def can_cut(row: Symbol) -> bool:
        """Whether columns of a row can be computed by themselves."""
        if row.op is MATMUL:
            return heads_of(row.args[1]) is None
        return row.op is None or (row.op not in (EXPAND, GATHER, LOOKUP) and "along" not in row.static)

    # ---- operations on rows

    def expand(self, row: Symbol, dims: Any) -> Symbol:
        """Repeat the features of a row along the axes that it does not have."""
        dims = merged(dims)
        narrow, wide = widths(dims)
        if narrow == wide:
            return row
        if row.op is ZERO:
            return self.zero((BATCH, wide))
        if narrow == 1:
            return self.make(BROADCAST_ROW, (row,), {}, (BATCH, wide), row.dtype)
        return self.make(EXPAND, (self.joined(row),), {"dims": dims}, (BATCH, wide), row.dtype)

    def gather(self, row: Symbol, numbers: np.ndarray) -> Symbol:
        """Pick features of a row; where a number is -1, zero."""
        numbers = np.asarray(numbers).ravel()
        shape = (BATCH, numbers.size)
        if row.width == numbers.size and (numbers == np.arange(row.width)).all():
            return row
        if row.op is ZERO or (numbers < 0).all():
            zero = self.zero(shape)
            return zero if row.dtype.kind != "b" else not_equal(zero, 0)
        # of picked or repeated features: one table instead of two passes
        if row.op is GATHER or row.op is EXPAND:
            table = row.static["table"].numbers if row.op is GATHER else numbers_of(row.static["dims"])
            return self.gather(row.args[0], np.where(numbers < 0, -1, table[numbers]))
        if row.op is JOIN:  # of one part alone
            start = 0
            for part in row.args:
                if ((start <= numbers) & (numbers < start + part.width) | (numbers < 0)).all():
                    return self.gather(part, np.where(numbers < 0, -1, numbers - start))
                start += part.width
        table = Table(numbers)
        if table.start is not None and self.can_cut(row):
            return self.columns(row, table.start, table.start + len(table))
        return self.make(GATHER, (self.joined(row),), {"table": table}, shape, row.dtype)

    def joined(self, row: Symbol) -> Symbol:
        """A row in one piece: parts of a concatenation are stored side by side."""
        return self.make(JOIN, row.args, {}, row.shape, row.dtype) if row.op is CONCAT else row

    def reduce_along(self, op: Any, row: Symbol, along: tuple[int, int, int]) -> Symbol:
        """Reduce along one axis of a row that is (outer, length, inner)."""
        outer, length, inner = along
        if outer * inner == 1:
            return self._rule_reduce(op, (row,), {"axis": (1,), "keepdims": True})
        code = self.parsed(reduction_code, op, {})
        truth = code.each.wants(0) == TRUTH
        if not truth and row.dtype.kind == "b":  # the extremum of truth values
            truth_of: Any = not_equal(self.reduce_along(op, self.map_pieces(row, self._number), along), 0)
            return truth_of
        if not truth and row.dtype.kind != "f":
            self.fail(op, (row,), f"floats; cast bools to {self.dtype} with .astype()")
        row = self.joined(row) if length > 1 else row
        row = self.map_pieces(row, lambda part: self._mask(part, part.shape)) if truth else row
        if length == 1 and (truth or code.each.tree == code.finish.tree == Input(0)):
            return row
        if op is SUM and row.op is ZERO:
            return self.zero((BATCH, outer * inner))
        static = {"axis": (1,), "keepdims": True, "along": along}
        dtype: Any = bool if code.finish.gives == TRUTH else self.dtype
        return self.make(op, (row,), static, (BATCH, outer * inner), dtype)

    # ---- rules

    def _ranked_elementwise(self, op, args, static):
        shape, _ = self._infer_elementwise(op, args, static)
        return self.shaped(self._rule_elementwise(op, self.rows_for(op, args, shape), static), shape[1:])

    def rows_for(self, op: Any, args: tuple, shape: tuple) -> tuple:
        """Operands of elementwise maths as rows of features for values of `shape`."""
        symbols = [a for a in args if isinstance(a, Symbol)]
        if not shape or shape[0] is not BATCH or any(a.varying and a.ndim != len(shape) for a in symbols):
            self.fail(op, args, ONE_BATCH_AXIS)
        return tuple(self._row_of(a, shape[1:]) if isinstance(a, Symbol) else a for a in args)

    def _row_of(self, a: Symbol, shape: tuple) -> Any:
        """An operand of elementwise maths as a row of features for values of `shape`, or as one number."""
        width = math.prod(shape)
        if a.varying:
            row = self.flat(a)
            return row if row.width == 1 else self._spread(row, a.shape[1:], shape)
        # a constant with values for each batch row: it is laid out in rows before the loop
        if a.ndim > len(shape) and a.shape[0] is BATCH:
            if math.prod(a.shape[1:]) == 1:
                shape, width = a.shape[1:], 1
            return self.make(FLATTEN, (a,), {"row": shape}, (BATCH, width), a.dtype, False)
        if a.size == 1:
            return a if a.ndim < 2 else reshape(a, ())
        own = a.shape[-len(shape) :]
        own = (1,) * (len(shape) - len(own)) + own
        if width >= FEWER * a.size and a.dtype == self.dtype:
            # what a row holds few times is read from few places, and its gradient is summed before it is kept
            one = self.zero((BATCH, 1)) + 1.0
            return self._spread(one * reshape(a, (a.size,)), own, shape)
        return reshape(broadcast_to(a if own == a.shape else reshape(a, own), shape), (width,))

    def _spread(self, row: Symbol, own: tuple, shape: tuple) -> Symbol:
        """The row of a value of shape `own`, broadcast to `shape`."""
        return self.expand(row, [(n, m == n) for m, n in zip(own, shape)])

    def _ranked_cast(self, op, args, static):
        (x,), dtype = args, np.dtype(static["dtype"])
        if dtype.kind in "iu":
            return self.cast_to_integers(x, dtype)  # of which it gives a view
        return self.shaped(self._rule_cast(op, (self.flat(x),), static), x.shape[1:])

    def _ranked_reduce(self, op, args, static):
        (x,), axes, keepdims = args, static.get("axis"), static.get("keepdims")
        along = "a reduction along features; rows of the batch stay apart"
        if not is_ours(op) or axes is None:
            self.fail(op, args, "a row of features, (B, F), for a reduction of yours")
        if 0 in axes:
            return self.unusable(op, args, static, along)
        shape = x.shape[1:]
        reduced = tuple(a - 1 for a in axes)
        kept = tuple(1 if i in reduced else n for i, n in enumerate(shape))
        row, left = self._reduced(op, self.flat(x), list(shape), reduced)
        assert math.prod(left) == math.prod(kept)
        return self.shaped(row, kept if keepdims else tuple(n for i, n in enumerate(shape) if i not in reduced))

    def _reduced(self, op: Any, row: Symbol, shape: list[int], axes: tuple[int, ...]) -> tuple[Symbol, list[int]]:
        """Reduce along axes of a row of this shape, neighbours together; returns the shape that is left too."""
        dims = merged((n, i not in axes) for i, n in enumerate(shape))
        if sum(not kept for _, kept in dims) > 1 and op is not SUM:  # elements that tie are to be seen together
            order = [i for i in range(len(shape)) if i not in axes] + list(axes)
            row = self._permuted(row, tuple(shape), order)
            dims = merged((shape[i], i not in axes) for i in order)
        sizes = list(dims)
        for i in reversed(range(len(sizes))):
            n, kept = sizes[i]
            if not kept:
                outer, inner = (math.prod(m for m, _ in part) for part in (sizes[:i], sizes[i + 1 :]))
                row = self.reduce_along(op, row, (outer, n, inner))
                del sizes[i]
        if not axes or all(kept for _, kept in dims):  # along axes of length 1
            row = self.reduce_along(op, row, (math.prod(shape), 1, 1))
        return row, [n for n, _ in sizes]

    def _permuted(self, row: Symbol, shape: tuple, order: list[int]) -> Symbol:
        return self.gather(row, np.arange(math.prod(shape)).reshape(shape).transpose(order))

    def _ranked_reshape(self, op, args, static):
        (x,), shape = args, static["shape"]
        if not shape or shape[0] is not BATCH:
            self.fail(op, args, "a shape that begins with the batch, such as v.reshape((B, 2, 3)): rows stay apart")
        if math.prod(shape[1:]) != self.flat(x).width:
            self.fail(op, args, f"as many features in a row as there are, not {shape[1:]}")
        return self.shaped(self.flat(x), shape[1:], x.dtype)

    def _ranked_transpose(self, op, args, static):
        (x,), axes = args, static["axes"]
        if axes[0] != 0:
            self.fail(op, args, "the batch as the first axis, as before: rows stay apart")
        order = [a - 1 for a in axes[1:]]
        row = self._permuted(self.flat(x), x.shape[1:], order)
        return self.shaped(row, tuple(x.shape[1:][i] for i in order), x.dtype)

    def _ranked_broadcast(self, op, args, static):
        (x,), shape = args, static["shape"]
        if x.ndim != len(shape) or not shape or shape[0] is not BATCH:
            self.fail(op, args, "a broadcast of features that keeps the batch as the first axis")
        row = self.flat(x)
        if row.width == 1 and row.op is not ZERO:
            wide = math.prod(shape[1:])
            row = row if wide == 1 else self.make(BROADCAST_ROW, (row,), {}, (BATCH, wide), row.dtype)
        else:
            row = self._spread(row, x.shape[1:], shape[1:])
        return self.shaped(row, shape[1:], x.dtype)

    def _ranked_slice(self, op, args, static):
        (x,), index = args, static["index"]
        want = "an index of features that keeps all rows, such as v[:, 2:5] or v[:, :, 0]"
        lead = index[0] if index else slice(None)
        if not (lead == slice(None) if isinstance(lead, slice) else lead is Ellipsis):
            return self.unusable(op, args, static, want)
        shape = x.shape[1:]
        width = math.prod(shape)
        # two rows of numbered features: what the index does to a row shows in the numbers
        marks = np.arange(2 * width).reshape(2, *shape)
        try:
            found = marks[index]
        except IndexError as e:
            raise IndexError(f"index: got {index} for shape {('B', *shape)}: {e}") from None
        if found.ndim == 0 or found.shape[0] != 2 or (found[1] != found[0] + width).any() or (found[0] >= width).any():
            return self.unusable(op, args, static, want)
        if found.size == 0:
            return self.empty((BATCH, *found.shape[1:]), x.dtype)
        return self.shaped(self.gather(self.flat(x), found[0]), found.shape[1:], x.dtype)

    def _ranked_split(self, op, args, static):
        (x,), axis, bounds = args, static["axis"], static["bounds"]
        if axis == 0:
            self.fail(op, args, "a split along features: rows stay apart")
        lead = (slice(None),) * axis
        return tuple(x[(*lead, slice(a, b))] for a, b in itertools.pairwise(bounds))

    def _ranked_concat(self, op, args, static):
        axis = static["axis"]
        shapes = [a.shape for a in args if isinstance(a, Symbol)]
        dtype = np.result_type(*[a.dtype for a in args if isinstance(a, Symbol)])
        if axis == 0 or len(shapes) < len(args) or any(s[0] is not BATCH for s in shapes):
            self.fail(op, args, "a concatenation of features: rows stay apart")
        rows = tuple(self.flat(a if a.varying else self.zero(a.shape) + a) for a in args)
        row = self._rule_concat(op, rows, {"axis": 1})
        shape = list(shapes[0][1:])
        shape[axis - 1] = sum(s[axis] for s in shapes)
        if math.prod(shape[: axis - 1]) > 1:  # parts do not lie one after the other
            starts = [0, *itertools.accumulate(math.prod(s[1:]) for s in shapes)]
            parts = [np.arange(math.prod(s[1:])).reshape(s[1:]) + at for s, at in zip(shapes, starts)]
            row = self.gather(self.joined(row), np.concatenate(parts, axis=axis - 1))
        return self.shaped(row, tuple(shape), dtype)

    def _ranked_pad(self, op, args, static):
        (x,), pairs, value = args, static["widths"], static["value"]
        if any(pairs[0]):
            self.fail(op, args, "a border of features alone: rows stay apart")
        row, shape = self.flat(x), x.shape[1:]
        numbers = np.pad(np.arange(row.width).reshape(shape), pairs[1:], constant_values=-1)
        if x.dtype.kind == "b":
            row = self.map_pieces(row, self._number)
        padded: Any = self.gather(row, numbers)
        if value and (numbers < 0).any():  # what is picked by -1 is zero
            padded = where(numbers.ravel() < 0, float(value), padded)
        if x.dtype.kind == "b":
            padded = not_equal(padded, 0)
        return self.shaped(padded, numbers.shape, x.dtype)

    def _ranked_matmul(self, op, args, static):
        a, b = args
        if not isinstance(a, Symbol) or not isinstance(b, Symbol):
            self.fail(op, args, "two tensors")
        letters = "ijklmnopqrstuvw"
        lead = max(a.ndim - 2, b.ndim - 2, 0)
        wide = letters[:lead]
        left = wide[lead - (a.ndim - 2) :] + "XY" if a.ndim > 1 else "Y"
        right = wide[lead - (b.ndim - 2) :] + "YZ" if b.ndim > 1 else "Y"
        out = wide + "X" * (a.ndim > 1) + "Z" * (b.ndim > 1)
        if lead == 0 or any(s.varying and s.ndim - 2 != lead for s in (a, b)):
            self.fail(op, args, "a product that keeps the batch as the first axis; einsum says which axis is which")
        return contract(self, op, args, [left, right], out)

    def _ranked_einsum(self, op, args, static):
        terms, _, out = static["subscripts"].partition("->")
        return contract(self, op, args, terms.split(","), out)

    RANKED: ClassVar[dict[str, Callable[..., Any]]] = {
        "elementwise": _ranked_elementwise,
        "cast": _ranked_cast,
        "reduce": _ranked_reduce,
        "reshape": _ranked_reshape,
        "transpose": _ranked_transpose,
        "broadcast": _ranked_broadcast,
        "slice": _ranked_slice,
        "split": _ranked_split,
        "concat": _ranked_concat,
        "pad": _ranked_pad,
        "matmul": _ranked_matmul,
        "einsum": _ranked_einsum,
    }  # kind of lowering -> rule
