"""Builder of ONNX graphs: nodes, initialisers, names, and sizes that are computed in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import missing
from .graph import Constant, Fill, Graph, Parameter, Range, Value
from .sizes import Quotient, Ratio, Size


def import_onnx() -> Any:
    """The library.

    Raises
    ------
    ModuleNotFoundError
        If it is not there.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise missing("to_onnx", "onnx", "onnx") from None
    return onnx


class Builder:
    """One model under way; bodies of loops are graphs inside of it, which see its names.

    Parameters
    ----------
    graph : Graph
    opset : int

    Attributes
    ----------
    nodes : list
        Of the graph that is being written: the model's, or the body of a loop.
    initialisers : list
    """

    def __init__(self, graph: Graph, opset: int):
        self.onnx = import_onnx()
        self.graph, self.opset = graph, opset
        self.nodes: list[Any] = []
        self.outermost = self.nodes  # of the model itself
        self.initialisers: list[Any] = []
        self.place = ""  # for the names of nodes: the module at work
        self._taken: set[str] = set()
        self._names: dict[int, str] = {}
        self._sizes: dict[str, str] = {}
        self._constants: dict[Any, str] = {}
        self._keep: list[Any] = []  # values whose ids are keys

    # ---- names

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        name, n = hint, 1
        while name in self._taken:
            n += 1
            name = f"{hint}_{n}"
        self._taken.add(name)
        return name

    def bind(self, value: Value, name: str) -> str:
        """Let a value have this name."""
        self._keep.append(value)
        self._names[id(value)] = name
        return name

    def knows(self, value: Value) -> bool:
        return id(value) in self._names

    def name(self, value: Value) -> str:
        """The name of a value; of what is given, it is made at the first use."""
        if id(value) not in self._names:
            self.bind(value, self._given(value))
        return self._names[id(value)]

    def _given(self, value: Value) -> str:
        if isinstance(value, Parameter | Constant):
            return self.initialiser(value.array, value.name if isinstance(value, Parameter) else "constant")
        nodes, self.nodes = self.nodes, self.outermost  # for bodies of loops, too
        try:
            assert isinstance(value, Fill | Range)
            return self._fill(value) if isinstance(value, Fill) else self._range(value)
        finally:
            self.nodes = nodes

    # ---- nodes

    def node(self, kind: str, inputs: Sequence[str], hint: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its result, or of its results."""
        hint = f"{self.place}/{hint or kind}" if self.place else hint or kind
        names = [self.fresh(hint) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def initialiser(self, array: np.ndarray, hint: str) -> str:
        """Add an array of the model's."""
        name = self.fresh(hint)
        self.initialisers.append(
            self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        return name

    def constant(self, value: Any, dtype: Any, hint: str = "number") -> str:
        """A number or a short array, each once."""
        array = np.asarray(value, dtype)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initialiser(array, hint)
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(list(values), np.int64, "axes")

    def cast(self, name: str, dtype: Any) -> str:
        return self.node("Cast", [name], to=self.type_of(dtype))

    def type_of(self, dtype: Any) -> int:
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def info(self, name: str, shape: Sequence[Any], dtype: Any) -> Any:
        """The description of an input or an output."""
        dims = [n if isinstance(n, int) else str(n) for n in shape]
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), dims)

    # ---- sizes

    def size(self, value: int | Size) -> str:
        """A size as an int64 scalar."""
        if isinstance(value, int):
            return self.constant(value, np.int64, "size")
        key = str(value)
        if key not in self._sizes:
            nodes, self.nodes, place, self.place = self.nodes, self.outermost, self.place, "sizes"
            self._sizes[key] = self._computed(value)
            self.nodes, self.place = nodes, place
        return self._sizes[key]

    def _computed(self, value: Size) -> str:
        if value.is_name:
            return self._named(value.terms[0][1][0])
        total = ""
        for factor, atoms in value.terms:
            parts = [self._named(atom) for atom in atoms]
            parts = [self.size(factor), *parts] if factor != 1 or not parts else parts
            term = parts[0]
            for part in parts[1:]:
                term = self.node("Mul", [term, part])
            total = self.node("Add", [total, term]) if total else term
        return total

    def _named(self, atom: Any) -> str:
        if isinstance(atom, Quotient):
            n = self.size(Size(((1, (atom.name,)),)))
            n = self.node("Add", [n, self.size(atom.shift)]) if atom.shift else n
            return self.node("Div", [n, self.size(atom.divisor)])
        v, axis = self.graph.sizes[atom]
        shape = self.node("Shape", [self.name(v)])
        return self.node("Gather", [shape, self.size(axis)], hint=atom, axis=0)

    def shape(self, dims: Sequence[Any], infer: bool = False) -> str:
        """A shape as an int64 vector; with `infer` one unknown length may be left to the operation."""
        unknown = [n for n in dims if not isinstance(n, int)]
        if not unknown:
            return self.integers(dims)
        if infer and len(unknown) == 1 and 0 not in dims:
            return self.integers([n if isinstance(n, int) else -1 for n in dims])
        parts = [self.node("Unsqueeze", [self.size(n), self.integers([0])]) for n in dims]
        return self.node("Concat", parts, hint="shape", axis=0)

    def number(self, value: Any, dtype: Any) -> str:
        """A number among arguments, which may be an expression of sizes."""
        if isinstance(value, Size):
            return self.cast(self.size(value), dtype)
        if isinstance(value, Ratio):
            return self.node("Div", [self.constant(value.value, dtype), self.cast(self.size(value.size), dtype)])
        return self.constant(value, dtype)

    def _fill(self, value: Fill) -> str:
        shape = self.shape(value.shape)
        if isinstance(value.value, Size | Ratio):
            return self.node("Expand", [self.number(value.value, value.dtype), shape])
        filler = self.onnx.numpy_helper.from_array(np.array([value.value], value.dtype))
        return self.node("ConstantOfShape", [shape], hint="filled", value=filler)

    def _range(self, value: Range) -> str:
        whole = all(isinstance(v, int | Size) for v in (value.start, value.step))
        kind = np.int64 if whole else np.float64
        line = self.node("Range", [self.size(0), self.size(value.shape[value.axis]), self.size(1)], hint="range")
        line = line if whole else self.cast(line, kind)
        line = line if value.step == 1 else self.node("Mul", [line, self.number(value.step, kind)])
        line = line if value.start == 0 else self.node("Add", [line, self.number(value.start, kind)])
        line = line if value.dtype == kind else self.cast(line, value.dtype)
        if len(value.shape) == 1:
            return line
        lead = [-1 if i == value.axis else 1 for i in range(len(value.shape))]
        return self.node("Expand", [self.node("Reshape", [line, self.integers(lead)]), self.shape(value.shape)])
