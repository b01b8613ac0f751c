"""The compiled road of :func:`scan`: a cell's step becomes a program, and the whole loop one node of the tape."""

from __future__ import annotations

import operator
import threading
import warnings
import weakref
from typing import Any

import numpy as np

from .. import compile as compiler
from .. import config, ops
from ..core import Op, Tensor, apply, grad
from ..errors import CompileError
from ..nn.module import Module
from . import nest
from .cell import Cell

_tracing = threading.RLock()


class Program:
    """One compiled form of a cell: for one structure of inputs and states, one dtype and one set of settings.

    Attributes
    ----------
    traced : Traced
    bases : list of Symbol
        What the loops read: invariants, and what is computed from them before the loop.
    sources : list
        (uid, where to find its tensor) of each invariant.
    plain : list or None
        Where to find each base, if none has to be computed.
    """

    def __init__(self, traced, sources, output_structure):
        self.traced = traced
        self.sources = sources
        self.output_structure = output_structure
        self.bases = compiler.bases(traced)
        self.names = [f"b{s.uid}" for s in self.bases]
        self.loops: dict[tuple, _Loop] = {}
        where = dict(sources)
        self.plain = [where[s.uid] for s in self.bases] if all(s.uid in where for s in self.bases) else None

    def base_tensors(self) -> list[Tensor]:
        """Today's tensors; what is computed from parameters alone runs on the tape here."""
        if self.plain is not None:
            return [_look_up(source) for source in self.plain]
        return compiler.evaluate(self.bases, {uid: _look_up(source) for uid, source in self.sources})

    def loop(self, title: str, n_inputs: int, n_states: int, train: bool, args) -> _Loop:
        """The loop for these arguments: which of them need gradients decides what it computes."""
        wanted = tuple([a.requires_grad for a in args]) if train else ()
        found = self.loops.get(wanted)
        if found is None:
            flags = wanted or (False,) * len(args)
            uids = {s.uid for s, w in zip(self.bases, flags[n_inputs + n_states :]) if w}
            executable = compiler.Executable(compiler.Plan(self.traced, flags[:n_inputs], uids), title)
            found = self.loops[wanted] = _Loop(self, executable, n_inputs, n_states, train)
        return found


def _look_up(source) -> Tensor:
    if isinstance(source, Tensor):
        return source
    attributes, name, key = source
    return attributes[name] if key is None else attributes[name][key]


