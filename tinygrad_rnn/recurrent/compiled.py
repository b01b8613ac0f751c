"""The compiled road of :func:`scan`: a cell's step becomes a program, and the whole loop one node of the tape."""

from __future__ import annotations

import threading
import warnings
import weakref
from typing import Any, NamedTuple

import numpy as np

from .. import compile as compiler
from .. import config
from ..core import Op, Tensor, apply, grad
from ..errors import CompileError
from ..nn.module import Module
from . import nest
from .cell import Cell

_programs: weakref.WeakKeyDictionary[Cell, dict] = weakref.WeakKeyDictionary()
_tracing = threading.RLock()


class Program(NamedTuple):
    """One compiled form of a cell: for one structure of inputs and states, one dtype and one set of settings."""

    traced: Any
    sources: list[tuple[int, Any]]  # uid of an invariant, and how to find its tensor today
    bases: list  # symbols that the loops read: invariants, and what is computed from them before the loop
    output_structure: Any
    executables: dict  # (inputs that need gradients, bases that do) -> Executable


def scan_compiled(cell: Cell, inputs: list[Tensor], structure, state, mode: str) -> tuple[Any, Any] | None:
    """Outputs and final state; None where ``mode="auto"`` has to run eagerly.

    Raises
    ------
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    states, state_structure = nest.flatten(state)
    program = program_of(cell, inputs, structure, states, state_structure, mode)
    if program is None:
        return None
    bases = _evaluate_bases(cell, program)
    args = (*inputs, *states, *bases)
    train = config.is_grad_enabled() and any(a.requires_grad for a in args)
    wanted = tuple(bool(train and a.requires_grad) for a in args)
    executable = program.executables.get(wanted)
    if executable is None:
        executable = program.executables[wanted] = _executable(cell, program, wanted, len(inputs), len(states))
    run = _Run(program, executable, len(inputs), len(states), train)
    op = Op("recurrent_loop", run.forward, joint_vjp=run.backward, untyped=tuple(range(len(args))))
    results = apply(op, args, {"tape": {}})
    n = len(program.traced.outputs)
    return nest.unflatten(program.output_structure, results[:n]), nest.unflatten(state_structure, results[n:])


class _Run:
    """One call of a compiled loop, as the operation that the tape records."""

    def __init__(self, program: Program, executable, n_inputs: int, n_states: int, train: bool):
        self.program, self.executable, self.train = program, executable, train
        self.n_inputs, self.n_arguments = n_inputs, n_inputs + n_states

    def forward(self, *arrays, tape):
        dtype = self.executable.dtype
        inputs = [np.ascontiguousarray(x, dtype) for x in arrays[: self.n_inputs]]
        states = arrays[self.n_inputs : self.n_arguments]
        bases = arrays[self.n_arguments :]
        time, batch = arrays[0].shape[:2]
        named = {f"b{s.uid}": np.ascontiguousarray(a) for s, a in zip(self.program.bases, bases)}
        ys, finals, tape["context"] = self.executable.forward(inputs, states, named, time, batch, self.train)
        return (*ys, *finals)

    def backward(self, gs: dict, out, *args, needs, tape):
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs)
        traced, context = self.program.traced, tape["context"]
        dtype, n = self.executable.dtype, len(traced.outputs)
        lead = (context.time, context.batch)

        def cotangent(i, shape):
            g = gs.get(i)
            return np.zeros(shape, dtype) if g is None else np.ascontiguousarray(g, dtype)

        outputs = [cotangent(i, (*lead, *y.shape[1:])) for i, y in enumerate(traced.outputs)]
        finals = [cotangent(n + i, (lead[1], *s.shape[1:])) for i, s in enumerate(traced.states)]
        inputs, states, invariants = self.executable.backward(context, outputs, finals)
        grads = [*inputs, *states, *(invariants.get(s.uid) for s in self.program.bases)]
        return [g if need else None for g, need in zip(grads, needs)]

    def _replay(self, gs: dict, args, needs):
        """Gradients that can be differentiated again: run the program on the tape."""
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        bases = {s.uid: a for s, a in zip(self.program.bases, tensors[self.n_arguments :])}
        results = compiler.replay(
            self.program.traced, tensors[: self.n_inputs], tensors[self.n_inputs : self.n_arguments], bases
        )
        pairs = [(results[i], g) for i, g in gs.items() if results[i].requires_grad]
        wanted = [t for t, need in zip(tensors, needs) if need]
        found = iter(
            grad([y for y, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True)
        )
        return [next(found) if need else None for need in needs]


# ---- programs


def program_of(cell: Cell, inputs, structure, states, state_structure, mode: str) -> Program | None:
    """The cell's program for arguments like these, traced if need be."""
    known = _programs.get(cell)
    if known is None:
        known = _programs[cell] = {}
    key = (
        structure,
        state_structure,
        tuple((x.data.shape[2:], x.data.dtype) for x in inputs),
        tuple((s.data.shape[1:], s.data.dtype) for s in states),
        _settings(cell),
    )
    program = known.get(key)
    if program is None:
        try:
            program = _trace(cell, inputs, structure, states, state_structure)
        except CompileError as error:
            program = str(error)
            if mode == "auto":
                warnings.warn(f"{type(cell).__name__} runs eagerly: {error}", RuntimeWarning, stacklevel=2)
        known[key] = program
    if isinstance(program, str):
        if mode == "compiled":
            raise CompileError(f"{type(cell).__name__}: {program}")
        return None
    return program


