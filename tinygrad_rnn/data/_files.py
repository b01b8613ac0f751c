"""Reading whole files; only regular files are opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import BinaryIO

from ..atomic import checked, require_regular
from ..errors import DataError

DEFAULT_MEMORY = 16 << 30  # bytes, where the system does not tell


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file open for reading; what its content makes Python run out of becomes a `DataError`.

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the path, if it is a folder, a pipe or a device (which may have no end), or the file is larger than
        the memory.
    """
    status = os.stat(checked(path))
    require_regular(path, status)
    require_memory(path, status.st_size)
    try:
        with open(path, "rb") as file:
            yield file
    except (MemoryError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read, for it is too large or nested too deep ({error})") from None


@contextmanager
def content(path: str | PathLike[str]) -> Iterator[bytes]:
    """The bytes of a file; see :func:`opened`."""
    with opened(path) as file:
        yield file.read()


def require_memory(path: str | PathLike[str], size: int) -> None:
    """Raise `DataError` if `size` bytes, as a file has or declares, cannot lie in memory."""
    if size > memory():
        raise DataError(f"{path}: got {size} bytes of content, wanted what the memory holds, at most {memory()}")


def memory() -> int:
    """Bytes of memory that this process may use."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        import resource  # neither is on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (AttributeError, ImportError, OSError, ValueError):
        return DEFAULT_MEMORY
    return size if limit < 0 else min(size, limit)