class _Loop:
    """A compiled loop as an operation of the tape."""

    def __init__(self, program: Program, executable, n_inputs: int, n_states: int, train: bool):
        self.program, self.executable, self.train = program, executable, train
        self.n_inputs, self.n_arguments = n_inputs, n_inputs + n_states
        everything = tuple(range(self.n_arguments + len(program.bases)))
        self.op = Op("recurrent_loop", self.forward, joint_vjp=self.backward, untyped=everything)

    def forward(self, *arrays, tape):
        n, dtype = self.n_inputs, self.executable.dtype
        time, batch = arrays[0].shape[:2]
        solid = [
            a if a.dtype is dtype and a.flags.c_contiguous else np.ascontiguousarray(a, dtype) for a in arrays
        ]
        named = dict(zip(self.program.names, solid[self.n_arguments :]))
        ys, finals, tape["context"] = self.executable.forward(
            solid[:n], solid[n : self.n_arguments], named, time, batch, self.train
        )
        return (*ys, *finals) if tape["stacked"] else (*ys, *[s[0] for s in finals])

    def backward(self, gs: dict, out, *args, needs, tape):
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, tape)
        traced, context = self.program.traced, tape["context"]
        dtype, n = self.executable.dtype, len(traced.outputs)
        lead = (context.time, context.batch)

        def cotangent(i, shape):
            g = gs.get(i)
            return np.zeros(shape, dtype) if g is None else np.ascontiguousarray(g, dtype)

        outputs = [cotangent(i, (*lead, *y.shape[1:])) for i, y in enumerate(traced.outputs)]
        finals = [cotangent(n + i, (lead[1], *s.shape[1:])) for i, s in enumerate(traced.states)]
        inputs, states, invariants = self.executable.backward(context, outputs, finals)
        return [*inputs, *states, *(invariants.get(s.uid) for s in self.program.bases)]

    def _replay(self, gs: dict, args, needs, tape):
        """Gradients that can be differentiated again: run the program on the tape."""
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        bases = {s.uid: a for s, a in zip(self.program.bases, tensors[self.n_arguments :])}
        results = compiler.replay(
            self.program.traced, tensors[: self.n_inputs], tensors[self.n_inputs : self.n_arguments], bases
        )
        if tape["stacked"]:
            n = len(self.program.traced.outputs)
            results[n:] = [ops.expand_dims(s, 0) for s in results[n:]]
        pairs = [(results[i], g) for i, g in gs.items() if results[i].requires_grad]
        wanted = [t for t, need in zip(tensors, needs) if need]
        found = iter(
            grad([y for y, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True)
        )
        return [next(found) if need else None for need in needs]


def scan_compiled(
    cell: Cell,
    inputs: list[Tensor],
    structure,
    states: list[Tensor],
    state_structure,
    mode: str,
    reverse: bool,
    stacked: bool,
) -> tuple[Any, Any] | None:
    """Outputs and final state (`stacked`: with a first axis of length 1); None if ``mode="auto"`` must run eagerly.

    Raises
    ------
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    program = program_of(cell, inputs, structure, states, state_structure, mode)
    if program is None:
        return None
    if reverse:
        inputs = [ops.flip(x, 0) for x in inputs]
    args = (*inputs, *states, *program.base_tensors())
    train = config.is_grad_enabled() and any([a.requires_grad for a in args])
    loop = program.loop(type(cell).__name__, len(inputs), len(states), train, args)
    results = apply(loop.op, args, {"tape": {"stacked": stacked}})
    n = len(program.traced.outputs)
    ys = [ops.flip(y, 0) for y in results[:n]] if reverse else results[:n]
    return nest.unflatten(program.output_structure, ys), nest.unflatten(state_structure, results[n:])


# ---- programs of a cell


class _Known:
    """The programs of one cell, and the settings that it had when they were last looked up."""

    def __init__(self):
        self.programs: dict[tuple, Program | str] = {}
        self.warned: set[tuple] = set()
        self.settings: tuple = ()
        self.seen: list[
            tuple[dict, list]
        ] = []  # attributes of the cell and its parts; holding them keeps ids unique
        self.changing = False

    def refresh(self, cell: Cell) -> tuple:
        """The cell's settings; read anew only where an attribute was set since the last time."""
        if self.seen and not self.changing:
            for attributes, values in self.seen:
                if len(attributes) != len(values) or not all(map(operator.is_, attributes.values(), values)):
                    break
            else:
                return self.settings
        self.settings = _settings(cell)
        self.seen = [(vars(m), list(vars(m).values())) for m in cell.modules()]
        self.changing = any(isinstance(v, list | dict | set) for _, values in self.seen for v in values)
        return self.settings


_known: weakref.WeakKeyDictionary[Cell, _Known] = weakref.WeakKeyDictionary()


def program_of(cell: Cell, inputs, structure, states, state_structure, mode: str) -> Program | None:
    """The cell's program for arguments like these, traced if need be."""
    known = _known.get(cell)
    if known is None:
        known = _known[cell] = _Known()
    key = (
        structure,
        state_structure,
        *[(x.data.shape[2:], x.data.dtype) for x in inputs],
        *[(s.data.shape[1:], s.data.dtype) for s in states],
        known.refresh(cell),
    )
    program = known.programs.get(key)
    if program is None:
        try:
            program = _trace(cell, inputs, structure, states, state_structure)
        except CompileError as error:
            program = str(error)
        known.programs[key] = program
    if isinstance(program, str):
        if mode == "compiled":
            raise CompileError(f"{type(cell).__name__}: {program}")
        if mode == "auto" and key not in known.warned:
            known.warned.add(key)
            warnings.warn(f"{type(cell).__name__} runs eagerly: {program}", RuntimeWarning, stacklevel=4)
        return None
    return program


def _settings(cell: Cell) -> tuple:
    """Everything plain that a step may read: numbers, flags, strings and functions of the cell and its parts."""
    return tuple(
        (name, _setting(value))
        for module in cell.modules()
        for name, value in vars(module).items()
        if not isinstance(value, Tensor | Module)
    )


def _setting(value) -> Any:
    if isinstance(value, list | tuple):
        return type(value), tuple(_setting(v) for v in value)
    if isinstance(value, dict):
        return dict, tuple((k, _setting(v)) for k, v in value.items())
    if isinstance(value, Tensor | Module):
        return None
    if isinstance(value, bool | int | float | str | bytes | None):
        return type(value), value
    return id(value)


def _trace(cell: Cell, inputs, structure, states, state_structure) -> Program:
    compiler.check_available()
    shape: dict = {}

    def step(xs, ss):
        result = cell.step(nest.unflatten(structure, xs), nest.unflatten(state_structure, ss))
        if type(result) is not tuple or len(result) != 2:
            raise CompileError("step: wanted the pair (output, next_state)")
        ys, shape["outputs"] = nest.flatten(result[0])
        new, its = nest.flatten(result[1])
        if its != state_structure:
            raise CompileError(
                f"step: next_state: got {nest.describe(its)}, wanted {nest.describe(state_structure)}"
            )
        return ys, new

    generator = config.generator()
    with _tracing:
        before, random = _snapshot(cell), generator.bit_generator.state
        try:
            cell.begin_sequence(compiler.BATCH)
            drawn, settings = generator.bit_generator.state, _settings(cell)
            traced = compiler.trace_step(
                step,
                [(x.shape[2:], x.dtype) for x in inputs],
                [(s.shape[1:], s.dtype) for s in states],
                states[0].dtype if states else cell.dtype,
                lambda tensor: _find(cell, tensor) is not tensor,
            )
            if generator.bit_generator.state != drawn:
                raise CompileError(
                    "step draws random numbers: draw them in begin_sequence(), and keep them as a tensor attribute"
                )
            if _settings(cell) != settings or _holds_symbols(cell):
                raise CompileError("step writes to the cell's attributes: carry what changes in the state")
            sources = [(uid, _find(cell, tensor)) for uid, tensor in traced.invariants.items()]
        finally:
            _restore(before)
            generator.bit_generator.state = random
    return Program(traced, sources, shape["outputs"])


def _snapshot(cell: Cell) -> list[tuple[Module, dict]]:
    return [(module, dict(vars(module))) for module in cell.modules()]


def _restore(snapshot: list[tuple[Module, dict]]) -> None:
    for module, attributes in snapshot:
        vars(module).clear()
        vars(module).update(attributes)


def _holds_symbols(cell: Cell) -> bool:
    return any(isinstance(v, compiler.Symbol) for module in cell.modules() for v in vars(module).values())


def _find(cell: Cell, tensor: Tensor):
    """Where the cell keeps `tensor`, as (attributes, name, key); the tensor itself if it is not an attribute."""
    for module in cell.modules():
        for name, value in vars(module).items():
            if value is tensor:
                return vars(module), name, None
            if isinstance(value, list | tuple | dict):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                for key, item in items:
                    if item is tensor:
                        return vars(module), name, key
    return tensor
