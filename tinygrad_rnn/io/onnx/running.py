"""Nodes of a graph, run one after the other; an error says at which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CompileError, DataError, OutOfMemoryError, TinygradError
from ...recurrent.scan.kinds import Opaque


@dataclass
class Step(Opaque):
    """What a node computes: a function of the values of some names, which gives those of others."""

    function: Callable[..., Any]
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    title: str


def run(steps: Sequence[Step], values: dict[str, Any]) -> None:
    """Fill in the values that steps make; ``""`` is what a node leaves out.

    Raises
    ------
    TinygradError
        Of the class of what went wrong, or DataError, with the name of the node.
    """
    for step in steps:
        try:
            found = step.function(*[values[name] if name else None for name in step.reads])
        except (CompileError, OutOfMemoryError):
            raise
        except TinygradError as error:
            raise type(error)(f"node {step.title}: {error}") from error
        except MemoryError as error:
            raise OutOfMemoryError(f"node {step.title}: {error}") from error
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"node {step.title}: {error}") from error
        made = found if isinstance(found, tuple) else (found,)
        for name, value in zip(step.makes, made):
            if name:
                values[name] = value
