"""Traces of one model with inputs of several sizes become one graph, in which sizes are names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..compiler import Symbol
from ..compiler.model.program import PICK
from ..errors import ExportError
from .graph import SCAN, Constant, Fill, Input, Node, Parameter, Range, Result, Scan, StepValue, Value
from .recorder import ExportTrace, RecordedScan
from .sizes import Samples, fit


class Unlike(ExportError):
    """The model does other things with other sizes."""


class Unifier:
    """Walks through several traces at once, and makes the values of a graph of what is the same in all.

    Parameters
    ----------
    traces : sequence of ExportTrace
    samples : sequence of dict
        The sizes of each trace's inputs, by name.
    inputs : list of Input
    names : mapping of int to str
        Names of the model's tensors in its state dict, by their ids.
    """

    def __init__(
        self, traces: Sequence[ExportTrace], samples: Samples, inputs: Sequence[Input], names: Mapping[int, str]
    ):
        self.traces, self.samples, self.names = traces, samples, names
        self._inputs = inputs
        self._values: dict[tuple[int, ...], Any] = {}  # by the uids in all traces: a value, or a node
        self._parameters: dict[str, Parameter] = {}
        self._tensors = [{s.uid: tensor for _, tensor, s in trace.captured.values()} for trace in traces]

    def value(self, symbols: Sequence[Symbol]) -> Value:
        """The value that these symbols, one of each trace, are."""
        return self._found(symbols)

    def _found(self, root: Sequence[Symbol]) -> Any:
        """The value or the node of an expression, bottom-up and without recursion."""
        waiting = [tuple(root)]
        while waiting:
            group = waiting[-1]
            key = tuple(s.uid for s in group)
            if key in self._values:
                waiting.pop()
                continue
            missing = [g for g in self._operands(group) if tuple(s.uid for s in g) not in self._values]
            if missing:
                waiting += reversed(missing)
            else:
                self._values[key] = self._make(group)
                waiting.pop()
        return self._values[tuple(s.uid for s in root)]

    def _operands(self, group: Sequence[Symbol]) -> list[tuple[Symbol, ...]]:
        """What has to be there before: the operands, and for a loop the values of its step."""
        if group[0].leaf is not None:
            return []
        self._require(group, "an operation", [(s.op, len(s.args)) for s in group])
        found = [g for g in zip(*(s.args for s in group)) if isinstance(g[0], Symbol)]
        if group[0].op is SCAN:
            recorded: list[RecordedScan] = [s.static["scan"] for s in group]
            self._enter(recorded)
            found += [*zip(*(r.step_outputs for r in recorded)), *zip(*(r.new_states for r in recorded))]
        return found

    def _enter(self, recorded: Sequence[RecordedScan]) -> None:
        """Make the values that a step is given."""
        for kind, groups in (
            ("input", [r.step_inputs for r in recorded]),
            ("state", [r.step_states for r in recorded]),
        ):
            for i, group in enumerate(zip(*groups)):
                key = tuple(s.uid for s in group)
                if key not in self._values:
                    self._values[key] = StepValue(self._shape(group), group[0].dtype, kind, i)

    def _make(self, group: Sequence[Symbol]) -> Any:
        s = group[0]
        if s.leaf is not None:
            return self._leaf(group)
        if s.op is PICK:
            (node,) = (self._values[tuple(g.uid for g in column)] for column in zip(*(s.args for s in group)))
            index = s.static["index"]
            while len(node.results) <= index:
                node.results.append(Result((), s.dtype, node, len(node.results)))
            result = node.results[index]
            result.shape, result.dtype = self._shape(group), s.dtype
            return result
        assert s.op is not None
        args = tuple(self._argument(group, column) for column in zip(*(s.args for s in group)))
        module = self.traces[0].module_of.get(s.uid, "")
        if s.op is SCAN:
            return self._scan(group, args, module)
        # a dict is what an operation saves for its gradient
        settings = [{k: {} if isinstance(v, dict) else v for k, v in g.static.items()} for g in group]
        node = Node(s.op, args, self._setting(group, settings), [], s.where, module)
        if s.uid in self.traces[0].leads:
            return node
        node.results.append(Result(self._shape(group), s.dtype, node, 0))
        return node.results[0]

    def _scan(self, group: Sequence[Symbol], args: tuple, module: str) -> Scan:
        recorded: list[RecordedScan] = [s.static["scan"] for s in group]
        one = recorded[0]
        n, m = len(one.step_inputs), len(one.step_states)
        k = n + m + one.reset_states
        given: Any = lambda name: [self.value(g) for g in zip(*(getattr(r, name) for r in recorded))]
        scan = Scan(SCAN, args, {}, [], group[0].where, module)
        scan.cell, scan.inputs, scan.states = one.cell, list(args[:n]), list(args[n : n + m])
        scan.input_structure = one.structure
        scan.reset_states, scan.steps = list(args[n + m : k]), dict(zip(one.steps, args[k:]))
        scan.batch_first, scan.reverse = one.layout.batch_first, one.layout.reverse
        scan.step_inputs, scan.step_states = given("step_inputs"), given("step_states")
        scan.step_outputs, scan.new_states = given("step_outputs"), given("new_states")
        for v in scan.step_outputs:
            shape = (*scan.inputs[0].shape[:2], *v.shape[1:])
            scan.results.append(Result(shape, v.dtype, scan, len(scan.results)))
        for v in scan.step_states:
            scan.results.append(Result(v.shape, v.dtype, scan, len(scan.results)))
        return scan

    # ---- leaves

    def _leaf(self, group: Sequence[Symbol]) -> Value:
        kind, index = group[0].leaf or ("", 0)
        self._require(group, "a value", [s.leaf if kind == "input" else (s.leaf or ("",))[0] for s in group])
        if kind == "input":
            return self._inputs[index]
        if kind == "drawn":
            raise ExportError(f"random numbers that are drawn at each call, at {group[0].where or 'a dropout'}")
        tensors = [found[s.uid] for found, s in zip(self._tensors, group)]
        name = self.names.get(id(tensors[0]))
        if name is not None and all(t is tensors[0] for t in tensors):
            if name not in self._parameters:
                array = np.array(tensors[0]._array)
                self._parameters[name] = Parameter(array.shape, array.dtype, name, array)
            return self._parameters[name]
        return self._constant([t._array for t in tensors], group[0])

    def _constant(self, arrays: Sequence[np.ndarray], symbol: Symbol) -> Value:
        """An array that the model makes: the same at each call, or one that its sizes decide."""
        first, shape = arrays[0], self._shape_of([a.shape for a in arrays], symbol)
        values: list[Any] = [a.flat[0] if a.size else 0 for a in arrays]
        if all(a.size and _same(a, v) for a, v in zip(arrays, values)) and first.ndim:
            value = fit([v.item() for v in values], self.samples)
            if value is not None:
                return Fill(shape, first.dtype, value)
        if all(a.shape == first.shape and np.array_equal(a, first, equal_nan=a.dtype.kind == "f") for a in arrays):
            return Constant(first.shape, first.dtype, np.array(first))
        for axis in range(first.ndim):
            found = [_as_range(a, axis) for a in arrays]
            if all(f is not None for f in found):
                starts, steps = zip(*(f for f in found if f is not None))
                known = next((s for s in steps if s is not None), 0)
                start = fit(starts, self.samples)
                step = fit([known if s is None else s for s in steps], self.samples)
                if start is not None and step is not None:
                    return Range(shape, first.dtype, start, step, axis)
        raise Unlike(
            f"an array of shape {first.shape} that is made anew for each size of the inputs, at "
            f"{symbol.where or 'the model'}: make it an argument, or compute it of tensors"
        )

    # ---- arguments, settings and shapes

    def _argument(self, group: Sequence[Symbol], column: tuple) -> Any:
        if isinstance(column[0], Symbol):
            return self._values[tuple(s.uid for s in column)]
        return self._setting(group, column)

    def _setting(self, group: Sequence[Symbol], values: Sequence[Any]) -> Any:
        """A static parameter: equal in all traces, or with numbers in it that their sizes decide."""
        one = values[0]
        same = all(type(v) is type(one) for v in values)
        if same and isinstance(one, dict) and all(v.keys() == one.keys() for v in values):
            return {k: self._setting(group, [v[k] for v in values]) for k in one}
        if same and isinstance(one, tuple | list) and all(len(v) == len(one) for v in values):
            return type(one)(self._setting(group, column) for column in zip(*values))
        if same and isinstance(one, slice):
            parts = [(v.start, v.stop, v.step) for v in values]
            return slice(*(self._setting(group, column) for column in zip(*parts)))
        if same and isinstance(one, np.ndarray):
            if all(np.array_equal(v, one) for v in values):
                return one
        elif same and isinstance(one, int | float):
            found = fit(values, self.samples)
            if found is not None:
                return found
        elif same and all(v is one or v == one for v in values):
            return one
        raise self._differs(group[0], f"{group[0].operation}: a setting is {values[0]!r} or {values[-1]!r}")

    def _shape(self, group: Sequence[Symbol]) -> tuple:
        return self._shape_of([s.shape for s in group], group[0])

    def _shape_of(self, shapes: Sequence[tuple], symbol: Symbol) -> tuple:
        if any(len(s) != len(shapes[0]) for s in shapes):
            raise self._differs(symbol, f"a shape is {shapes[0]} or {shapes[-1]}")
        found = [fit(column, self.samples) for column in zip(*shapes)]
        if None in found:
            axis = found.index(None)
            lengths = [s[axis] for s in shapes]
            raise self._differs(symbol, f"an axis of {symbol.operation or 'an array'} has lengths {lengths}")
        return tuple(found)

    def _require(self, group: Sequence[Symbol], what: str, keys: Sequence[Any]) -> None:
        if any(key != keys[0] for key in keys):
            other = next(i for i, key in enumerate(keys) if key != keys[0])
            names = [s.operation or s.name for s in (group[0], group[other])]
            raise self._differs(group[0], f"{what} is {names[0]}, or {names[1]} with {self.samples[other]}")

    def _differs(self, symbol: Symbol, what: str) -> Unlike:
        where = f" at {symbol.where}" if symbol.where else ""
        return Unlike(f"the model does other things with inputs of other sizes{where}: {what}")


def _same(array: np.ndarray, value: Any) -> bool:
    return bool((array == value).all()) or (array.dtype.kind == "f" and bool(np.isnan(array).all()))


def _as_range(array: np.ndarray, axis: int) -> tuple[Any, Any] | None:
    """(start, step) of an array that rises evenly along one axis; the step of a single element is unknown."""
    if array.dtype.kind not in "iuf" or not array.size:
        return None
    line = np.moveaxis(array, axis, -1)
    first = line.reshape(-1, line.shape[-1])[0]
    start = first[0].item()
    step = (first[1] - first[0]).item() if len(first) > 1 else None
    made = np.asarray(start + (step or 0) * np.arange(len(first))).astype(array.dtype)
    return (start, step) if np.array_equal(np.broadcast_to(made, line.shape), line) else None
