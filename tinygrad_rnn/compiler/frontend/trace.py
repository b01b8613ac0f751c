"""Tracing: records the operations of a step that runs on symbols, in the compiler's normal form.

In the normal form every time-varying value is one row of features per batch row, and

* slices are pushed up through elementwise operations and into the columns of matrices,
* concatenations are pushed down, and split products along the rows of matrices,

so that products, elementwise maths and reductions along features are all that remains. Equal expressions are one
symbol.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...config import grad_mode
from ...core import Op, Tensor
from ...core.symbolic_number import SymbolicNumber
from ...errors import CompileError
from ...ops import getitem
from ..ir.infer import infer
from ..ir.program import Captured, Shapes, StepProgram, expression_key
from ..ir.program_ops import BROADCAST, CONSTANT, PICK, RESHAPE, ZERO, is_ours
from ..ir.symbol import BATCH, Symbol, location
from .empty import Empty, is_empty
from .integers import DIVISIONS, OWN

OPEN = ("elementwise", "reduce")  # kinds of lowerings that say all there is to know of an operation


class Trace(Empty):
    """The recorder of one program: makes its symbols, each expression once.

    Parameters
    ----------
    dtype : float32 or float64
    owned : callable
        Whether a tensor is kept by the cell, so that it is looked up again at each call.
    cuts : mapping of int to list of int
        At which columns to cut the n-th product from the start, as :func:`~.column_cuts.overlaps` of an earlier trace
        says.
    stand_in : int
        How many rows arrays have that stand for a row for each batch row.

    Attributes
    ----------
    leaked : bool
        Whether NumPy was told of `stand_in`, so that the step may have seen the number.
    """

    def __init__(
        self,
        dtype,
        owned: Callable[[Tensor], bool] = lambda tensor: True,
        cuts: Mapping[int, list[int]] = {},
        stand_in: int = 211,
    ):
        self.dtype = np.dtype(dtype)
        self.stand_in, self.leaked = stand_in, False
        self.makes_array: Callable[[], bool] = lambda: False  # whether NumPy is just making an array
        self.cuts = cuts
        self.products: list[Symbol] = []  # as the step asked for them
        self.random_masks: list[tuple[Symbol, float | None]] = []  # with the probability of False
        self.read: list[Tensor] = []  # whose values the program has taken over
        self.n_inputs = 0
        self.owned = owned
        self.captured: dict[int, Captured] = {}
        self.ranges, self.checks, self.checked = {}, [], {}
        self.parts = {}
        self._uids = 0
        self._seen: dict = {}

    def next_uid(self) -> int:
        self._uids += 1
        return self._uids - 1

    def freeze(self, inputs, states, outputs, new_states, shapes: Shapes) -> StepProgram:
        """The frozen program with these leaves and results, and the shapes that the step sees."""
        masks = [mask.shape[1:] for mask, _ in self.random_masks]
        return StepProgram(
            self.dtype,
            (*inputs, *[mask for mask, _ in self.random_masks]),
            tuple(states),
            tuple(outputs),
            tuple(new_states),
            tuple([p for _, p in self.random_masks]),
            shapes._replace(inputs=(*shapes.inputs, *masks)),
            MappingProxyType(dict(self._seen)),
            MappingProxyType(dict(self.captured)),
            tuple([check for check, _ in self.checks]),
            self._uids,
            self.stand_in,
            self.leaked,
            tuple(self.read),
        )

    @classmethod
    def extending(cls, program: StepProgram) -> Trace:
        """A trace that goes on where `program` ends: it finds the program's symbols again, and adds its own.

        Nothing that is recorded here reaches the program, or another extension of it.
        """
        trace = cls(program.dtype, stand_in=program.stand_in)
        trace._seen, trace.captured = dict(program.expressions), dict(program.captured)
        trace._uids, trace.n_inputs = program.limit, len(program.inputs)
        return trace

    def added(self, program: StepProgram) -> dict[int, Tensor]:
        """The tensors, by uid, that an extension of `program` reads besides."""
        return {c.symbol.uid: c.tensor for c in self.captured.values() if c.symbol.uid >= program.limit}

    def values(self) -> list[Symbol]:
        """All symbols so far, but those of inputs and states; with those of the program that is extended."""
        return [*self._seen.values(), *(c.symbol for c in self.captured.values())]

    def symbolic(self, shape) -> tuple:
        """A shape with a symbol for the size of the batch."""
        shape = tuple(shape)
        return (BATCH, *shape[1:]) if shape and shape[0] is not BATCH and shape[0] == self.stand_in else shape

    # ---- leaves

    def leaf(self, kind: str, index: int, shape, dtype, varying: bool) -> Symbol:
        return Symbol(self, None, (), {}, shape, dtype, varying, leaf=(kind, index), where="")

    def lift(self, value: Any) -> Any:
        """An argument of an operation: tensors and arrays become invariants, symbols and numbers stay."""
        if value is BATCH:
            return BATCH._refuse()
        if type(value) is SymbolicNumber:
            return self._scalar(value)
        if isinstance(value, np.generic):  # first: np.float64 is a float too, but one that upcasts
            return value.item()
        if isinstance(value, Symbol | bool | int | float):
            return value
        # `captured` keeps the value alive, so that no other object gets its id
        if id(value) in self.captured:
            return self.captured[id(value)].symbol
        if isinstance(value, Tensor):
            tensor = value
        else:  # an array adopts the dtype of what it meets
            array = np.asarray(value)
            if array.ndim == 0:
                return array.item()
            tensor = Tensor(array.astype(self.dtype) if array.dtype.kind == "f" else array)
        shape = self.symbolic(tensor.shape)
        if shape[:1] == (BATCH,) and not (isinstance(value, Tensor) and self.owned(value)):
            return self.same_in_all_rows(tensor.data)
        symbol = self.leaf("invariant", len(self.captured), shape, tensor.dtype, False)
        self.captured[id(value)] = Captured(value, tensor, symbol)
        return symbol

    def _scalar(self, number: SymbolicNumber) -> Symbol:
        """The symbol of a Python number that is an input: it has the dtype of the floats that it meets."""
        if id(number) not in self.captured:
            tensor = Tensor(np.ones((), self.dtype))
            symbol = self.leaf("invariant", len(self.captured), (), self.dtype, False)
            self.captured[id(number)] = Captured(number, tensor, symbol)
        return self.captured[id(number)].symbol

    def same_in_all_rows(self, array: np.ndarray) -> Symbol:
        """The symbol of a tensor (B, ...) that the step itself has made, such as zeros: all rows are alike."""
        # equal rows may hold NaN, which differs from itself
        row = array[:1]
        if not array.size:
            return self.empty(self.symbolic(array.shape), array.dtype)
        if array.dtype.kind in "iu":
            return self._integers_in_all_rows(array)
        if array.ndim > 2:
            return self.shaped(self.same_in_all_rows(array.reshape(len(array), -1)), array.shape[1:])
        if not ((array == row) | ((array != array) & (row != row))).all():
            self.refuse_for(
                f"a tensor with a row for each batch row, made inside the step, at {location()}: the rows differ; "
                "draw noise by tr.random, anew at each step; what stays the same at all steps, make it in "
                "begin_sequence(batch_size), and keep it as a tensor attribute"
            )
        if array.dtype.kind == "f" and array.dtype != self.dtype:
            self.refuse_for(
                f"a {array.dtype} tensor with a row for each batch row, made inside the step, at {location()}: wanted "
                f"{self.dtype}; make it with dtype=self.dtype"
            )
        zero = self.zero(array.shape)
        if array.ndim == 1 or row.shape[1] == 1 or (row == row[0, 0]).all():
            row = row.reshape(-1)[:1].item()
        result = zero + row if row is True or row is False or isinstance(row, np.ndarray) or row != 0 else zero
        return result != 0 if array.dtype.kind == "b" else result

    def _integers_in_all_rows(self, array: np.ndarray) -> Symbol:
        low, high = float(array.min()), float(array.max())
        limits = self.limits(array.dtype)
        if not (limits[0] <= low and high <= limits[1]):
            self.refuse_for(
                f"integers {array.min()} to {array.max()}, made inside the step, at {location()}: wanted those from "
                f"{int(limits[0])} to {int(limits[1])}, as a compiled loop holds them"
            )
        row = self.flat(self.same_in_all_rows(array.reshape(len(array), -1).astype(self.dtype)))
        self.ranges[row.uid] = low, high
        return self.shaped(row, array.shape[1:], array.dtype)

    def draw_uniform(self, shape, dtype: np.dtype) -> Symbol:
        """The symbol of numbers between 0 and 1: one more input, drawn for every step."""
        if dtype != self.dtype:
            self.refuse_for(f"a draw of {dtype} at {location()}: wanted dtype={self.dtype}, as of the cell")
        return self.draw(shape, None)

    def draw(self, shape, p: float | None) -> Symbol:
        """The symbol of a mask, False with probability `p`, or of uniform numbers, drawn each step."""
        shape = self.symbolic(shape)
        if not shape or shape[0] is not BATCH:
            self.refuse_for(
                f"a random draw of shape {tuple(shape)} at {location()}: wanted one with a row for each batch row, "
                "(B, F); draw others in begin_sequence(), and keep them as a tensor attribute"
            )
        kind = bool if p is not None else self.dtype
        row, mask = self.argument("input", self.n_inputs + len(self.random_masks), shape[1:], kind)
        self.random_masks.append((row, None if p is None else float(p)))
        return mask

    def zero(self, shape) -> Symbol:
        shape = self.symbolic(shape)
        if len(shape) > 2:
            return self.shaped(self.zero((shape[0], math.prod(shape[1:]))), shape[1:])
        return self.make(ZERO, (), {"shape": tuple(shape)}, shape, self.dtype)

    # ---- recording

    def _record(self, op: Op, args: tuple, static: dict) -> Any:
        if not grad_mode.enabled:
            self.refuse_for(f"no_grad() inside the step at {location()}: cut gradients with .detach()")
        if "shape" in static:
            static = {**static, "shape": self.symbolic(static["shape"])}
        self._check_numbers(args, static)
        lifted = tuple(self.lift(a) for a in args)
        if not any(isinstance(a, Symbol) and a.varying for a in lifted):
            return self._invariant(op, lifted, static)
        for a in lifted:
            if isinstance(a, Symbol) and a.leaf is not None and a.leaf[0] == "unusable":
                if all(isinstance(b, bool | int | float) for b in lifted if b is not a):
                    return a  # a comparison, on the way to a branch
                self.refuse_for(a.static["reason"])
        wide = any(isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.dtype != self.dtype for a in args)
        if wide and not any(isinstance(a, Tensor) and a.dtype.kind == "f" for a in args):  # the array's dtype counts
            self.fail(op, lifted, f"an array of {self.dtype} beside tensors that are no floats")
        kind = op.lowering.kind if op.lowering is not None else ""
        if any(map(is_empty, lifted[1:] if kind == "lookup" else lifted)):
            return self.of_empty(op, lifted, static)
        integers = any(isinstance(a, Symbol) and a.varying and a.dtype.kind in "iu" for a in lifted)
        integers = integers or self.gives_integers(op, kind, lifted, static)
        if integers and op in DIVISIONS:  # of which the record says what they are for floats
            return self.of_integers(op, kind, lifted, static)
        if op.lowering is not None and op.lowering.decompose is not None:
            parts = self._decompose(op, lifted, static)
            if parts is not NotImplemented:
                return parts
        if integers and op in OWN:
            return self.of_integers(op, kind, lifted, static)
        known = kind in self.RULES or kind in self.RANKED
        if not known or (kind not in OPEN and not is_ours(op)):
            self.refuse_for(
                f"{op.name} at {location()}: it has no lowering that loops know, so it cannot run in a compiled one; "
                'move it out of the step, or use mode="eager"'
            )
        if integers and kind not in ("lookup", "decompose"):
            return self.of_integers(op, kind, lifted, static)
        rules = self.RANKED if kind in self.RANKED and self.has_rank(op, lifted, static) else self.RULES
        return rules[kind](self, op, lifted, static)

    def _check_numbers(self, args: tuple, static: dict) -> None:
        """Refuse a symbolic number that is no operand of a float tensor: the value decides, or the dtype does."""
        for value in static.values():
            for v in value if isinstance(value, list | tuple) else (value,):
                if type(v) is SymbolicNumber:
                    v._trace.refuse(v)
        numbers = [a for a in args if type(a) is SymbolicNumber]
        if numbers and {a.dtype for a in args if isinstance(a, Tensor) and a.dtype.kind == "f"} != {self.dtype}:
            numbers[0]._trace.refuse(*numbers)

    def _decompose(self, op: Op, args: tuple, static: dict) -> Any:
        """The result of an operation that its record decomposes into others."""
        assert op.lowering is not None
        assert op.lowering.decompose is not None
        if is_ours(op):
            return op.lowering.decompose(*args, **static)
        watcher = self.note = self.watcher  # what the decomposition reads is the step's
        if watcher is not None:
            sys.setprofile(watcher)
        try:
            parts = op.lowering.decompose(*args, **static)
        finally:
            self.note = None
            if watcher is not None:
                sys.setprofile(None)
        if parts is NotImplemented:
            return parts
        wanted = infer(op, args, static, self.stand_in)
        results = [self.lift(part) for part in (parts if isinstance(parts, tuple) else (parts,))]
        found = [(part.shape, part.dtype) if isinstance(part, Symbol) else ((), type(part)) for part in results]
        if found != [(self.symbolic(s), d) for s, d in (wanted if isinstance(wanted, list) else [wanted])]:
            self.fail(op, args, f"of its decomposition what the operation gives, {wanted}, not {found}")
        if not op.differentiable:
            results = [self.detach(part) for part in results]
        return tuple(results) if isinstance(wanted, list) else results[0]

    def make(self, op: Op, args: tuple, static: dict, shape, dtype, varying=True) -> Symbol:
        """The one symbol of an expression, made if need be (hash consing)."""
        key: Any = expression_key(op, args, static, shape)
        try:
            found = self._seen.get(key)
        except TypeError:  # a static parameter without a hash, such as an array of indices
            key, found = object(), None
        if found is None:
            found = self._seen[key] = Symbol(self, op, args, static, shape, dtype, varying, where=location())
        return found

    def detach(self, x: Any) -> Any:
        return self.record(CONSTANT, (x,), {})

    def copy(self, x: Any, requires_grad: bool, dtype: Any) -> Any:
        """The result of ``tensor(x)``: the values without their gradient."""
        if requires_grad:
            self.refuse_for(f"a tensor with gradients of its own, made inside the step, at {location()}")
        x = self.detach(x)
        return x if dtype is None else x.astype(dtype)

    def unusable(self, op, args, static, want: str) -> Symbol:
        """Fail, or return a marker for one number of the whole batch: its use, mostly a branch, is the reason."""
        if infer(op, args, static, self.stand_in)[0] != ():
            self.fail(op, args, want)
        symbol = self.leaf("unusable", 0, (), self.dtype, True)
        symbol.static = {"reason": self.misfit(op, args, want)}
        return symbol

    def _invariant(self, op, args, static):
        """The result of an operation on parameters alone, which runs on the tape before the loop."""
        if op is BROADCAST and static["shape"][:1] == (BATCH,):
            (x,) = args
            return x if x.shape == static["shape"] else self.zero(static["shape"]) + x
        if op is RESHAPE and static["shape"] == (*args[0].shape, 1):
            return getitem(args[0], (Ellipsis, None))
        results = infer(op, args, static, self.stand_in)
        shapes = [s for s, _ in results] if isinstance(results, list) else [results[0]]
        rows = any(isinstance(a, Symbol) and a.shape[:1] == (BATCH,) for a in args)
        numbers = [n for v in static.values() if isinstance(v, tuple) for n in v if isinstance(n, int)]
        baked = any(n is BATCH or n == self.stand_in for n in numbers)
        # the prologue runs for any batch: a size taken from this trace's batch would be wrong for all others
        if baked or (not rows and any(s[:1] == (self.stand_in,) for s in shapes)):
            self.fail(op, args, "no size of the batch inside the step; do this in begin_sequence(batch_size)")
        if isinstance(results, list):
            lead = self.make(op, args, static, (), self.dtype, False)
            return tuple(
                self.make(PICK, (lead,), {"index": i}, self.symbolic(s), d, False) for i, (s, d) in enumerate(results)
            )
        shape, dtype = results
        return self.make(op, args, static, self.symbolic(shape), dtype, False)


class recording:
    """Context in which operations on tensors are recorded in `trace`, those on parameters alone too."""

    def __init__(self, trace: Any):  # a Trace, or what records a whole function
        self.trace = trace

    def __enter__(self):
        # gradients are recorded whatever the caller's mode: one program serves inference and training
        if grad_mode.tracer is not None:
            raise CompileError("a step that is being traced runs a compiled layer; call the layer's cell instead")
        grad_mode.tracer, self.enabled, grad_mode.enabled = self.trace, grad_mode.enabled, True
        return self.trace

    def __exit__(self, *exc):
        grad_mode.tracer, grad_mode.enabled = None, self.enabled
