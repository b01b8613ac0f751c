"""The stage that executes tasks, a generated loop, and tasks again."""

from __future__ import annotations

from typing import Any

from ..loops.entry import array_like
from ..loops.launches import call_launch
from ..loops.records import record_at
from .stage_codes import LaunchStage


def launch_stage(table: int, like: Any) -> None:
    """As :func:`..loops.launches.Calls.execute`, of a :class:`LaunchStage` at an address."""
    stage = record_at(table, 0, LaunchStage)
    if call_launch(stage.launch.address, stage.addresses.address, array_like(table, 0, like)) != 0:
        raise MemoryError("no memory for blocks of a product")
