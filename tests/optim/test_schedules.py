"""Every schedule against torch.optim.lr_scheduler."""

import json

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.errors import CheckpointError


def optimizer(lrs=(0.5, 0.03)):
    groups = [{"params": [tr.tensor([1.0], requires_grad=True)], "lr": lr} for lr in lrs]
    return optim.SGD(groups)


# name, options. A new schedule adds its rows here.
TABLE = [
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [2, 7, 7, 12], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.9**epoch}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 1 / (1 + epoch), lambda epoch: abs(5 - epoch) / 5]}),
]
PLATEAU = [
    {},
    {"patience": 1, "factor": 0.5},
    {"patience": 0, "cooldown": 3, "threshold": 0.1},
    {"patience": 1, "threshold_mode": "abs", "threshold": 0.3},
    {"mode": "max", "patience": 2, "factor": 0.3},
    {"mode": "max", "patience": 1, "threshold_mode": "abs"},
    {"patience": 0, "factor": 0.5, "min_lr": [0.2, 0.001]},
    {"patience": 0, "factor": 0.9, "eps": 0.01},
]
METRICS = [3.0, 2.9, 2.95, 2.99, 2.0, 2.0, 2.0, 1.99, 2.5, 2.5, 2.5, 0.5, 0.51, 0.52, 0.5, 0.4, 0.4, 0.4, 0.4]


def rates(schedule, steps):
    """Learning rates before and after each step."""
    out = [schedule.get_last_lr()]
    for _ in range(steps):
        schedule.step()
        out.append(schedule.get_last_lr())
    return out


def in_torch(torch, lrs=(0.5, 0.03)):
    return torch.optim.SGD([{"params": [torch.ones(1, requires_grad=True)], "lr": lr} for lr in lrs])


def torch_rates(theirs, schedule, steps):
    out = [[g["lr"] for g in theirs.param_groups]]
    for _ in range(steps):
        theirs.step()
        schedule.step()
        out.append([g["lr"] for g in theirs.param_groups])
    return out


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("name", "options"), TABLE)
def test_as_torch(name, options):
    torch = pytest.importorskip("torch")
    ours = getattr(optim, name)(optimizer(), **options)
    theirs = in_torch(torch)
    schedule = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    assert_close(rates(ours, 30), torch_rates(theirs, schedule, 30))


@pytest.mark.parametrize("options", PLATEAU)
def test_plateau_as_torch(options):
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(), in_torch(torch)
    schedule = optim.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for metric in [*METRICS, float("nan"), float("nan"), float("nan")]:
        schedule.step(metric)
        other.step(metric)
        assert schedule.get_last_lr() == pytest.approx([g["lr"] for g in theirs.param_groups], rel=1e-12)


@pytest.mark.parametrize("warmup_steps", [1, 4])
@pytest.mark.parametrize("start_factor", [0.1, 1.0])
def test_warmup_as_torch(warmup_steps, start_factor):
    torch = pytest.importorskip("torch")
    theirs = in_torch(torch)
    schedule = torch.optim.lr_scheduler.LinearLR(theirs, start_factor, total_iters=warmup_steps)
    ours = optim.LinearWarmup(optimizer(), warmup_steps, start_factor)
    assert_close(rates(ours, 10), torch_rates(theirs, schedule, 10))


@pytest.mark.parametrize(("name", "options"), TABLE)
@pytest.mark.filterwarnings("ignore")  # torch's SequentialLR warns about itself
def test_warmup_and_another_as_torch(name, options):
    torch = pytest.importorskip("torch")
    lr_scheduler = torch.optim.lr_scheduler
    theirs = in_torch(torch)
    parts = [
        lr_scheduler.LinearLR(theirs, 0.25, total_iters=4),
        getattr(lr_scheduler, name)(theirs, **options),
    ]
    schedule = lr_scheduler.SequentialLR(theirs, parts, milestones=[4])
    own = optimizer()
    ours = optim.LinearWarmup(own, 4, 0.25, after=getattr(optim, name)(own, **options))
    assert_close(rates(ours, 30), torch_rates(theirs, schedule, 30))


