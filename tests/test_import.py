"""Importing the package stays cheap: heavy modules wait for their first use."""

import subprocess
import sys

HEAVY = {"numba", "tqdm", "safetensors", "threadpoolctl", "hypothesis", "torch", "matplotlib", "numpy.random"}


def loaded_by(code: str) -> set[str]:
    code += f"\nimport sys\nprint(*[m for m in {sorted(HEAVY)} if m in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_import_loads_nothing_heavy():
    assert loaded_by("import tinygrad_rnn") == loaded_by("import numpy")


def test_eager_steps_need_no_numba():
    code = """
import tinygrad_rnn as tr
x = tr.ones((2, 3)).requires_grad_()
tr.tanh(x @ x.T).sum().backward()
"""
    assert "numba" not in loaded_by(code)


def test_checks_need_no_hypothesis():
    assert "hypothesis" not in loaded_by("import tinygrad_rnn.testing")
