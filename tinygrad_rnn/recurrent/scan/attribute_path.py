"""Attribute paths: where a cell keeps a tensor, to be looked up again at every call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ...core import Tensor
from ...modules.module import Module
from .facts import DEPTH, attributes
from .kinds import FUNCTIONS

CONSTANT = "(not of the cell)"


class AttributePath(NamedTuple):
    """The place of a tensor: an attribute, or a path inside the lists, dicts and objects that one holds."""

    attributes: dict
    name: str
    path: tuple  # (whether it is an item, key) of each step into what the attribute holds

    def get(self) -> Any:
        """The tensor that is there now."""
        value = self.attributes[self.name]
        for is_item, key in self.path:
            value = value[key] if is_item else getattr(value, key)
        return value

    @property
    def holder(self) -> Any:
        """The list, dict or object that holds what is there."""
        return self._replace(path=self.path[:-1]).get() if self.path else self.attributes

    def put(self, value: Any) -> None:
        """Put something else there, past whatever a user's class does about it."""
        holder = self.holder
        if not self.path:
            holder[self.name] = value
            return
        is_item, key = self.path[-1]
        if is_item:
            (dict if isinstance(holder, dict) else list).__setitem__(holder, key, value)
        elif key in getattr(holder, "__dict__", ()):
            vars(holder)[key] = value
        else:
            object.__setattr__(holder, key, value)

    @property
    def suffix(self) -> str:
        """The path after the attribute, as Python writes it: ``[0].weight``."""
        return "".join(f"[{key!r}]" if is_item else f".{key}" for is_item, key in self.path)


def locate(cell: Module, tensor: Tensor) -> AttributePath | None:
    """The path to `tensor`, or None if the cell does not keep it."""
    seen: set[int] = {id(module) for module in cell.modules()}
    for module in cell.modules():
        for name, value in vars(module).items():
            if not issubclass(type(value), Module) or id(value) not in seen:
                path = _path_to(tensor, value, 0, seen)
                if path is not None:
                    return AttributePath(vars(module), name, path)
    return None


def as_constant(tensor: Tensor) -> AttributePath:
    """A path to a tensor that the cell does not keep: the program reads this very tensor at each call."""
    return AttributePath({CONSTANT: tensor}, CONSTANT, ())


def _path_to(tensor: Tensor, value: Any, depth: int, seen: set[int]) -> tuple | None:
    if value is tensor:
        return ()
    kind = type(value)
    if depth == DEPTH or issubclass(kind, (Tensor, type, *FUNCTIONS)) or id(value) in seen:
        return None
    inside: Iterable[tuple] = ()
    if issubclass(kind, list | tuple | deque):
        inside = (((True, k), v) for k, v in enumerate(value))
    elif issubclass(kind, dict):
        inside = (((True, k), v) for k, v in value.items())
    elif not issubclass(kind, bool | int | float | str | np.ndarray):
        inside = (((False, k), v) for k, v in attributes(value))
    if inside:
        seen.add(id(value))
    for step, item in inside:
        if (rest := _path_to(tensor, item, depth + 1, seen)) is not None:
            return step, *rest
    return None
