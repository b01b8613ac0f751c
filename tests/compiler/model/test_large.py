"""Functions of thousands of operations are planned in time that grows little faster than their number."""

import time

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.model.memory import Memory
from tinygrad_rnn.compiler.model.regions import WINDOW, Region, partition
from tinygrad_rnn.compiler.model.simplify import simplify

from .programs import numbers, program_of


@pytest.mark.slow
def test_a_function_of_thousands_of_operations():
    tr.seed(0)
    layer = nn.Linear(8, 8)

    def deep(x):
        h = x
        for i in range(200):
            h = tr.tanh(layer(h) + x) * 0.5 + h
            if i % 10 == 9:
                h = h / (1.0 + (h * h).mean(axis=-1, keepdims=True))
        return (h * h).mean()

    started = time.process_time()
    program, _ = program_of(deep, numbers(20, 8).astype(np.float32))
    program = simplify(program)
    values = program.values()
    plan = partition(values, program.outputs)
    assert time.process_time() - started < 20  # some 2 seconds
    assert len(values) > 2 * WINDOW
    found = [s.uid for part in plan for s in (part.values if isinstance(part, Region) else (part,))]
    assert len({*found}) == len(found)
    done = {s.uid for s in program.inputs} | {*program.captured}
    for part in plan:
        operands = (*part.inputs, *part.bases) if isinstance(part, Region) else part.operands
        assert {s.uid for s in operands if s.op is not None} <= done, "operands first"
        done |= {s.uid for s in part.values} if isinstance(part, Region) else {part.uid}


def test_memory_is_lent_and_kept():
    memory = Memory(np.dtype(np.float32))
    first, second = memory.new(1000, 3), memory.new(10, 1)
    memory.keep(first[200:300:7], 5)
    memory.keep(np.zeros(4, np.float32), 9)  # not from here
    for step in range(5):
        memory.release(step)
    assert memory.new(10, 8) is second
    assert memory.new(990, 8) is not first
    memory.release(5)
    assert memory.new(990, 8) is first
    assert memory.allocated == 2000 - 10 + 10
