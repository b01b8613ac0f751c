"""Indexing: basic, by integer arrays, by masks; gradients accumulate where an element is read twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import is_whole, shown
from ..config import grad_mode
from ..core import Lowering, Tensor, Traceable, primitive
from ..core.aliases import ArrayLike, Index, Value
from ..core.node import as_operand
from ..core.signatures import like_first
from ..errors import DTypeError, ShapeError
from . import twins
from .arguments import one_axis, operand
from .elementwise import where
from .twins import flat, kernels

_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})


def _is_basic(index: tuple) -> bool:
    return _BASIC.issuperset(map(type, index)) or all(
        type(i) in _BASIC or isinstance(i, (int, np.integer)) for i in index
    )


def _getitem_vjp(g: Value, y: Value, x: Value, index: Index) -> Value:
    add = scatter_add.op.forward if type(g) is np.ndarray else scatter_add
    return add(g, index=index, shape=tuple(x.shape))


@primitive(
    vjps=[_getitem_vjp],
    saves=(),
    view=True,
    lowering=Lowering("slice"),
    owns_gradients=True,
)
def _getitem(x: Value, index: Index) -> Value:
    return x[index]


@primitive(vjps=[lambda g, y, x, index, shape: _getitem(g, index=index)], saves=(), lowering=Lowering("unslice"))
def scatter_add(x: Value, index: Index, shape: tuple[int, ...]) -> Value:
    """Zeros of `shape` with `x` added at `index`: the transpose of indexing."""
    out = np.zeros(shape, x.dtype)
    if _is_basic(index):
        out[index] = x
    elif len(index) == 1 and _is_integers(index[0]) and x.size >= twins.FEW and x.dtype.kind == "f":
        _add_rows(out, np.where(index[0] < 0, index[0] + shape[0], index[0]), x)
    else:  # an element may be read twice
        np.add.at(out, index, x)
    return out


def _is_integers(index: Any) -> bool:
    return type(index) is np.ndarray and index.dtype.kind in "iu"


def _add_rows(out: np.ndarray, index: np.ndarray, x: np.ndarray, padding: int = -1) -> None:
    """Add x to the rows of `out` that were read, in this order; `index` does not count from the end."""
    width, index = math.prod(out.shape[1:]), flat(index.astype(np.int64, copy=False))
    kernels("embedding", x.size).scatter_add(flat(x), width, index, padding, out.reshape(-1), 0, index.size)


@like_first
def getitem(x: Value, index: Index) -> Value:
    """``x[index]`` with integers, slices, None, Ellipsis, integer arrays or bool masks."""
    if not isinstance(index, tuple):
        index = (index,)
    if not _is_basic(index):
        if in_step(*index):
            return _looked_up(x, index)
        index = tuple([_plain(i) for i in index])
    try:
        return _getitem(x, index=index)
    except IndexError as e:
        raise OutOfRange(f"index: got {index} for shape {np.shape(x)}: {e}", _row_outside(index, np.shape(x))) from None


class OutOfRange(IndexError):
    """An index is out of range.

    Attributes
    ----------
    row : int or None
        Where it stands along the first axis of the indices, if they are an array.
    """

    def __init__(self, message: str, row: int | None = None):
        super().__init__(message)
        self.row = row


def row_of(wrong: np.ndarray) -> int | None:
    """The first place along the first axis at which something is true."""
    return int(np.argwhere(wrong)[0][0]) if wrong.ndim and wrong.any() else None


def _row_outside(index: Any, shape: tuple[int, ...]) -> int | None:
    """The row of the first integer that is out of range, of arrays of them."""
    axis = 0
    for i in index:
        if i is Ellipsis or axis >= len(shape) or (_is_array(i) and i.dtype.kind == "b"):
            return None  # axes are no longer those of the parts
        if _is_array(i) and (row := row_of((i < -shape[axis]) | (i >= shape[axis]))) is not None:
            return row
        axis += i is not None
    return None


def _is_array(i: Any) -> bool:
    return isinstance(i, np.ndarray)


def in_step(*operands: Any) -> bool:
    """Whether one of these is an index that a compiled step or an exported model computes or is given."""
    tracer = grad_mode.tracer
    return tracer is not None and any(isinstance(a, Traceable) and tracer.is_index(a) for a in operands)


FEW = 24  # integers that Python looks at sooner than NumPy begins
_UNSIGNED = {np.dtype(f"i{n}"): np.dtype(f"u{n}") for n in (1, 2, 4, 8)}


def all_within(indices: np.ndarray, low: int, high: int) -> bool:
    """Whether none of these integers is less than `low` or greater than `high`."""
    if indices.size <= FEW:
        values = indices.ravel().tolist()
        return not values or (low <= min(values) and max(values) <= high)
    unsigned = _UNSIGNED.get(indices.dtype)
    if low == 0 <= high and unsigned is not None and high >> (8 * unsigned.itemsize - 1) == 0:
        # one pass, as negative numbers without their signs are greater than all that have none
        return int(np.maximum.reduce(indices.view(unsigned), axis=None)) <= high
    return bool(indices.min() >= low and indices.max() <= high)


@primitive()
def within(indices: Value, low: int, high: int, what: str) -> Value:
    """Integers, of which none is less than `low` or greater than `high`."""
    if not all_within(indices, low, high):
        least, most = int(indices.min()), int(indices.max())
        got = least if least < low else most
        raise OutOfRange(f"indices: got {got}, wanted {what}", row_of(np.asarray(indices) == got))
    return indices


def in_program(indices: Any) -> bool:
    """Whether this is an index that a traced function computes, or is given."""
    tracer = grad_mode.tracer
    return tracer is not None and tracer.whole and isinstance(indices, Traceable)


def in_range(indices: Any, low: int, high: int, what: str) -> Value:
    """Integers of a traced function that lie between two numbers, which is looked at when it runs."""
    tracer: Any = grad_mode.tracer
    found = tracer.lift(indices)
    if found.dtype.kind not in "iu":
        raise DTypeError(f"indices: got {found.dtype}, wanted integers")
    return tracer.in_range(found, low, high, what)


def from_start(places: Value, length: int) -> Value:
    """Integers of a step that index an axis, all counted from its start."""
    tracer: Any = grad_mode.tracer
    found = tracer.in_range(places, -length, length - 1, f"an index of an axis of length {length}")
    return found if tracer.range_of(found)[0] >= 0 else where(found < 0, found + length, found)


def _looked_up(x: Value, index: Index) -> Value:
    """``x[index]`` with integers that a compiled step or an exported model computes: rows of a table.

    The axes that are indexed by integers come first in the table, as one, and where NumPy has them in the result.
    """
    tracer: Any = grad_mode.tracer
    x = tracer.lift(x)
    parts = _one_part_per_axis(index, len(x.shape))
    places = [i for i, part in enumerate(parts) if part is not None and not isinstance(part, slice)]
    rest = [i for i in range(len(parts)) if i not in places]
    together = places[-1] - places[0] == len(places) - 1
    before = [i for i in rest if i < places[0]] if together else []  # axes that NumPy has before what is looked up
    if not tracer.whole and (x.varying or before):
        tracer.refuse_for(
            "an index that varies in time: wanted one of the first axis of what does not vary in time, such as "
            "parameter[integers] or parameter.T[integers], or tr.take_along_axis() along features"
        )
    axes = [part for part in parts if part is not None]
    cut = tuple(part if isinstance(part, slice) else slice(None) for part in axes)
    x = x if all(part == slice(None) for part in cut) else _getitem(x, index=cut)
    chosen = [i for i, part in enumerate(axes) if not isinstance(part, slice)]
    left = [i for i in range(len(axes)) if i not in chosen]
    order, lengths = (*chosen, *left), [x.shape[i] for i in chosen]
    shape = tuple(x.shape[i] for i in left)
    table = (x if order == tuple(range(len(axes))) else x.transpose(order)).reshape(
        (math.prod(lengths), math.prod(shape))
    )
    found: Any = None
    for part, n in zip([axes[i] for i in chosen], lengths):
        place = from_start(part, n) if isinstance(part, Traceable) else _counted_from_start(part, n)
        found = place if found is None else found * n + place
    y = _embedding(table, indices=found, padding=-1)
    ahead = [i for i in before if parts[i] is not None]
    rank = len(y.shape) - 1
    y = y.reshape((*y.shape[:-1], *shape))
    if ahead:
        y = y.transpose((*range(rank, rank + len(ahead)), *range(rank), *range(rank + len(ahead), rank + len(shape))))
    if all(part is not None for part in parts):
        return y
    behind = [i for i in rest if i not in before]
    new = [[None if parts[i] is None else slice(None) for i in side] for side in (before, behind)]
    return getitem(y, (*new[0], *(slice(None),) * rank, *new[1]))


def _one_part_per_axis(index: tuple, rank: int) -> list:
    """The index with a part for each axis, and None for new ones."""
    parts = [part if isinstance(part, Traceable) else _plain(part) for part in index]
    if any(np.asarray(part).dtype.kind == "b" for part in parts if isinstance(part, (bool, np.ndarray, np.bool_))):
        raise IndexError(f"index: got truth values beside integers for {rank} axes, wanted integers alone")
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > rank:
        raise IndexError(f"index: got {used} parts for {rank} axes")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * (rank - used)
    return parts


def _counted_from_start(places: Any, length: int) -> Any:
    """Integers that are known and index an axis, all counted from its start."""
    found = np.asarray(places)
    if found.size and not (-length <= found.min() and found.max() < length):
        raise IndexError(f"index: got {places} for an axis of length {length}")
    found = np.where(found < 0, found + length, found)
    return found if found.ndim else int(found)


def _plain(i: Any) -> Any:
    """One index as NumPy takes it, without tensors; arrays are copied, as the graph keeps them."""
    if isinstance(i, (Tensor, list, np.ndarray)):
        given = i.data if isinstance(i, Tensor) else i
        i = np.array(as_operand(given, "index"))
        if i.size == 0 and i.dtype.kind == "f":
            i = i.astype(int)
        if i.dtype.kind not in "iub":
            raise DTypeError(f"index: got an array of {i.dtype}, wanted integers or bool")
    return i


@like_first
def take(x: Value, indices: ArrayLike, axis: int | None = None) -> Value:
    """Elements at integer `indices` along `axis` (None: of the flattened tensor)."""
    x = operand(x, "take")
    if axis is None or not x.shape:
        axis = 0 if axis is None else one_axis(axis, x.shape, scalars=True)
        x = x.reshape((int(np.prod(x.shape, dtype=int)),))
    places = indices if in_step(indices) else as_indices(indices)
    return getitem(x, (*(slice(None),) * one_axis(axis, x.shape), places))


def as_indices(indices: ArrayLike) -> np.ndarray:
    """Integer indices of any shape, as a copy, which the graph keeps."""
    array = np.array(as_operand(indices.data if isinstance(indices, Tensor) else indices, "indices"))
    if not array.size and not isinstance(indices, (Tensor, np.ndarray)):
        array = array.astype(int)  # of an empty list
    if array.dtype.kind not in "iu":
        raise DTypeError(f"indices: got {array.dtype}, wanted integers")
    return array


def _embedding_vjp(
    g: Value, y: Value, weight: Value, indices: Value, *, needs: Sequence[bool], padding: int
) -> list[Value | None]:
    return [
        _scatter_rows(g, indices=indices, rows=weight.shape[0], padding=padding),
        *[None for _ in needs[1:]],
    ]


@primitive(joint_vjp=_embedding_vjp, saves=(1,), untyped=(1,), owns_gradients=True, lowering=Lowering("lookup"))
def _embedding(weight: Value, indices: Value, padding: int) -> Value:
    return weight.take(indices, axis=0, mode="clip")  # they were checked


def _scatter_rows_vjp(
    g: Value, y: Value, x: Value, indices: Value, *, needs: Sequence[bool], rows: int, padding: int
) -> list[Value | None]:
    read = _embedding(g, indices=indices, padding=padding)
    if padding >= 0:
        read = where((indices == padding)[..., None], 0.0, read)
    return [read, *[None for _ in needs[1:]]]


@primitive(joint_vjp=_scatter_rows_vjp, saves=(1,), untyped=(1,), owns_gradients=True)
def _scatter_rows(x: Value, indices: Value, rows: int, padding: int) -> Value:
    """The transpose of reading rows of a table, but for those of `padding`, if that is not negative."""
    out = np.zeros((rows, x.shape[-1]), x.dtype)
    _add_rows(out, indices, x, padding)
    return out


@like_first
def embedding(weight: Value, indices: ArrayLike, padding_idx: int | None = None) -> Value:
    """Rows of `weight` (V, E) at integer `indices` of any shape: (...) -> (..., E).

    Parameters
    ----------
    weight : Tensor or array, (V, E)
    indices : integer Tensor or array, (...)
    padding_idx : int, optional
        The index of padding; may be negative. Its row gets no gradient.

    Raises
    ------
    DTypeError
        If `indices` are not integers.
    ShapeError
        If `weight` is no matrix.
    IndexError
        If an index lies outside the table; it is named.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> table = tr.tensor(np.eye(3), requires_grad=True)
    >>> tr.embedding(table, [[2, 0, 2]], padding_idx=0).sum().backward()
    >>> table.grad.tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]
    """
    weight, tracer = operand(weight, "embedding"), grad_mode.tracer
    later = tracer is not None and isinstance(indices, Traceable)
    found: Any = tracer.lift(indices) if later else as_indices(indices)
    if found.dtype.kind not in "iu":
        raise DTypeError(f"indices: got {found.dtype}, wanted integers")
    if len(weight.shape) != 2:
        raise ShapeError(f"embedding: weight: got shape {tuple(weight.shape)}, wanted (V, E)")
    rows = weight.shape[0]
    what = f"ids from 0 to {rows - 1}"  # NumPy would count negative ids from the end
    if not later:
        WITHIN.forward(found, 0, rows - 1, what)
    elif tracer.whole:  # in a compiled loop, indices are compared with the table as they come up
        found = in_range(found, 0, rows - 1, what)
    return _embedding(weight, indices=found, padding=-1 if padding_idx is None else as_id(padding_idx, rows))


def as_id(padding_idx: Any, rows: int) -> int:
    """The id of padding in a table of so many rows, from 0 on."""
    if not is_whole(padding_idx):
        raise TypeError(f"padding_idx: got {shown(padding_idx)}, wanted an id")
    padding = int(padding_idx)
    if not -rows <= padding < rows:
        raise IndexError(f"padding_idx: got {shown(padding_idx)}, wanted an id of a table with {rows} rows")
    return padding % rows


# records of operations, for programs, which tell them apart by these
GETITEM, EMBEDDING, SCATTER_ROWS, WITHIN = _getitem.op, _embedding.op, _scatter_rows.op, within.op
