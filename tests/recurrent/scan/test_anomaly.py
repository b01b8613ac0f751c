"""NaN and infinity in recurrent layers: operation, line, time step and row, alike on the tape and in loops."""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.errors import AnomalyError

T, B = 6, 4
STEP, ROW = 3, 2
both_modes = pytest.mark.parametrize("mode", ["eager", "compiled"])


class OneOp(nn.Cell):
    """A step with one operation that may go wrong."""

    input_size = hidden_size = 2

    def __init__(self, f, noise=0.0):
        self.f, self.drop = f, nn.Dropout(noise)
        self.w = nn.Parameter(np.eye(2) * 0.5)

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 2), "float64")

    def step(self, x, h):
        y = self.f(x)  # the line to be named
        h = self.drop(0.1 * tr.tanh(h @ self.w + y) + y)
        return h, h


class Passing(OneOp):
    def step(self, x, h):
        return 2 * x, h


LINE = f"{__file__}:{inspect.getsourcelines(OneOp.step)[1] + 1}"


def clean(x):
    """The operation in a function of its own, in another line."""
    return tr.log(x)


CLEAN = f"{__file__}:{inspect.getsourcelines(clean)[1] + 2}"


def sequence(value, step=STEP, row=ROW, requires_grad=True):
    x = np.ones((T, B, 2))
    x[step, row, 1] = value
    return tr.tensor(x, requires_grad=requires_grad)


def caught(layer, x, backward=True, **options):
    """The error of a call; a second call, which is a guarded one, raises it again."""
    errors = []
    for _ in range(2):
        with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:  # noqa: PT012
            ys, _ = layer(x, **options)
            if backward:
                ys.sum().backward()
        errors.append(info.value)
    assert str(errors[0]) == str(errors[1])
    return errors[0]


FORWARD = [
    ("log of 0", tr.log, 0.0, "log"),
    ("log of less", tr.log, -1.0, "log"),
    ("sqrt", tr.sqrt, -1.0, "sqrt"),
    ("division", lambda x: 1 / x, 0.0, "divide"),
    ("exp", tr.exp, 1000.0, "exp"),
    ("power", lambda x: x**0.5, -1.0, "power"),
]
BACKWARD = [("sqrt at 0", tr.sqrt, 0.0, "sqrt"), ("root by power", lambda x: x**0.5, 0.0, "power")]


@pytest.mark.sampled(2)
@both_modes
@pytest.mark.parametrize(("f", "value", "op"), [c[1:] for c in FORWARD], ids=[c[0] for c in FORWARD])
def test_forward(f, value, op, mode):
    layer = nn.Recurrent(OneOp(f), mode)
    for backward in (False, True):
        x = sequence(value, requires_grad=backward)
        error = caught(layer, x, backward=False)
        assert (error.op, error.phase, error.step, error.row) == (op, "forward", STEP, ROW)
        assert error.where.startswith(__file__)
        assert f"at time step {STEP}, row {ROW}, feature 1, in {__file__}:" in str(error)
        assert "finite" in str(error)


@both_modes
@pytest.mark.parametrize(("f", "value", "op"), [c[1:] for c in BACKWARD], ids=[c[0] for c in BACKWARD])
def test_backward(f, value, op, mode):
    layer = nn.Recurrent(OneOp(f), mode)
    error = caught(layer, sequence(value))
    assert (error.op, error.phase, error.step, error.row, error.input) == (op, "backward", STEP, ROW, 0)
    assert error.where.startswith(__file__)
    assert "the gradient that it got is finite" in str(error)


class TwoOps(OneOp):
    """Two operations that may go wrong; rows with large inputs are left out of the result."""

    def step(self, x, h):
        h = 0.1 * tr.tanh(h @ self.w) + tr.where(x > 8, 0.0, tr.log(5 - x) + tr.sqrt(2 + x))
        return h, h


