"""A model as a graph that every end reads: values, the operations between them, and loops over time.

Values are arrays of any rank, operations the records of the tape (:class:`~tinygrad_rnn.core.Op`). A recurrent layer is
one node, whose body is the cell's step, on values for one step. Lengths of axes and numbers in settings are ints, or
expressions of the sizes that differ from call to call (:mod:`.sizes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..core import Op, tree
from ..core.tree import Structure
from .sizes import Size

Dim = int | Size
SCAN, STEP = Op("scan", None), Op("step", None)  # the operations of a `Scan` and of a `Step`


@dataclass(eq=False)
class Value:
    """An array.

    Attributes
    ----------
    shape : tuple of int or Size
    dtype : dtype
    """

    shape: tuple[Dim, ...]
    dtype: np.dtype


@dataclass(eq=False)
class Input(Value):
    """An argument of the model, by the name of its parameter and its place in it."""

    name: str


@dataclass(eq=False)
class Parameter(Value):
    """A tensor of the model, by its name in the state dict."""

    name: str
    array: np.ndarray


@dataclass(eq=False)
class Constant(Value):
    """An array that the model makes, or holds without a name."""

    array: np.ndarray


@dataclass(eq=False)
class Fill(Value):
    """An array of equal elements, such as the zeros that a state begins with."""

    value: Any


@dataclass(eq=False)
class Range(Value):
    """``start + step * index`` along one axis."""

    start: Any
    step: Any
    axis: int


@dataclass(eq=False)
class StepValue(Value):
    """What a step of a loop is given: one time of an input sequence, or the state before it.

    Attributes
    ----------
    kind : {"input", "state"}
    index : int
    """

    kind: str
    index: int


@dataclass(eq=False)
class Result(Value):
    """What an operation gives."""

    node: Node
    index: int


@dataclass(eq=False)
class Node:
    """An operation.

    Attributes
    ----------
    op : Op
    args : tuple
        Values, and Python numbers, which may be expressions of sizes.
    static : dict
        Static parameters, with expressions of sizes in them.
    results : list of Result
    where : str
        "file:line" of the code that asked for it.
    module : str
        The path of the module that did, as in the names of the state dict; "" for the model itself.
    """

    op: Op
    args: tuple
    static: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    where: str = ""
    module: str = ""

    @property
    def operands(self) -> list[Value]:
        """The arguments that are values."""
        return [a for a in self.args if isinstance(a, Value)]


@dataclass(eq=False)
class Scan(Node):
    """A recurrent layer: a loop over the time of its inputs.

    Its arguments are the input sequences, the first states, those after a reset, and the steps that count. Its results
    are the output sequences, then the final states.

    Attributes
    ----------
    cell : Any
        The cell itself.
    inputs, states : lists of Value
        Sequences (T, B, ...) or, with `batch_first`, (B, T, ...); and the first states, (B, ...).
    input_structure : Structure
        How the inputs are nested in the argument of the cell.
    reset_states : list of Value
        States after a reset; empty if these are the first ones.
    steps : dict of Value
        Some of "lengths" (B,), "mask" and "resets" (as the first two axes of the inputs).
    batch_first, reverse : bool
    step_inputs, step_states : lists of StepValue
        What the body is given.
    step_outputs, new_states : lists of Value
        What the body computes.
    """

    cell: Any = None
    inputs: list[Value] = field(default_factory=list)
    states: list[Value] = field(default_factory=list)
    input_structure: Structure = tree.LEAF
    reset_states: list[Value] = field(default_factory=list)
    steps: dict[str, Value] = field(default_factory=dict)
    batch_first: bool = False
    reverse: bool = False
    step_inputs: list[StepValue] = field(default_factory=list)
    step_states: list[StepValue] = field(default_factory=list)
    step_outputs: list[Value] = field(default_factory=list)
    new_states: list[Value] = field(default_factory=list)

    @property
    def outputs(self) -> list[Result]:
        """The output sequences."""
        return self.results[: len(self.step_outputs)]

    @property
    def final_states(self) -> list[Result]:
        return self.results[len(self.step_outputs) :]

    @property
    def batch_axis(self) -> int:
        return 0 if self.batch_first else 1

    @property
    def time(self) -> Dim:
        """T."""
        return self.inputs[0].shape[1 - self.batch_axis]

    @property
    def batch(self) -> Dim:
        """B."""
        return self.inputs[0].shape[self.batch_axis]

    @cached_property
    def body(self) -> list[Node]:
        """The operations of a step, operands first: those that depend on what the step is given."""
        return order([*self.step_outputs, *self.new_states], self.varying)

    @cached_property
    def varying(self) -> set[int]:
        """The ids of the values that differ from step to step."""
        found = {id(v) for v in (*self.step_inputs, *self.step_states)}
        for node in order([*self.step_outputs, *self.new_states], None):
            if any(id(a) in found for a in _reads(node)):
                found |= set(map(id, node.results))
        return found

    @cached_property
    def invariants(self) -> list[Value]:
        """Values that the steps read, and that are computed before the loop, each once."""
        varying = self.varying
        read = [a for node in self.body for a in _reads(node)]
        found = {id(v): v for v in (*read, *self.step_outputs, *self.new_states) if id(v) not in varying}
        return list(found.values())


@dataclass(eq=False)
class Step(Node):
    """One time step of a recurrent layer; its results are those of the body.

    Attributes
    ----------
    scan : Scan
    replaced : dict
        By the ids of the values that the body is given: what they are here.
    """

    scan: Any = None
    replaced: dict[int, Value] = field(default_factory=dict)


@dataclass(eq=False)
class Graph:
    """A traced model.

    Attributes
    ----------
    title : str
        The name of its class.
    inputs : list of Input
    outputs : list of Value
    structure : Structure
        How the outputs are nested; see :mod:`tinygrad_rnn.core.tree`.
    sizes : dict
        By the name of a size: the input and the axis that it is the length of.
    modules : dict
        By the path of a module: the module, of all that the model has.
    example : list of arrays
        The inputs that it was traced with.
    arguments : Structure
        How the inputs are nested in the arguments of the model.
    names : dict
        Names of the model's tensors in its state dict, by their ids.
    """

    title: str
    inputs: list[Input]
    outputs: list[Value]
    structure: Structure
    sizes: dict[str, tuple[Input, int]]
    modules: Mapping[str, Any]
    example: list[np.ndarray]
    arguments: Structure
    names: Mapping[int, str]

    @cached_property
    def nodes(self) -> list[Node]:
        """All operations outside of loops, operands first, with those that are computed before a loop."""
        return order(self.outputs, None)

    def all_nodes(self) -> Iterator[Node]:
        """All operations, those of loops behind the loop that they belong to."""
        for node in self.nodes:
            yield node
            if isinstance(node, Scan | Step):
                yield from node.body if isinstance(node, Scan) else node.scan.body

    def scans(self) -> list[Scan]:
        """The recurrent layers, in the order in which they run."""
        return [node for node in self.nodes if isinstance(node, Scan)]

    def values(self) -> list[Value]:
        """All values that are given and read: inputs, parameters and constants."""
        found: dict[int, Value] = {id(v): v for v in self.inputs}
        reads = [a for node in self.all_nodes() for a in _reads(node)]
        for v in (*reads, *self.outputs):
            if not isinstance(v, Result | StepValue):
                found.setdefault(id(v), v)
        return list(found.values())

    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays that it reads of the state dict, by name."""
        return {v.name: v.array for v in self.values() if isinstance(v, Parameter)}

    def sizes_of(self, arrays: Sequence[np.ndarray]) -> dict[str, int]:
        """The sizes of a call with these inputs, by name."""
        places = {id(v): i for i, v in enumerate(self.inputs)}
        return {name: arrays[places[id(v)]].shape[axis] for name, (v, axis) in self.sizes.items()}


def _reads(node: Node) -> list[Value]:
    """What a node reads: its arguments; a loop, what its steps need from outside, too."""
    return [*node.operands, *node.invariants] if isinstance(node, Scan) else node.operands


def order(values: Iterable[Value], only: set[int] | None) -> list[Node]:
    """The operations that compute `values`, operands first; of those among `only` alone, if it is given."""
    found: dict[int, Node] = {}

    def needed(node: Node) -> list[Node]:
        return [a.node for a in _reads(node) if isinstance(a, Result) and (only is None or id(a) in only)]

    for value in values:
        if isinstance(value, Result) and (only is None or id(value) in only):
            _fold(value.node, found, needed)
    return list(found.values())


def _fold(root: Node, found: dict[int, Node], needed: Any) -> None:
    """Add `root` and what it needs to `found`, operands first, without recursion."""
    waiting = [root]
    while waiting:
        node = waiting[-1]
        missing = [] if id(node) in found else [n for n in needed(node) if id(n) not in found]
        if missing:
            waiting += reversed(missing)
        else:
            found[id(waiting.pop())] = node
