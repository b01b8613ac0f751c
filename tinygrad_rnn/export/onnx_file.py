"""Export to ONNX: one file that runtimes of ONNX run, on any machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from .. import atomic
from ..checks import flag, whole_number
from ..compiler.ir.program_ops import is_ours
from ..errors import ExportError
from .graph import Graph, Node, Scan, Step
from .onnx_builder import Builder
from .onnx_layers import is_standard, scan_of, standard, step_of
from .onnx_table import TABLE
from .streaming import stream
from .tracing import suffixes, trace

OPSET, LEAST = 17, 14  # the default, and the oldest in which the operators mean what is written here


class OnnxFile(NamedTuple):
    """What :func:`to_onnx` wrote.

    Attributes
    ----------
    path : Path
    inputs, outputs : tuple of str
        Their names in the file.
    operators : tuple of str
        The kinds of nodes, each once, in order.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]


def to_onnx(
    model: Any, example: Any, path: str | PathLike[str], streaming: bool = False, opset: int = OPSET
) -> OnnxFile:
    """Write a model as an ONNX file, with batch and time open; it needs the library ``onnx``.

    RNN, LSTM and GRU become the operators of these names, any other cell a ``Scan`` whose body is the cell's step.
    Inputs are the arguments of the model, by their names; pass initial states and lengths in the example where the file
    is to take them.

    Parameters
    ----------
    model : Module, or a method of one
        A model, a layer or a cell; it is exported in evaluation mode.
    example : array or tensor, or a tuple of the model's arguments
        The first two axes of each may have other lengths later, where the model takes them. Axes that are as long as
        each other here may have to stay so: where batch and time are independent, give them different lengths.
    path : str or PathLike
        An existing file is replaced.
    streaming : bool
        One time step of the model: inputs and outputs have no axis of time, and the states of all layers are inputs
        and outputs too (what a state ``h`` becomes is the output ``h_next``).
    opset : int
        The version of the operators, from 14 on.

    Returns
    -------
    OnnxFile
        The path, and the names of inputs and outputs.

    Raises
    ------
    ExportError
        If the model cannot be traced, has operations that cannot be exported (all are named, with their places), or
        cannot be run step by step with `streaming`; or if `opset` is too old, or not known to the library.
    ModuleNotFoundError
        If the library ``onnx`` is not there: ``pip install "tinygrad_rnn[onnx]"``.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> file = tr.export.to_onnx(nn.LSTM(3, 4), np.ones((5, 2, 3)), "lstm.onnx")  # doctest: +SKIP
    >>> file.inputs, file.outputs  # doctest: +SKIP
    (('input',), ('output_0', 'output_1_0', 'output_1_1'))
    """
    target = Path(os.fspath(atomic.checked(path)))
    streaming = flag("streaming", streaming)
    whole_number("opset", opset, 1)
    if opset < LEAST:
        raise ExportError(f"opset: got {opset}, wanted at least {LEAST}, in which the operators are that are written")
    graph = trace(model, example)
    names = [f"output{suffix}" for suffix in suffixes(graph.structure)]
    if streaming:
        made = stream(graph)
        graph = made.graph
        names += [f"{v.name}_next" for v in graph.inputs[len(graph.inputs) - len(made.first) :]]
    found = Model(graph, opset).made(names)
    atomic.write(target, found.SerializeToString())
    kinds = dict.fromkeys(node.op_type for node in found.graph.node)
    given, results = ([v.name for v in part] for part in (found.graph.input, found.graph.output))
    return OnnxFile(target, tuple(given), tuple(results), tuple(kinds))


class Model:
    """The writing of one graph."""

    def __init__(self, graph: Graph, opset: int):
        self.graph, self.builder = graph, Builder(graph, opset)
        newest = self.builder.onnx.defs.onnx_opset_version()
        if opset > newest:
            raise ExportError(
                f"opset: got {opset}, wanted at most {newest}, the newest that this version of onnx knows"
            )
        self.problems: dict[tuple[str, str], None] = {}

    def made(self, names: Sequence[str]) -> Any:
        """The model, checked."""
        b, onnx = self.builder, self.builder.onnx
        for v in self.graph.inputs:
            b.bind(v, b.fresh(v.name))
        results = [b.fresh(name) for name in names]
        self.check()
        self.write(b, self.graph.nodes)
        self.refuse()
        for end, name in zip(self.graph.outputs, results):
            b.nodes.append(onnx.helper.make_node("Identity", [b.name(end)], [name], name=name))
        inputs = [b.info(b.name(v), v.shape, v.dtype) for v in self.graph.inputs]
        outputs = [b.info(name, v.shape, v.dtype) for name, v in zip(results, self.graph.outputs)]
        graph = onnx.helper.make_graph(b.nodes, self.graph.title, inputs, outputs, b.initialisers)
        version = onnx.helper.make_opsetid("", b.opset)
        from .. import __version__  # the package is whole by now

        made = onnx.helper.make_model(
            graph,
            opset_imports=[version],
            ir_version=onnx.helper.find_min_ir_version_for([version]),
            producer_name="tinygrad_rnn",
            producer_version=__version__,
        )
        onnx.checker.check_model(made, full_check=True)
        return made

    def check(self) -> None:
        """Find all operations that ONNX files cannot have, before any is written."""
        for node in self.graph.all_nodes():
            if not isinstance(node, Scan | Step) and (node.op.name not in TABLE or not is_ours(node.op)):
                self.problems[node.op.name, node.where] = None

    def refuse(self) -> None:
        """Raise for what was found."""
        if self.problems:
            places = "; ".join(f"{name} at {where or 'the model'}" for name, where in self.problems)
            raise ExportError(f"{self.graph.title}: got operations that cannot be exported to ONNX: {places}")

    def write(self, b: Builder, nodes: Sequence[Node]) -> None:
        """Add operations."""
        for node in nodes:
            b.place = node.module.replace(".", "/")
            if isinstance(node, Scan):
                if is_standard(self.graph, node):
                    standard(b, node)
                else:
                    scan_of(b, node, self.write)
            elif isinstance(node, Step):
                step_of(b, node, self.write)
            else:
                self._operation(b, node)

    def _operation(self, b: Builder, node: Node) -> None:
        found: Any = ""
        if (node.op.name, node.where) not in self.problems:
            try:
                found = TABLE[node.op.name](b, node)
            except ExportError as error:  # of this way to use an operation that is known
                self.problems[str(error), node.where] = None
        several = found if isinstance(found, list) else [found] * len(node.results)
        for result, name in zip(node.results, several):
            b.bind(result, name or b.fresh("refused"))
