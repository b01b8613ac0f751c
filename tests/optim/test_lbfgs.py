"""L-BFGS against torch.optim: the same steps, evaluation for evaluation."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError
from tinygrad_rnn.train import TrainStep

from ..train.models import updating

torch = pytest.importorskip("torch")
OPTIONS = [
    {},
    {"lr": 0.1, "max_iter": 5},
    {"max_iter": 4, "history_size": 2, "lr": 0.3},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 7, "history_size": 3},
    {"line_search_fn": "strong_wolfe", "max_eval": 3, "lr": 50.0},
]


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def logs(x, y):
    return (x * x + 0.1 * y * y + 1).log() + 0.01 * y**4


def closures(loss, start):
    """Parameters, and a function of an optimiser that evaluates, here and in torch, with counts of evaluations."""
    out = []
    here = lambda v: tr.tensor(np.array([v]), requires_grad=True)
    there = lambda v: torch.tensor([v], requires_grad=True, dtype=torch.float64)
    for make in (here, there):
        params, count = [make(v) for v in start], [0]

        def closure(optimizer, params=params, count=count):
            optimizer.zero_grad()
            value = loss(*params).sum()
            value.backward()
            count[0] += 1
            return value

        out.append((params, closure, count))
    return out


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("loss", "start"), [(rosenbrock, (-1.2, 1.0)), (logs, (2.0, -3.0))])
def test_as_torch(loss, start, options):
    (ours, closure, count), (theirs, their_closure, their_count) = closures(loss, start)
    a, b = optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)
    if loss is rosenbrock and "line_search_fn" not in options and options.get("lr", 1.0) == 1.0:
        pytest.skip("leaves the valley")
    for _ in range(4):
        found = a.step(lambda: closure(a)).item(), b.step(lambda: their_closure(b)).item()
        assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-12)
        assert count == their_count
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-9)
    assert a.state_dict()["state"][0]["n_iter"] == b.state_dict()["state"][0]["n_iter"]


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_goes_on_from_a_state():
    for source in range(2):
        pairs = closures(rosenbrock, (-1.2, 1.0))
        options = {"line_search_fn": "strong_wolfe", "max_iter": 3}
        made = [optim.LBFGS(pairs[0][0], **options), torch.optim.LBFGS(pairs[1][0], **options)]
        for optimizer, (_, closure, _) in zip(made, pairs):
            optimizer.step(lambda c=closure, o=optimizer: c(o))
        state = made[source].state_dict()
        other = optim.LBFGS(pairs[0][0])
        other.load_state_dict(state)
        made[0] = other
        for optimizer, (_, closure, _) in zip(made, pairs):
            optimizer.step(lambda c=closure, o=optimizer: c(o))
        for p, q in zip(pairs[0][0], pairs[1][0]):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-7)
    with pytest.raises(CheckpointError, match="got a state without 'prev_flat_grad'"):
        other.load_state_dict({**state, "state": {0: {"n_iter": 1, "d": np.zeros(2)}}})
    with pytest.raises(CheckpointError, match="does not fit LBFGS of 2 numbers"):
        other.load_state_dict({**state, "state": {0: {"n_iter": 1, "d": np.zeros(3)}}})


def test_refuses():
    w = tr.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="LBFGS: closure: got None, wanted a function"):
        optim.LBFGS([w]).step()
    with pytest.raises(ValueError, match="got several groups, wanted one"):
        optim.LBFGS([{"params": [w]}, {"params": [tr.tensor([1.0], requires_grad=True)]}])
    with pytest.raises(ValueError, match="line_search_fn: got 'armijo'"):
        optim.LBFGS([w], line_search_fn="armijo")


def test_in_a_training_step():
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    tr.seed(0)
    model = nn.Linear(1, 1)
    step = TrainStep(model, optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe"), nn.mse_loss)
    losses = [step(x, 3 * x + 1) for _ in range(3)]
    assert losses[-1] < 1e-6 < losses[0]
    assert model.weight.item() == pytest.approx(3.0, abs=1e-3)
    assert step.run([(x, 3 * x + 1)], 2).max() < 1e-6


@pytest.mark.parametrize("make", [
    lambda p: optim.NAdam(p, lr=0.05), lambda p: optim.SGD(p, lr=0.01, maximize=True),
    lambda p: optim.Adam(p, lr=0.01, maximize=True),
])  # fmt: skip
def test_updates_in_python_within_a_training_step(make):
    """As on the tape; and when `maximize` is switched on later."""
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    found = []
    for compiled in (True, False):
        tr.seed(0)
        model = nn.Linear(3, 3)
        optimizer = make(model.parameters())
        run = updating(model, optimizer, compiled)
        for i in range(6):
            if "maximize" in optimizer.param_groups[0]:
                optimizer.param_groups[0]["maximize"] = i % 3 == 0
            run(x, y)
        found.append(model.weight.numpy().copy())
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
