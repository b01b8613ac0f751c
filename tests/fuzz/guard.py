"""What a reader may not do, whatever the file: fail otherwise than documented, hang, take memory, act."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .readers import Reader

SECONDS = 10.0  # for one input
ADDRESSES = 8 << 30  # bytes for the process
ACTS = {
    "subprocess.Popen",
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn", "os.kill"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink", "os.chown"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "urllib.Request", "pickle.find_class", "ctypes.dlopen"),
}
OURS = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


SHARED = "/dev/shm"  # in memory: writing to a disk takes longer than most reading


class Broken(BaseException):
    """A promise that was not kept; no reader catches it."""


class Guard:
    """Runs a reader on contents, in a folder of its own.

    A hook watches what Python does meanwhile; as it cannot be taken away again, there is one in a process.
    """

    _watching: Guard | None = None
    _hooked = False

    def __init__(self, reader: Reader, folder: Path):
        self.reader = reader
        self.path = folder / "class" / reader.name
        self.path.parent.mkdir(exist_ok=True)
        self.acts: list[str] = []
        if not Guard._hooked:
            Guard._hooked = True
            sys.addaudithook(_watch)
        for seed in reader.seeds():  # imports what is imported at the first call
            self.path.write_bytes(seed)
            with suppress(*reader.errors):
                reader.read(self.path)

    def run(self, content: bytes) -> bool:
        """Read `content`; whether it was read, rather than refused. Raises `Broken`, or what the reader should not."""
        self.path.write_bytes(content)
        self.acts.clear()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        Guard._watching = self
        try:
            self.reader.read(self.path)
            read = True
        except self.reader.errors:
            read = False
        finally:
            Guard._watching = None
        if self.acts:
            raise Broken(f"the reader acts: {', '.join(self.acts)}")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > self.reader.memory:
            raise Broken(f"the reader takes {grown} KiB for a file of {len(content)} bytes")
        return read


def _watch(event: str, args: tuple) -> None:
    """Note what is no reading."""
    guard = Guard._watching
    if guard is None:
        return
    if event == "open":
        writes = isinstance(args[2], int) and args[2] & (
            os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        )
        if not writes or str(args[0]).startswith(f"{guard.path.parent}{os.sep}"):
            return
    elif event == "exec":
        if os.path.realpath(args[0].co_filename).startswith(OURS):  # an import
            return
    elif event not in ACTS and not event.startswith("socket."):
        return
    guard.acts.append(f"{event} {args!r}"[:200])
    raise Broken(guard.acts[-1])


@contextmanager
def guarded(reader: Reader) -> Iterator[Guard]:
    """A guard in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(dir=SHARED if os.access(SHARED, os.W_OK) else None) as folder:
        yield Guard(reader, Path(folder))


@contextmanager
def timed() -> Iterator[None]:
    """Raise `Broken` if the body takes too long."""

    def stop(*_: object) -> None:
        raise Broken(f"the reader takes longer than {SECONDS:g} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def limit_memory() -> None:
    """For this process, so that a blow-up ends in an error and not with the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))


def keep(reader: str, content: bytes, folder: Path) -> Path:
    """Write an input that broke a promise to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{reader}-{hashlib.sha256(content).hexdigest()[:12]}"
    path.write_bytes(content)
    return path
