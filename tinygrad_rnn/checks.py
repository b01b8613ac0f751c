"""Checks of arguments: whole numbers, and names out of a few; a message names the argument, what it got and wanted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np


def is_whole(value: Any) -> bool:
    """Whether it is an integer of Python or NumPy; truth values are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def whole_number(
    argument: str, value: Any, least: int = 1, wanted: str | None = None, error: type[Exception] = ValueError
) -> int:
    """`value` as an int.

    Parameters
    ----------
    argument : str
        Its name, after that of its owner where one is needed: ``"LSTM: num_layers"``.
    value
    least : int
        The smallest number that is allowed.
    wanted : str, optional
        The end of the message; default ``"a whole number, at least {least}"``.
    error : type
        What is raised if it is something else.

    Examples
    --------
    >>> whole_number("top", 3)
    3
    >>> whole_number("top", 0)
    Traceback (most recent call last):
    ...
    ValueError: top: got 0, wanted a whole number, at least 1
    """
    if not is_whole(value) or value < least:
        raise error(f"{argument}: got {value!r}, wanted {wanted or f'a whole number, at least {least}'}")
    return int(value)


def one_of(argument: str, value: Any, choices: Collection[str], wanted: str | None = None) -> str:
    """`value`, if it is one of `choices`; else ValueError, whose message ends with `wanted`, or names all choices.

    Examples
    --------
    >>> one_of("merge", "sum", ("sum", "mean"))
    'sum'
    >>> one_of("merge", "max", ("sum", "mean"))
    Traceback (most recent call last):
    ...
    ValueError: merge: got 'max', wanted 'sum' or 'mean'
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{argument}: got {value!r}, wanted {wanted or _either(choices)}")
    return value


def _either(choices: Collection[str]) -> str:
    """As a sentence has it: 'a', 'b' or 'c'."""
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last
