"""NaN and infinity in streams: what a step's loop gives is looked at where it lies, and nothing else changes."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import AnomalyError
from tinygrad_rnn.train import TruncatedBPTT

MODES = ["eager", "compiled"]
both_modes = pytest.mark.parametrize("mode", MODES)


class Two(nn.Cell):
    """Two outputs and two states, each with an operation of its own."""

    def __init__(self, width, dtype):
        self.input_size = self.hidden_size = width
        self.one = nn.Parameter(np.ones((), dtype))

    def initial_state(self, batch_size):
        return [tr.ones((batch_size, self.hidden_size), self.dtype) for _ in range(2)]

    def step(self, x, state):
        a, b = x
        h, c = state
        return (tr.sqrt(a) * self.one + h, tr.exp(b)), [tr.log(a + 3.0) + 0 * h, 1 / (b + 2.0) + 0 * c]


# which input, its value, and the operation: in the first output, the second, the first state, the second
PLACES = [(0, -1.0, "sqrt"), (1, 1e4, "exp"), (0, -3.0, "sqrt"), (1, -2.0, "divide")]


@pytest.mark.sampled(4)
@both_modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 3, 8, 17])
@pytest.mark.parametrize("batch", [1, 5])
def test_every_output_and_state_in_every_row_is_looked_at(batch, width, dtype, mode):
    ones = [np.ones((batch, width), dtype) for _ in range(2)]
    step = nn.Recurrent(Two(width, dtype), mode).stepper(batch, tuple(ones))
    for row in {0, batch - 1}:
        for feature in {0, width - 1}:
            for i, value, op in PLACES:
                x = [a.copy() for a in ones]
                x[i][row, feature] = value
                with tr.detect_anomaly():
                    step(tuple(ones))
                    with pytest.raises(AnomalyError) as info:
                        step(tuple(x))
                assert (info.value.op, info.value.row) == (op, row)
                assert f"row {row}, feature {feature}, in {__file__}" in str(info.value)
                step.reset()


@both_modes
def test_what_is_large_is_no_anomaly(mode):
    """Though its sum and its square are infinite."""
    x = np.full((3, 40), 3e38, np.float32)
    step = nn.Recurrent(Passing(40), mode).stepper(3, x)
    with tr.detect_anomaly():
        np.testing.assert_array_equal(step(x), x)
        np.testing.assert_array_equal(step(-x), -x)
        np.testing.assert_array_equal(step.state, -x)


class Passing(nn.Cell):
    def __init__(self, width):
        self.input_size = self.hidden_size = width

    def step(self, x, h):
        return x + 0 * h, x


@both_modes
def test_infinity_that_was_given_goes_on(mode):
    x = np.ones((2, 3), np.float32)
    x[1, 2] = np.inf
    found = []
    for on in (False, True):
        step = nn.Recurrent(Passing(3), mode).stepper(2, x)
        with tr.detect_anomaly(on):
            found.append([step(x), step.state])
    np.testing.assert_array_equal(*found)
    assert np.isinf(found[1][1][1, 2])


@both_modes
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_stream_is_the_same_while_it_is_looked_at(kind, mode):
    tr.seed(0)
    layer = kind(3, 5, num_layers=2, mode=mode)
    xs = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
    found = []
    for on in (False, True):
        step = layer.stepper(2)
        with tr.detect_anomaly(on):
            found.append([step(x) for x in xs])
    np.testing.assert_array_equal(*found)
    layer.weight_ih_l1.data[0, 0] = np.nan
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="parameter weight_ih holds nan at \\(0, 0\\)"):
        step(xs[0])


@both_modes
def test_a_stream_with_noise(mode):
    """The masks of the step that went wrong are drawn again to find the place."""

    class Noisy(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 4
            self.drop = nn.Dropout(0.5)

        def step(self, x, h):
            h = tr.sqrt(1 - self.drop(x)) + 0 * h  # of what is kept, 2 x
            return h, h

    x = np.full((3, 4), 0.6)
    for seed in range(5):
        step = nn.Recurrent(Noisy(), mode).stepper(3, x)
        tr.seed(seed)
        with np.errstate(all="ignore"):
            rows = np.isnan(step(x)).any(axis=1)
        step.reset()
        tr.seed(seed)
        with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:
            step(x)
        assert (info.value.op, info.value.row) == ("sqrt", int(np.argmax(rows)))


class Rooted(nn.Cell):
    """A step that is not finite for most numbers, and that no trace shows if it looks at what it is given."""

    input_size = hidden_size = 3

    def __init__(self, looks):
        self.looks = looks

    def step(self, x, h):
        y = tr.log(x) + h
        return (y * 2 if self.looks and type(x) is tr.Tensor else y), h


def test_a_stepper_may_be_made_inside():
    x = np.ones((2, 3))
    with tr.detect_anomaly(), warnings.catch_warnings():
        warnings.simplefilter("error")
        step = nn.Recurrent(Rooted(False), "auto").stepper(2, x)
        assert step._steppers[0].program is not None
        step(x)
    with tr.detect_anomaly(), pytest.warns(RuntimeWarning, match="Rooted runs eagerly"):
        step = nn.Recurrent(Rooted(True), "auto").stepper(2, x)
    np.testing.assert_array_equal(step(x + 1), 2 * np.log(x.astype(np.float32) + 1))


@both_modes
def test_what_goes_wrong_before_the_first_step_has_its_line(mode):
    class Scaled(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 3
            self.w = nn.Parameter(np.ones(3))

        def begin_sequence(self, batch_size):
            self.scale = tr.log(self.w)

        def step(self, x, h):
            return x * self.scale, h

    layer, x = nn.Recurrent(Scaled(), mode), np.ones((2, 3))
    step = layer.stepper(2)
    layer.cell.w.data[1] = -1.0
    for run in (lambda: step(x), lambda: layer(x[None]), lambda: layer.stepper(2)):
        with tr.detect_anomaly(), pytest.raises(AnomalyError, match="log: gives nan") as info:
            run()
        assert info.value.where.startswith(__file__)


# ---- learning forward in time


class Diagonal(nn.Cell):
    """One operation that may go wrong on the way into the state, and one on the way out."""

    input_size = hidden_size = 2

    def __init__(self, inward=lambda u: u, outward=lambda h: h, decay=0.5, noise=0.0):
        self.inward, self.outward, self.decay, self.drop = inward, outward, decay, nn.Dropout(noise)
        self.w = nn.Parameter(np.eye(2) * 0.5)

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 2), "float64")

    def step(self, x, h):
        h = self.decay * h + self.inward(self.drop(x) @ self.w)
        return self.outward(h), h


ROW = 1


def learned(cell, times, bad=None, dy=1.0):
    """Steps with gradients of their outputs at some times only; a row of the input is zero at the time `bad`."""
    learner = nn.RTRL(cell, 3)
    for t in range(max(times) + 1):
        x = np.ones((3, 2))
        x[ROW, 1] = t != bad
        y = learner.step(x)
        if t in times:
            learner.accumulate(np.full(y.shape, dy))
    return learner


@pytest.mark.sampled(2)
@pytest.mark.parametrize("times", [[3], [0, 1, 2, 3], [5], [6]])
def test_a_derivative_that_is_carried_along_is_told_where_it_was_made(times):
    cell = Diagonal(inward=tr.sqrt)
    with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:
        learned(cell, times, 3)
    error = info.value
    assert (error.op, error.phase, error.step, error.row, error.input) == ("sqrt", "backward", 3, ROW, 0)
    assert f"is inf at time step 3, row {ROW}, feature 1, in {__file__}:" in str(error)
    with np.errstate(all="ignore"):
        learned(Diagonal(inward=tr.sqrt), times, 3)  # nobody looks
    with tr.detect_anomaly():
        learner = learned(cell, [2], None)
        x = np.zeros((3, 2))
        learner.step(x)  # of which nothing is asked
        learner.reset()
        learner.accumulate(np.ones_like(learner.step(x + 1).numpy()))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_derivative_of_an_output(noise):
    cell = Diagonal(outward=tr.sqrt, decay=0.0, noise=noise)
    with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:  # noqa: PT012
        for seed in range(20):
            tr.seed(seed)
            learned(cell, [0, 1, 2], 2)
    assert (info.value.op, info.value.phase, info.value.input) == ("sqrt", "backward", 0)
    if not noise:
        assert (info.value.step, info.value.row) == (2, ROW)


@pytest.mark.slow
def test_gradients_that_are_not_finite_when_they_are_given():
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="gradient of output 0 holds nan at time step 1, row 0"):
        learned(Diagonal(), [1], dy=np.nan)


@pytest.mark.slow
def test_derivatives_that_grow_beyond_all_numbers():
    """No rule is to blame, nor is the state, which does not grow."""
    cell = nn.IndRNNCell(2, 2, nonlinearity="tanh", dtype="float64")
    for name, p in cell.named_parameters():
        p.data[...] = 1e100 if name == "weight_hh" else 0.0
    learner = nn.RTRL(cell)
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="carried along") as info:  # noqa: PT012
        for _ in range(9):
            learner.step(np.ones((1, 2)))
            learner.accumulate(np.ones((1, 2)))
    assert "reset()" in str(info.value)
    assert info.value.step is None


def test_what_was_computed_outside_has_no_line():
    cell = Diagonal(outward=tr.sqrt, decay=0.0)
    learner = nn.RTRL(cell, 3)
    with np.errstate(all="ignore"):
        learner.step(np.zeros((3, 2)))
    with (
        tr.detect_anomaly(),
        pytest.raises(AnomalyError, match="gradients at time step 0 are not finite; the step was"),
    ):
        learner.accumulate(np.ones((3, 2)))


def test_what_is_computed_of_parameters_has_its_line():
    class Logged(Diagonal):
        def step(self, x, h):
            h = 0.5 * h + x @ tr.log(self.w)
            return h, h

    with np.errstate(all="ignore"):
        learner = nn.RTRL(Logged(), 1)
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="log: gives -inf") as info:
        learner.step(np.ones((1, 2)))
    assert info.value.where.startswith(__file__)


# ---- streams in windows


class Rooting(Diagonal):
    def __init__(self):
        super().__init__(inward=tr.sqrt)


@pytest.mark.sampled(6)
@both_modes
@pytest.mark.parametrize("k2", [4, 7])
@pytest.mark.parametrize("every", [None, 2])
def test_truncated_backpropagation_through_time(every, k2, mode):
    """Time steps are those of the stream, whichever piece of it runs."""
    x = np.ones((12, 3, 2))
    for value, phase in ((0.0, "backward"), (-1.0, "forward")):
        for t in (0, 3, 6, 11):
            x[...] = 1.0
            x[t, ROW, 1] = value
            data = TruncatedBPTT(x, x, k1=4, k2=k2)
            layer, done = nn.Recurrent(Rooting(), mode, checkpoint_every=every), []
            with tr.detect_anomaly(), pytest.raises(AnomalyError) as info:  # noqa: PT012
                for window in data:
                    data.loss(layer, nn.mse_loss, window, tr.tensor).backward()
                    done.append(window)
            error = info.value
            assert (error.op, error.phase, error.step, error.row) == ("sqrt", phase, t, ROW)
            assert len(done) == t // 4
        with np.errstate(all="ignore"):
            layer(tr.tensor(x))
        with tr.detect_anomaly(), pytest.raises(AnomalyError, match=f"time step 11, row {ROW}"):
            layer(tr.tensor(x, requires_grad=True))[0].sum().backward()
