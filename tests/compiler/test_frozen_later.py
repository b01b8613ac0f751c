"""What comes later: names that step in before others, caches that are cleared, attributes that a step adds."""

import abc
import builtins
import functools
import logging
import queue
import sys
import threading
import types

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError

from .frozen import Cell, changes_show, sequence

# ---- names that step in before those that the step has read


class Options:
    pass


class Late(Cell):
    pass


class Abstract(abc.ABC):  # noqa: B024
    pass


def optional(c, x, h):
    try:
        return x * c.w * options.late
    except AttributeError:
        return x * c.w


def optional_global(c, x, h):
    try:
        return x * c.w * LATE
    except NameError:
        return x * c.w


options, settings = Options(), types.ModuleType("settings_with_getattr")
settings.__getattr__ = lambda name: 2.0 if name == "gain" else object.__getattribute__(settings, name)
sys.modules["settings_with_getattr"] = settings
sys.modules["settings_of_later"] = later = types.ModuleType("settings_of_later")
LATER = {
    "property of the cell": (
        lambda c, x, h: x * c.w * c.gain,
        lambda: setattr(Late, "gain", property(lambda self: 3.0, lambda self, value: None)),
    ),
    "__getattribute__ of the cell": (
        lambda c, x, h: x * c.w * c.gain,
        lambda: setattr(Late, "__getattribute__", lambda s, n: 3.0 if n == "gain" else object.__getattribute__(s, n)),
    ),
    "attribute of a class": (optional, lambda: setattr(Options, "late", 3.0)),
    "attribute of an object": (optional, lambda: setattr(options, "late", 3.0)),
    "hasattr of a module": (
        lambda c, x, h: x * c.w * (later.gain if hasattr(later, "gain") else 1.0),
        lambda: setattr(later, "gain", 3.0),
    ),
    "attribute of a module": (lambda c, x, h: x * c.w * settings.gain, lambda: setattr(settings, "gain", 3.0)),
    "global": (optional_global, lambda: globals().update(LATE=3.0)),
    "builtin": (optional_global, lambda: setattr(builtins, "LATE", 4.0)),
    "global before a builtin": (lambda c, x, h: x * c.w * max(1.0, 2.0), lambda: globals().update(max=lambda *a: 9.0)),
    "registered class": (
        lambda c, x, h: x * c.w * (2.0 if isinstance(options, Abstract) else 1.0),
        lambda: Abstract.register(Options),
    ),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", LATER)
def test_names_that_come_later(name):
    function, change = LATER[name]
    try:
        changes_show(Late(function, gain=2.0), change)
    finally:
        for cls, names in ((Late, ("gain", "__getattribute__")), (Options, ("late",))):
            for n in names:
                if n in vars(cls):
                    delattr(cls, n)
        vars(options).clear()
        for n in ("LATE", "max"):
            globals().pop(n, None)
        vars(builtins).pop("LATE", None)


# ---- functions with a state of their own


class Scale:
    k = 2.0

    def by(self, number):
        return self.k * number


@pytest.mark.parametrize("cached", [functools.lru_cache, functools.cache])
def test_a_cache_that_is_cleared(cached):
    scale, by = Scale(), cached(Scale.by)
    cell = Cell(lambda c, x, h: x * c.w * by(scale, 2))
    by(scale, 1), by(scale, 2)
    scale.k = 5.0  # which shows once the cache is empty
    changes_show(cell, by.cache_clear)


@functools.singledispatch
def weight(value):
    return 1.0


def test_an_implementation_that_is_registered():
    cell = Cell(lambda c, x, h: x * c.w * weight(c.k), k=1)
    changes_show(cell, lambda: weight.register(int, lambda value: 2.0))
    changes_show(cell, lambda: weight.register(int, lambda value: 3.0))


# ---- Python's own objects, and equal keys


def toggled(event):
    return event.clear() if event.is_set() else event.set()


STATES = {
    "level": (lambda: logging.getLogger("level"), lambda v: v.level + 1, lambda v: v.setLevel(30)),
    "level above": (
        lambda: logging.getLogger("above.below"),
        lambda v: 2.0 if v.isEnabledFor(40) else 1.0,
        lambda v: v.parent.setLevel(60),
    ),
    "event": (threading.Event, lambda v: 2.0 if v.is_set() else 1.0, toggled),
    "queue": (queue.Queue, lambda v: v.qsize() + 1.0, lambda v: v.put(1)),
    "key": (
        lambda: {1: 0},
        lambda v: 2.0 if type(next(iter(v))) is int else 3.0,
        lambda v: (v.clear(), v.update({True: 0})),
    ),
    "member": (lambda: {1}, lambda v: 2.0 if type(next(iter(v))) is int else 3.0, lambda v: (v.clear(), v.add(1.0))),
}


@pytest.mark.parametrize("name", STATES)
def test_states_of_pythons_own_objects(name):
    make, read, change = STATES[name]
    logging.getLogger("above").setLevel(10)
    value = make()
    changes_show(Cell(lambda c, x, h: x * c.w * read(c.value), value=value), lambda: change(value))


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_file_that_a_step_writes_to(tmp_path):
    found = []
    for mode in ("eager", "auto"):
        with open(tmp_path / mode, "w") as file:
            cell = Cell(lambda c, x, h: x * c.w + 0.0 * c.log.write("step\n"), log=file)
            nn.Recurrent(cell, mode=mode)(sequence(2))
        found.append((tmp_path / mode).read_text())
    assert found[0] == 3 * "step\n"
    assert found[1].endswith(found[0])
    with open(tmp_path / "more", "w") as cell.log, pytest.raises(CompileError, match="writes a file"):
        nn.Recurrent(cell, mode="compiled")(sequence(2))


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_queue_that_a_step_takes_from():
    """A look at the step takes nothing out."""
    found = []
    for mode in ("eager", "auto"):
        values = queue.Queue()
        for i in range(20):
            values.put(float(i))
        layer = nn.Recurrent(Cell(lambda c, x, h: x * c.w * c.values.get(), values=values), mode=mode)
        found.append(np.stack([layer(sequence(2))[0].numpy() for _ in range(3)]))
    np.testing.assert_array_equal(*found)


# ---- what a step adds is not there after a look at it


def counted_on_an_object(c, x, h):
    c.part.n = getattr(c.part, "n", 0) + 1
    return x * c.w * c.part.n


def counted_on_a_class(c, x, h):
    Options.n = getattr(Options, "n", 0) + 1
    return x * c.w * Options.n


def counted_on_a_function(c, x, h):
    counted_on_a_function.n = getattr(counted_on_a_function, "n", 0) + 1
    return x * c.w * counted_on_a_function.n


def counted_by_a_global(c, x, h):
    global COUNTED
    COUNTED = globals()["COUNTED"] + 1 if "COUNTED" in globals() else 1
    return x * c.w * COUNTED


def counted_on_a_module(c, x, h):
    if not hasattr(settings_of_counts, "n"):
        settings_of_counts.n = 0
    settings_of_counts.n += 1
    return x * c.w * settings_of_counts.n


settings_of_counts = types.ModuleType("settings_of_counts")
COUNTERS = [counted_on_an_object, counted_on_a_class, counted_on_a_function, counted_by_a_global, counted_on_a_module]


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("function", COUNTERS, ids=lambda f: f.__name__)
def test_counters_that_a_step_makes(function):
    found = []
    for mode in ("eager", "auto"):
        globals().pop("COUNTED", None)
        for owner in (Options, counted_on_a_function, settings_of_counts):
            if "n" in vars(owner):
                del owner.n
        layer = nn.Recurrent(Cell(function, part=Options()), mode=mode)
        found.append(np.stack([layer(sequence(2))[0].numpy() for _ in range(3)]))
    np.testing.assert_array_equal(*found)
