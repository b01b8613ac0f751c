"""Forward-in-time learning in native calls: the numbers of the tape, whatever happens between two steps."""

import contextlib

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import AnomalyError

from .test_rtrl import CELLS, at, compare, draw, gradients, online, through_time, tree, weights_of, xs_of


class Mixed(nn.Cell):
    """Parameters in all ways: parts of a bias, a matrix of exponents, and shares, which no loop differentiates."""

    def __init__(self, input_size, hidden_size, dtype=None):
        rng, n = np.random.default_rng(5), hidden_size
        values = {
            "bias": (3 * n,), "log_weight": (input_size, n), "shares": (n,), "row": (1, n), "one": (1,),
            "parts": (n, 2 * n),
        }  # fmt: skip
        for name, shape in values.items():
            setattr(self, name, nn.Parameter(0.5 * rng.standard_normal(shape).astype(dtype)))
        self.input_size, self.hidden_size = input_size, hidden_size

    def step(self, x, h):
        a, b, c = tr.split(self.bias, 3)
        left, right = tr.split(self.parts, 2, axis=1)
        kept = tr.sigmoid(a) * h + b * self.one
        h = tr.tanh(kept * tr.softmax(self.shares, axis=0) + x @ tr.exp(self.log_weight) + self.row)
        return h @ left + tr.tanh(h) @ right.T + c * tr.cos(self.row), h


ALL = {**CELLS, "mixed": Mixed}


def learners(name, B, **options):
    """Two equal cells with their learners, one compiled."""
    found = []
    for mode in ("eager", "compiled"):
        tr.seed(3)
        cell = ALL[name](3, 5, dtype=np.float64)
        example = at(xs_of(name, 1, B, 3), 0)
        found.append((cell, nn.RTRL(cell, B, example=example, mode=mode, **options)))
    return found


def assert_same(one, other, tolerance=1e-12):
    for (name, p), (_, q) in zip(one.named_parameters(), other.named_parameters()):
        if p.grad is None or q.grad is None:
            assert p.grad is q.grad is None, name
            continue
        scale = max(1.0, np.abs(p.grad.numpy()).max())
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["leaky", "lru", "two-inputs", "mixed"])
def test_updates_at_each_step(name):
    """Both learn along the same path: gradients add up, are thrown away, and parameters move."""
    (a, eager), (b, compiled) = learners(name, 3)
    xs = xs_of(name, 12, 3, 3)
    optimizers = [optim.SGD(cell.parameters(), lr=0.01) for cell in (a, b)]
    for t in range(12):
        found = []
        for learner in (eager, compiled):
            ys, _ = tree.flatten(learner.step(at(xs, t)))
            found.append([y.numpy() for y in ys])
            sum((y * draw(*y.shape, seed=t)).sum() for y in ys).backward()
            if t % 4 != 2:
                learner.accumulate()
        for y, z in zip(*found):
            np.testing.assert_allclose(z, y, rtol=1e-11, atol=1e-12)
        assert_same(a, b, 1e-11)
        if t % 3 == 2:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=t % 2 == 0)
    for s, r in zip(tree.flatten(eager.state)[0], tree.flatten(compiled.state)[0]):
        np.testing.assert_allclose(r.numpy(), s.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 3])
def test_arrays_that_change_places(batch):
    """Rows of whole vectors are carried without a copy: each other step finds them in the other array."""
    cells, found = [], []
    for mode in ("eager", "compiled"):
        tr.seed(3)
        cells.append(nn.LRUCell(8, 16, dtype=np.float64))
        found.append(nn.RTRL(cells[-1], batch, mode=mode))
    kernel = found[1]._learners[0]._kernel.kernel
    for t in range(14):
        x, dy = draw(batch, 8, seed=t), draw(batch, 16, seed=t)
        for cell, learner in zip(cells, found):
            if t in (3, 6):  # everything is packed again, after an odd and an even number of steps
                cell.weight_b = nn.Parameter(cell.weight_b.numpy() * 0.9)
            if t == 5:
                cell.nu_log.data[2] += 0.1
            with tr.detect_anomaly() if t in (8, 10) else contextlib.nullcontext():
                y = learner.step(x)
                if t != 9:
                    learner.accumulate(dy)
            if learner is found[0]:
                wanted = [y.numpy(), *[s.numpy() for s in tree.flatten(learner.state)[0]]]
        for a, b in zip([y, *tree.flatten(found[1].state)[0]], wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-13)
        assert_same(*cells)
        if t % 4 == 3:
            for cell in cells:
                cell.zero_grad()
    step = kernel.step
    assert len(step._counterparts) == 2 * len(kernel._old) and step._turned[0] in (0, 1)


