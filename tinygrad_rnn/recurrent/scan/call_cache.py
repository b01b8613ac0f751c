"""Per-cell cache of traced programs and of guarded calls.

A small layer's call consists of checks, not of arithmetic. If the arguments have a signature that was seen, and the
guards hold, all other checks are skipped.
"""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import generator, grad_mode
from ...core import Tensor, tree
from ...errors import CompileError, InexactIntegersError
from ...modules.module import Module
from ...modules.parameter import Parameter
from ..cell import Cell
from .arguments import Arguments
from .axis_layout import SequenceLayout, as_contiguous, is_contiguous
from .facts import has_slots, static_attributes
from .kinds import is_fixed
from .numbers import CellNumbers, NumberInput
from .snapshot import Latest
from .valid_steps import ValidSteps

if TYPE_CHECKING:
    from .loop import CompiledLoop
    from .program import Program, Refusal

# limits of one cell's cache; the oldest entry goes
PROGRAMS = 32
VARIANTS = 8  # programs of one key, with different guards
CALLS = 64
SMALL = 4096  # elements of an initial state that is kept, too


class StaticAttributes:
    """The static attributes of one cell, read again only if an attribute was set since the last time.

    Attributes
    ----------
    last : tuple
        Facts as they were read last; the same object for as long as they are equal, so that guards compare by identity.
    seen : list of (reference, class, dict, names, values)
        The cell and its parts, which are not kept alive, with their attributes as they were then; the same object for
        as long as none is set.
    """

    def __init__(self) -> None:
        self.last: tuple = ()
        self.seen: list[tuple[weakref.ref, type, dict, list, list]] = []
        self.numbers = CellNumbers()  # what they leave out
        self._left_out: frozenset[tuple[int, Any]] = frozenset()
        self._mutable = self._slotted = False
        self._latest = Latest()  # of what is in mutable attributes

    def forget(self) -> None:
        """Read everything again the next time."""
        self.seen = []

    def read(self, cell: Module) -> tuple:
        """The facts of the cell as it is now."""
        # A change is another object in some attribute, or in what one holds: comparing identities is enough, and takes
        # a microsecond where reading facts takes ten.
        if self.seen and not self._slotted:
            for get, kind, attributes, names, values in self.seen:
                module: Any = get()
                if type(module) is not kind or module.__dict__ is not attributes:
                    break
                if names != [*attributes]:
                    break
                if not all(map(operator.is_, attributes.values(), values)) and not self._take(attributes, values):
                    break
            else:
                if not self._mutable or self._latest.holds():
                    return self.last
        self._left_out = self.numbers.holders()
        entered: list[Any] = []
        facts = static_attributes(cell, numbers=self._left_out, entered=entered)
        if facts != self.last:  # equal facts stay the same object, which calls and programs have as their key
            self.last = facts
        parts = [(m, vars(m)) for m in cell.modules()]
        self.seen = [(weakref.ref(m), type(m), a, [*a], [*a.values()]) for m, a in parts]
        self._mutable = not all(is_fixed(v) for *_, values in self.seen for v in values)
        self._slotted = any(map(has_slots, cell.modules()))
        if self._mutable and not self._slotted:
            self._latest.take(entered, lambda: static_attributes(cell, numbers=self._left_out) == facts)
        return self.last

    def _take(self, attributes: dict, values: list) -> bool:
        """Take down what has been set, if that is numbers that are left out; returns whether it is."""
        now = [*attributes.values()]
        for name, new, old in zip(attributes, now, values):
            if new is not old and ((id(attributes), name) not in self._left_out or type(new) is not type(old)):
                return False
        values[:] = now
        return True


class CellCache:
    """The programs of one cell, or reasons why there are none, and its guarded calls."""

    def __init__(self) -> None:
        self.programs: dict[tuple, list[Program | Refusal]] = {}  # of one key, with different guards
        self.calls: dict[tuple, GuardedCall] = {}
        self.dtype: np.dtype | None = None  # of the last input of floats
        self.warned: set[tuple] = set()
        self.static_attributes = StaticAttributes()

    def add_program(self, key: tuple, program: Program | Refusal) -> None:
        """Store a program before those of the same key whose guards have failed: they may hold again."""
        if key not in self.programs and len(self.programs) >= PROGRAMS:
            self.programs.pop(next(iter(self.programs)))
        self.programs[key] = [program, *self.programs.get(key, ())][:VARIANTS]

    def add_call(self, x: Tensor, layout: SequenceLayout, call: GuardedCall) -> None:
        """Store a call for inputs like `x`."""
        last = next(reversed(self.calls.values()), call)
        if [id(w[3]) for w in last.watched] != [id(w[3]) for w in call.watched]:
            self.calls.clear()  # of other parameters: their arrays would stay alive for calls that never run again
        if len(self.calls) >= CALLS:
            self.calls.pop(next(iter(self.calls)), None)
        if x.dtype.kind == "f":
            self.dtype = x.dtype
        self.calls[x.shape, x.dtype, x.requires_grad, grad_mode.enabled, layout] = call


