"""A wheel, installed where nothing of the clone is: the command, the models and their data are there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("tinygrad_rnn", "models", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
OUTSIDE = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command, cwd, code=0, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=OUTSIDE | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of programs of a new environment; libraries are those of the present one."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in COPIED:  # a build leaves folders behind
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", wheel, cwd=folder)
    where, _ = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    Path(where.strip(), "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(source)
    return programs


@pytest.mark.slow
def test_an_installed_wheel(installed, tmp_path):
    command, python = installed / "tinygrad-rnn", installed / "python"
    where, _ = run(python, "-c", "import tinygrad_rnn; print(tinygrad_rnn.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    out, err = run(command, cwd=tmp_path, COLUMNS="40")
    assert err == ""
    assert max(map(len, out.splitlines())) <= 40
    out, _ = run(command, "models", cwd=tmp_path, COLUMNS="80")
    assert "airline" in out
    assert max(map(len, out.splitlines())) <= 80
    out, _ = run(command, "models", "airline", "--epochs", "2", cwd=tmp_path, MPLBACKEND="Agg")
    assert "wrote:" in out
    assert (tmp_path / "out" / "airline" / "weights.safetensors").is_file()
    out, _ = run(python, "-m", "tinygrad_rnn", "models", "airline", "predict", "--steps", "3", cwd=tmp_path)
    assert len(out.split()) == 3
    _, err = run(command, "models", "airline", cwd=tmp_path, code=1)
    assert "holds files already" in err
    run(command, "convert", "out/airline/weights.safetensors", "w.npz", cwd=tmp_path)
    _, err = run(command, "bench", cwd=tmp_path, code=2)
    assert "they are in a clone" in err
    (tmp_path / "cells.py").write_text("from tinygrad_rnn import nn\ncell = nn.GRUCell(2, 3)\n")
    out, _ = run(command, "check", "cells:cell", "--check", "runs", cwd=tmp_path)
    assert out == "runs: passed\n"
    _, err = run(command, "models", "report", cwd=tmp_path, code=2)
    assert "writes into a clone" in err
