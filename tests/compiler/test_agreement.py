"""Every cell of the table: the compiled loop gives what the tape gives, outputs and every gradient."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.codegen import module_cache
from tinygrad_rnn.testing import gradcheck

from .agreement import agree, leaves_of, loss_of
from .corner_cells import BY_NAME, CASES

# T, B, I, H: one step, one row, more rows than a tile, widths that are no multiple of the lanes
SIZES = [(1, 1, 3, 5), (2, 7, 2, 8), (3, 2, 11, 17), (1, 13, 6, 6)]
SINGLE = ["peephole_lstm", "odd_slices", "indrnn"]  # with one feature in and one hidden unit
FEW = ["peephole_lstm", "row_statistics", "masked_counter", "activations", "powers", "softmax_inside"]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def some(names):
    """A fast selection of the table; the others are slow."""
    marks = [() if case.name in names else pytest.mark.slow for case in CASES]
    return pytest.mark.parametrize("case", [pytest.param(c, marks=m, id=c.name) for c, m in zip(CASES, marks)])


@pytest.mark.sampled(30)
@each_case
def test_outputs_and_every_gradient(case):
    cells = [case.cell()]  # code goes with the last cell that has it
    agree(cells[0], case.sequences(4, 3), case.states(3))
    files = set(module_cache._loaded)
    for T, B, I, H in SIZES:
        cells.append(case.cell(I, H))
        agree(cells[-1], case.sequences(T, B, I, H), case.states(B, I, H))
    assert set(module_cache._loaded) <= files, "other sizes are the same program"


@pytest.mark.sampled(4)
@some(SINGLE)
def test_one_feature(case):
    for I, H in ((1, 1), (1, 3), (3, 1)):
        if H == 1 and case.name in ("odd_slices", "columns_of_operands", "row_statistics"):
            continue  # their slices would be empty; its standard deviation has no slope
        for T, B in ((3, 2), (1, 1)):
            agree(case.cell(I, H), case.sequences(T, B, I, H), case.states(B, I, H))


@pytest.mark.sampled(6)
@some(FEW)
def test_float32(case):
    sizes = (9, 17)
    cell = case.cell(*sizes, "float32")
    agree(cell, case.sequences(4, 7, *sizes, "float32"), case.states(7, *sizes, "float32"), tol=2e-5)


@pytest.mark.sampled(15)
@each_case
def test_finite_differences(case):
    cell, xs, state = case.cell(), case.sequences(3, 2), case.states(2)
    if case.name in ("rounding", "detached"):
        pytest.skip("its gradient is not the slope")
    results = lambda *_: loss_of(leaves_of(*_run(cell, xs, state)))
    wanted = [t for t in leaves_of(xs, state) if t.requires_grad] + list(cell.parameters())
    used = [t for t, g in zip(wanted, tr.grad(results(), wanted, allow_unused=True)) if g is not None]
    if used:
        gradcheck(results, used, atol=1e-6, rtol=1e-5, fast=True)


def _run(cell, xs, state):
    tr.seed(0)
    return nn.Recurrent(cell, mode="compiled")(xs, state)


@pytest.mark.sampled(2)
@some(["peephole_lstm", "several_inputs", "delayed"])
def test_reverse_in_time(case):
    agree(case.cell(), case.sequences(5, 3), case.states(3), reverse=True)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["peephole_lstm", "two_lstms", "mgu"])
def test_long_sequences(name):
    """Rounding errors may grow over time, but not much: gates keep values tame."""
    case = BY_NAME[name]
    agree(case.cell(), case.sequences(400, 2), case.states(2), tol=1e-9)


def test_an_input_without_features():
    """A sequence of nothing gives the number of steps."""
    case = BY_NAME["no_input_use"]
    xs = tr.tensor(np.zeros((4, 3, 0)))
    agree(case.cell(0), xs, case.states(3))
