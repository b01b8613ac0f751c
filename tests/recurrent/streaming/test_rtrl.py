"""Learning forward in time gives what backpropagation through time gives, in memory that does not grow."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import CompileError, DTypeError, GraphError, ShapeError


class Leaky(nn.Cell):
    """Two tensors in a dict, one decay for all units, a vector of decays, and outputs that mix the units."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inward = nn.Linear(input_size, hidden_size, dtype=dtype)
        self.outward = nn.Linear(hidden_size, 2, dtype=dtype)
        self.decay = nn.Parameter(np.asarray(0.3, dtype or np.float32))
        self.decays = nn.Parameter(np.linspace(-1, 1, hidden_size).astype(dtype or np.float32)[None])
        self.norm = nn.LayerNorm(hidden_size, dtype=dtype)

    def initial_state(self, batch_size):
        shape = (batch_size, self.hidden_size)
        return {"slow": tr.zeros(shape, self.dtype), "fast": tr.ones(shape, self.dtype)}

    def step(self, x, state):
        u, decay = tr.tanh(self.inward(x)), tr.sigmoid(self.decay)
        fast = decay * state["fast"] + u
        slow = tr.sigmoid(self.decays) * state["slow"] + 0.1 * (1 - decay) * fast * state["slow"] + u * u
        mixed = self.norm(slow + fast)
        y = {"y": self.outward(mixed), "spread": mixed * state["slow"].sum(axis=1, keepdims=True)}
        return y, {"slow": slow, "fast": fast}


