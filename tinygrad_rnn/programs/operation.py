"""A program as one operation of the tape, whose gradient is a program as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import compiler
from ..compiler.model.adjoint import differentiate
from ..compiler.model.native import NativeProgram
from ..compiler.model.pool import attempt
from ..compiler.model.program import LOOP, ModelProgram
from ..compiler.model.rows import stored
from ..compiler.model.runner import Runner
from ..core import Op, Tensor, vjp_by_replay
from ..core.tensor import link
from ..recurrent.scan.guards import guards_of
from .cache import Found
from .capture import Capture
from .halves import BUSY, Forward, Halves
from .replay import replay


def operation_of(capture: Capture) -> Operation | None:
    """The operation of a program through which gradients flow."""
    return Operation(capture) if any(map(capture.trace.needing, capture.results)) else None


def run(found: Found) -> Any:
    """The result of a call, on the tape if gradients are recorded."""
    operation = found.capture.operation
    if operation is None:
        return found.capture.run(found.arguments, found.tensors)
    return operation.run(found)


class Operation:
    """The operation of one program.

    Its arguments are the tensors and arrays among those of the function, and the tensors that this reads.

    Parameters
    ----------
    capture : Capture

    Raises
    ------
    CompileError
        If a derivative rule cannot be traced.
    """

    def __init__(self, capture: Capture):
        self.capture, trace = capture, capture.trace
        self.symbols = (*capture.inputs, *[s for s, _ in capture.sources])
        self.differentiable = [i for i, s in enumerate(capture.results) if trace.needing(s)]
        self.seeds = [
            trace.leaf("cotangent", i, capture.results[i].shape, capture.results[i].dtype) for i in self.differentiable
        ]
        self.wanted = [s for s in self.symbols if trace.needing(s)]
        self._backwards: dict[tuple[int, ...], tuple[Runner, list[int | None]]] = {}
        self._cotangents: dict[tuple[int, ...], tuple[list[compiler.Symbol], list[int | None]]] = {}
        codes: dict = {}
        self.everything = tuple(range(len(self.differentiable)))
        with compiler.watching(trace, codes):
            found = self._differentiate(self.everything)
        trace.guards.append(guards_of(None, codes, ()))
        self.residuals = self._residuals([g for g in found if g is not None])
        self.forward = Runner(capture.program_for((*capture.results, *self.residuals)))
        # what the gradient of a loop reads is no array: it stays where the forward pass was, see Halves
        self.has_loops = any(s.op is LOOP for s in self.residuals)
        self._halves: dict[tuple[int, ...], Halves | str] = {}  # by the results with cotangents; or why there are none
        self._expected: tuple[int, ...] | None = None  # the results with cotangents of the last backward pass
        self.op = Op("program", None, joint_vjp=self.backward, untyped=tuple(range(len(self.symbols))))

    def _differentiate(self, indices: tuple[int, ...]) -> list[compiler.Symbol | None]:
        """Cotangents of the arguments that want one, from those of the results with these numbers."""
        outputs = [self.capture.results[self.differentiable[i]] for i in indices]
        return differentiate(self.capture.trace, outputs, [self.seeds[i] for i in indices], self.wanted)

    def _residuals(self, grads: Sequence[compiler.Symbol]) -> list[compiler.Symbol]:
        """Values of the forward pass that the backward pass reads, and all random masks."""
        capture = self.capture
        forward = {s.uid: s for s in capture.program.values()}
        masks = {s.uid: s for draw in capture.trace.draws for s in draw.symbols}
        found = dict(masks)
        given = {**forward, **masks}
        read = [a for s in compiler.order(grads, given) for a in s.operands if a.uid in given]
        for s in map(stored, (*read, *[s for s in grads if s.uid in given])):  # a view is taken again
            if s.uid in given:
                found[s.uid] = s
        return list(found.values())

    def run(self, found: Found) -> Any:
        """The result of a call; the tensors in it know their gradients."""
        capture, tensors = self.capture, found.tensors
        arrays = found.arguments.arrays
        results, residuals = self._forward(arrays, capture.captured(tensors))
        args = (*found.arguments.values, *tensors)
        arrays = [*arrays, *[t._array for t in tensors]]
        own = [] if isinstance(residuals, Forward) else residuals
        kept = [a for a in (*own, *arrays) if isinstance(a, np.ndarray)]
        owners = {_owner(a) for a in kept}
        outs = tuple([_apart(results[i], kept, owners) for i in self.differentiable])
        linked = link(self.op, args, arrays, {"residuals": residuals}, outs)
        wrapped = [capture.wrapped(s, a) for s, a in zip(capture.results, results)]
        for i, t in zip(self.differentiable, linked):
            wrapped[i] = t
        return capture.nest(wrapped, found.arguments.values, tensors)

    def _forward(self, arrays: list[np.ndarray], captured: dict[int, np.ndarray]) -> tuple[list, list | Forward]:
        """The results, and what the backward pass reads."""
        native = self.native_halves(self._expected, captured) if self._expected is not None else ""
        if isinstance(native, str):
            values = self.forward.run(arrays, captured)
            n = len(self.capture.results)
            return values[:n], values[n:]
        halves, program = native
        try:
            self.forward.check(arrays, captured)
            program.load(arrays)
        except BaseException:
            halves.pool.give(program)
            raise
        forward = Forward(halves, program)
        return forward.outputs(), forward

    def native_halves(
        self, indices: tuple[int, ...], captured: dict[int, np.ndarray]
    ) -> tuple[Halves, NativeProgram] | str:
        """What runs both passes, the backward one from these results, and how; or why there is nothing."""
        if not self.has_loops:
            return "its passes are programs of their own"
        halves = self._halves.get(indices)
        if halves is None:
            found = attempt(lambda: self._make_halves(indices))
            halves = self._halves.setdefault(indices, found)
        if isinstance(halves, str):
            return halves
        native = halves.take(captured)
        if isinstance(native, str):
            if native != BUSY:
                self._halves[indices] = native
            return native
        return halves, native

    def _make_halves(self, indices: tuple[int, ...]) -> Halves:
        capture, seeds = self.capture, [self.seeds[i] for i in indices]
        grads, _ = self._gradients(indices)
        program = capture.program_for((*capture.results, *grads))
        program = dataclasses.replace(program, inputs=(*program.inputs, *seeds))
        return Halves(program, len(capture.results), indices)

    # ---- backward

    def backward(
        self, gs: dict[int, Any], out: Any, *args: Any, needs: Sequence[bool], residuals: list | Forward
    ) -> list:
        """Cotangents of the arguments, given those of the results by their positions."""
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, residuals, True)
        indices = tuple(sorted(gs))
        self._expected, cotangents = indices, [gs[i] for i in indices]
        if isinstance(residuals, Forward):
            forward = self._natively(indices, residuals)
            if forward is None:
                return self._replay(gs, args, needs, residuals, False)
            places, found = self._gradients(indices)[1], forward.gradients(cotangents)
        else:
            runner, places = self._backward(indices)
            found = runner.run([*args, *residuals, *cotangents], self.capture.constants())
        grads = {s.uid: None if i is None else found[i] for s, i in zip(self.wanted, places)}
        return [grads.get(s.uid) if need else None for s, need in zip(self.symbols, needs)]

    def _natively(self, indices: tuple[int, ...], forward: Forward) -> Forward | None:
        """A pass as the given one, in memory for the gradient from these results; None if that cannot be."""
        if indices == forward.halves.indices:
            return forward
        native = self.native_halves(indices, forward.native.given)
        if isinstance(native, str):
            return None
        halves, program = native
        program.load_as(forward.native)
        return Forward(halves, program)

    def gradient(self) -> Runner:
        """The program of the gradient from all results."""
        return self._backward(self.everything)[0]

    def _backward(self, indices: tuple[int, ...]) -> tuple[Runner, list[int | None]]:
        """The program of the gradient, and where in its outputs each wanted cotangent is."""
        known = self._backwards.get(indices)
        if known is None:
            outputs, places = self._gradients(indices)
            inputs = (*self.symbols, *self.residuals, *[self.seeds[i] for i in indices])
            known = self._backwards[indices] = Runner(self._program(inputs, outputs)), places
        return known

    def _gradients(self, indices: tuple[int, ...]) -> tuple[list[compiler.Symbol], list[int | None]]:
        """The cotangents of the arguments, and where among them that of each one is that wants one."""
        known = self._cotangents.get(indices)
        if known is None:
            with compiler.making, compiler.watching(self.capture.trace, {}):
                found = self._differentiate(indices)
            outputs = [g for g in found if g is not None]
            place = iter(range(len(outputs)))
            known = self._cotangents[indices] = outputs, [None if g is None else next(place) for g in found]
        return known

    def _program(self, inputs: Sequence[compiler.Symbol], outputs: Sequence[compiler.Symbol]) -> ModelProgram:
        """A program that is given values of the forward pass."""
        made = list(self.capture.trace.captured.values())[len(self.capture.sources) :]
        return ModelProgram(tuple(inputs), {s.uid: t for _, t, s in made}, (), (), tuple(outputs))

    def _replay(
        self, gs: dict[int, Any], args: Sequence, needs: Sequence[bool], residuals: list | Forward, again: bool
    ) -> list:
        """Gradients by the tape, on which the program runs; that can be differentiated again, if asked for."""
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        if isinstance(residuals, Forward):
            masks = residuals.masks()
        else:
            pairs = zip(self.residuals, residuals)
            masks = {s.uid: r for s, r in pairs if s.leaf is not None and s.leaf[0] == "drawn"}
        values: dict[int, Any] = {s.uid: t for s, t in zip(self.symbols, tensors)}
        values |= {uid: Tensor(mask) for uid, mask in masks.items()}
        results = replay([self.capture.results[i] for i in self.differentiable], values)
        return vjp_by_replay(results, gs, tensors, needs, create_graph=again)


def _apart(array: np.ndarray, others: Sequence[np.ndarray], owners: set[int | None]) -> np.ndarray:
    """`array`, to which the caller may write, in memory that none of the others has; these own theirs."""
    owner = _owner(array)
    if array.flags.writeable and not (owner is None or owner in owners or None in owners):
        return array
    if array.flags.writeable and not any(np.may_share_memory(array, other) for other in others):
        return array
    return array.copy()


def _owner(array: np.ndarray) -> int | None:
    """The identity of the array that owns the memory of a view; None if that is no array."""
    owner: Any = array
    while (base := getattr(owner, "base", None)) is not None:  # of arrays, and of what NumPy makes strided views by
        owner = base
    return id(owner) if isinstance(owner, np.ndarray) else None