def test_parameters_in_all_ways():
    cell, xs = Mixed(3, 5, np.float64), draw(9, 3, 3)
    weights = weights_of(cell, xs)
    compare(online(cell, xs, weights, batch=3), through_time(cell, xs, weights), 1e-11)


def test_writes_that_leave_no_trace_are_seen():
    (a, eager), (b, compiled) = learners("lru", 1)
    for t in range(4):
        np.testing.assert_allclose(compiled.step(draw(1, 3, seed=t)).numpy(), eager.step(draw(1, 3, seed=t)).numpy())
        for learner in (eager, compiled):
            learner.accumulate(np.ones((1, 5)))
        assert_same(a, b)
        for cell in (a, b):
            cell.nu_log.data[1] += 0.5
            cell.weight_b.data[0, 1] -= 0.25


def test_gradients_that_somebody_holds_stay():
    (_, _), (cell, learner) = learners("mingru", 1)
    x, dy = np.ones((1, 3)), np.ones((1, 5))
    learner.step(x)
    learner.accumulate(dy)
    held, values = cell.bias.grad, cell.bias.grad.numpy().copy()
    view = cell.weight_ih.grad.numpy()
    seen = view.copy()
    cell.zero_grad()
    for _ in range(2):
        learner.step(x)
        learner.accumulate(dy)
        cell.zero_grad()
    np.testing.assert_array_equal(held.numpy(), values)
    np.testing.assert_array_equal(view, seen)
    cell.bias.grad = given = tr.ones(cell.bias.shape, "float64")
    learner.accumulate(dy)
    np.testing.assert_array_equal(given.numpy(), 1.0)  # what others have put there is added to, elsewhere
    once = cell.bias.grad.numpy() - 1
    learner.accumulate(dy)
    np.testing.assert_allclose(cell.bias.grad.numpy(), 1 + 2 * once, rtol=1e-12)


def test_hooks_and_frozen_parameters():
    (a, eager), (b, compiled) = learners("mingru", 2)
    dy = draw(2, 5, seed=9)
    for cell in (a, b):
        cell.weight_ih.register_hook(lambda g: g * 2)
    for t in range(4):
        for learner in (eager, compiled):
            learner.step(draw(2, 3, seed=t))
            learner.accumulate(dy)
        assert_same(a, b)
        if t == 1:
            for cell in (a, b):
                cell.bias.requires_grad_(False)


def test_parts_that_are_replaced():
    (a, eager), (b, compiled) = learners("leaky", 2)
    for t in range(3):
        for learner in (eager, compiled):
            ys = learner.step(draw(2, 3, seed=t))
            learner.accumulate({k: np.ones(y.shape) for k, y in ys.items()})
        assert_same(a, b)
        for cell in (a, b):
            cell.zero_grad()
            cell.decay = nn.Parameter(np.asarray(0.1 * t))
            cell.inward = nn.Linear(3, 5, dtype=np.float64)
            with tr.no_grad():
                cell.inward.weight.fill_(0.2)
                cell.inward.bias.fill_(0.1)


def test_anomaly_detection_may_begin_and_end_in_between():
    (a, eager), (b, compiled) = learners("lru", 2)
    for t in range(8):
        for learner in (eager, compiled):
            with tr.detect_anomaly(t in (2, 3, 6)):
                learner.step(draw(2, 3, seed=t))
            with tr.detect_anomaly(t in (3, 5)):
                learner.accumulate(draw(2, 5, seed=t))
        assert_same(a, b)
    with tr.detect_anomaly():
        with pytest.raises(AnomalyError, match="gradient of output 0 holds nan at time step 7, row 1, feature 2"):
            compiled.accumulate(np.where(np.arange(10).reshape(2, 5) == 7, np.nan, 1.0))
        with pytest.raises(
            AnomalyError, match=r"time step 7 are not finite; the step was taken outside of detect_anom"
        ):
            compiled.accumulate(np.full((2, 5), 1e308))
    assert_same(a, b)  # nothing was added


def test_it_begins_anew():
    (a, eager), (b, compiled) = learners("lru", 2)
    for start in (None, (draw(2, 5), draw(2, 5, seed=1))):
        for learner in (eager, compiled):
            learner.reset(start)
            for t in range(3):
                learner.step(draw(2, 3, seed=t))
                learner.accumulate(draw(2, 5, seed=t))
        assert_same(a, b)


# ---- stacks


class Layer(nn.Cell):
    """A layer with little in it, for which the rules are written below."""

    def __init__(self, input_size, hidden_size, output_size, seed):
        rng = np.random.default_rng(seed)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.decay = nn.Parameter(rng.uniform(0.3, 0.9, hidden_size))
        self.inward = nn.Parameter(rng.standard_normal((hidden_size, input_size)))
        self.outward = nn.Parameter(rng.standard_normal((output_size, hidden_size)))

    def step(self, x, h):
        h = self.decay * h + x @ self.inward.T
        return tr.tanh(h) @ self.outward.T, h


