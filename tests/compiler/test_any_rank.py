"""Values of any rank: eager, program and adjoint, compiled loop and finite differences agree."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.runtime.executable import Executable
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.testing import gradcheck
from tinygrad_rnn.testing.ranked_cells import random_ranked_cell

from .agreement import agree, leaves_of, loss_of, run
from .ranked_cells import RANKED, arguments
from .test_fuzz import compare
from .twin import run_twin

QUICK = ["broadcasts", "few_numbers_for_many", "heads", "moved", "stacks_of_matrices"]
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in RANKED]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", RANKED)
def test_programs_and_their_adjoints(name):
    cell, x, state = arguments(name, 3, 2)
    compare(run_twin(cell, x, state), run(cell, x, state, "eager"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", EACH)
def test_compiled(name):
    for time, batch in ((3, 2), (1, 1), (4, 7)):
        agree(*arguments(name, time, batch))


@pytest.mark.slow
@pytest.mark.parametrize("name", RANKED)
def test_differences(name):
    cell, x, state = arguments(name, 2, 2)
    results = lambda *_: loss_of(leaves_of(*scan(cell, x, state, mode="compiled")))
    gradcheck(results, leaves_of(x, state), atol=1e-5, rtol=1e-4, fast=True)


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", RANKED)
def test_in_float32(name):
    cell, x, state = arguments(name, 3, 5, np.float32)
    agree(cell, x, state)


RESETS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], bool)


@pytest.mark.parametrize(
    "how",
    [
        {"lengths": np.array([4, 0, 2])},
        {"lengths": np.array([4, 1, 2]), "resets": RESETS},
        {"reverse": True},
        {"checkpoint_every": 2},
    ],
    ids=lambda how: "-".join(how),
)
def test_ways_to_run(how):
    agree(*arguments("heads", 4, 3), **how)


@pytest.mark.slow
def test_batch_first_streams_functions_and_second_derivatives():
    cell, x, _ = arguments("heads", 4, 2)
    compiled, eager = (nn.Recurrent(cell, mode=mode) for mode in ("compiled", "eager"))
    wanted, final = eager(x)
    step = compiled.stepper(2, example=x.data[0])
    for t in range(4):
        np.testing.assert_allclose(step(x.data[t]), wanted.numpy()[t], atol=1e-14)
    y, last = nn.Recurrent(cell, mode="compiled", batch_first=True)(x.swapaxes(0, 1))
    np.testing.assert_allclose(y.numpy(), wanted.numpy().swapaxes(0, 1), atol=1e-14)
    assert [s.shape for s in last] == [s.shape for s in final]
    np.testing.assert_allclose(tr.compile(lambda v: compiled(v)[0])(x).numpy(), wanted.numpy(), atol=1e-14)
    found = []
    for layer in (compiled, eager):
        y, _ = layer(x)
        (g,) = tr.grad((y * y).sum(), [x], create_graph=True)
        found.append(tr.grad((g * g).sum(), [x])[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert "expand" in str(compiled.explain(x))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", [*QUICK, "joined", "one_matrix_for_many_rows"])
def test_padding_is_never_read(name, monkeypatch):
    """What lies behind rows and axes in the arena is NaN at first, and no result is."""
    make = Executable.__init__

    def made(self, *given):
        make(self, *given)
        self._small = lambda size: np.full(size, np.nan, self.dtype)

    monkeypatch.setattr(Executable, "__init__", made)
    compare(run(*arguments(name, 3, 2), "compiled"), run(*arguments(name, 3, 2), "eager"))


def test_masks_inside_of_a_step_are_drawn_alike():
    class Dropping(nn.Cell):
        def __init__(self):
            self.drop = nn.Dropout(0.5)
            self.w = nn.Parameter(np.ones(3))

        def initial_state(self, batch_size):
            return tr.zeros((batch_size, 2, 3), np.float64)

        def step(self, x, h):
            h = self.drop(x * self.w) + 0.5 * h
            return h, h

    _, x, _ = arguments("elementwise", 4, 3)
    x = x[:, :, :2, :3]
    found = []
    for mode in ("compiled", "eager"):
        tr.seed(3)
        found.append(nn.Recurrent(Dropping(), mode=mode)(x)[0].numpy())
    np.testing.assert_array_equal(*found)


# ---- random programs


def check_random(seed, results):
    cell = random_ranked_cell(np.random.default_rng(seed))
    time, batch = ((3, 2), (1, 1), (2, 5))[seed % 3]
    xs, state = cell.example_input(time, batch), cell.example_state(batch)
    with np.errstate(all="ignore"):
        wanted = run(cell, xs, state, "eager")
    if all(np.isfinite(a).all() for a in (*wanted[0], *(g for g in wanted[1] if g is not None))):
        compare(results(cell, xs, state), wanted)
    return cell, xs, state


@pytest.mark.slow
def test_random_programs_and_their_adjoints():
    for seed in range(60):
        check_random(seed, run_twin)


@pytest.mark.exhaustive
def test_many_random_programs_and_their_adjoints():
    for seed in range(60, 400):
        check_random(seed, run_twin)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))])
def test_random_compiled_programs(seed):
    cell, xs, state = check_random(seed, lambda *given: run(*given, "compiled"))
    if cell.smooth:
        results = lambda *_: loss_of(leaves_of(*scan(cell, xs, state, mode="compiled")))
        gradcheck(results, leaves_of(xs, state), atol=1e-5, rtol=1e-4, fast=True)


class Begun(nn.Cell):
    """Multiplies by tensors with a row for each batch row, which `begin_sequence` makes."""

    def __init__(self):
        self.w = nn.Parameter(np.linspace(0.5, 1.5, 6).reshape(2, 3))

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 2, 3), np.float64)

    def begin_sequence(self, batch_size):
        rng = np.random.default_rng(3)
        self.whole = tr.tensor(rng.uniform(0, 1, (batch_size, 2, 3)), requires_grad=True)
        self.part = tr.tensor(rng.uniform(0, 1, (batch_size, 2, 1)), requires_grad=True)
        self.number = tr.tensor(rng.uniform(0, 1, (batch_size, 1, 1)), requires_grad=True)

    def step(self, x, h):
        h = tr.tanh(x * self.whole + h * self.part * self.w + self.number)
        return h, h


@pytest.mark.parametrize("how", [{}, {"lengths": np.array([4, 1, 3])}], ids=["all", "lengths"])
def test_constants_of_a_sequence(how):
    x = tr.tensor(np.random.default_rng(0).uniform(-1, 1, (4, 3, 2, 3)), requires_grad=True)
    agree(Begun(), x, None, **how)


def test_rearranged_values_keep_the_signs_of_zeros():
    cell, x, state = arguments("signs_of_zeros", 3, 2)
    x, state = tr.tensor(-0.0 * np.abs(x.numpy())), [tr.tensor(-0.0 * np.abs(state[0].numpy()))]
    wanted, found = (leaves_of(scan(cell, x, state, mode=mode)) for mode in ("eager", "compiled"))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.signbit(a.numpy()), np.signbit(b.numpy()))


class Remembering(nn.Cell):
    """A step that attends to a memory, which each row has its own of, the same at all steps."""

    hidden_size = input_size = 3

    def __init__(self, memory):
        self.memory, self.w = memory, nn.Parameter(np.random.default_rng(0).normal(size=(3, 3)))

    def begin_sequence(self, batch_size):
        self.seen = tr.take(self.memory, np.arange(batch_size) % len(self.memory), axis=0) @ self.w

    def step(self, x, h):
        scores = (self.seen @ h[:, :, None])[:, :, 0]
        found = tr.einsum("bt,btk,bk->bk", tr.softmax(scores), self.seen, 1 + x)
        h = tr.tanh(h @ self.w + found + tr.einsum("btk,kn->btn", self.seen, self.w).sum(axis=1))
        return h, h


@pytest.mark.slow
def test_products_with_what_each_row_has_of_its_own():
    memory = tr.tensor(np.random.default_rng(1).normal(size=(4, 5, 3)), requires_grad=True)
    x = tr.tensor(np.random.default_rng(2).normal(size=(6, 4, 3)), requires_grad=True)
    agree(Remembering(memory), x, None)
    agree(Remembering(memory), x, None, lengths=[6, 0, 2, 3])
    agree(Remembering(memory), x[:, :1].detach(), None)