@both_modes
@pytest.mark.parametrize(("value", "op", "row"), [(6.0, "log", 3), (9.0, "sqrt", 1)])
def test_the_named_operation_is_one_whose_row_is_bad_in_the_results(value, op, row, mode):
    """The first of those that fail, be it in a later row than another; what nothing is left of is no anomaly."""
    x = sequence(value, row=3)
    x.data[STEP, 1, 1] = -3.0
    error = caught(nn.Recurrent(TwoOps(None), mode), x, backward=False)
    assert (error.op, error.phase, error.step, error.row) == (op, "forward", STEP, row)


@both_modes
def test_the_line_is_where_the_operation_is_written(mode):
    assert caught(nn.Recurrent(OneOp(clean), mode), sequence(-1.0)).where == CLEAN
    assert caught(nn.Recurrent(OneOp(tr.log), mode), sequence(-1.0)).where == LINE
    layer = nn.Recurrent(nn.IndRNNCell(2, 3, dtype="float64"), mode)
    layer.cell.weight_ih.data[...] = 1e308
    error = caught(layer, sequence(10.0))
    assert error.where.split(":")[0].endswith("recurrent/cells/rnn.py")
    assert (error.step, error.row) == (0, 0)


@pytest.mark.sampled(2)
@both_modes
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every", [None, 2])
def test_options_leave_step_and_row_as_the_caller_counts(reverse, batch_first, every, mode):
    x = sequence(-1.0)
    x = x.swapaxes(0, 1) if batch_first else x
    how = {"reverse": reverse, "batch_first": batch_first, "checkpoint_every": every}
    error = caught(nn.Recurrent(OneOp(tr.log), mode, **how), x)
    assert (error.op, error.phase, error.step, error.row) == ("log", "forward", STEP, ROW)
    x = sequence(0.0)
    x = x.swapaxes(0, 1) if batch_first else x
    error = caught(nn.Recurrent(OneOp(tr.sqrt), mode, **how), x)
    assert (error.op, error.phase, error.step, error.row) == ("sqrt", "backward", STEP, ROW)


def looked_at(layer, x, **options):
    """Both passes, inside; nothing is found."""
    with tr.detect_anomaly():
        ys, _ = layer(x, **options)
        ys.sum().backward()
    return ys


@both_modes
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_and_holes_are_no_anomalies(reverse, mode):
    layer = nn.Recurrent(OneOp(tr.log), mode, reverse=reverse)
    mask = np.ones((T, B), bool)
    mask[STEP, ROW] = False
    for value in (np.nan, 0.0, -1.0):
        looked_at(layer, sequence(value), lengths=[T, T, STEP, T])
        looked_at(layer, sequence(value), mask=mask)
    resets = np.zeros((T, B), bool)
    resets[2, ROW] = True
    options = {"lengths": [T, 1, STEP + 1, 0], "resets": resets}
    error = caught(layer, sequence(-1.0), **options)
    assert (error.op, error.step, error.row) == ("log", STEP, ROW)
    error = caught(nn.Recurrent(OneOp(tr.sqrt), mode, reverse=reverse), sequence(0.0), **options)
    assert (error.op, error.phase, error.step, error.row) == ("sqrt", "backward", STEP, ROW)


@both_modes
def test_a_step_before_a_hole_is_not_blamed(mode):
    """On the tape, rows that do not count are given an input that they meet later."""
    mask = np.ones((T, B), bool)
    mask[:STEP, ROW] = False
    error = caught(nn.Recurrent(OneOp(tr.log), mode), sequence(-1.0), mask=mask)
    assert (error.step, error.row) == (STEP, ROW)


