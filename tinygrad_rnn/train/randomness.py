"""All that a training draws random numbers from: the package's generator, the global ones, the user's own."""

from __future__ import annotations

import random
import types
import warnings
from typing import Any

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import CheckpointError

Source = np.random.Generator | np.random.RandomState | random.Random
DEPTH = 5  # of attributes and containers that are looked into
MANY = 1000  # longer containers hold data
LEAVES = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, Tensor, type, types.ModuleType)


def shared() -> dict[str, Source]:
    """The package's generator, and those behind ``random`` and ``np.random``."""
    python = random.seed.__self__  # type: ignore[attr-defined]
    numpy = np.random.mtrand._rand
    return {"package": config.generator(), "random": python, "np.random": numpy}


def found_in(roots: dict[str, Any]) -> dict[str, Source]:
    """Generators in attributes, containers and closures of objects, by path; shared ones are left out."""
    found: dict[str, Source] = {}
    seen = {id(source) for source in shared().values()}
    stack = [(name, root, 0) for name, root in reversed(roots.items())]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, LEAVES) or id(value) in seen or _ours(value):
            continue
        seen.add(id(value))
        if isinstance(value, Source):
            found[path] = value
        elif depth < DEPTH:
            parts = [(f"{path}.{name}", part, depth + 1) for name, part in _parts(value)]
            stack.extend(reversed(parts))
    return found


def _ours(value: Any) -> bool:
    """Whether it belongs to the inside of this package or of Numba, which holds no generator of its own."""
    room = type(value).__module__.split(".")
    return room[0] in ("numba", "llvmlite") or (room[0] == "tinygrad_rnn" and room[1] in ("compile", "core", "optim"))


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


def states(sources: dict[str, Source]) -> dict[str, Any]:
    """Where each stands, for :func:`restore`; one warning names those that cannot tell."""
    out, dumb = {}, []
    for path, source in sources.items():
        try:
            out[path] = _state(source)
        except (NotImplementedError, AttributeError):
            dumb.append(f"{path} ({type(source).__name__})")
    if dumb:
        text = f"not in the checkpoint, so that a resumed run draws other numbers: {', '.join(dumb)}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return out


def _state(source: Source) -> dict[str, Any]:
    if isinstance(source, np.random.Generator):
        return {"kind": type(source.bit_generator).__name__, "state": source.bit_generator.state}
    if isinstance(source, np.random.RandomState):
        return {"kind": "RandomState", "state": source.get_state(legacy=False)}
    version, words, gauss = source.getstate()
    return {"kind": "Random", "state": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}}


def check(sources: dict[str, Source], saved: Any, what: str) -> None:
    """Raise CheckpointError if `saved` are not states of `sources`; nothing is changed."""
    if not isinstance(saved, dict):
        raise CheckpointError(f"{what}: got {type(saved).__name__}, wanted the states of generators")
    own = {path: s for path, s in sources.items() if not isinstance(s, random.SystemRandom)}
    if set(saved) != set(own):
        raise CheckpointError(f"{what}: got {sorted(saved)} in the file, wanted {sorted(own)} as here")
    for path, source in own.items():
        try:
            if saved[path]["kind"] != _state(source)["kind"]:
                raise CheckpointError(
                    f"{what}: {path}: got {saved[path]['kind']} in the file, wanted {_state(source)['kind']} as here"
                )
            _set(_like(source), saved[path]["state"])
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as e:
            if isinstance(e, CheckpointError):
                raise
            raise CheckpointError(f"{what}: {path}: got what is no state of {type(source).__name__}: {e!r}") from e


def restore(sources: dict[str, Source], saved: dict[str, Any]) -> None:
    """Let each stand where :func:`states` was taken."""
    for path, source in sources.items():
        if path in saved:
            _set(source, saved[path]["state"])


def _like(source: Source) -> Source:
    if isinstance(source, np.random.Generator):
        return np.random.Generator(type(source.bit_generator)())
    return np.random.RandomState() if isinstance(source, np.random.RandomState) else random.Random()


def _set(source: Source, state: Any) -> None:
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    elif isinstance(source, np.random.RandomState):
        source.set_state(state)
    else:
        source.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))
