"""``nn.save`` and ``nn.load``: the weights of a module in a file."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..checks import flag, shown
from ..config import VERSION
from ..errors import CheckpointError
from .module import LoadReport, Module


def save(model: Module, path: str | PathLike[str]) -> None:
    """Write a module's parameters and buffers to a file, atomically; its suffix says in which format.

    Parameters
    ----------
    model : Module
    path : path
        ``.safetensors``, ``.npz``, or ``.pt`` and ``.pth``, which need PyTorch; names and shapes are those of PyTorch,
        which can load all of them. Its folder is made if need be; permissions follow the umask. A safetensors file also
        says of which model, dtype and version of this package they are; see ``tr.io.read_metadata``.

    Raises
    ------
    CheckpointError
        If the suffix is another one, or PyTorch is missing.
    OSError
        If it cannot be written; what was there stays.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from tinygrad_rnn import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "gru.safetensors")
    ...     nn.save(nn.GRU(3, 4), path)
    ...     nn.load(nn.GRU(3, 4), path)
    LoadReport(missing_keys=[], unexpected_keys=[])
    """
    from ..storage.weights import write_weights  # readers are imported at first use

    state = check_module(model).state_dict()
    dtypes = sorted({str(array.dtype) for array in state.values() if array.dtype.kind == "f"})
    metadata = {"architecture": repr(model), "version": VERSION, "dtype": ", ".join(dtypes)}
    write_weights(path, state, metadata)


def load(
    model: Module,
    path: str | PathLike[str],
    *,
    strict: bool = True,
    prefix: str = "",
    skip: str | Iterable[str] = (),
) -> LoadReport:
    """Read a module's parameters and buffers from a file; nothing is written unless everything fits.

    Parameters
    ----------
    model : Module
    path : path
        Of :func:`save`; a checkpoint of a trainer, of which it takes the model; any safetensors or npz file of names
        and arrays; or a state dict that ``torch.save`` wrote, which needs PyTorch. What the file holds decides, not its
        suffix. No code in it is run.
    strict : bool
        Whether names that are missing, or too many, are errors. A shape that differs always is one.
    prefix : str
        Of the names in the file, such as ``"model."``: it is taken off, and all other names are left out.
    skip : str or iterable of str
        Names in the model that keep their values, whatever the file holds, as patterns: ``"head.*"``.

    Returns
    -------
    LoadReport
        ``missing_keys`` and ``unexpected_keys``, which are empty if `strict`.

    Raises
    ------
    OSError
        If there is no such file.
    CheckpointError
        If the file is damaged or holds something else; or does not fit: all that differs is listed, with shapes and
        dtypes, or the prefix that would make it fit is named.
    """
    from ..storage.weights import read_metadata, read_weights

    strict, skipped = flag("strict", strict), matching(check_module(model).state_dict(), skip)
    arrays = _without(prefix, read_weights(path))

    def remark() -> str:
        return _written_for(read_metadata(path).get("architecture", ""), repr(model))

    return load_arrays(model, arrays, path, remark, strict, skipped)


def load_arrays(
    model: Module,
    arrays: dict[str, np.ndarray],
    title: Any,
    remark: Callable[[], str] = str,
    strict: bool = True,
    skipped: Collection[str] = (),
    by_names: bool = False,
) -> LoadReport:
    """Write arrays by name into a model, all or none; :func:`load` of what is in memory.

    Errors begin with `title`, which says where the arrays are from, and with the `remark` about it. The names of
    `skipped` keep their values. With `by_names` callers take beginnings away by ``names=``, or else by ``prefix=``.
    """
    own = check_module(model).state_dict()
    arrays = {name: array for name, array in arrays.items() if name not in skipped}
    wanted = {name: array for name, array in own.items() if name not in skipped}
    if wanted and arrays and not arrays.keys() & wanted.keys():
        strict = True  # nothing would be loaded
    try:
        return model.load_state_dict({**arrays, **{name: own[name] for name in skipped}}, strict)
    except CheckpointError as error:
        tensors = {name: id(tensor) for name, tensor in model._state()}
        here = {tensors[name] for name in arrays if name in tensors}  # what is shared is needed once
        needed = {name: a for name, a in wanted.items() if name in arrays or tensors[name] not in here}
        problems = _differences(arrays, needed, strict, by_names)
        if not problems:  # of values
            raise CheckpointError(f"{title}: {error}") from None
        head = f"{title}: does not fit {type(model).__name__}{remark()}:\n  "
        raise CheckpointError(head + "\n  ".join(problems)) from None


def check_module(model: Any, argument: str = "model") -> Module:
    """`model`, which is a module."""
    if not isinstance(model, Module):
        hint = "; that of a trainer is trainer.model" if hasattr(model, "model") else ""
        raise TypeError(f"{argument}: got {shown(model)}, wanted an nn.Module{hint}")
    return model


def _written_for(theirs: str, ours: str) -> str:
    """What a file says that it was written for, in brackets, if that is another model."""
    if not theirs or theirs == ours:
        return ""
    title = theirs if "\n" not in theirs and len(theirs) <= 100 else theirs.partition("(")[0][:100]
    return f" (it was written for {title})"


def matching(own: Mapping[str, Any], patterns: str | Iterable[str]) -> set[str]:
    """Names that match one of the patterns, each of which matches some."""
    found = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = fnmatch.filter(own, pattern) if isinstance(pattern, str) else []
        if not matches:
            raise ValueError(f"skip: got {shown(pattern)}, wanted a pattern of names such as {next(iter(own), 'none')}")
        found.update(matches)
    return found


def _without(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: got {shown(prefix)}, wanted the beginning of names")
    found = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    if arrays and not found:
        raise CheckpointError(f"prefix: got {prefix!r}, wanted the beginning of a name such as {next(iter(arrays))}")
    return found


def _differences(
    got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], strict: bool, by_names: bool
) -> list[str]:
    """Differences between a file and a model, a line for each name; or the prefix that all differ by."""
    missing = [name for name in wanted if name not in got]
    if strict and missing:
        ends = [name for name in got if name.endswith(f".{missing[0]}")]
        for prefix in (name.removesuffix(missing[0]) for name in ends):
            if all(prefix + name in got for name in missing):
                all_of_them = all(name.startswith(prefix) for name in got)
                names = "all names begin" if all_of_them else "the names that it wants begin"
                option = f"names={{{prefix[:-1]!r}: ''}}" if by_names else f"prefix={prefix!r}"
                return [f"{names} with {prefix!r}: pass {option}"]
    lines = []
    if strict:
        lines += [f"{name}: not in the file, wanted {_kind(wanted[name])}" for name in missing]
        lines += [f"{name}: got {_kind(got[name])}, not in the model" for name in got if name not in wanted]
    for name in wanted:
        if name in got and (
            got[name].shape != wanted[name].shape or not np.can_cast(got[name].dtype, wanted[name].dtype, "same_kind")
        ):
            lines.append(f"{name}: got {_kind(got[name])}, wanted {_kind(wanted[name])}")
    return lines


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
