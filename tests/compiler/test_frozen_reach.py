"""What a step cannot read cannot be frozen: it compiles beside it; what it can read by any road is refused."""

import copy
import csv
import dataclasses
import io
import itertools
import operator
import queue
import re
import sqlite3
import struct
import sys
import types

import numba
import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent.scan.code_names import imported, makes_up_names, reads_of_globals

from .frozen import Cell, changes_show, compiles, sequence

# ---- objects that no guard can compare


def opened():
    return open("/dev/null", "w+")


def of_torch(name, *args):
    return getattr(pytest.importorskip("torch"), name)(*args)


UNREAD = {
    "queue": queue.Queue,
    "rows": lambda: csv.reader(["a"]),
    "database": lambda: sqlite3.connect(":memory:"),
    "match": lambda: re.match("a", "a"),
    "struct": lambda: struct.Struct("i"),
    "text": lambda: io.StringIO("a"),
    "file": opened,
    "generator": lambda: (i for i in range(3)),
    "count": itertools.count,
    "torch": lambda: of_torch("zeros", 2),
    "generator of torch": lambda: of_torch("Generator"),
    "frame": lambda: pytest.importorskip("pandas").DataFrame({"a": [1]}),
}
READERS = {
    "attribute": lambda c, x, h: x * c.w * c.gain,
    "getattr": lambda c, x, h: x * c.w * getattr(c, "gain", 3.0) if hasattr(c, "gain") else x,
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_attributes_that_the_step_does_not_read(name, reader):
    value = UNREAD[name]()
    cell = Cell(READERS[reader], gain=2.0, value=value, values=[value], deep=types.SimpleNamespace(value={"a": value}))
    changes_show(cell, lambda: setattr(cell, "gain", 3.0))


@dataclasses.dataclass
class Options:
    scale: float = 2.0
    log: object = None


class Holder:
    def __init__(self, values):
        self.values, self.scale = values, 2.0

    @property
    def next(self):
        return next(self.values)

    def __getitem__(self, key):
        return next(self.values)


ROADS = {  # to an iterator
    "its name": lambda c: next(c.values),
    "a text": lambda c: next(getattr(c, "values")),  # noqa: B009
    "a text that is made up": lambda c: next(getattr(c, "val" + "ues"[c.zero :])),
    "two names": lambda c: next(c.alias[0]),
    "all attributes": lambda c: next(vars(c)["values"]),
    "the dict": lambda c: next(c.__dict__["values"]),
    "a getter": lambda c: next(operator.attrgetter("values")(c)),
    "a property": lambda c: c.holder.next,
    "an operator": lambda c: c.holder[0],
    "a copy": lambda c: next(copy.copy(c.holder).values),
    "fields": lambda c: next(dataclasses.astuple(c.options)[1]),
    "a namespace": lambda c: next(c.space.values),
}


@pytest.mark.parametrize("road", ROADS)
def test_roads_to_an_iterator(road):
    """Refused, and none is used up by looking."""
    found = []
    for mode in ("eager", "auto"):
        values = itertools.count(1)
        cell = Cell(lambda c, x, h: x * c.w * ROADS[road](c), values=values, alias=[values], zero=0)
        cell.holder, cell.space = Holder(values), types.SimpleNamespace(values=values)
        cell.options = Options(2.0, values)
        layer = nn.Recurrent(cell, mode=mode)
        if mode == "eager":
            found.append(layer(sequence(2))[0].numpy())
        else:
            with pytest.warns(RuntimeWarning, match="runs eagerly"):
                found.append(layer(sequence(2))[0].numpy())
    np.testing.assert_array_equal(*found)


def test_a_dataclass_of_which_one_field_is_read():
    with sqlite3.connect(":memory:") as log:
        cell = Cell(lambda c, x, h: x * c.w * c.options.scale, options=Options(2.0, log))
        changes_show(cell, lambda: setattr(cell.options, "scale", 3.0))
    cell = Cell(lambda c, x, h: x * c.w if c.options.log else x, options=Options(2.0, log))
    with pytest.raises(CompileError, match="nothing tells whether it has changed"):
        nn.Recurrent(cell, mode="compiled")(sequence(2))


# ---- globals of which attributes are read

utils = types.SimpleNamespace(lin=itertools.count(), scale=2.0)
module_of_a_user = types.ModuleType("module_of_a_user")
module_of_a_user.lin, module_of_a_user.scale = itertools.count(), 2.0
sys.modules["module_of_a_user"] = module_of_a_user
plain = Options()


class Shadow(Options):
    scale = property(lambda self: 3.0, lambda self, value: None)


def passed_on(options):
    return options.scale


CLASHES = {
    "object": (lambda c, x, h: x * c.lin * utils.scale, lambda: setattr(utils, "scale", 3.0)),
    "module": (lambda c, x, h: x * c.lin * module_of_a_user.scale, lambda: setattr(module_of_a_user, "scale", 3.0)),
    "attribute": (lambda c, x, h: x * c.lin * plain.scale, lambda: setattr(plain, "scale", 3.0)),
    "dict": (lambda c, x, h: x * c.lin * plain.scale, lambda: setattr(plain, "__dict__", {"scale": 4.0})),
    "class": (lambda c, x, h: x * c.lin * plain.scale, lambda: setattr(plain, "__class__", Shadow)),
    "replaced": (lambda c, x, h: x * c.lin * plain.scale, lambda: globals().update(plain=Options(5.0))),
    "passed on": (lambda c, x, h: x * c.lin * passed_on(plain), lambda: setattr(plain, "scale", 6.0)),
    "a name of its own": (lambda c, x, h, o=plain: x * c.lin * o.scale, lambda: None),
    "default": (lambda c, x, h: x * c.lin * Options.scale, lambda: setattr(Options, "scale", 7.0)),
}


@pytest.mark.parametrize("name", [n for n in CLASHES if n != "a name of its own"])
def test_globals_of_which_attributes_are_read(name):
    global plain
    plain = Options()
    function, change = CLASHES[name]
    try:
        changes_show(Cell(function, lin=2.0), change)
    finally:
        Options.scale = 2.0


def test_a_global_that_is_passed_on_is_read_as_a_whole():
    cell = Cell(lambda c, x, h: x * c.w * next(passed_whole(utils)))
    with pytest.raises(CompileError, match="iterator"):
        nn.Recurrent(cell, mode="compiled")(sequence(2))
    assert next(utils.lin) == 0


def passed_whole(space):
    return space.lin


# ---- values of libraries in C that pickle knows, and classes of libraries


def test_types_and_devices_of_torch():
    torch = pytest.importorskip("torch")
    cell = Cell(lambda c, x, h: x * c.w * (2.0 if c.kind is torch.float32 else 3.0), kind=torch.float32)
    changes_show(cell, lambda: setattr(cell, "kind", torch.float64))
    cell = Cell(lambda c, x, h: x * c.w * (2.0 if c.place.type == "cpu" else 3.0), place=torch.device("cpu"))
    changes_show(cell, lambda: setattr(cell, "place", torch.device("meta")))


@pytest.mark.parametrize("library", ["torch.Tensor", "pandas.DataFrame"])
def test_classes_of_libraries_beside_names_that_are_made_up(library):
    name, kind = library.split(".")
    kind = getattr(pytest.importorskip(name), kind)
    cell = Cell(lambda c, x, h: x if isinstance(x, kind) else x * c.w * getattr(c, "ga" + c.rest), gain=2.0, rest="in")
    changes_show(cell, lambda: setattr(cell, "gain", 3.0))


# ---- functions that Numba has compiled


@numba.njit
def square(v):
    return v * v


FACTOR = 2.0


@numba.njit
def times_factor(v):
    return v * FACTOR


@numba.njit
def asks_python(v):
    with numba.objmode(y="float64"):
        y = FACTOR * v
    return y  # noqa: RET504


@numba.njit
def asks_indirectly(v):
    return asks_python(v)


@pytest.mark.slow
def test_jitted_functions_of_numbers():
    cell = Cell(lambda c, x, h: x * c.w * square(c.k) * c.f(1.0), k=2.0, f=square)
    changes_show(cell, lambda: setattr(cell, "k", 3.0))
    changes_show(cell, lambda: setattr(cell, "f", times_factor))


def test_a_jitted_function_that_is_compiled_again():
    def change():
        globals().update(FACTOR=3.0)
        times_factor.recompile()

    changes_show(Cell(lambda c, x, h: x * c.w * times_factor(1.0)), change)


@pytest.mark.parametrize("function", [asks_python, asks_indirectly])
def test_a_jitted_function_that_runs_python_is_refused(function):
    with pytest.raises(CompileError, match="nothing tells whether it has changed"):
        nn.Recurrent(Cell(lambda c, x, h: x * c.w * function(1.0)), mode="compiled")(sequence(2))


# ---- names in code


def spelled(o, k):
    return getattr(o, "a"), hasattr(o, "b"), getattr(o, "c", k + 1), getattr(o.f("x", k), "d", o.g(1)(2))  # noqa: B009


def made_up_at_last(o, k):
    return getattr(o, "a"), getattr(o, "b" + k)  # noqa: B009


MADE_UP = [
    made_up_at_last,
    lambda o, k: getattr(o, k),
    lambda o, k: getattr(o, "a" if k else "b"),
    lambda o, k: getattr(o, f"a{k}", 1),
    lambda o, k: getattr(o, "a" * k),
    lambda o, k: getattr(*o),
    lambda o, k: map(getattr, o, k),
    lambda o, k: vars(o),
    lambda o, k: o.__dict__,
]


def test_names_that_are_made_up():
    assert not makes_up_names(spelled.__code__)
    assert [f for f in MADE_UP if not makes_up_names(f.__code__)] == []


def matches(o):
    match o:
        case Options(scale=2.0):
            return 1
    return 2


def test_patterns_read_attributes():
    assert makes_up_names(matches.__code__)
    cell = Cell(lambda c, x, h: x * c.w * matches(c.options), options=Options())
    changes_show(cell, lambda: setattr(cell.options, "scale", 3.0))


def test_reads_of_globals():
    def function(a):
        import math

        return utils.scale, utils.lin, plain, tr.tanh(a), [FACTOR for _ in a], math

    reads = reads_of_globals(function.__code__)
    assert reads["utils"] == {"scale", "lin"}
    assert reads["tr"] == {"tanh"}
    assert (reads["plain"], reads["FACTOR"]) == (None, None)
    assert "math" in imported(function.__code__)


def test_a_step_that_names_what_it_does_not_reach_compiles():
    compiles(Cell(lambda c, x, h: x * c.w * c.module_of_a_user, module_of_a_user=2.0))
