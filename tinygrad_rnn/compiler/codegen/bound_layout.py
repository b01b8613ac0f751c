"""Bound layout: the offsets of a loop for one T and one batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Task
from ..schedule.buffers import Buffer


class BoundLayout(NamedTuple):
    """Layout of a loop for one T and one batch, as :meth:`.Layout.bind` makes it.

    Attributes
    ----------
    dims : int64 array
        Sizes and offsets, as the loop takes them.
    weights, arena : int
        Elements of the two arrays.
    zeros : int
        How many at the beginning of the arena are cleared before a call.
    offsets : dict
        Of buffers in the arena.
    tasks : list
        Those that fill ``weights``, which has to be zero before.
    """

    dims: np.ndarray
    weights: int
    arena: int
    zeros: int
    offsets: dict[Buffer, int]
    tasks: list[Task]
