"""What a step reads around it: changes are seen, and what changes by itself runs on the tape."""

import collections
import copy
import functools
import itertools
import os
import random
import sys
import time
import types

import numba
import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import scan

from .frozen import Cell, Slotted, agree, compiles, run, sequence

# ---- what is outside of the cell

SCALE, CONFIG, COUNT = 2.0, {"scale": [2.0]}, [0]
VECTOR, BIG = np.array([1.0, 2.0], np.float32), np.ones((5000, 2), np.float32)
TENSOR = tr.tensor(np.array([1.0, 2.0], np.float32))
SPACE = types.SimpleNamespace(a=types.SimpleNamespace(b=types.SimpleNamespace(c=types.SimpleNamespace(d=2.0))))
QUEUE, MODULE = collections.deque([2.0]), types.ModuleType("settings_of_a_user")
MODULE.scale = 2.0
sys.modules[MODULE.__name__] = MODULE


def helper(x, factor=2.0, options={"a": 1.0}):  # noqa: B006
    return x * factor * options["a"] * SCALE


def double(x):
    return x * 2.0


class Options:
    scale, table = 2.0, [2.0]


SLOTTED = Slotted(TENSOR)


class Scaler:
    factor = 2.0

    def __init__(self):
        self.own = 1.0

    def __call__(self, x):
        return self.scaled(x) * self.own

    def scaled(self, x):
        return x * self.factor

    @property
    def twice(self):
        return 2 * self.factor


SCALER, PARTIAL = Scaler(), functools.partial(helper, factor=3.0)


def closure():
    box, number = [2.0], 2.0

    def function(c, x, h):
        return x * c.w * box[0] * number

    def change(value):
        nonlocal number
        number = value

    return function, change, box


FUNCTION, CHANGE, BOX = closure()


def put(name, value):
    globals()[name] = value


OUTSIDE = {  # what reads it, and what changes it
    "global number": (lambda c, x, h: x * c.w * SCALE, lambda: put("SCALE", 3.0)),
    "list in a dict": (lambda c, x, h: x * c.w * CONFIG["scale"][0], lambda: CONFIG["scale"].__setitem__(0, 3.0)),
    "array": (lambda c, x, h: x * c.w * VECTOR, lambda: VECTOR.__setitem__(0, 5.0)),
    "array for numbers": (lambda c, x, h: x * c.w * float(VECTOR[1]), lambda: VECTOR.__setitem__(1, 5.0)),
    "another array": (lambda c, x, h: x * c.w * VECTOR, lambda: put("VECTOR", np.full(2, 4.0, np.float32))),
    "large array": (lambda c, x, h: x * c.w * BIG[4999], lambda: BIG.__setitem__(4999, 5.0)),
    "tensor": (lambda c, x, h: x * c.w * TENSOR, lambda: TENSOR.data.__setitem__(0, 5.0)),
    "another tensor": (lambda c, x, h: x * c.w * TENSOR, lambda: put("TENSOR", tr.tensor(np.full(2, 9.0, np.float32)))),
    "namespaces": (lambda c, x, h: x * c.w * SPACE.a.b.c.d, lambda: setattr(SPACE.a.b.c, "d", 3.0)),
    "deque": (lambda c, x, h: x * c.w * QUEUE[0], lambda: QUEUE.__setitem__(0, 3.0)),
    "module": (lambda c, x, h: x * c.w * MODULE.scale, lambda: setattr(MODULE, "scale", 3.0)),
    "imported in the step": (
        lambda c, x, h: x * c.w * __import__("settings_of_a_user").scale,
        lambda: setattr(MODULE, "scale", 4.0),
    ),
    "function": (lambda c, x, h: double(x) * c.w, lambda: put("double", lambda x: x * 3.0)),
    "global of a function": (lambda c, x, h: helper(x) * c.w, lambda: put("SCALE", 5.0)),
    "default": (lambda c, x, h: helper(x) * c.w, lambda: setattr(helper, "__defaults__", (4.0, {"a": 1.0}))),
    "default written": (lambda c, x, h: helper(x) * c.w, lambda: helper.__defaults__[1].update(a=3.0)),
    "partial": (lambda c, x, h: PARTIAL(x) * c.w, lambda: PARTIAL.keywords.update(factor=7.0)),
    "class attribute": (lambda c, x, h: x * c.w * Options.scale, lambda: setattr(Options, "scale", 3.0)),
    "list of a class": (lambda c, x, h: x * c.w * Options.table[0], lambda: Options.table.__setitem__(0, 3.0)),
    "getattr": (lambda c, x, h: x * c.w * getattr(Options, "scale"), lambda: setattr(Options, "scale", 6.0)),  # noqa: B009
    "globals()": (lambda c, x, h: x * c.w * globals()["SCALE"], lambda: put("SCALE", 7.0)),
    "slots": (lambda c, x, h: x * c.w * SLOTTED.scale, lambda: setattr(SLOTTED, "scale", 3.0)),
    "tensor in slots": (
        lambda c, x, h: x * c.w * SLOTTED.vector,
        lambda: setattr(SLOTTED, "vector", tr.tensor(np.full(2, 3.0, np.float32))),
    ),
    "object's method": (lambda c, x, h: SCALER(x) * c.w, lambda: setattr(Scaler, "scaled", lambda self, x: x * 9.0)),
    "object's class": (lambda c, x, h: x * SCALER.factor * c.w, lambda: setattr(Scaler, "factor", 3.0)),
    "object's property": (lambda c, x, h: x * SCALER.twice * c.w, lambda: setattr(Scaler, "factor", 4.0)),
    "object": (lambda c, x, h: SCALER(x) * c.w, lambda: setattr(SCALER, "own", 5.0)),
    "closure": (FUNCTION, lambda: CHANGE(3.0)),
    "list in a closure": (FUNCTION, lambda: BOX.__setitem__(0, 3.0)),
    "environment": (
        lambda c, x, h: x * c.w * float(os.environ.get("A_SCALE_OF_A_STEP", "2")),
        lambda: os.environ.__setitem__("A_SCALE_OF_A_STEP", "3"),
    ),
    "getenv": (
        lambda c, x, h: x * c.w * float(os.getenv("A_SCALE_OF_A_STEP", "2")),
        lambda: os.environ.__setitem__("A_SCALE_OF_A_STEP", "4"),
    ),
    "method of the cell": (lambda c, x, h: c.help(x) * c.w, lambda: setattr(Cell, "help", lambda self, x: x * 3.0)),
    "static method": (lambda c, x, h: c.still(x) * c.w, lambda: setattr(Cell, "still", staticmethod(double))),
    "class attribute of the cell": (lambda c, x, h: x * c.w * c.gain, lambda: setattr(Cell, "gain", 3.0)),
    "default dtype": (lambda c, x, h: x * c.w + tr.zeros(2), lambda: None),
}
Cell.help = lambda self, x: x * 2.0
Cell.still = staticmethod(lambda x: x * 5.0)
Cell.gain = 2.0


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", OUTSIDE)
def test_changes_outside_are_seen(name):
    function, change = OUTSIDE[name]
    cell = Cell(function)
    agree(cell, 2)
    before = run(cell, "auto", 2)
    change()
    agree(cell, 2, 1)
    if name != "default dtype":
        assert not np.array_equal(before[0], run(cell, "auto", 2)[0]), "the change shows"
    compiles(cell)


