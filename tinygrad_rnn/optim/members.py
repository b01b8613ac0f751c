"""The parameters of an optimiser's groups: what may be one, and how messages call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..core import Tensor
from ..errors import DTypeError, GraphError


def read_members(entries: Any, number: int, known: set[int]) -> list[Tensor]:
    """The parameters of a group, each a leaf of floats that is not `known`; these ids are added to.

    `number` is that of the group, for messages.
    """
    params = [entries] if isinstance(entries, Tensor) else listed(entries)
    for i, p in enumerate(params):
        label = label_of(number, i)
        if not isinstance(p, Tensor):
            raise TypeError(f"{label}: got {type(p).__name__}, wanted a Tensor")
        if not p.is_leaf:
            raise GraphError(f"{label}: got a tensor computed by the graph, wanted a leaf")
        if p.dtype.kind != "f":
            raise DTypeError(f"{label}: got {p.dtype}, wanted float32 or float64")
        if id(p) in known:
            raise ValueError(f"{label}: got a parameter that is already here, wanted each one once")
        known.add(id(p))
    return params


def label_of(group: int, number: int) -> str:
    return f"params[{number}]" if group == 0 else f"params[{number}] of group {group}"


def listed(params: Any) -> list:
    if isinstance(params, Tensor | Mapping) or not isinstance(params, Iterable):
        raise TypeError(f"params: got {type(params).__name__}, wanted an iterable of tensors or of dicts")
    if isinstance(params, np.ndarray) and not params.ndim:
        raise TypeError("params: got ndarray of shape (), wanted an iterable of tensors or of dicts")
    if isinstance(params, set | frozenset):
        raise TypeError("params: got a set, wanted an order that does not change, such as a list")
    return list(params)


def check_memory(params: list[Tensor]) -> None:
    """Refuse parameters that are views of one another: apart in the buffer, they would no longer agree."""
    spans = sorted((p.data.__array_interface__["data"][0], p.data.nbytes, i) for i, p in enumerate(params) if p.size)
    for (start, nbytes, i), (following, _, j) in pairwise(spans):
        if following < start + nbytes and np.shares_memory(params[i].data, params[j].data):
            raise ValueError(
                f"params: got two parameters of shapes {params[i].shape} and {params[j].shape} that share "
                "memory, wanted each to own its values; use one tensor in both places"
            )
