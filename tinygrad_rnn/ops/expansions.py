"""Operations that the compiler takes apart: along features they become reductions and elementwise maths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

expansions: dict[str, Callable[..., Any]] = {}  # name of the operation -> the same in others, filled by their files
