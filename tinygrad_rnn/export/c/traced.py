"""The program of a cell for one row, with the values of all that it reads: what C is written from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ... import compiler, config, ops
from ...compiler.ir.walk import reachable
from ...core import Tensor, tree
from ...errors import ExportError, ShapeError
from ...recurrent.as_tensors import as_input
from ...recurrent.cell import Cell, title_of
from ...recurrent.scan.arguments import Arguments
from ...recurrent.scan.attribute_path import AttributePath
from ...recurrent.scan.compiled import program_of
from ...recurrent.scan.dry_run import isolated_dry_run


class TracedCell(NamedTuple):
    """A cell's program, and the constants of its loop.

    Attributes
    ----------
    program : StepProgram
    constants : dict of uid to array
        What does not vary in time and is read by what does, for a batch of one row.
    hints : dict of uid to str
        Names for them.
    initial : list of arrays
        The state before the first step, each tensor as a row.
    title : str
    whole : pair of tuples of bool
        Which inputs, and which outputs, are integers or truth values.
    """

    program: compiler.StepProgram
    constants: dict[int, np.ndarray]
    hints: dict[int, str]
    initial: list[np.ndarray]
    title: str
    whole: tuple[tuple[bool, ...], tuple[bool, ...]]


def trace_cell(cell: Cell, example: Any = None) -> TracedCell:
    """Trace a cell for one row, in the compiler's normal form.

    Parameters
    ----------
    cell : Cell
    example : nest of arrays (1, ...), optional
        An input of one step; needed where the cell has no ``input_size``.

    Raises
    ------
    CompileError
        If the step does not compile; with the reason.
    ExportError
        If it draws random numbers, or an input, a state or an output has no features.
    """
    title = title_of(cell)
    if example is None:
        if cell.input_size is None:
            raise ShapeError(f"{title}: sets no input_size; pass example=, an input of one step")
        example = np.zeros((1, cell.input_size), cell.dtype)
    leaves, structure = tree.flatten(example)
    rows = [as_input(x, cell.dtype, f"{title}: example") for x in leaves]
    for x in rows:
        if x.ndim < 1 or x.shape[0] != 1:
            raise ShapeError(f"{title}: example: got shape {x.shape}, wanted (1, ...), an input of one step")
    with config.no_grad():
        first, again = (_values(cell, rows, structure, seed) for seed in (0, 1))
    for s in first[1]:
        if first[1][s].tobytes() != again[1][s].tobytes():
            raise ExportError(
                f"{title}: begin_sequence() draws random numbers ({first[2].get(s, 'a tensor')} differs each time), "
                "which a file cannot hold"
            )
    program = first[0]
    if program.mask_probabilities:
        raise ExportError(f"{title}: each step draws random numbers in evaluation, too, which a file cannot hold")
    if any(0 in s.shape for s in (*program.inputs, *program.states, *program.outputs)):
        raise ExportError(f"{title}: an input, a state or an output has no features, and C no arrays without elements")
    whole = tuple(x.dtype.kind != "f" for x in rows), tuple(d.kind != "f" for d in program.shapes.output_dtypes)
    return TracedCell(program, first[1], first[2], first[3], title, whole)


def _values(cell: Cell, rows: list[Tensor], structure: Any, seed: int) -> tuple:
    """Program, constants by uid, their names, and the initial state; as one sequence begins."""
    with isolated_dry_run(cell, seed):
        states, state_structure = tree.flatten(cell.initial_state(1))
        cell.begin_sequence(1)
        inputs = [ops.expand_dims(x, 0).detach() for x in rows]
        found = program_of(cell, Arguments(inputs, structure, states, state_structure), "compiled")
        assert found is not None
        program, traced = found[0], found[0].traced
        if traced.checks:  # C takes 0 where they fail, as the program does behind them
            traced = replace(traced, outputs=traced.outputs[: traced.visible], checks=())
        wanted = _constants(traced)
        values: dict[int, Any] = {uid: source.get() for uid, source in program.sources}
        compiler.evaluate(wanted, values)
        names = {uid: _name(source) for uid, source in program.sources}
        hints = {s.uid: _hint(s, names) for s in wanted}
        constants = {s.uid: np.array(values[s.uid].data) for s in wanted}
        return traced, constants, hints, [np.array(s.data, cell.dtype).reshape(-1) for s in states]


def _constants(program: compiler.StepProgram) -> list[compiler.Symbol]:
    varying = reachable(program.results, lambda s: s.varying_operands)
    found = {a.uid: a for s in varying for a in s.operands if not a.varying}
    return [found[uid] for uid in sorted(found)]


def _name(source: Any) -> str:
    return source.name + source.suffix if isinstance(source, AttributePath) else "number"


def _hint(s: compiler.Symbol, names: dict[int, str]) -> str:
    """The name of the first parameter that a constant is computed from."""
    leaves = sorted(a.uid for a in compiler.leaves([s]))
    return next((names[uid] for uid in leaves if uid in names), "constant")
