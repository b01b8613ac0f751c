"""Rows of a parameter by numbers that vary in time: read where they lie, their gradients added to rows in order."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import compiler, nn
from tinygrad_rnn.compiler.runtime.epilogue import Epilogue
from tinygrad_rnn.compiler.runtime.executable import Executable
from tinygrad_rnn.errors import CompileError

from . import twin
from .agreement import agree, close, run

V, E = 11, 5


class Reader(nn.Cell):
    """A step that looks rows up, and adds them to its state."""

    hidden_size = E

    def __init__(self, look_up, rows=V, width=E, padding=None, dtype="float64"):
        rng = np.random.default_rng(0)
        self.look_up = look_up
        self.table = nn.Embedding(rows, width, padding_idx=padding, dtype=dtype)
        self.table.weight.data[...] = rng.normal(size=(rows, width))
        self.w = nn.Parameter(rng.normal(size=(width, E)).astype(dtype))

    def step(self, x, h):
        h = tr.tanh(self.look_up(self, x, h) @ self.w + 0.5 * h)
        return h, h


def own(h):
    return tr.argmax(h, axis=-1)


LOOK_UPS = {
    "an input": lambda c, x, h: c.table(x[:, 0]),
    "several": lambda c, x, h: c.table(x).sum(axis=1),
    "two of them": lambda c, x, h: c.table(x[:, 0]) * c.table(x[:, 1]),
    "the same twice": lambda c, x, h: c.table(x[:, 0]) * c.table(x[:, 0]),
    "its own": lambda c, x, h: c.table(own(h)),
    "joined": lambda c, x, h: c.table(tr.concat([x[:, 1:], own(h)[:, None]], axis=1)).mean(axis=1),
    "a matrix, too": lambda c, x, h: c.table(x[:, 0]) + tr.softmax(h @ c.table.weight.T) @ c.table.weight,
    "a table of which a row is added": lambda c, x, h: (
        c.table(x[:, 0]) + c.table.weight[2] + c.table.weight.sum(axis=0)
    ),
    "a part": lambda c, x, h: tr.embedding(c.table.weight[2:9], x[:, 0] % 7),
    "a product": lambda c, x, h: tr.embedding(c.table.weight * 2.0, x[:, 0]),
    "beside features in another order": lambda c, x, h: c.table(x[:, 0]) * h[:, [3, 0, 0, 4, 2]],
    "from the end": lambda c, x, h: tr.take(c.table.weight, x[:, 0] - V, axis=0),
}


def numbers(T=6, B=4, n=3, rows=V):
    return tr.tensor(np.random.default_rng(1).integers(0, rows, (T, B, n)))


@pytest.mark.sampled(8)
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("name", LOOK_UPS)
def test_gradients_are_those_of_the_tape(name, padding):
    if padding is not None and name in ("a part", "a product", "from the end"):
        return
    cell = Reader(LOOK_UPS[name], padding=padding)
    _, grads = agree(cell, numbers(), None)
    agree(cell, numbers(), None, lengths=[6, 0, 1, 3])
    _, others = twin.run_twin(cell, numbers(), cell.initial_state(4))
    for a, b in zip(grads, others[-len(grads) :], strict=True):
        close(a, b, 1e-12)
    if name == "an input" and padding is not None:
        assert not grads[-1][padding].any()


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("T", "B", "rows", "width"), [(1, 1, 1, 1), (5, 1, 1, 3), (1, 3, 4, 1), (3, 2, 2, 17)])
def test_small_tables(T, B, rows, width):
    agree(Reader(LOOK_UPS["several"], rows, width), numbers(T, B, 1, rows), None)
    agree(Reader(LOOK_UPS["several"], rows, width, dtype="float32"), numbers(T, B, 2, rows), None)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", ["several", "two of them", "a matrix, too"])
def test_the_same_bits_for_any_number_of_threads(shared, name):
    cell, xs = Reader(LOOK_UPS[name], 200, E if "matrix" in name else 37, dtype="float32"), numbers(9, 7, 3, 200)
    tr.set_num_threads(1)
    wanted = run(cell, xs, None, "compiled")
    for n in (2, 3, 8):
        tr.set_num_threads(n)
        for found, other in zip(run(cell, xs, None, "compiled"), wanted, strict=True):
            for a, b in zip(found, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_cost_is_that_of_the_rows_read():
    """Nothing in the loops, and no product after them, is as large as the table."""
    rows = 5003
    cell = Reader(LOOK_UPS["several"], rows, 3)
    found, tensors, adj = twin.program(cell, numbers(rows=rows), cell.initial_state(4))
    wanted = {s.uid for s, tensor in zip(found.bases, tensors) if tensor.requires_grad}
    executable = Executable(compiler.Plan(found.traced, (False,), wanted), "cell")
    forward, reverse, epilogue = executable.training
    assert isinstance(epilogue, Epilogue)
    assert [s.table.shape for s in adj.scatters] == [(rows, 3)]
    assert all(p.w.shape[0] < rows for p in adj.products)
    for layout in (forward, reverse):
        assert layout.packing.size < rows
        assert all(s.width < rows for s in layout.schedule.live.values())


def test_an_index_out_of_range_names_row_and_step():
    xs = numbers()
    xs.data[4, 2, 1] = V
    for mode in ("compiled", "auto"):
        with pytest.raises(IndexError, match=r"row 2 .*step 4|step 4.*row 2"):
            run(Reader(LOOK_UPS["several"]), xs, None, mode)


def test_a_table_without_rows_is_refused():
    cell = Reader(LOOK_UPS["an input"])
    cell.table.weight = nn.Parameter(np.zeros((0, E)))
    with pytest.raises((CompileError, IndexError)):
        run(cell, numbers(), None, "compiled")


def test_a_parameter_that_changes_is_read_anew():
    """It is read where it lies: neither later calls nor a stream keep a copy."""
    cell = Reader(LOOK_UPS["several"])
    layer, xs = nn.Recurrent(cell, mode="compiled"), numbers(1)
    stepper = layer.stepper(4, example=xs.numpy()[0])
    for change in (lambda w: w, lambda w: w * 2, lambda w: w + 1):
        cell.table.weight.data[...] = change(cell.table.weight.data)
        y, _ = nn.Recurrent(cell, mode="eager")(xs)
        np.testing.assert_allclose(layer(xs)[0].numpy(), y.numpy(), rtol=1e-12)
        stepper.reset()
        np.testing.assert_allclose(stepper(xs.numpy()[0]), y.numpy()[0], rtol=1e-12)
    cell.table.weight = nn.Parameter(np.random.default_rng(5).normal(size=(V, E)))
    y, _ = nn.Recurrent(cell, mode="eager")(xs)
    stepper.reset()
    np.testing.assert_allclose(stepper(xs.numpy()[0]), y.numpy()[0], rtol=1e-12)
    np.testing.assert_allclose(layer(xs)[0].numpy(), y.numpy(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_a_step_of_a_stream_that_fails_changes_no_state(mode):
    cell, xs = Reader(LOOK_UPS["several"]), numbers().numpy()
    stepper = nn.Recurrent(cell, mode=mode).stepper(4, example=xs[0])
    stepper(xs[0])
    before = np.array(stepper.state).copy()
    with pytest.raises(IndexError):
        stepper(xs[1] + V)
    np.testing.assert_array_equal(np.array(stepper.state), before)
    wanted, _ = nn.Recurrent(cell, mode="eager")(xs[:2])
    np.testing.assert_allclose(stepper(xs[1]), wanted.numpy()[1], rtol=1e-12)


class Gated(nn.Cell):
    """A diagonal recurrence of what it looks up, at whose output it looks up again."""

    hidden_size = 3

    def __init__(self):
        rng = np.random.default_rng(0)
        self.table = nn.Embedding(4, 3, padding_idx=1, dtype="float64")
        self.table.weight.data[...] = rng.normal(size=(4, 3))
        self.decay = nn.Parameter(rng.normal(size=3))

    def step(self, x, h):
        h = tr.tanh(self.table(x) + h * self.decay)
        return h * self.table((x + 1) % 4), h


def test_gradients_forward_in_time():
    cell, xs = Gated(), np.random.default_rng(0).integers(0, 4, (5, 2))
    with pytest.warns(RuntimeWarning, match="RTRL: Gated runs eagerly: steps with integers or look-ups"):
        rtrl = nn.RTRL(cell, 2, example=xs[0])
    found = [np.zeros(p.shape) for p in cell.parameters()]
    for x in xs:
        y = rtrl.step(x)
        rtrl.accumulate(2 * y)
    found = [p.grad.numpy().copy() for p in cell.parameters()]
    y, _ = nn.Recurrent(cell, mode="eager")(xs)
    for a, p in zip(found, tr.grad((y**2).sum(), [*cell.parameters()]), strict=True):
        np.testing.assert_allclose(a, p.numpy(), rtol=1e-10)