def naive_stack(layers, xs, dys):
    """Each layer's own derivatives, one row of the batch and one number at a time; losses go down within a step."""
    grads = [{k: np.zeros(p.shape) for k, p in layer.named_parameters()} for layer in layers]
    for b in range(xs.shape[1]):
        state = [np.zeros(layer.hidden_size) for layer in layers]
        by_decay = [np.zeros(layer.hidden_size) for layer in layers]
        by_inward = [np.zeros(layer.inward.shape) for layer in layers]
        for x, dy in zip(xs[:, b], dys[:, b]):
            for i, layer in enumerate(layers):
                decay, inward = layer.decay.numpy(), layer.inward.numpy()
                by_decay[i] = decay * by_decay[i] + state[i]
                by_inward[i] = decay[:, None] * by_inward[i] + x
                state[i] = decay * state[i] + inward @ x
                x = layer.outward.numpy() @ np.tanh(state[i])
            for i, layer in reversed([*enumerate(layers)]):
                outward, h = layer.outward.numpy(), np.tanh(state[i])
                dh = outward.T @ dy * (1 - h * h)
                grads[i]["outward"] += np.outer(dy, h)
                grads[i]["decay"] += dh * by_decay[i]
                grads[i]["inward"] += dh[:, None] * by_inward[i]
                dy = layer.inward.numpy().T @ dh
    return {f"cells.{i}.{k}": g for i, found in enumerate(grads) for k, g in found.items()}


@pytest.mark.slow
@pytest.mark.sampled(6)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stack_is_what_it_is_said_to_be(mode, batch):
    layers = [Layer(2, 5, 3, 1), Layer(3, 4, 6, 2), Layer(6, 3, 2, 3)]
    cell, xs, dys = nn.Stacked(layers), draw(7, batch, 2), draw(7, batch, 2, seed=1)
    learner = nn.RTRL(nn.Recurrent(cell), batch, mode=mode)
    assert not learner.exact
    for _ in range(2):  # from the beginning again
        learner.reset()
        ys = []
        for x, dy in zip(xs, dys):
            ys.append(learner.step(x).numpy())
            learner.accumulate(dy)
        with tr.no_grad():
            expected, state = nn.Recurrent(cell, mode="eager")(xs)
        np.testing.assert_allclose(np.stack(ys), expected.numpy(), rtol=1e-12, atol=1e-12)
        for found, s in zip(learner.state, state):
            np.testing.assert_allclose(found.numpy(), s.numpy(), rtol=1e-12, atol=1e-12)
        found, wanted = gradients(cell), naive_stack(layers, xs, dys)
        assert found.keys() == wanted.keys()
        for name, g in wanted.items():
            np.testing.assert_allclose(found[name], g, rtol=1e-11, atol=1e-11, err_msg=name)
    exact = through_time(cell, xs, [dys])[1]
    for name in ("decay", "inward", "outward"):
        np.testing.assert_allclose(found[f"cells.2.{name}"], exact[f"cells.2.{name}"], rtol=1e-10, atol=1e-10)
    assert not np.allclose(found["cells.0.inward"], exact["cells.0.inward"])


def test_a_stack_of_one_is_exact():
    cell, xs = nn.Stacked([nn.LRUCell(3, 4, dtype=np.float64)]), draw(6, 2, 3)
    weights = weights_of(cell, xs)
    found = online(cell, xs, weights)
    assert found[2].exact
    compare(found, through_time(cell, xs, weights), 1e-11)


def test_a_stack_within_a_stack_goes_on_from_a_state():
    inner = nn.Stacked([Layer(3, 4, 3, 2), Layer(3, 3, 2, 3)])
    cell = nn.Stacked([Layer(2, 5, 3, 1), inner])
    learner, x = nn.RTRL(cell, 2), draw(2, 2)
    state = draw(2, 5), (draw(2, 4), draw(2, 3))
    learner.reset(state)
    with tr.no_grad():
        y, after = cell.step(tr.tensor(x), tree.map(tr.tensor, state))
    np.testing.assert_allclose(learner.step(x).numpy(), y.numpy(), rtol=1e-12)
    for found, s in zip(tree.flatten(learner.state)[0], tree.flatten(after)[0], strict=True):
        np.testing.assert_allclose(found.numpy(), s.numpy(), rtol=1e-12)
    with pytest.raises(tr.errors.ShapeError, match="RTRL: Stacked: state: got"):
        learner.reset(state[0])
