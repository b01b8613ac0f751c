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


@pytest.mark.sampled(2)
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


# ---- methods that run without being named, and attributes of metaclasses


class Meta(type(nn.Cell)):
    level = 2.0


class Doubling(nn.Module):
    def forward(self, x):
        return x * 2.0


class Deriving(Doubling):
    pass


class Called:
    def __call__(self, x):
        return x * 2.0

    def __add__(self, x):
        return x + 2.0

    def __getitem__(self, i):
        return 2.0 + i

    @property
    def gain(self):
        return 2.0


class WithMeta(Cell, metaclass=Meta):
    __gain__ = 2.0


def tripled(self, x):
    return x * 3.0


METHODS = {
    "forward": (Doubling(), lambda c, x, h: c.part(x) * c.w, lambda: setattr(Doubling, "forward", tripled)),
    "inherited forward": (
        Deriving(),
        lambda c, x, h: c.part(x) * c.w,
        lambda: setattr(Deriving, "forward", lambda s, x: x * 5.0),
    ),
    "call": (Called(), lambda c, x, h: c.part(x) * c.w, lambda: setattr(Called, "__call__", tripled)),
    "addition": (Called(), lambda c, x, h: (c.part + x) * c.w, lambda: setattr(Called, "__add__", tripled)),
    "item": (Called(), lambda c, x, h: x * c.part[0] * c.w, lambda: setattr(Called, "__getitem__", lambda s, i: 5.0)),
    "property": (
        Called(),
        lambda c, x, h: x * c.part.gain * c.w,
        lambda: setattr(Called, "gain", property(lambda s: 5.0)),
    ),
    "metaclass": (None, lambda c, x, h: x * type(c).level * c.w, lambda: setattr(Meta, "level", 3.0)),
    "name with underscores": (None, lambda c, x, h: x * c.__gain__ * c.w, lambda: setattr(WithMeta, "__gain__", 3.0)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", METHODS)
def test_methods_replaced_on_the_class(name):
    part, function, change = METHODS[name]
    changes_show(WithMeta(function, part=part), change)
