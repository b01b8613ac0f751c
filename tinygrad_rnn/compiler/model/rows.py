"""Row layouts: in how many rows an operation can be computed by a loop, and how that reads."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence

from ...core import Lowering
from ...ops.index import scatter_add
from ...ops.join import CONCAT
from ..ir.program_ops import BROADCAST, GETITEM, MATMUL, RESHAPE, TRANSPOSE, is_ours
from ..ir.symbol import Symbol
from ..ir.walk import reachable
from .program import ASTYPE


class Access(enum.Enum):
    """How a loop over rows reads an operand."""

    NUMBER = "a Python number"
    ROWS = "a row for each row of the result, of as many features or of one"
    VECTOR = "the same features, or the same number, for all rows"
    MATRIX = "a matrix that rows are multiplied by"


Layouts = dict[int, tuple[Access, ...]]  # number of rows -> how each argument is read


def is_view(s: Symbol) -> bool:
    """Whether a value is another's memory: a reshape, or integers as floats.

    All values are stored in order, and a loop takes integers as floats.
    """
    return s.op is RESHAPE or (s.op is ASTYPE and s.dtype.kind == "f" and s.args[0].dtype.kind in "iu")


def stored(s: Symbol) -> Symbol:
    """The value whose memory a value is."""
    while is_view(s):
        s = s.args[0]
    return s


def matrix_of(s: Symbol) -> Symbol:
    """The value of which a matrix is transposed."""
    while s.op is TRANSPOSE and s.ndim == 2:
        s = s.args[0]
    return s


def size(shape: Iterable[int]) -> int:
    return math.prod(shape)


def layouts(s: Symbol) -> Layouts:
    """In how many rows a loop can compute an operation, and how it reads the arguments; {}: it cannot."""
    op = s.op
    if op is None or op.lowering is None or 0 in (s.size, *[a.size for a in s.operands]):
        return {}
    floats = {a.dtype for a in (s, *s.operands) if a.dtype.kind == "f"}
    if len(floats) > 1 or any(a.dtype.kind not in "fb" for a in (s, *s.operands)):
        return {}
    kind = op.lowering.kind
    if kind == "elementwise" or op is ASTYPE or (op is BROADCAST and s.dtype.kind == "f"):
        return _elementwise(s)
    if kind == "reduce":
        return _reduction(s, op.lowering)
    if op in (GETITEM, scatter_add.op):
        return {size(s.shape[:-1]): (Access.ROWS,)} if columns(s) is not None else {}
    if op is CONCAT:
        joins = s.static["axis"] == s.ndim - 1 and all(isinstance(a, Symbol) and a.dtype == s.dtype for a in s.args)
        return {size(s.shape[:-1]): (Access.ROWS,) * len(s.args)} if joins and s.dtype.kind == "f" else {}
    return _product(s) if op is MATMUL else {}


def columns(s: Symbol) -> tuple[int, int] | None:
    """Range of the features of a row that a slice takes, or its transpose fills; None for other indices."""
    shape = s.args[0].shape if s.op is GETITEM else s.shape
    index = s.static["index"]
    parts = [*index] if isinstance(index, tuple) else [index]
    if not shape or any(i is not Ellipsis and not isinstance(i, slice) for i in parts):
        return None
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    if any(i.indices(n) != (0, n, 1) for i, n in zip(parts[:-1], shape)):
        return None
    start, stop, step = parts[-1].indices(shape[-1])
    return (start, stop) if step == 1 and start < stop else None


def _elementwise(s: Symbol) -> Layouts:
    found: Layouts = {}
    for k in range(s.ndim + 1):
        reads = accesses(s.args, s.shape, k)
        if Access.ROWS in reads or (reads and s.op is BROADCAST):
            # the first of several k: axes of length one do not change the number of rows
            found.setdefault(size(s.shape[:k]), reads)
    return found


def accesses(args: Sequence[object], shape: tuple, k: int) -> tuple[Access, ...]:
    """How operands that are broadcast to `shape` are read, with its first `k` axes as rows; (): not."""
    found = [_access(a, shape, k) for a in args]
    reads = tuple([how for how in found if how is not None])
    return reads if len(reads) == len(found) else ()


def _access(a: object, shape: tuple, k: int) -> Access | None:
    """How an operand that is broadcast to `shape` is read, if the first `k` axes of that are the rows."""
    if not isinstance(a, Symbol):
        return Access.NUMBER
    padded = (1,) * (len(shape) - a.ndim) + a.shape
    if padded[k:] != shape[k:] and size(padded[k:]) != 1:
        return None
    if padded[:k] == shape[:k]:
        return Access.ROWS
    return Access.VECTOR if size(padded[:k]) == 1 else None


def reduced_axes(shape: tuple, axes: Iterable[int]) -> tuple[list[int], list[int]]:
    """The axes along which there is something to reduce: those at the end, and the others."""
    wide = [i for i, n in enumerate(shape) if n != 1]
    rest = [i for i in wide if i in set(axes)]
    last: list[int] = []
    while wide and rest and wide[-1] == rest[-1]:
        last.insert(0, wide.pop())
        rest.pop()
    return last, rest


def _reduction(s: Symbol, lowering: Lowering) -> Layouts:
    x, *others = s.args
    if others or not isinstance(x, Symbol) or lowering.reduction is None:
        return {}
    if is_ours(s.op):  # type: ignore[arg-type]
        last, rest = reduced_axes(x.shape, s.static["axis"])
        if rest or not last or (s.dtype.kind == "b" and lowering.reduction.finish == "{0}"):  # the largest of masks
            return {}
        return {x.size // size(x.shape[i] for i in last): (Access.ROWS,)}
    if not x.ndim or s.shape not in (x.shape[:-1], (*x.shape[:-1], 1)):
        return {}
    return {size(x.shape[:-1]): (Access.ROWS,)}


def _product(s: Symbol) -> Layouts:
    a, b = s.args
    symbols = isinstance(a, Symbol) and isinstance(b, Symbol)
    if not symbols or b.ndim != 2 or a.op is TRANSPOSE or a.dtype != s.dtype or b.dtype != s.dtype:
        return {}
    return {size(a.shape[:-1]): (Access.ROWS, Access.MATRIX)} if _is_parameter(matrix_of(b)) else {}


def _is_parameter(s: Symbol) -> bool:
    """Whether a matrix is an argument, or computed from nothing but parameters and random masks."""
    if s.leaf is not None:
        return True
    return all(leaf.leaf[0] != "input" for leaf in reachable([s], lambda a: a.operands) if leaf.leaf is not None)
