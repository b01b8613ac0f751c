"""``python -m models NAME --distributed``: processes that share a training, which goes on to the bit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_training_of_two_processes_goes_on_to_the_bit(tmp_path):
    """With dropout, whose masks each process draws for itself."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec")

    def train(folder, *options):
        model = [sys.executable, "-m", "models", "sentiment", "--distributed", "--reviews", "200", "--hidden-size", "8"]
        command = [MPIEXEC, "-n", "2", *model, "--out", str(tmp_path / folder), *options]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("wrote:") == 1  # the first one tells
        return json.loads((tmp_path / folder / "metrics.json").read_text(encoding="utf-8"))["losses"]

    whole = train("whole", "--epochs", "2")
    train("halves", "--epochs", "1")
    assert train("halves", "--epochs", "2", "--resume") == whole
