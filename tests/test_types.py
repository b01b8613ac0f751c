"""What type checkers see of the package: annotated scripts of users pass in strict mode, and mistakes are found."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("typed_script.py")
MISTAKES = """
import numpy as np
import tinygrad_rnn as tr
from tinygrad_rnn import nn

x = tr.tensor([1.0])
tr.sum(x, axis="rows")
tr.reshape(x, 1.5)
tr.zeros(("a", "b"))
x.mean(keepdim=True)
tr.tanh(x).backwards()
array: np.ndarray = tr.exp(x)
tr.stack([x, x]).reshape(2, 1) @ {}
(x > 0).astype(3)
tr.unstack(x).backward()
x.register_hook(3)
nn.GRU(3, 4, merge=1)
nn.RNN(3, 4, merg="sum")
nn.LSTM(3, 4, num_layers="2")
"""


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Run mypy in strict mode over a file; gives what it prints."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(SCRIPT.parents[1]))

    def run(path):
        options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path}"]
        out, error, _ = api.run([*options, str(path)])
        return out + error

    return run


@pytest.mark.slow
def test_an_annotated_script_passes_in_strict_mode(check):
    assert check(SCRIPT).startswith("Success"), check(SCRIPT)


@pytest.mark.slow
def test_mistakes_are_found_by_line(check, tmp_path):
    path = tmp_path / "mistakes.py"
    path.write_text(MISTAKES)
    found = {int(line.split(":")[1]) for line in check(path).splitlines() if ": error:" in line}
    assert found == set(range(MISTAKES.count("\n", 0, MISTAKES.index("tr.sum")) + 1, MISTAKES.count("\n") + 1))


@pytest.mark.slow
def test_the_script_runs():
    subprocess.run([sys.executable, "-m", "tests.typed_script"], check=True, cwd=SCRIPT.parents[1])