@pytest.mark.slow
def test_a_step_replaced_on_the_class():
    class Changing(Cell):
        def step(self, x, h):
            return x * self.w, h

    class Derived(Changing):
        pass

    cells = [Changing(), Derived()]
    for factor in (1.0, 2.0, 3.0):
        Changing.step = lambda self, x, h, factor=factor: (x * self.w * factor, h)
        for cell in cells:
            agree(cell, 2)
            compiles(cell)
    Derived.step = lambda self, x, h: (x * self.w * 9.0, h)
    agree(cells[1], 2)
    compiles(cells[1])


def test_settings_of_parts_that_are_not_registered():
    cell = Cell(lambda c, x, h: x * c.w * c._box[0].factor, _box=[nn.Dropout(0.0)])
    cell._box[0].factor = 2.0
    agree(cell, 2)
    cell._box[0].factor = 3.0
    agree(cell, 2)
    compiles(cell)


@pytest.mark.slow
def test_attributes_of_all_kinds():
    cell = Cell(
        lambda c, x, h: x * c.w * c.queue[0] * c.deep.a.b.c.d * c.big[4999, 0] * c.slotted.scale + c.held[0],
        queue=collections.deque([2.0]),
        deep=copy.deepcopy(SPACE),
        big=np.ones((5000, 2), np.float32),
        slotted=Slotted(TENSOR),
        held=collections.deque([tr.tensor(np.ones(2, np.float32))]),
    )
    agree(cell, 2)
    for change in (
        lambda: cell.queue.__setitem__(0, 3.0),
        lambda: setattr(cell.deep.a.b.c, "d", 5.0),
        lambda: cell.big.__setitem__((4999, 0), 2.0),
        lambda: setattr(cell.slotted, "scale", 7.0),
        lambda: cell.held.__setitem__(0, tr.tensor(np.full(2, 3.0, np.float32))),
    ):
        before = run(cell, "auto", 2)
        change()
        agree(cell, 2)
        assert not np.array_equal(before[0], run(cell, "auto", 2)[0])
        compiles(cell)


# ---- what changes by itself

GENERATOR, PYTHONS = np.random.default_rng(0), random.Random(0)
HOLDER = types.SimpleNamespace(rng=np.random.default_rng(1))
COUNTER, CYCLE = itertools.count(), itertools.cycle([1.0, 2.0, 5.0])


