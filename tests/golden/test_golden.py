"""Generated sources are those that are kept, whatever the machine; a change of the compiler shows as a difference."""

import os
import platform
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from . import ALL, COMMAND, FOLDER, difference, generate, path

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="how wide vectors are is asked of compiled code")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ALL)
def test_sources_are_as_kept(name):
    changes = difference(path(name).read_text(encoding="utf-8"), generate(name), name)
    assert not changes, f"\n{changes}"


def test_every_file_is_of_a_cell_or_a_program():
    assert {p.stem for p in FOLDER.glob("*.txt")} == {*ALL}


def test_a_difference_names_lines_and_the_command():
    text = generate("rnn")
    changed = text.replace("tanh(", "sigmoid(", 1)
    found = difference(text, changed, "rnn")
    assert any(line.startswith("-") and "tanh(" in line for line in found.splitlines())
    assert any(line.startswith("+") and "sigmoid(" in line for line in found.splitlines())
    assert COMMAND in found
    assert not difference(text, text, "rnn")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of this family")
@pytest.mark.parametrize(
    ("cpu", "features"), [("x86-64", ""), pytest.param("haswell", "+avx2,+fma,+avx", marks=pytest.mark.exhaustive)]
)
def test_sources_do_not_depend_on_the_processor(cpu, features, tmp_path):
    code = "from tests.golden import *; print(*[difference(path(n).read_text('utf-8'), generate(n), n) for n in ALL])"
    env = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "TINYGRAD_RNN_CACHE": str(tmp_path)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_the_command_writes_what_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.golden.FOLDER", tmp_path)
    for expected in ("changed", "as before"):
        runpy.run_module("tests.golden", run_name="__main__")
        assert capsys.readouterr().out.splitlines() == [f"{name}.txt: {expected}" for name in ALL]
    for name in ALL:
        assert path(name).read_text("utf-8") == (FOLDER / f"{name}.txt").read_text("utf-8")
