"""Memory of this process: how much it may have, and the error for what does not fit."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path

from ...errors import OutOfMemoryError

LARGE = 1 << 28  # bytes; what is smaller is simply tried


@functools.cache
def total_memory() -> float:
    """Bytes that this process could have: memory and swap of the machine, or its control group's share."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found = sum(int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        try:
            found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return math.inf
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(Path(path).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return found


def check_memory(title: str, time: int, batch: int, needed: int, what: str) -> None:
    """Refuse what cannot fit, before it is allocated: systems promise memory that they do not have.

    Raises
    ------
    OutOfMemoryError
    """
    if needed > LARGE and needed > total_memory():
        raise out_of_memory(title, time, batch, what, needed)


def out_of_memory(title: str, time: int, batch: int, what: str, needed: int) -> OutOfMemoryError:
    """The error that tells what needs so many bytes, and what helps."""
    return OutOfMemoryError(
        f"{title}: T={time}, B={batch}: {what} needs {format_bytes(needed)}, which is not there; a smaller batch or "
        "shorter sequences need less, and so do checkpoint_every= in training and return_outputs=False"
    )


def format_bytes(size: int) -> str:
    """Bytes in words: ``3.2 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024  # type: ignore
    raise AssertionError
