"""Arguments and results of functions as leaves and structures, and the keys of programs."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np

from ..core import Tensor
from ..core.dtype import is_supported
from ..core.tree import LEAF, Structure
from ..errors import CompileError
from ..recurrent.scan.facts import FactReader

CONSTANTS = (bool, int, float, complex, str, bytes, type, np.generic, np.dtype, enum.Enum)


def flatten(nest: Any, leaves: list) -> Structure:
    """The structure of `nest`, whose leaves are added to `leaves`; dicts keep the order of their keys.

    Subclasses of containers, other than named tuples, are leaves.
    """
    kind = type(nest)
    if kind is tuple or kind is list or (isinstance(nest, tuple) and hasattr(kind, "_fields")):
        return kind, None, tuple([flatten(item, leaves) for item in nest])
    if kind is dict:
        return dict, tuple(nest), tuple([flatten(item, leaves) for item in nest.values()])
    if nest is None:
        return type(None), None, ()
    leaves.append(nest)
    return LEAF


class Kind(NamedTuple):
    """Properties of a tensor or an array among the arguments on which a program depends."""

    is_array: bool
    shape: tuple[int, ...]
    dtype: np.dtype
    requires_grad: bool


class Arguments(NamedTuple):
    """Arguments of a call.

    Attributes
    ----------
    leaves : list
    structure : Structure
        Of ``(args, kwargs)``.
    values : list of Tensor or ndarray
        The leaves that a program takes.
    places : tuple of int
        Which of the leaves these are.
    key : tuple
        Equal for calls that one program serves.
    """

    leaves: list
    structure: Structure
    values: list
    places: tuple[int, ...]
    key: tuple

    @property
    def objects(self) -> list:
        """The leaves that may change: modules, functions and objects of users."""
        known = set(self.places)
        return [leaf for i, leaf in enumerate(self.leaves) if i not in known and not is_constant(leaf)]

    @property
    def kinds(self) -> list[Kind]:
        return [kind_of(v) for v in self.values]

    @property
    def arrays(self) -> list[np.ndarray]:
        return [v._array if isinstance(v, Tensor) else v for v in self.values]


def kind_of(value: Tensor | np.ndarray) -> Kind:
    """The properties of `value` on which a program depends."""
    if isinstance(value, Tensor):
        return Kind(False, value._array.shape, value._array.dtype, value.requires_grad)
    return Kind(True, value.shape, value.dtype, False)


def read_arguments(args: tuple, kwargs: dict[str, Any]) -> Arguments:
    """The arguments of a call, taken apart.

    Raises
    ------
    CompileError
        If there is something among them that no program can take, nor guard.
    """
    leaves: list = []
    structure = flatten((args, kwargs), leaves)
    values, places, key = [], [], [structure]
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) or (type(leaf) is np.ndarray and is_supported(leaf.dtype)):
            values.append(leaf)
            places.append(i)
            key.append(kind_of(leaf))
        elif isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "OSU":
            raise CompileError(
                f"argument: got a {type(leaf).__name__} of {leaf.dtype}, which programs do not take: wanted tensors, "
                "or plain arrays of a dtype that tensors have"
            )
        else:
            key.append(FactReader().fact(leaf, False))
    return Arguments(leaves, structure, values, tuple(places), tuple(key))


def is_constant(value: Any) -> bool:
    """Whether a result is the same for all calls of a program, and knows nothing of values."""
    return isinstance(value, CONSTANTS)
