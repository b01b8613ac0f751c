"""Tracing of whole functions: their operations on tensors of any rank are recorded as they are."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...config import generator, grad_mode
from ...core import Op, Tensor
from ...core.dtype import promote
from ...core.node import explain, ready
from ...ops import elementwise
from ...ops.bounds import between, require
from ...ops.draws import between_0_and_1
from ...ops.index import WITHIN, all_within, within
from ..frontend.recorder import Recorder
from ..ir.infer import stand_in
from ..ir.interpret import compute, order
from ..ir.program import expression_key
from ..ir.symbol import Symbol, location
from ..ir.walk import reachable
from .bounds import Bounds, lies_between
from .program import AFTER, ASTYPE, LOOP, LOOP_GRADIENT, PICK, Check, Draw, Loop


class ModelTrace(Recorder):
    """The recorder of one function: makes its symbols, each expression once.

    Shapes are numbers here, those of one call: a program serves calls of the same shapes.

    Attributes
    ----------
    whole : bool
        True: recurrent layers are recorded as loops. (Inside a cell's step there are none.)
    arrays : set of int
        Uids of the values that are NumPy arrays on the tape: these adopt the dtype of the tensors that they meet.
    captured : dict
        By the id of what the function holds: that, its tensor and its symbol.
    needs : set of int
        Uids of the values through which gradients flow.
    at : str
        "file:line" of what is recorded; empty if that is where the function is.
    guards : list
        What the loops of recurrent layers depend on: objects with a method ``hold()``.
    scan : callable or None
        What records recurrent layers, in another way than as compiled loops.
    """

    whole = True
    scan: Callable | None = None
    IMPURE = (
        "the function {what} at {where}, which its program would do once: do it before the call, and make the result "
        "an argument"
    )
    leaked = False
    stand_in = 0

    def __init__(self) -> None:
        self.captured: dict[int, tuple[Any, Tensor, Symbol]] = {}
        self.draws: list[Draw] = []
        self.checks: list[Check] = []
        self.needs: set[int] = set()
        self.arrays: set[int] = set()
        self.guards: list[Any] = []  # of the programs of recurrent layers
        self.read: list[Tensor] = []
        self.at = ""
        self.makes_array: Callable[[], bool] = lambda: False
        self._uids = 0
        self._seen: dict[Any, Symbol] = {}
        self._bounds: dict[int, Bounds] = {}  # between which numbers values lie, by uid
        self._inferred: dict[Any, Any] = {}  # shapes and dtypes of results, as operations come up again and again

    # ---- what symbols ask of a trace

    def next_uid(self) -> int:
        self._uids += 1
        return self._uids - 1

    def symbolic(self, shape: Sequence[int]) -> tuple:
        return tuple(shape)

    # ---- leaves

    def leaf(self, kind: str, index: int, shape: Sequence[int], dtype: Any, needs: bool = False) -> Symbol:
        symbol = Symbol(self, None, (), {}, shape, dtype, False, leaf=(kind, index), where="")
        if needs:
            self.needs.add(symbol.uid)
        return symbol

    def lift(self, value: Any) -> Any:
        """An argument of an operation: tensors and arrays become leaves, symbols and Python numbers stay."""
        if isinstance(value, Symbol | bool | int | float):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if id(value) in self.captured:
            return self.captured[id(value)][2]
        tensor = value if isinstance(value, Tensor) else Tensor(np.asarray(value))
        if tensor._node is not None:
            self.refuse_for(f"a tensor with a graph of its own at {location()}: make it an argument of the function")
        needs = tensor.requires_grad and tensor.dtype.kind == "f"
        symbol = self.leaf("captured", len(self.captured), tensor.shape, tensor.dtype, needs)
        self.captured[id(value)] = value, tensor, symbol
        return symbol

    def draw_uniform(self, shape: Sequence[int], dtype: np.dtype) -> Any:
        """The symbol of uniform numbers, as ``tr.random`` makes all of its draws of."""
        shape = tuple(shape)
        numbers = lambda: generator().random(shape, dtype=np.float32)
        return self._drawn([(shape, dtype)], lambda: [between_0_and_1(numbers()).astype(dtype)])[0]

    def drawn(
        self, shapes: Sequence[tuple[Sequence[int], Any]], draw: Callable[[], Sequence[np.ndarray]]
    ) -> list[Symbol]:
        """The symbols of arrays of these shapes and dtypes that are drawn at each call, together."""
        symbols = self._drawn(shapes, draw)
        self.arrays |= {s.uid for s in symbols}
        return symbols

    def _drawn(self, shapes: Sequence[tuple[Sequence[int], Any]], draw: Callable) -> list[Symbol]:
        symbols = [self.leaf("drawn", len(self.draws), shape, dtype) for shape, dtype in shapes]
        self.draws.append(Draw(tuple(symbols), draw))
        return symbols

    def check(self, symbols: Sequence[Symbol], test: Callable[..., Any]) -> None:
        """Ask for a test of the values of arguments before each run.

        Raises
        ------
        CompileError
            If one is computed of other than integers and truth values: its values are not there before the run.
        """
        if not all(map(self.is_known, symbols)):
            self.refuse_for(f"indices that the function computes, at {location()}: make them an argument")
        self.checks.append(Check(tuple(symbols), test))

    def in_range(self, index: Symbol, low: int, high: int, what: str) -> Any:
        """Integers, looked at before each run, or by NumPy where they are computed."""
        if not self.is_known(index):
            return within(index, low=low, high=high, what=what)
        self.check([index], lambda array: all_within(array, low, high) or WITHIN.forward(array, low, high, what))
        return index

    def between(self, x: Any, low: float, high: float, message: str, nan: bool) -> Any:
        """Floats that lie between two numbers, which is looked at unless operations tell.

        Of arguments it is looked at before each run; by NumPy where they are computed, and of parameters, as many
        updates may be in one call.
        """
        symbol = self.lift(x)
        if lies_between(symbol, low, high, self._bounds):
            return x
        if symbol.leaf is None or (symbol.leaf[0] != "input" and self.needing(symbol)):
            return between(x, low=low, high=high, message=message, nan=nan)
        self.check_argument(symbol, lambda array: require(array, low, high, message, nan))
        return x

    def check_argument(self, symbol: Symbol, test: Callable[..., Any]) -> None:
        """Ask for a test of a value before each run, if it is there by then.

        That is an argument, or computed of arguments of integers alone. Others are not looked at.
        """
        given = symbol.leaf is not None and (symbol.leaf[0] == "input" or not self.needing(symbol))
        if given or self.is_known(symbol):
            self.checks.append(Check((symbol,), test))

    def is_known(self, symbol: Symbol) -> bool:
        """Whether a value is known before a run: an argument of integers, or computed of such alone."""
        leaves = ("input", "captured")
        return all(
            s.dtype.kind != "f" and (s.leaf is None or s.leaf[0] in leaves)
            for s in reachable([symbol], lambda s: s.operands)
        )

    # ---- recording

    def _record(self, op: Op, args: tuple, static: dict) -> Any:
        for a in args:
            if isinstance(a, list | tuple):
                self.refuse_for(f"{op.name} at {location()}: got a {type(a).__name__}, wanted tensors")
        lifted = [self.lift(a) for a in args]
        tensor_at = [isinstance(a, Tensor) and not self.is_array(a) for a in args]
        found = self._infer(op, lifted, tensor_at, static)
        operands = tuple(lifted)
        needs = grad_mode.enabled and op.differentiable and any(map(self.needing, operands))
        if not isinstance(found, list):
            shape, dtype = found
            results: Any = self.make(op, operands, static, shape, dtype, needs)
        else:
            results = self.picks(self.make(op, operands, static, (), np.dtype(float), needs), found, needs)
        if not any(tensor_at):
            self.arrays |= {s.uid for s in (results if isinstance(found, list) else (results,))}
        return results

    def _infer(self, op: Op, args: list, tensor_at: list[bool], static: dict) -> Any:
        """Shape and dtype of the result, or a list of them for several results.

        Operands are cast as the tape casts them, in `args`.
        """
        ones: list[Any] = [stand_in(a.dtype, a.shape) if isinstance(a, Symbol) else a for a in args]
        arrays = promote(op, ones, tensor_at) if any(tensor_at) else [ready(op, i, a) for i, a in enumerate(ones)]
        for i, (a, b) in enumerate(zip(args, arrays)):
            if isinstance(a, Symbol) and isinstance(b, np.ndarray) and a.dtype != b.dtype:
                args[i] = self.make(ASTYPE, (a,), {"dtype": b.dtype}, a.shape, b.dtype, self.needing(a))
        if op.lowering is not None and op.lowering.kind == "matmul":  # sums of nothing cost nothing
            a, b = arrays
            arrays = [a[..., :0], b[:0] if b.ndim == 1 else b[..., :0, :]]
        key = _kind_of(op, arrays, static)
        if key is not None and key in self._inferred:
            return self._inferred[key]
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out = op.forward(*arrays, **static)
        except (ValueError, TypeError, OverflowError) as error:
            raise explain(op, ones, error) from None
        found: Any = [(np.shape(o), np.asarray(o).dtype) for o in (out if isinstance(out, tuple) else (out,))]
        found = found if isinstance(out, tuple) else found[0]
        if key is not None:
            self._inferred[key] = found
        return found

    def is_array(self, value: Any) -> bool:
        """Whether a value of the program is a NumPy array on the tape."""
        return isinstance(value, Symbol) and value.uid in self.arrays

    def needing(self, value: Any) -> bool:
        """Whether gradients flow through an argument."""
        return isinstance(value, Symbol) and value.uid in self.needs

    def picks(self, lead: Symbol, results: list, needs: bool) -> tuple[Symbol, ...]:
        """The symbols of the results of an operation with several, which `lead` stands for."""
        return tuple(
            self.make(PICK, (lead,), {"index": i}, shape, dtype, needs and np.dtype(dtype).kind == "f")
            for i, (shape, dtype) in enumerate(results)
        )

    def make(self, op: Op, args: tuple, static: dict, shape: Any, dtype: Any, needs: bool) -> Symbol:
        """The one symbol of an expression, made if need be (hash consing)."""
        # without its gradient, as after detach(), an expression is another value
        key: Any = (expression_key(op, args, static, shape), needs)
        try:
            found = self._seen.get(key)
        except TypeError:  # a static parameter without a hash, such as an array of indices
            key, found = object(), None
        if found is None:
            found = self._seen[key] = Symbol(self, op, args, static, shape, dtype, False, where=self.at or location())
            if needs and (np.dtype(dtype).kind == "f" or op is LOOP):
                self.needs.add(found.uid)
        return found

    def loop(self, loop: Loop, operands: Sequence[Any], results: list, needs: bool) -> tuple[Symbol, ...]:
        """The outputs and final states of a recurrent layer, whose shapes and dtypes are `results`."""
        lifted = tuple([self.lift(a) for a in operands])
        lead = self.make(LOOP, lifted, {"loop": loop}, (), np.dtype(float), needs)
        return self.picks(lead, results, needs)

    def rerun(self, lead: Symbol, cotangents: dict[int, Any]) -> Symbol:
        """A loop of which nothing was kept, once more, when the cotangents of its results are there."""
        first, *others = lead.args
        waits = self.make(AFTER, (first, *map(self.lift, cotangents.values())), {}, first.shape, first.dtype, False)
        static = {"loop": lead.static["loop"]._replace(again=False)}
        return self.make(LOOP, (waits, *others), static, (), np.dtype(float), False)

    def loop_gradient(self, lead: Symbol, cotangents: dict[int, Any]) -> tuple[Symbol, ...]:
        """Cotangents of the operands of a loop, given those of its results by index."""
        indices = tuple(sorted(cotangents))
        args = (lead, *[self.lift(cotangents[i]) for i in indices], *self._read_backward(lead))
        gradient = self.make(LOOP_GRADIENT, args, {"indices": indices}, (), np.dtype(float), False)
        return self.picks(gradient, [(a.shape, a.dtype) for a in lead.operands], False)

    def _read_backward(self, lead: Symbol) -> list[Symbol]:
        """What only the backward loop reads, computed of the bases."""
        loop: Loop = lead.static["loop"]
        executable = loop.run.executable
        with self.suspended():
            wanted, values = executable.backward_captures, dict(executable.plan.constants)
        first = loop.inputs + loop.states + loop.reset_states
        values |= {s.uid: a for s, a in zip(executable.bases, lead.args[first:])}
        compute(order(wanted, values), values)
        return [self.lift(values[s.uid]) for s in wanted]

    def updated(self, old: Any, new: Any) -> Any:
        """The result of ``old += value``: `new`, where the tape makes a new tensor as well."""
        if not (grad_mode.enabled and (self.needing(self.lift(old)) or self.needing(new))):
            self.refuse_write("an augmented assignment")
        return new

    def refuse_write(self, what: str) -> None:
        """Give up, as a tensor or an array would be written to, which others may see."""
        self.refuse_for(
            f"an in-place write ({what}) at {location()}: programs write to nothing; build a new value, such as with "
            "tr.where() or tr.concat()"
        )

    def detach(self, x: Any) -> Any:
        found = self.record(elementwise.CONSTANT, (x,), {})
        self.needs.discard(found.uid)
        return found

    def copy(self, x: Any, requires_grad: bool, dtype: Any) -> Any:
        """The result of ``tensor(x)``: the values without their gradient."""
        if requires_grad:
            self.refuse_for(f"a tensor with gradients of its own, made inside the function, at {location()}")
        x = self.detach(x)
        return x if dtype is None else x.astype(dtype)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Context in which operations run on the tape, unrecorded and unwatched."""
        note, profile = self.note, sys.getprofile()
        self.note, grad_mode.tracer = None, None
        sys.setprofile(None)
        try:
            yield
        finally:
            grad_mode.tracer, self.note = self, note
            sys.setprofile(profile)


def _kind_of(op: Op, arrays: Sequence[Any], static: dict) -> Any:
    """What decides the shape and dtype of a result; None if that may be compared with nothing."""
    key = (
        id(op),
        *[(a.shape, a.dtype) if isinstance(a, np.ndarray) else (type(a), a) for a in arrays],
        *static.items(),
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key
