"""``python -m models``: the list, and what it says to wrong input."""

import subprocess
import sys
from pathlib import Path

import pytest

from models import __main__ as command

ROOT = Path(command.__file__).parents[1]


def test_list_has_a_line_for_every_model(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert command.names() == ["airline", "sine"]
    for name in command.names():
        (line,) = [x for x in lines if x.startswith(f"  {name} ")]
        assert len(line) > 30
    assert not any("_common" in x or "__main__" in x for x in lines)


def test_every_file_is_a_model(monkeypatch, tmp_path):
    """To add a model is to add a file."""
    (tmp_path / "parrot.py").write_text('"""Says it again."""\n')
    monkeypatch.setattr(command, "FOLDER", [*command.FOLDER, str(tmp_path)])
    assert "parrot" in command.names()


def test_unknown_name(capsys):
    assert command.main(["airlime"]) == 2
    assert "got 'airlime', wanted one of airline, sine" in capsys.readouterr().err


@pytest.mark.parametrize("name", command.names())
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: python -m models {name}" in text
    assert all(option in text for option in ("--epochs", "--seed", "--out"))


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--epochs", "many"], ["--seed", "-1"]])
@pytest.mark.parametrize("name", command.names())
def test_bad_option(name, arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, *arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert f"argument {arguments[0]}: got '{arguments[1]}', wanted an integer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_package():
    code = "import sys; sys.modules['matplotlib'] = None; from models.__main__ import main; main(['airline'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("models: airline needs matplotlib")
    assert 'pip install -e ".[models]"' in run.stderr


def test_from_the_shell():
    run = subprocess.run([sys.executable, "-m", "models"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "airline" in run.stdout
    assert run.stderr == ""
