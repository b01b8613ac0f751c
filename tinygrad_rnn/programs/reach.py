"""What a function can reach: the modules behind its closure, globals, defaults and attributes."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..core import Tensor
from ..errors import CompileError
from ..modules.module import Module
from ..recurrent.scan.code_names import global_names
from ..recurrent.scan.facts import attributes, parts
from ..recurrent.scan.kinds import Wrapper, is_users, is_users_class

_CONTAINERS = (list, tuple, set, frozenset, dict)


class Root(Module):
    """Stands for functions as a cell does for its step: its modules are all that the functions can reach.

    Parameters
    ----------
    functions : callables
    """

    def __init__(self, *functions: Callable):
        self._functions = functions

    def modules(self) -> Iterator[Module]:
        """This one, and all modules in reach, each once."""
        yield self
        yield from _modules_in(self._functions)


def _modules_in(values: Iterable[Any]) -> list[Module]:
    """Modules in reach of values, in the order in which they are come upon."""
    found: dict[int, Module] = {}
    seen: set[int] = set()
    stack = [*reversed([*values])]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if issubclass(type(value), Module):
            try:
                found |= {id(m): m for m in value.modules()}
            except TypeError as error:  # modules in plain containers
                raise CompileError(str(error)) from error
        stack += reversed([*_inside(value)])
    return list(found.values())


def _inside(value: Any) -> Iterable[Any]:
    """What can be reached from a value in one step."""
    kind = type(value)
    if issubclass(kind, Tensor | types.ModuleType | type):
        return ()
    if kind is types.FunctionType:
        if not is_users(value.__code__):
            return ()
        space = value.__globals__
        names = sorted(global_names(value.__code__) & space.keys())
        return [*(parts(value) or ()), *[space[name] for name in names]]
    if issubclass(kind, Wrapper):
        return (value.function,)
    if issubclass(kind, types.MethodType | functools.partial | weakref.ref):
        return parts(value) or ()
    if issubclass(kind, dict):
        return value.values()
    if issubclass(kind, _CONTAINERS):
        return value
    if issubclass(kind, Module) or is_users_class(kind):
        methods = [m for cls in kind.__mro__ if is_users_class(cls) for m in vars(cls).values()]
        functions = [f for m in methods for f in (m, *(parts(m) or ())) if type(f) is types.FunctionType]
        return [*[v for _, v in attributes(value)], *functions]
    return ()
