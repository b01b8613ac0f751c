"""Some random models, and the check itself: it has to see what is wrong."""

import numpy as np
import pytest

from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.compiler.model.runner import Runner
from tinygrad_rnn.errors import CompileError

from .case import Coverage
from .checks import Mismatch
from .model_case import Case, run_model_case


@pytest.mark.slow
@pytest.mark.parametrize("number", [n if n < 2 else pytest.param(n, marks=pytest.mark.slow) for n in range(12)])
def test_a_few_models(number):
    coverage = Coverage()
    run_model_case(0, number, coverage)
    assert coverage.counts["checks"]


@pytest.mark.slow
def test_models_are_drawn_from_their_numbers():
    texts = [[Case(np.random.default_rng([3, n])).model.describe() for n in range(8)] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len({*texts[0]}) > 5


@pytest.mark.slow
@pytest.mark.parametrize("part", [NativeProgram, Runner])
def test_mistakes_of_programs_are_seen(part, monkeypatch):
    run = part.run

    def off(self, *args):
        return [a * a.dtype.type(1.001) if isinstance(a, np.ndarray) else a for a in run(self, *args)]

    def run_some():
        for number in range(6):  # not all have parts in machine code, or parts without
            run_model_case(0, number, Coverage())

    monkeypatch.setattr(part, "run", off)
    with pytest.raises((Mismatch, CompileError), match=r"and the tape: |does not give what it gives"):
        run_some()
