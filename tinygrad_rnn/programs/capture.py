"""A function becomes a program: traced twice, with its code watched, and compared with the tape."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import compiler, config
from ..compiler.model.program import ModelProgram
from ..compiler.model.runner import Runner
from ..compiler.model.trace import ModelTrace
from ..core import Tensor, tree
from ..core.tree import Structure
from ..errors import CompileError, VerificationError
from ..recurrent.scan import traced_scan
from ..recurrent.scan.attribute_path import AttributePath, as_constant, locate
from ..recurrent.scan.dry_run import isolated_dry_run, rng_state, rolling_back_draws
from ..recurrent.scan.facts import static_attributes
from ..recurrent.scan.guards import Guards, guards_of
from ..recurrent.scan.loop import reason_of
from ..recurrent.scan.outer_state import OuterState
from ..recurrent.scan.program import Refusal, refusal
from ..recurrent.scan.tracing import Read, close, holds_symbols
from .nests import Arguments, flatten, is_constant
from .reach import Root, remembering

CHANGES = (
    "the function is not the same twice{}: it depends on what a program would freeze, such as a random number, a "
    "counter or the time; make what changes an argument"
)
DRAWS = (
    "the function draws random numbers, which a program would draw once: use nn.Dropout, or draw them before, and make "
    "them an argument"
)
WRITES = "the function writes to {}, which a program would not do: return what changes"


class Rejected(Exception):
    """The tape does not take these arguments either: its own error is the one to raise."""


class Capture:
    """A function as a program, for arguments of one signature.

    Attributes
    ----------
    trace : ModelTrace
        Extended when gradients are asked for.
    inputs : tuple of Symbol
        Of the tensors and arrays among the arguments.
    results : tuple of Symbol
        The leaves of the result that are computed.
    sources : list of (Symbol, AttributePath)
        The tensors that the function reads, and where they are kept.
    guards : Guards
        On globals, classes and closures that were read.
    operation : Any
        What runs the program together with its gradient.
    made : set of int
        Uids of the constants that the function makes anew at each call.
    scalars : set of int
        Uids of the results that are NumPy's scalars on the tape, as what it reduces arrays to.
    """

    def __init__(
        self,
        trace: ModelTrace,
        inputs: Sequence[compiler.Symbol],
        structure: Structure,
        leaves: list,
        sources: list[tuple[compiler.Symbol, AttributePath]],
    ):
        self.trace, self.inputs, self.structure, self.sources = trace, tuple(inputs), structure, sources
        self.guards: Guards
        self.made: set[int] = set()
        self.scalars: set[int] = set()
        self.operation: Any = None
        computed = {s.uid: s for s in leaves if isinstance(s, compiler.Symbol) and _is_computed(s)}
        self.results = tuple(computed.values())
        self._place = {uid: i for i, uid in enumerate(computed)}
        self.leaves = leaves
        self.program = self.program_for(self.results)
        self.runner = Runner(self.program)
        self._wanted = [(source.get, s.shape, s.dtype, s.uid in trace.needs) for s, source in sources]

    def program_for(self, outputs: Sequence[compiler.Symbol]) -> ModelProgram:
        """The program that computes some values of the trace."""
        captured = {s.uid: tensor for _, tensor, s in self.trace.captured.values()}
        trace = self.trace
        return ModelProgram(self.inputs, captured, tuple(trace.draws), tuple(trace.checks), tuple(outputs))

    def all_guards(self) -> list[Guards]:
        """Those of the function and of derivative rules."""
        return [self.guards, *[guards for guards in self.trace.guards if isinstance(guards, Guards)]]

    def loops(self) -> list[traced_scan.LoopGuards]:
        """Those of the loops of recurrent layers, each once."""
        found = [guards for guards in self.trace.guards if isinstance(guards, traced_scan.LoopGuards)]
        return list({id(guards.call): guards for guards in found}.values())

    def tensors(self) -> list[Tensor] | None:
        """The tensors that the function reads, as they are now; None if they no longer fit the trace."""
        found = []
        for get, shape, dtype, needs in self._wanted:
            try:
                t = get()
            except (LookupError, AttributeError):
                return None
            if not isinstance(t, Tensor) or t._node is not None or t._array.shape != shape or t._array.dtype != dtype:
                return None
            if t.requires_grad is not needs:
                return None
            found.append(t)
        return found

    def captured(self, tensors: Sequence[Tensor]) -> dict[int, np.ndarray]:
        """Their arrays by the uids of their symbols, and those that derivative rules have made."""
        return {s.uid: t._array for (s, _), t in zip(self.sources, tensors)} | self.constants()

    def constants(self) -> dict[int, np.ndarray]:
        """Arrays that derivative rules have made, by the uids of their symbols."""
        made = list(self.trace.captured.values())[len(self.sources) :]
        return {s.uid: tensor._array for _, tensor, s in made}

    def nest(self, values: Sequence[Any], arguments: Sequence[Any], tensors: Sequence[Tensor]) -> Any:
        """The result of a call, from the values of `results`."""
        found = []
        for leaf in self.leaves:
            if not isinstance(leaf, compiler.Symbol):
                found.append(leaf)
            elif leaf.uid in self._place:
                found.append(values[self._place[leaf.uid]])
            elif leaf.leaf is not None and leaf.leaf[0] == "input":
                found.append(arguments[leaf.leaf[1]])
            else:
                tensor = next(t for (s, _), t in zip(self.sources, tensors) if s is leaf)
                found.append(self.wrapped(leaf, tensor.data.copy()) if leaf.uid in self.made else tensor)
        return tree.unflatten(self.structure, found)

    def run(self, arguments: Arguments, tensors: Sequence[Tensor]) -> Any:
        """The result of a call without gradients."""
        found = self.runner.run(arguments.arrays, self.captured(tensors))
        return self.nest([self.wrapped(s, a) for s, a in zip(self.results, found)], arguments.values, tensors)

    def wrapped(self, symbol: compiler.Symbol, array: np.ndarray) -> Any:
        """The value of a result as the tape has it: a tensor, an array, or one of NumPy's scalars."""
        if not self.trace.is_array(symbol):
            return Tensor(array)
        return array[()] if symbol.uid in self.scalars else np.asarray(array)


