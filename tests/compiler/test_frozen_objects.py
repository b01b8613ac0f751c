"""What a step reads from functions, methods and objects of all kinds: changes are seen, or the step is refused."""

import abc
import array
import collections
import ctypes
import datetime
import decimal
import enum
import fractions
import functools
import logging
import math
import multiprocessing
import operator
import pathlib
import random
import re
import sys
import threading
import types
import typing
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError

from .frozen import Cell, changes_show, compiles, sequence

# ---- functions


def scale():
    return scale.value


def helper(x, factor=2.0, *, more=1.0):
    return x * factor * more


def other_helper(x, factor=2.0, *, more=1.0):
    return x * factor * more * 7.0


def scaled_by_attribute(c, x, h):
    return x * c.w * scaled_by_attribute.k


scale.value = scaled_by_attribute.k = 2.0
CALLS_HELPER = lambda c, x, h: helper(x * c.w)
FUNCTIONS = {
    "attribute": (lambda c, x, h: x * c.w * scale(), lambda: setattr(scale, "value", 3.0)),
    "new attribute": (
        lambda c, x, h: x * c.w * getattr(scale, "late", 2.0),
        lambda: setattr(scale, "late", 3.0),
    ),
    "attribute of the step": (scaled_by_attribute, lambda: setattr(scaled_by_attribute, "k", 3.0)),
    "code": (CALLS_HELPER, lambda: setattr(helper, "__code__", other_helper.__code__)),
    "defaults": (CALLS_HELPER, lambda: setattr(helper, "__defaults__", (9.0,))),
    "keyword defaults": (CALLS_HELPER, lambda: setattr(helper, "__kwdefaults__", {"more": 4.0})),
    "keyword defaults written": (CALLS_HELPER, lambda: helper.__kwdefaults__.update(more=5.0)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_changed_in_place(name):
    function, change = FUNCTIONS[name]
    changes_show(Cell(function), change)


def test_code_of_the_step_replaced():
    """As an editor's autoreload does it."""

    class Reloaded(Cell):
        def step(self, x, h):
            return x * self.w, h

    def other(self, x, h):
        return x * self.w * 3.0, h

    changes_show(Reloaded(), lambda: setattr(Reloaded.step, "__code__", other.__code__))


# ---- methods of Python's own objects, and getters

CONFIG, STACK, ARRAY = {"scale": 2.0}, [2.0], np.array([2.0])
GET, LOOK, PEEK, ITEM = CONFIG.get, CONFIG.__getitem__, STACK.__getitem__, ARRAY.item
PARTIAL, BY_KEY, BY_NAME = functools.partial(CONFIG.get, "scale"), operator.itemgetter(0), operator.attrgetter("k.z")
CALL_GET = operator.methodcaller("get", "scale")


class Space:
    class k:
        z = 2.0


BOUND = {
    "dict.get": (lambda c, x, h: x * c.w * GET("scale"), lambda: CONFIG.update(scale=3.0)),
    "dict.__getitem__": (lambda c, x, h: x * c.w * LOOK("scale"), lambda: CONFIG.update(scale=4.0)),
    "list.__getitem__": (lambda c, x, h: x * c.w * PEEK(0), lambda: STACK.__setitem__(0, 3.0)),
    "array.item": (lambda c, x, h: x * c.w * ITEM(), lambda: ARRAY.__setitem__(0, 3.0)),
    "partial": (lambda c, x, h: x * c.w * PARTIAL(), lambda: CONFIG.update(scale=5.0)),
    "itemgetter": (lambda c, x, h: x * c.w * BY_KEY(STACK), lambda: STACK.__setitem__(0, 4.0)),
    "attrgetter": (lambda c, x, h: x * c.w * BY_NAME(Space), lambda: setattr(Space.k, "z", 3.0)),
    "methodcaller": (lambda c, x, h: x * c.w * CALL_GET(CONFIG), lambda: CONFIG.update(scale=6.0)),
    "arguments": (lambda c, x, h: x * c.w * len(sys.argv), lambda: sys.argv.append("more")),
}


@pytest.mark.parametrize("name", BOUND)
def test_bound_methods(name):
    function, change = BOUND[name]
    try:
        changes_show(Cell(function), change)
    finally:
        sys.argv[:] = [v for v in sys.argv if v != "more"]


@pytest.mark.parametrize("make", [lambda d: d.get, lambda d: d.__getitem__, lambda d: functools.partial(d.get)])
def test_bound_methods_as_attributes(make):
    table = {"scale": 2.0}
    changes_show(Cell(lambda c, x, h: x * c.w * c.look("scale"), look=make(table)), lambda: table.update(scale=3.0))


# ---- names made up at run time

GAIN_0 = 2.0


class Numbered(Cell):
    gain_0 = 2.0


def test_attributes_by_a_name_that_is_made_up():
    cell = Numbered(lambda c, x, h: x * c.w * getattr(c, f"gain_{c.k}"), k=0)
    changes_show(cell, lambda: setattr(Numbered, "gain_0", 3.0))


settings = types.ModuleType("settings_of_a_user")
settings.gain_0 = 2.0


def test_names_of_a_module_that_are_made_up():
    cell = Cell(lambda c, x, h: x * c.w * getattr(settings, f"gain_{c.k}"), k=0)
    changes_show(cell, lambda: setattr(settings, "gain_0", 3.0))


def test_globals_by_a_name_that_is_made_up():
    cell = Cell(lambda c, x, h: x * c.w * globals()[f"GAIN_{c.k}"], k=0)
    with pytest.warns(RuntimeWarning, match="runs eagerly.*a name that it makes up"):
        nn.Recurrent(cell)(sequence(2))
    with pytest.raises(CompileError, match="a name that it makes up"):
        nn.Recurrent(cell, mode="compiled")(sequence(2))


# ---- objects of classes that are derived from Python's own


def derived(base):
    return type(f"Derived{base.__name__}", (base,), {})


class Slots(dict):
    __slots__ = ("k",)


class Level(enum.IntEnum):
    ONE = 1


KINDS = {
    "dict": lambda: derived(dict)(a=1),
    "list": lambda: derived(list)([1]),
    "tuple": lambda: derived(tuple)((1,)),
    "set": lambda: derived(set)({1}),
    "int": lambda: derived(int)(1),
    "float": lambda: derived(float)(1.0),
    "complex": lambda: derived(complex)(1.0),
    "str": lambda: derived(str)("a"),
    "bytes": lambda: derived(bytes)(b"a"),
    "deque": lambda: derived(collections.deque)([1]),
    "ordered dict": lambda: derived(collections.OrderedDict)(a=1),
    "array": lambda: np.ones(2).view(derived(np.ndarray)),
    "number": lambda: derived(np.float64)(1.0),
    "partial": lambda: functools.partial(len),
    "error": lambda: ValueError("a"),
    "slots of a dict": Slots,
    "member of an enum": lambda: Level.ONE,
    "thread's": threading.local,
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", KINDS)
def test_attributes_of_derived_objects(name):
    value = KINDS[name]()
    value.k = 2.0
    changes_show(Cell(lambda c, x, h: x * c.w * c.value.k, value=value), lambda: setattr(value, "k", 3.0))


class AttributeDict(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def test_a_dict_with_keys_as_attributes():
    value = AttributeDict(k=2.0)
    changes_show(Cell(lambda c, x, h: x * c.w * c.value.k, value=value), lambda: setattr(value, "k", 3.0))


def test_a_tensor_in_an_attribute_of_a_derived_dict():
    value = derived(dict)()
    value.k = tr.tensor([2.0, 2.0])
    changes_show(
        Cell(lambda c, x, h: x * c.w * c.value.k, value=value), lambda: setattr(value, "k", tr.tensor([3.0, 3.0]))
    )


# ---- objects of which only their methods in C can tell what they hold


def element():
    return ElementTree.Element("a", {"scale": "2.0"})


def number_of_torch():
    return pytest.importorskip("torch").tensor(2.0)


def series():
    return pytest.importorskip("pandas").Series({"a": 2.0})


UNREADABLE = {  # an object, how it is read and how it is written to
    "ctypes": (lambda: ctypes.c_double(2.0), lambda v: v.value, lambda v: setattr(v, "value", 3.0)),
    "shared": (lambda: multiprocessing.Value("d", 2.0), lambda v: v.value, lambda v: setattr(v, "value", 3.0)),
    "element": (element, lambda v: float(v.get("scale")), lambda v: v.set("scale", "3.0")),
    "torch": (number_of_torch, float, lambda v: v.fill_(3.0)),
    "pandas": (series, lambda v: float(v["a"]), lambda v: v.__setitem__("a", 3.0)),
}
OBJECT = None


def of_a_global(read):
    return Cell(lambda c, x, h: x * c.w * read(OBJECT))


def of_an_attribute(read):
    return Cell(lambda c, x, h: x * c.w * read(c.value), value=OBJECT)


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("place", [of_a_global, of_an_attribute])
@pytest.mark.parametrize("name", UNREADABLE)
def test_objects_that_cannot_be_read(name, place):
    global OBJECT
    make, read, write = UNREADABLE[name]
    x, found = sequence(2), []
    for mode in ("eager", "auto"):
        OBJECT = value = make()
        cell = place(read)
        layer = nn.Recurrent(cell, mode=mode)
        step = layer.stepper(2)
        found.append([layer(x)[0].numpy(), np.asarray(step(x[0]))])
        write(value)
        found[-1] += [layer(x)[0].numpy(), np.asarray(step(x[0]))]
        assert not any(np.array_equal(a, b) for a, b in zip(found[-1][:2], found[-1][2:]))
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(CompileError, match="nothing tells whether it has changed"):
        nn.Recurrent(cell, mode="compiled")(x)


def test_writes_to_such_an_object_by_the_step_are_not_doubled():
    counter = ctypes.c_int(0)

    def function(c, x, h):
        counter.value += 1
        return x * c.w

    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        nn.Recurrent(Cell(function))(sequence(2))
    assert counter.value == 3


def test_the_decimal_context():
    with pytest.warns(RuntimeWarning, match="decimal context"):
        nn.Recurrent(Cell(lambda c, x, h: x * c.w * decimal.getcontext().prec))(sequence(2))


class Raising:
    def __init__(self, name):
        self.name = name

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "name"):
            raise RuntimeError("no look at it")
        return object.__getattribute__(self, name)


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("name", ["__dict__", "__class__"])
def test_objects_that_do_not_let_themselves_be_looked_at(name):
    cell = Cell(lambda c, x, h: x * c.w, value=Raising(name))
    results = []
    for mode in ("eager", "auto"):
        layer = nn.Recurrent(cell, mode=mode)
        results += [layer(sequence(2))[0].numpy(), np.stack([np.asarray(layer.stepper(2)(sequence(2)[0]))] * 3)]
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])


# ---- what goes on compiling

COMMON = {
    "number": 2.0,
    "array": np.ones(2),
    "dtype": np.dtype("float32"),
    "NumPy function": np.tanh,
    "NumPy function that is no ufunc": np.clip,
    "ellipsis": ...,
    "not implemented": NotImplemented,
    "function of the package": tr.tanh,
    "function of math": math.sin,
    "module": math,
    "lock": threading.Lock(),
    "event": threading.Event(),
    "logger": logging.getLogger("a"),
    "date": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    "decimal": decimal.Decimal(2),
    "fraction": fractions.Fraction(1, 2),
    "path": pathlib.Path("."),
    "pattern": re.compile("a"),
    "range": range(3),
    "slice": slice(1, 2),
    "type": types.SimpleNamespace,
    "generator": np.random.default_rng(0),
    "seed": np.random.SeedSequence(0),
    "counter": collections.Counter("ab"),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "chain map": collections.ChainMap({"a": 1}),
    "ordered": collections.OrderedDict(a=1),
    "named tuple": collections.namedtuple("Pair", "a b")(1, 2),
    "array of Python": array.array("d", [1.0]),
    "bytes": bytearray(b"a"),
    "mapping": types.MappingProxyType({"a": 1}),
    "cached": functools.lru_cache(len),
    "version": sys.version_info,
    "polynomial": np.poly1d([1.0, 2.0]),
    "masked array": np.ma.array([1.0, 2.0], mask=[False, True]),
    "NumPy number": np.float64(2.0),
    "Python's function": len,
    "error": ValueError("a"),
    "method": "a".join,
    "class method": datetime.datetime.fromisoformat,
    "getter": operator.itemgetter("a"),
    "None": None,
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", COMMON)
def test_common_attributes_compile(name):
    compiles(Cell(lambda c, x, h: x * c.w, value=COMMON[name], values=[COMMON[name]], _table={"a": (COMMON[name],)}))
    value = COMMON[name]
    compiles(Cell(lambda c, x, h: x * c.w if value is None or value is not None else h))


class Pair(typing.NamedTuple):
    a: float = 2.0
    b: float = 3.0


def test_fields_of_named_tuples_compile():
    compiles(Cell(lambda c, x, h: x * c.w * c.pair.a + Pair(1.0, 2.0).b, pair=Pair()))


class Abstract(Cell, abc.ABC):
    gain = 2.0


def test_abstract_classes_with_names_made_up_compile():
    compiles(Abstract(lambda c, x, h: x * c.w * getattr(c, f"{'g'}ain") if hasattr(c, "w") else h))


# ---- functions whose calls a cache has spared

table = {"gain": 2.0}


def looked_up_gain(number):
    return table["gain"] * number


@functools.lru_cache
def cached_gain(number):
    return looked_up_gain(number)


def test_what_a_cached_function_reads_is_guarded():
    cached_gain(1)  # so that it does not run while the step is traced
    cell = Cell(lambda c, x, h: x * c.w * cached_gain(1))
    changes_show(cell, lambda: (table.update(gain=3.0), cached_gain.cache_clear()))


# ---- chance that no state tells


def test_chance_of_the_system_is_refused():
    cell = Cell(lambda c, x, h: x * c.w * c.chance.random(), chance=random.SystemRandom())
    with pytest.warns(RuntimeWarning, match="runs eagerly.*SystemRandom"):
        a = nn.Recurrent(cell)(sequence(2))[0].numpy()
    assert not np.array_equal(a, nn.Recurrent(cell, mode="eager")(sequence(2))[0].numpy())
    with pytest.raises(CompileError, match="SystemRandom"):
        nn.Recurrent(cell, mode="compiled")(sequence(2))
