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


@pytest.mark.slow
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


STEP = """
import numpy as np
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.kernels.build import compile_times
from tinygrad_rnn.train import TrainStep


class Model(nn.Module):
    def __init__(self):
        self.table, self.layer, self.head = nn.Embedding(5, 3), nn.GRU(3, 4), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.layer(self.table(x))[0])


model, ids = Model(), np.arange(24).reshape(2, 12) % 5
step = TrainStep(model, optim.Adam(model.parameters()), nn.cross_entropy, clip_norm=1.0, fallback="error")
step.run(DataLoader((ids, ids), 4, batch_axis=1), 6)
print(*[made.name for made in compile_times.made if not made.loaded])
"""


@needs_jit
@pytest.mark.exhaustive
def test_training_steps_compile_nothing_but_their_own_loops(tmp_path):
    env = os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    warm = [sys.executable, "-m", "tinygrad_rnn.cache", "warm", "--dtypes", "float32", "--layers", "GRU"]
    subprocess.run(warm, env=env, cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", STEP], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all("step_" in name for name in done.stdout.split())
