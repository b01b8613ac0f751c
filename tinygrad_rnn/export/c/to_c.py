"""Export to C: one header with weights, state and functions, for any cell that compiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import atomic, compiler, config
from ...checks import one_of, shown
from ...compiler.ir.program_ops import MATMUL
from ...core import Tensor, tree
from ...errors import DTypeError
from ...modules.module import Module
from ...recurrent import Bidirectional, Cell, Recurrent, Stacked
from ...recurrent.layers.multilayer import RNNBase
from ..evaluate import evaluate
from ..graph import Graph, Parameter
from ..tracing import evaluating, trace
from .header import cell_header
from .model import rounded
from .model_header import model_header
from .traced import TracedCell, trace_cell
from .weights import KEYWORDS, quantised

STEPS = 200  # of random inputs, over which int8 is compared
IDS = 8  # inputs of integers are less, for that


class CFile(NamedTuple):
    """What :func:`to_c` wrote.

    Attributes
    ----------
    path : Path
    name : str
        With which all names in the file begin.
    weight_bytes, state_bytes, scratch_bytes : int
        Of constants, of one state, and of the arrays on the stack in one step.
    error : float or None
        With ``weights="int8"``: the root mean square of the outputs' error, over that of the outputs, for 200 steps of
        normally distributed inputs.
    """

    path: Path
    name: str
    weight_bytes: int
    state_bytes: int
    scratch_bytes: int
    error: float | None


def to_c(
    model: Any,
    path: str | PathLike[str],
    dtype: Any = "float32",
    *,
    name: str | None = None,
    example: Any = None,
    weights: str = "float",
) -> CFile:
    """Write a cell, a layer or a model as one header in C99, which needs no library and allocates nothing.

    It has the weights, a struct for the state, and functions: ``NAME_init``, ``NAME_reset``, ``NAME_step(state, in,
    out)`` for one time step of one row, and ``NAME_run(state, in, out, T)`` for T of them. A comment in it says more.
    Where a model needs whole sequences, there is ``NAME_run`` alone. It is as in evaluation.

    Parameters
    ----------
    model : Module
    path : str or PathLike
    dtype : {"float32", "float64"}
        Of all numbers in the file.
    name : str, optional
        The first part of all names; by default the file's.
    example : array, or a tuple of arguments, optional
        What a call takes, with a batch and a time of lengths that differ from other axes; of a cell, an input of one
        step (1, ...). Cells and layers with an ``input_size`` need none.
    weights : {"float", "int8"}
        "int8": matrices are integers of a byte, with a scale for each output.

    Returns
    -------
    CFile
        Sizes in bytes, and the error of int8.

    Raises
    ------
    CompileError
        If a step does not compile, with the reason.
    ExportError
        If the model draws random numbers in evaluation, too, cannot be traced, or does what C has no rule for.

    Examples
    --------
    >>> import os, tempfile, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> path = os.path.join(tempfile.mkdtemp(), "amplifier.h")
    >>> file = tr.export.to_c(nn.LSTM(1, 16), path)
    >>> file.name, file.state_bytes
    ('amplifier', 128)
    """
    kind = _dtype(dtype)
    int8 = one_of("weights", weights, ("float", "int8")) == "int8"
    target = Path(atomic.checked(path))
    title = _identifier(target.stem if name is None else name, "path" if name is None else "name")
    if not isinstance(model, Module):
        raise TypeError(f"model: got {type(model).__name__}, wanted a cell, a layer or a model")
    cell = None if type(example) is tuple and len(example) > 1 else _cell(model)
    if cell is not None:
        with evaluating(model):
            traced = trace_cell(cell, _first_step(model, example))
        header = cell_header(traced, title, kind, int8)
        error = error_of_cell(traced) if int8 else None
    else:
        example = _sequence(model) if example is None else example
        if example is None:
            raise ValueError(
                f"example: wanted the arguments of a call of {type(model).__name__}, with a batch and a time"
            )
        with evaluating(model):
            graph = trace(model, example)
            header = model_header(graph, title, kind, int8)
        error = error_of_graph(graph) if int8 else None
    atomic.write(target, header.text.encode())
    return CFile(target, title, header.weights, header.state, header.scratch, error)


def _dtype(dtype: Any) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if dtype is None or found not in (np.float32, np.float64):
        raise DTypeError(f"dtype: got {shown(dtype)}, wanted float32 or float64")
    return found


def _identifier(name: Any, argument: str) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in KEYWORDS.split():
        more = ", or name= another one" if argument == "path" else ""
        raise ValueError(f"{argument}: got {name!r}, wanted a name that C allows: letters, digits and _{more}")
    return name


def _cell(model: Module) -> Cell | None:
    """The cell that runs step by step, if there is nothing around it."""
    if isinstance(model, Cell):
        return model
    if isinstance(model, Recurrent) and not model.reverse:
        return model.cell
    if isinstance(model, RNNBase) and not model.bidirectional and not model.reverse:
        return model._cells[0] if len(model._cells) == 1 else Stacked(model._cells)
    return None


def _sequence(model: Module) -> np.ndarray | None:
    """An input of a layer that says how many features it takes."""
    if isinstance(model, RNNBase):
        size: Any = model.input_size
    elif isinstance(model, Recurrent | Bidirectional):
        size = (model.cell if isinstance(model, Recurrent) else model.cell_fw).input_size
    else:
        return None
    return None if size is None else np.zeros((3, 5, size) if model.batch_first else (5, 3, size), np.float32)


def _first_step(model: Module, example: Any) -> Any:
    """The first step of the first row of an example."""
    if type(example) is tuple:
        (example,) = example
    if example is None or isinstance(model, Cell):
        return example
    first = (slice(1), 0) if model.batch_first else (0, slice(1))  # type: ignore[attr-defined]
    return tree.map(lambda x: np.asarray(x.numpy() if isinstance(x, Tensor) else x)[first], example)


def error_of_cell(cell: TracedCell) -> float:
    """The error of the outputs with matrices of int8, relative to the outputs; both as root mean squares."""
    program, rng = cell.program, np.random.default_rng(0)
    xs = [
        Tensor((rng.integers(0, IDS, shape) if whole else rng.standard_normal(shape)).astype(program.dtype))
        for shape, whole in zip([(STEPS, 1, s.width) for s in program.inputs], cell.whole[0])
    ]
    states = [Tensor(row.reshape(1, -1)) for row in cell.initial]
    products = {s.args[1].uid for s in program.expressions.values() if s.op is MATMUL and s.varying}
    outputs = []
    with config.no_grad():
        for rounded in (False, True):
            values: dict[int, Any] = {}
            for uid, array in cell.constants.items():
                if rounded and uid in products and array.shape[0] > 1:
                    whole, scale = quantised(array)
                    array = (whole * scale).astype(array.dtype)
                values[uid] = Tensor(array)
            found = compiler.replay(program, xs, states, values)
            outputs.append(_floats([y.data for y in found[: len(program.outputs)]]))
    return _relative(*outputs)


def error_of_graph(graph: Graph) -> float:
    """The same of a model, for its example."""
    outputs = []
    for replaced in ({}, rounded(graph, quantised)):
        kept = {id(v): v.array for v in graph.values() if isinstance(v, Parameter)}
        try:
            for v in graph.values():
                if isinstance(v, Parameter):
                    v.array = replaced.get(id(v), v.array)
            found = evaluate(graph, graph.example)
        finally:
            for v in graph.values():
                if isinstance(v, Parameter):
                    v.array = kept[id(v)]
        outputs.append(_floats(found))
    return _relative(*outputs)


def _floats(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers of those arrays that are of floats."""
    return np.concatenate([np.zeros(0), *[a.ravel() for a in arrays if a.dtype.kind == "f"]])


def _relative(wanted: np.ndarray, got: np.ndarray) -> float:
    size, error = (float(np.linalg.norm(a.astype(np.float64))) for a in (wanted, got - wanted))
    return error / size if size else 0.0
