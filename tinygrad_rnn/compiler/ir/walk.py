"""Walks over the operands of values, without recursion: a step may be long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .symbol import Symbol


def reachable(roots: Iterable[Symbol], operands: Callable[[Symbol], list[Symbol]]) -> list[Symbol]:
    """Values reachable from `roots`, these included, each once; `operands` gives the edges to follow."""
    found: dict[int, Symbol] = {}
    stack = list(roots)
    while stack:
        s = stack.pop()
        if s.uid not in found:
            found[s.uid] = s
            stack += operands(s)
    return list(found.values())


def fold(
    root: Symbol,
    known: dict[int, Any],
    operands: Callable[[Symbol], Sequence[Symbol]],
    judge: Callable[[Symbol, list[Any]], Any],
) -> Any:
    """Result for `root`, bottom-up: each value's from those of its operands, down to what is known.

    Parameters
    ----------
    root : Symbol
    known : dict
        uid -> what was found; it is added to.
    operands : callable
        The edges to follow.
    judge : callable
        ``judge(s, of_operands)``: what is found of `s`.
    """
    stack = [root]
    while stack:
        s = stack[-1]
        if s.uid in known:
            stack.pop()
            continue
        below = operands(s)
        missing = [a for a in below if a.uid not in known]
        if missing:
            stack += missing
            continue
        known[s.uid] = judge(s, [known[a.uid] for a in below])
        stack.pop()
    return known[root.uid]
