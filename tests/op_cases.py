"""Argument strategies of the table of operations: each gives (arrays, options)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_rnn.testing import strategies as ts

Case = tuple[tuple[np.ndarray, ...], dict[str, Any]]


def unary(lo: float = -2.0, hi: float = 2.0, avoid=(), specials: bool = False, of=np.float64, **options):
    """One array with elements `of` a dtype, possibly empty or 0-d; `options` are strategies or constants."""
    return st.tuples(st.tuples(ts.arrays(ts.shapes(min_side=0), of, lo, hi, avoid, specials)), _options(options))


def _options(options: dict) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in options.items()})


@st.composite
def nary(draw, *ranges: dict) -> Case:
    """Arrays that broadcast together, each with its own range (the arguments of ``strategies.arrays``)."""
    shapes = draw(ts.broadcastable_shapes(len(ranges), max_dims=3, min_side=0, max_side=3))
    return tuple(draw(ts.arrays(s, **r)) for s, r in zip(shapes, ranges)), {}


def floats(lo: float = -2.0, hi: float = 2.0, avoid=()) -> dict:
    return {"min_value": lo, "max_value": hi, "avoid": avoid}


def apart(lo: float = -2.0, hi: float = 2.0) -> dict:
    """A range whose grid never meets that of ``floats()``: no ties."""
    return floats(lo + 0.00123, hi + 0.00123)


SMALL_INTEGERS = {"dtype": np.int64, "min_value": -2, "max_value": 2}
BOOLEANS = {"dtype": np.bool_}
BITS = {"dtype": np.int64, "min_value": -9, "max_value": 9}
SHIFTS = {"dtype": np.int64, "min_value": 0, "max_value": 5}


def as_floats(case: Case) -> Case:
    return tuple(a.astype(float) for a in case[0]), case[1]


def axis_as_tuple(case: Case) -> Case:
    (array,), options = case
    return (array,), {"axis": (options["axis"] % array.ndim,)}


def lengths(several: bool = True):
    """Arrays without zeros, whose lengths are smooth; ties apart for the largest."""
    return reduced(lo=0.3, hi=2.0, unique=True, several=several, none=several, min_dims=0 if several else 1)


@st.composite
def several_moved(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, min_side=0)))
    n = array.ndim
    count = draw(st.integers(0, n))
    axes = [draw(st.permutations(range(n)))[:count] for _ in range(2)]
    signed = [tuple(a - n if draw(st.booleans()) else a for a in some) for some in axes]
    return (array,), {"source": signed[0], "destination": signed[1]}


def integral(lo: float = -2.0, hi: float = 2.0):
    """Floats that are often equal."""
    return nary(SMALL_INTEGERS, SMALL_INTEGERS).map(lambda c: (tuple(a.astype(float) for a in c[0]), c[1]))


@st.composite
def reduced(
    draw,
    lo=-2.0,
    hi=2.0,
    unique=False,
    min_side=1,
    min_dims=0,
    several=True,
    none=True,
    keepdims=True,
    empty=False,
    dtype=np.float64,
    ddof=False,
) -> Case:
    """An array and an ``axis`` (from either end, a tuple, or None), perhaps ``keepdims`` and ``ddof``."""
    if empty:
        min_side = 0
    shape = draw(ts.shapes(min_dims=min_dims, min_side=min_side, max_side=3))
    options: dict[str, Any] = {}
    if shape or none:
        options["axis"] = draw(ts.axes(len(shape), allow_none=none, several=several))
    if keepdims:
        options["keepdims"] = draw(st.booleans())
    if ddof:
        options["ddof"] = draw(st.integers(0, 1))
    return (draw(ts.arrays(shape, dtype, lo, hi, unique=unique)),), options


@st.composite
def reshaped(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, min_side=1)))
    shape = list(draw(st.permutations(array.shape)))
    if draw(st.booleans()):
        shape = [int(np.prod(shape[:1])), *shape[1:], 1]
    if draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return (array,), {"shape": tuple(shape)}


@st.composite
def transposed(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_side=0)))
    axes = draw(st.none() | st.permutations(range(array.ndim)).map(tuple))
    return (array,), {"axes": axes}


@st.composite
def two_axes(draw, names=("a", "b")) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, min_side=0)))
    axis = st.integers(-array.ndim, array.ndim - 1)
    return (array,), {names[0]: draw(axis), names[1]: draw(axis)}


@st.composite
def squeezed(draw) -> Case:
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple))
    ones = [i for i, n in enumerate(shape) if n == 1]
    axis = draw(st.none() | (st.sampled_from(ones) if ones else st.none()) | st.just(tuple(ones)))
    return (draw(ts.arrays(shape)),), {"axis": axis}


@st.composite
def expanded(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(max_dims=2, min_side=0)))
    n = array.ndim
    axis = draw(st.integers(-n - 1, n) | st.sampled_from([(0, 1), (0, -1), (-1, -2)]))
    return (array,), {"axis": axis}


@st.composite
def broadcasted(draw) -> Case:
    shapes = draw(ts.broadcastable_shapes(2, min_side=0))
    return (draw(ts.arrays(shapes[0])),), {"shape": np.broadcast_shapes(*shapes)}


@st.composite
def padded(draw, constant=True) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, max_dims=2, min_side=2)))
    pair = st.tuples(st.integers(0, 3), st.integers(0, 3))
    pads: Any = st.integers(0, 3) | pair | st.lists(pair, min_size=array.ndim, max_size=array.ndim)
    options: dict[str, Any] = {"pad_width": draw(pads)}
    if constant:
        options["constant_values"] = draw(st.sampled_from([0, 1.5]))
    else:
        options["mode"] = draw(st.sampled_from(["edge", "reflect", "symmetric", "wrap"]))
    return (array,), options


@st.composite
def repeated(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, min_side=1, max_side=3)))
    axis = draw(ts.axes(array.ndim, several=False))
    n = array.size if axis is None else array.shape[axis]
    counts = draw(st.integers(0, 3) | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return (array,), {"repeats": counts, "axis": axis}


@st.composite
def tiled(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(max_dims=2, min_side=0, max_side=3)))
    return (array,), {"reps": draw(st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=3).map(tuple))}


@st.composite
def joined(draw, new_axis=False) -> Case:
    shape = draw(ts.shapes(min_dims=0 if new_axis else 1, max_dims=2, min_side=0, max_side=3))
    n = len(shape) + new_axis
    axis = draw(st.integers(-n, n - 1))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        own = list(shape)
        if not new_axis:
            own[axis] = draw(st.integers(0, 3))
        found.append(draw(ts.arrays(tuple(own))))
    return tuple(found), {"axis": axis}


@st.composite
def cut(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)))
    axis = draw(st.integers(-array.ndim, array.ndim - 1))
    n = array.shape[axis]
    equal = st.sampled_from([k for k in range(1, n + 1) if n % k == 0])
    points = st.lists(st.integers(0, n), max_size=3).map(sorted)
    return (array,), {"at": draw(equal | points), "axis": axis}


@st.composite
def unstacked(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    return (array,), {"axis": draw(st.integers(-array.ndim, array.ndim - 1))}


@st.composite
def indexed(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_side=0)))
    return (array,), {"index": draw(ts.indices(array.shape))}


@st.composite
def taken(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1)))
    axis = draw(ts.axes(array.ndim, several=False))
    n = array.size if axis is None else array.shape[axis]
    indices = draw(ts.arrays(ts.shapes(max_dims=2, min_side=0), np.int64, -n, n - 1))
    return (array,), {"indices": indices, "axis": axis}


@st.composite
def picked(draw) -> Case:
    """An array, with indices along one axis; along the others they may have length 1."""
    array = draw(ts.arrays(ts.shapes(min_dims=1)))
    axis = draw(st.integers(-array.ndim, array.ndim - 1))
    n, shape = array.shape[axis], [m if draw(st.booleans()) else 1 for m in array.shape]
    shape[axis] = draw(st.integers(0, 3))
    return (array,), {"indices": draw(ts.arrays(tuple(shape), np.int64, -n, n - 1)), "axis": axis}


@st.composite
def ordered(draw, axes: bool = False, **options) -> Case:
    """An array without ties, perhaps with an axis."""
    array = draw(ts.arrays(ts.shapes(min_dims=1), unique=True))
    axis = {"axis": draw(st.integers(-array.ndim, array.ndim - 1))} if axes else {}
    return (array,), {**axis, **draw(_options(options))}


@st.composite
def rolled(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, min_side=0)))
    return (array,), {"shift": draw(st.integers(-5, 5)), "axis": draw(ts.axes(array.ndim, several=False))}


@st.composite
def parted(draw) -> Case:
    array = draw(ts.arrays(ts.shapes(min_dims=1, max_dims=2, min_side=1, max_side=6)))
    axis = draw(st.integers(-array.ndim, array.ndim - 1))
    return (array,), {"indices_or_sections": draw(st.integers(1, 4) | st.just([1, 2])), "axis": axis}


@st.composite
def crossed(draw) -> Case:
    """A matrix, or several, with two axes and the number of a diagonal."""
    array = draw(ts.arrays(ts.shapes(min_dims=2, min_side=1)))
    axis1, axis2 = draw(st.permutations(range(array.ndim)))[:2]
    return (array,), {"offset": draw(st.integers(-2, 2)), "axis1": axis1, "axis2": axis2 - array.ndim}


@st.composite
def contracted(draw) -> Case:
    shapes, axes = draw(
        st.sampled_from([
            (((2, 3), (3, 4)), 1), (((2, 3), (2, 3)), 2), (((2,), (3,)), 0), (((2, 3), (4, 2)), ([0], [1])),
            (((2, 3, 2), (3, 2, 4)), ([0, 1], [1, 0])), (((0, 3), (3, 2)), 1), (((2, 0), (0, 2)), 1),
        ])
    )  # fmt: skip
    return tuple(draw(ts.arrays(shape)) for shape in shapes), {"axes": axes}


@st.composite
def looked_up(draw) -> Case:
    table = draw(ts.arrays(ts.shapes(min_dims=2, max_dims=2)))
    ids = draw(ts.arrays(ts.shapes(max_dims=2, min_side=0), np.int64, 0, len(table) - 1))
    return (table,), {"indices": ids}


def _reduced_losses(draw, classes: int) -> dict[str, Any]:
    weight = draw(st.none() | ts.arrays((classes,), min_value=0.2, max_value=2.0))
    smoothing = draw(st.sampled_from([0.0, 0.1]))
    return {"weight": weight, "smoothing": smoothing, "reduction": draw(st.sampled_from(["mean", "sum", "none"]))}


@st.composite
def classified(draw, smoothed: bool = True) -> Case:
    """Logits with classes, some of which are ignored, but not all."""
    array = draw(ts.arrays(ts.shapes(min_dims=1)))
    target = draw(ts.arrays(array.shape[:-1], np.int64, -1, array.shape[-1] - 1))
    target.flat[0] = max(0, target.flat[0])
    options = {"target": target, "ignore_index": -1, **_reduced_losses(draw, array.shape[-1])}
    if not smoothed:
        del options["smoothing"]
    return (array,), options


@st.composite
def normalised(draw) -> Case:
    """Rows whose elements are far enough apart, perhaps with weight and bias."""
    shape = draw(ts.shapes(min_dims=1, min_side=2, max_side=3))
    n_axes, scaled = draw(st.integers(1, len(shape))), draw(st.booleans())
    affine = [draw(ts.arrays(shape[len(shape) - n_axes :])) for _ in range(scaled + draw(st.booleans()))]
    options = {"n_axes": n_axes, "eps": draw(st.sampled_from([0.1, 1.0])), "scaled": scaled}
    return (draw(ts.arrays(shape, unique=True)), *affine), options


@st.composite
def masked(draw) -> Case:
    shape = draw(ts.shapes(min_side=0))
    return (draw(ts.arrays(shape)),), {"keep": draw(ts.arrays(shape, np.bool_)), "scale": draw(st.floats(1, 4))}


@st.composite
def shared_out(draw) -> Case:
    """Logits with shares of the classes."""
    shape = draw(ts.shapes(min_dims=1))
    arrays = draw(ts.arrays(shape)), draw(ts.arrays(shape, min_value=0.0, max_value=1.0))
    return arrays, _reduced_losses(draw, shape[-1])


@st.composite
def same_shape(draw, **options) -> Case:
    shape = draw(ts.shapes(min_side=0))
    return (draw(ts.arrays(shape)), draw(ts.arrays(shape))), draw(_options(options))


@st.composite
def of_shapes(draw, *choices: tuple) -> Case:
    """Arrays of one of several lists of shapes; a leading string becomes the option ``subscripts``."""
    choice = draw(st.sampled_from(choices))
    options = {"subscripts": choice[0]} if isinstance(choice[0], str) else {}
    return tuple(draw(ts.arrays(s)) for s in choice if not isinstance(s, str)), options


@st.composite
def divided(draw) -> Case:
    """A dividend that stays away from multiples of the divisor."""
    shapes = draw(ts.broadcastable_shapes(2, max_side=3))
    whole = draw(ts.arrays(shapes[0], np.int64, -3, 3))
    part = draw(ts.arrays(shapes[0], min_value=0.1, max_value=0.9))
    divisor = draw(st.sampled_from([-2.0, -0.5, 0.5, 1.0, 2.0]))
    return ((whole + part) * abs(divisor), np.full(shapes[1], divisor)), {}


@st.composite
def alignments(draw) -> Case:
    """Logits (T, B, C), and labels that fit into the time steps of their rows."""
    time, batch, classes = draw(st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(2, 3)))
    blank = draw(st.integers(0, classes - 1))
    label = st.sampled_from([c for c in range(classes) if c != blank])
    rows, lengths = [], []
    for _ in range(batch):
        lengths.append(draw(st.integers(1, time)))
        row = draw(st.lists(label, max_size=lengths[-1]))
        while len(row) + sum(a == b for a, b in pairwise(row)) > lengths[-1]:
            row.pop()
        rows.append(row)
    options = {
        "labels": np.array([c for row in rows for c in row], np.int64),
        "offsets": np.cumsum([0, *map(len, rows)]),
        "lengths": np.array(lengths),
        "blank": blank,
    }
    return (draw(ts.arrays((time, batch, classes))),), options
