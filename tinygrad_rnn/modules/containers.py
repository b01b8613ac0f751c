"""Modules that hold other modules, or parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DTypeError
from .module import Module
from .parameter import Parameter


def _check_module(module: Any, owner: str) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{owner}: got {type(module).__name__}, wanted an nn.Module")
    return module


class ModuleList(Module):
    """A list of modules, named "0", "1", ...

    Parameters
    ----------
    modules : iterable of Module
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        setattr(self, str(len(self)), _check_module(module, type(self).__name__))
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        if not isinstance(modules, Iterable):
            raise TypeError(f"{type(self).__name__}: got {type(modules).__name__}, wanted an iterable of nn.Module")
        for module in modules:
            self.append(module)
        return self

    def _index(self, index: int) -> str:
        n = len(self)
        if not isinstance(index, int | np.integer):
            raise TypeError(f"{type(self).__name__}: got the index {index!r}, wanted an integer or a slice")
        if not -n <= index < n:
            raise IndexError(f"{type(self).__name__}: got index {index}, wanted one of {n} modules")
        return str(index % n)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        return getattr(self, self._index(index))

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._index(index), _check_module(module, type(self).__name__))

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()


class Sequential(ModuleList):
    """Modules applied one after the other.

    Parameters
    ----------
    *modules : Module

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): LayerNorm((4,), eps=1e-05, elementwise_affine=True)
    )
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        before: Module | None = None
        for module in self.children():
            try:
                y = module(x)
            except DTypeError as error:
                if before is None or not isinstance(x, tuple):
                    raise
                kinds = type(before).__name__, type(module).__name__
                raise DTypeError(
                    f"Sequential: {kinds[0]} returned a tuple of {len(x)}, which {kinds[1]} does not take; of a "
                    "recurrent layer's pair (output, state), hand on one, in a module of your own"
                ) from error
            x, before = y, module
        return x


class ParameterList(Module):
    """A list of parameters, named "0", "1", ...

    Parameters
    ----------
    parameters : iterable of Parameter or Tensor
        What is no :class:`Parameter` becomes one.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> weights = nn.ParameterList([np.eye(2), np.zeros(3)])
    >>> len(weights), [name for name, _ in weights.named_parameters()]
    (2, ['0', '1'])
    """

    def __init__(self, parameters: Iterable[Any] = ()) -> None:
        self.extend(parameters)

    def append(self, parameter: Any) -> ParameterList:
        setattr(self, str(len(self)), _as_parameter(parameter))
        return self

    def extend(self, parameters: Iterable[Any]) -> ParameterList:
        if not isinstance(parameters, Iterable) or isinstance(parameters, str):
            raise TypeError(f"ParameterList: got {type(parameters).__name__}, wanted an iterable of nn.Parameter")
        for parameter in parameters:
            self.append(parameter)
        return self

    def _index(self, index: int) -> str:
        n = len(self)
        if not isinstance(index, int | np.integer):
            raise TypeError(f"ParameterList: got the index {index!r}, wanted an integer or a slice")
        if not -n <= index < n:
            raise IndexError(f"ParameterList: got index {index}, wanted one of {n} parameters")
        return str(index % n)

    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index] if isinstance(index, slice) else getattr(self, self._index(index))

    def __setitem__(self, index: int, parameter: Any) -> None:
        setattr(self, self._index(index), _as_parameter(parameter))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Parameter]:
        return (value for value in vars(self).values() if isinstance(value, Parameter))

    def extra_repr(self) -> str:
        return ", ".join(f"({i}): {tuple(p.shape)}" for i, p in enumerate(self))


def _as_parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


class ModuleDict(Module):
    """Modules by name.

    Parameters
    ----------
    modules : mapping of str to Module
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        if not isinstance(modules, Mapping | None):
            raise TypeError(f"ModuleDict: got {type(modules).__name__}, wanted a mapping of names to modules")
        for name, module in (modules or {}).items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str):
            raise TypeError(f"ModuleDict: got the name {name!r}, wanted a string")
        if hasattr(type(self), name) or "." in name or not name:
            raise KeyError(f"ModuleDict: got the name {name!r}, wanted one that is not taken and has no dot")
        setattr(self, name, _check_module(module, "ModuleDict"))

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        return [name for name, _ in self.named_children()]

    def values(self) -> list[Module]:
        return list(self.children())

    def items(self) -> list[tuple[str, Module]]:
        return list(self.named_children())
