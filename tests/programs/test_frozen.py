"""What a program would freeze: it is compared at each call, or refused."""

import random
import time

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.programs import reach

from .agreement import same

GAIN = 2.0
TABLE = {"shift": 1.0}
WEIGHT = tr.tensor([1.0, 2.0, 3.0])


def x():
    return tr.tensor(np.array([0.5, -1.0, 2.0], np.float32))


def follows(function, change, *args):
    """Fail unless a compiled function sees a change as the function itself does."""
    args = args or (x(),)
    compiled = tr.compile(function, fallback="error")
    before = function(*args)
    same(compiled(*args), before)
    change()
    same(compiled(*args), function(*args))
    assert not np.array_equal(before.data, function(*args).data)


def test_globals(monkeypatch):
    follows(lambda x: x * GAIN, lambda: monkeypatch.setitem(globals(), "GAIN", 3.0))


def test_containers_behind_globals(monkeypatch):
    follows(lambda x: x + TABLE["shift"], lambda: monkeypatch.setitem(TABLE, "shift", 5.0))


def test_equal_members_of_sets_that_are_others():
    switches: set = {1}

    def change():
        switches.clear()
        switches.add(True)

    follows(lambda x: x * (2.0 if any(value is True for value in switches) else 5.0), change)


def test_tensors_behind_globals(monkeypatch):
    follows(lambda x: x * WEIGHT, lambda: monkeypatch.setitem(globals(), "WEIGHT", tr.tensor([3.0, 3.0, 3.0])))


def test_closures():
    gain = 2.0

    def change():
        nonlocal gain
        gain = 4.0

    follows(lambda x: x * gain, change)


def test_variables_that_are_deleted(monkeypatch):
    monkeypatch.setattr(reach, "OFTEN", 0)
    shift, switches = 2.0, [False]

    def change():
        nonlocal shift
        del shift

    def function(x):
        return x + shift if switches[0] else x * 3.0

    compiled = tr.compile(function, fallback="error")
    same(compiled(x()), function(x()))
    change()
    same(compiled(x()), function(x()))
    shift, switches[0] = 5.0, True
    same(compiled(x()), function(x()))


@pytest.mark.parametrize("often", [0, reach.OFTEN])
def test_attributes_of_functions(monkeypatch, often):
    monkeypatch.setattr(reach, "OFTEN", often)

    def function(x):
        return x * function.gain

    function.gain = 2.0
    follows(function, lambda: setattr(function, "gain", 3.0))
    follows(function, lambda: setattr(function, "__dict__", {"gain": 4.0}))


@pytest.mark.parametrize("often", [0, reach.OFTEN])
def test_modules_at_several_places(monkeypatch, often):
    monkeypatch.setattr(reach, "OFTEN", often)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net.append(net[0])
    follows(net, lambda: net.__setitem__(2, net[1]))
    follows(net, lambda: net.append(net[0]))
    follows(net, lambda: delattr(net, "3"))


def test_attributes_and_modes_of_modules():
    class Net(nn.Module):
        def __init__(self):
            self.gain, self.options, self.drop = 2.0, {"k": [1.0]}, nn.Dropout(1.0)

        def forward(self, x):
            return self.drop(x * self.gain) + self.options["k"][0]

    net = Net()
    net.eval()
    follows(net, lambda: setattr(net, "gain", 3.0))
    follows(net, lambda: net.options["k"].append(net.options["k"].pop() + 1))
    follows(net, net.train)


def test_parameters_are_looked_up_anew():
    net = nn.Linear(3, 2)

    def run(x):
        return net(x)

    follows(run, lambda: net.weight.copy_(np.ones((2, 3))) if net.requires_grad_(False) else None)
    follows(run, lambda: setattr(net.weight, "data", np.full((2, 3), 2.0, np.float32)))
    follows(run, lambda: setattr(net, "weight", nn.Parameter(np.full((4, 3), 5.0, np.float32))) or bias(net))
    follows(run, lambda: net.to("float64") and None, np.ones(3, np.float32) / 3)


def bias(net):
    net.bias = nn.Parameter(np.zeros(4, np.float32))


