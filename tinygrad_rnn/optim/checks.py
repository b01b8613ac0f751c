"""Checks of the options of optimisers and schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..checks import flag, is_number, shown

PAIRS = ("betas",)  # options that are two numbers


def check_range(group: Mapping[str, Any], **limits: float) -> None:
    """Raise ValueError or TypeError unless ``0 <= group[name] < limit`` for each of `limits`."""
    for name in PAIRS:
        if name in limits and (not isinstance(group[name], tuple | list) or len(group[name]) != 2):
            raise ValueError(f"{name}: got {shown(group[name])}, wanted two numbers")
    for name, limit in limits.items():
        values = group[name] if name in PAIRS else (group[name],)
        for value in values:
            if not is_number(value):
                raise TypeError(f"{name}: got {shown(group[name])}, wanted a number")
            if not 0 <= value < limit:
                wanted = "at least 0 and finite" if limit == math.inf else f"at least 0 and below {limit:g}"
                raise ValueError(f"{name}: got {shown(group[name])}, wanted {wanted}")


def check_flags(group: Mapping[str, Any], *names: str) -> None:
    """Raise TypeError unless each of these options is True or False."""
    for name in names:
        flag(name, group[name])


def whole(name: str, value: Any, least: int = 1) -> int:
    """An option that is a whole number from `least` on; a count that was divided may be a float."""
    if not is_number(value) or not least <= value < math.inf or value != int(value):
        got = value if isinstance(value, str) else shown(value)
        raise ValueError(f"{name}: got {got}, wanted a whole number of at least {least}")
    return int(value)
