"""Random generators of a training: the package's, the global ones and the user's own; their states."""

from __future__ import annotations

import random
import types
import warnings
from typing import Any

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import CheckpointError

Generator = np.random.Generator | np.random.RandomState | random.Random
DEPTH = 5  # of attributes and containers that are looked into
MANY = 1000  # longer containers hold data
LEAVES = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, Tensor, type, types.ModuleType)


def shared_generators() -> dict[str, Generator]:
    """The package's generator, and those behind ``random`` and ``np.random``."""
    python = random.seed.__self__  # type: ignore[attr-defined]
    numpy = np.random.mtrand._rand
    return {"package": config.generator(), "random": python, "np.random": numpy}


def find(roots: dict[str, Any]) -> dict[str, Generator]:
    """Generators in attributes, containers and closures of objects, by path, without the shared ones."""
    found: dict[str, Generator] = {}
    seen = {id(generator) for generator in shared_generators().values()}
    stack = [(name, root, 0) for name, root in reversed(roots.items())]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, LEAVES) or id(value) in seen or _ours(value):
            continue
        seen.add(id(value))
        if isinstance(value, Generator):
            found[path] = value
        elif depth < DEPTH:
            parts = [(f"{path}.{name}", part, depth + 1) for name, part in _parts(value)]
            stack.extend(reversed(parts))
    return found


def _ours(value: Any) -> bool:
    """Whether an object is internal to this package or Numba, and so holds no generator of the user's."""
    room = type(value).__module__.split(".")
    return room[0] in ("numba", "llvmlite") or (room[0] == "tinygrad_rnn" and room[1] in ("compiler", "core", "optim"))


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list | tuple | dict | set):
        if len(value) > MANY:
            return []
        return [(str(k), v) for k, v in (value.items() if isinstance(value, dict) else enumerate(value))]
    if isinstance(value, types.MethodType):
        return [("self", value.__self__)]
    parts = list(getattr(value, "__dict__", {}).items())
    if isinstance(value, types.FunctionType):
        names = value.__code__.co_freevars
        parts += [(name, _content(cell)) for name, cell in zip(names, value.__closure__ or ())]
    return parts


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def states(generators: dict[str, Generator]) -> dict[str, Any]:
    """The states of generators by path, for :func:`restore`; a warning names those that have none to read."""
    out, unreadable = {}, []
    for path, generator in generators.items():
        try:
            out[path] = _state(generator)
        except (NotImplementedError, AttributeError):
            unreadable.append(f"{path} ({type(generator).__name__})")
    if unreadable:
        text = f"not in the checkpoint, so that a resumed run draws other numbers: {', '.join(unreadable)}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return out


def _state(generator: Generator) -> dict[str, Any]:
    if isinstance(generator, np.random.Generator):
        return {"kind": type(generator.bit_generator).__name__, "state": generator.bit_generator.state}
    if isinstance(generator, np.random.RandomState):
        return {"kind": "RandomState", "state": generator.get_state(legacy=False)}
    version, words, gauss = generator.getstate()
    return {"kind": "Random", "state": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}}


def check(generators: dict[str, Generator], saved: Any, what: str) -> None:
    """Raise CheckpointError if `saved` are not states of `generators`; nothing is changed."""
    if not isinstance(saved, dict):
        raise CheckpointError(f"{what}: got {type(saved).__name__}, wanted the states of generators")
    own = {path: s for path, s in generators.items() if not isinstance(s, random.SystemRandom)}
    if set(saved) != set(own):
        raise CheckpointError(f"{what}: got {sorted(saved)} in the file, wanted {sorted(own)} as here")
    for path, generator in own.items():
        try:
            if saved[path]["kind"] != _state(generator)["kind"]:
                raise CheckpointError(
                    f"{what}: {path}: got {saved[path]['kind']} in the file, wanted {_state(generator)['kind']} as here"
                )
            _set(_like(generator), saved[path]["state"])
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as e:
            if isinstance(e, CheckpointError):
                raise
            raise CheckpointError(f"{what}: {path}: got what is no state of {type(generator).__name__}: {e!r}") from e


def restore(generators: dict[str, Generator], saved: dict[str, Any]) -> None:
    """Set generators to the states that :func:`states` has read."""
    for path, generator in generators.items():
        if path in saved:
            _set(generator, saved[path]["state"])


def _like(generator: Generator) -> Generator:
    if isinstance(generator, np.random.Generator):
        return np.random.Generator(type(generator.bit_generator)())
    return np.random.RandomState() if isinstance(generator, np.random.RandomState) else random.Random()


def _set(generator: Generator, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))