_caches: dict[int, tuple[weakref.ref, CellCache]] = {}  # by identity: a cell may define what equal cells are


def cache_of(cell: Cell) -> CellCache:
    """The cache of a cell, which lives as long as the cell."""
    found = _caches.get(id(cell))
    if found is not None and found[0]() is cell:
        return found[1]
    key, cache = id(cell), CellCache()

    def forget(gone: weakref.ref, caches: dict = _caches) -> None:  # globals may be gone when Python ends
        if caches.get(key, (None,))[0] is gone:
            del caches[key]

    _caches[key] = weakref.ref(cell, forget), cache
    return cache


def find_call(cell: Cell, x: Any, layout: SequenceLayout) -> GuardedCall | None:
    """The guarded call for an input like `x`, an array of floats or a tensor, or None if no guards hold."""
    entry = _caches.get(id(cell))
    if entry is None or entry[0]() is not cell or grad_mode.tracer is not None:
        return None
    cache = entry[1]
    key: tuple
    if isinstance(x, Tensor):
        array = x._array  # as everywhere on this path: `data` is a property, which takes three times as long
        key = array.shape, array.dtype, x.requires_grad, grad_mode.enabled, layout
    elif type(x) is np.ndarray and x.dtype.kind == "f":  # it will be cast to the dtype of the inputs before
        key = x.shape, cache.dtype, False, grad_mode.enabled, layout
    else:
        return None
    call = cache.calls.get(key)
    if call is None or not call.guards_hold(cell, cache.static_attributes):
        return None
    return call if call.watches_dtype or isinstance(x, Tensor) or cell.dtype == call.dtype else None


