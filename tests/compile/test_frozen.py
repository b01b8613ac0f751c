"""Whatever a step reads, `mode="auto"` gives what the tape gives: for any batch, and after what was read changed."""

import collections
import contextlib
import copy
import functools
import itertools
import math
import os
import random
import sys
import time
import types
import warnings
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan.call_cache import known_of

from .agreement import close

RNG = np.random.default_rng(0)


class Cell(nn.Cell):
    """Runs the function that it is given as its step."""

    input_size = hidden_size = 2

    def __init__(self, function=None, **attributes):
        self.function = function
        self.w = nn.Parameter(np.array([1.0, 2.0], np.float32))
        for name, value in attributes.items():
            setattr(self, name, value)

    def step(self, x, h):
        y = self.function(self, x, h)
        return y, 0.5 * h + y


def sequence(batch, time=3, width=2):
    return np.random.default_rng(batch).uniform(-1, 1, (time, batch, width)).astype(np.float32)


def run(cell, mode, batch):
    """Outputs, final state and gradients of the parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cell.zero_grad()
        x = tr.tensor(sequence(batch, width=cell.input_size), requires_grad=True)
        y, h = scan(cell, x, mode=mode)
        if y.requires_grad:
            ((y * y).sum() + h.sum()).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quiet, _ = scan(cell, x, mode=mode) if mode else (y, h)
        found = [y, h, quiet, x.grad, *[p.grad for p in cell.parameters()]]
        return [None if t is None else t.numpy().copy() for t in found]


def agree(cell, *batches):
    for batch in batches:
        for _ in range(2):  # the second call may take a shorter way
            for a, b in zip(run(cell, "auto", batch), run(cell, "eager", batch), strict=True):
                close(a, b, 3e-5)


def compiles(cell):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(cell, sequence(3, width=cell.input_size), mode="compiled")


# ---- the size of the batch

TABLE = {1: 0.5, 4: 0.25}


def swallowed(cell, x, h):
    try:
        n = float(len(x))
    except Exception:
        n = 100.0
    return x * cell.w / n


SIZES = {
    "len": lambda c, x, h: x * c.w / len(x),
    "size": lambda c, x, h: x * c.w / x.size,
    "int": lambda c, x, h: x * c.w / int(x.shape[0]),
    "float": lambda c, x, h: x * c.w / float(x.shape[0]),
    "numpy.sqrt": lambda c, x, h: x * c.w / float(np.sqrt(x.shape[0])),
    "math.sqrt": lambda c, x, h: x * c.w / math.sqrt(x.shape[0]),
    "math.log": lambda c, x, h: x * c.w * math.log(x.shape[0] + 1),
    "numpy.prod": lambda c, x, h: x * c.w / float(np.prod(x.shape)),
    "numpy.prod of ints": lambda c, x, h: x * c.w / int(np.prod(x.shape, dtype=int)),
    "math.prod": lambda c, x, h: x * c.w / math.prod(x.shape),
    "asarray": lambda c, x, h: x * c.w / np.asarray(x.shape)[0],
    "asarray of ints": lambda c, x, h: x * c.w / float(np.asarray(x.shape, int)[0]),
    "array compared": lambda c, x, h: x * c.w * (1.0 if np.asarray(x.shape)[0] == 1 else 2.0),
    "array_equal": lambda c, x, h: x * c.w * (1.0 if np.array_equal(x.shape, (4, 2)) else 2.0),
    "range": lambda c, x, h: x * c.w * sum(1.0 for _ in range(x.shape[0])),
    "min": lambda c, x, h: x * c.w * min(x.shape[0], 2),
    "max": lambda c, x, h: x * c.w * max(2, x.shape[0]),
    "f-string": lambda c, x, h: x * c.w * len(f"{x.shape[0] * 1000}"),
    "str": lambda c, x, h: x * c.w * (3.0 if str(x.shape[0]) == "4" else 1.0),
    "repr": lambda c, x, h: x * c.w * (3.0 if repr(x.shape) == "(4, 2)" else 1.0),
    "percent": lambda c, x, h: x * c.w * (3.0 if "%d" % x.shape[0] == "4" else 1.0),  # noqa: UP031
    "dict": lambda c, x, h: x * c.w * TABLE.get(x.shape[0], 1.0),
    "dict of shapes": lambda c, x, h: x * c.w * {(4, 2): 3.0}.get(x.shape, 1.0),
    "set": lambda c, x, h: x * c.w * (3.0 if x.shape[0] in {4, 5} else 1.0),
    "list": lambda c, x, h: x * c.w * (3.0 if x.shape[0] in [4, 5] else 1.0),
    "hash": lambda c, x, h: x * c.w * (hash(x.shape) % 3),
    "==": lambda c, x, h: x * c.w * (1.0 if x.shape[0] == 1 else 2.0),
    "!=": lambda c, x, h: x * c.w * (1.0 if x.shape[0] != 1 else 2.0),
    ">": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 1 else 2.0),
    "<=": lambda c, x, h: x * c.w * (1.0 if x.shape[0] <= 1 else 2.0),
    "< 1000": lambda c, x, h: x * c.w * (1.0 if x.shape[0] < 3 else 2.0),
    "other way round": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 3 else 2.0),
    "shapes": lambda c, x, h: x * c.w * (1.0 if x.shape == (4, 2) else 2.0),
    "match": lambda c, x, h: x * c.w * matched(x.shape),
    "times a list": lambda c, x, h: x * c.w * sum([1.0] * x.shape[0]),
    "times a text": lambda c, x, h: x * c.w * len("a" * x.shape[0]),
    "bit_length": lambda c, x, h: x * c.w * x.shape[0].bit_length(),
    "round": lambda c, x, h: x * c.w * round(x.shape[0]),
    "divmod": lambda c, x, h: x * c.w * divmod(x.shape[0], 3)[1],
    "bool": lambda c, x, h: x * c.w * (1.0 if x.shape[0] else 2.0),
    "positive": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 0 else 2.0),
    "slice of ones": lambda c, x, h: x * c.w * float(np.ones(5)[: x.shape[0]].sum()),
    "index": lambda c, x, h: x * c.w * [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][x.shape[0]],
    "broadcast_to": lambda c, x, h: x * c.w + np.broadcast_to(np.float32(2.0), x.shape),
    "broadcast_to, its size": lambda c, x, h: x * c.w / np.broadcast_to(np.float32(2.0), x.shape).size,
    "numpy.zeros": lambda c, x, h: x * c.w + np.zeros(h.shape, np.float32),
    "numpy.ones": lambda c, x, h: x * c.w + np.ones(h.shape, np.float32),
    "numpy.full": lambda c, x, h: x * c.w + np.full(h.shape, 2.0, np.float32),
    "numpy.zeros, its rows": lambda c, x, h: x * c.w * (1.0 if len(np.zeros(h.shape)) == 4 else 2.0),
    "numpy.zeros, its shape": lambda c, x, h: x * c.w / np.zeros(h.shape).shape[0],
    "numpy.ones, their sum": lambda c, x, h: x * c.w / float(np.ones(h.shape[0]).sum()),
    "numpy.linspace": lambda c, x, h: x * c.w * float(np.linspace(0, 1, x.shape[0] + 1)[1]),
    "numpy.eye": lambda c, x, h: x * c.w * float(np.eye(h.shape[0]).mean()),
    "tr.zeros": lambda c, x, h: x * c.w + tr.zeros(h.shape),
    "tr.ones": lambda c, x, h: x * c.w + tr.ones(h.shape),
    "tr.full": lambda c, x, h: x * c.w + tr.full(h.shape, 3.0),
    "tr.zeros_like": lambda c, x, h: x * c.w + tr.zeros_like(h),
    "tr.zeros, their rows": lambda c, x, h: x * c.w * (1.0 if tr.zeros(h.shape).shape[0] == 4 else 2.0),
    "tr.zeros, their size": lambda c, x, h: x * c.w / tr.zeros(h.shape).size,
    "tr.zeros, their length": lambda c, x, h: x * c.w / len(tr.zeros(h.shape)),
    "isinstance int": lambda c, x, h: x * c.w * (1.0 if isinstance(x.shape[0], int) else 2.0),
    "type int": lambda c, x, h: x * c.w * (1.0 if type(x.shape[0]) is int else 2.0),
    "same shape": lambda c, x, h: x * c.w * (1.0 if x.shape == h.shape else 2.0),
    "shape of a parameter": lambda c, x, h: x * c.w * (1.0 if x.shape == c.w.shape else 2.0),
    "first rows": lambda c, x, h: x * c.w * (1.0 if x[:2].shape[0] == 2 else 2.0),
    "swallowed": swallowed,
    "lru_cache": lambda c, x, h: x * c.w * cached(x.shape[0]),
    "mean of rows": lambda c, x, h: x * c.w + x.mean(axis=0),
    "np.size": lambda c, x, h: x * c.w / np.size(x),
    "sized": lambda c, x, h: x * c.w * (1.0 if x.shape[0] * 1.0 == 4.0 else 2.0),
    "sorted": lambda c, x, h: x * c.w * sorted([3, x.shape[0]])[0],
    "enumerate": lambda c, x, h: x * c.w * sum(i for i, _ in enumerate(x)),
    "copied": lambda c, x, h: x * c.w / copy.copy(x.shape)[0],
    "complex": lambda c, x, h: x * c.w * abs(complex(x.shape[0])),
    "unpacked": lambda c, x, h: x * c.w / (lambda b, f: b)(*x.shape),
    "operator": lambda c, x, h: x * c.w / __import__("operator").index(x.shape[0]),
}


def matched(shape):
    match shape:
        case (1, _):
            return 1.0
        case _:
            return 2.0


@functools.cache
def cached(n):
    return float(n)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("order", [(1, 4), (4, 1), (5, 4)])
def test_the_size_of_the_batch(name, order):
    agree(Cell(SIZES[name]), *order)


@pytest.mark.parametrize(
    "name",
    ["tr.zeros", "tr.ones", "tr.full", "tr.zeros_like", "numpy.zeros", "numpy.ones", "numpy.full", "same shape"]
    + ["positive", "bool", "isinstance int"],
)
def test_harmless_questions_compile(name):
    compiles(Cell(SIZES[name]))


@pytest.mark.parametrize("width", [1, 2, 101, 211, 223, 227, 1009])
def test_any_width(width):
    class Wide(nn.Cell):
        input_size = hidden_size = width

        def __init__(self):
            self.u = nn.Parameter(np.random.default_rng(0).uniform(-0.1, 0.1, (width, width)).astype(np.float32))
            self.b = nn.Parameter(np.arange(width, dtype=np.float32) / width)

        def step(self, x, h):
            h = tr.tanh(x @ self.u + h * self.b + tr.zeros(width))
            return h, h

    agree(Wide(), 1, 3)
    compiles(Wide())


class Shifting(nn.Cell):
    """Keeps the number of rows in places of all kinds."""

    input_size = hidden_size = 2

    def begin_sequence(self, batch_size):
        self.n, self.pair, self.box = batch_size, (batch_size, tr.ones(2)), {"n": [batch_size]}
        self.rows, self.mask = np.ones((batch_size, 1), np.float32), tr.ones((batch_size, 2))

    def step(self, x, h):
        y = (
            x * self.mask / self.n
            + self.pair[1] * self.pair[0]
            + self.box["n"][0] * (2.0 if len(self.rows) == 4 else 1)
        )
        return y * self.rows.shape[0] + self.mask.shape[1], y


def test_numbers_of_rows_kept_by_begin_sequence():
    agree(Shifting(), 4, 1, 3)


# ---- tensors are tensors

TENSORS = {
    "isinstance": lambda c, x, h: x * c.w if isinstance(x, tr.Tensor) else x * 0,
    "type": lambda c, x, h: x * c.w if type(h) is tr.Tensor else x * 0,
    "hasattr": lambda c, x, h: x * c.w if hasattr(h, "register_hook") else x * 0,
    "as_tensor": lambda c, x, h: tr.as_tensor(x) * c.w,
    "as_tensor of a parameter": lambda c, x, h: x * tr.as_tensor(c.w),
    "tensor": lambda c, x, h: tr.tensor(x) * c.w,
    "tensor of a parameter": lambda c, x, h: x * tr.tensor(c.w) + x * c.w,
    "is_leaf": lambda c, x, h: x * c.w * (1.0 if h.is_leaf else 2.0),
    "grad": lambda c, x, h: x * c.w * (1.0 if h.grad is None else 2.0),
    "retain_grad": lambda c, x, h: (lambda y: y.retain_grad() or y)(x * c.w),
    "hook": lambda c, x, h: ((x * c.w).register_hook(lambda g: 2 * g) and None) or x * c.w,
    "requires_grad": lambda c, x, h: x * c.w * (1.0 if h.requires_grad else 2.0),
    "requires_grad of a parameter": lambda c, x, h: x * c.w * (1.0 if c.w.requires_grad else 2.0),
    "is_grad_enabled": lambda c, x, h: x * c.w * (1.0 if tr.is_grad_enabled() else 2.0),
    "numpy scalar": lambda c, x, h: x * c.w * np.float32(2.0),
    "detached": lambda c, x, h: x.detach() * c.w,
    "class": lambda c, x, h: x * c.w * (1.0 if h.__class__ is tr.Tensor else 2.0),
    "class name": lambda c, x, h: x * c.w * (1.0 if type(x).__name__ == "Tensor" else 2.0),
    "isinstance parameter": lambda c, x, h: x * c.w * (1.0 if isinstance(c.w, nn.Parameter) else 2.0),
    "copied": lambda c, x, h: copy.copy(x.shape) and x * c.w,
}


@pytest.mark.parametrize("name", TENSORS)
def test_traced_values_are_tensors(name):
    agree(Cell(TENSORS[name]), 1, 3)


@pytest.mark.parametrize("name", ["isinstance", "hasattr", "as_tensor", "as_tensor of a parameter", "tensor"])
def test_questions_about_tensors_compile(name):
    compiles(Cell(TENSORS[name]))


# ---- values of parameters

VALUES = {
    "data": lambda c, x, h: x * c.w.data + x * c.w,
    "data, computed with": lambda c, x, h: x * (c.w.data * 2.0) + x * c.w,
    "a number of data": lambda c, x, h: x * float(c.w.data[0]) + x * c.w,
    "a branch on data": lambda c, x, h: x * c.w * (1.0 if c.w.data[0] > 5 else 2.0),
    "getattr": lambda c, x, h: x * getattr(c.w, "da" + "ta") + x * c.w,
    "tr.tensor": lambda c, x, h: x * tr.tensor(c.w) + x * c.w,
    "copy": lambda c, x, h: x * copy.copy(c.w) + x * c.w,
    "deepcopy": lambda c, x, h: x * copy.deepcopy(c.w) + x * c.w,
    "nn.Parameter": lambda c, x, h: x * nn.Parameter(c.w) + x * c.w,
    "grad": lambda c, x, h: x * c.w * (1.0 if c.w.grad is None else 2.0),
    "detach": lambda c, x, h: x * c.w.detach() + x * c.w,
    "vars": lambda c, x, h: x * vars(c)["w"],
    "list of parameters": lambda c, x, h: x * next(iter(c.parameters())),
    "state_dict": lambda c, x, h: x * list(c.state_dict().values())[0] + x * c.w,  # noqa: RUF015
    "swallowed": lambda c, x, h: x * c.w * suppress(lambda: float(c.w.data[0])),
    "swallowed value": lambda c, x, h: x * c.w * suppress(lambda: float(h.sum())),
    "printed": lambda c, x, h: x * c.w * len(f"{c.w.data[0]:.0f}"),
}


def read_file():
    with open(__file__) as f:
        return f.readline()


def suppress(function):
    with contextlib.suppress(Exception):
        return function()
    return 7.0


@pytest.mark.parametrize("name", VALUES)
def test_values_of_parameters(name):
    cell = Cell(VALUES[name])
    agree(cell, 2)
    with tr.no_grad():
        cell.w.copy_(np.array([10, 2000], np.float32))
    agree(cell, 2, 1)
    cell.w = nn.Parameter(np.array([3.0, 4.0], np.float32))
    agree(cell, 2)


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


class Slotted:
    __slots__ = ("scale", "vector")

    def __init__(self):
        self.scale, self.vector = 2.0, TENSOR


SLOTTED = Slotted()


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


def test_attributes_of_all_kinds():
    cell = Cell(
        lambda c, x, h: x * c.w * c.queue[0] * c.deep.a.b.c.d * c.big[4999, 0] * c.slotted.scale + c.held[0],
        queue=collections.deque([2.0]),
        deep=copy.deepcopy(SPACE),
        big=np.ones((5000, 2), np.float32),
        slotted=Slotted(),
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
RESTLESS = {
    "generator of a module": lambda c, x, h: x * c.w * float(GENERATOR.random()),
    "integers": lambda c, x, h: x * c.w * (1.0 if GENERATOR.integers(2) else 2.0),
    "generator in an object": lambda c, x, h: x * c.w * float(HOLDER.rng.random()),
    "generator in an object of the cell": lambda c, x, h: x * c.w * float(c.holder.rng.random()),
    "Python's generator": lambda c, x, h: x * c.w * PYTHONS.random(),
    "Python's random": lambda c, x, h: x * c.w * random.random(),
    "gauss": lambda c, x, h: x * c.w * random.gauss(0, 1),
    "numpy.random": lambda c, x, h: x * c.w * float(np.random.rand()),  # noqa: NPY002
    "tr.randn": lambda c, x, h: x * c.w + tr.randn((1, 2)),
    "counter": counted,
    "toggle": toggled,
    "global counter": global_counter,
}


def restart():
    global NUMBER, GENERATOR, PYTHONS
    COUNT[0] = NUMBER = 0
    CONFIG["flag"] = False
    GENERATOR, PYTHONS = np.random.default_rng(0), random.Random(0)
    HOLDER.rng = np.random.default_rng(1)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
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


# ---- parameters of others

SHARED = nn.Linear(2, 2)


def owners():
    """A linear map that the cell does not own, by way of ..."""
    linear = nn.Linear(2, 2)
    slotted = Slotted()
    slotted.vector = linear
    return {
        "closure": (linear, Cell(lambda c, x, h: linear(x))),
        "global": (SHARED, Cell(lambda c, x, h: SHARED(x))),
        "partial": (linear, Cell(lambda c, x, h: c.map(x), map=functools.partial(nn.Linear.forward, linear))),
        "bound method": (linear, Cell(lambda c, x, h: c.map(x), map=linear.forward)),
        "weak reference": (linear, Cell(lambda c, x, h: c.map()(x), map=weakref.ref(linear))),
        "set": (linear, Cell(lambda c, x, h: next(iter(c.maps))(x), maps={linear})),
        "slots": (linear, Cell(lambda c, x, h: c.holder.vector(x), holder=slotted)),
        "list": (linear, Cell(lambda c, x, h: c._maps[0](x), _maps=[linear])),
        "parameter alone": (linear, Cell(lambda c, x, h, w=linear.weight: x @ w)),
        "weight of a closure": (linear, Cell(lambda c, x, h: x @ linear.weight + linear.bias)),
    }


@pytest.mark.parametrize("name", owners())
def test_parameters_of_others(name):
    linear, cell = owners()[name]
    options = [{}, {"lengths": [2, 3, 1]}, {"reverse": True}, {"checkpoint_every": 2}]
    for _ in range(2):
        for how in options:
            found = []
            for mode in ("compiled", "eager"):
                linear.zero_grad()
                y, _ = scan(cell, sequence(3), mode=mode, **how)
                y.sum().backward()
                found.append([y.numpy(), linear.weight.grad.numpy()])
            for a, b in zip(*found):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        with tr.no_grad():
            linear.weight.copy_(linear.weight.data * 2 + 1)
            y, _ = scan(cell, sequence(3), mode="compiled")
            np.testing.assert_allclose(y.numpy(), scan(cell, sequence(3), mode="eager")[0].numpy(), rtol=1e-5)
    nn.Recurrent(cell).explain()
    stepper = nn.Recurrent(cell).stepper(2)
    np.testing.assert_allclose(
        stepper(sequence(2)[0]), scan(cell, sequence(2)[:1], mode="eager")[0].numpy()[0], rtol=1e-5
    )


def test_a_weight_replaced_on_a_module_of_another():
    linear = nn.Linear(2, 2)
    cell = Cell(lambda c, x, h: linear(x))
    agree(cell, 2)
    linear.weight = nn.Parameter(np.full((2, 2), 3.0, np.float32))
    agree(cell, 2)
    compiles(cell)


def test_cells_of_the_package_need_no_guards():
    """What they run is this package's and NumPy's; only that the step is still the class's own is looked at."""
    layer = nn.LSTM(2, 2)
    layer(sequence(2))
    (programs,) = known_of(layer._cells[0]).programs.values()
    assert [names for _, names, _ in programs[0].guards.names] == ["step"]
    assert not programs[0].guards.values


def test_columns_of_a_constant_with_a_row_for_each_batch_row():
    class Columns(Shifting):
        def begin_sequence(self, batch_size):
            self.mask = tr.tensor(np.arange(3.0 * batch_size, dtype=np.float32).reshape(batch_size, 3))

        def step(self, x, h):
            y = x * self.mask[:, 1:] + self.mask[:, :1] + h * self.mask[0:, 2:]
            return y, tr.concat([y[:, :1] * self.mask[:, 0:1], x[:, 1:]], axis=-1)

    agree(Columns(), 4, 1, 3)