def _is_computed(symbol: compiler.Symbol) -> bool:
    return symbol.leaf is None or symbol.leaf[0] == "drawn"


Finish = Callable[[Capture], Any]


def capture(root: Root, function: Callable, arguments: Arguments, grad: bool, finish: Finish) -> Capture | Refusal:
    """The program of a function, or the reason why there is none.

    Parameters
    ----------
    root : Root
        What the function can reach.
    function : callable
    arguments : Arguments
        Of the call at hand.
    grad : bool
        Whether the call records gradients.
    finish : callable
        Makes the capture's `operation`; where it raises, there is no program.

    Raises
    ------
    Rejected
        If the tape does not take the arguments.
    """
    codes: dict = {}
    found = None
    root = root.beside(arguments.objects)
    try:
        with compiler.making, remembering():
            found = _trace_twice(root, function, arguments, grad, codes)
            found.guards = guards_of(root, codes, found.trace.read)
            reason = _difference(root, function, arguments, grad, found)
            if reason is None:
                found.operation = finish(found)
        if reason is None:
            return found
    except (VerificationError, Rejected):
        raise
    except Exception as error:  # of the trace, or any error of Python's over a value that is no tensor
        reason = reason_of(error)
    return refusal(reason, root, codes, () if found is None else found.trace.read)


class _Drew(CompileError):
    """Random numbers were drawn during a trace, by the function or by another thread."""


def _trace_twice(root: Root, function: Callable, arguments: Arguments, grad: bool, codes: compiler.Codes) -> Capture:
    for last in (False, True):
        try:
            with rolling_back_draws():
                one, other = (_trace_once(root, function, arguments, grad, codes) for _ in range(2))
        except _Drew:
            if last:
                raise
            continue
        where = compiler.difference(_lines(one), _lines(other))
        if where is None:
            pairs = zip(one.trace.captured.values(), other.trace.captured.values())
            one.made = {a[2].uid for a, b in pairs if a[1] is not b[1]}
            return one
    raise CompileError(CHANGES.format(f", at {where}" if where else ""))


def _trace_once(root: Root, function: Callable, arguments: Arguments, grad: bool, codes: compiler.Codes) -> Capture:
    return Capture(*record(ModelTrace(), root, function, arguments, grad, codes))


class Recorded(NamedTuple):
    """What one trace of a function found, see :class:`Capture`."""

    trace: ModelTrace
    inputs: list[compiler.Symbol]
    structure: Structure
    leaves: list
    sources: list[tuple[compiler.Symbol, AttributePath]]