@pytest.mark.sampled(2)
@both_modes
def test_what_a_step_leaves_out_is_no_anomaly(mode):
    looked_at(nn.Recurrent(OneOp(lambda x: tr.where(x > 0, tr.log(tr.maximum(x, 0.5)), 0.0)), mode), sequence(0.0))
    with tr.detect_anomaly():  # its result is left out; what it does to the gradient is another matter
        nn.Recurrent(OneOp(lambda x: tr.where(x > 0, tr.log(x), 0.0)), mode)(sequence(0.0, requires_grad=False))
        nn.Recurrent(OneOp(lambda x: tr.where(x > 0, x, -np.inf).max(axis=-1, keepdims=True)), mode)(sequence(0.0))


@both_modes
def test_the_operation_to_blame_is_the_one_that_reaches_the_results(mode):
    """Others that went wrong before, but were left out, are not."""
    f = lambda x: tr.where(x == 1.0, 0.0, 1 / (x - 1.0)) + tr.log(x)  # the first is left out at all steps but one
    error = caught(nn.Recurrent(OneOp(f), mode), sequence(-1.0), backward=False)
    assert (error.op, error.step, error.row) == ("log", STEP, ROW)


@pytest.mark.sampled(2)
@both_modes
def test_what_was_given_is_named(mode):
    layer = nn.Recurrent(OneOp(lambda x: x), mode)
    error = caught(layer, sequence(np.nan))
    assert str(error) == f"OneOp: input holds nan at time step {STEP}, row {ROW}, feature 1"
    assert (error.op, error.where, error.step, error.row) == ("", "", STEP, ROW)
    state = np.zeros((B, 2))
    state[1, 0] = np.nan
    error = caught(layer, sequence(1.0), state=tr.tensor(state))
    assert str(error) == "OneOp: initial state 0 holds nan at row 1, feature 0"
    lstm = nn.LSTM(2, 3, num_layers=2, dtype="float64", mode=mode)
    lstm.weight_hh_l1.data[1, 2] = np.nan
    assert str(caught(lstm, sequence(1.0))) == "LSTMCell: parameter weight_hh holds nan at (1, 2)"
    layer = nn.Recurrent(Passing(None), mode)
    assert np.isinf(looked_at(layer, sequence(np.inf)).numpy()[STEP, ROW, 1])  # given, and stays what it is
    assert "holds nan" in str(caught(layer, sequence(np.nan)))


@pytest.mark.sampled(2)
@both_modes
@pytest.mark.parametrize("seed", range(4))
def test_random_masks_are_the_same_when_a_loop_is_run_again(seed, mode):
    f = lambda x: x - 0.6
    layer = nn.Recurrent(nn.Zoneout(Rooted(f, noise=0.5), 0.3), mode)
    x = tr.tensor(np.random.default_rng(seed).uniform(-0.5, 0.5, (12, 3, 2)), requires_grad=True)
    tr.seed(seed)
    with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:
        layer(x)
    tr.seed(seed)
    layer.mode = "eager"
    with np.errstate(all="ignore"):
        ys, _ = layer(x)
    bad = np.isnan(ys.numpy()).any(axis=2)
    assert bad[info.value.step, info.value.row]
    assert not bad[: info.value.step].any()
    assert info.value.op == "log"


class Rooted(OneOp):
    """What it puts out may be NaN, by chance."""

    def step(self, x, h):
        h = self.drop(tr.tanh(h @ self.w + self.f(x)))
        return tr.log(h + 0.9), h


@pytest.mark.slow
@pytest.mark.sampled(2)
@both_modes
def test_layers_and_directions(mode):
    layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True, dtype="float64", mode=mode)
    layer.weight_ih_l1_reverse.data[0, 0] = 1e308
    layer.weight_ih_l1_reverse.data[0, 1] = 1e308
    x = sequence(1.0)
    big = nn.Recurrent(OneOp(lambda x: x * 1e30), mode)
    both = nn.Bidirectional(OneOp(lambda x: x), OneOp(tr.log), mode=mode)
    looked_at(layer, x)
    looked_at(big, x)
    error = caught(both, sequence(-1.0))
    assert (error.op, error.step, error.row) == ("log", STEP, ROW)
    stacked = nn.Recurrent(nn.Stacked([OneOp(lambda x: x - 1.0), OneOp(lambda x: tr.sqrt(x + 1e-9))]), mode)
    error = caught(stacked, sequence(-1.0))
    assert (error.op, error.step, error.row) == ("sqrt", STEP, ROW)


