"""Tracing: run a step once on symbols, and bring what it does into the compiler's normal form.

In the normal form every time-varying value is one row of features per batch row, and

* slices are pushed up through elementwise operations and into the columns of matrices,
* concatenations are pushed down, and split products along the rows of matrices,

so that products, elementwise maths and reductions along features are all that remains. Equal expressions are one
symbol.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Lowering, Op, Tensor
from ..core.dtype import promote
from ..errors import CompileError
from ..ops import getitem, maximum, minimum, sqrt
from ..ops.reduce import expansions
from .symbol import Symbol, location

BATCH = 13  # rows while tracing: a number that no feature width is likely to have

SLICE = Op("slice", None, lowering=Lowering("elementwise", "{0}", 0))  # columns of a leaf: static start, stop
CAST = Op("cast", None, lowering=Lowering("elementwise", "{0}", 0))  # between bool and float
ALIAS = Op("alias", None, lowering=Lowering("elementwise", "{0}", 0))  # (B,) <-> (B, 1)
SPREAD = Op("spread", None, lowering=Lowering("elementwise", "{0}", 0))  # (B, 1) -> (B, F)
CONCAT = Op("concat", None, lowering=Lowering("concat"))


class Trace:
    """The symbols of one program, and the rules that bring operations into normal form."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self._uids = itertools.count()
        self._seen: dict = {}
        self.captured: dict[int, tuple[Tensor, Symbol]] = {}
        self.thread = threading.get_ident()

    def next_uid(self) -> int:
        return next(self._uids)

    # ---- leaves

    def leaf(self, kind: str, index: int, shape, dtype, varying: bool) -> Symbol:
        return Symbol(self, None, (), {}, shape, dtype, varying, leaf=(kind, index), where="")

    def lift(self, value: Any) -> Any:
        """Symbols and numbers as they are; tensors and arrays as invariants of the sequence."""
        if isinstance(value, Symbol) or isinstance(value, bool | int | float):
            return value
        if isinstance(value, np.generic):
            return value.item()
        tensor = value if isinstance(value, Tensor) else Tensor(np.asarray(value))
        if tensor.ndim == 0 and not tensor.requires_grad and not isinstance(value, Tensor):
            return tensor.item()
        key = id(value)
        if key not in self.captured:
            symbol = self.leaf("invariant", len(self.captured), tensor.shape, tensor.dtype, False)
            self.captured[key] = (tensor, symbol)
        return self.captured[key][1]

    # ---- recording

    def record(self, op: Op, args: tuple, static: dict) -> Any:
        lifted = tuple(self.lift(a) for a in args)
        if not any(isinstance(a, Symbol) and a.varying for a in lifted):
            return self._invariant(op, lifted, static)
        if op.name in expansions:
            return expansions[op.name](*lifted, **static)
        kind = op.lowering.kind if op.lowering is not None else ""
        rule = getattr(self, f"_rule_{kind}", None)
        if rule is None:
            raise CompileError(
                f"{op.name} at {location()}: it has no lowering, so it cannot run in a compiled loop; "
                'move it out of the step, or use mode="eager"'
            )
        return rule(op, lifted, static)

    def make(self, op: Op, args: tuple, static: dict, shape, dtype, varying=True) -> Symbol:
        """The symbol of this expression: an old one where there is one."""
        key: Any = (
            id(op),
            tuple(a.uid if isinstance(a, Symbol) else (type(a).__name__, a) for a in args),
            tuple(sorted(static.items())),
            tuple(shape),
        )
        try:
            found = self._seen.get(key)
        except TypeError:  # a static parameter without a hash, such as an array of indices
            key, found = object(), None
        if found is None:
            found = self._seen[key] = Symbol(self, op, args, static, shape, dtype, varying, where=location())
        return found

    def fail(self, op, args, want: str):
        shapes = ", ".join(str(tuple(a.shape)) if isinstance(a, Symbol) else repr(a) for a in args)
        raise CompileError(f"{op.name} at {location()}: got shapes {shapes} (rows first), wanted {want}")

    def _invariant(self, op, args, static):
        """What depends on parameters alone runs on the tape, before the loop."""
        shapes = _infer(op, args, static)
        if isinstance(shapes, list):
            lead = self.make(op, args, static, (), self.dtype, False)
            pick = Op(f"output{len(shapes)}", None)
            return tuple(self.make(pick, (lead,), {"index": i}, s, d, False) for i, (s, d) in enumerate(shapes))
        return self.make(op, args, static, *shapes, False)

    # ---- rules, one for each kind of lowering

    def _rule_elementwise(self, op, args, static):
        if op.name == "power" and isinstance(args[1], int | float):
            expanded = self._power(args[0], args[1])
            if expanded is not None:
                return expanded
        shape, dtype = _infer(op, args, static)
        self._check_rows(op, args, shape)
        joined = next((a for a in args if isinstance(a, Symbol) and a.op is CONCAT), None)
        if joined is not None and joined.shape == shape:
            pieces, start = [], 0
            for part in joined.args:
                stop = start + part.width
                pieces.append(
                    self._rule_elementwise(op, tuple(self._columns_of(a, start, stop, shape) for a in args), static)
                )
                start = stop
            return self.concat(pieces)
        if dtype.kind == "f":  # a mask that meets numbers counts as 0 and 1
            args = tuple(
                self.cast(a, dtype)
                if isinstance(a, Symbol) and a.dtype.kind != "f" and i not in op.untyped and a.varying
                else a
                for i, a in enumerate(args)
            )
        return self.make(op, args, static, shape, dtype)

    def _check_rows(self, op, args, shape):
        if len(shape) not in (1, 2) or shape[0] != BATCH:
            self.fail(op, args, "one row of features per batch row, (B, F)")
        for a in args:
            if isinstance(a, Symbol) and a.varying and a.ndim != len(shape):
                self.fail(op, args, "operands with a row for each batch row; write v[:, None] for a number per row")
            if isinstance(a, Symbol) and not a.varying and len(shape) == 1 and a.size != 1:
                self.fail(op, args, "operands with a row for each batch row")

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
            return getitem(x, (Ellipsis, slice(start, stop)))
        shape = (*x.shape[:-1], stop - start)
        if x.op is CONCAT:
            pieces, at = [], 0
            for part in x.args:
                a, b = max(start, at), min(stop, at + part.width)
                if a < b:
                    pieces.append(self.columns(part, a - at, b - at))
                at += part.width
            return self.concat(pieces)
        if x.op is SLICE:
            offset = x.static["start"]
            return self.make(SLICE, x.args, {"start": offset + start, "stop": offset + stop}, shape, x.dtype)
        if x.leaf is not None:
            return self.make(SLICE, (x,), {"start": start, "stop": stop}, shape, x.dtype)
        if x.op.lowering.kind == "matmul":
            return self.make(x.op, (x.args[0], self.columns(x.args[1], start, stop)), {}, shape, x.dtype)
        args = tuple(self._columns_of(a, start, stop, x.shape) for a in x.args)
        return self.make(x.op, args, x.static, shape, x.dtype)

    def rows(self, w: Symbol, start: int, stop: int) -> Symbol:
        return w if start == 0 and stop == w.shape[0] else getitem(w, slice(start, stop))

    def concat(self, pieces: list[Symbol]) -> Symbol:
        flat = [p for piece in pieces for p in (piece.args if piece.op is CONCAT else (piece,))]
        if len(flat) == 1:
            return flat[0]
        width = sum(p.width for p in flat)
        return self.make(CONCAT, tuple(flat), {}, (BATCH, width), flat[0].dtype)

    def cast(self, x: Symbol, dtype) -> Symbol:
        return x if x.dtype == dtype else self.make(CAST, (x,), {"dtype": str(dtype)}, x.shape, dtype)

    def _rule_cast(self, op, args, static):
        (x,), dtype = args, np.dtype(static["dtype"])
        if dtype.kind not in "fb" or (dtype.kind == "f" and dtype != self.dtype):
            self.fail(op, args, f"a cast to {self.dtype} or bool")
        return self.map_pieces(x, lambda p: self.cast(p, dtype))

    def map_pieces(self, x: Symbol, function) -> Symbol:
        return self.concat([function(p) for p in x.args]) if x.op is CONCAT else function(x)

    def _power(self, x, exponent):
        if exponent == 0.5:
            return sqrt(x)
        if float(exponent).is_integer() and 1 <= abs(exponent) <= 8:
            out = x
            for _ in range(int(abs(exponent)) - 1):
                out = out * x
            return out if exponent > 0 else 1 / out
        return None

    def _rule_matmul(self, op, args, static):
        a, w = args
        if not isinstance(w, Symbol) or w.varying or not isinstance(a, Symbol):
            self.fail(op, args, "a time-varying value (B, K) times a matrix that does not vary in time (K, N)")
        if a.ndim == 2 and w.ndim == 1:
            return (a * w).sum(axis=1)
        if a.ndim != 2 or w.ndim != 2:
            self.fail(op, args, "a time-varying value (B, K) times a matrix (K, N)")
        if a.op is CONCAT:
            total, start = None, 0
            for part in a.args:
                term = self._rule_matmul(op, (part, self.rows(w, start, start + part.width)), static)
                total = term if total is None else total + term
                start += part.width
            return total
        return self.make(op, (self.cast(a, self.dtype), w), {}, (BATCH, w.shape[1]), self.dtype)

    def _rule_reduce(self, op, args, static):
        (x,) = args
        if x.ndim != 2 or static["axis"] != (1,):
            self.fail(op, args, "a reduction along features (axis=-1); rows of the batch stay apart")
        x = self.map_pieces(x, lambda p: self.cast(p, self.dtype))
        if x.op is CONCAT:
            pieces = [self._rule_reduce(op, (p,), {"axis": (1,), "keepdims": True}) for p in x.args]
            combine = {"sum": lambda a, b: a + b, "max": maximum, "min": minimum}[op.name]
            total = pieces[0]
            for p in pieces[1:]:
                total = combine(total, p)
        elif x.width == 1:
            total = x
        else:
            total = self.make(op, (x,), {"axis": (1,), "keepdims": True}, (BATCH, 1), x.dtype)
        return total if static["keepdims"] else self._alias(total, (BATCH,))

    def _alias(self, x: Symbol, shape: tuple) -> Symbol:
        if x.op is ALIAS and x.args[0].shape == shape:
            return x.args[0]
        return x if x.shape == shape else self.make(ALIAS, (x,), {"rank": len(shape)}, shape, x.dtype)

    def _rule_reshape(self, op, args, static):
        (x,), shape = args, static["shape"]
        if x.shape == shape:
            return x
        if {x.shape, shape} != {(BATCH,), (BATCH, 1)}:
            self.fail(op, args, f"no reshape of features inside the step, got {shape}")
        return self._alias(x, shape)

    def _rule_broadcast(self, op, args, static):
        (x,), shape = args, static["shape"]
        if x.ndim != 2 or len(shape) != 2 or shape[0] != BATCH or x.width != 1:
            self.fail(op, args, f"(B, 1) to (B, F), got {shape}")
        return self.make(SPREAD, (x,), {}, shape, x.dtype)

    def _rule_slice(self, op, args, static):
        (x,), index = args, list(static["index"])
        if Ellipsis in [i for i in index if not isinstance(i, np.ndarray)]:
            at = index.index(Ellipsis)
            consumed = sum(i is not None for i in index) - 1
            index[at : at + 1] = [slice(None)] * (x.ndim - consumed)
        if any(isinstance(i, np.ndarray) for i in index) or not index or index[0] != slice(None):
            self.fail(op, args, "basic slices along features that keep all rows, such as v[:, 2:5]")
        rest = index[1:]
        if x.ndim == 1:
            if rest == [None]:
                return self._alias(x, (BATCH, 1))
            if not rest:
                return x
        elif not rest:
            return x
        elif len(rest) == 1 and isinstance(rest[0], slice) and rest[0].step in (None, 1):
            start, stop, _ = rest[0].indices(x.width)
            if stop <= start:
                self.fail(op, args, f"a slice that is not empty, got {rest[0]}")
            return self.columns(x, start, stop)
        elif len(rest) == 1 and isinstance(rest[0], int | np.integer):
            i = int(rest[0]) % x.width
            return self._alias(self.columns(x, i, i + 1), (BATCH,))
        self.fail(op, args, f"a slice along features with step 1, got index {tuple(index)}")

    def _rule_split(self, op, args, static):
        (x,), bounds = args, static["bounds"]
        if x.ndim != 2 or static["axis"] != 1:
            self.fail(op, args, "a split along features (axis=1 or -1)")
        return tuple(self.columns(x, a, b) for a, b in itertools.pairwise(bounds))

    def _rule_concat(self, op, args, static):
        if static["axis"] != 1 or any(a.ndim != 2 for a in args):
            self.fail(op, args, "a concatenation along features (axis=1 or -1)")
        parts = []
        for a in args:
            if not a.varying:  # the same values in every row
                self.fail(op, args, "time-varying operands; add a constant to a product instead")
            parts.append(a)
        return self.concat(parts)


def _infer(op: Op, args: tuple, static: dict) -> Any:
    """Shape and dtype of a result, by running the forward on arrays that take no memory."""
    arrays = [
        np.broadcast_to(np.ones((), a.dtype), a.shape) if isinstance(a, Symbol) else a for a in args
    ]
    with np.errstate(all="ignore"):
        out = op.forward(*promote(op, arrays, [isinstance(a, Symbol) for a in args]), **static)
    if isinstance(out, tuple):
        return [(np.shape(o), np.asarray(o).dtype) for o in out]
    return np.shape(out), np.asarray(out).dtype


class recording:
    """While active, operations on tensors alone are recorded too, as invariants of `trace`."""

    def __init__(self, trace: Trace):
        self.trace = trace

    def __enter__(self):
        if grad_mode.tracer is not None:
            raise CompileError("a step that is being traced runs a compiled layer; call the layer's cell instead")
        grad_mode.tracer = self.trace

    def __exit__(self, *exc):
        grad_mode.tracer = None
