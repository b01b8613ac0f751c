"""Reports on compiled cells: program, loops, saved bytes, FLOPs, source; or why one does not compile."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..compiler import Symbol
from ..compiler.explain import StepReport
from ..core import Tensor, tree
from ..errors import CompileError, ShapeError
from .as_tensors import as_input
from .cell import Cell, check_state, title_of
from .scan.arguments import Arguments, check_inputs
from .scan.attribute_path import CONSTANT, AttributePath
from .scan.compiled import program_of
from .scan.dry_run import isolated_dry_run
from .scan.numbers import NumberInput
from .scan.program import Program

RULE = "=" * 100


class CellReport(NamedTuple):
    """The report on one cell.

    Attributes
    ----------
    where : str
        Which of the layer's cells: ``"layer 0, reverse"``; "" if there is one only.
    cell : Cell
    step : StepReport or None
        What the compiler made of its step; None if it does not compile.
    reason : str
        Why not: the operation, file and line, and what to write instead.
    """

    where: str
    cell: Cell
    step: StepReport | None
    reason: str

    def text(self, shown: Collection[Path] = ()) -> str:
        """The report; sources whose files are in `shown` are named only."""
        name = f"{self.where}: {self.cell!r}" if self.where else repr(self.cell)
        head = f"{RULE}\n{name}, {self.cell.dtype}"
        if self.step is None:
            return f"{head}\ndoes not compile: {self.reason}"
        return f"{head}\n\n{self.step.text(shown)}"

    def __str__(self) -> str:
        return self.text()


class Explanation:
    """The result of ``layer.explain()``: one report for each cell, which ``print`` shows.

    Attributes
    ----------
    cells : list of CellReport
        One for each layer and direction.
    mode : str
        How the layer runs its cells.
    compiled : bool
        Whether all of them compile.
    reasons : list of str
        Why some do not.
    """

    def __init__(self, cells: list[CellReport], mode: str):
        self.cells, self.mode = cells, mode

    @property
    def compiled(self) -> bool:
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        return [c.reason for c in self.cells if c.step is None]

    def __str__(self) -> str:
        shown: set[Path] = set()
        lines = [f'mode="{self.mode}"' + (": runs on the tape; compiled, it would be:" if self.mode == "eager" else "")]
        for report in self.cells:
            lines.append(report.text(shown))
            shown.update(loop.path for loop in (report.step.loops if report.step else []))
        return "\n\n".join(lines) + "\n"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A line for each cell that unfolds to its report, for notebooks."""
        parts = []
        for report in self.cells:
            where = f"{report.where}: " if report.where else ""
            name = f"{where}{type(report.cell).__name__}({report.cell.extra_repr()}), {report.cell.dtype}"
            step = report.step
            state = "does not compile" if step is None else f"compiles, saves {step.saved_bytes:,} bytes a row and step"
            if step is not None and self.mode == "eager":
                state = 'runs on the tape, as mode="eager" says; compiled, it would be:'
            text = escape(str(report) if len(self.cells) > 1 else str(self))
            fold = f"<details><summary><b>{escape(name)}</b> {escape(state)}</summary><pre>{text}</pre></details>"
            parts.append(fold if step is not None else fold.replace("<details>", "<details open>", 1))
        return "".join(parts)


def explain(target: Any, x: Any = None) -> Explanation:
    """Explain a cell, or a layer of cells.

    Parameters
    ----------
    target : Cell, or a recurrent layer
        It need not have run before.
    x : nest of tensors or arrays, or the pair of numbers (T, B), optional
        An example of the input, (T, B, ...), which is needed where a cell has no ``input_size``. Only its shape and
        dtype matter, and whether it requires gradients. Totals are told for its T and B.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If a cell has no ``input_size`` and there is no example.
    ShapeError, DTypeError
        If the example does not fit the cell.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> report = nn.LSTM(8, 16).explain((100, 32))
    >>> report.compiled
    True
    >>> step = report.cells[0].step
    >>> step.saved_bytes  # of a row at a step: four gates and the cell state, 16 numbers each, in float32
    320
    >>> print(*step.results, sep="\\n")
    output = v58
    next state[0] = v58
    next state[1] = v55
    """
    return explain_cells([("", target)], x) if isinstance(target, Cell) else target.explain(x)


def explain_cells(
    cells: list[tuple[str, Cell]], x: Any = None, mode: str = "auto", batch_first: bool = False
) -> Explanation:
    """Explain cells that read the same input; `batch_first`: an example is (B, T, ...)."""
    if batch_first and _size_of(x) is None and x is not None:
        x = tree.map(_time_first, x)
    return Explanation([_explain_cell(where, cell, x, False) for where, cell in cells], mode)


def _time_first(x: Any) -> Any:
    x = x if isinstance(x, Tensor) else np.asarray(x)
    if len(x.shape) < 2:
        raise ShapeError(f"explain: x: got shape {x.shape}, wanted (B, T, ...)")
    return x.swapaxes(0, 1)


