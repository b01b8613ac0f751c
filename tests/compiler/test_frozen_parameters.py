"""A step that asks what its tensors are, or reads values of its or others' parameters, gives what the tape gives."""

import contextlib
import copy
import functools
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from .frozen import Cell, Slotted, agree, changes_show, compiles, sequence

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


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", TENSORS)
def test_traced_values_are_tensors(name):
    agree(Cell(TENSORS[name]), 1, 3)


@pytest.mark.parametrize("name", ["isinstance", "hasattr", "as_tensor", "as_tensor of a parameter", "tensor"])
def test_questions_about_tensors_compile(name):
    compiles(Cell(TENSORS[name]))


# ---- parameters indexed by arrays

INDICES = {
    "integers": (lambda c, x, h: x * c.w[c.i], np.array([1, 0])),
    "one of them twice": (lambda c, x, h: x * c.w[c.i], np.array([1, 1])),
    "a tensor": (lambda c, x, h: x * c.w[c.i], tr.tensor([1, 0])),
    "a mask": (lambda c, x, h: x * c.w[c.i].sum(), np.array([True, False])),
    "in a tuple": (lambda c, x, h: x * c.w[None, c.i][0], np.array([1, 0])),
    "of a list": (lambda c, x, h: x * c.w[[1, 0]], np.array([1, 0])),
    "take": (lambda c, x, h: x * tr.take(c.w, c.i), np.array([1, 0])),
    "embedding": (lambda c, x, h: x * tr.embedding(c.w[:, None], c.i)[:, 0], tr.tensor([1, 0])),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", INDICES)
def test_parameters_are_indexed_before_the_loop(name):
    function, i = INDICES[name]
    cell = Cell(function, i=i.copy())
    agree(cell, 1, 3)
    compiles(cell)
    cell.i[...] = 0  # in place, or a new one
    agree(cell, 3)
    cell.i = i.copy()
    agree(cell, 3)
    compiles(cell)


def test_indices_of_the_sequence():
    """A tensor that begin_sequence() makes anew, with other values or the same."""

    class Shuffled(Cell):
        turn = 0

        def begin_sequence(self, batch_size):
            self.i = tr.tensor([1, 0] if self.turn else [0, 1])

        def step(self, x, h):
            return x * self.w[self.i], h

    cell = Shuffled()
    for turn in (0, 1, 1, 0):
        cell.turn = turn
        agree(cell, 3)
        compiles(cell)


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


# ---- parameters of others

tr.seed(0)
SHARED = nn.Linear(2, 2)


def owners():
    """A linear map that the cell does not own, by way of ..."""
    linear = nn.Linear(2, 2)
    return {
        "closure": (linear, Cell(lambda c, x, h: linear(x))),
        "global": (SHARED, Cell(lambda c, x, h: SHARED(x))),
        "partial": (linear, Cell(lambda c, x, h: c.map(x), map=functools.partial(nn.Linear.forward, linear))),
        "bound method": (linear, Cell(lambda c, x, h: c.map(x), map=linear.forward)),
        "weak reference": (linear, Cell(lambda c, x, h: c.map()(x), map=weakref.ref(linear))),
        "set": (linear, Cell(lambda c, x, h: next(iter(c.maps))(x), maps={linear})),
        "slots": (linear, Cell(lambda c, x, h: c.holder.vector(x), holder=Slotted(linear))),
        "list": (linear, Cell(lambda c, x, h: c._maps[0](x), _maps=[linear])),
        "parameter alone": (linear, Cell(lambda c, x, h, w=linear.weight: x @ w)),
        "weight of a closure": (linear, Cell(lambda c, x, h: x @ linear.weight + linear.bias)),
    }


@pytest.mark.sampled(4)
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
    (programs,) = cache_of(layer._cells[0]).programs.values()
    assert [names for _, names, _ in programs[0].guards.names] == ["step"]
    assert not programs[0].guards.values


# ---- one parameter at several places

APART = {
    "untied": lambda cell: setattr(cell, "v", nn.Parameter(np.array([3.0, 4.0], np.float32))),
    "untied in a list": lambda cell: cell.more["it"].__setitem__(0, nn.Parameter(np.array([3.0, 4.0], np.float32))),
    "tied": lambda cell: setattr(cell, "u", cell.w),
}


@pytest.mark.parametrize("change", APART.values(), ids=APART)
def test_parameters_that_are_no_longer_one_or_become_one(change):
    cell = Cell(lambda c, x, h: x * c.w + tr.tanh(h * c.v) * c.u + c.more["it"][0])
    cell.v, cell.more, cell.u = cell.w, {"it": [cell.w]}, nn.Parameter(np.array([0.5, 0.25], np.float32))
    changes_show(cell, lambda: change(cell))
    agree(cell, 3)
