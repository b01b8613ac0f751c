"""Nests (pytrees): values inside tuples, named tuples, lists and dicts, such as ``(h, c)`` of an LSTM.

A structure is what remains when the values are taken out; two nests fit if their structures are equal. None
is an empty nest (a cell without state). Dicts are ordered by key.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

LEAF = "*"
CONTAINERS = (tuple, list, dict, type(None))
Structure = Any  # LEAF, or (type, keys, structures of the items)


def flatten(nest: Any) -> tuple[list, Structure]:
    """The leaves of `nest`, depth first, and its structure."""
    if not isinstance(nest, CONTAINERS):
        return [nest], LEAF
    leaves: list = []
    return leaves, _walk(nest, leaves)


def _walk(nest: Any, leaves: list) -> Structure:
    if not isinstance(nest, CONTAINERS):
        leaves.append(nest)
        return LEAF
    if isinstance(nest, (tuple, list)):
        return type(nest), None, tuple([_walk(item, leaves) for item in nest])
    if isinstance(nest, dict):
        keys = tuple(sorted(nest, key=str))  # whatever the order of insertion
        return dict, keys, tuple(_walk(nest[key], leaves) for key in keys)
    return type(None), None, ()


def unflatten(structure: Structure, leaves: Sequence) -> Any:
    """The nest of `structure` that holds `leaves`; the inverse of :func:`flatten`."""
    if structure is LEAF:
        (leaf,) = leaves
        return leaf
    if structure[0] is tuple and structure[2] == (LEAF,) * len(leaves):  # the most frequent nest
        return tuple(leaves)
    return _build(structure, iter(leaves))


def builder(structure: Structure) -> Callable[[tuple], Any]:
    """A function from a tuple of leaves to a nest of `structure`; in C for the frequent structures."""
    if structure is LEAF:
        return operator.itemgetter(0)
    if structure[0] is tuple and structure[2] == (LEAF,) * len(structure[2]):
        return tuple
    return functools.partial(unflatten, structure)


def _build(structure: Structure, leaves: Iterator) -> Any:
    if structure is LEAF:
        return next(leaves)
    kind, keys, items = structure
    if kind is type(None):
        return None
    values = [_build(item, leaves) for item in items]
    if keys is not None:
        return dict(zip(keys, values))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)  # named tuples take values one by one


def leaves_like(structure: Structure, value: Any) -> list | None:
    """The leaves of `value` under `structure`; None if they do not fit.

    A tuple may be given as a list, and an array as lists of numbers.
    """
    leaves: list = []
    return leaves if _fill(structure, value, leaves) else None


def _fill(structure: Structure, value: Any, leaves: list) -> bool:
    if structure is LEAF:
        leaves.append(value)
        return not isinstance(value, CONTAINERS) or holds_numbers(value)
    kind, keys, items = structure
    if keys is not None:
        fits = isinstance(value, dict) and tuple(sorted(value, key=str)) == keys
        return fits and all(_fill(item, value[key], leaves) for key, item in zip(keys, items))
    if kind is type(None):
        return value is None
    fits = isinstance(value, (list, tuple)) and len(value) == len(items)
    return fits and all(_fill(item, v, leaves) for item, v in zip(items, value))


def holds_numbers(value: Any) -> bool:
    """Whether `value` is a number, or lists of numbers, which stand for an array."""
    if isinstance(value, (list, tuple)):
        return not hasattr(value, "_fields") and all(holds_numbers(v) for v in value)
    return isinstance(value, (bool, int, float, np.generic))


def map(fn: Callable, first: Any, *others: Any) -> Any:
    """A nest of ``fn(*leaves)``, leaf by leaf of one or several nests of equal structure.

    Raises
    ------
    ValueError
        If the structures differ; both are spelled out.
    """
    leaves, structure = flatten(first)
    columns = [leaves]
    for other in others:
        more, found = flatten(other)
        if found != structure:
            raise ValueError(f"nest: got {describe(found)}, wanted {describe(structure)}")
        columns.append(more)
    return unflatten(structure, [fn(*items) for items in zip(*columns)])


def describe(structure: Structure) -> str:
    """`structure` in words: ``(*, *)`` for a pair, ``{h: *, c: *}`` for a dict, ``*`` for a single value."""
    if structure is LEAF:
        return "*"
    kind, keys, items = structure
    if kind is type(None):
        return "None"
    inner = [describe(item) for item in items]
    if keys is not None:
        return "{" + ", ".join(f"{key}: {item}" for key, item in zip(keys, inner)) + "}"
    if issubclass(kind, list):
        return "[" + ", ".join(inner) + "]"
    name = kind.__name__ if hasattr(kind, "_fields") else ""
    return f"{name}({', '.join(inner)}{',' if len(inner) == 1 and not name else ''})"


def in_words(structure: Structure) -> str:
    """`structure` in the words of messages: "one tensor", "a pair of tensors, (*, *)", else as described."""
    if structure is LEAF:
        return "one tensor"
    if structure[0] is tuple and structure[2] == (LEAF, LEAF):
        return "a pair of tensors, (*, *)"
    return describe(structure)


def detach_state(state: Any) -> Any:
    """The state without its graph, to carry it over to the next piece of a stream.

    Parameters
    ----------
    state : nest of tensors
        As a layer returned it; None stays None, and arrays stay as they are.

    Raises
    ------
    TypeError
        If something else is in it.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> layer, state = nn.LSTM(3, 4), None
    >>> for piece in np.zeros((5, 7, 2, 3), np.float32):
    ...     ys, state = layer(piece, nn.detach_state(state))
    >>> state[0].shape
    (1, 2, 4)
    """
    return map(_detached, state)


def _detached(leaf: Any) -> Any:
    if not hasattr(leaf, "detach") and not isinstance(leaf, np.ndarray):
        raise TypeError(f"detach_state: state: got {type(leaf).__name__}, wanted tensors, as a layer returned them")
    return leaf.detach() if hasattr(leaf, "detach") else leaf
