"""The command that compiles ahead: it says what it made, and later processes find all of it."""

import os
import re
import subprocess
import sys

import pytest

from tinygrad_rnn import cache
from tinygrad_rnn.kernels.build import disk_cache

from ..kernels.jit import needs_jit
from .test_cache import ROOT

LINE = r"[\w.]+ +(compiled|loaded) +\d+\.\d\d s"


def test_arguments(capsys):
    for wrong in ([], ["warm", "--dtypes", "int8"], ["warm", "--layers", "Linear"], ["cool"]):
        with pytest.raises(SystemExit) as stopped:
            cache.main(wrong)
        assert stopped.value.code == 2
    capsys.readouterr()


def test_no_folder_is_told(monkeypatch, capsys):
    monkeypatch.setattr(disk_cache, "directory", lambda: None)
    assert cache.main(["warm"]) == 1
    assert "set TINYGRAD_RNN_CACHE" in capsys.readouterr().err


@needs_jit
def test_pieces_are_told(capsys):
    assert cache.main(["warm", "--dtypes", "float32", "--layers", "RNN"]) == 0
    *lines, last = capsys.readouterr().out.strip().split("\n")
    assert all(re.fullmatch(LINE, line) for line in lines)
    assert re.fullmatch(r"\d+ compiled in [\d.]+ s, for .*", last)


@needs_jit
@pytest.mark.slow
def test_what_was_warmed_is_found(tmp_path):
    def run():
        command = [sys.executable, "-m", "tinygrad_rnn.cache", "warm", "--dtypes", "float32", "--layers", "GRU"]
        env = os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        *lines, last = done.stdout.strip().split("\n")
        assert last.endswith(f"for {tmp_path / 'cache'}")
        return [re.fullmatch(LINE, line)[1] for line in lines], int(last.split()[0])

    first, compiled = run()
    assert compiled == first.count("compiled") > 10
    again, compiled = run()
    assert compiled == 0
    assert {*again} == {"loaded"}