def counted(c, x, h):
    COUNT[0] += 1
    return x * c.w * COUNT[0]


def toggled(c, x, h):
    CONFIG["flag"] = not CONFIG.get("flag", False)
    return x * c.w * (1.0 if CONFIG["flag"] else 2.0)


def global_counter(c, x, h):
    global NUMBER
    NUMBER += 1
    return x * c.w * NUMBER


NUMBER = 0


class Counter:
    def __init__(self):
        self.calls = []

    def __call__(self):
        self.calls.append(1)
        return len(self.calls)


def buried(value):
    """Inside lists, dicts and tuples inside each other."""
    for _ in range(3):
        value = [{"inside": (value,)}]
    return value


def innermost(value):
    while isinstance(value, list | dict | tuple):
        (value,) = value.values() if isinstance(value, dict) else value
    return value


@numba.njit
def jitted_draw():
    return np.random.random() + random.random()  # noqa: NPY002


@numba.njit
def seed_jitted():
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def draw_of_torch(generator=None):
    return float(sys.modules["torch"].rand(1, generator=generator))


DEEP = []
RESTLESS = {
    "jitted": lambda c, x, h: x * c.w * jitted_draw(),
    "generator of a module": lambda c, x, h: x * c.w * float(GENERATOR.random()),
    "integers": lambda c, x, h: x * c.w * (1.0 if GENERATOR.integers(2) else 2.0),
    "generator in an object": lambda c, x, h: x * c.w * float(HOLDER.rng.random()),
    "generator in an object of the cell": lambda c, x, h: x * c.w * float(c.holder.rng.random()),
    "Python's generator": lambda c, x, h: x * c.w * PYTHONS.random(),
    "Python's random": lambda c, x, h: x * c.w * random.random(),
    "gauss": lambda c, x, h: x * c.w * random.gauss(0, 1),
    "numpy.random": lambda c, x, h: x * c.w * float(np.random.rand()),  # noqa: NPY002
    "tr.randn": lambda c, x, h: x * c.w + tr.randn((1, 2)),
    "generator deep inside": lambda c, x, h: x * c.w * float(innermost(DEEP[0]).random()),
    "counter deep inside": lambda c, x, h: x * c.w * float(innermost(DEEP[1])()),
    "counter": counted,
    "toggle": toggled,
    "global counter": global_counter,
}


def restart():
    global NUMBER, GENERATOR, PYTHONS
    COUNT[0] = NUMBER = 0
    DEEP[:] = buried(np.random.default_rng(3)), buried(Counter())
    CONFIG["flag"] = False
    GENERATOR, PYTHONS = np.random.default_rng(0), random.Random(0)
    HOLDER.rng = np.random.default_rng(1)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    seed_jitted()
    tr.seed(0)


@pytest.mark.parametrize("name", RESTLESS)
def test_what_changes_by_itself_runs_on_the_tape(name):
    """And nothing is drawn or counted by looking at the step."""
    found = []
    for mode in ("eager", "auto"):
        restart()
        cell = Cell(RESTLESS[name], holder=types.SimpleNamespace(rng=np.random.default_rng(2)))
        found.append([run(cell, mode, batch) for batch in (2, 1)])
    for one, other in zip(*found):
        for a, b in zip(one, other):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(CompileError):
        scan(cell, sequence(2), mode="compiled")


@pytest.mark.parametrize("own", [False, True])
def test_draws_of_torch_are_put_back(own):
    """Whether or not the step is refused before it runs: the stream is that of the tape."""
    torch = pytest.importorskip("torch")
    found = []
    for mode in ("eager", "auto"):
        torch.manual_seed(0)
        cell = Cell(lambda c, x, h: x * c.w * draw_of_torch(c.rng), rng=torch.Generator() if own else None)
        cell.rng = cell.rng and cell.rng.manual_seed(1)
        found.append([run(cell, mode, batch) for batch in (2, 1)])
    for one, other in zip(*found):
        for a, b in zip(one, other):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(CompileError, match="random numbers"):
        scan(cell, sequence(2), mode="compiled")


def read_file():
    with open(__file__) as f:
        return f.readline()


UNSEEN = {
    "clock": lambda c, x, h: x * c.w * time.time(),
    "counted by C": lambda c, x, h: x * c.w * next(COUNTER),
    "cycle": lambda c, x, h: x * c.w * next(CYCLE),
    "hour": lambda c, x, h: x * c.w * time.localtime().tm_hour,
    "id of a new object": lambda c, x, h: x * c.w * (id(object()) % 1000 + time.perf_counter()),
    "file": lambda c, x, h: x * c.w * len(read_file()),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_cannot_be_watched_is_refused(name):
    with pytest.raises(CompileError):
        scan(Cell(UNSEEN[name]), sequence(2), mode="compiled")
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        scan(Cell(UNSEEN[name]), sequence(2))
