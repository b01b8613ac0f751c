"""Graphs as plain Python: nodes, attributes and values, decoded from a model of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ...recurrent.scan.kinds import Opaque
from .reading import CONVERT, DOMAINS, DTYPES, array_of, type_name


@dataclass
class Node(Opaque):
    """One operation: names of what it reads (``""``: left out) and of what it makes; its settings."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return self.attributes.get(name, default)

    @property
    def title(self) -> str:
        """Name and type, for messages."""
        return f"{self.name} ({self.op})" if self.name else self.op


@dataclass
class Value(Opaque):
    """An input or output of a graph: its dtype and the lengths of its axes, numbers or names, if given."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str | None, ...] | None


@dataclass
class Graph(Opaque):
    """Nodes in the order in which they run; arrays that are given; what comes in, and what goes out."""

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]
    initializers: dict[str, np.ndarray] = field(default_factory=dict)

    def captured(self) -> list[str]:
        """Names of values that nodes read and that come from the graph around this one."""
        own = {value.name for value in self.inputs} | set(self.initializers) | {""}
        found: dict[str, None] = {}
        for node in self.nodes:
            inner = [name for graph in graphs_of(node) for name in graph.captured()]
            found.update(dict.fromkeys(name for name in (*node.inputs, *inner) if name not in own))
            own.update(node.outputs)
        found.update(dict.fromkeys(value.name for value in self.outputs if value.name not in own))
        return list(found)


def graphs_of(node: Node) -> Iterator[Graph]:
    """Graphs among the attributes of a node."""
    return (value for value in node.attributes.values() if isinstance(value, Graph))


def decode(proto: Any, opset: int) -> Graph:
    """A graph of ONNX as one of ours."""
    initializers = {}
    for tensor in proto.initializer:
        if not tensor.name or tensor.name in initializers:
            raise CheckpointError(f"holds two initializers with the name {tensor.name!r}, or one without a name")
        initializers[tensor.name] = array_of(tensor.name, tensor)
    return Graph(
        [_node(node, opset) for node in proto.node],
        [_input(value) for value in proto.input if value.name not in initializers],
        [_value(value) for value in proto.output],
        initializers,
    )


def _node(proto: Any, opset: int) -> Node:
    op = proto.op_type if proto.domain in DOMAINS else f"{proto.domain}.{proto.op_type}"
    attributes = {a.name: _attribute(f"{proto.name or op}.{a.name}", a, opset) for a in proto.attribute}
    return Node(op, proto.name, tuple(proto.input), tuple(proto.output), attributes, opset)


def _attribute(name: str, proto: Any, opset: int) -> Any:
    """The value of an attribute as a number, a text, an array, a graph, or a tuple of numbers or texts."""
    kinds: dict[int, Callable[[], Any]] = {
        1: lambda: float(proto.f),
        2: lambda: int(proto.i),
        3: lambda: _text(proto.s),
        4: lambda: array_of(name, proto.t),
        5: lambda: decode(proto.g, opset),
        6: lambda: tuple(map(float, proto.floats)),
        7: lambda: tuple(map(int, proto.ints)),
        8: lambda: tuple(map(_text, proto.strings)),
    }
    if proto.type not in kinds:
        raise CheckpointError(f"holds the attribute {name} of type {proto.type}, which is not known here")
    return kinds[proto.type]()


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _input(proto: Any) -> Value:
    value = _value(proto)
    if proto.type.HasField("tensor_type") and proto.type.tensor_type.elem_type and value.dtype is None:
        raise CheckpointError(f"takes {proto.name} as {type_name(proto.type.tensor_type.elem_type)}{CONVERT}")
    return value


def _value(proto: Any) -> Value:
    kind = proto.type.tensor_type
    if not proto.type.HasField("tensor_type"):
        return Value(proto.name, None, None)
    shape = None
    if kind.HasField("shape"):
        shape = tuple(int(d.dim_value) if d.HasField("dim_value") else (d.dim_param or None) for d in kind.shape.dim)
    return Value(proto.name, np.dtype(DTYPES[kind.elem_type]) if kind.elem_type in DTYPES else None, shape)


def unsupported(graph: Graph, known: Mapping[str, Any], refusals: Mapping[str, Callable[[Node], str]]) -> list[str]:
    """What cannot be run here, a line for each node, of graphs inside of nodes too."""
    lines = []
    for node in graph.nodes:
        if node.op not in known:
            lines.append(f"{node.op}: node {node.name or 'that makes ' + ', '.join(node.outputs)}")
        elif reason := refusals.get(node.op, lambda _: "")(node):
            lines.append(f"{node.op}: node {node.name or 'that makes ' + ', '.join(node.outputs)}: {reason}")
        for inner in graphs_of(node):
            lines += unsupported(inner, known, refusals)
    return lines


def uses(graph: Graph) -> Iterator[tuple[str, Node, int]]:
    """Each name that a node reads, with the node and the place, of graphs inside too."""
    for node in graph.nodes:
        for place, name in enumerate(node.inputs):
            yield name, node, place
        for inner in graphs_of(node):
            yield from uses(inner)


def fits(value: Value, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether an array fits what is declared; lengths of named axes are kept in `sizes`."""
    if value.shape is None:
        return True
    if len(shape) != len(value.shape):
        return False
    for n, wanted in zip(shape, value.shape):
        if isinstance(wanted, str):
            wanted = sizes.setdefault(wanted, n)
        if wanted is not None and n != wanted:
            return False
    return True


def in_words(value: Value, sizes: Mapping[str, int] = {}) -> str:
    """The shape that is declared."""
    names = [str(sizes.get(n, n)) if isinstance(n, str) else "?" if n is None else str(n) for n in value.shape or ()]
    return f"({', '.join(names)}{',' * (len(names) == 1)})"
