"""Atomic writing of checkpoint files, with rotation of the files before."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..atomic import checked, flush_folder, new_part, on_disk


def write_whole(path: str | Path, content: bytes, keep: int = 0) -> None:
    """Write a file atomically: an older one is replaced once the new one is on the disk.

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
    path = Path(checked(path))
    with _part(path, content) as (part, target):
        _keep_older(path, keep)
        os.replace(part, target)
        flush_folder(target.parent)


def probe(path: str | Path, content: bytes) -> None:
    """Raise OSError if `content` could not be written to `path`; the file itself is left alone."""
    with _part(Path(checked(path)), content):
        pass


def beside(path: str | Path, which: str | int) -> Path:
    """The path of an older or related file: ``name.which.suffix``; 1 is the one before."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{which}{path.suffix}")


@contextlib.contextmanager
def _part(path: Path, content: bytes) -> Iterator[tuple[Path, Path]]:
    """Context of :func:`atomic.on_disk` that makes the folder if need be."""
    if path.is_dir():
        raise IsADirectoryError(f"path: got {path}, which is a folder, wanted a file to be written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with on_disk(path, content) as names:
            yield names
    except OSError as e:
        raise type(e)(e.errno, f"{e.strerror}; this could not be written", str(path)) from e


def _keep_older(path: Path, keep: int) -> None:
    """Rotate: copy or link the file to ``name.1``, after moving ``name.1`` to ``name.2``, ..."""
    if keep < 1 or not path.exists():
        return
    for number in range(keep, 1, -1):
        if beside(path, number - 1).exists():
            os.replace(beside(path, number - 1), beside(path, number))
    again = new_part(path)
    try:
        try:
            os.link(os.path.realpath(path), again)
        except OSError:  # a file system without links
            shutil.copyfile(path, again)
        os.replace(again, beside(path, 1))
    finally:
        again.unlink(missing_ok=True)
