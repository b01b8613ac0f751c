"""Modules: objects whose attributes are parameters, buffers and other modules."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

import numpy as np

from .. import config, foreign_names
from ..checks import flag
from ..core import Tensor, is_float, tensor
from ..core.aliases import DTypeLike
from ..errors import CheckpointError
from .parameter import Parameter, float_dtype


class LoadReport(NamedTuple):
    """The keys that :meth:`Module.load_state_dict` skipped with ``strict=False``."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of everything that owns parameters.

    Attributes that are a :class:`Parameter`, a registered buffer or a module are found by looking at the
    instance, in the order in which they were set; no ``super().__init__()`` is needed. Modules in a plain
    list, tuple or dict would not be found and are an error: use :class:`ModuleList` or :class:`ModuleDict`. So is a
    tensor that requires gradients but is no parameter. (Unless the attribute's name starts with an underscore: such
    a container or tensor is private.)

    Attributes
    ----------
    training : bool
        Whether layers such as :class:`Dropout` are active; see :meth:`train` and :meth:`eval`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(np.ones(3)).tolist()
    [2.0, 2.0, 2.0]
    """

    training: bool = True
    _buffers: Mapping[str, bool] = {}  # name -> whether it is part of the state dict

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs and "hx" in kwargs:
            foreign_names.check_arguments(type(self).__name__, kwargs)
        return self.forward(*args, **kwargs)

    # ---- what it owns

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(vars(self).get(name), Parameter) and not isinstance(value, Parameter | Module | None):
            kind = "a tensor" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{type(self).__name__}.{name}: got {kind}, wanted an nn.Parameter or None, as it would no longer be "
                f"trained; to set its values write module.{name}.copy_(values) in no_grad(), to compute it from "
                f"another parameter delete this one first: del module.{name}"
            )
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """Own a tensor that is not trained (running statistics, fixed weights) under ``self.name``.

        Parameters
        ----------
        name : str
        value : Tensor, array_like or None
            A tensor shares its memory with the buffer, all else is copied.
        persistent : bool
            Whether it is part of the state dict.
        """
        if value is not None:
            value = value.detach() if isinstance(value, Tensor) else tensor(value)
        setattr(self, name, value)
        self._buffers = {**self._buffers, name: flag("persistent", persistent)}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules that are attributes of this one, by name."""
        for name, value in vars(self).items():
            if issubclass(type(value), Module):
                yield name, value
            elif issubclass(type(value), list | tuple | dict) and value and not name.startswith("_"):
                first = next(iter(value.values() if isinstance(value, dict) else value))
                if issubclass(type(first), Module | Parameter):
                    raise TypeError(
                        f"{type(self).__name__}.{name}: got a {type(value).__name__} of modules or "
                        "parameters, which would not be trained; wanted an nn.ModuleList or nn.ModuleDict"
                    )
            elif self._loses(name, value):
                raise TypeError(
                    f"{type(self).__name__}.{name}: got a tensor that requires gradients, which would not be trained; "
                    "wanted an nn.Parameter, or a name with an underscore before it"
                )

    def _loses(self, name: str, value: Any) -> bool:
        """Whether an attribute asks for gradients of its own, but is no parameter."""
        if not issubclass(type(value), Tensor) or isinstance(value, Parameter) or name.startswith("_"):
            return False
        return name not in self._buffers and value.requires_grad and value.is_leaf

    def children(self) -> Iterator[Module]:
        """Modules that are attributes of this one."""
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "", _seen: set | None = None) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, by dotted name."""
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(_join(prefix, name), seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters by dotted name; one that is shared appears once, under its first name."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else ((prefix, self),):
            for name, value in own_tensors(module):
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Buffers by dotted name."""
        for path, module in self.named_modules(prefix):
            for name, value in own_tensors(module):
                if not isinstance(value, Parameter):
                    yield _join(path, name), value

    # ---- what is done to all of it

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training (or, with False, to evaluation)."""
        mode = flag("mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch this module and all below it to evaluation."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call ``fn(module)`` on every module below this one, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, dtype: DTypeLike) -> Module:
        """Cast floating-point parameters, gradients and buffers in place, before an optimiser is made.

        Parameters
        ----------
        dtype : float32 or float64
        """
        dtype = float_dtype(dtype)
        for _, module in self.named_modules():
            for _, value in own_tensors(module):
                if is_float(value.dtype):
                    value.data = value.data.astype(dtype, copy=False)
                    value.touch()
                    if value.grad is not None:
                        value.grad = value.grad.detach().astype(dtype)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze (False) or unfreeze all parameters."""
        requires_grad = flag("requires_grad", requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    # ---- saving and loading

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers; what is shared appears under each of its names."""
        for name, value in own_tensors(self):
            if self._buffers.get(name, True):
                yield _join(prefix, name), value
        for name, child in self.named_children():
            yield from child._state(_join(prefix, name))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers as NumPy arrays, by dotted name."""
        return {name: value.data.copy() for name, value in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Copy values into the parameters and buffers; nothing is written unless everything fits.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Values are cast to this module's dtypes. Tensors of PyTorch on the CPU are accepted as they are, bfloat16
            too. What is shared may be there under one of its names or under all.
        strict : bool
            Whether missing and unexpected keys are errors.

        Returns
        -------
        LoadReport
            ``missing_keys`` and ``unexpected_keys``, which are empty if `strict`.

        Raises
        ------
        CheckpointError
            If keys are missing or unexpected, or a value has another shape or is not numeric; all are named. If names
            differ by their beginnings only, these are.
        """
        strict = flag("strict", strict)
        if not isinstance(state_dict, Mapping):
            what = (
                f"the path {state_dict!r}" if isinstance(state_dict, str | os.PathLike) else type(state_dict).__name__
            )
            raise CheckpointError(f"state_dict: got {what}, wanted a mapping of names to arrays, as read from a file")
        odd = next((key for key in state_dict if not isinstance(key, str)), "")
        if odd != "":
            raise CheckpointError(f"state_dict: got the key {odd!r}, wanted names")
        own = dict(self._state())
        given = {id(own[key]) for key in state_dict if key in own}
        missing = [key for key, target in own.items() if key not in state_dict and id(target) not in given]
        unexpected = [key for key in state_dict if key not in own]
        problems = _other_names(missing, unexpected) if strict else []
        arrays: dict[int, tuple[Tensor, str, np.ndarray]] = {}
        for key, target in own.items():
            if key in state_dict:
                array = _read(state_dict[key])
                if isinstance(array, str):
                    problems.append(f"{key}: cannot be read as an array: {array}")
                elif array.shape != target.shape:
                    problems.append(f"{key}: got shape {array.shape}, wanted {target.shape}")
                elif not np.can_cast(array.dtype, target.dtype, "same_kind"):
                    problems.append(f"{key}: got dtype {array.dtype}, wanted {target.dtype}")
                else:
                    _, first, other = arrays.setdefault(id(target), (target, key, array))
                    if other is not array and not np.array_equal(other, array, equal_nan=array.dtype.kind == "f"):
                        problems.append(
                            f"{first}, {key}: got different values, wanted the same, as it is one tensor here"
                        )
        if problems:
            raise CheckpointError(f"state_dict: does not fit {type(self).__name__}:\n  " + "\n  ".join(problems))
        with config.no_grad():
            for target, _, array in arrays.values():
                target.copy_(array)
        return LoadReport(missing, unexpected)

    # ---- printing

    def extra_repr(self) -> str:
        """The text between the brackets of ``repr``, besides the submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({extra})"
        head = [extra] if extra else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + lines) + "\n)"

    def _repr_html_(self) -> str:
        """A table of all modules in it and of the numbers of their own parameters, for notebooks."""
        lines = ["<th>name</th><th>module</th><th>parameters</th>"]
        for path, module in self.named_modules():
            count = sum(parameter.size for parameter in module.parameters(recurse=False))
            kind = f"{type(module).__name__}({module.extra_repr()})"
            cells = (path or "model", kind, f"{count:,}" if count else "")
            lines.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
        total = sum(parameter.size for parameter in self.parameters())
        return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + f"</table><p>{total:,} parameters</p>"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _read(value: Any) -> np.ndarray | str:
    """An array, or why it cannot be read as one."""
    if hasattr(value, "detach"):
        value = value.detach()
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):  # which NumPy has not
        value = value.float() if hasattr(value, "float") else value.astype(np.float32)
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        return str(error)


def _other_names(missing: list[str], unexpected: list[str]) -> list[str]:
    """Messages about missing and unexpected names; a single one if only their prefixes differ."""
    for theirs in unexpected[:1] if len(missing) > 1 else ():
        for ours in missing:
            pairs = zip(reversed(theirs), reversed(ours))
            end = theirs[len(theirs) - len([*itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]) :]
            if not end:
                continue
            old, new = theirs[: -len(end)], ours[: -len(end)]
            if sorted(new + k[len(old) :] for k in unexpected if k.startswith(old)) == sorted(missing):
                return [f"{len(missing)} names begin with {old!r}, wanted {new!r} in its place, as in {new + end}"]
    problems = ["missing keys: " + ", ".join(missing)] if missing else []
    return problems + (["unexpected keys: " + ", ".join(unexpected)] if unexpected else [])


def own_tensors(module: Module) -> Iterator[tuple[str, Any]]:
    """Names and tensors of a module itself, parameters first; one with two names comes twice."""
    for name, value in vars(module).items():
        if issubclass(type(value), Parameter):  # isinstance() might run a property of a user's object
            yield name, value
    for name in module._buffers:
        value = getattr(module, name)
        if value is not None:
            yield name, value
