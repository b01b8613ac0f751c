"""One cycle, schedules one after the other, and functions: against torch.optim.lr_scheduler."""

import json

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.errors import CheckpointError

torch = pytest.importorskip("torch")
LRS = (0.5, 0.03)


def pair(name, **options):
    """The same optimiser here and in torch, with two groups."""
    ours = [{"params": [tr.tensor([1.0], requires_grad=True)], "lr": lr} for lr in LRS]
    theirs = [{"params": [torch.ones(1, requires_grad=True)], "lr": lr} for lr in LRS]
    return getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)


def settings(optimizer):
    return [(g["lr"], g.get("momentum", g.get("betas", (0,))[0])) for g in optimizer.param_groups]


def compare(ours, theirs, a, b, steps):
    for _ in range(steps):
        for one, two in zip(settings(ours), settings(theirs), strict=True):
            assert one == pytest.approx(two, rel=1e-9, abs=1e-15)
        theirs.step()
        a.step()
        b.step()
    assert settings(ours)[0] == pytest.approx(settings(theirs)[0], rel=1e-9)


@pytest.mark.parametrize(("name", "base"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("Adagrad", {})])
@pytest.mark.parametrize(
    "options",
    [
        {"max_lr": 1.0, "total_steps": 20},
        {"max_lr": [1.0, 0.1], "epochs": 4, "steps_per_epoch": 6, "pct_start": 0.4, "div_factor": 10.0},
        {"max_lr": 0.3, "total_steps": 25, "anneal_strategy": "linear", "three_phase": True, "final_div_factor": 50.0},
    ],
    ids=str,
)
def test_one_cycle(name, base, options):
    options = {**options, "cycle_momentum": name != "Adagrad"}
    ours, theirs = pair(name, **base)
    a, b = optim.OneCycleLR(ours, **options), torch.optim.lr_scheduler.OneCycleLR(theirs, **options)
    total = options.get("total_steps", 24)
    compare(ours, theirs, a, b, total - 1)
    with pytest.raises(ValueError, match=f"OneCycleLR: got step {total + 1}, wanted no more than total_steps={total}"):
        a.step()


def test_one_cycle_goes_on_from_a_state():
    first, _ = pair("SGD", momentum=0.9)
    schedule = optim.OneCycleLR(first, 1.0, 20)
    for _ in range(9):
        schedule.step()
    state, options = json.loads(json.dumps(schedule.state_dict())), first.state_dict()
    for loaded_first in (True, False):
        other, _ = pair("SGD", momentum=0.9)
        if loaded_first:
            other.load_state_dict(options)
        again = optim.OneCycleLR(other, 1.0, 20)
        if not loaded_first:
            other.load_state_dict(options)
        again.load_state_dict(state)
        assert settings(other) == settings(first)
        again.step()
    schedule.step()
    for one, two in zip(settings(other), settings(first), strict=True):
        assert one == pytest.approx(two)


def sequences(lib, optimizer, number):
    scheduler = optim if lib is optim else torch.optim.lr_scheduler
    warmup = (
        optim.LinearWarmup(optimizer, 3, 0.25)
        if lib is optim
        else scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    )
    others = [
        [scheduler.ExponentialLR(optimizer, 0.8)],
        [scheduler.CosineAnnealingLR(optimizer, 5), scheduler.StepLR(optimizer, 2, 0.5)],
        [scheduler.LambdaLR(optimizer, lambda e: 1 / (1 + e))],
    ][number]
    return scheduler.SequentialLR(optimizer, [warmup, *others], milestones=[4, 9][: len(others)])


@pytest.mark.filterwarnings("ignore")  # torch's own order of steps
@pytest.mark.parametrize("number", range(3))
def test_sequences(number):
    ours, theirs = pair("SGD")
    a, b = sequences(optim, ours, number), sequences(torch, theirs, number)
    compare(ours, theirs, a, b, 8 if number == 1 else 14)
    state = json.loads(json.dumps(a.state_dict()))
    other, _ = pair("SGD")
    again = sequences(optim, other, number)
    again.load_state_dict(state)
    for _ in range(3):
        assert settings(other) == settings(ours)
        again.step()
        a.step()


def test_a_plateau_comes_last():
    ours, _ = pair("SGD")
    plateau = optim.ReduceLROnPlateau(ours, patience=0, factor=0.5)
    schedule = optim.SequentialLR(ours, [optim.LinearWarmup(ours, 2, 0.5), plateau], [2])
    assert schedule.needs_metric
    for metric in (3.0, 3.0, 3.0, 3.0, 3.0):
        schedule.step(metric)
    assert schedule.get_last_lr() == [0.125, 0.0075]


def test_refuses():
    ours, _ = pair("SGD")
    other, _ = pair("SGD")
    step = optim.StepLR(ours, 2)
    calls = {
        "max_lr: got .*, wanted one rate for each of 2 groups": lambda: optim.OneCycleLR(ours, [1.0], 5),
        "total_steps: got None": lambda: optim.OneCycleLR(ours, 1.0),
        "cycle_momentum: got True for Adagrad": lambda: optim.OneCycleLR(pair("Adagrad")[0], 1.0, 5),
        "anneal_strategy: got 'cubic'": lambda: optim.OneCycleLR(ours, 1.0, 5, anneal_strategy="cubic"),
        "lr_lambda: got 0.5": lambda: optim.LambdaLR(ours, 0.5),
        "lr_lambda: got 1 functions, wanted one for each of 2 groups": lambda: optim.LambdaLR(ours, [lambda e: 1]),
        "lr_lambda: returned -1": lambda: optim.LambdaLR(ours, lambda e: -1),
        "schedulers: got a schedule of another": lambda: optim.SequentialLR(other, [step, step], [3]),
        "milestones: got .3, 2. for 3 schedules": lambda: optim.SequentialLR(ours, [step, step, step], [3, 2]),
        "schedulers: got int": lambda: optim.SequentialLR(ours, [step, 3], [3]),
        "T_0: got 0": lambda: optim.CosineAnnealingWarmRestarts(ours, 0),
    }
    for words, call in calls.items():
        with pytest.raises((ValueError, TypeError), match=words):
            call()
    schedule = optim.SequentialLR(ours, [step, optim.StepLR(ours, 3)], [3])
    with pytest.raises(CheckpointError, match="got no states of 2 schedules"):
        schedule.load_state_dict({**schedule.state_dict(), "schedulers": []})
