"""Random programs: the tape, the program and its adjoint, the compiled loop and finite differences agree."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings

from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.testing import gradcheck
from tinygrad_rnn.testing.random_cells import RandomCell, random_cells

from .agreement import close, leaves_of, loss_of, run
from .twin import run_twin

SIZES = [(3, 2), (1, 1), (4, 7), (2, 5)]  # T, B
CAREFREE = list(HealthCheck)


def eager(cell, xs, state, **how):
    """What the tape gives; programs with values that rounding errors would dominate are passed over."""
    with np.errstate(all="ignore"):
        results, grads = run(cell, xs, state, "eager", **how)
    arrays = [*results, *(g for g in grads if g is not None)]
    assume(all(np.isfinite(a).all() and np.abs(a).max() < 1e6 for a in arrays))
    return results, grads


def compare(actual, wanted):
    for what, mine, theirs, tol in zip(("result", "gradient"), actual, wanted, (1e-11, 1e-10)):
        assert len(mine) == len(theirs)
        for i, (a, b) in enumerate(zip(mine, theirs)):
            close(a, b, tol, f"{what} {i}")


def check_twin(cell: RandomCell):
    xs, state = cell.example_inputs(3, 2), cell.example_state(2)
    wanted = eager(cell, xs, state)
    compare(run_twin(cell, xs, state), wanted)


def check_compiled(cell: RandomCell):
    T, B = SIZES[cell.seed % len(SIZES)]
    xs, state = cell.example_inputs(T, B), cell.example_state(B)
    wanted = eager(cell, xs, state)
    compare(run(cell, xs, state, "compiled"), wanted)
    if cell.smooth:
        check_differences(cell, xs, state)


def check_differences(cell, xs, state):
    results = lambda *_: loss_of(leaves_of(*scan(cell, xs, state, mode="compiled")))
    gradcheck(results, leaves_of(xs, state), atol=1e-5, rtol=1e-4, fast=True)


@settings(max_examples=150, suppress_health_check=CAREFREE)
@given(random_cells())
def test_programs_and_their_adjoints(cell):
    check_twin(cell)


@pytest.mark.slow
@seed(1)  # these programs are compiled once, and then come from the disk
@settings(max_examples=12, suppress_health_check=CAREFREE, phases=[Phase.generate])
@given(random_cells(max_instructions=8))
def test_compiled_programs(cell):
    check_compiled(cell)


@pytest.mark.exhaustive
@settings(max_examples=1000, suppress_health_check=CAREFREE)
@given(random_cells(max_instructions=16))
def test_many_programs_and_their_adjoints(cell):
    check_twin(cell)


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=CAREFREE, phases=[Phase.generate])
@given(random_cells(max_instructions=14))
def test_many_compiled_programs(cell):
    check_compiled(cell)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=CAREFREE, phases=[Phase.generate])
@given(random_cells(dtype=np.float32))
def test_compiled_programs_in_float32(cell):
    xs, state = cell.example_inputs(3, 5), cell.example_state(5)
    wanted, _ = eager(cell, xs, state)
    actual, _ = run(cell, xs, state, "compiled")
    for i, (a, b) in enumerate(zip(actual, wanted)):
        close(a, b, 1e-4, f"result {i}")


@given(random_cells())
def test_the_writer_writes_what_it_says(cell):
    """The strategy itself: states keep their widths, values stay tame, programs can be read."""
    xs, state = cell.example_inputs(5, 3), cell.example_state(3)
    ys, final = scan(cell, xs, state, mode="eager")
    assert [s.shape for s in final] == [s.shape for s in state]
    assert all(np.isfinite(y.numpy()).all() for y in leaves_of(ys, final))
    assert len(cell.describe().splitlines()) == len(cell.program) + 2
