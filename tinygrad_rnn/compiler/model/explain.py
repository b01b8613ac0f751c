"""Reports of what programs run as: groups of operations, FLOPs, bytes that are moved, and memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..explain import StepReport
from ..ir.program_ops import MATMUL, PICK
from ..ir.symbol import Symbol
from ..runtime.memory import format_bytes
from .native import NativeProgram
from .program import LOOP, LOOP_GRADIENT, SUM_ROWS, Loop, ModelProgram
from .region_loop import RegionLoop
from .rows import is_view
from .simplify import simplify

IN_PYTHON = "in Python, as no stage of machine code computes it"
NAMED = 8  # operations of a group that its line names


class Group(NamedTuple):
    """What runs together: a loop over rows, a recurrent loop, or one operation.

    FLOPs are those of one run; an elementwise operation counts as one an element.

    Attributes
    ----------
    text : str
        What it computes.
    why : str
        How it runs, if that is not machine code: in Python, and why.
    matrix_flops, other_flops : int
    moved_bytes : int
        Of what it reads and writes, each array once.
    """

    text: str
    why: str
    matrix_flops: int
    other_flops: int
    moved_bytes: int

    @property
    def flops(self) -> int:
        return self.matrix_flops + self.other_flops

    def __str__(self) -> str:
        products = f" ({self.matrix_flops:,} in products)" if self.matrix_flops else ""
        line = f"{self.text}: {self.flops:,} FLOPs{products}, {format_bytes(self.moved_bytes)} moved"
        return f"{line}; {self.why}" if self.why else line


class Part(NamedTuple):
    """One program of a function: its forward pass, its backward pass, or a whole training step.

    Attributes
    ----------
    title : str
    groups : tuple of Group
        In the order in which they run. Views, which take no time, are not among them.
    why : str
        Why it is not one native call; empty if it is.
    arena_bytes : int
        Of the memory for its values, which they share; 0 if all of it runs on NumPy.
    peak_bytes : int
        How much of that is in use at most.
    """

    title: str
    groups: tuple[Group, ...]
    why: str = ""
    arena_bytes: int = 0
    peak_bytes: int = 0

    @property
    def native(self) -> bool:
        """Whether it runs as one native call."""
        return not self.why

    @property
    def flops(self) -> int:
        return sum(g.flops for g in self.groups)

    @property
    def matrix_flops(self) -> int:
        return sum(g.matrix_flops for g in self.groups)

    @property
    def moved_bytes(self) -> int:
        return sum(g.moved_bytes for g in self.groups)

    def lines(self) -> list[str]:
        """Its text."""
        head = f"{self.title}: one native call" if self.native else f"{self.title}: not one native call: {self.why}"
        return [head, *[f"  {g}" for g in self.groups]]

    def cost(self) -> list[str]:
        """Totals, one a line."""
        lines = [
            f"{self.title:<9}{self.flops:>12,} FLOPs ({self.matrix_flops:,} in products), "
            f"{self.moved_bytes:,} bytes moved"
        ]
        if self.arena_bytes:
            lines.append(f"memory   {self.arena_bytes:>12,} bytes of arena, {self.title}; {self.peak_bytes:,} at once")
        return lines


def explain_part(
    title: str,
    program: ModelProgram,
    bound: NativeProgram | str,
    more: Iterable[Group] = (),
    half: slice = slice(None),
) -> Part:
    """The report on a program or half of it, bound or with the reason why not; `more` runs after it."""
    if isinstance(bound, str):
        groups = [_of_symbol(s, "on NumPy") for s in simplify(program).values() if s.op is not PICK and not is_view(s)]
        return Part(title, (*groups, *more), bound)
    groups, hosts = [], []
    for part, stages, in_python in bound.bound[half]:
        if isinstance(part, RegionLoop):
            groups.append(_of_region(part))
        elif stages or in_python:
            groups.append(_of_symbol(part, IN_PYTHON if in_python else ""))
            hosts += [f"{part.operation}{f' ({part.where})' if part.where else ''}"] * in_python
    memory, item = bound.memory, bound.dtype.itemsize
    why = f"in Python between native calls: {', '.join(dict.fromkeys(hosts))}" if hosts else ""
    return Part(title, (*groups, *more), why, memory.allocated * item, memory.peak * item)


def size_of(symbols: Iterable[Symbol]) -> int:
    """Bytes of values, each once."""
    found = {s.uid: s for s in symbols if s.op not in (LOOP, LOOP_GRADIENT)}
    return sum(math.prod(s.shape) * s.dtype.itemsize for s in found.values())


def _of_region(loop: RegionLoop) -> Group:
    region = loop.region
    names = Counter(s.operation for s in region.values)
    text = ", ".join([f"{name} {n}x" if n > 1 else name for name, n in [*names.items()][:NAMED]])
    text = f"{text} and {len(names) - NAMED} more" if len(names) > NAMED else text
    matrix, other = (sum(n[i] for n in map(_flops, region.values)) for i in (0, 1))
    moved = size_of((*loop.inputs, *loop.bases, *loop.outputs))
    return Group(f"loop over {region.rows} rows ({text})", "", matrix, other, moved)


def _of_symbol(s: Symbol, why: str) -> Group:
    if s.op is LOOP or s.op is LOOP_GRADIENT:
        return _of_loop(s, why)
    matrix, other = _flops(s)
    return Group(f"{s.operation} of {_shapes(s.operands) or 'nothing'}", why, matrix, other, size_of((s, *s.operands)))


def _shapes(symbols: Sequence[Symbol]) -> str:
    return ", ".join(f"{s.dtype}{list(s.shape)}" for s in symbols)


def _of_loop(s: Symbol, why: str) -> Group:
    lead = s if s.op is LOOP else s.args[0]
    loop: Loop = lead.static["loop"]
    report, n = loop_report(loop), loop.time * loop.batch
    text = f"{loop.run.executable.title} over T={loop.time}, B={loop.batch}"
    if s.op is LOOP or report.backward is None:
        done = report.forward or report.inference
        moved = size_of(s.operands) + done.workspace
        return Group(text, why, done.matrix_flops * n, done.other_flops * n, moved)
    done = report.backward
    matrix = (done.matrix_flops + report.after_flops) * n
    moved = size_of((*s.operands, *lead.operands)) + done.workspace + report.saved_total
    return Group(f"gradient of {text}", why, matrix, (done.other_flops + report.after_sums) * n, moved)


def loop_report(loop: Loop) -> StepReport:
    """The report on the step of a recurrent layer, as ``layer.explain()`` shows it."""
    outputs = [f"output{i}" for i in range(loop.outputs)]
    states = [f"state{i}" for i in range(loop.states)]
    return StepReport(loop.run.executable, {}, outputs, states, loop.run.train, (loop.time, loop.batch))


def _flops(s: Symbol) -> tuple[int, int]:
    """FLOPs of products, and of other maths."""
    op: Any = s.op
    operands = [a for a in s.args if isinstance(a, Symbol)]
    if op is MATMUL and operands:
        return 2 * s.size * operands[0].shape[-1], 0
    lowering = getattr(op, "lowering", None)
    if op is SUM_ROWS or (lowering is not None and lowering.kind == "reduce"):
        return 0, sum(a.size for a in operands)
    if lowering is None or lowering.kind != "elementwise":
        return 0, 0
    return 0, s.size if lowering.cost else 0
