"""What compiled layers promise beside their numbers: threads, padding, second derivatives, refusals, streams."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.compile import threads
from tinygrad_rnn.compile.pool import Pool
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import nest, scan

from .agreement import agree, leaves_of
from .cells import BY_NAME


@pytest.mark.parametrize("name", ["peephole_lstm", "layernorm_lstm", "two_lstms"])
def test_threads_change_nothing(name, monkeypatch):
    monkeypatch.setattr(threads, "WORTH", 1)
    case = BY_NAME[name]
    cell, xs, state = case.cell(), case.sequences(4, 7), case.states(7)
    before, results = tr.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            tr.set_num_threads(n)
            ys, final = scan(cell, xs, state, mode="compiled")
            loss = sum((y * y).sum() for y in leaves_of(ys, final))
            grads = tr.grad(loss, [*leaves_of(xs, state), *cell.parameters()])
            results.append([a.numpy().copy() for a in (*leaves_of(ys, final), *grads)])
    finally:
        tr.set_num_threads(before)
    for others in results[1:]:
        for a, b in zip(results[0], others):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["mgu", "odd_slices"])
def test_padding_never_leaks(name, monkeypatch):
    """Memory that nobody wrote to holds NaN."""
    monkeypatch.setattr(Pool, "empty", lambda self, size: np.full(size, np.nan, self.dtype))
    case = BY_NAME[name]
    agree(case.cell(), case.sequences(4, 3), case.states(3))


@pytest.mark.parametrize("name", ["mgu", "layernorm_lstm", "several_outputs"])
def test_second_derivatives(name):
    case = BY_NAME[name]
    results = []
    for mode in ("eager", "compiled"):
        cell, xs, state = case.cell(), case.sequences(3, 2), case.states(2)
        ys, final = scan(cell, xs, state, mode=mode)
        wanted = [*leaves_of(xs), *cell.parameters()]
        loss = sum((y * y * y).sum() for y in leaves_of(ys, final))
        first = tr.grad(loss, wanted, create_graph=True)
        second = tr.grad(sum((g * g).sum() for g in first), wanted)
        results.append([g.numpy() for g in (*first, *second)])
    for eager, compiled in zip(*results):
        np.testing.assert_allclose(compiled, eager, rtol=1e-9, atol=1e-11)


def test_nan_flows_as_on_the_tape():
    case = BY_NAME["mgu"]
    cell, xs, state = case.cell(), case.sequences(3, 2), case.states(2)
    for x in leaves_of(xs):
        x.data[1, 0, 0] = np.nan
    eager, compiled = (leaves_of(*scan(cell, xs, state, mode=m)) for m in ("eager", "compiled"))
    for a, b in zip(eager, compiled):
        np.testing.assert_array_equal(np.isnan(a.numpy()), np.isnan(b.numpy()))


def _refused(step, words):
    class Cell(tr.nn.Cell):
        input_size, hidden_size = 3, 3

        def __init__(self):
            self.w = tr.nn.Parameter(np.eye(3, dtype=np.float32))

    Cell.step = step
    cell, x = Cell(), np.zeros((2, 2, 3), np.float32)
    with pytest.raises(CompileError, match=words) as error:
        scan(cell, x, mode="compiled")
    assert __file__ in str(error.value)
    with pytest.warns(RuntimeWarning, match="Cell runs eagerly"):
        scan(cell, x)
    scan(cell, x)  # told once
    return str(error.value)


def test_branch_on_a_value_is_refused():
    def step(self, x, h):
        h = tr.tanh(x @ self.w + h)
        return (h, h) if (h[:, 0] > 0) is not None and h.max() > 0.5 else (x, h)

    def branch(self, x, h):
        h = tr.tanh(x @ self.w + h)
        return (h, h) if bool(h[:, 0]) else (x, h)

    with pytest.raises(CompileError):
        scan(_cell(step), np.zeros((2, 1, 3), np.float32), mode="compiled")
    with pytest.raises(CompileError, match="where"):
        scan(_cell(branch), np.zeros((2, 1, 3), np.float32), mode="compiled")


def _cell(step):
    kind = type("Cell", (tr.nn.Cell,), {"input_size": 3, "hidden_size": 3, "step": step})
    cell = kind()
    cell.w = tr.nn.Parameter(np.eye(3, dtype=np.float32))
    return cell


def test_operation_without_lowering_is_named():
    def step(self, x, h):
        h = tr.cumsum(x @ self.w + h, axis=1)
        return h, h

    assert "cumsum" in _refused(step, "cumsum")


def test_settings_are_never_frozen():
    def step(self, x, h):
        h = h + self.scale * x
        return h, h

    cell = _cell(step)
    x = np.ones((2, 1, 3), np.float32)
    for scale in (2.0, 0.3, 2.0):
        cell.scale = scale
        ys, _ = scan(cell, x, mode="compiled")
        np.testing.assert_allclose(ys.numpy()[-1], 2 * scale, rtol=1e-6)


def test_replaced_parameters_are_read():
    def step(self, x, h):
        h = h + x @ self.w
        return h, h

    cell, x = _cell(step), np.ones((1, 1, 3), np.float32)
    scan(cell, x, mode="compiled")
    cell.w = tr.nn.Parameter(2 * np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(scan(cell, x, mode="compiled")[0].numpy(), 2)
    with tr.no_grad():
        cell.w.copy_(3 * np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(scan(cell, x, mode="compiled")[0].numpy(), 3)


@pytest.mark.parametrize("name", ["peephole_lstm", "delayed", "several_inputs"])
def test_stepper_equals_the_loop(name):
    from tinygrad_rnn.recurrent.stepper import Stepper

    case = BY_NAME[name]
    cell, xs = case.cell(), case.sequences(5, 2, requires_grad=False)
    with tr.no_grad():
        ys, final = scan(cell, xs, mode="compiled")
    example = nest.map(lambda x: x[0], xs)
    step = Stepper([cell], 2, example, mode="compiled")
    for t in range(5):
        y = step(nest.map(lambda x, t=t: x[t], xs))
        for a, b in zip(leaves_of(y), leaves_of(ys)):
            np.testing.assert_array_equal(a.numpy(), b.numpy()[t])
    for a, b in zip(leaves_of(step.state), leaves_of(final)):
        np.testing.assert_array_equal(a, b.numpy())
