"""Gradients through compiled loops, as the tape gives them: what needs them, what uses them, how often."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import GraphError
from tinygrad_rnn.recurrent import scan

from .agreement import agree, close, leaves_of, loss_of
from .corner_cells import BY_NAME

LSTM = BY_NAME["peephole_lstm"]


@pytest.mark.parametrize("frozen", [["w"], ["u", "p_i"], ["w", "u", "b", "p_i", "p_f", "p_o"]], ids="-".join)
def test_frozen_parameters(frozen):
    cell = LSTM.cell()
    for name in frozen:
        getattr(cell, name).requires_grad = False
    agree(cell, LSTM.sequences(4, 3), LSTM.states(3))


@pytest.mark.parametrize("needs", [(False, False), (True, False), (False, True)])
def test_inputs_and_states_without_gradients(needs):
    xs, state = (make(requires_grad=need) for make, need in zip((_xs, _state), needs))
    agree(LSTM.cell(), xs, state)


def _xs(requires_grad):
    return LSTM.sequences(4, 3, requires_grad=requires_grad)


def _state(requires_grad):
    return LSTM.states(3, requires_grad=requires_grad)


def test_one_of_several_inputs_needs_a_gradient():
    case = BY_NAME["several_inputs"]
    xs = case.sequences(4, 3)
    xs["b"][0].requires_grad = False
    agree(case.cell(), xs, case.states(3))


@pytest.mark.parametrize("pick", [[0], [1], [2], [0, 2]], ids=str)
def test_some_results_are_not_used(pick):
    """Of outputs and final states, the loss reads a few."""
    agree(LSTM.cell(), LSTM.sequences(4, 3), LSTM.states(3), pick=pick)


@pytest.mark.parametrize("pick", [[1], [3, 4]], ids=str)
def test_some_of_several_outputs_are_not_used(pick):
    case = BY_NAME["several_outputs"]
    agree(case.cell(), case.sequences(4, 3), case.states(3), pick=pick)


def test_without_gradients_nothing_is_recorded():
    cell, xs, state = LSTM.cell(), LSTM.sequences(4, 3), LSTM.states(3)
    with tr.no_grad():
        ys, final = scan(cell, xs, state, mode="compiled")
        wanted, _ = scan(cell, xs, state, mode="eager")
    assert not any(t.requires_grad for t in leaves_of(ys, final))
    close(ys.numpy(), wanted.numpy(), 1e-12)


def test_inference_equals_training():
    """The loop that saves nothing gives the very same bits."""
    cell, xs, state = LSTM.cell(), LSTM.sequences(4, 3), LSTM.states(3)
    trained = leaves_of(*scan(cell, xs, state, mode="compiled"))
    with tr.no_grad():
        plain = leaves_of(*scan(cell, xs, state, mode="compiled"))
    for a, b in zip(trained, plain):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_backward_twice():
    cell, xs, state = LSTM.cell(), LSTM.sequences(4, 3), LSTM.states(3)
    loss = loss_of(leaves_of(*scan(cell, xs, state, mode="compiled")))
    loss.backward(retain_graph=True)
    once = [p.grad.numpy().copy() for p in cell.parameters()]
    loss.backward()
    for p, g in zip(cell.parameters(), once):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g, rtol=1e-14)
    with pytest.raises(GraphError):
        loss.backward()


def test_two_losses_over_one_loop():
    """Backward runs once for each loss, on the same saved values."""
    cell, xs, state = LSTM.cell(), LSTM.sequences(4, 3), LSTM.states(3)
    ys, (h, c) = scan(cell, xs, state, mode="compiled")
    parts = [tr.grad(r.sum(), [cell.w], retain_graph=True)[0].numpy() for r in (ys, h, c)]
    (whole,) = tr.grad(ys.sum() + h.sum() + c.sum(), [cell.w])
    np.testing.assert_allclose(sum(parts), whole.numpy(), rtol=1e-12)


def test_chunks_equal_the_whole():
    cell, xs, state = LSTM.cell(), LSTM.sequences(6, 3), LSTM.states(3)
    whole, final = scan(cell, xs, state, mode="compiled")
    first, middle = scan(cell, xs[:2], state, mode="compiled")
    second, last = scan(cell, xs[2:], middle, mode="compiled")
    np.testing.assert_array_equal(tr.concat([first, second]).numpy(), whole.numpy())
    grads = [tr.grad(loss_of([*leaves_of(s)]), [xs, cell.u, *leaves_of(state)]) for s in (final, last)]
    for a, b in zip(*grads):
        close(a.numpy(), b.numpy(), 1e-12)


def test_one_cell_in_two_layers():
    """A cell used twice gets both gradients."""
    cell, results = BY_NAME["ugrnn"].cell(5, 5), []
    xs = BY_NAME["ugrnn"].sequences(4, 3, 5, 5)
    for mode in ("compiled", "eager"):
        ys, _ = scan(cell, xs, mode=mode)
        ys, _ = scan(cell, ys, mode=mode)
        results.append([g.numpy() for g in tr.grad((ys * ys).sum(), [xs, *cell.parameters()])])
    for a, b in zip(*results):
        close(a, b, 1e-12)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["peephole_lstm", "row_statistics", "odd_slices", "variational_dropout"])
def test_second_derivatives(name):
    case, results = BY_NAME[name], []
    for mode in ("compiled", "eager"):
        tr.seed(0)
        cell, xs, state = case.cell(), case.sequences(3, 2), case.states(2)
        loss = loss_of([t * t for t in leaves_of(*scan(cell, xs, state, mode=mode))])
        wanted = [*leaves_of(xs, state), *cell.parameters()]
        first = tr.grad(loss, wanted, create_graph=True, allow_unused=True)
        second = tr.grad(loss_of([g * g for g in first if g is not None]), wanted, allow_unused=True)
        results.append([None if g is None else g.numpy() for g in (*first, *second)])
    for a, b in zip(*results):
        close(a, b, 1e-10)


class InOrder(nn.Cell):
    """Compares elements with each other, which takes masks that are constants."""

    input_size = hidden_size = 3

    def __init__(self):
        self.w = nn.Parameter(np.random.default_rng(0).normal(size=(3, 3)))

    def step(self, x, h):
        h = tr.tanh(tr.cumprod(tr.sigmoid(x @ self.w + h), -1) * tr.median(x * self.w[0], axis=-1, keepdims=True))
        return h, h


def test_second_derivatives_beside_masks_that_are_constants():
    results = []
    for mode in ("compiled", "eager"):
        cell, x = InOrder(), tr.tensor(np.random.default_rng(1).normal(size=(3, 2, 3)), requires_grad=True)
        ys, _ = scan(cell, x, mode=mode)
        first = tr.grad((ys * ys).sum(), [x, cell.w], create_graph=True)
        second = tr.grad(sum((g * g).sum() for g in first), [x, cell.w])
        results.append([g.numpy() for g in (*first, *second)])
    for a, b in zip(*results):
        close(a, b, 1e-10)


def test_a_matrix_that_is_read_as_it_is_and_computed_with():
    """What the loop reads of it goes two ways, and no derivative counts one of them twice."""

    class Antisymmetric(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 3
            self.w = nn.Parameter(np.random.default_rng(0).uniform(-1, 1, (3, 3)))

        def step(self, x, h):
            h = tr.tanh(x @ self.w + h @ (self.w - 2 * self.w.T))
            return h, h

    cell, xs, results = Antisymmetric(), LSTM.sequences(4, 2), []
    for mode in ("compiled", "eager"):
        ys, _ = scan(cell, xs, mode=mode)
        (first,) = tr.grad((ys * ys).sum(), [cell.w], create_graph=True)
        (second,) = tr.grad((first * first).sum(), [cell.w])
        results.append((first.numpy(), second.numpy()))
    for a, b in zip(*results):
        close(a, b, 1e-12)


class SlicedExponential(nn.Cell):
    """Its gradient takes a sum over features, and of what is made of it only one feature."""

    def __init__(self, size, dtype):
        self.input_size = self.hidden_size = size
        self.share = nn.Parameter(np.full(size, 1 / 9, dtype))

    def step(self, x, h):
        e = tr.exp(h)
        return e[:, 1:2] + 0 * x[:, :1], tr.sum(e, axis=-1, keepdims=True) * self.share


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [2, 3, 17])
def test_a_sum_of_which_one_lane_is_used(size, dtype):
    rng = np.random.default_rng(0)
    xs = tr.tensor(rng.standard_normal((3, 2, size)).astype(dtype), requires_grad=True)
    h = tr.tensor(rng.uniform(-1, 0, (2, size)).astype(dtype), requires_grad=True)
    agree(SlicedExponential(size, dtype), xs, h)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("how", [{}, {"lengths": [4, 2]}])
def test_loops_of_one_program_for_different_gradients(first, how):
    """What the derivative of one loop has computed, such as an exponent less one, the next cannot have saved."""
    case = BY_NAME["powers"]
    cell = case.cell()
    for requires_grad in (first, not first):
        agree(cell, case.sequences(4, 2, requires_grad=requires_grad), case.states(2), **how)


def test_gradients_of_constants_of_the_sequence():
    """A tensor that begin_sequence draws may need a gradient too; `agree` compares it."""
    case = BY_NAME["variational_dropout"]
    _, grads = agree(case.cell(), case.sequences(4, 3), case.states(3))
    assert np.abs(grads[-1]).max() > 0


def test_parameters_changed_before_backward_are_noticed():
    """Saved weights that were written to in between are an error, as on the tape."""
    errors = []
    for mode in ("compiled", "eager"):
        cell, xs = LSTM.cell(), LSTM.sequences(4, 3)
        loss = loss_of(leaves_of(*scan(cell, xs, mode=mode)))
        with tr.no_grad():
            cell.u.fill_(0.0)
        with pytest.raises(GraphError) as error:
            loss.backward()
        errors.append(error.type)
    assert errors[0] is errors[1]


def test_training_goes_down():
    """A few steps of an optimiser through a compiled layer and what comes before and after it."""
    rng = np.random.default_rng(0)
    before, layer = nn.Linear(2, 3, dtype="float64"), nn.Recurrent(BY_NAME["mgu"].cell(), mode="compiled")
    x, target = rng.standard_normal((5, 4, 2)), rng.uniform(-0.5, 0.5, (5, 4, 5))
    parameters = [*before.parameters(), *layer.parameters()]
    losses = []
    for _ in range(30):
        ys, _ = layer(before(tr.tensor(x)))
        loss = nn.mse_loss(ys, tr.tensor(target))
        grads = tr.grad(loss, parameters)
        with tr.no_grad():
            for p, g in zip(parameters, grads):
                p.copy_(p.data - 0.5 * g.numpy())
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
