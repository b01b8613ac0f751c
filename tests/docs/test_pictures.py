"""docs/pictures.py: what the pages say about its pictures is true, and the drawings are those of today."""

import importlib.util

import numpy as np
import pytest

from ..kernels.jit import needs_jit
from .page import ROOT

SPEC = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
pictures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pictures)


def orders(norms: np.ndarray) -> float:
    """Orders of magnitude by which a gradient grows from the end to the beginning."""
    total = np.linalg.norm(norms, axis=1)
    return np.log10(total[0] / total[-1])


@pytest.mark.slow
def test_gradients_vanish_and_explode(monkeypatch):
    monkeypatch.setattr(
        pictures.viz, "gradient_flow", lambda *args, flow=pictures.viz.gradient_flow: flow(*args, rows=0)
    )
    flows = pictures.flows()
    assert orders(flows["RNN"].gradients["RNNCell state"]) == pytest.approx(-25, abs=1)
    assert orders(flows["RNN, weights times four"].gradients["RNNCell state"]) > 3
    assert orders(flows["LSTM"].gradients["LSTMCell state[1]"]) == pytest.approx(-5, abs=1)


def test_the_tape_is_up_to_date():
    there = (ROOT / "docs" / "tape.svg").read_text(encoding="utf-8")
    assert there == pictures.tape().svg(), "run python docs/pictures.py"


@needs_jit
def test_the_program_is_up_to_date():
    there = (ROOT / "docs" / "program.svg").read_text(encoding="utf-8")
    assert there == pictures.program().svg(), "run python docs/pictures.py"
