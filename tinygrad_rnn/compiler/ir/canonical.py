"""Canonical listing of programs: a step, traced twice, has to give the same one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core import Tensor
from .interpret import order
from .program import StepProgram
from .symbol import Symbol

SAVED = "saved"  # what the forward pass of an operation leaves to its gradient: other numbers each time


class Line(NamedTuple):
    """One value of a program, with its operands as line numbers."""

    what: tuple
    where: str  # "file:line" of who asked for it


def canonical(program: StepProgram, name: Callable[[int, Tensor], Any]) -> list[Line]:
    """Lines of a program, results last; `name` identifies the tensors it reads, by uid and tensor."""
    names = {uid: name(uid, tensor) for uid, tensor in program.invariants.items()}
    return [*listing(program.results, names), Line((program.mask_probabilities,), "")]


def listing(results: Sequence[Symbol], names: Mapping[int, Any]) -> list[Line]:
    """Lines of the values that `results` need, and of these; `names` identifies what is read, by uid."""
    symbols = order(results, ())
    number = {s.uid: i for i, s in enumerate(symbols)}

    def argument(a: Any) -> Any:
        return number[a.uid] if isinstance(a, Symbol) else (type(a), repr(a))

    lines = []
    for s in symbols:
        what = (
            names.get(s.uid, s.leaf),
            s.operation,
            s.op and s.op.forward,
            *map(argument, s.args),
            _frozen({k: v for k, v in s.static.items() if k != SAVED}),
            s.shape,
            str(s.dtype),
            s.varying,
        )
        lines.append(Line(what, s.where))
    return [*lines, *[Line((number[s.uid],), s.where) for s in results]]


def difference(one: list[Line], other: list[Line]) -> str | None:
    """ "file:line" of the first value that differs ("" if unknown); None if the programs are equal."""
    for a, b in zip(one, other):
        if a.what != b.what:
            return a.where or b.where
    return None if len(one) == len(other) else (one + other)[-2].where


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return tuple((k, _frozen(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return repr(value)
