"""Programs of whole functions: what they compute, and their gradients, are those of the tape."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.model.interpret import evaluate
from tinygrad_rnn.errors import CompileError

from .programs import numbers, program_of


def agree(function, *arrays):
    program, parameters = program_of(function, *arrays)
    tr.seed(3)
    value, *grads = evaluate(program, arrays, {uid: t.data for uid, t in program.captured.items()})
    tr.seed(3)
    loss = function(*map(tr.tensor, arrays))
    loss.backward()
    np.testing.assert_allclose(value, loss.data, rtol=1e-12)
    assert parameters
    for p, g in zip(parameters, grads):
        np.testing.assert_allclose(g, p.grad.data, rtol=1e-10, atol=1e-12)


@pytest.fixture(autouse=True)
def double():
    tr.seed(0)
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_layer_with_a_head_and_a_loss(layer, batch_first):
    rnn, head = layer(3, 4, num_layers=2, bidirectional=True, batch_first=batch_first), nn.Linear(8, 2)
    agree(lambda x, t: nn.mse_loss(head(rnn(x)[0]), t), numbers(5, 4, 3), numbers(5, 4, 2, seed=1))


def test_random_masks_are_drawn_in_the_order_of_the_tape():
    rnn, drop, head = nn.GRU(3, 4, num_layers=2, dropout=0.5), nn.Dropout(0.3), nn.Linear(4, 2)
    agree(lambda x: (drop(head(drop(rnn(x)[0]))) ** 2).sum(), numbers(5, 4, 3))


def test_a_feed_forward_model_with_normalisation():
    norm, first, last = nn.LayerNorm(6), nn.Linear(3, 6), nn.Linear(6, 1)
    agree(lambda x, t: nn.mse_loss(last(tr.tanh(norm(first(x)))), t), numbers(7, 3), numbers(7, 1, seed=1))


def test_the_state_that_a_layer_learns_gets_its_gradient():
    rnn = nn.LSTM(2, 3, learn_initial_state=True)
    agree(lambda x: (rnn(x)[1][0] ** 2).sum(), numbers(4, 5, 2))


def test_what_a_cell_draws_once_for_a_sequence_is_drawn_at_each_call():
    cell = nn.Zoneout(nn.VariationalDropout(nn.WeightDrop(nn.LSTMCell(3, 4), 0.4), 0.3, 0.2), 0.2)
    layer = nn.Recurrent(cell)
    agree(lambda x: (layer(x)[0] ** 2).sum(), numbers(5, 4, 3))


@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
def test_classes_are_checked_before_each_run(loss):
    head, targets = nn.Linear(3, 4), np.array([[0, 3, -100], [1, 1, 2]])

    def function(x, t):
        return getattr(nn, loss)(tr.log_softmax(head(x), -1), t, weight=[1.0, 2.0, 0.5, 1.0])

    agree(function, numbers(2, 3, 3), targets)
    program, _ = program_of(function, numbers(2, 3, 3), targets)
    with pytest.raises(IndexError, match=f"{loss}: target: got class 4, wanted 0 to 3, or -100"):
        program.checks[0].test(np.where(targets < 0, targets, targets + 1))


def test_rows_of_a_table_are_checked_before_each_run():
    table, ids = nn.Embedding(5, 3, padding_idx=1), np.array([[0, 1], [4, 4]])
    agree(lambda i: (table(i) ** 2).sum(), ids)
    program, _ = program_of(lambda i: (table(i) ** 2).sum(), ids)
    with pytest.raises(IndexError, match="indices: got 5, wanted ids from 0 to 4"):
        program.checks[0].test(ids + 1)


def test_what_reads_a_value_is_refused():
    layer = nn.Linear(2, 2)

    def branches(x):
        y = layer(x).sum()
        return y if y > 0 else -y

    with pytest.raises(CompileError, match=r"a Python branch on a tensor's value at .*test_trace.py"):
        program_of(branches, numbers(3, 2))