def explain_layers(cells: list[Cell], directions: int, x: Any, mode: str, batch_first: bool) -> Explanation:
    """Explain layers on top of each other; an example is the input of the first."""
    reports, size, grad = [], _size_of(x), False
    if size is None and x is not None:
        x = as_input(x, cells[0].dtype, "explain: x")
        x = ops.expand_dims(x, 1) if len(x.shape) == 2 else _time_first(x) if batch_first else x
        check_inputs(cells[0], x)
        size, grad = _lead(x), x.requires_grad
    for i, cell in enumerate(cells):
        where = "" if len(cells) == 1 else f"layer {i // directions}{', reverse' if i % directions else ''}"
        if i == directions:  # from here on, inputs are outputs of cells with parameters
            grad = grad or any(p.requires_grad for c in cells[:i] for p in c.parameters())
        reports.append(_explain_cell(where, cell, size, grad))
    return Explanation(reports, mode)


def _explain_cell(where: str, cell: Cell, x: Any, grad: bool) -> CellReport:
    size = _size_of(x)
    example = _example(cell, size) if size is not None or x is None else x
    inputs, structure = check_inputs(cell, example)
    if example is x:
        size = _lead(inputs[0])
    states, state_structure = check_state(cell, None, inputs[0].shape[1])
    try:
        with isolated_dry_run(cell):
            cell.begin_sequence(inputs[0].shape[1])
            found = program_of(cell, Arguments(inputs, structure, states, state_structure), "compiled")
        assert found is not None
        program, _ = found
        known = {uid: t.requires_grad for uid, t in program.traced.invariants.items()}
        flags = [grad or t.requires_grad for t in inputs] + [False for _ in program.traced.mask_probabilities]
        flags += [s.requires_grad for s in states]
        flags += [_needs(s, known) for s in program.bases]
        train = any(flags)
        loop = program.loop(title_of(cell), train, flags)
        names, outputs, state_names = _names(cell, program, structure, state_structure)
        step = StepReport(loop.executable, names, outputs, state_names, train, size)
    except CompileError as error:
        return CellReport(where, cell, None, str(error).removeprefix(f"{title_of(cell)}: "))
    return CellReport(where, cell, step, "")


def _size_of(x: Any) -> tuple[int, int] | None:
    """`x` as the pair (T, B); None if it is an example."""
    return x if isinstance(x, tuple) and len(x) == 2 and all(isinstance(n, int) for n in x) else None


def _lead(x: Tensor) -> tuple[int, int]:
    return x.shape[0], x.shape[1]


def _example(cell: Cell, size: tuple[int, int] | None) -> Tensor:
    if cell.input_size is None:
        raise ValueError(f"{title_of(cell)} sets no input_size: pass an example x, (T, B, ...)")
    return ops.zeros((1, size[1] if size else 1, cell.input_size), cell.dtype)


def _needs(s: Symbol, known: dict[int, bool]) -> bool:
    if s.uid not in known:
        known[s.uid] = any(_needs(a, known) for a in s.args if isinstance(a, Symbol))
    return known[s.uid]


# ---- names


def _names(cell: Cell, program: Program, structure, state_structure) -> tuple[dict[int, str], list[str], list[str]]:
    """Names of the leaves by uid, of the outputs and of the states."""
    x, state = _arguments(cell)
    traced = program.traced
    state_names = _paths(state, state_structure)
    paths = _paths(x, structure) + [f"mask{i}" for i in range(len(traced.mask_probabilities))]
    names = {s.uid: name for s, name in zip(traced.inputs, paths)}
    names |= {s.uid: name for s, name in zip(traced.states, state_names)}
    modules = {id(vars(m)): path for path, m in cell.named_modules()}

    def name_of(place: AttributePath) -> str:
        path = modules[id(place.attributes)]
        return (f"{path}." if path else "") + place.name + place.suffix

    for uid, source in program.sources:
        if isinstance(source, NumberInput):
            names[uid] = source.text(name_of)
        elif source.name != CONSTANT:
            names[uid] = name_of(source)
    return names, _paths("output", program.output_structure), state_names


def _arguments(cell: Cell) -> tuple[str, str]:
    """The names of the step's first two parameters, input and state."""
    parameters = inspect.signature(cell.step).parameters.values()
    found = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    return (found[0], found[1]) if len(found) == 2 else ("x", "state")


def _paths(name: str, structure) -> list[str]:
    """Names of the values of a nest: ``state[0]``, ``state['h']``."""
    if structure is tree.LEAF:
        return [name]
    kind, keys, items = structure
    fields = getattr(kind, "_fields", None)
    steps = [f".{f}" for f in fields] if fields else [f"[{k!r}]" for k in (keys or range(len(items)))]
    return [path for step, item in zip(steps, items) for path in _paths(name + step, item)]
