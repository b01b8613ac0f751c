"""The stage that executes tasks, a generated loop, and tasks again."""

from __future__ import annotations

from typing import Any

from ..loops.entry import array_like, call_loop
from ..loops.records import record_at
from ..loops.task_codes import Launch
from ..loops.tasks import call_tasks
from .stage_codes import LaunchStage

ITEM = 8  # bytes of an integer


def launch_stage(table: int, like: Any) -> None:
    """As :func:`..loops.launches.Calls.execute`, of a :class:`LaunchStage` at an address."""
    stage = record_at(table, 0, LaunchStage)
    some = array_like(table, 0, like)
    launch_at, addresses = stage.launch.address, stage.addresses.address
    launch = record_at(launch_at, 0, Launch)
    missing = call_tasks(launch_at, addresses, launch.first, launch.middle, some)
    if launch.end > launch.begin:
        call_loop(launch.loop, launch.begin, launch.end, addresses + 2 * ITEM * launch.arrays)
    missing += call_tasks(launch_at, addresses, launch.middle, launch.last, some)
    if missing:
        raise MemoryError("no memory for blocks of a product")
