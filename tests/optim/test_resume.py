"""Every optimiser with every schedule goes on from its state bit for bit, in whatever order they are loaded."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.errors import CheckpointError

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.1),
}
SCHEDULES = {
    "step": lambda o: optim.StepLR(o, 3),
    "multistep": lambda o: optim.MultiStepLR(o, [0, 2, 7, 7]),
    "exponential": lambda o: optim.ExponentialLR(o, 0.9),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 6, eta_min=0.01),
    "warmup": lambda o: optim.LinearWarmup(o, 5, 0.1),
    "warmup then cosine": lambda o: optim.LinearWarmup(o, 4, 0.1, after=optim.CosineAnnealingLR(o, 5)),
    "warmup then plateau": lambda o: optim.LinearWarmup(o, 2, 0.1, after=optim.ReduceLROnPlateau(o, patience=0)),
    "plateau": lambda o: optim.ReduceLROnPlateau(o, patience=1, cooldown=1),
}
METRICS = [3.0, 3.0, 3.0, 2.0, 2.5, 2.5, 2.5, -1.0, -1.0, -1.0, -1.0, -2.0]


class Run:
    """Two groups of parameters, one of them seldom with gradients."""

    def __init__(self, optimizer, schedules, load=None, order=()):
        rng = np.random.default_rng(3)
        self.params = [tr.tensor(rng.normal(size=s), requires_grad=True) for s in ((2, 3), (3,), (), (4, 1))]
        groups = [{"params": self.params[:3]}, {"params": self.params[3:], "lr": 0.05, "weight_decay": 0.2}]
        self.optimizer = OPTIMIZERS[optimizer](groups)
        self.schedules = []
        actions = {
            "make": lambda: self.schedules.extend(SCHEDULES[s](self.optimizer) for s in schedules),
            "optimizer": lambda: self.optimizer.load_state_dict(load[0]),
            "schedules": lambda: [s.load_state_dict(x) for s, x in zip(self.schedules, load[1], strict=True)],
        }
        for action in order or ("make",):
            actions[action]()

    def step(self, first, last):
        for i in range(first, last):
            rng = np.random.default_rng(i)
            for number, p in enumerate(self.params):
                g = rng.normal(size=p.shape)
                p.grad = None if number in (1, 3) and i % 3 == 0 else tr.tensor(g)
            self.optimizer.step()
            for schedule in self.schedules:
                schedule.step(METRICS[i])

    def state(self):
        return json.loads(
            json.dumps(
                [self.optimizer.state_dict(), [s.state_dict() for s in self.schedules]], default=np.ndarray.tolist
            )
        )


ORDERS = [("make", "optimizer", "schedules"), ("make", "schedules", "optimizer"), ("optimizer", "make", "schedules")]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 3, 6])
def test_goes_on_bit_for_bit(optimizer, schedule, order, at):
    def as_arrays(state):
        for entry in state[0]["state"].values():
            entry.update((k, np.array(v)) for k, v in entry.items() if k != "step")
        return state

    whole = Run(optimizer, [schedule])
    whole.step(0, at)
    saved = as_arrays(whole.state())
    values = [p.numpy().copy() for p in whole.params]
    whole.step(at, 12)
    resumed = Run(optimizer, [schedule], saved, order)
    with tr.no_grad():
        for p, value in zip(resumed.params, values):
            p.copy_(value)
    resumed.step(at, 12)
    for p, q in zip(whole.params, resumed.params):
        np.testing.assert_array_equal(p.data, q.data)
    assert whole.state() == resumed.state()


@given(
    st.lists(st.sampled_from(sorted(SCHEDULES)), min_size=2, max_size=3), st.sampled_from(ORDERS), st.integers(0, 11)
)
def test_several_schedules_go_on(schedules, order, at):
    whole = Run("sgd", schedules)
    whole.step(0, at)
    resumed = Run("sgd", schedules, whole.state(), order)
    whole.step(at, 12)
    resumed.step(at, 12)
    assert whole.state()[1] == resumed.state()[1]


def test_warmup_made_after_the_optimizers_state_was_loaded():
    def make():
        return optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)

    first = make()
    schedule = optim.LinearWarmup(first, 5, 0.1)
    for _ in range(3):
        schedule.step()
    second = make()
    second.load_state_dict(first.state_dict())
    other = optim.LinearWarmup(second, 5, 0.1)
    other.load_state_dict(schedule.state_dict())
    other.step()
    assert second.param_groups[0]["lr"] == pytest.approx(0.82)


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(SCHEDULES, 2)))
def test_state_of_another_schedule_is_refused(one, other):
    run, target = Run("sgd", [one]), Run("sgd", [other])
    run.step(0, 5)
    target.step(0, 2)
    before = target.state()
    with pytest.raises(CheckpointError, match=r"state_dict: got .*wanted"):
        target.schedules[0].load_state_dict(run.schedules[0].state_dict())
    assert target.state() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lrs": [0.1]}, "got 1 groups, wanted 2"),
        ({"lrs": ["a", 0.1]}, "lrs: got"),
        ({"lrs": [-1.0, 0.1]}, "lrs: got"),
        ({"lrs": 3}, "lrs: got 3"),
        ({"last_epoch": "3"}, "last_epoch: got '3', wanted a whole number from 0 on"),
        ({"last_epoch": 1.5}, "last_epoch: got 1.5"),
        ({"last_epoch": -1}, "last_epoch: got -1"),
        ({"last_epoch": True}, "last_epoch: got True"),
        ({"best": None}, "best: got None, wanted a number"),
        ({"num_bad_epochs": 0.5}, "num_bad_epochs: got 0.5"),
        ({"schedule": 3}, "got a 3, wanted a ReduceLROnPlateau"),
    ],
)
def test_states_of_schedules_with_other_values(change, words):
    run = Run("sgd", ["plateau"])
    state = run.schedules[0].state_dict() | change
    before = run.state()
    with pytest.raises(CheckpointError, match=words):
        run.schedules[0].load_state_dict(state)
    assert run.state() == before
    with pytest.raises(CheckpointError, match="got list, wanted a dict"):
        run.schedules[0].load_state_dict([])


DIFFERENT = [(a, b) for a, b in itertools.permutations(("sgd", "adam", "rmsprop", "adagrad"), 2)]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_state_of_another_optimizer_is_refused(one, other):
    run, target = Run(one, []), Run(other, [])
    run.step(0, 3)
    target.step(0, 2)
    before = target.state()
    with pytest.raises(CheckpointError, match=r"group 0: got no option .*, wanted the state of "):
        target.optimizer.load_state_dict(run.optimizer.state_dict())
    assert target.state() == before


def damage(state, path, value):
    *parents, last = path
    for key in parents:
        state = state[key]
    state[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("param_groups",), 3, "without their parameters"),
        (("param_groups",), [3], "without their parameters"),
        (("param_groups", 0, "params"), [0, 1], r"groups of \[2, 1\] parameters, wanted \[3, 1\]"),
        (("param_groups", 0, "params"), [0, 0, 1], "one number for several"),
        (("param_groups", 0, "params"), ["a", 0, 1], "got 'a' as the number of a parameter"),
        (("param_groups", 0, "lr"), "0.1", "got '0.1' as lr, wanted a number"),
        (("param_groups", 0, "lr"), -1.0, "group 0: lr: got -1.0"),
        (("param_groups", 1, "lr"), float("nan"), "group 1: lr: got nan"),
        (("param_groups", 0, "betas"), 0.9, "got 0.9 as betas, wanted 2 numbers"),
        (("param_groups", 0, "betas"), ["a", 0.1], "as betas"),
        (("param_groups", 0, "amsgrad"), 1, "got 1 as amsgrad, wanted True or False"),
        (("param_groups", 0, "initial_lr"), [], "as initial_lr"),
        (("state",), [1], "got list as 'state'"),
        (("state", 0), 3, "got a number as the state of parameter 0"),
        (("state", 9), {}, "got a state for parameter 9"),
        (("state", "x"), {}, "got 'x' as the number"),
        (("state", 0, "step"), -3, "got -3 as step of parameter 0"),
        (("state", 0, "step"), None, "got None as step"),
        (("state", 0, "exp_avg"), "text", "exp_avg of parameter 0: got dtype"),
        (("state", 0, "exp_avg"), [[1.0], [1.0, 2.0]], "exp_avg of parameter 0: cannot be read"),
        (("state", 0, "exp_avg"), np.zeros((3, 2)), r"got shape \(3, 2\), wanted \(2, 3\)"),
        (("state", 0, "exp_avg"), np.zeros((2, 3), complex), "got dtype complex128"),
    ],
)
def test_states_of_optimizers_with_other_values(path, value, words):
    run = Run("adam", [])
    run.step(0, 3)
    state = run.optimizer.state_dict()
    damage(state, path, value)
    before = run.state()
    with pytest.raises(CheckpointError, match=words):
        run.optimizer.load_state_dict(state)
    assert run.state() == before
    with pytest.raises(CheckpointError, match="got list, wanted 'state'"):
        run.optimizer.load_state_dict([])
