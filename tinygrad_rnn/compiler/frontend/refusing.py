"""Refusals: how a trace is given up, and the reasons that it gives."""

from __future__ import annotations

from typing import NoReturn

from ...errors import CompileError
from ..ir.symbol import BATCH, Symbol, location


class Refusing:
    """A trace that can be given up.

    Attributes
    ----------
    refused : str
        Why the step cannot be compiled, whatever it did about the error; "" if nothing was refused.
    whole : bool
        Whether a whole function is traced, in which recurrent layers run; otherwise it is the step of one.
    """

    refused: str = ""
    whole = False
    IMPURE = (
        "the step {what} at {where}, which a compiled loop would do once: do it in begin_sequence(), and keep the "
        "result as an attribute, or make it an input"
    )

    def give_up(self, why: str) -> None:
        """Note that the step cannot be compiled; the first reason counts."""
        self.refused = self.refused or why

    def refuse(self, what: str) -> None:
        """Give up: the value of a tensor was read, and a parameter's may change from call to call."""
        where = "program" if self.whole else "compiled step"
        self.refuse_for(
            f"{what} at {location()}: its value would be frozen into the {where}; compute with the tensor itself, or "
            "keep a Python number as the attribute"
        )

    def refuse_for(self, why: str) -> NoReturn:
        """Give up for a reason, and raise; a step that catches the error is not compiled either."""
        self.give_up(why)
        raise CompileError(why)

    def is_array(self, value) -> bool:
        """Whether a traced value is a NumPy array on the tape; the step of a cell gets tensors."""
        return False

    def updated(self, old, new):
        """The result of ``old += value``, of which `new` is the value: a step has no tensors to write to."""
        return new

    def fail(self, op, args, want: str) -> NoReturn:
        """Give up, as an operation got these arguments and wanted others."""
        self.refuse_for(self.misfit(op, args, want))

    def misfit(self, op, args, want: str) -> str:
        """Text of what an operation got, where, and what it wanted."""

        def describe(a):
            if not isinstance(a, Symbol):
                return repr(a)
            sizes = ["B" if n is BATCH else str(n) for n in a.shape]
            return f"{a.dtype}({', '.join(sizes)})" if a.varying else f"constant {a.dtype}({', '.join(sizes)})"

        return f"{op.name} at {location()}: got {', '.join(map(describe, args))}; wanted {want}"
