"""Some hundred changed files for each reader; and a guard that notices what it is there for."""

import os
import re
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.errors import DataError

from . import __main__ as command
from .guard import Broken, guarded, timed
from .mutate import mutants
from .readers import READERS, Reader

ROOT = Path(__file__).parents[2]
INPUTS = 300


@pytest.mark.sampled(3)
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


def test_memory():
    reader = Reader(lambda path: None, lambda: [b""], ())
    with guarded(reader) as guard:
        assert guard.run(b"bad")
    with guarded(reader._replace(memory=-1)) as guard, pytest.raises(Broken, match="KiB for a file of 3 bytes"):
        guard.run(b"bad")


def test_time(monkeypatch):
    monkeypatch.setattr("tests.fuzz.guard.SECONDS", 0.05)
    with pytest.raises(Broken, match=r"takes longer than 0\.05 s"), timed():
        time.sleep(20)


def run(*arguments):
    line = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    done = run("--plain", "--reader", "midi", "csv", "--seconds", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"a plain mutator, .*\nmidi .*\ncsv .* 0 findings\n0 findings\n", done.stdout)
    (tmp_path / "x").write_bytes(READERS["midi"].seeds()[0])
    assert command.main(["--reader", "midi", "--input", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out == "midi: read\n"
    with pytest.raises(SystemExit):
        command.main(["--plain", "--reader", "wov"])
    assert "--reader: got wov, wanted some of csv, " in capsys.readouterr().err


@pytest.mark.slow
def test_under_atheris(tmp_path):
    pytest.importorskip("atheris")
    done = run("--reader", "midi", "--seconds", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"atheris, .*\nmidi .* places and .* 0 findings\n0 findings\n", done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["plain", pytest.param("atheris", marks=pytest.mark.slow)])
def test_a_finding(tmp_path, tool):
    """It is kept as a file, it is said how to see it again, and the command fails."""
    if tool == "atheris":
        pytest.importorskip("atheris")
    code = f"""if True:
        from tests.fuzz import __main__ as command
        with command.instrumented({tool == "plain"}):
            from tests.fuzz import readers
        readers.READERS["csv"] = readers.READERS["csv"]._replace(errors=())
        command.MOST = 2
        options = ["--plain"] * {tool == "plain"}
        command.main(["--reader", "csv", "--seconds", "9", "--out", {str(tmp_path)!r}, *options])
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = list(tmp_path.iterdir())
    assert paths, done.stderr
    for path in paths:
        assert path.name.startswith("csv-")
        assert f"again: python -m tests.fuzz --reader csv --input {path}" in done.stdout
    assert f"{len(paths)} findings, in {tmp_path}" in done.stdout
    assert "DataError" in done.stdout