class GuardedCall:
    """A compiled loop for inputs of one shape; once kept, with the guards under which it may run again.

    Attributes
    ----------
    loop : CompiledLoop
    state_structure : Structure
    dtype : dtype
        Of the input.
    watches_dtype : bool
        Whether the guards cover the cell's dtype.
    initial : list of tensors or None
        The initial state, if it is the same for every call.
    invariants : dict
        By uid, the parameters from which the loop's bases are computed.
    numbers : list of (uid, NumberInput)
        Numbers of the cell, from which they are computed too.
    watched : list of (get, name, tensor, array, requires_grad)
        Parameters of the cell, and those that the loop reads.
    """

    __slots__ = (
        "arrays",
        "dtype",
        "functions",
        "guards",
        "initial",
        "invariants",
        "loop",
        "names",
        "nest_states",
        "numbers",
        "program",
        "sizes",
        "state_structure",
        "states",
        "static_attributes",
        "tensors",
        "watched",
        "watches_dtype",
    )

    def __init__(self, program: Program, loop: CompiledLoop, state_structure: tree.Structure):
        self.program, self.loop, self.state_structure = program, loop, state_structure
        self.nest_states = tree.builder(state_structure)
        self.tensors: list[Tensor] | None = None  # the bases, if all of them are parameters themselves
        self.arrays: list[np.ndarray] = []

    # ---- guards

    def keep(self, cell: Cell, static: tuple, arguments: Arguments, tensors: list[Tensor]) -> bool:
        """Set the guards under which the call may run again; False if none would be enough.

        They are if the loop reads nothing but parameters that are attributes of the cell or its parts.

        Parameters
        ----------
        cell : Cell
        static : tuple
            Facts of its static attributes; compared by identity.
        arguments : Arguments
            Those that the call is built for.
        tensors : list of tensors
            The bases.
        """
        program, loop = self.program, self.loop
        if arguments.structure is not tree.LEAF:  # calls are found by one input
            return False
        self.numbers = [(uid, source) for uid, source in program.read if isinstance(source, NumberInput)]
        parameters = [(uid, source) for uid, source in program.read if not isinstance(source, NumberInput)]
        sources = [source for _, source in parameters]
        read = [source.get() for source in sources]
        if any(source.path or not isinstance(t, Parameter) for source, t in zip(sources, read)):
            return False
        # An optimiser writes into the array of a parameter, which changes nothing here. Another tensor, array or
        # requires_grad does.
        self.watched = [(s.attributes.get, s.name, t, t._array, t.requires_grad) for s, t in zip(sources, read)]
        if program.plain is None or self.numbers:
            self.invariants = {uid: t for (uid, _), t in zip(parameters, read)}
        else:
            if not all(is_contiguous(t._array, loop.dtype) for t in tensors):  # copies would go stale
                return False
            self.tensors, self.arrays = tensors, [t._array for t in tensors]
        self.static_attributes = static
        self.names = [*program.guards.names, *loop.guards.names]
        self.functions = [*program.guards.functions, *loop.guards.functions]
        self.sizes = [*program.guards.sizes, *loop.guards.sizes]
        self.guards = [guards for guards in (program.guards, loop.guards) if guards.compares]
        self.states = [(s.shape, s.dtype, s.requires_grad) for s in arguments.states]
        self.initial: list[Tensor] | None = None
        self.dtype, self.watches_dtype = arguments.inputs[0].dtype, self._watch_dtype(cell)
        return True

    def _watch_dtype(self, cell: Cell) -> bool:
        """Guard all parameters if the cell's dtype is that of one of them; whether that covers the dtype."""
        getter = getattr(type(cell).dtype, "fget", None)
        if not getattr(getter, "of_parameters", False):
            return False
        seen = {id(w[2]) for w in self.watched}
        own = [
            (vars(module), name, p) for module in cell.modules() for name, p in module.named_parameters(recurse=False)
        ]
        self.watched += [(a.get, n, p, p._array, p.requires_grad) for a, n, p in own if id(p) not in seen]
        return any(p.dtype.kind == "f" for _, _, p in own)

    def guards_hold(self, cell: Cell, static: StaticAttributes) -> bool:
        """Whether the cell's attributes and parameters, and the globals that its step reads, are as they were."""
        try:
            if static.read(cell) is not self.static_attributes:
                return False
        except CompileError:  # something that cannot be compared has come
            return False
        for get, name, value in self.names:
            if get(name) is not value:
                return False
        for get, name, tensor, array, wanted in self.watched:
            if get(name) is not tensor or tensor._array is not array or tensor.requires_grad is not wanted:
                return False
        for f, code, defaults, more, size in self.functions:
            if f.__code__ is not code or f.__defaults__ is not defaults or f.__kwdefaults__ is not more:
                return False
            if len(f.__dict__) != size:
                return False
        for length, size in self.sizes:
            if length() != size:
                return False
        return not self.guards or all(guards.values_hold() for guards in self.guards)

    def match_states(self, cell: Cell, state: Any, batch: int) -> list[Tensor] | None:
        """The tensors of `state`, or of the initial state; None if their structure, shapes or dtypes differ."""
        initial = self.initial
        if initial is None:  # a user's initial_state() is called at every call, as it may depend on anything
            initial, structure = tree.flatten(cell.initial_state(batch))
            if not self._fit(initial, structure, state is None):
                return None
            constant = state is None and self.watched and getattr(cell.initial_state, "constant", False)
            if constant and sum(s.size for s in initial) <= SMALL:
                self.initial = initial
        if state is None:
            return initial
        states, structure = tree.flatten(state)
        return states if self._fit(states, structure, True) else None

    def _fit(self, states: list, structure: tree.Structure, gradients: bool) -> bool:
        if structure != self.state_structure:
            return False
        for s, (shape, dtype, wanted) in zip(states, self.states):
            if not isinstance(s, Tensor) or s._array.shape != shape or s._array.dtype != dtype:
                return False
            if gradients and s.requires_grad != wanted:
                return False
        return True

    # ---- running

    def run(
        self,
        arguments: Arguments,
        layout: SequenceLayout,
        steps: ValidSteps | None,
        tensors: list[Tensor] | None = None,
    ) -> tuple[Any, Any]:
        """Outputs and final state.

        Parameters
        ----------
        steps : ValidSteps or None
            The valid ones; None: all.
        tensors : list of tensors, optional
            The bases, if they have just been computed.
        """
        inputs, _, states, _, reset_states = arguments
        if steps is None:  # a chunk of time may have no resets although its sequence has
            reset_states = None
        loop, arrays, program = self.loop, self.arrays, self.program
        if self.tensors is not None:
            tensors = self.tensors
        else:
            if tensors is None:
                numbers = {uid: source.get() for uid, source in self.numbers}
                tensors = program.compute_bases({**self.invariants, **numbers})
            arrays = [as_contiguous(t._array, loop.dtype) for t in tensors]
        before = None
        if program.traced.mask_probabilities:
            before = generator().bit_generator.state if program.traced.checks else None
            time, batch = (inputs[0].shape[axis] for axis in (1 - layout.batch_axis, layout.batch_axis))
            inputs = [*inputs, *[Tensor(layout.from_time_major(mask)) for mask in program.draw(time, batch)]]
        try:
            results = loop.run(inputs, states, reset_states or (), tensors, arrays, layout, steps)
        except InexactIntegersError:
            if before is not None:  # the tape, which runs instead, draws the same
                generator().bit_generator.state = before
            raise
        n = loop.n_outputs
        return program.nest_outputs(results[:n]), self.nest_states(results[n:])
