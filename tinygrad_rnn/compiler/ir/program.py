"""Program of a step, as tracing returns it; later phases read it and never change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ...core import Op, Tensor
from .heads import base_of
from .program_ops import LOOKUP
from .symbol import BATCH, Symbol
from .walk import reachable
from .weight_slices import resolve_slice


class Captured(NamedTuple):
    """A tensor or an array that a step reads, and the symbol of its value."""

    source: Any  # what the step holds: known by its id, so it has to stay alive
    tensor: Tensor
    symbol: Symbol


class Shapes(NamedTuple):
    """Shapes of arguments and results for one batch row, as a step sees them, and dtypes of results.

    In the program each is a row of features, and what a step sees as integers or truth values is numbers.
    """

    inputs: tuple[tuple[int, ...], ...]
    states: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    state_dtypes: tuple[np.dtype, ...]
    output_dtypes: tuple[np.dtype, ...]


class Check(NamedTuple):
    """What a step's integers have to fulfil: two columns of the last output are zero if they do."""

    what: str  # of an index, what it should be; empty: integers that a loop cannot hold
    limits: tuple[float, float]
    where: str  # "file:line" of the step
    input: int | None = None  # which input of the step it is of, if it is of one as it is


@dataclass(frozen=True, eq=False)
class StepProgram:
    """A traced step in normal form.

    It is frozen: gradients are recorded in extensions of it, which know its symbols but are not known to it.

    Attributes
    ----------
    dtype : float32 or float64
    inputs, states : tuples of Symbol
        Leaves. Random masks are the last of the inputs.
    outputs, new_states : tuples of Symbol
        Results.
    mask_probabilities : tuple of float or None
        For each random mask the probability of False; None: of numbers between 0 and 1.
    shapes : Shapes
        What the step sees of inputs, states and outputs.
    expressions : mapping of a key to Symbol
        Every operation that was recorded, whether or not a result needs it.
    captured : mapping of int to Captured
        What the step reads, by the id of what it holds.
    checks : tuple of Check
        If there are any, the last of the outputs is theirs, and not the step's: (B, 2) for each.
    limit : int
        The uids of all symbols are less; those of an extension are not.
    stand_in : int
        How many rows a batch had in the trace: no other size of the step is the same number.
    leaked : bool
        Whether the step may have seen that number.
    read : tuple of Tensor
        Whose values the program has taken over.
    """

    dtype: np.dtype
    inputs: tuple[Symbol, ...]
    states: tuple[Symbol, ...]
    outputs: tuple[Symbol, ...]
    new_states: tuple[Symbol, ...]
    mask_probabilities: tuple[float | None, ...]
    shapes: Shapes
    expressions: Mapping[Any, Symbol]
    captured: Mapping[int, Captured]
    checks: tuple[Check, ...]
    limit: int
    stand_in: int
    leaked: bool = False
    read: tuple[Tensor, ...] = ()

    @cached_property
    def invariants(self) -> Mapping[int, Tensor]:
        """The tensors that the step reads, by the uid of their symbol."""
        return MappingProxyType({c.symbol.uid: c.tensor for c in self.captured.values()})

    @property
    def visible(self) -> int:
        """How many outputs are the step's."""
        return len(self.outputs) - bool(self.checks)

    @cached_property
    def cast_results(self) -> tuple[np.dtype, ...]:
        """The dtypes of visible outputs and of states, if any is another than the program's; else none."""
        dtypes = (*self.shapes.output_dtypes, *self.shapes.state_dtypes)
        return dtypes if any(d != self.dtype for d in dtypes) else ()

    @property
    def results(self) -> tuple[Symbol, ...]:
        """Outputs, then new states."""
        return self.outputs + self.new_states


def expression_key(op: Op | None, args: tuple, static: Mapping, shape: tuple) -> tuple:
    """Key of an expression, the same for equal ones; without a hash if a static parameter has none."""
    # numbers by type and text: 1, 1.0 and True are equal, and so are zeros of either sign
    operands = tuple(a.uid if isinstance(a, Symbol) else (type(a).__name__, repr(a)) for a in args)
    return id(op), operands, tuple(sorted(static.items())), tuple(shape)


def bases(program: StepProgram) -> list[Symbol]:
    """Invariants that the loops read: parameters, or values computed from them before the loop."""
    found = {base.uid: base for base in (v if user.op is LOOKUP else base_of(v) for v, user in _invariants(program))}
    return [found[uid] for uid in sorted(found)]


def row_constants(program: StepProgram) -> set[int]:
    """Uids of the bases with a row for each batch row."""
    return {resolve_slice(v).base.uid for v, user in _invariants(program) if _has_rows(v, user)}


def _has_rows(v: Symbol, user: Symbol) -> bool:
    return v.ndim == 2 and v.shape[0] == BATCH and user.lowering.kind == "elementwise"


def _invariants(program: StepProgram) -> list[tuple[Symbol, Symbol]]:
    """Pairs of an invariant and a time-varying value that is computed from it."""
    users = reachable(program.results, lambda s: s.varying_operands)
    return [(a, s) for s in users for a in s.operands if not a.varying]


def wanted_invariants(program: StepProgram, wanted: set[int]) -> set[int]:
    """Uids in `wanted`, and those of all invariants that are computed from them."""
    out = set(wanted)
    symbols = sorted((s for s in program.expressions.values() if not s.varying), key=lambda s: s.uid)
    for s in symbols:
        if any(a.uid in out for a in s.operands):
            out.add(s.uid)
    return out


def leaves(roots: list[Symbol]) -> list[Symbol]:
    """All leaves that `roots` need."""
    return [s for s in reachable(roots, lambda s: s.operands) if s.leaf is not None]
