"""The verifiers name what is broken in the tasks after a backward loop, which are broken here by hand."""

import dataclasses

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.runtime import bind_backward
from tinygrad_rnn.compiler.runtime.verify import verify_epilogue
from tinygrad_rnn.kernels.loops.task_codes import AddColumns, Clear, SumRows, TransposedProduct, Vector

from ..golden import CELLS
from .verified import B, T, refused


def epilogue_of(make, monkeypatch, time=T, batch=B, lengths=None):
    """What is verified of the tasks after the backward loop of a cell."""
    found = []

    def keep(epilogue, phases, *others):
        found.append((epilogue, [list(tasks) for tasks in phases], *others))

    monkeypatch.setattr(bind_backward, "verify_epilogue", keep)
    cell = make()
    x = tr.tensor(np.ones((time, batch, cell.input_size), np.float32), requires_grad=True)
    nn.Recurrent(cell, mode="compiled")(x, lengths=lengths)[0].sum().backward()
    return found[0]


def neighbours(record, rows=2):
    """The record with one of its integers less or more by one, but for the distance to the next row of a single row."""
    rows = getattr(record, "rows", rows)
    for name, value in zip(record._fields, record):
        if isinstance(value, tuple):
            across = isinstance(record, AddColumns | TransposedProduct) and name == "source"
            others = list(neighbours(value, 2 if across else rows))
        else:
            others = [value - 1, value + 1] if type(value) is int and (name != "ld" or rows > 1) else []
        yield from (record._replace(**{name: other}) for other in others)


@pytest.mark.slow
@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("name", "time", "batch", "lengths"),
    [*((name, T, B, None) for name in CELLS), ("odd", 3, 33, None), ("gru", T, B, [5, 3])],
)
def test_whatever_is_another_task_after_the_loop_is_found(name, time, batch, lengths, monkeypatch):
    epilogue, phases, *others = epilogue_of(CELLS[name], monkeypatch, time, batch, lengths)
    verify_epilogue(epilogue, phases, *others)
    for tasks in phases:
        for i, task in enumerate(list(tasks)):
            for instead in ([], [task, task], *([t] for t in neighbours(task))):
                tasks[i : i + 1] = instead
                with refused("^epilogue: "):
                    verify_epilogue(epilogue, phases, *others)
                tasks[i : i + len(instead)] = [task]
    verify_epilogue(epilogue, phases, *others)


class Tied(nn.Cell):
    """A matrix that is used twice, a bias that is used twice, a number, and a value for each row of the batch."""

    input_size = hidden_size = 4

    def __init__(self):
        self.w = nn.Parameter(np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(4, 4))
        self.b = nn.Parameter(np.ones(4, np.float32))
        self.c = nn.Parameter(np.float32(0.5))

    def begin_sequence(self, batch_size):
        self.rows = tr.zeros((batch_size, 4)) + self.b

    def step(self, x, h):
        h = tr.tanh(x @ self.w + h @ self.w.T + self.b) * self.c + self.b * h + self.rows
        return h, h


def into_another_gradient(phases):
    task = next(t for t in phases[0] if isinstance(t, TransposedProduct))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(at=task.target.at + task.target.ld))


def behind_the_gradients(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(at=10**6))


def from_another_arena(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(source=task.source._replace(array="forward_arena"))


def some_rows(phases):
    task = next(t for t in phases[-1] if isinstance(t, SumRows))
    phases[-1][phases[-1].index(task)] = task._replace(rows=task.rows - 1)


def all_shared(phases):
    phases[0] += phases[1]
    phases[1].clear()


def of_another_kind(phases):
    phases[0].append(Clear(Vector("grads", 0), 1))


def added_to_an_array_of_the_callers(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(array="x0"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("how", "match"),
    [
        (into_another_gradient, "at the same time|leaves grads|over what another|the gradient of b"),
        (behind_the_gradients, "leaves grads"),
        (from_another_arena, "nobody has written"),
        (some_rows, "wanted all"),
        (all_shared, "at the same time"),
        (of_another_kind, "wanted a product or a sum"),
        (added_to_an_array_of_the_callers, "wanted it to write to grads"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_broken_tasks_after_the_loop_are_refused(how, match, monkeypatch):
    epilogue, phases, *others = epilogue_of(Tied, monkeypatch)
    verify_epilogue(epilogue, phases, *others)
    how(phases)
    with refused(f"^epilogue: .*({match})"):
        verify_epilogue(epilogue, phases, *others)


def test_a_sum_of_the_loop_is_one_sum(monkeypatch):
    epilogue, phases, *others = epilogue_of(Tied, monkeypatch)
    outputs = epilogue.plan.reverse.outputs
    root = next(r for r in outputs if r.add)
    outputs.append(dataclasses.replace(root, value=next(r.value for r in outputs if r.value is not root.value)))
    with refused("^epilogue: .*so is another value"):
        verify_epilogue(epilogue, phases, *others)


def test_packed_matrices_for_inputs_are_those_of_the_step(monkeypatch):
    epilogue, phases, *others = epilogue_of(CELLS["lstm"], monkeypatch)
    packing = epilogue.packing
    for i, task in enumerate(list(packing.tasks)):
        for instead in ([], [task, task], *([t] for t in neighbours(task))):
            packing.tasks[i : i + 1] = instead
            with refused("^epilogue: "):
                verify_epilogue(epilogue, phases, *others)
            packing.tasks[i : i + len(instead)] = [task]
    verify_epilogue(epilogue, phases, *others)
