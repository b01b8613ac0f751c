"""A traced step becomes C statements for one row: products, loops over features, reductions.

Values lie in rows of features, as in the program. A value is computed as soon as what it needs is there, and
elementwise maths on rows of one width shares a loop, in which a value is a number, stored only for what comes later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compiler.ir.lane_language import elementwise_code
from ...compiler.ir.program_ops import CAST, CONCAT, EXPAND, GATHER, JOIN, LOOKUP, MATMUL, ZERO
from ...compiler.ir.symbol import Symbol
from ...compiler.ir.walk import fold
from .expressions import printed
from .heavy import concatenation, expansion, picks, product, reduction
from .places import Places, is_view


class Pending(NamedTuple):
    """A result that is to be written: from the feature `start` of an array of the caller's."""

    array: str
    start: int
    value: Symbol


class StepWriter(Places):
    """Writes the body of a step function."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._users: dict[int, list[Symbol]] = {}
        self._pending: list[Pending] = []
        self._left: list[Symbol] = []  # to be computed

    def write(self) -> str:
        """The statements."""
        self._plan()
        while self._left:
            heavy = next((s for s in self._left if not self._is_elementwise(s) and self._is_ready(s)), None)
            if heavy is not None:
                self._compute(heavy)
            else:
                self._loop(self._group())
        self._finish()
        return "\n".join("    " + line for line in self.lines)

    # ---- what there is to do

    def _plan(self) -> None:
        found: dict[int, Symbol] = {}
        ends = [(f"y{i}", s) for i, s in enumerate(self.program.outputs)]
        ends += [(self._leaf[old.uid], new) for old, new in zip(self.program.states, self.program.new_states)]
        for array, s in ends:
            parts, start = s.args if s.op is CONCAT else (s,), 0
            for part in parts:
                self._pending.append(Pending(array, start, part))
                start += part.width
                fold(part, found, lambda a: a.varying_operands, lambda a, _: a)
        self._left = [s for s in found.values() if s.uid not in self._leaf and not is_view(s)]
        for s in self._left:
            for a in s.varying_operands:
                self._users.setdefault(self.source(a).value.uid, []).append(s)

    @staticmethod
    def _is_elementwise(s: Symbol) -> bool:
        if s.op is MATMUL:
            return s.args[1].shape[0] == 1  # one number times a row
        if s.op in (CAST, LOOKUP, ZERO):
            return True
        return s.op not in (CONCAT, EXPAND, GATHER, JOIN) and s.lowering.kind == "elementwise"

    def _is_there(self, uid: int) -> bool:
        return uid in self._place or uid in self._numbers

    def _is_ready(self, s: Symbol) -> bool:
        return all(self._is_there(self.source(a).value.uid) for a in s.varying_operands)

    def _group(self) -> list[Symbol]:
        """The next values that one loop computes: all of one width whose operands are there, or among them."""
        width = next(s.width for s in self._left if self._is_ready(s))
        group: list[Symbol] = []
        inside: set[int] = set()
        for s in self._left:
            if s.width != width or not self._is_elementwise(s):
                continue
            sources = [self.source(a) for a in s.varying_operands]
            if all(self._is_there(v.uid) or (v.uid in inside and not start) for v, start, _ in sources):
                group.append(s)
                inside.add(s.uid)
        return group

    def _operand(self, a: Any, j: str) -> str:
        if not isinstance(a, Symbol):
            return self.dialect.number(a)
        if a.varying:
            return self.at(a, j)
        array = self.cell.constants[a.uid].reshape(-1)
        if array.size == 1 and array.dtype.kind != "b":
            return self.dialect.number(array[0])
        text = self.weights.vector(array, self.cell.hints[a.uid])
        return f"{text}[{'0' if array.size == 1 else j}]"

    # ---- elementwise maths

    def _expression(self, s: Symbol, j: str) -> str:
        zero, one = self.dialect.number(0.0), self.dialect.number(1.0)
        if s.op is ZERO:
            return zero
        if s.op is MATMUL:
            w = self.weights.vector(self.cell.constants[s.args[1].uid], self.cell.hints[s.args[1].uid])
            return f"{self.at(s.args[0], '0')} * {w}[{j}]"
        if s.op is LOOKUP:
            array = self.cell.constants[s.args[0].uid]
            table = self.weights.vector(array, self.cell.hints[s.args[0].uid])
            return f"{table}[{self.dialect.call('index', self.at(s.args[1], j), str(array.size))}]"
        operands = [self._operand(a, j) for a in s.args]
        if s.op is CAST:
            if (s.dtype.kind == "b") == (s.args[0].dtype.kind == "b"):
                return operands[0]
            if s.dtype.kind == "b":
                return self.dialect.call("mask", f"{operands[0]} != {zero}")
            return self.dialect.call("select", operands[0], one, zero)
        assert s.op is not None
        return printed(elementwise_code(s.op, len(s.args), s.static).tree, operands, s.static, self.dialect)

    def _loop(self, group: list[Symbol]) -> None:
        """One loop over features, or statements without one where they are one."""
        inside, width = {s.uid for s in group}, group[0].width
        j = "0" if width == 1 else "j"
        self._leave(inside)
        direct = [self._can_write(p, group, inside) for p in self._pending]
        written = [p for p, now in zip(self._pending, direct) if now]
        self._pending = [p for p, now in zip(self._pending, direct) if not now]
        later = {self.source(p.value).value.uid for p in self._pending}
        kept = [s for s in group if s.uid in later or any(u.uid not in inside for u in self._users.get(s.uid, ()))]
        if width > 1:
            for s in kept:
                self.array(s)
        self._numbers |= inside
        body = [f"const {self.kind(s)} t{s.uid} = {self._expression(s, j)};" for s in group]
        body += [self._put(p.array, f"{f'{p.start} + ' if p.start else ''}{j}", self.at(p.value, j)) for p in written]
        if width == 1:
            self.lines += body
            return
        self._numbers -= inside
        body += [f"v{s.uid}[j] = t{s.uid};" for s in kept]
        self.lines += [f"for (int j = 0; j < {width}; j++) {{", *["    " + line for line in body], "}"]

    def _can_write(self, p: Pending, group: list[Symbol], inside: set[int]) -> bool:
        """Whether a loop can write a result at once: nobody reads the state that it takes the place of later."""
        s, start, _ = self.source(p.value)
        if s.uid not in inside or start or p.value.width != s.width:
            return False
        old = self._state.get(p.array)
        if old is None:
            return True
        readers = [u for u in self._left if any(self.source(a).value.uid == old for a in u.varying_operands)]
        if readers or any(self.source(q.value).value.uid == old for q in self._pending):
            return False
        reads = [self.source(a) for u in group for a in u.varying_operands]
        return all(at == p.start and (not one or s.width == 1) for v, at, one in reads if v.uid == old)

    def _finish(self) -> None:
        """Write the results that are not: states last, as others may be what a state was."""
        states = [p for p in self._pending if p.array in self._state]
        for p in self._pending:
            if p.array not in self._state:
                self._copy(f"{p.array}", p.start, p.value)
        texts = []
        for i, p in enumerate(states):
            s, start, one = self.source(p.value)
            if s.uid == self._state[p.array] and start == p.start and (not one or p.value.width == 1):
                continue  # it stays as it is
            if s.uid in self._state.values():
                self.add(f"{self.dialect.real} old{i}[{p.value.width}];")
                self._copy(f"old{i}", 0, p.value)
                texts.append((p, f"old{i}[j]"))
            else:
                texts.append((p, self.at(p.value, "j")))
        for p, text in texts:
            self._copy(p.array, p.start, p.value, text)

    def _copy(self, array: str, start: int, value: Symbol, text: str = "") -> None:
        put = self._put(array, f"{start} + j" if start else "j", text or self.at(value, "j"))
        self.add(f"for (int j = 0; j < {value.width}; j++) {put}")

    def _put(self, array: str, index: str, text: str) -> str:
        """A statement that writes one feature of a result."""
        return f"{array}[{index}] = {self.dialect.call('whole', text) if array in self.integers else text};"

    # ---- the rest

    def _leave(self, computed: set[int]) -> None:
        self._left = [s for s in self._left if s.uid not in computed]

    def _left_of(self, product: Symbol) -> tuple[int, int, bool, int]:
        """What is multiplied: where it comes from, and how wide it is."""
        s, start, one = self.source(product.args[0])
        return s.uid, start, one, product.args[0].width

    def _compute(self, s: Symbol) -> None:
        if s.op is MATMUL:
            alike = [p for p in self._left if p.op is MATMUL and self._left_of(p) == self._left_of(s)]
            self._leave({p.uid for p in alike})
            matrices = [np.asarray(self.cell.constants[p.args[1].uid]) for p in alike]
            product(self, alike, np.concatenate(matrices, axis=1), self.cell.hints[s.args[1].uid])
            return
        self._leave({s.uid})
        if s.op is CONCAT or s.op is JOIN:
            concatenation(self, s)
        elif s.op is EXPAND:
            expansion(self, s)
        elif s.op is GATHER:
            picks(self, s)
        else:
            reduction(self, s)
