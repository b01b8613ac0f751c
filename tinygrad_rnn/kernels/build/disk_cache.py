"""Folder of compiled code, of which only whole files that this user alone can write are used.

Whoever can write a file that is loaded as code runs code as this user. So the folder and each file in it must belong to
the user, and be writable by nobody else. A file holds a checksum over its name and its content, because power cuts,
full disks and broken copies leave files that are there and wrong. Nothing that happens here ends a calculation: what
cannot be read is made anew, and what cannot be written is kept in memory, with one warning.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
import warnings
from pathlib import Path

MAGIC = b"tinygrad_rnn code 1\n"
OTHERS = stat.S_IWGRP | stat.S_IWOTH
KINDS = {stat.S_IFDIR: "folder", stat.S_IFREG: "file"}
ELSEWHERE = "set TINYGRAD_RNN_CACHE to a folder of yours"
STALE = 3600  # seconds after which a temporary file has been left by a process that died

_warned: set[object] = set()


class Refused(Exception):
    """Somebody else could write here; the text says what to do."""


def directory() -> Path | None:
    """The folder of compiled code; None if there is no place where one can be.

    It is ``TINYGRAD_RNN_CACHE``, or ``tinygrad_rnn`` in the user's cache folder, or, if that cannot be written to, a
    folder of the user's among the temporary files. One that others can write to is not used, but a new one that lives
    as long as the process.
    """
    user = os.geteuid() if hasattr(os, "geteuid") else None
    return _choose(user, *map(os.environ.get, ("TINYGRAD_RNN_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")))


@functools.cache
def _choose(user: int | None, given: str | None, caches: str | None, *_: str | None) -> Path | None:
    """The folder for these settings of the environment, chosen once for each."""
    # the last argument, TMPDIR, is a part of the key alone: `tempfile` looks it up itself
    try:
        if given:
            try:
                return _prepared(Path(given).absolute())
            except OSError as error:
                _warn("given", f"TINYGRAD_RNN_CACHE: got {given!r}, wanted a folder that can be made: {error}")
        else:
            with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written to
                folder = _prepared((Path(caches) if caches else Path.home() / ".cache") / "tinygrad_rnn")
                if os.access(folder, os.W_OK):
                    return folder
        return _prepared(Path(tempfile.gettempdir()) / f"tinygrad_rnn-{'cache' if user is None else user}")
    except OSError:
        return None
    except Refused as refusal:
        _warn("refused", f"the cache of compiled code is not used: {refusal}")
    try:
        private = Path(tempfile.mkdtemp(prefix="tinygrad_rnn-"))
    except OSError:
        return None
    atexit.register(_remove, private, os.getpid())
    return private


def _remove(folder: Path, process: int) -> None:
    # a forked child ends earlier than its parent, whose folder it is
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _prepared(folder: Path) -> Path:
    """The folder, made if need be, for this user alone.

    Raises
    ------
    Refused
        If somebody else could write to it or put another in its place.
    OSError
        If it cannot be made.
    """
    for step in (*reversed(folder.parents), folder):
        if not step.exists():
            with contextlib.suppress(FileExistsError):
                # one by one, as `parents=True` would make those outside with other permissions
                step.mkdir(mode=0o700)
    _check(folder, os.lstat(folder), stat.S_IFDIR)
    if hasattr(os, "geteuid"):
        outside = folder.parent
        target = os.stat(outside)
        for found in (os.lstat(outside), target):  # it may be a link, which must not be another user's either
            if found.st_uid not in (0, os.geteuid()):
                raise Refused(f"{outside} belongs to user {found.st_uid}; {ELSEWHERE}")
        if target.st_mode & OTHERS and not target.st_mode & stat.S_ISVTX:
            raise Refused(f"others can replace what is in {outside}; run: chmod go-w {outside}")
    return folder


def _check(path: Path, found: os.stat_result, kind: int) -> None:
    """Refuse what is of another kind than a folder or a file, or not this user's alone."""
    if stat.S_IFMT(found.st_mode) != kind:
        raise Refused(f"{path} is a link or something else, wanted a real {KINDS[kind]}")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to user {found.st_uid}; {ELSEWHERE}")
    if hasattr(os, "geteuid") and found.st_mode & OTHERS:
        raise Refused(f"others can write to {path}; run: chmod go-w {path}")


# ---- files


def read(name: str) -> bytes | None:
    """Bytes that :func:`write` stored under this name; None if missing or damaged, with one warning."""
    content = _read(name)
    if content is None:
        return None
    body = content[len(MAGIC) + 32 :]
    if content[: len(MAGIC) + 32] != MAGIC + _digest(name, body):
        damaged(name, "its checksum is wrong")
        return None
    return body


def write(name: str, body: bytes) -> None:
    """Store `body` under this name, if that is possible."""
    _write(name, MAGIC + _digest(name, body) + body)


def keep_text(name: str, text: str) -> None:
    """Store this text under this name, for people to read, unless it is there."""
    content, wanted = _read(name), text.encode()
    if content != wanted:
        if content is not None:
            damaged(name, "its text is another one")
        _write(name, wanted)


def damaged(name: str, why: object) -> None:
    """Warn of a file that cannot be used, and remove it."""
    folder = directory()
    assert folder is not None
    _warn(name, f"{folder / name}: cannot be used and is made anew: {why}")
    with contextlib.suppress(OSError):
        os.unlink(folder / name)
    with contextlib.suppress(OSError):  # somebody put a folder there
        os.rmdir(folder / name)


def _digest(name: str, body: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + body).digest()


def _read(name: str) -> bytes | None:
    """Content of a file of this user's alone; None if there is none that can be used."""
    folder = directory()
    if folder is None:
        return None
    # no link is followed, and a pipe that somebody put there does not wait for a writer
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(folder / name, flags), "rb") as file:
            _check(folder / name, os.fstat(file.fileno()), stat.S_IFREG)
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, Refused) as error:
        damaged(name, error)
        return None


def _write(name: str, content: bytes) -> None:
    """Write under another name, then rename, as processes compete and the power may fail."""
    folder = directory()
    if folder is None:
        _warn("write", "there is no folder for compiled code, which is kept in memory; set TINYGRAD_RNN_CACHE to one")
        return
    temporary = None
    try:
        _prepared(folder)  # it may have been removed
        _sweep(folder)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, folder / name)
        _flush(folder)
    except (OSError, Refused) as error:
        _warn("write", f"compiled code is kept in memory, as it cannot be written to {folder}: {error}")
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _flush(folder: Path) -> None:
    """Have the disk keep the names of files, where a folder can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove, once, what processes that were killed have left."""
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > STALE:
                path.unlink()


def _warn(about: object, text: str) -> None:
    """Warn once of each thing."""
    if about not in _warned:
        _warned.add(about)
        warnings.warn(text, RuntimeWarning, stacklevel=2)
