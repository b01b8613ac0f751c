"""Hypothesis strategies for shapes, arrays, indices and cells; needs ``hypothesis``.

Examples
--------
>>> from hypothesis import given
>>> from tinygrad_rnn.testing import strategies
>>> @given(strategies.broadcastable_arrays(2))
... def test_add_commutes(arrays):
...     a, b = arrays
...     assert ((a + b) == (b + a)).all()
>>> test_add_commutes()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .. import nn

Shape = tuple[int, ...]
STEPS = 1000  # values of one range lie on a grid of so many steps


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> st.SearchStrategy[Shape]:
    """Shapes of arrays; ``min_side=0`` allows empty ones."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable_shapes(
    count: int = 2, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Tuples of `count` shapes that NumPy broadcasts together."""
    return hnp.mutually_broadcastable_shapes(
        num_shapes=count, max_dims=max_dims, min_side=min_side, max_side=max_side
    ).map(lambda found: found.input_shapes)


def numbers(
    min_value: float = -2.0,
    max_value: float = 2.0,
    avoid: Sequence[float] = (),
    margin: float = 0.05,
) -> st.SearchStrategy[float]:
    """Floats on a grid within ``[min_value, max_value]``, so that differences stay well above rounding.

    Parameters
    ----------
    min_value, max_value : float
    avoid : sequence of float
        Points, such as kinks, that every value stays away from by `margin`.
    """
    width = (max_value - min_value) / STEPS
    grid = st.integers(0, STEPS).map(lambda i: min_value + width * i)
    if not avoid:
        return grid
    return grid.filter(lambda v: all(abs(v - a) >= margin for a in avoid))


def arrays(
    shape: Shape | st.SearchStrategy[Shape] | None = None,
    dtype: Any = np.float64,
    min_value: float = -2.0,
    max_value: float = 2.0,
    avoid: Sequence[float] = (),
    specials: bool = False,
    unique: bool = False,
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a float, integer or bool dtype.

    Parameters
    ----------
    shape : tuple or strategy, optional
        Default: :func:`shapes`.
    dtype : NumPy dtype
    min_value, max_value, avoid
        See :func:`numbers`; integers take whole numbers of the range.
    specials : bool
        Mix in NaN, both infinities, both zeros and subnormals (float dtypes).
    unique : bool
        No two elements are equal: no ties.
    """
    dtype = np.dtype(dtype)
    elements: st.SearchStrategy
    if dtype.kind == "b":
        elements = st.booleans()
    elif dtype.kind in "iu":
        elements = st.integers(int(np.ceil(min_value)), int(np.floor(max_value)))
    else:
        elements = numbers(min_value, max_value, avoid).map(dtype.type)
        if specials:
            tiny = float(np.finfo(dtype).smallest_subnormal)
            odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny]
            elements = elements | st.sampled_from(odd).map(dtype.type)
    # without `fill`, Hypothesis would repeat one value over most of a large array
    return hnp.arrays(dtype, shapes() if shape is None else shape, elements=elements, fill=st.nothing(), unique=unique)


@st.composite
def broadcastable_arrays(
    draw,
    count: int = 2,
    dtype: Any = np.float64,
    min_value: float = -2.0,
    max_value: float = 2.0,
    avoid: Sequence[float] = (),
    specials: bool = False,
    max_dims: int = 3,
    min_side: int = 1,
    max_side: int = 3,
) -> tuple[np.ndarray, ...]:
    """Tuples of `count` arrays that NumPy broadcasts together; the rest as :func:`arrays`."""
    found = draw(broadcastable_shapes(count, max_dims, min_side, max_side))
    return tuple(draw(arrays(s, dtype, min_value, max_value, avoid, specials)) for s in found)


@st.composite
def axes(draw, ndim: int, allow_none: bool = True, several: bool = True) -> int | tuple[int, ...] | None:
    """An axis of an array with `ndim` axes, counted from either end; None, or a tuple of axes, if allowed."""
    choices: list[st.SearchStrategy] = [st.none()] if allow_none else []
    if ndim:
        choices.append(st.integers(-ndim, ndim - 1))
    if several:
        picked = st.lists(st.integers(0, ndim - 1), unique=True) if ndim else st.just([])
        choices.append(picked.map(tuple))
    return draw(st.one_of(choices))


def indices(shape: Shape, advanced: bool = True) -> st.SearchStrategy[Any]:
    """Strategy for indices, such as ``x[...]`` takes for an array of `shape`.

    Integers, slices with steps, None and Ellipsis; with `advanced` also integer arrays, with repeated and
    negative indices, and bool masks.
    """
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    if not advanced or not shape:
        return basic
    masks = hnp.arrays(bool, shape)
    if 0 in shape:
        return basic | masks
    return st.one_of(basic, masks, _integer_arrays(shape))


@st.composite
def _integer_arrays(draw, shape: Shape) -> tuple:
    """One integer array for each of the leading axes, broadcasting together, and perhaps a slice."""
    count = draw(st.integers(1, len(shape)))
    sizes = draw(broadcastable_shapes(count, max_dims=2, min_side=0, max_side=3))
    found: list = [draw(hnp.arrays(np.int64, s, elements=st.integers(-n, n - 1))) for s, n in zip(sizes, shape)]
    if count < len(shape) and draw(st.booleans()):
        found.append(draw(st.slices(shape[count])))
    return tuple(found)


@st.composite
def cells(draw, input_size: int | None = None, hidden_size: int | None = None, dtype: Any = np.float64) -> nn.Cell:
    """The built-in cells with small random sizes, every option, and random biases.

    Parameters
    ----------
    input_size, hidden_size : int, optional
        Default: drawn, 1 to 4.
    dtype : float32 or float64
    """
    features = input_size or draw(st.integers(1, 4))
    hidden = hidden_size or draw(st.integers(1, 4))
    options: dict[str, Any] = {"bias": draw(st.booleans()), "dtype": dtype}
    kind: Any = draw(st.sampled_from([nn.RNNCell, nn.LSTMCell, nn.GRUCell]))
    if kind is nn.RNNCell:
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu", "sigmoid"]))
    if kind is nn.GRUCell:
        options["reset_after"] = draw(st.booleans())
    cell = kind(features, hidden, init="torch", **options)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    for parameter in cell.parameters():
        parameter.data[...] = rng.uniform(-1, 1, parameter.shape)
    return cell
