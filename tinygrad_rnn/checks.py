"""Checks of arguments by kind: whole numbers, numbers, probabilities, flags, choices.

A message names the argument, what it got and what it wanted: ``"LSTM: num_layers: got 0, wanted ..."``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

MOST = 2**63 - 1  # what a counter or an index of NumPy's holds
MOST_ELEMENTS = 2**47  # of an array: bytes that a process can address
LONGEST = 120  # characters of a value in a message


def shown(value: Any) -> str:
    """`value` as a message shows it: its ``repr``, if that is one short line, else what it is.

    Examples
    --------
    >>> shown("sum"), shown(np.zeros((50, 60))), shown(10**5000)
    ("'sum'", 'ndarray of shape (50, 60)', 'an int of 16610 bits')
    """
    try:
        text = repr(value)
    except Exception:  # of an integer with too many digits, or of a class of the user's
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    if len(text) <= LONGEST and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {shape}"
    return text[:LONGEST].replace("\n", " ") + " ..."


def is_whole(value: Any) -> bool:
    """Whether it is an integer of Python or NumPy; truth values are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a real number of Python or NumPy; truth values, arrays, and huge integers are not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**1023
    return isinstance(value, float | np.integer | np.floating)


def whole_number(
    argument: str,
    value: Any,
    least: int = 1,
    most: int = MOST,
    wanted: str | None = None,
    error: type[Exception] = ValueError,
) -> int:
    """`value` as an int.

    Parameters
    ----------
    argument : str
        Its name, after that of its owner where one is needed: ``"LSTM: num_layers"``.
    value
    least, most : int
        The smallest and the largest number that is allowed.
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
    if not is_whole(value) or not least <= value <= most:
        wanted = wanted or f"a whole number, at least {least}"
        if is_whole(value) and value > most:
            wanted += f" and at most {most}"
        raise error(f"{argument}: got {shown(value)}, wanted {wanted}")
    return int(value)


def number(argument: str, value: Any, wanted: str = "a number", fits: Callable[[float], bool] | None = None) -> float:
    """`value` as a float, for which ``fits(value)`` holds.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it does not fit.

    Examples
    --------
    >>> number("delta", -1, "a positive number", lambda delta: delta > 0)
    Traceback (most recent call last):
    ...
    ValueError: delta: got -1, wanted a positive number
    """
    if not is_number(value):
        raise TypeError(f"{argument}: got {shown(value)}, wanted a number")
    if fits is not None and not fits(value):
        raise ValueError(f"{argument}: got {shown(value)}, wanted {wanted}")
    return float(value)


def not_negative(argument: str, value: Any) -> float:
    """`value` as a finite float from 0 on; else TypeError or ValueError, as :func:`number`."""
    return number(argument, value, "at least 0 and finite", lambda value: 0 <= value < math.inf)


def probability(argument: str, value: Any) -> float:
    """`value` as a float from 0 to 1; else ValueError."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{argument}: got {shown(value)}, wanted a probability between 0 and 1")
    return float(value)


def flag(argument: str, value: Any) -> bool:
    """`value` as a bool: True, False, 1 or 0; else TypeError. Words such as "no" are none, nor are arrays.

    Examples
    --------
    >>> flag("shuffle", "no")
    Traceback (most recent call last):
    ...
    TypeError: shuffle: got 'no', wanted True or False
    """
    if not isinstance(value, bool | np.bool_ | int | np.integer) or value not in (0, 1):
        raise TypeError(f"{argument}: got {shown(value)}, wanted True or False")
    return bool(value)


def one_of(argument: str, value: Any, choices: Collection[str], wanted: str | None = None) -> str:
    """`value`, if it is one of `choices`; else ValueError, which names them.

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
        raise ValueError(f"{argument}: got {shown(value)}, wanted {wanted or _either(choices)}")
    return value


def _either(choices: Collection[str]) -> str:
    """As a sentence has it: 'a', 'b' or 'c'."""
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last


def missing(owner: str, library: str, extra: str) -> ModuleNotFoundError:
    """The error that says which extra brings a library that is not there.

    Examples
    --------
    >>> print(missing("TensorBoardLogger", "tensorboardX", "tensorboard"))
    TensorBoardLogger needs tensorboardX; run: pip install "tinygrad_rnn[tensorboard]"
    """
    return ModuleNotFoundError(f'{owner} needs {library}; run: pip install "tinygrad_rnn[{extra}]"', name=library)
