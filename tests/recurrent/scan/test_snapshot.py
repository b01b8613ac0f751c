"""Snapshots see every change of what facts were read of, or say that they do not; and they make calls cheap."""

import array
import collections
import enum
import functools
import types
import weakref

import numpy as np
import pytest

from tests.compiler.frozen import Cell, changes_show
from tinygrad_rnn.recurrent.scan.facts import FactReader
from tinygrad_rnn.recurrent.scan.snapshot import FAILURES, Latest, Snapshot


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Other(Plain):
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a = 1.0


class Color(enum.Enum):
    RED = 1


class DerivedDict(dict):
    pass


def closing(box):
    value = 1.0

    def function(x=1.0, *, more=2.0):
        return value * x * more

    def change():
        nonlocal value
        value = 2.0

    box.append(change)
    return function


def make_function():
    box = []
    function = closing(box)
    return function, box[0]


def changed(make, change):
    return lambda: (value := make(), lambda: change(value))


def referred():
    target = Plain()
    return weakref.ref(target), target


CASES = {
    "attribute": changed(lambda: Plain(a=1.0), lambda v: setattr(v, "a", 2.0)),
    "new attribute": changed(Plain, lambda v: setattr(v, "a", 2.0)),
    "attribute gone": changed(lambda: Plain(a=1.0), lambda v: delattr(v, "a")),
    "class": changed(Plain, lambda v: setattr(v, "__class__", Other)),
    "__dict__": changed(lambda: Plain(a=1.0), lambda v: setattr(v, "__dict__", {"a": 2.0})),
    "deep": changed(lambda: Plain(a=[{"b": (Plain(c=1.0),)}]), lambda v: setattr(v.a[0]["b"][0], "c", 2.0)),
    "namespace": changed(lambda: types.SimpleNamespace(a=1), lambda v: setattr(v, "a", 2)),
    "slots": changed(Slotted, lambda v: setattr(v, "a", 2.0)),
    "new slot": changed(Slotted, lambda v: setattr(v, "b", 2.0)),
    "slot gone": changed(Slotted, lambda v: delattr(v, "a")),
    "list": changed(lambda: [1.0], lambda v: v.append(2.0)),
    "item": changed(lambda: [1.0], lambda v: v.__setitem__(0, 2.0)),
    "deque": changed(lambda: collections.deque([1.0]), lambda v: v.rotate(0) or v.appendleft(2.0)),
    "dict": changed(lambda: {"a": 1.0}, lambda v: v.update(a=2.0)),
    "key": changed(lambda: {"a": 1.0}, lambda v: v.__setitem__("b", v.pop("a"))),
    "order": changed(lambda: collections.OrderedDict(a=1, b=1), lambda v: v.move_to_end("a")),
    "set": changed(lambda: {1.0}, lambda v: v.add(2.0)),
    "array": changed(lambda: np.ones(3), lambda v: v.__setitem__(0, 2.0)),
    "shape of an array": changed(lambda: np.ones(4), lambda v: setattr(v, "shape", (2, 2))),
    "large array": changed(lambda: np.ones(100_000), lambda v: v.__setitem__(0, 2.0)),
    "objects": changed(lambda: np.array([1.0, None]), lambda v: v.__setitem__(0, 2.0)),
    "record": changed(lambda: np.ones(1, [("a", "f8")])[0].copy(), lambda v: v.__setitem__("a", 2.0)),
    "bytes": changed(lambda: bytearray(b"a"), lambda v: v.append(1)),
    "array of Python": changed(lambda: array.array("d", [1.0]), lambda v: v.append(1.0)),
    "partial": changed(lambda: functools.partial(len, [1]), lambda v: v.args[0].append(2)),
    "keywords": changed(lambda: functools.partial(dict, a=1), lambda v: v.keywords.update(a=2)),
    "state of a partial": changed(lambda: functools.partial(len, [1]), lambda v: v.__setstate__((max, (1,), {}, None))),
    "member of an enum": changed(lambda: [Color.RED], lambda v: setattr(Color.RED, "extra", object())),
    "derived": changed(lambda: DerivedDict(a=1), lambda v: v.update(a=2)),
    "counter": changed(lambda: collections.Counter("a"), lambda v: v.update("a")),
    "bound method": changed(lambda: [1].append, lambda v: v(2)),
    "closure": make_function,
    "code": changed(lambda: make_function()[0], lambda v: setattr(v, "__code__", v.__code__.replace())),
    "defaults": changed(lambda: make_function()[0], lambda v: setattr(v, "__defaults__", (3.0,))),
    "keyword defaults": changed(lambda: make_function()[0], lambda v: v.__kwdefaults__.update(more=3.0)),
    "attribute of a function": changed(lambda: make_function()[0], lambda v: setattr(v, "k", 3.0)),
    "attributes of a function": changed(lambda: make_function()[0], lambda v: setattr(v, "__dict__", {"k": 1})),
    "property": changed(lambda: Plain(p=property(make_function()[0])), lambda v: setattr(v.p.fget, "k", 1)),
    "error": changed(lambda: ValueError(1), lambda v: setattr(v, "args", (2,))),
}


@pytest.mark.parametrize("name", CASES)
def test_changes(name):
    value, change = CASES[name]()
    reader = FactReader()
    before = reader.fact(value, False)
    snapshot = Snapshot(reader.entered)
    assert not snapshot.complete or snapshot.holds()
    change()
    if name != "code":  # an equal one
        assert FactReader().fact(value, False) != before, "facts see it"
    try:
        assert not snapshot.complete or not snapshot.holds()
    finally:
        if hasattr(Color.RED, "extra"):
            del Color.RED.extra


def test_references():
    reference, target = referred()
    reader = FactReader()
    reader.fact(reference, False)
    snapshot = Snapshot(reader.entered)
    assert snapshot.complete
    assert snapshot.holds()
    assert reference() is target


def test_no_more_are_taken_of_what_changes_at_every_call():
    latest, values = Latest(), [0]
    for i in range(FAILURES + 3):
        latest.take([values], lambda: True)
        assert latest.holds() == (i <= FAILURES)
        values[0] = object()
        assert not latest.holds()


def test_changes_while_one_is_taken():
    """By another thread, between reading facts and looking at what holds what."""
    latest, values = Latest(), [0]
    latest.take([values], lambda: False)
    assert not latest.holds()


def test_an_equal_object_in_place_of_another():
    cell = Cell(lambda c, x, h: x * c.w * c.options.scale, options=Plain(scale=2.0, more=[1.0]))
    for _ in range(FAILURES + 3):
        changes_show(cell, lambda: setattr(cell.options, "scale", cell.options.scale + 1.0))
        cell.options = Plain(**vars(cell.options))
