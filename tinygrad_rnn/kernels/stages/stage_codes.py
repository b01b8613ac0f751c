"""Records of the tables of stages, field by name; without Numba."""

from __future__ import annotations

import enum
from typing import NamedTuple

from ..loops.task_codes import Span

AXES = 4  # of a strided copy, after neighbouring axes were joined


class LaunchStage(NamedTuple):
    """Executes tasks, a loop, and tasks again."""

    like: Span  # any array of the dtype
    launch: Span  # the launch table
    addresses: Span  # the spans of its arrays


class CopyMode(enum.IntEnum):
    """What a strided copy does to its target."""

    COPY = 0
    ADD = 1


class CopyStage(NamedTuple):
    """Copies an array of up to four axes to another one; strides are in elements, and may be negative."""

    source: Span
    target: Span
    first_source: int  # where its first element lies
    first_target: int
    mode: int  # CopyMode
    n0: int
    n1: int
    n2: int
    n3: int
    s0: int
    s1: int
    s2: int
    s3: int
    t0: int
    t1: int
    t2: int
    t3: int


class FillStage(NamedTuple):
    """Sets all elements of an array to zero."""

    target: Span


Stage = LaunchStage | CopyStage | FillStage