def record(
    trace: ModelTrace, root: Root, function: Callable, arguments: Arguments, grad: bool, codes: compiler.Codes
) -> Recorded:
    """Trace a function once.

    Raises
    ------
    CompileError
        If it does what a program would not do again.
    """
    filled, inputs = [*arguments.leaves], []
    for i, (place, kind) in enumerate(zip(arguments.places, arguments.kinds)):
        symbol = trace.leaf("input", i, kind.shape, kind.dtype, kind.requires_grad)
        if kind.is_array:
            trace.arrays.add(symbol.uid)
        inputs.append(symbol)
        filled[place] = symbol
    with isolated_dry_run(root):
        args, kwargs = tree.unflatten(arguments.structure, filled)
        static, random, outer = static_attributes(root), rng_state(root), OuterState(root)
        with compiler.watching(trace, codes):
            config.grad_mode.enabled = grad
            result = function(*args, **kwargs)
            if trace.refused:
                raise CompileError(trace.refused)
        if rng_state(root) != random or outer.drew():
            raise _Drew(DRAWS)
        if static_attributes(root) != static or holds_symbols(root):
            raise CompileError(WRITES.format("the attributes of a module"))
        if outer.changed():
            raise CompileError(WRITES.format("a global or to what one holds"))
        found: list = []
        structure = flatten(result, found)
        with compiler.watching(trace, codes):
            leaves = [_as_leaf(trace, leaf) for leaf in found]
        tensors = [(symbol, tensor) for _, tensor, symbol in trace.captured.values()]
        sources = [(symbol, locate(root, tensor) or as_constant(tensor)) for symbol, tensor in tensors]
    return Recorded(trace, inputs, structure, leaves, sources)


def _as_leaf(trace: ModelTrace, value: Any) -> Any:
    if isinstance(value, Tensor):
        return trace.lift(value)
    if type(value) is np.ndarray:
        symbol = trace.lift(value)
        trace.arrays.add(symbol.uid)
        return symbol
    if not is_constant(value):
        raise CompileError(
            f"result: got a {type(value).__name__}, wanted tensors, arrays, numbers and texts, in tuples, lists and "
            "dicts"
        )
    return value


def _lines(capture: Capture) -> list:
    paths = {symbol.uid: source for symbol, source in capture.sources}
    tensors = {symbol.uid: tensor for _, tensor, symbol in capture.trace.captured.values()}
    names = {uid: Read(paths[uid], tensor) for uid, tensor in tensors.items()}
    computed = [s for s in capture.leaves if isinstance(s, compiler.Symbol)]
    constants = [repr(v) for v in capture.leaves if not isinstance(v, compiler.Symbol)]
    draws = [tuple((s.shape, s.dtype) for s in draw.symbols) for draw in capture.trace.draws]
    lines = compiler.listing(computed, names)
    return [*lines, compiler.Line((capture.structure, constants, draws, len(capture.trace.checks)), "")]


def _difference(root: Root, function: Callable, arguments: Arguments, grad: bool, found: Capture) -> str | None:
    """The difference between the program's results and the tape's, in words; or None."""
    args, kwargs = tree.unflatten(arguments.structure, arguments.leaves)
    with isolated_dry_run(root, 1), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, config.grad_mode.enabled = config.grad_mode.enabled, grad
        try:
            wanted = function(*args, **kwargs)
        except Exception as error:
            raise Rejected from error
        finally:
            config.grad_mode.enabled = before
    b: list = []
    structure = flatten(wanted, b)
    found.scalars = {
        s.uid for s, v in zip(found.leaves, b) if isinstance(s, compiler.Symbol) and isinstance(v, np.generic)
    }
    with isolated_dry_run(root, 1), np.errstate(all="ignore"):
        tensors = found.tensors()
        if tensors is None:
            return "a tensor that it reads is not where it was"
        got = found.run(arguments, tensors)
    a: list = []
    if flatten(got, a) != structure:
        return "traced, its results are nested otherwise than on the tape"
    for one, other in itertools.zip_longest(a, b):
        why = _unlike(one, other)
        if why is not None:
            return (
                f"traced, the function does not give what it gives on the tape ({why}): it decides by something that a "
                "trace does not show, such as the type of a value"
            )
    return None


def _unlike(got: Any, wanted: Any) -> str | None:
    kinds = [Tensor if isinstance(v, Tensor) else type(v) for v in (got, wanted)]
    if kinds[0] is not kinds[1]:
        return f"got a {kinds[0].__name__}, wanted a {kinds[1].__name__}"
    if kinds[0] is Tensor:
        got, wanted = got.data, wanted.data
    if isinstance(got, np.ndarray | np.generic):
        if got.shape != wanted.shape or got.dtype != wanted.dtype:
            return f"got {got.dtype}{list(got.shape)}, wanted {wanted.dtype}{list(wanted.shape)}"
        a, b = np.asarray(got), np.asarray(wanted)
        alike = close(a, b, 0.0) if got.dtype.kind == "f" else np.array_equal(a, b)
        return None if alike else "other numbers"
    same = got == wanted or got != got
    return None if same else f"got {got!r}, wanted {wanted!r}"