@both_modes
def test_scan_with_states_to_begin_anew_with(mode):
    resets = np.zeros((T, B), bool)
    resets[STEP, ROW] = True
    reset_state = np.ones((B, 2))
    reset_state[ROW, 0] = -1.0

    class FromState(OneOp):
        def step(self, x, h):
            h = tr.sqrt(h) + 0 * x
            return h, h

    cell = FromState(None)
    with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:
        recurrent.scan(cell, sequence(1.0), tr.ones((B, 2), "float64"), mode, resets=resets, reset_state=reset_state)
    assert (info.value.op, info.value.step, info.value.row) == ("sqrt", STEP, ROW)


@both_modes
def test_a_stream(mode):
    step = nn.Recurrent(OneOp(tr.log), mode).stepper(B, np.ones((B, 2)))
    with tr.detect_anomaly():
        step(np.ones((B, 2)))
        x = np.ones((B, 2))
        x[ROW, 1] = -1.0
        with pytest.raises(AnomalyError, match=rf"log: gives nan at row {ROW}, feature 1, in ") as info:
            step(x)
        assert (info.value.op, info.value.step, info.value.row) == ("log", None, ROW)
        assert info.value.where == LINE
        with pytest.raises(AnomalyError, match=rf"OneOp: initial state 0 holds nan at row {ROW}, feature 1"):
            step(np.ones((B, 2)))
        step.reset()
        step(np.ones((B, 2)))


@pytest.mark.sampled(2)
@both_modes
def test_results_are_the_same_and_nothing_is_kept(mode):
    layer = nn.GRU(2, 3, dtype="float64", mode=mode, recurrent_dropout=0.2, zoneout=0.1)
    x = sequence(1.0)
    found = []
    for on in (False, True):
        tr.seed(3)
        with tr.detect_anomaly(on):
            for _ in range(2):
                ys, h = layer(x)
                grads = tr.grad((ys * ys).sum() + h.sum(), [x, *layer.parameters()])
        found.append([ys.numpy(), h.numpy(), *(g.numpy() for g in grads)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_compile_runs_on_the_tape_with_the_same_words():
    f = lambda x: tr.log(x) if float(x.sum()) < 1e9 else x
    layer = nn.Recurrent(OneOp(f))
    with pytest.warns(RuntimeWarning, match="OneOp runs eagerly"), tr.detect_anomaly():
        layer(sequence(1.0))
    error = caught(layer, sequence(-1.0))
    assert (error.op, error.step, error.row) == ("log", STEP, ROW)


@both_modes
def test_higher_derivatives(mode):
    layer = nn.Recurrent(OneOp(lambda x: x**1.5), mode)
    x = sequence(0.0)
    with tr.detect_anomaly():
        (g,) = tr.grad(layer(x)[0].sum(), x, create_graph=True)
        with pytest.raises(AnomalyError) as info:
            g.sum().backward()
    assert info.value.phase == "backward"


def test_learning_forward_in_time():
    class Diagonal(OneOp):
        def step(self, x, h):
            h = self.drop(0.5 * h + tr.sqrt(x @ self.w))
            return h, h

    learner = nn.RTRL(Diagonal(None, noise=0.1), batch_size=B)
    x = np.ones((B, 2))
    with tr.detect_anomaly():
        learner.step(x).sum().backward()
        learner.accumulate()
        x[ROW, 1] = -1.0
        with pytest.raises(AnomalyError, match=rf"sqrt: gives nan at time step 1, row {ROW}, feature 1, in {__file__}"):
            learner.step(x)