def test_two_schedules_on_one_optimizer_multiply():
    torch = pytest.importorskip("torch")
    theirs, own = in_torch(torch), optimizer()
    pair = [optim.StepLR(own, 2, 0.5), optim.ExponentialLR(own, 0.9)]
    other = [
        torch.optim.lr_scheduler.StepLR(theirs, 2, 0.5),
        torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9),
    ]
    for _ in range(9):
        for a, b in zip(pair, other):
            theirs.step()
            a.step()
            b.step()
        assert pair[0].get_last_lr() == pytest.approx([g["lr"] for g in theirs.param_groups], rel=1e-12)


def test_warmup_then_plateau():
    own = optimizer((1.0,))
    schedule = optim.LinearWarmup(own, 2, 0.5, after=optim.ReduceLROnPlateau(own, patience=0, factor=0.1))
    assert schedule.needs_metric
    seen = []
    for metric in (9.0, 9.0, 5.0, 6.0, 4.0):
        schedule.step(metric)
        seen.append(own.param_groups[0]["lr"])
    assert seen == pytest.approx([0.75, 1.0, 1.0, 0.1, 0.1])


def everything(own):
    return [
        *(getattr(optim, name)(own, **options) for name, options in TABLE),
        optim.LinearWarmup(own, 5, 0.2),
        optim.LinearWarmup(own, 5, 0.2, after=optim.CosineAnnealingLR(own, 6)),
    ]


@pytest.mark.parametrize("number", range(len(TABLE) + 2))
@pytest.mark.parametrize("at", [1, 5, 6, 9])
def test_state_dict_goes_on_where_it_was_taken(number, at):
    def build():
        own = optimizer()
        if number < len(TABLE):
            name, options = TABLE[number]
            return own, getattr(optim, name)(own, **options)
        after = optim.CosineAnnealingLR(own, 6) if number > len(TABLE) else None
        return own, optim.LinearWarmup(own, 5, 0.2, after=after)

    own, schedule = build()
    rates(schedule, at)
    saved = json.loads(json.dumps([own.state_dict(), schedule.state_dict()]))
    expected = rates(schedule, 12)
    own, schedule = build()
    own.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert rates(schedule, 12) == expected


def test_state_dict_of_plateau():
    def build():
        own = optimizer()
        return own, optim.ReduceLROnPlateau(own, patience=1, cooldown=1)

    own, schedule = build()
    for metric in METRICS[:8]:
        schedule.step(metric)
    saved = own.state_dict(), schedule.state_dict()
    other, resumed = build()
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for metric in METRICS[8:]:
        schedule.step(metric)
        resumed.step(metric)
        assert resumed.get_last_lr() == schedule.get_last_lr()
    assert schedule.get_last_lr() != [0.5, 0.03]


def test_state_dicts_that_do_not_fit():
    own = optimizer()
    with pytest.raises(CheckpointError, match="last_epoch"):
        optim.StepLR(own, 2).load_state_dict({"epoch": 3})
    plain = optim.LinearWarmup(optimizer(), 3)
    with pytest.raises(CheckpointError, match="with a schedule after it"):
        plain.load_state_dict({"last_epoch": 1, "after": {"last_epoch": 0}})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: optim.StepLR(o, 0), "step_size: got 0"),
        (lambda o: optim.StepLR(o, 1.5), "step_size: got 1.5"),
        (lambda o: optim.MultiStepLR(o, [3, -1]), "milestones: got -1"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "T_max: got 0"),
        (lambda o: optim.LinearWarmup(o, 0), "warmup_steps: got 0"),
        (lambda o: optim.LinearWarmup(o, 3, 0.0), "start_factor: got 0.0"),
        (
            lambda o: optim.LinearWarmup(o, 3, 0.5, optim.StepLR(optimizer(), 2)),
            "after: got a schedule of another",
        ),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), "factor: got 1.0"),
        (lambda o: optim.ReduceLROnPlateau(o, mode="up"), "mode: got 'up'"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode: got 'x'"),
        (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr: got 1 values, wanted 2"),
        (lambda o: optim.ReduceLROnPlateau(o).step(), "metric: got none"),
    ],
)
def test_bad_options(make, words):
    with pytest.raises(ValueError, match=words):
        make(optimizer())


def test_a_schedule_wants_an_optimizer():
    with pytest.raises(TypeError, match="optimizer: got list, wanted an Optimizer"):
        optim.StepLR([], 3)


def test_repr():
    assert repr(optim.StepLR(optimizer(), 3)) == "StepLR(step_size=3, gamma=0.1, last_epoch=0)"
