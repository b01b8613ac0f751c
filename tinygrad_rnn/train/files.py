"""Writes files whole or not at all, so that neither a kill nor a power cut leaves half of one behind."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

PART = re.compile(r"\.(\d+)(-[0-9a-f]+)?\.part")  # after the name of the file: who writes it
_writing: set[Path] = set()  # by this process, now


def write_whole(path: str | Path, content: bytes, keep: int = 0) -> None:
    """Write a file; one that is already there is replaced at once, when the new one is on the disk.

    Parameters
    ----------
    path : path
        Its folder is made if need be. Permissions follow the umask.
    content : bytes
    keep : int
        So many of the files before are kept, as ``name.1.suffix`` (the last one), ``name.2.suffix``, ...

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    path = Path(path)
    with _part(path, content) as part:
        _keep_older(path, keep)
        os.replace(part, path)
    _flush_folder(path.parent)


def probe(path: str | Path, content: bytes) -> None:
    """Raise OSError if `content` could not be written to `path`; the file itself is left alone."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"path: got {path}, which is a folder, wanted a file to be written")
    with _part(path, content):
        pass


def beside(path: str | Path, which: str | int) -> Path:
    """Where another file of the same kind is kept: ``name.which.suffix``; 1 is the one before."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{which}{path.suffix}")


@contextlib.contextmanager
def _part(path: Path, content: bytes) -> Iterator[Path]:
    """The content on the disk under another name, which is gone in the end."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    _writing.add(part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    except OSError as e:
        raise type(e)(e.errno, f"{e.strerror}; this could not be written", str(path)) from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _writing.discard(part)


def _clear(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    for part in path.parent.iterdir():
        match = PART.fullmatch(part.name[len(path.name) :]) if part.name.startswith(path.name) else None
        if match and part not in _writing:
            with contextlib.suppress(OSError):
                if not _alive(int(match[1])) or time.time() - part.stat().st_mtime > 3600:
                    part.unlink()


def _alive(process: int) -> bool:
    if process == os.getpid():  # it would be in _writing
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _keep_older(path: Path, keep: int) -> None:
    """Name the file that is about to be replaced, and those before it, one further; `path` stays in place."""
    if keep < 1 or not path.exists():
        return
    for number in range(keep, 1, -1):
        if beside(path, number - 1).exists():
            os.replace(beside(path, number - 1), beside(path, number))
    again = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        try:
            os.link(path, again)
        except OSError:  # a file system without links
            shutil.copyfile(path, again)
        os.replace(again, beside(path, 1))
    finally:
        again.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
