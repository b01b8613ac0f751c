"""A graph of ONNX as a module: its initializers are parameters, and its nodes run in order."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np

from ...checks import shown
from ...core import Tensor
from ...core.aliases import DTypeLike
from ...errors import CheckpointError, DTypeError, ShapeError
from ...nn import Module, Parameter
from ..attribute_names import attribute_name
from .graph import Graph, Node, Value, fits, graphs_of, in_words, uses
from .operators import FIXED, OPERATORS
from .operators.loops import IfNode, LoopNode, ScanNode
from .operators.recurrent import WEIGHTS, RecurrentNode
from .running import Step, run


class OnnxModule(Module):
    """A model of ONNX, made by :func:`~tinygrad_rnn.io.from_onnx`.

    Called with the inputs of the graph, in its order or by name, it returns its output, or a tuple of its outputs.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Names of the graph.
    """

    def __init__(self, graph: Graph, mode: str):
        self._declared, self._mode = graph.inputs, mode
        self.inputs = tuple(value.name for value in graph.inputs)
        self.outputs = tuple(value.name for value in graph.outputs)
        self._dtypes = [value.dtype for value in graph.inputs]
        self._constants: dict[str, np.ndarray] = {}
        self._trained: dict[str, str] = {}  # initializer -> attribute
        arrays = _initializers(graph)
        self._reads = Counter(name for name, _, _ in uses(graph)) + Counter(self.outputs)
        settings = {name for name, node, place in uses(graph) if place in FIXED.get(node.op, ())}
        self._steps = self._made(graph, arrays)
        for step in [step for step in self._steps if not step.reads]:  # constants
            run([step], self._constants)
            self._steps.remove(step)
        for name, array in arrays.items():  # without those that went into nodes
            if array.dtype.kind == "f" and array.ndim and name not in settings:
                self._trained[name] = attribute_name(name, "weight", vars(self))
                setattr(self, self._trained[name], Parameter(array))
            else:
                self._constants[name] = array
        _forget(graph)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        values: dict[str, Any] = dict(self._constants)
        for name, attribute in self._trained.items():
            values[name] = getattr(self, attribute)
        values.update(self._checked(inputs, named))
        run(self._steps, values)
        found = tuple(_as_tensor(values[name]) for name in self.outputs)
        return found if len(found) > 1 else found[0]

    def to(self, dtype: DTypeLike) -> Module:
        """Cast parameters and constants, and expect inputs of that dtype."""
        super().to(dtype)
        chosen = np.dtype(dtype)
        self._constants = {n: a.astype(chosen) if a.dtype.kind == "f" else a for n, a in self._constants.items()}
        self._dtypes = [chosen if d is not None and d.kind == "f" else d for d in self._dtypes]
        return self

    # ---- making it

    def _made(self, graph: Graph, arrays: dict[str, np.ndarray]) -> list[Step]:
        """The steps of a graph; nodes with weights of their own take them out of `arrays`."""
        return [self._step(node, arrays) for node in graph.nodes]

    def _step(self, node: Node, arrays: dict[str, np.ndarray]) -> Step:
        inner = {name: value for name, value in node.attributes.items() if isinstance(value, Graph)}
        outer = list(dict.fromkeys(name for graph in inner.values() for name in graph.captured()))
        inside = {name: array for graph in inner.values() for name, array in _initializers(graph).items()}
        outer += [name for name in inside if name not in outer]
        runs = {name: functools.partial(run, self._made(graph, arrays)) for name, graph in inner.items()}
        function: Any
        reads = node.inputs
        if node.op in WEIGHTS:
            function, reads = self._recurrent(node, arrays)
        elif node.op == "Scan":
            function = ScanNode(node, runs["body"], outer, self._mode)
        elif node.op == "Loop":
            function = LoopNode(node, runs["body"], outer)
        elif node.op == "If":
            function = IfNode(node, runs, outer)
        else:
            function = functools.partial(OPERATORS[node.op], node)
        return Step(function, (*reads, *outer), node.outputs, node.title)

    def _recurrent(self, node: Node, arrays: dict[str, np.ndarray]) -> tuple[RecurrentNode, tuple[str, ...]]:
        """A layer, and the names of what it is to be called with."""
        places = [place for place in WEIGHTS[node.op] if place < len(node.inputs) and node.inputs[place]]
        own = [place for place in places if node.inputs[place] in arrays and self._reads[node.inputs[place]] == 1]
        given = {place: arrays.pop(node.inputs[place]) for place in own} if own == places else {}
        layer = RecurrentNode(node, given, self._mode)
        setattr(self, attribute_name(node.name, node.op.lower(), vars(self)), layer)
        return layer, tuple("" if place in given else name for place, name in enumerate(node.inputs))

    # ---- calling it

    def _checked(self, inputs: tuple, named: dict[str, Any]) -> dict[str, Any]:
        """Inputs by name, as tensors, or arrays of integers, of the dtypes and shapes that the graph declares."""
        given: dict[str, Any] = dict(zip(self.inputs, inputs))
        twice, unknown = named.keys() & given.keys(), named.keys() - set(self.inputs)
        given.update(named)
        if len(inputs) > len(self.inputs) or twice or unknown or len(given) < len(self.inputs):
            got = f"{len(inputs)} inputs" + (f" and {', '.join(named)}" if named else "")
            raise TypeError(f"OnnxModule: got {got}, wanted {', '.join(self.inputs) or 'none'}, each once")
        sizes: dict[str, int] = {}
        return {
            value.name: _checked(given[value.name], value, dtype, sizes)
            for value, dtype in zip(self._declared, self._dtypes)
        }

    def extra_repr(self) -> str:
        return f"({', '.join(self.inputs)}) -> ({', '.join(self.outputs)}), {len(self._steps)} nodes"


def _initializers(graph: Graph) -> dict[str, np.ndarray]:
    """Arrays that a graph gives, and those that graphs inside of its nodes give."""
    found = dict(graph.initializers)
    for node in graph.nodes:
        for inner in graphs_of(node):
            more = _initializers(inner)
            if twice := found.keys() & more.keys():
                raise CheckpointError(f"has two initializers with the name {min(twice)!r}, wanted one for each name")
            found.update(more)
    return found


def _forget(graph: Graph) -> None:
    """Let the arrays of a graph go, which are parameters and constants now."""
    graph.initializers.clear()
    for node in graph.nodes:
        for inner in graphs_of(node):
            _forget(inner)


def _checked(x: Any, value: Value, dtype: np.dtype | None, sizes: dict[str, int]) -> Any:
    if not isinstance(x, Tensor | np.ndarray):
        x = np.asarray(x)
        if x.dtype.kind not in "biuf":
            raise DTypeError(f"{value.name}: got {shown(x)}, wanted numbers")
    if not fits(value, tuple(x.shape), sizes):
        raise ShapeError(f"{value.name}: got shape {tuple(x.shape)}, wanted {in_words(value, sizes)}")
    if dtype is None or x.dtype == dtype:
        return Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
    if isinstance(x, Tensor) or not np.can_cast(x.dtype, dtype, "same_kind"):
        raise DTypeError(f"{value.name}: got {x.dtype} values, wanted {dtype}")
    x = x.astype(dtype)
    return Tensor(x) if dtype.kind == "f" else x


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(np.asarray(x))