def test_a_parameter_that_is_frozen_later():
    net = nn.Linear(3, 2)
    compiled = tr.compile(net, fallback="error")
    assert compiled(x()).requires_grad
    net.requires_grad_(False)
    assert not compiled(x()).requires_grad


class Tied(nn.Module):
    def __init__(self):
        self.one = self.other = nn.Parameter(np.array([2.0, 0.5, 1.0], np.float32))
        self.third = nn.Parameter(np.array([1.0, 2.0, 5.0], np.float32))
        self.more = {"of them": [self.one]}

    def forward(self, x):
        return x * self.one + self.other * self.third + self.more["of them"][0] ** 2


def test_parameters_that_are_no_longer_one_or_become_one():
    net, new = Tied(), nn.Parameter(np.array([7.0, 8.0, 9.0], np.float32))
    follows(net, lambda: setattr(net, "other", new))
    follows(net, lambda: net.more.update({"of them": [new]}))
    follows(net, lambda: setattr(net, "third", net.one))
    follows(lambda x: net(x), lambda: setattr(net, "one", net.other))


def test_modules_behind_functions():
    layers = [nn.Linear(3, 3), nn.Linear(3, 3)]

    def inner(x):
        return layers[1](layers[0](x))

    def outer(x, inner=inner):
        return inner(x)

    follows(outer, lambda: setattr(layers[1], "bias", nn.Parameter(np.ones(3, np.float32))))
    follows(outer, lambda: layers.reverse())


def test_numbers_among_the_arguments():
    compiled = tr.compile(lambda x, k, how: x * k if how == "times" else x + k, fallback="error")
    for k, how in ((2, "times"), (3.0, "times"), (3, "plus"), (2, "times")):
        same(compiled(x(), k, how), x() * k if how == "times" else x() + k)


def test_dicts_keep_their_order():
    compiled = tr.compile(lambda d: {k: v * i for i, (k, v) in enumerate(d.items())}, fallback="error")
    for keys in ("ab", "ba"):
        given = {k: x() for k in keys}
        assert [*compiled(given)] == [*keys]
        same(compiled(given), {k: v * i for i, (k, v) in enumerate(given.items())})


def test_the_default_dtype():
    def function(x):
        return x * tr.ones((3,)).sum()

    compiled = tr.compile(function, fallback="error")
    counts = np.array([1, 2, 3])
    assert compiled(counts).dtype == np.float32
    tr.set_default_dtype("float64")
    try:
        assert compiled(counts).dtype == np.float64
    finally:
        tr.set_default_dtype("float32")


class Counter:
    count = 0


def counts(x):
    Counter.count += 1
    return x * Counter.count


def appends(x, seen=[]):  # noqa: B006
    seen.append(1)
    return x * len(seen)


STATE = nn.Linear(3, 3)


def sets_an_attribute(x):
    STATE.last = x * 2
    return STATE.last


def writes_in_place(x):
    x += 1
    return x


def writes_to_a_buffer(x):
    WEIGHT.fill_(1.0)
    return x * WEIGHT


REFUSED = {
    "random number": lambda x: x * random.random(),
    "NumPy's random numbers": lambda x: x * np.random.default_rng().random(3),
    "clock": lambda x: x * time.time(),
    "counter": counts,
    "list that grows": appends,
    "attribute": sets_an_attribute,
    "augmented assignment": writes_in_place,
    "buffer": writes_to_a_buffer,
    "item": lambda x: x * x.sum().item(),
    "branch": lambda x: x if (x > 0).any() else -x,
    "numpy": lambda x: x * np.tanh(x.numpy()),
    "data": lambda x: x * x.data,
    "value of a parameter": lambda x: x * STATE.weight.data[0, 0],
    "gradient mode": lambda x: x * (2 if tr.is_grad_enabled() else 3),
    "an object": lambda x: Counter(),
    "eager layer": lambda x: EAGER(x.reshape((1, 1, 3)))[0],
}
EAGER = nn.RNN(3, 2, mode="eager")


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what):
    Counter.count = 0
    compiled = tr.compile(REFUSED[what], fallback="error")
    given = x()
    with pytest.raises(CompileError):
        compiled(given)
    np.testing.assert_array_equal(given.data, x().data)
    assert Counter.count == 0
    assert not isinstance(getattr(STATE, "last", None), tr.Tensor)
