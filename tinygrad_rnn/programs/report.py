"""Reports on compiled functions: the program, or the reason why there is none."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .. import compiler
from ..compiler.model.program import LOOP, PICK


class Report(NamedTuple):
    """What became of a function.

    Attributes
    ----------
    title : str
    reason : str or None
        Why it runs on the tape.
    lines : tuple of str
        The program, a value a line.
    bytes : int
        Of all values that it computes.
    """

    title: str
    reason: str | None
    lines: tuple[str, ...] = ()
    bytes: int = 0

    @property
    def compiled(self) -> bool:
        """Whether there is a program."""
        return self.reason is None

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.title} runs on the tape: {self.reason or 'someone listens to single operations'}"
        head = (
            f"{self.title}: one program of {len(self.lines)} operations, {compiler.format_bytes(self.bytes)} of values"
        )
        return "\n".join([head, *[f"  {line}" for line in self.lines]])


def report(title: str, found: Any) -> Report:
    """The report on what :meth:`~.cache.Programs.find` has found."""
    if isinstance(found, str):
        return Report(title, found)
    values = found.capture.program.values()
    size = sum(math.prod(s.shape) * s.dtype.itemsize for s in values if s.op is not LOOP)
    return Report(title, None, tuple(_line(s) for s in values if s.op is not PICK), size)


def _line(s: compiler.Symbol) -> str:
    operands = ", ".join(a.name if isinstance(a, compiler.Symbol) else repr(a) for a in s.args)
    if s.op is LOOP:
        loop = s.static["loop"]
        return f"{s.name} = {loop.run.executable.title} over T={loop.time}, B={loop.batch} ({operands})"
    return f"{s.name} = {s.operation}({operands}): {s.dtype}{list(s.shape)}"
