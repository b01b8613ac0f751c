"""A loop can be printed in another language: generating one asks a writer for all of its text."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.codegen.generator import LoopGenerator
from tinygrad_rnn.compiler.codegen.layout import Layout
from tinygrad_rnn.compiler.codegen.loop_writer import LoopWriter
from tinygrad_rnn.compiler.ir.lane_language import Apply, Input, Number


class Braces(LoopWriter):
    """A language with braces, in which every operation is a call."""

    def expression(self, tree, inputs, statics=None):
        if isinstance(tree, Number):
            return self.constant(tree.value)
        if isinstance(tree, Apply):
            return f"call({tree.function!r}{''.join(', ' + self.expression(a, inputs, statics) for a in tree.args)})"
        return inputs[tree.position] if isinstance(tree, Input) else statics[tree.name]

    def constant(self, value):
        return f"<{value}>"

    def add(self, terms):
        return f"plus({', '.join(terms)})"

    def select(self, mask, a, b):
        return f"choose({mask}, {a}, {b})"

    def first_lanes(self, count):
        return f"first({count})"

    def is_true(self, x):
        return f"true({x})"

    def across(self, total, combine, unique):
        name = unique("all_lanes")
        return [f"{name} := fold({total}, {self.expression(combine, ['$0', '$1'])});"], name

    def load(self, array, at, count=""):
        return f"{array}[{at} +: {count or 'all'}]"

    def broadcast(self, array, at):
        return f"{array}[{at}]"

    def gather(self, array, at, table, index):
        return f"{array}[{at} + {table}[{index}]]"

    def look_up(self, array, places, count):
        return f"look_up({array}, {places}, {count})"

    def store(self, array, at, value, count=""):
        return f"{self.load(array, at, count)} := {value};"

    def comment(self, text):
        return f"// {text}"

    def assign(self, name, value):
        return f"{name} := {value};"

    def integer(self, at):
        return f"integer({at})"

    def defined(self, line):
        found = re.match(r"\s*(?:(?:repeat|vectors|heads) )?(\w+) (?:=|of)", line)
        return found[1] if found else ""

    def lanes_left(self, width, at):
        return f"rest({width}, {at})"

    def vectors(self, index, width, body):
        return [f"vectors {index} of {width} {{", *body, "}"]

    def repeat(self, index, count, body):
        return [f"repeat {index} of {count} {{", *body, "}"]

    def rows(self, body):
        return ["rows {", *body, "}"]

    def meet(self):
        return ["meet;"]

    def steps(self, body, reverse, table, shift):
        return [f"steps {table} {'down' if reverse else 'up'} by {shift} {{", *body, "}"]

    def product(self, operands, bias, target):
        return [f"product({', '.join(o.array for o in operands)}; {bias}; {target.array});"]

    def heads(self, operand, head, target, by_row):
        rows = "rows" if by_row else f"heads {head}"
        return [f"{rows} of {operand.heads}: add product({operand.array}, {operand.packed}; {target.array});"]

    def function(self, name, arrays, comments, literals, numbers, ints, starts, loop):
        head = [f"{x} := <{v}>;" for x, v in literals.items()] + [f"{x} := {v};" for x, v in starts.items()]
        parameters = ", ".join([*arrays, *numbers, *ints])
        return "\n".join([*map(self.comment, comments), f"{name}({parameters}) {{", *head, *loop, "}"])


class Reducing(nn.Cell):
    input_size = hidden_size = 3

    def __init__(self):
        self.w = nn.Parameter(np.eye(3, dtype=np.float32))

    def step(self, x, h):
        h = tr.softmax(x @ self.w + h, axis=-1) * tr.where(x > 0, 2.0, h.max(axis=-1, keepdims=True))
        return h, h


MADE = [lambda: nn.LSTM(3, 4), lambda: nn.Recurrent(Reducing()), lambda: nn.Recurrent(nn.SLSTMCell(3, 4, heads=2))]


@pytest.mark.parametrize("make", MADE)
def test_another_language(make, monkeypatch):
    layouts = []
    monkeypatch.setattr(Layout, "load", lambda self, load=Layout.load: layouts.append(self) or load(self))
    x = tr.tensor(np.ones((2, 2, 3), np.float32), requires_grad=True)
    make()(x)[0].sum().backward()
    assert {layout.emitter.reverse for layout in layouts} == {False, True}
    for layout in layouts:
        theirs = layout.emitter
        ours = LoopGenerator(layout.schedule, "loop", theirs.reverse, Braces())
        assert ours.book.ints == theirs.book.ints
        assert ours.book.numbers == theirs.book.numbers
        assert ours.book.arrays == theirs.book.arrays
        assert not re.search(r"\bv(load|store|broadcast)|\bgemm|lane_mask|\bfor \w+ in |LANES", ours.source)
        code = [line for line in ours.source.split("\n") if not line.startswith("//")]
        assert "\n".join(code).count("{") == "\n".join(code).count("}")
        assert all(line.endswith((";", "{", "}")) for line in code)
