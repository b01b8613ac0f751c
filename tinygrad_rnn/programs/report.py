"""Reports on compiled functions: the program, what it runs as, and the cost; or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

import numpy as np

from .. import compiler
from ..compiler.explain import StepReport
from ..compiler.model.explain import Group, Part, explain_part, loop_report, size_of
from ..compiler.model.program import LOOP, PICK


class Report(NamedTuple):
    """Report on a function that was compiled or not; ``str()`` is all of it.

    Attributes
    ----------
    title : str
    reason : str or None
        Why it runs on the tape.
    lines : tuple of str
        The program, a value a line.
    bytes : int
        Of all values that it computes.
    parts : tuple of Part
        What runs: the forward and the backward pass, or the whole training step. Each has its ``groups`` of operations
        with their FLOPs and ``moved_bytes``, the totals of these, ``arena_bytes`` and ``peak_bytes`` of its memory,
        and ``native``, or ``why`` it is not one native call.
    saved_bytes : int
        Of what the forward pass keeps for the backward pass.
    loops : tuple of StepReport
        The reports on the steps of recurrent layers, as those of ``layer.explain()``.
    """

    title: str
    reason: str | None
    lines: tuple[str, ...] = ()
    bytes: int = 0
    parts: tuple[Part, ...] = ()
    saved_bytes: int = 0
    loops: tuple[StepReport, ...] = ()

    @property
    def compiled(self) -> bool:
        """Whether there is a program."""
        return self.reason is None

    @property
    def native(self) -> bool:
        """Whether each part runs as one native call."""
        return self.compiled and all(part.native for part in self.parts)

    @property
    def why(self) -> str:
        """The reason why it is not native: operations that run in Python, for instance."""
        return "; ".join([f"{part.title}: {part.why}" for part in self.parts if part.why]) if self.compiled else ""

    @property
    def flops(self) -> int:
        """FLOPs of all parts."""
        return sum(part.flops for part in self.parts)

    @property
    def moved_bytes(self) -> int:
        """Bytes that all parts read and write."""
        return sum(part.moved_bytes for part in self.parts)

    def _repr_html_(self) -> str:
        """A line that says what became of the function, and unfolds to the report, for notebooks."""
        first, _, rest = str(self).partition("\n")
        if not self.compiled:
            return f"<p><b>{escape(first)}</b></p>"
        state = "native" if self.native else f"not all native: {self.why}"
        head = f"<b>{escape(first)}</b> {escape(state)}"
        return f"<details><summary>{head}</summary><pre>{escape(rest)}</pre></details>"

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.title} runs on the tape: {self.reason or 'someone listens to single operations'}"
        head = (
            f"{self.title}: one program of {len(self.lines)} operations, {compiler.format_bytes(self.bytes)} of values"
        )
        cost = [line for part in self.parts for line in part.cost()]
        if len(self.parts) > 1:
            cost.append(f"{'saved':<9}{self.saved_bytes:>12,} bytes for the backward pass")
        sections = [[head, *[f"  {line}" for line in self.lines]], *[part.lines() for part in self.parts]]
        return "\n\n".join("\n".join(lines) for lines in [*sections, ["cost", *[f"  {line}" for line in cost]]])

    def __repr__(self) -> str:
        return str(self)


def report(title: str, found: Any, updates: Any = None) -> Report:
    """The report on what :meth:`~.cache.Programs.find` has found; `updates` run it as training steps."""
    if isinstance(found, str):
        return Report(title, found)
    capture = found.capture
    values = capture.program.values()
    lines = tuple(_line(s) for s in values if s.op is not PICK)
    saved = 0
    if updates is not None:
        parts = [_step(found, updates)]
    else:
        parts, saved = [*_halves(found)], _saved(capture.operation)
    loops = {id(s.static["loop"]): loop_report(s.static["loop"]) for s in values if s.op is LOOP}
    return Report(title, None, lines, size_of(values), tuple(parts), saved, tuple(loops.values()))


def _halves(found: Any) -> Iterator[Part]:
    """The forward pass, and the backward pass from all results, if there is one."""
    capture, operation = found.capture, found.capture.operation
    captured = capture.captured(found.tensors)
    native = "" if operation is None else operation.native_halves(operation.everything, captured)
    if not isinstance(native, str):
        halves, program = native
        for title, half in (("forward", slice(program.middle)), ("backward", slice(program.middle, None))):
            yield explain_part(title, halves.pool.program, program, half=half)
        halves.pool.give(program)
        return
    forward = capture.runner if operation is None else operation.forward
    yield explain_part("forward", forward.program, forward.bound(captured))
    if operation is not None:
        backward = operation.gradient()
        yield explain_part("backward", backward.program, backward.bound(capture.constants()))


def _saved(operation: Any) -> int:
    if operation is None:
        return 0
    loops = [s.static["loop"] for s in operation.residuals if s.op is LOOP]
    return size_of(operation.residuals) + sum(loop_report(loop).saved_total for loop in loops)


def _step(found: Any, updates: Any) -> Part:
    """The program of a training step with clipping and update."""
    runner, native = found.capture.operation.runner, updates.native_step(found)
    bound = runner.bound(found.capture.captured(found.tensors)) if isinstance(native, str) else native.native
    part = explain_part("step", runner.program, bound, _updates(updates, native))
    return part._replace(why=part.why or native) if isinstance(native, str) else part


def _updates(updates: Any, native: Any) -> list[Group]:
    """Clipping and the update of the parameters."""
    optimizer = updates.gradients.optimizer
    name, params = type(optimizer).__name__, [p for group in optimizer.param_groups for p in group["params"]]
    count, why = sum(p.size for p in params), native if isinstance(native, str) else ""
    size, states = (
        sum(p.data.nbytes for p in params),
        sum(_bytes(bucket.state) for _, bucket in optimizer.flat_buffers()),
    )
    found = []
    if updates.clip_value is not None:
        found.append(Group(f"clipping of gradients to {updates.clip_value:g}", why, 0, count, 2 * size))
    if updates.clip_norm is not None:
        found.append(Group(f"clipping of gradients to the norm {updates.clip_norm:g}", why, 0, 3 * count, 3 * size))
    flops = UPDATE_FLOPS.get(optimizer.kernel or "", 1) * count
    return [*found, Group(f"update by {name} of {count:,} numbers", why, 0, flops, 3 * size + 2 * states)]


UPDATE_FLOPS = {"sgd": 4, "adam": 12, "rmsprop": 9, "adagrad": 7}  # of a number, without options


def _bytes(arrays: Any) -> int:
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def _line(s: compiler.Symbol) -> str:
    operands = ", ".join(a.name if isinstance(a, compiler.Symbol) else repr(a) for a in s.args)
    if s.op is LOOP:
        loop = s.static["loop"]
        return f"{s.name} = {loop.run.executable.title} over T={loop.time}, B={loop.batch} ({operands})"
    return f"{s.name} = {s.operation}({operands}): {s.dtype}{list(s.shape)}"
