"""Verifier of programs: finds the first value that contradicts what all phases rely on.

Each phase of the compiler has its verifier beside it, which looks at what the phase hands on. They cost as much as the
phases themselves, so they run only with ``TINYGRAD_RNN_VERIFY=1`` in the environment, as they do in the tests.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from ...errors import CompileError, VerificationError
from .heads import heads_of
from .infer import infer
from .lane_language import NUMBER, TRUTH, elementwise_code, reduction_code
from .printer import Printer
from .program import StepProgram, expression_key
from .program_ops import (
    BLOCKS,
    BROADCAST_ROW,
    CAST,
    CONCAT,
    EXPAND,
    FLATTEN,
    GATHER,
    JOIN,
    LOOKUP,
    PICK,
    RESHAPE_ROW,
    SLICE,
    VIEW,
    ZERO,
    is_ours,
)  # fmt: skip
from .rearranged import merged, widths
from .symbol import BATCH, Symbol
from .walk import reachable
from .weight_slices import resolve_slice

enabled = os.environ.get("TINYGRAD_RNN_VERIFY", "0") not in ("", "0")

TIME_VARYING = ("input", "state", "cotangent", "carry")  # kinds of leaves that differ from step to step


def fault(phase: str, what: str) -> NoReturn:
    """Raise the error of a phase that handed on something wrong."""
    raise VerificationError(f"{phase}: {what}; this is a fault of the compiler, not of the step")


def verify_program(program: StepProgram) -> None:
    """Check a traced program: its leaves, its results, and every value in between.

    Raises
    ------
    VerificationError
        If there is a fault; it names the value and the line of the step.
    """
    phase = "trace"
    known: dict[int, Symbol] = {}
    for kind, leaves in (("input", program.inputs), ("state", program.states)):
        for i, s in enumerate(leaves):
            if s.leaf != (kind, i) or not s.varying:
                fault(phase, f"{kind} {i}: got {s!r}, wanted the leaf {kind}{i}")
            known[s.uid] = s
    for c in program.captured.values():
        shape = tuple(program.stand_in if n is BATCH else n for n in c.symbol.shape)
        if c.symbol.varying or shape != c.tensor.shape or c.symbol.dtype != c.tensor.dtype:
            fault(phase, f"{c.symbol!r} stands for a tensor {c.tensor.dtype}{list(c.tensor.shape)}")
        known[c.symbol.uid] = c.symbol
    for i, p in enumerate(program.mask_probabilities, len(program.inputs) - len(program.mask_probabilities)):
        if program.inputs[i].dtype != (program.dtype if p is None else bool) or not 0 <= (p or 0) <= 1:
            fault(phase, f"input {i}: got {program.inputs[i]!r} with probability {p}, wanted a random mask")
    for key, s in program.expressions.items():
        if s.uid in known or s.leaf is not None:
            fault(phase, f"{s!r}: got a second value with this number, or a leaf, wanted an expression of its own")
        _check_key(phase, key, s)
        known[s.uid] = s
    late = [s for s in known.values() if s.uid >= program.limit]
    if late:
        fault(phase, f"{late[0]!r}: got a number from {program.limit} on, which extensions of the program have")
    verify_values(phase, program.results, known, program.dtype, program.stand_in)
    for i, s in enumerate(program.outputs):
        _check_row(phase, f"output {i}", s, program.dtype)
    if len(program.states) != len(program.new_states):
        fault(phase, f"got {len(program.new_states)} new states, wanted {len(program.states)}")
    for i, (old, new) in enumerate(zip(program.states, program.new_states)):
        _check_row(phase, f"new state {i}", new, program.dtype, old.shape)


def verify_values(
    phase: str, roots: Iterable[Symbol], known: Mapping[int, Symbol], dtype: np.dtype, stand_in: int
) -> None:
    """Check every value behind `roots`.

    Parameters
    ----------
    phase : str
        Named in errors.
    known : mapping of uid to Symbol
        All leaves and expressions that there are.
    stand_in : int
        How many rows stand for a row for each batch row.
    """
    rules, roots = _Rules(phase, dtype, stand_in), list(roots)
    values = {id(s): s for s in (*roots, *reachable(roots, lambda s: s.operands))}
    for s in sorted(values.values(), key=lambda s: s.uid):
        for a in (s, *s.operands):
            if known.get(a.uid) is not a:
                rules.fail(a, "got a value that the program does not hold, wanted one of its leaves or expressions")
            if a is not s and a.uid >= s.uid:
                rules.fail(s, f"got the operand {a.name}, which is defined after it")
        rules.check(s)


def _check_key(phase: str, key: Any, s: Symbol) -> None:
    if isinstance(key, tuple) and key != expression_key(s.op, s.args, s.static, s.shape):
        fault(phase, f"{describe(s)}: got another expression under its key, wanted one value for equal expressions")


def _check_row(phase: str, what: str, s: Symbol, dtype: np.dtype, shape: tuple | None = None) -> None:
    wanted = s.shape if shape is None else shape
    if not s.varying or s.dtype != dtype or s.shape != wanted:
        fault(phase, f"{what}: got {describe(s)}, wanted rows of {dtype}{list(wanted[1:])}")


def describe(s: Symbol) -> str:
    """A value in words: its name, expression, kind and line."""
    try:
        text = Printer().expression(s)
    except Exception:  # it is broken, and what it is made of may be as well
        text = s.operation
    sizes = ", ".join("B" if n is BATCH else str(n) for n in s.shape)
    return f"{s.name} = {text}, {s.dtype}({sizes}){' at ' + s.where if s.where else ''}"


class _Rules:
    """What each kind of value has to be, given its operands."""

    def __init__(self, phase: str, dtype: np.dtype, stand_in: int):
        self.phase, self.dtype, self.stand_in = phase, dtype, stand_in
        self.of_program_ops = {
            SLICE: self._slice,
            CAST: self._cast,
            RESHAPE_ROW: self._reshape_row,
            BROADCAST_ROW: self._broadcast_row,
            ZERO: self._zero,
            CONCAT: self._concat,
            JOIN: self._concat,
            EXPAND: self._expand,
            GATHER: self._gather,
            LOOKUP: self._lookup,
        }

    def fail(self, s: Symbol, why: str) -> NoReturn:
        fault(self.phase, f"{describe(s)}: {why}")

    def wants(self, s: Symbol, holds: bool, why: str) -> None:
        if not holds:
            self.fail(s, f"wanted {why}")

    def gives(self, s: Symbol, shape: tuple, dtype: Any) -> None:
        if s.shape != tuple(shape) or s.dtype != np.dtype(dtype):
            self.fail(s, f"its operands make it {np.dtype(dtype)}{list(shape)}")

    def check(self, s: Symbol) -> None:
        self.wants(s, (s.op is None) == (s.leaf is not None), "a leaf or an operation")
        operands = any(a.varying for a in s.operands)
        if s.leaf is not None:
            varying = s.leaf[0] in TIME_VARYING
        else:
            varying = operands or s.op is ZERO
        self.wants(s, s.varying == varying, f"a value that {'varies' if varying else 'does not vary'} in time")
        if not s.varying:
            self._invariant(s)
            return
        self.wants(
            s, s.op is not VIEW and s.ndim in (1, 2) and s.shape[0] is BATCH, "one row of features for each batch row"
        )
        numeric = s.leaf is not None and s.dtype.kind in "iu"
        self.wants(s, s.dtype in (self.dtype, bool) and not numeric, f"{self.dtype} or bool")
        if s.leaf is not None:
            return
        self.wants(s, s.op is not None and s.op.lowering is not None, "an operation with a lowering")
        self.wants(s, all(a.op is not CONCAT for a in s.operands), "no concatenation among its operands")
        if s.op in self.of_program_ops:
            self.of_program_ops[s.op](s)
        elif s.lowering.kind == "matmul":
            self._matmul(s)
        elif s.lowering.kind == "reduce":
            self._reduce(s)
        elif s.lowering.kind == "elementwise":
            self._elementwise(s)
        else:
            self.fail(s, f"got a lowering of kind {s.lowering.kind!r}, which loops do not know")

    # ---- values before the loop

    def _invariant(self, s: Symbol) -> None:
        if s.op is None or not is_ours(s.op):  # code of a user's is not run once more
            return
        if s.op is FLATTEN:
            (x,), width = s.args, math.prod(s.static["row"])
            self.wants(s, x.ndim > 1 and x.shape[0] is BATCH, "an operand with a row for each batch row")
            self.gives(s, (BATCH, width), x.dtype)
            return
        if s.op is BLOCKS:
            heads = heads_of(s)
            assert heads is not None
            self.wants(s, heads.stack.ndim == 2 and heads.stack.shape[0] % heads.matrices == 0, "a stack of matrices")
            self.gives(s, (heads.heads * heads.rows, heads.heads * heads.columns), heads.stack.dtype)
            return
        if s.op is PICK:
            lead = s.args[0]
            results = infer(lead.op, lead.args, lead.static, self.stand_in)
            self.wants(s, isinstance(results, list), "one of several results")
            shape, dtype = results[s.static["index"]]
        else:
            found = infer(s.op, s.args, s.static, self.stand_in)
            if isinstance(found, list):  # a stem, of which only results are read
                return
            shape, dtype = found
        rows = any(a.shape[:1] == (BATCH,) for a in s.operands) and shape[:1] == (self.stand_in,)
        self.gives(s, (BATCH, *shape[1:]) if rows else shape, dtype)

    # ---- operations that only programs have

    def _slice(self, s: Symbol) -> None:
        (x,), start, stop = s.args, s.static["start"], s.static["stop"]
        self.wants(s, x.leaf is not None, "columns of a leaf: others are computed as columns")
        self.wants(s, 0 <= start < stop <= x.width, f"columns within the {x.width} of its operand")
        self.gives(s, (BATCH, stop - start), x.dtype)

    def _cast(self, s: Symbol) -> None:
        (x,), dtype = s.args, s.static["dtype"]
        self.wants(s, x.dtype != np.dtype(dtype), "an operand of another dtype")
        self.gives(s, x.shape, dtype)

    def _reshape_row(self, s: Symbol) -> None:
        (x,) = s.args
        self.wants(
            s, x.shape in ((BATCH,), (BATCH, 1)) and x.ndim != s.ndim, "one number for each row, as (B,) or (B, 1)"
        )
        self.gives(s, (BATCH,) if s.static["rank"] == 1 else (BATCH, 1), x.dtype)

    def _broadcast_row(self, s: Symbol) -> None:
        (x,) = s.args
        self.wants(s, x.shape == (BATCH, 1) and s.ndim == 2, "an operand (B, 1)")
        self.gives(s, s.shape, x.dtype)

    def _zero(self, s: Symbol) -> None:
        self.wants(s, not s.args, "no operands")
        self.gives(s, s.static["shape"], self.dtype)

    def _expand(self, s: Symbol) -> None:
        (x,), dims = s.args, s.static["dims"]
        self.wants(s, merged(dims) == dims and len({kept for _, kept in dims}) == 2, "axes that it has, and others")
        self.wants(s, x.ndim == 2 and x.width == widths(dims)[0] > 1, f"an operand of {widths(dims)[0]} features")
        self.gives(s, (BATCH, widths(dims)[1]), x.dtype)

    def _gather(self, s: Symbol) -> None:
        (x,), numbers = s.args, s.static["table"].numbers
        self.wants(s, x.ndim == 2, "an operand (B, F)")
        inside = numbers.size > 0 and numbers.min() >= -1 and -1 < numbers.max() < x.width
        self.wants(s, bool(inside), f"numbers of the {x.width} features of its operand")
        self.gives(s, (BATCH, numbers.size), x.dtype)

    def _lookup(self, s: Symbol) -> None:
        table, places = s.args
        self.wants(s, not table.varying and table.ndim == 2, "a table (V, E) that does not vary in time")
        self.wants(s, resolve_slice(table).base is table, "a table that is read as it lies in memory, no part of one")
        self.wants(s, places.varying and places.dtype == self.dtype, f"places in it, of {self.dtype}")
        self.wants(s, -1 <= s.static["padding"] < table.shape[0], "a row of the table without a gradient, or -1")
        self.gives(s, places.shape, self.dtype)

    def _concat(self, s: Symbol) -> None:
        parts = s.operands
        self.wants(s, len(parts) > 1 and all(p.varying and p.ndim == 2 for p in parts), "two or more rows of features")
        self.wants(s, len({p.dtype for p in parts}) == 1, "parts of one dtype")
        self.gives(s, (BATCH, sum(p.width for p in parts)), parts[0].dtype)

    # ---- the others

    def _matmul(self, s: Symbol) -> None:
        a, w = s.args
        self.wants(s, a.varying and not w.varying and a.ndim == w.ndim == 2, "(B, K) @ (K, N), the matrix invariant")
        self.wants(s, a.width == w.shape[0], f"as many rows of its matrix as its operand has features, {a.width}")
        self.wants(s, a.dtype == self.dtype, f"an operand of {self.dtype}")
        self.gives(s, (BATCH, w.shape[1]), self.dtype)

    def _reduce(self, s: Symbol) -> None:
        try:
            code = reduction_code(s.op, s.static)  # type: ignore[arg-type]
        except CompileError as error:
            self.fail(s, str(error))
        dtype: Any = bool if code.each.wants(0) == TRUTH else self.dtype
        fits = all(isinstance(a, Symbol) and a.varying and a.ndim == 2 and a.dtype == dtype for a in s.args)
        self.wants(s, bool(s.args) and fits, f"rows of {np.dtype(dtype)} to reduce")
        if "along" in s.static:
            outer, length, inner = s.static["along"]
            self.wants(s, outer * inner > 1 and len(s.args) == 1, "one operand, and more than one total")
            self.wants(s, s.args[0].width == outer * length * inner, f"an operand of {outer * length * inner} features")
            self.gives(s, (BATCH, outer * inner), bool if code.finish.gives == TRUTH else self.dtype)
            return
        one = s.shape == (BATCH, 1) or (s.shape == (BATCH,) and not is_ours(s.op))  # type: ignore[arg-type]
        self.wants(s, one, "one number for each row")
        self.gives(s, s.shape, bool if code.finish.gives == TRUTH else self.dtype)

    def _elementwise(self, s: Symbol) -> None:
        try:
            code = elementwise_code(s.op, len(s.args), s.static)  # type: ignore[arg-type]
        except CompileError as error:
            self.fail(s, str(error))
        gives = code.gives or (TRUTH if s.dtype.kind == "b" else NUMBER)
        for i, a in enumerate(s.args):
            truth = (code.wants(i) or gives) == TRUTH
            if isinstance(a, Symbol) and truth != (a.dtype.kind == "b"):
                self.fail(s, f"wanted {'truth values' if truth else 'numbers'} as operand {i}, got {a.dtype}")
        self.gives(s, self._broadcast(s), bool if gives == TRUTH else self.dtype)

    def _broadcast(self, s: Symbol) -> tuple:
        """The shape of an elementwise operation of these operands."""
        shape: list = []
        for a in s.operands:
            lead = len(a.shape) - len(shape)
            shape = [1] * lead + shape
            for i, n in enumerate(a.shape, max(-lead, 0)):
                if n != 1 and shape[i] not in (1, n):
                    self.fail(s, f"operands of shapes {[b.shape for b in s.operands]} do not broadcast")
                shape[i] = shape[i] if n == 1 else n
        return tuple(shape)
