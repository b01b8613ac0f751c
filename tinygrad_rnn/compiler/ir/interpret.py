"""Interpreter of programs on the tape: for second derivatives, and as a twin of generated loops."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...core import Tensor, apply
from .heads import Heads, heads_of
from .program import StepProgram
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
    ZERO,
)  # fmt: skip
from .rearranged import numbers_of
from .symbol import Symbol
from .walk import fold


def evaluate(roots: Sequence[Symbol], values: dict[int, Any], batch: int = 1) -> list[Any]:
    """Values of `roots`, from those of leaves or any other symbols by uid; fills in `values`."""
    compute(order(roots, values), values, batch)
    return [values[r.uid] for r in roots]


def order(roots: Iterable[Symbol], given: Container[int]) -> list[Symbol]:
    """Symbols to compute for `roots`, operands first; those with uids in `given` are there."""
    found: dict[int, Symbol] = {}
    for root in roots:
        if root.uid not in given:
            fold(root, found, lambda s: [a for a in s.operands if a.uid not in given], lambda s, _: s)
    return list(found.values())


def compute(symbols: Iterable[Symbol], values: dict[int, Any], batch: int = 1) -> None:
    """Fill in the values of `symbols`, which come operands first."""
    for s in symbols:
        values[s.uid] = _compute(s, [values[a.uid] if isinstance(a, Symbol) else a for a in s.args], batch)


def _compute(s: Symbol, args: list, batch: int) -> Any:
    op: Any = s.op
    if op is SLICE:
        return args[0][..., s.static["start"] : s.static["stop"]]
    if op is CAST:
        return args[0].astype(s.dtype)
    if op is RESHAPE_ROW:
        return args[0].reshape((batch, 1) if s.ndim == 2 else (batch,))
    if op is BROADCAST_ROW:
        return ops.broadcast_to(args[0], (batch, s.width))
    if op is CONCAT or op is JOIN:
        return ops.concat(args, axis=-1)
    if op is ZERO:
        return Tensor(np.zeros((batch, *s.shape[1:]), s.dtype))
    if op is FLATTEN:
        rows = ops.broadcast_to(args[0], (args[0].shape[0], *s.static["row"]))
        return rows.reshape((rows.shape[0], s.width))
    if op is BLOCKS:
        return _whole_matrix(args[0], heads_of(s))
    if op is EXPAND:
        return args[0][:, numbers_of(s.static["dims"])]
    if op is GATHER:
        numbers = s.static["table"].numbers
        # any feature in place of none: as an index, -1 would be the last one
        picked = args[0][:, np.where(numbers < 0, 0, numbers)]
        return picked if (numbers >= 0).all() else ops.where(numbers < 0, 0.0, picked)
    if op is LOOKUP:
        table, places = args
        places = places.numpy() if isinstance(places, Tensor) else places
        found = ops.reshape(table, (-1,))[places.astype(np.int64)]
        closed = places // table.shape[1] == s.static["padding"]  # which get no gradient
        return ops.where(closed, found.detach(), found) if isinstance(found, Tensor) and closed.any() else found
    if "along" in s.static:
        rows = args[0].reshape((args[0].shape[0], *s.static["along"]))
        return apply(op, (rows,), {"axis": (2,), "keepdims": True}).reshape((rows.shape[0], s.width))
    if op is PICK:
        return args[0][s.static["index"]]
    if s.varying and op.lowering.kind == "reduce" and len(args) > 1:  # of pieces of a row
        args = [ops.concat(args, axis=-1)]
    return apply(op, tuple(args), s.static)


def _whole_matrix(stack: Tensor, heads: Heads | None) -> Tensor:
    """The matrix with the matrices of a stack along its diagonal, on the tape."""
    assert heads is not None
    rows, columns, n = heads.rows, heads.columns, heads.heads
    matrices = stack.reshape((heads.matrices, columns, rows) if heads.transposed else (heads.matrices, rows, columns))
    term = "hnk,hj->hkjn" if heads.transposed else "hkn,hj->hkjn"
    wide = ops.einsum(term, matrices[np.array(heads.numbers)], Tensor(np.eye(n, dtype=stack.dtype)))
    return wide.reshape((n * rows, n * columns))


def as_floats(leaves: Sequence[Symbol], arguments: list[Tensor]) -> list[Tensor]:
    """Arguments of a step as loops take them: integers and truth values as floats."""
    return [x if x.dtype == s.dtype else x.astype(s.dtype) for x, s in zip(arguments, leaves)]


def as_seen(program: StepProgram, results: list[Tensor]) -> list[Tensor]:
    """Visible outputs and states as the step gives them, from those of the program."""
    return [y if y.dtype == d else y.astype(d) for y, d in zip(results, program.cast_results)] or results


def replay(program: StepProgram, inputs: list[Tensor], states: list[Tensor], bases: dict[int, Any]) -> list[Tensor]:
    """Run the program over time on the tape: outputs of all steps (T, B, ...), then final states."""
    return replay_checked(program, inputs, states, bases)[0]


def replay_checked(
    program: StepProgram, inputs: list[Tensor], states: list[Tensor], bases: dict[int, Any]
) -> tuple[list[Tensor], bool]:
    """What :func:`replay` gives, and whether all integers were such as a loop holds."""
    batch = inputs[0].shape[1]
    columns = [ops.unstack(in_rows(x, s, 2)) for x, s in zip(as_floats(program.inputs, inputs), program.inputs)]
    states = [in_rows(s, leaf, 1) for s, leaf in zip(as_floats(program.states, states), program.states)]
    collected: list[list] = [[] for _ in program.outputs]
    for t in range(inputs[0].shape[0]):
        values: dict[int, Any] = dict(bases)
        values |= {x.uid: column[t] for x, column in zip(program.inputs, columns)}
        values |= {s.uid: v for s, v in zip(program.states, states)}
        results = evaluate(program.results, values, batch)
        for ys, y in zip(collected, results):
            ys.append(y)
        states = results[len(program.outputs) :]
    outputs = [ops.stack(ys) for ys in collected]
    lead = inputs[0].shape[0], batch
    shapes = program.shapes
    found = [y.reshape((*lead, *shape)) for y, shape in zip(outputs[: program.visible], shapes.outputs)]
    results = as_seen(program, found + [s.reshape((batch, *shape)) for s, shape in zip(states, shapes.states)])
    return results, not any(y.data.any() for y in outputs[program.visible :])


def in_rows(x: Tensor, leaf: Symbol, lead: int) -> Tensor:
    """Values of any rank as the rows of features that a program holds, after `lead` axes."""
    shape = (*x.shape[:lead], *leaf.shape[1:])
    return x if x.shape == shape else x.reshape(shape)
