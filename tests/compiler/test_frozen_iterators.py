"""Iterators that a step reads from: a compiled loop would read them once, and looking at the step uses up none."""

import collections
import csv
import functools
import io
import itertools
import types

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError

from .frozen import Cell, compiles, sequence


def slowly():
    """Equal values for longer than two trial runs last, then others."""
    yield from [1.0] * 9
    yield from itertools.count(2.0)


MAKERS = {
    "generator": slowly,
    "list iterator": lambda: iter([1.0] * 9 + [*range(2, 200)]),
    "count": itertools.count,
    "cycle": lambda: itertools.cycle([1.0] * 9 + [0.5]),
    "chain": lambda: itertools.chain([1.0] * 9, itertools.repeat(0.5)),
    "map": lambda: map(float, itertools.count()),
    "enumerate's": lambda: map(sum, enumerate(slowly())),
    "array's": lambda: np.arange(200.0).flat,
    "lines": lambda: map(float, io.StringIO("1\n" * 9 + "2\n" * 200)),
    "rows": lambda: map(float, (row[0] for row in csv.reader(["1"] * 9 + ["2"] * 200))),
}
GLOBAL, HELD, MODULE = None, types.SimpleNamespace(), types.ModuleType("values_of_a_user")


class Reader:
    """Takes the next value from what it holds."""

    def __init__(self, values):
        self.values = values

    def __call__(self):
        return next(self.values)


class OnTheClass(Cell):
    values = None


def draw():
    return next(GLOBAL)


def kept(values):
    """A function that closes over the values."""
    return lambda: next(values)


PLACES = {  # how a cell that reads from an iterator is made
    "attribute": lambda it: Cell(lambda c, x, h: x * c.w * next(c.values), values=it),
    "list": lambda it: Cell(lambda c, x, h: x * c.w * next(c.values[0]["a"]), values=[{"a": it}]),
    "object": lambda it: Cell(lambda c, x, h: x * c.w * c.read(), read=Reader(it)),
    "bound method": lambda it: Cell(lambda c, x, h: x * c.w * c.read(), read=it.__next__),
    "method of an object": lambda it: Cell(lambda c, x, h: x * c.w * c.read(), read=Reader(it).__call__),
    "partial": lambda it: Cell(lambda c, x, h: x * c.w * c.read(), read=functools.partial(next, it)),
    "closure": lambda it: Cell(lambda c, x, h: x * c.w * c.read(), read=kept(it)),
    "default": lambda it: Cell(lambda c, x, h, values=it: x * c.w * next(values)),
    "global": lambda it: globals().update(GLOBAL=it) or Cell(lambda c, x, h: x * c.w * next(GLOBAL)),
    "global of a function": lambda it: globals().update(GLOBAL=it) or Cell(lambda c, x, h: x * c.w * draw()),
    "object of a module": lambda it: setattr(HELD, "it", it) or Cell(lambda c, x, h: x * c.w * next(HELD.it)),
    "module": lambda it: setattr(MODULE, "it", it) or Cell(lambda c, x, h: x * c.w * next(MODULE.it)),
    "class": lambda it: (
        setattr(OnTheClass, "values", it) or OnTheClass(lambda c, x, h: x * c.w * next(c.values), other=1)
    ),
}


def values(place, make, mode):
    """Outputs of two calls of a layer and of four steps, all by one cell."""
    layer = nn.Recurrent(PLACES[place](make()), mode=mode)
    found = [layer(sequence(2))[0].numpy() for _ in range(2)]
    step = layer.stepper(2)
    return np.concatenate([*found, np.stack([np.asarray(step(x)) for x in (*sequence(2), sequence(2)[0])])])


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize(("place", "maker"), [*[("attribute", m) for m in MAKERS], *[(p, "generator") for p in PLACES]])
def test_values_are_taken_as_on_the_tape(place, maker):
    make = MAKERS[maker]
    np.testing.assert_array_equal(values(place, make, "auto"), values(place, make, "eager"))


@pytest.mark.parametrize("place", PLACES)
def test_they_are_refused_and_not_used_up(place):
    iterator = itertools.count()
    layer = nn.Recurrent(PLACES[place](iterator), mode="compiled")
    with pytest.raises(CompileError, match="iterator, a count"):
        layer(sequence(2))
    assert "iterator" in layer.explain().reasons[0]
    assert next(iterator) == 0
    layer = nn.Recurrent(layer.cell)
    with pytest.warns(RuntimeWarning, match="runs eagerly.*iterator, a count"):
        layer(sequence(2))
    assert next(iterator) == 4, "three steps have read from it"


class PerSequence(Cell):
    """Takes a value for each sequence."""

    def begin_sequence(self, batch_size):
        self.scale = next(self.values)


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_one_value_a_sequence():
    def outputs(mode):
        cell = PerSequence(lambda c, x, h: x * c.w * c.scale, values=itertools.count(1.0), scale=1.0)
        layer = nn.Recurrent(cell, mode=mode)
        layer.explain()
        return [layer(sequence(2))[0].numpy() for _ in range(4)]

    np.testing.assert_array_equal(outputs("auto"), outputs("eager"))


def test_iterators_that_the_step_makes_itself():
    def function(c, x, h):
        for i, (a, b) in enumerate(zip(c.numbers, reversed(c.numbers))):
            x = x * next(iter([a])) + b * i
        return x * c.w * sum(v for v in c.numbers) + float(next(c.queue.__iter__()))

    compiles(Cell(function, numbers=[1.0, 2.0], queue=collections.deque([1.0])))


def test_an_iterator_of_a_users_class_is_put_back():
    """Its state is attributes."""

    class Count:
        def __init__(self):
            self.n = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.n += 1
            return self.n

    cell = Cell(lambda c, x, h: x * c.w * next(c.values), values=Count())
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        nn.Recurrent(cell)(sequence(2))
    assert cell.values.n == 3


def test_a_file_to_write_to_is_no_iterator(tmp_path):
    with open(tmp_path / "log", "w") as file:
        compiles(Cell(lambda c, x, h: x * c.w, log=file))
