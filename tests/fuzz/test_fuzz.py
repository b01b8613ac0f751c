"""Some hundred changed files for each reader; and a guard that notices what it is there for."""

import os
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest

from tinygrad_rnn.errors import DataError

from . import __main__ as command
from .guard import Broken, guarded, timed
from .mutate import mutants
from .readers import READERS, Reader

INPUTS = 300


@pytest.mark.parametrize("name", READERS)
def test_changed_files(name):
    """A result or a documented error, in time and in memory, and nothing done."""
    reader = READERS[name]
    some = mutants(reader.seeds(), reader.words, np.random.default_rng(0))
    with guarded(reader) as guard:
        for content in islice(some, INPUTS):
            try:
                with timed():
                    guard.run(content)
            except BaseException as error:
                raise AssertionError(f"{name} breaks: {content!r}") from error


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read(name):
    reader = READERS[name]
    with guarded(reader) as guard:
        assert sum(guard.run(seed) for seed in reader.seeds()) > 0


def write(path):
    (path.parent.parent.parent / "written").write_bytes(b"")


ACTS = {
    "subprocess.Popen": lambda path: subprocess.run(["true"], check=True),
    "os.system": lambda path: os.system("true"),
    "exec": lambda path: exec(compile("1", str(path), "exec")),
    "open": write,
    "os.remove": lambda path: path.unlink(),
    "socket.": lambda path: __import__("socket").create_connection(("127.0.0.1", 9), 0.1),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_readers_may_not_do(act):
    """Even if they swallow the error."""

    def read(path):
        if path.read_bytes() == b"bad":
            try:
                ACTS[act](path)
            except BaseException:
                raise DataError("swallowed") from None

    with guarded(Reader(read, lambda: [b"good"], ())) as guard:
        assert guard.run(b"good")
        with pytest.raises(Broken, match=f"the reader acts: {act}"):
            guard.run(b"bad")


def test_errors():
    def read(path):
        raise {b"a": DataError, b"b": KeyError}[path.read_bytes()]("said")

    with guarded(Reader(read, lambda: [b"a"], ())) as guard:
        assert not guard.run(b"a")
        with pytest.raises(KeyError, match="said"):
            guard.run(b"b")


def test_memory(monkeypatch):
    with guarded(Reader(lambda path: None, lambda: [b""], ())) as guard:
        assert guard.run(b"bad")
        monkeypatch.setattr("tests.fuzz.guard.MEMORY", -1)
        with pytest.raises(Broken, match="KiB for a file of 3 bytes"):
            guard.run(b"bad")


def test_time(monkeypatch):
    monkeypatch.setattr("tests.fuzz.guard.SECONDS", 0.05)
    with pytest.raises(Broken, match=r"takes longer than 0\.05 s"), timed():
        time.sleep(20)


def test_the_command(tmp_path, capfd):
    assert command.main(["--plain", "--reader", "midi", "--seconds", "1", "--out", str(tmp_path)]) == 0
    assert capfd.readouterr().out.endswith("0 findings\n")
    (tmp_path / "x").write_bytes(READERS["midi"].seeds()[0])
    assert command.main(["--reader", "midi", "--input", str(tmp_path / "x")]) == 0
    assert capfd.readouterr().out == "midi: read\n"


def test_a_finding(tmp_path):
    """It is kept as a file, and the process fails."""
    code = """if True:
        import sys
        from pathlib import Path
        from tests.fuzz import child, readers
        readers.READERS["csv"] = readers.READERS["csv"]._replace(errors=())
        corpus, out = Path(sys.argv[1], "corpus"), Path(sys.argv[1], "out")
        corpus.mkdir()
        child.main("csv", 9, 0, corpus, out, True)
    """
    root = command.__file__.removesuffix("tests/fuzz/__main__.py")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("csv-")
    assert f"csv breaks at {path}" in done.stderr