class TwoInputs(nn.Cell):
    """Several inputs, the same matrix used twice, and a unit that keeps itself."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.hidden_size = hidden_size
        self.weight = nn.Parameter(np.random.default_rng(3).standard_normal((hidden_size, input_size)).astype(dtype))

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, self.hidden_size), self.dtype), tr.ones((batch_size, self.hidden_size), self.dtype)

    def step(self, x, state):
        h, kept = state
        a, b = (v @ self.weight.T for v in x)
        h = tr.tanh(h * 0.5 + a * tr.sigmoid(b) + kept)
        return h, (h, kept)


class Headed(nn.Cell):
    """A matrix for each of two heads of the input, and of what is read out."""

    def __init__(self, input_size, hidden_size, dtype=None):
        rng = np.random.default_rng(3)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.decay = nn.Parameter(rng.uniform(0, 1, hidden_size).astype(dtype))
        self.write = nn.Parameter(rng.standard_normal((2, input_size // 2, hidden_size // 2)).astype(dtype))
        self.read = nn.Parameter(rng.standard_normal((hidden_size // 2, hidden_size // 2)).astype(dtype))

    def step(self, x, h):
        u = tr.einsum("bhk,hkn->bhn", x.reshape((-1, 2, self.input_size // 2)), self.write)
        h = tr.tanh(h * self.decay + u.reshape((-1, self.hidden_size)))
        return (h.reshape((-1, 2, self.hidden_size // 2)) @ self.read).reshape((-1, self.hidden_size)), h


CELLS = {
    "indrnn": nn.IndRNNCell,
    "indrnn-tanh": lambda i, h, dtype: nn.IndRNNCell(i, h, nonlinearity="tanh", bias=False, dtype=dtype),
    "lru": nn.LRUCell,
    "mingru": nn.MinGRUCell,
    "minlstm": nn.MinLSTMCell,
    "leaky": Leaky,
    "learned-start": lambda i, h, dtype: nn.LearnedInitialState(nn.LRUCell(i, h, dtype=dtype)),
    "two-inputs": TwoInputs,
}


def draw(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def xs_of(name, T, B, I, dtype=np.float64):
    x = draw(T, B, I, dtype=dtype)
    return (x, draw(T, B, I, seed=1, dtype=dtype)) if name == "two-inputs" else x


def at(xs, t):
    return tree.map(lambda x: x[t], xs)


def gradients(cell):
    found = {name: None if p.grad is None else p.grad.numpy().copy() for name, p in cell.named_parameters()}
    cell.zero_grad()
    return found


def through_time(cell, xs, weights, state=None):
    """Outputs, and gradients of their weighted sum, by backpropagation through time."""
    ys, _ = nn.Recurrent(cell, mode="eager")(xs, state)
    leaves, _ = tree.flatten(ys)
    sum((y * w).sum() for y, w in zip(leaves, weights)).backward()
    return [y.numpy() for y in leaves], gradients(cell)


def weights_of(cell, xs):
    with tr.no_grad():
        leaves, _ = tree.flatten(nn.Recurrent(cell, mode="eager")(xs)[0])
    return [draw(*y.shape, seed=7 + i, dtype=y.dtype) for i, y in enumerate(leaves)]


def online(cell, xs, weights, state=None, batch=2, mode="compiled"):
    """The same, forward in time."""
    learner = nn.RTRL(cell, batch, example=at(xs, 0), mode=mode)
    if state is not None:
        learner.reset(state)
    structure = learner._output_structure
    ys = []
    for t in range(len(weights[0])):
        ys.append(tree.flatten(learner.step(at(xs, t)))[0])
        learner.accumulate(tree.unflatten(structure, [w[t] for w in weights]))
    return [np.stack([y.numpy() for y in column]) for column in zip(*ys)], gradients(cell), learner


def compare(found, expected, tolerance):
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, g in expected[1].items():
        scale = max(1.0, np.abs(g).max())
        np.testing.assert_allclose(found[1][name], g, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.LRUCell, nn.MinLSTMCell])
def test_noise_of_each_step(kind):
    """Zoneout draws masks step by step, as the unrolled step does with the same seed."""
    cell = nn.Zoneout(kind(3, 4, dtype=np.float64), 0.4)
    xs = draw(8, 2, 3)
    weights = weights_of(cell, xs)
    tr.seed(5)
    found = online(cell, xs, weights)
    tr.seed(5)
    compare(found, through_time(cell, xs, weights), 1e-11)
    assert not np.allclose(online(cell, xs, weights)[0][0], found[0][0])


@pytest.mark.sampled(20)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("T", "B", "I", "H"), [(12, 2, 3, 4), (1, 2, 1, 3), (30, 2, 2, 2)])
def test_the_gradients_of_backpropagation_through_time(name, T, B, I, H):
    cell = CELLS[name](I, H, dtype=np.float64)
    xs = xs_of(name, T, B, I)
    weights = weights_of(cell, xs)
    compare(online(cell, xs, weights, batch=B), through_time(cell, xs, weights), 1e-11)


def test_matrices_for_each_head():
    cell, xs = Headed(4, 6, np.float64), draw(9, 2, 4)
    weights = weights_of(cell, xs)
    expected = through_time(cell, xs, weights)
    compare(online(cell, xs, weights, mode="eager"), expected, 1e-11)
    with pytest.warns(RuntimeWarning, match="RTRL: Headed runs eagerly: gradients of matrices for each head"):
        compare(online(cell, xs, weights, mode="auto"), expected, 1e-11)
    with pytest.raises(CompileError, match="RTRL: Headed: gradients of matrices for each head"):
        nn.RTRL(cell, 2, mode="compiled")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", ["indrnn", "lru", "mingru", "leaky"])
def test_float32(name):
    cell = CELLS[name](3, 8, dtype=np.float32)
    xs = xs_of(name, 40, 2, 3, np.float32)
    weights = weights_of(cell, xs)
    found = online(cell, xs, weights)
    assert all(g.dtype == np.float32 for g in found[1].values())
    compare(found, through_time(cell, xs, weights), 2e-5)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    name=st.sampled_from([*CELLS]),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(2, 4)),
    losses=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_losses_at_some_steps_only(name, sizes, losses):
    T, B, I, H = sizes
    cell, xs = CELLS[name](I, H, dtype=np.float64), xs_of(name, T, B, I)
    weights = [w * np.reshape(losses[:T], (-1, *(1,) * (w.ndim - 1))) for w in weights_of(cell, xs)]
    expected = through_time(cell, xs, weights)
    learner = nn.RTRL(nn.Recurrent(cell), B, example=at(xs, 0))
    for t in range(T):
        ys, _ = tree.flatten(learner.step(at(xs, t)))
        if losses[t]:
            sum((y * w[t]).sum() for y, w in zip(ys, weights)).backward()
            learner.accumulate()
            assert all(y.grad is None for y in ys)
    found = gradients(cell)
    if any(losses[:T]):
        compare((expected[0], found), expected, 1e-10)
    else:
        assert all(g is None for g in found.values())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["lru", "leaky"])
def test_finite_differences(name):
    cell, xs = CELLS[name](2, 3, dtype=np.float64), xs_of(name, 4, 2, 2)
    weights = weights_of(cell, xs)
    found = online(cell, xs, weights)[1]

    def loss():
        with tr.no_grad():
            ys, _ = tree.flatten(nn.Recurrent(cell, mode="eager")(xs)[0])
            return sum(float((y * w).sum()) for y, w in zip(ys, weights))

    for parameter_name, parameter in cell.named_parameters():
        for at_entry in np.ndindex(parameter.shape):
            sides = []
            for shift in (1e-6, -1e-6):
                parameter.data[at_entry] += shift
                sides.append(loss())
                parameter.data[at_entry] -= shift
            difference = (sides[0] - sides[1]) / 2e-6
            assert found[parameter_name][at_entry] == pytest.approx(difference, rel=1e-5, abs=1e-7), parameter_name


@pytest.mark.slow
def test_gradients_reach_the_state_that_is_given():
    for name in ("lru", "leaky"):
        cell, xs = CELLS[name](3, 4, dtype=np.float64), xs_of(name, 5, 2, 3)
        weights = weights_of(cell, xs)
        leaves, structure = tree.flatten(cell.initial_state(2))
        grads = []
        for run in (through_time, online):
            parts = [tr.tensor(draw(2, 4, seed=i), requires_grad=True) for i in range(len(leaves))]
            run(cell, xs, weights, tree.unflatten(structure, parts))
            grads.append([p.grad.numpy() for p in parts])
        for a, b in zip(*grads):
            np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)


def test_memory_is_that_of_the_parameters_whatever_the_time():
    cell = nn.LRUCell(16, 32)
    x, dy = np.ones((1, 16), np.float32), np.ones((1, 32), np.float32)
    learner = nn.RTRL(cell)
    recurrent = sum(p.data.nbytes for n, p in cell.named_parameters() if n not in ("weight_c", "weight_d"))
    assert learner.nbytes <= 2 * recurrent + 5 * 4 * 32 * 4  # two tensors of the state; a little for the state itself
    peaks = []
    for steps in (50, 400):
        learner.reset()
        tracemalloc.start()
        for _ in range(steps):
            learner.step(x)
            learner.accumulate(dy)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def last_loss_online(recurrence):
    """Learn what stood there six steps before, updating at each step; units begin with a short memory.

    In float64: after a thousand updates roundings of float32 have led anywhere between 0.08 and 0.31.
    """
    tr.seed(0)
    double = {"dtype": np.float64}
    rng, cell, head = np.random.default_rng(0), nn.LRUCell(1, 16, r_max=0.4, **double), nn.Linear(16, 1, **double)
    for p in (cell.nu_log, cell.theta_log):
        p.requires_grad_(recurrence)
    optimizer = optim.Adam([p for p in [*cell.parameters(), *head.parameters()] if p.requires_grad], lr=1e-2)
    learner = nn.RTRL(cell, batch_size=8)
    past, losses = [np.zeros((8, 1))] * 6, []
    for _ in range(1500):
        x = rng.choice([-1.0, 1.0], (8, 1))
        loss = nn.mse_loss(head(learner.step(x)), past[0])
        optimizer.zero_grad()
        loss.backward()
        learner.accumulate()
        optimizer.step()
        losses.append(float(loss))
        past = [*past[1:], x]
    return np.mean(losses[-50:])


@pytest.mark.slow
def test_a_stream_is_learned_while_it_arrives():
    assert last_loss_online(recurrence=False) > 0.9  # a constant gets 1
    assert last_loss_online(recurrence=True) < 0.3


def test_updates_are_taken_over():
    cell = nn.LRUCell(2, 3, dtype=np.float64)
    learner, xs = nn.RTRL(cell), draw(4, 1, 2)
    state = cell.initial_state(1)
    for x in xs:
        with tr.no_grad():
            expected, state = cell.step(tr.tensor(x), state)
        np.testing.assert_allclose(learner.step(x).numpy(), expected.numpy(), rtol=1e-12)
        np.testing.assert_allclose(learner.state[0].numpy(), state[0].numpy(), rtol=1e-12)
        with tr.no_grad():
            for p in cell.parameters():
                p.copy_(p.numpy() * 0.9)


def test_the_input_may_be_overwritten_between_steps():
    cell, xs = nn.MinGRUCell(3, 4, dtype=np.float64), draw(5, 2, 3)
    weights = weights_of(cell, xs)
    expected = through_time(cell, xs, weights)[1]
    learner, buffer = nn.RTRL(cell, 2), np.empty((2, 3))
    for t in range(5):
        buffer[...] = xs[t]
        learner.step(buffer)
        learner.accumulate(weights[0][t])
        buffer[...] = np.nan
    for name, g in gradients(cell).items():
        np.testing.assert_allclose(g, expected[name], rtol=1e-11)


def test_reset_begins_anew():
    cell, xs = nn.IndRNNCell(3, 4, nonlinearity="tanh", dtype=np.float64), draw(6, 2, 3)
    weights = weights_of(cell, xs[:3])
    learner = nn.RTRL(cell, 2)
    results = []
    for part in (xs[:3], xs[3:]):
        learner.reset()
        for t in range(3):
            learner.step(part[t])
            learner.accumulate(weights[0][t])
        results.append(gradients(cell))
    for part, found in zip((xs[:3], xs[3:]), results):
        expected = through_time(cell, part, weights)[1]
        for name, g in expected.items():
            np.testing.assert_allclose(found[name], g, rtol=1e-11)


def test_frozen_parameters_cost_nothing():
    cell = nn.MinGRUCell(3, 4)
    learner = nn.RTRL(cell)
    before = learner.nbytes
    cell.weight_ih.requires_grad_(False)
    learner.reset()
    assert learner.nbytes == before - 3 * 8 * 4
    learner.step(np.ones((1, 3)))
    learner.accumulate(np.ones((1, 4)))
    assert cell.weight_ih.grad is None
    assert cell.bias.grad is not None


def test_settings_are_read_at_the_beginning_of_a_sequence():
    cell = nn.IndRNNCell(2, 3, nonlinearity="relu")
    learner, x = nn.RTRL(cell), -5 * np.ones((1, 2))
    with tr.no_grad():
        cell.weight_ih.fill_(1.0)
    assert not learner.step(x).numpy().any()
    cell.nonlinearity = "tanh"
    learner.reset()
    assert (learner.step(x).numpy() < -0.9).all()


SCALE = 1.0


class Scaled(nn.IndRNNCell):
    """Reads an attribute, what an attribute holds, and a global."""

    def __init__(self):
        super().__init__(2, 3)
        self.alpha, self.options, self.numbers = 0.5, {"scale": 1.0}, np.ones(3)

    def step(self, x, h):
        y, _ = super().step(x, h)
        y = y * self.alpha * self.options["scale"] * SCALE * self.numbers
        return y, y


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize(
    "change",
    [
        lambda cell, patch: setattr(cell, "alpha", 0.7),
        lambda cell, patch: cell.options.update(scale=2.0),
        lambda cell, patch: cell.numbers.fill(2.0),
        lambda cell, patch: setattr(cell, "weight_hh", cell.bias),
        lambda cell, patch: patch.setitem(globals(), "SCALE", 3.0),
    ],
    ids=["number", "option", "array", "tie", "global"],
)
def test_settings_that_change_within_a_sequence_are_refused(change, mode, monkeypatch):
    tr.seed(0)
    cell, x = Scaled(), np.ones((1, 2), np.float32)
    learner = nn.RTRL(cell, mode=mode)
    learner.step(x)
    change(cell, monkeypatch)
    with pytest.raises(GraphError, match="RTRL: Scaled: got other attributes of the cell"):
        learner.step(x)
    learner.reset(learner.state)
    state = learner.state
    np.testing.assert_allclose(learner.step(x).numpy(), cell.step(tr.tensor(x), state)[0].numpy(), rtol=1e-6)


# ---- what is refused


class Deep(nn.Cell):
    """The state is diagonal, but the first matrix reaches all units through the second."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.first, self.second = nn.Linear(input_size, 5), nn.Linear(5, hidden_size)

    def step(self, x, h):
        h = 0.9 * h + self.second(tr.tanh(self.first(x)))
        return h, h


