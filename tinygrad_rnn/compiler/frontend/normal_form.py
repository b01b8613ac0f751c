"""Canonicalisation: the rules that bring operations into normal form, one per kind of lowering.

They are one class, and one long file, because each builds its result with the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ...core.dtype import promote
from ...errors import CompileError
from ...ops import astype, getitem, not_equal
from ..ir.lane_language import NUMBER, TRUTH, Input, elementwise_code, reduction_code
from ..ir.program_ops import (
    ADD,
    BROADCAST_ROW,
    CAST,
    CONCAT,
    JOIN,
    NEGATIVE,
    RESHAPE_ROW,
    SLICE,
    SUM,
    ZERO,
    is_ours,
)  # fmt: skip
from ..ir.symbol import BATCH, Symbol, location
from .mean_free_sums import drop_mean_centred_terms
from .recorder import Recorder


class NormalForm(Recorder):
    """The rules of :class:`Trace`, written in terms of its ``make``; `RULES` maps kinds to them."""

    dtype: np.dtype
    products: list[Symbol]
    cuts: Mapping[int, list[int]]
    parts: dict[tuple[int, int, int], Symbol]
    make: Any
    unusable: Any
    zero: Any
    symbolic: Any
    can_cut: Any
    cast_to_integers: Any
    gather: Any
    empty: Any
    reduce_along: Any

    # ---- elementwise

    def _rule_elementwise(self, op, args, static):
        code = self.parsed(elementwise_code, op, len(args), static)
        shape, dtype = self._infer_elementwise(op, args, static)
        if any(_is_row_number(a) for a in args) and len(shape) == 1:  # a constant for each row
            column = [self._column(a) for a in args]
            return self.reshape_row(self._rule_elementwise(op, tuple(column), static), (BATCH,))
        self._check_rows(op, args, shape)
        joined = next((a for a in args if isinstance(a, Symbol) and a.op is CONCAT), None)
        # cut where the first concatenation is joined; where others are, the calls for these pieces cut
        if joined is not None and joined.shape == shape:
            pieces, start = [], 0
            for part in joined.args:
                stop = start + part.width
                columns = tuple(self._columns_of(a, start, stop, shape) for a in args)
                pieces.append(self._rule_elementwise(op, columns, static))
                start = stop
            return self.concat(pieces)
        if op is ADD and all(isinstance(a, Symbol) and a.varying and _is_minus_sum(a) for a in args):
            return -(args[0].args[0] + args[1].args[0])
        if op is ADD and all(isinstance(a, Symbol) and a.varying and a.op is SUM for a in args):
            a, b = args
            if a.args[0].shape == b.args[0].shape and a.static == b.static:  # one reduction instead of two
                total = a.args[0] + b.args[0]
                return self.reduce_along(SUM, total, a.static.get("along", (1, total.width, 1)))
        if dtype != self.dtype and dtype.kind != "b":
            self.fail(op, args, f"{self.dtype} or bool, not {dtype}; cast bools to {self.dtype} with .astype()")
        gives = code.gives or (TRUTH if dtype.kind == "b" else NUMBER)
        args = tuple(
            self._mask(a, shape) if (code.wants(i) or gives) == TRUTH else self._number(a) for i, a in enumerate(args)
        )
        if gives == TRUTH:
            if dtype.kind != "b":
                self.fail(op, args, f"numbers, as the operation gives, not truth values as {op.lowering.code!r} does")
            return self.make(op, args, static, shape, dtype)
        number = self.make(op, args, static, shape, self.dtype)
        return not_equal(number, 0) if dtype.kind == "b" else number  # maths of masks: True is 1

    def _infer_elementwise(self, op, args, static) -> tuple[tuple, np.dtype]:
        try:
            shape = self.symbolic(np.broadcast_shapes(*(a.shape for a in args if isinstance(a, Symbol))))
        except ValueError:
            self.fail(op, args, "shapes that broadcast")
        ones = [
            np.ones((2, *a.shape[1:]) if a.shape[:1] == (BATCH,) else a.shape, a.dtype) if isinstance(a, Symbol) else a
            for a in args
        ]
        with np.errstate(all="ignore"):
            out = op.forward(*promote(op, ones, [isinstance(a, Symbol) for a in args]), **static)
        if np.shape(out)[1:] != shape[1:] or np.ndim(out) != len(shape):
            self.fail(op, args, f"values of shape {shape} as of its inputs, not {np.shape(out)}")
        return shape, np.asarray(out).dtype

    def _check_rows(self, op, args, shape):
        if len(shape) not in (1, 2) or shape[0] != BATCH:
            self.fail(op, args, "one row of features for each batch row, (B, F)")
        for a in args:
            if isinstance(a, Symbol) and a.varying and a.ndim != len(shape):
                self.fail(op, args, "operands with a row for each batch row; write v[:, None] for a number per row")
            if isinstance(a, Symbol) and not a.varying and len(shape) == 1 and a.size != 1:
                self.fail(op, args, "operands with a row for each batch row")

    def _number(self, a):
        """An operand as numbers: truth values become 0 and 1."""
        if not isinstance(a, Symbol):
            return a
        if not a.varying:
            return astype(a, self.dtype) if a.dtype.kind == "b" else a
        return self.cast(a, self.dtype)

    def _mask(self, a, shape):
        """An operand as truth values: numbers become whether they are not 0."""
        if isinstance(a, Symbol):
            return a if a.dtype.kind == "b" else not_equal(a, 0)
        # a bool becomes a comparison, as vectors get truth values from nothing else
        return not_equal(self.zero(shape), 0.0 if not a else 1.0)

    def _column(self, a):
        if not isinstance(a, Symbol) or a.ndim != 1:
            return a
        return self.reshape_row(a, (BATCH, 1)) if a.varying else a if a.size == 1 else getitem(a, (slice(None), None))

    # ---- columns

    def _columns_of(self, a, start, stop, shape):
        """Columns of an operand that broadcasts to `shape`."""
        if not isinstance(a, Symbol) or a.ndim == 0 or a.shape[-1] != shape[-1] or shape[-1] == 1:
            return a
        return self.columns(a, start, stop)

    def columns(self, x: Symbol, start: int, stop: int) -> Symbol:
        """``x[..., start:stop]``, pushed as far up as it goes."""
        if start == 0 and stop == x.shape[-1]:
            return x
        if not x.varying:
            return x[..., start:stop]
        key = x.uid, start, stop  # what many share is cut once: values are a graph, and its paths may be without number
        if key not in self.parts:
            self.parts[key] = self._cut(x, start, stop)
        return self.parts[key]

    def _cut(self, x: Symbol, start: int, stop: int) -> Symbol:
        """The columns of a value that varies in time, by those of its operands where that can be."""
        shape = (*x.shape[:-1], stop - start)
        if x.op is CONCAT or x.op is JOIN:
            pieces, at = [], 0
            for part in x.args:
                a, b = max(start, at), min(stop, at + part.width)
                if a < b:
                    pieces.append(self.columns(part, a - at, b - at))
                at += part.width
            return self.concat(pieces)
        if x.op is ZERO:
            return self.zero(shape)
        if not self.can_cut(x):
            return self.gather(x, np.arange(start, stop))
        if x.op is SLICE:
            offset = x.static["start"]
            return self.make(SLICE, x.args, {"start": offset + start, "stop": offset + stop}, shape, x.dtype)
        if x.leaf is not None:
            return self.make(SLICE, (x,), {"start": start, "stop": stop}, shape, x.dtype)
        if x.lowering.kind == "matmul":
            return self.make(x.op, (x.args[0], self.columns(x.args[1], start, stop)), {}, shape, x.dtype)
        args = tuple(self._columns_of(a, start, stop, x.shape) for a in x.args)
        return self.make(x.op, args, x.static, shape, x.dtype)

    def rows(self, w: Symbol, start: int, stop: int) -> Symbol:
        return w if start == 0 and stop == w.shape[0] else w[start:stop]

    def concat(self, pieces: list[Symbol]) -> Symbol:
        flat = [p for piece in pieces for p in (piece.args if piece.op is CONCAT else (piece,))]
        if len(flat) == 1:
            return flat[0]
        width = sum(p.width for p in flat)
        return self.make(CONCAT, tuple(flat), {}, (BATCH, width), flat[0].dtype)

    def map_pieces(self, x: Symbol, function) -> Symbol:
        return self.concat([function(p) for p in x.args]) if x.op is CONCAT else function(x)

    # ---- casts

    def cast(self, x: Symbol, dtype) -> Symbol:
        return x if x.dtype == dtype else self.make(CAST, (x,), {"dtype": str(dtype)}, x.shape, dtype)

    def _rule_cast(self, op, args, static):
        (x,), dtype = args, np.dtype(static["dtype"])
        if dtype.kind == "f" and dtype != self.dtype:
            self.fail(op, args, f"a cast to {self.dtype}, bool or integers, not to {dtype}")
        if dtype.kind in "iu":
            return self.cast_to_integers(x, dtype)
        return self.map_pieces(x, lambda p: self.cast(p, dtype))

    # ---- products and reductions

    def _rule_matmul(self, op, args, static):
        a, w = args
        if not isinstance(w, Symbol) or w.varying or not isinstance(a, Symbol):
            self.fail(op, args, "a time-varying value (B, K) times a matrix that does not vary in time (K, N)")
        if a.ndim == 2 and w.ndim == 1:
            return (a * w).sum(axis=1)
        if a.ndim != 2 or w.ndim != 2:
            self.fail(op, args, "a time-varying value (B, K) times a matrix (K, N)")
        if self._infer_product(op, a, w) != self.dtype:
            self.fail(op, args, f"{self.dtype}; cast integers and bools to it with .astype()")
        product = self._product(op, a, w)
        self.products.append(product)
        cuts = self.cuts.get(len(self.products) - 1)
        if cuts is None:
            return product
        return self.concat([self.columns(product, start, stop) for start, stop in itertools.pairwise(cuts)])

    @staticmethod
    def _infer_product(op, a, w) -> np.dtype:
        """The dtype of a product; mixed ones are refused as on the tape."""
        return np.result_type(*promote(op, [np.empty(0, a.dtype), np.empty(0, w.dtype)], [True, True]))

    def _product(self, op, a, w):
        if a.op is not CONCAT:
            return self.make(op, (self.cast(a, self.dtype), w), {}, (BATCH, w.shape[1]), self.dtype)
        total, start = None, 0
        for part in a.args:
            term = self._product(op, part, self.rows(w, start, start + part.width))
            total = term if total is None else total + term
            start += part.width
        return total

    def _rule_reduce(self, op, args, static):
        shape, dtype = self._infer_reduction(op, args, static)
        if shape is None:
            return self.unusable(op, args, static, "a reduction along features (axis=-1); rows of the batch stay apart")
        code = self.parsed(reduction_code, op, static)
        (x,) = args
        if dtype.kind == "b" and code.finish.gives != TRUTH and x.dtype.kind == "b":  # the extremum of truth values
            return not_equal(self._rule_reduce(op, (self.map_pieces(x, self._number),), static), 0)
        if code.each.wants(0) == TRUTH:
            x = self.map_pieces(x, lambda p: self._mask(p, p.shape))
        elif x.dtype.kind != "f":
            self.fail(op, args, f"floats; cast bools to {self.dtype} with .astype()")
        if dtype != (np.dtype(bool) if code.finish.gives == TRUTH else self.dtype):
            self.fail(op, args, f"{self.dtype}, or bool from a `finish` that gives truth values, not {dtype}")
        pieces = x.args if x.op is CONCAT else (x,)
        if not is_ours(op):
            return self.make(op, pieces, static, shape, dtype)
        static = {"axis": (1,), "keepdims": True}
        if op is SUM:
            total, *others = [self._sum(piece) for piece in pieces]
            for other in others:
                total = total + other
        elif x.width == 1 and code.each.tree == code.finish.tree == Input(0):
            total = x
        else:
            total = self.make(op, pieces, static, (BATCH, 1), dtype)
        return self.reshape_row(total, shape)

    def _infer_reduction(self, op, args, static) -> tuple[tuple | None, np.dtype]:
        """Shape and dtype of the result of a reduction along features; shape None if it is another."""
        (x,) = args if len(args) == 1 else self.fail(op, args, "a reduction of one tensor")
        if x.ndim != 2:
            return None, self.dtype
        rows = 2 if x.width != 2 else 3  # (rows, features) as (rows,) or (rows, 1): nothing else is of these shapes
        (ones,) = promote(op, [np.ones((rows, x.width), x.dtype)], [True])
        with np.errstate(all="ignore"):
            out = op.forward(ones, **static)
        shapes = {(rows,): (BATCH,), (rows, 1): (BATCH, 1)}
        return shapes.get(np.shape(out)), np.asarray(out).dtype

    def _sum(self, x: Symbol) -> Symbol:
        """The sum over features, (B, 1)."""
        if x.width == 1:
            return x
        if x.op is NEGATIVE:  # one sign for the row, not one for each feature
            return -self._sum(x.args[0])
        summed = drop_mean_centred_terms(x)
        if summed is None:
            return self.zero((BATCH, 1))
        return self.make(SUM, (summed,), {"axis": (1,), "keepdims": True}, (BATCH, 1), x.dtype)

    def parsed(self, code_of, op, *rest):
        """The parsed code of a lowering; without one the trace is given up."""
        try:
            return code_of(op, *rest)
        except CompileError as e:
            self.refuse_for(f"{e}, at {location()}")

    # ---- shapes

    def reshape_row(self, x: Symbol, shape: tuple) -> Symbol:
        if x.op is RESHAPE_ROW and x.args[0].shape == shape:
            return x.args[0]
        return x if x.shape == shape else self.make(RESHAPE_ROW, (x,), {"rank": len(shape)}, shape, x.dtype)

    def _rule_reshape(self, op, args, static):
        (x,), shape = args, static["shape"]
        if x.shape == shape:
            return x
        if {x.shape, shape} != {(BATCH,), (BATCH, 1)}:
            self.fail(op, args, "no reshape of features inside the step; take columns, such as v[:, :3]")
        return self.reshape_row(x, shape)

    def _rule_transpose(self, op, args, static):
        self.fail(op, args, "rows that stay rows; only what does not vary in time can be transposed")

    def _rule_broadcast(self, op, args, static):
        (x,), shape = args, static["shape"]
        if x.ndim != 2 or len(shape) != 2 or shape[0] != BATCH or x.width != 1:
            self.fail(op, args, "a broadcast from (B, 1) to (B, F)")
        return self.make(BROADCAST_ROW, (x,), {}, shape, x.dtype)

    def _rule_slice(self, op, args, static):
        (x,), index = args, list(static["index"])
        want = "a slice along features with step 1 that keeps all rows, such as v[:, 2:5]"
        if any(isinstance(i, np.ndarray) for i in index):
            self.fail(op, args, want)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            consumed = sum(i is not None for i in index) - 1
            index[at : at + 1] = [slice(None)] * (x.ndim - consumed)
        if not index or index[0] != slice(None):
            return self.unusable(op, args, static, want)
        rest = index[1:]
        if not rest:
            return x
        if x.ndim == 1 and rest == [None]:
            return self.reshape_row(x, (BATCH, 1))
        if x.ndim == 2 and len(rest) == 1 and isinstance(rest[0], slice) and rest[0].step in (None, 1):
            start, stop, _ = rest[0].indices(x.width)
            if stop <= start:
                return self.empty((BATCH, 0), x.dtype)
            return self.columns(x, start, stop)
        if x.ndim == 2 and len(rest) == 1 and isinstance(rest[0], int | np.integer):
            if not -x.width <= rest[0] < x.width:
                raise IndexError(f"index: got {static['index']} for {x.width} features")
            i = int(rest[0]) % x.width
            return self.reshape_row(self.columns(x, i, i + 1), (BATCH,))
        return self.fail(op, args, want)

    def _rule_split(self, op, args, static):
        (x,), bounds = args, static["bounds"]
        if x.ndim != 2 or static["axis"] != 1:
            self.fail(op, args, "a split along features (axis=1 or -1)")
        return tuple(
            self.columns(x, a, b) if a < b else self.empty((BATCH, 0), x.dtype) for a, b in itertools.pairwise(bounds)
        )

    def _rule_concat(self, op, args, static):
        if static["axis"] != 1 or any(not isinstance(a, Symbol) or a.ndim != 2 for a in args):
            self.fail(op, args, "a concatenation along features (axis=1 or -1)")
        kinds = {a.dtype.kind for a in args}
        parts = []
        for a in args:
            if not a.varying:  # the same in all steps
                a = self.zero((BATCH, a.shape[1])) + a
            parts.append(a if kinds == {"b"} else self.map_pieces(a, lambda p: self.cast(p, self.dtype)))
        return self.concat(parts)

    RULES: ClassVar[dict[str, Callable[..., Any]]] = {
        "elementwise": _rule_elementwise,
        "cast": _rule_cast,
        "matmul": _rule_matmul,
        "reduce": _rule_reduce,
        "reshape": _rule_reshape,
        "transpose": _rule_transpose,
        "broadcast": _rule_broadcast,
        "slice": _rule_slice,
        "split": _rule_split,
        "concat": _rule_concat,
    }  # kind of lowering -> rule


def _is_minus_sum(a: Symbol) -> bool:
    return a.op is NEGATIVE and isinstance(a.args[0], Symbol) and a.args[0].op is SUM


def _is_row_number(a: Any) -> bool:
    """A constant with a number for each batch row."""
    return isinstance(a, Symbol) and not a.varying and a.shape == (BATCH,)
