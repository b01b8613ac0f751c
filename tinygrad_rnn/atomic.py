"""Writing files whole or not at all, so that neither a kill nor a power cut leaves half of one behind."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from .errors import DataError

PART = re.compile(r"\.(\d+)(-[0-9a-f]+)?\.part")  # after the name of the file: who writes it
OLD = 3600.0  # seconds after which nobody writes a part any more
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_writing: set[Path] = set()  # by this process, now


def write(path: str | PathLike[str], data: bytes | bytearray) -> None:
    """Put a file in place at once, with the umask's permissions; on failure the old one stays."""
    with on_disk(path, data) as (part, target):
        os.replace(part, target)
        flush_folder(target.parent)


@contextlib.contextmanager
def on_disk(path: str | PathLike[str], data: bytes | bytearray) -> Iterator[tuple[Path, Path]]:
    """Context: `data` on the disk under a temporary name, and the file that it is to replace.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written.
    DataError
        If there is something else than a file.
    """
    target = Path(os.path.realpath(checked(path)))  # a link stays, and leads to the new content
    part = new_part(target)
    _writing.add(part)
    try:
        if target.exists():
            require_regular(path, os.stat(target))
        _clear(target)
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing behind it
        yield part, target
    except OSError as error:  # which should not name the part
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _writing.discard(part)


def new_part(target: Path) -> Path:
    """A name beside `target` that nobody else writes to."""
    return target.with_name(f"{target.name}.{os.getpid()}-{os.urandom(4).hex()}.part")


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _clear(target: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    for part in target.parent.iterdir():
        match = PART.fullmatch(part.name[len(target.name) :]) if part.name.startswith(target.name) else None
        if match and part not in _writing:
            with contextlib.suppress(OSError):
                if not _alive(int(match[1])) or time.time() - part.stat().st_mtime > OLD:
                    part.unlink()


def _alive(process: int) -> bool:
    if process == os.getpid():  # it would be in _writing
        return False
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