def _settings(cell: Cell) -> tuple:
    """Everything plain that a step may read: numbers, flags and strings of the cell and of its parts."""
    out = []
    for module in cell.modules():
        for name, value in vars(module).items():
            if isinstance(value, bool | int | float | str | tuple) and not name.startswith("_"):
                out.append((name, type(value), value) if _hashable(value) else (name, repr(value)))
            elif callable(value) and not isinstance(value, Module):
                out.append((name, id(value)))
    return tuple(out)


def _hashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


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
    return Program(traced, sources, compiler.bases(traced), shape["outputs"], {})


def _snapshot(cell: Cell) -> list[tuple[Module, dict]]:
    return [(module, dict(vars(module))) for module in cell.modules()]


def _restore(snapshot: list[tuple[Module, dict]]) -> None:
    for module, attributes in snapshot:
        vars(module).clear()
        vars(module).update(attributes)


def _holds_symbols(cell: Cell) -> bool:
    return any(isinstance(v, compiler.Symbol) for module in cell.modules() for v in vars(module).values())


def _find(cell: Cell, tensor: Tensor):
    """Where the cell keeps `tensor`, as (module, attribute, key); the tensor itself if it is not an attribute."""
    for module in cell.modules():
        for name, value in vars(module).items():
            if value is tensor:
                return module, name, None
            if isinstance(value, list | tuple | dict):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                for key, item in items:
                    if item is tensor:
                        return module, name, key
    return tensor


def _evaluate_bases(cell: Cell, program: Program) -> list[Tensor]:
    """Today's tensors that the loops read; what is computed from parameters alone runs on the tape here."""
    values: dict[int, Any] = {}
    for uid, source in program.sources:
        if isinstance(source, Tensor):
            values[uid] = source
            continue
        module, name, key = source
        value = vars(module)[name]
        values[uid] = value if key is None else value[key]
    return compiler.evaluate(program.bases, values)


def _executable(cell: Cell, program: Program, wanted: tuple, n_inputs: int, n_states: int):
    uids = {s.uid for s, w in zip(program.bases, wanted[n_inputs + n_states :]) if w}
    plan = compiler.Plan(program.traced, wanted[:n_inputs], uids)
    return compiler.Executable(plan, type(cell).__name__)