class Joined(nn.Cell):
    """A complex state in one tensor."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, 2 * hidden_size
        self.inward = nn.Linear(input_size, 2 * hidden_size)

    def step(self, x, h):
        a, b = tr.split(h, 2, axis=-1)
        h = tr.concat([0.9 * a - 0.1 * b, 0.9 * b + 0.1 * a], axis=-1) + self.inward(x)
        return h, h


class Normalised(nn.IndRNNCell):
    def step(self, x, h):
        return super().step(x, h - h.mean(axis=-1, keepdims=True))


class Uneven(nn.Cell):
    input_size = 2

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 2)), tr.zeros((batch_size, 3))

    def step(self, x, state):
        return x, state


class Stateless(Uneven):
    def initial_state(self, batch_size):
        return None


class Branching(nn.IndRNNCell):
    def step(self, x, h):
        return super().step(x, h if float(h.sum()) > 0 else -h)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            lambda: nn.RNNCell(2, 3),
            r"RTRL: RNNCell: matmul at .*rnn\.py:\d+ mixes the units of the state; wanted a rec",
        ),
        (lambda: nn.LSTMCell(2, 3), r"RTRL: LSTMCell: matmul at .*lstm\.py:\d+ mixes"),
        (lambda: nn.GRUCell(2, 3), "RTRL: GRUCell: matmul at"),
        (lambda: nn.LayerNormGRUCell(2, 3), "RTRL: LayerNormGRUCell: .* mixes"),
        (
            lambda: nn.Stacked([nn.MinGRUCell(2, 3), nn.RNNCell(3, 3)]),
            "RTRL: Stacked: layer 1: RNNCell: matmul at .*rnn",
        ),
        (lambda: Normalised(2, 3), r"RTRL: Normalised: .* at .*test_rtrl\.py:\d+ mixes the units"),
        (lambda: Joined(2, 3), "RTRL: Joined: .* mixes the units of the state"),
        (
            lambda: Deep(2, 3),
            r"Deep: each entry of first\.\w+ reaches several units of the state through matmul at .*test_rtrl\.py:\d+;",
        ),
        (lambda: Uneven(), "RTRL: Uneven: tensor 1 of the state has 3 units and tensor 0 has 2"),
        (lambda: Stateless(), "RTRL: Stateless: there is no state"),
    ],
)
def test_other_recurrences_are_refused(cell, message):
    with pytest.raises(GraphError, match=message):
        nn.RTRL(cell())


def test_steps_that_cannot_be_traced_are_refused():
    with pytest.raises(CompileError, match=r"RTRL: Branching: float\(\) of a tensor at .*test_rtrl"):
        nn.RTRL(Branching(2, 3))


def learner_with(action):
    learner = nn.RTRL(nn.MinGRUCell(2, 3))
    return action(learner)


def accumulated(dy=None):
    def action(learner):
        learner.step(np.ones((1, 2)))
        learner.accumulate(dy)

    return action


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda r: r.accumulate(np.ones((1, 3))), GraphError, "RTRL: MinGRUCell: accumulate: no step was taken"),
        (accumulated(), GraphError, r"accumulate: the output has no gradient; call loss\.backward\(\) before"),
        (accumulated(np.ones((1, 2))), ShapeError, r"dy: got shape \(1, 2\), wanted \(1, 3\) as the output"),
        (accumulated((np.ones((1, 3)),)), ShapeError, r"dy: got \(\*,\), wanted \*"),
        (lambda r: r.step(np.ones((2, 2))), ShapeError, r"x: got shape \(2, 2\), wanted \(1, 2\)"),
        (lambda r: r.step((np.ones((1, 2)),)), ShapeError, r"x: got \(\*,\), wanted \*"),
        (lambda r: r.step(tr.ones((1, 2), "float64")), DTypeError, "x: got a float64 tensor, wanted float32"),
        (lambda r: r.step(tr.ones((1, 2)).requires_grad_()), GraphError, "x: requires gradients, wanted data or a det"),
        (lambda r: r.reset(tr.zeros((2, 3))), ShapeError, r"state: got shape \(2, 3\), wanted \(1, 3\)"),
        (lambda r: nn.RTRL(nn.Linear(2, 3)), TypeError, "RTRL: cell: got Linear, wanted an nn.Cell or nn.Recurrent"),
        (lambda r: nn.RTRL(nn.Recurrent(nn.MinGRUCell(2, 3), reverse=True)), ValueError, "runs in reverse"),
        (lambda r: nn.RTRL(nn.MinGRUCell(2, 3), mode="fast"), ValueError, "RTRL: mode: got 'fast', wanted"),
        (lambda r: nn.RTRL(nn.MinGRUCell(2, 3), 0), ShapeError, "batch_size: got 0, wanted a whole number, at least 1"),
        (lambda r: nn.RTRL(TwoInputs(2, 3, np.float32)), ShapeError, "TwoInputs sets no input_size; pass example="),
        (
            lambda r: nn.RTRL(TwoInputs(2, 3, np.float32), example=(np.ones(2),)),
            ShapeError,
            r"example: got shape \(2,\)",
        ),
    ],
)
def test_misuse_is_explained(action, error, message):
    with pytest.raises(error, match=message):
        learner_with(action)
