"""Compiled loops over sequences of different lengths: every cell of the table, tables that are used again, threads."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.testing.random_cells import random_cells

from ..recurrent.by_hand import some_steps
from .agreement import agree, leaves_of, run
from .corner_cells import BY_NAME, CASES
from .test_fuzz import compare, eager

each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@pytest.mark.sampled(16)
@each_case
def test_outputs_and_every_gradient(case):
    for (T, B, I, H), reverse in zip([(5, 4, 3, 5), (1, 7, 2, 8), (6, 9, 6, 6)], (False, True, True)):
        xs, state = case.sequences(T, B, I, H), case.states(B, I, H)
        steps = some_steps(T, B)
        for name in ("lengths", "all"):
            agree(case.cell(I, H), xs, state, reverse=reverse, **steps[name])


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["two_lstms", "variational_dropout", "several_inputs", "row_vectors"])
def test_every_kind_of_steps(name):
    case = BY_NAME[name]
    for T, B in ((1, 1), (4, 3), (7, 13)):
        for steps in some_steps(T, B).values():
            agree(case.cell(), case.sequences(T, B), case.states(B), **steps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_what_they_are_without_others(dtype):
    """To the last bit: the outputs of a row do not depend on where it lies."""
    case, T, B = BY_NAME["peephole_lstm"], 6, 11
    cell, x, state = case.cell(3, 5, dtype), case.sequences(T, B, dtype=dtype), case.states(B, dtype=dtype)
    lengths = np.random.default_rng(0).integers(0, T + 1, B)
    whole, _ = scan(cell, x, state, mode="compiled")
    ys, final = scan(cell, x, state, mode="compiled", lengths=lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(ys.numpy()[:n, b], whole.numpy()[:n, b])
        alone = scan(cell, x.numpy()[: max(n, 1), b : b + 1], leaves_rows(state, b), mode="compiled")[1]
        for mine, its, first in zip(leaves_of(final), leaves_of(alone), leaves_of(state)):
            np.testing.assert_array_equal(mine.numpy()[b], its.numpy()[0] if n else first.numpy()[b])


def leaves_rows(state, b):
    return tuple(s[b : b + 1].detach() for s in state)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.PeepholeLSTMCell])  # the second adds up over a few rows
@pytest.mark.parametrize("reverse", [False, True])
def test_threads_change_nothing(kind, reverse):
    cell = kind(24, 64)
    rng = np.random.default_rng(0)
    x = tr.tensor(rng.standard_normal((30, 40, 24)), dtype="float32", requires_grad=True)
    steps = {"lengths": rng.integers(0, 31, 40), "resets": rng.random((30, 40)) < 0.1}
    found = []
    before = tr.get_num_threads()
    try:
        for n in (1, 2, 3):
            tr.set_num_threads(n)
            found.append(run(cell, x, None, "compiled", reverse=reverse, **steps))
    finally:
        tr.set_num_threads(before)
    for results, grads in found[1:]:
        for a, b in zip([*results, *grads], [*found[0][0], *found[0][1]]):
            np.testing.assert_array_equal(a, b)


def test_batch_first():
    case, T, B = BY_NAME["mgu"], 5, 4
    cell, x = case.cell(), case.sequences(T, B)
    steps = some_steps(T, B)["all"]
    for reverse in (False, True):
        ys, h = scan(cell, x, mode="compiled", reverse=reverse, **steps)
        (gx,) = tr.grad((ys * ys).sum() + h.sum(), [x])
        swapped = tr.tensor(x.numpy().swapaxes(0, 1), requires_grad=True)
        turned = {k: v.T for k, v in steps.items()}
        zs, k = scan(cell, swapped, mode="compiled", reverse=reverse, batch_first=True, **turned)
        (gz,) = tr.grad((zs * zs).sum() + k.sum(), [swapped])
        np.testing.assert_array_equal(zs.numpy().swapaxes(0, 1), ys.numpy())
        np.testing.assert_array_equal(k.numpy(), h.numpy())
        np.testing.assert_allclose(gz.numpy().swapaxes(0, 1), gx.numpy(), rtol=1e-12, atol=1e-14)


def test_many_different_batches():
    """Tables are bound for sizes that are rounded up: they serve batches that are smaller."""
    case, rng = BY_NAME["two_lstms"], np.random.default_rng(0)
    cell = case.cell()
    for _ in range(12):
        T, B = int(rng.integers(1, 9)), int(rng.integers(1, 20))
        steps = {"lengths": rng.integers(0, T + 1, B)}
        if rng.random() < 0.5:
            steps["resets"] = rng.random((T, B)) < rng.random()
        agree(cell, case.sequences(T, B), case.states(B), **steps)


def test_a_second_backward_pass_finds_everything():
    case = BY_NAME["two_lstms"]
    cell, x, state = case.cell(), case.sequences(5, 4), case.states(4)
    ys, _ = scan(cell, x, state, mode="compiled", **some_steps(5, 4)["all"])
    first = tr.grad(ys.sum(), [x, *cell.parameters()], retain_graph=True)
    for a, b in zip(first, tr.grad(ys.sum(), [x, *cell.parameters()])):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def check_program(cell, reverse=False):
    T, B = [(3, 4), (1, 2), (5, 7)][cell.seed % 3]
    xs, state = cell.example_inputs(T, B), cell.example_state(B)
    options = some_steps(T, B, cell.seed)
    steps = options[list(options)[cell.seed % len(options)]]
    wanted = eager(cell, xs, state, reverse=reverse, **steps)
    compare(run(cell, xs, state, "compiled", reverse=reverse, **steps), wanted)


@pytest.mark.slow
@seed(1)  # these programs are compiled once, and then come from the disk: they are those of test_fuzz
@settings(max_examples=12, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(random_cells(max_instructions=8))
def test_random_programs(cell):
    check_program(cell)


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(random_cells(max_instructions=14), st.booleans())
def test_more_random_programs(cell, reverse):
    check_program(cell, reverse)
