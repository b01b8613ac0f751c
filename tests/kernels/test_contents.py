"""What objects hold is compared with what they held, as Python compares it."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import nn
from tinygrad_rnn.compiler.runtime.contents import Contents
from tinygrad_rnn.core import Tensor
from tinygrad_rnn.kernels.loops.contents import functions

OBJECTS = [1, 2.5, "a", None, (), object(), [], {}]
objects = st.sampled_from(OBJECTS)
dicts = st.dictionaries(st.sampled_from(["a", "b", "c", "d", 7]), objects, max_size=5)


def function_of(dicts, values, lists, kinds):
    contents = Contents()
    contents.dicts(dicts)
    contents.values(values)
    contents.lists(lists)
    contents.kinds(kinds)
    return contents.function()


class Thing:
    pass


class Other(Thing):
    pass


class Space:
    """A dict, a list and an object, which are written to, and what they held."""

    def __init__(self, attributes, items):
        self.thing, self.items = Thing(), [*items]
        for name, value in attributes.items():
            vars(self.thing)[name] = value
        self.kept = [*vars(self.thing)], [*vars(self.thing).values()], [*items]

    def function(self):
        names, values, items = self.kept
        space = vars(self.thing)
        one = [(space, names[0], values[0])] if names else []
        return function_of([(space, names, values)], one, [(self.items, items)], [(self.thing, Thing)])

    def is_same(self):
        """The same, in Python."""
        names, values, items = self.kept
        space = vars(self.thing)
        pairs = [*zip(space, names), *zip(space.values(), values), *zip(self.items, items)]
        return (
            len(space) == len(names)
            and len(self.items) == len(items)
            and all(a is b for a, b in pairs)
            and type(self.thing) is Thing
        )


changes = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(["a", "b", "c", "d", "e"]), objects),
    st.tuples(st.just("delete"), st.sampled_from(["a", "b", "c", "d"]), st.none()),
    st.tuples(st.just("append"), st.none(), objects),
    st.tuples(st.just("replace"), st.integers(0, 3), objects),
    st.tuples(st.just("pop"), st.none(), st.none()),
    st.tuples(st.just("class"), st.none(), st.sampled_from([Thing, Other])),
    st.tuples(st.just("nothing"), st.none(), st.none()),
)


def change(space, what, where, value):
    attributes, items = vars(space.thing), space.items
    if what == "set":
        attributes[where] = value
    elif what == "delete":
        attributes.pop(where, None)
    elif what == "append":
        items.append(value)
    elif what == "replace" and where < len(items):
        items[where] = value
    elif what == "pop" and items:
        items.pop()
    elif what == "class":
        space.thing.__class__ = value


@given(dicts, st.lists(objects, max_size=4), st.lists(changes, max_size=6))
def test_as_python_compares_it(attributes, items, several):
    space = Space(attributes, items)
    same = space.function()
    assert same() == 1
    for one in several:
        change(space, *one)
        assert same() == space.is_same()


def test_put_back_is_the_same():
    space = Space({"a": OBJECTS[5], "b": 1}, [OBJECTS[6]])
    same = space.function()
    space.thing.a = space.items
    gc.collect()
    assert same() == 0
    space.thing.a = OBJECTS[5]
    assert same() == 1
    del space.thing.a
    space.thing.a = OBJECTS[5]  # behind the other one
    assert same() == 0


def test_a_name_without_a_value():
    space: dict = {"x": 1}
    same = function_of([], [(space, "x", 1)], [], [])
    assert same() == 1
    del space["x"]
    assert same() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(t, "data", np.ones(3)),
        lambda t: setattr(t, "requires_grad", False),
        lambda t: t.register_hook(lambda g: g),
        lambda t: setattr(t, "grad", Tensor(np.ones(3))),
    ],
    ids=["array", "frozen", "hook", "gradient"],
)
@pytest.mark.parametrize("kind", [Tensor, nn.Parameter])
def test_slots_of_tensors(change, kind):
    t = kind(np.zeros(3), requires_grad=True)
    contents = Contents()
    contents.slots(t, _array=t._array, requires_grad=True, _node=None, _hooks=None, grad=None)
    same = contents.function()
    t.data[...] = 2
    assert same() == 1
    change(t)
    assert same() == 0


def test_references():
    thing = np.zeros(3)
    contents = Contents()
    contents.references([thing, thing[1:].base])
    same = contents.function()
    assert same() == 1
    other = thing
    assert same() == 0
    del other
    assert same() == 1
    part = thing[:2]
    assert same() == 0
    assert part.base is thing


@pytest.mark.parametrize("function", functions()._fields)
def test_what_is_no_table_is_refused(function):
    called = getattr(functions(), function)
    with pytest.raises(TypeError):
        called()
    with pytest.raises(TypeError):
        called([1, 2])
    assert called(np.zeros(0, np.int64)) == 1
