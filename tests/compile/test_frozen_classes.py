"""Classes that a step reads from: changes of their attributes, methods and metaclasses are seen."""

import dataclasses

import pytest

from tinygrad_rnn import nn

from .frozen import Cell, changes_show, sequence

# ---- objects of users' classes that a class holds


@dataclasses.dataclass
class Settings:
    gain: float = 2.0


class Constant:
    """A descriptor."""

    value = 2.0

    def __get__(self, owner, kind=None):
        return self.value


class Factor:
    gain = 2.0

    def __call__(self, x):
        return x * self.gain


class Held(Cell):
    settings, factor, constant, table = Settings(), Factor(), Constant(), {"a": [Settings()]}

    class Inner:
        gain = 2.0
        deeper = Settings()


HELD = {  # what reads it, and what changes it
    "dataclass": (lambda c, x, h: x * c.w * c.settings.gain, lambda v: setattr(Held.settings, "gain", v)),
    "callable": (lambda c, x, h: c.factor(x * c.w), lambda v: setattr(Factor, "gain", v)),
    "descriptor": (lambda c, x, h: x * c.w * c.constant, lambda v: setattr(Constant, "value", v)),
    "nested class": (lambda c, x, h: x * c.w * c.Inner.gain, lambda v: setattr(Held.Inner, "gain", v)),
    "object of a nested class": (
        lambda c, x, h: x * c.w * c.Inner.deeper.gain,
        lambda v: setattr(Held.Inner.deeper, "gain", v),
    ),
    "dict of lists": (lambda c, x, h: x * c.w * c.table["a"][0].gain, lambda v: setattr(Held.table["a"][0], "gain", v)),
}


@pytest.mark.parametrize("name", HELD)
def test_objects_that_a_class_holds(name):
    function, change = HELD[name]
    cell = Held(function)
    try:
        changes_show(cell, lambda: change(3.0))
    finally:
        change(2.0)


def test_classes_that_come_to_light_late():
    """A class that only an attribute of another leads to, whose names an earlier function has."""
    cell = Held(lambda c, x, h: x * c.w * c.Inner.deeper.gain)
    assert nn.Recurrent(cell).explain().compiled

    def count(c, x, h):
        kind = type(c.Inner.deeper)
        kind.gain += 1.0
        return x * c.w * kind.gain

    layer = nn.Recurrent(Held(count))
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        layer(sequence(2))
    assert Settings.gain == 5.0, "three steps have counted"
    Settings.gain = 2.0
