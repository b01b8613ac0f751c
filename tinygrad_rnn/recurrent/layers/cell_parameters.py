"""Parameters of cells as those of their layer, under the names of ``torch.nn``."""

from __future__ import annotations

from typing import Any

from ...core import Tensor
from ...errors import ShapeError
from ...modules.module import Module
from ...modules.parameter import Parameter
from ..cell import Cell


class CellParameters(Module):
    """Base of layers that own their cells' parameters, by name and a suffix such as ``_l0_reverse``.

    Setting or deleting one does so in its cell too, as the cells read their own attributes.
    """

    _cells: list[Any]  # layer by layer, forwards then backwards
    _owners: dict = {}  # noqa: RUF012  parameter name -> cell, name there
    _shapes: dict = {}  # noqa: RUF012  parameter name -> shape
    _missing: set  # names of parameters that were deleted

    def __init__(self) -> None:
        self._cells, self._owners, self._shapes, self._missing = [], {}, {}, set()

    def _adopt(self, cell: Cell, suffix: str) -> None:
        """Own a cell; its parameters, and those of wrappers around it, get names with `suffix`."""
        self._cells.append(cell)
        for module in reversed(list(cell.modules())):
            for key, parameter in module.named_parameters(recurse=False):
                self._owners[key + suffix] = module, key
                self._shapes[key + suffix] = parameter.shape
                setattr(self, key + suffix, parameter)

    def __setattr__(self, name: str, value) -> None:
        if name in self._owners:
            cell, key = self._owners[name]
            self._check_weight(name, value)
            setattr(cell, key, value)
            self._missing.discard(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._owners and name in vars(self):
            cell, key = self._owners[name]
            delattr(cell, key)
            self._missing.add(name)
        object.__delattr__(self, name)

    def _check_weight(self, name: str, value: Any) -> None:
        """Raise unless `value` fits in the place of a parameter, and the parameter is not lost by it."""
        title, wanted = type(self).__name__, self._shapes[name]
        if isinstance(vars(self).get(name), Parameter) and not isinstance(value, Parameter):
            kind = "a tensor" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{title}: {name}: got {kind}, wanted an nn.Parameter, as it would no longer be trained; to compute it "
                f"from another parameter, keep that one under another name and delete this one first: del layer.{name}"
            )
        if not isinstance(value, Tensor):
            raise TypeError(f"{title}: {name}: got {type(value).__name__}, wanted a tensor")
        if value.shape != wanted:
            raise ShapeError(f"{title}: {name}: got shape {value.shape}, wanted {wanted}")

    def _check_complete(self) -> None:
        """Raise AttributeError if a parameter was deleted, and no tensor is in its place."""
        if self._missing:
            names = ", ".join(sorted(self._missing))
            raise AttributeError(f"{type(self).__name__}: {names}: deleted, wanted a tensor in its place")

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        for cell in self._cells:
            cell.reset_parameters()

    def train(self, mode: bool = True) -> Module:
        for cell in self._cells:
            cell.train(mode)
        return super().train(mode)
