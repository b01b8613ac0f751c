"""Checks of the options of optimisers and schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

PAIRS = ("betas",)  # options that are several numbers


def check_range(group: Mapping[str, Any], **limits: float) -> None:
    """Raise ValueError unless ``0 <= group[name] < limit`` for each of `limits`; TypeError if it is no number."""
    for name, limit in limits.items():
        values = group[name] if name in PAIRS else (group[name],)
        for value in values:
            if not is_number(value):
                raise TypeError(f"{name}: got {group[name]!r}, wanted a number")
            if not 0 <= value < limit:
                wanted = "at least 0 and finite" if limit == math.inf else f"at least 0 and below {limit:g}"
                raise ValueError(f"{name}: got {group[name]}, wanted {wanted}")


def is_number(value: Any) -> bool:
    """Whether it is a number, of Python or NumPy, that a float can hold; truth values are not."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return not isinstance(value, int) or abs(value) < 2**1023


def number(name: str, value: Any) -> float:
    """An option that is a number from 0 on."""
    if not is_number(value):
        raise TypeError(f"{name}: got {value!r}, wanted a number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}: got {value}, wanted at least 0 and finite")
    return float(value)


def whole(name: str, value: Any, least: int = 1) -> int:
    """An option that is a whole number from `least` on."""
    if not is_number(value) or not least <= value < math.inf or value != int(value):
        raise ValueError(f"{name}: got {value}, wanted a whole number of at least {least}")
    return int(value)
