"""Reading and writing whole files: nothing that is no file is opened, nothing half-written is left behind."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError

DEFAULT_MEMORY = 16 << 30  # bytes, where the system does not tell
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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


def write(path: str | PathLike[str], data: bytes | bytearray) -> None:
    """Put a file in place at once, with the permissions that the umask gives; on failure the old one stays."""
    target = Path(os.path.realpath(checked(path)))  # a link stays, and leads to the new content
    if target.exists():
        require_regular(path, os.stat(target))
    part = part_of(target)
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing behind it
        os.replace(part, target)
    except OSError as error:  # which should not name the part
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        part.unlink(missing_ok=True)


def part_of(target: Path) -> Path:
    """A new name beside `target` to write to; those of processes that were killed while they wrote are removed."""
    for old in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        owner = old.name.split(".")[-2]
        if owner.isdigit() and not _runs(int(owner)):
            old.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{os.urandom(4).hex()}.{os.getpid()}.part")


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    if os.name != "posix":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def checked(path: str | PathLike[str]) -> str | PathLike[str]:
    """`path`, if it can be one."""
    name = os.fspath(path) if isinstance(path, str | PathLike) else None
    if not isinstance(name, str):
        raise TypeError(f"path: got {path!r}, wanted the path of a file as str or PathLike")
    if "\0" in name:
        raise DataError(f"path: got {path!r}, wanted a path without a null byte")
    return path


def require_regular(path: str | PathLike[str], status: os.stat_result) -> None:
    """Raise `DataError` unless it is a file that lies on a disk."""
    if not stat.S_ISREG(status.st_mode):
        found = next((name for test, name in KINDS if test(status.st_mode)), "something else")
        raise DataError(f"{path}: got {found}, wanted a file")


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
