"""The compiled road of :func:`scan`: a cell's step becomes a program, and the whole loop one node of the tape."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import compile as compiler
from .. import config, ops
from ..core import Op, Tensor, apply, pull_back
from ..core.tensor import link
from ..errors import CompileError
from ..nn.dropout import keep_masks
from . import nest
from .arrange import Arrangement, solid
from .cell import Cell
from .eager import scan_eager
from .known import PROGRAMS, Call, known_of
from .ragged import RaggedLoop
from .settings import drawn, find, look_up, read_settings, trial
from .steps import Steps


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
        self.loops: dict[tuple, _Loop] = {}
        where = dict(sources)
        self.plain = [where[s.uid] for s in self.bases] if all(s.uid in where for s in self.bases) else None
        self._leaves = {s.uid: s for s in compiler.leaves(self.bases)}
        self._wanted: tuple[int, list] = (0, [])

    def draw(self, time: int, batch: int) -> list[np.ndarray]:
        """The random masks of a sequence, (T, B, ...), which the loops take as further inputs."""
        drawn = self.traced.drawn
        if not drawn:
            return []
        return keep_masks([x.shape[1:] for x in self.traced.inputs[-len(drawn) :]], drawn, time, batch)

    def base_tensors(self, batch: int) -> list[Tensor] | None:
        """Today's tensors, or None if they no longer have the shapes and dtypes of the trace.

        What is computed from parameters alone runs on the tape here.
        """
        if self.plain is not None:
            tensors = [look_up(source) for source in self.plain]
        else:
            values = {uid: look_up(source) for uid, source in self.sources}
            if not all(_fits(t, self._leaves[uid], batch) for uid, t in values.items() if uid in self._leaves):
                return None
            tensors = compiler.evaluate(self.bases, values)
        known, wanted = self._wanted
        if known != batch:
            rows = compiler.row_constants(self.traced)
            shapes = [(batch, *s.shape[1:]) if s.uid in rows else s.shape for s in self.bases]
            wanted = [(shape, s.dtype) for shape, s in zip(shapes, self.bases)]
            self._wanted = batch, wanted
        return tensors if [(t.data.shape, t.data.dtype) for t in tensors] == wanted else None

    def loop(self, title: str, train: bool, args) -> _Loop:
        """The loop for these arguments: which of them need gradients decides what it computes."""
        n_inputs, n_states = len(self.traced.inputs), len(self.traced.states)
        wanted = tuple([a.requires_grad for a in args]) if train else ()
        found = self.loops.get(wanted)
        if found is not None:
            return found
        with compiler.making:
            if wanted not in self.loops:
                flags = wanted or (False,) * len(args)
                uids = {s.uid for s, w in zip(self.bases, flags[n_inputs + n_states :]) if w}
                executable = compiler.Executable(compiler.Plan(self.traced, flags[:n_inputs], uids), title)
                self.loops[wanted] = _Loop(self, executable, n_inputs, n_states, train)
            return self.loops[wanted]


def _fits(tensor: Tensor, symbol, batch: int) -> bool:
    shape = tuple(batch if n == compiler.BATCH else n for n in symbol.shape)
    return tensor.shape in (shape, symbol.shape) and tensor.dtype == symbol.dtype


class _Loop:
    """A compiled loop as an operation of the tape.

    How the caller wants its axes (:class:`Arrangement`) is done on arrays here: moved on the tape, each would be a
    node more.
    """

    def __init__(self, program: Program, executable, n_inputs: int, n_states: int, train: bool):
        self.program, self.executable, self.train = program, executable, train
        self.n_inputs, self.n_arguments = n_inputs, n_inputs + n_states
        self.n_outputs, self.n_states = len(program.traced.outputs), n_states
        everything = tuple(range(self.n_arguments + len(program.bases)))
        self.ragged = RaggedLoop(program.traced, program.bases, executable, train)
        self.op = Op("recurrent_loop", self.forward, joint_vjp=self.backward, untyped=everything, fresh=True)

    def forward(self, *arrays, tape):
        n, dtype = self.n_arguments, self.executable.dtype
        return self.run(arrays[: self.n_inputs], arrays[self.n_inputs : n], [solid(a, dtype) for a in arrays[n:]], tape)

    def record(self, x: Tensor, states: list[Tensor], bases: list[Tensor], arrays: list, arrange: Arrangement) -> Any:
        """The results as tensors of the tape; `arrays` are those of `bases`, as :meth:`run` takes them."""
        tape = {"arrange": arrange}
        values = [s.data for s in states]
        out = self.run((x.data,), values, arrays, tape)
        if self.train:
            return link(self.op, (x, *states, *bases), (x.data, *values, *arrays), {"tape": tape}, out)
        return [Tensor(a) for a in out]

    def run(self, inputs, states, bases: list[np.ndarray], tape: dict) -> tuple:
        """Outputs and final states; `bases` are contiguous, and of the loop's dtype."""
        arrange, dtype = tape["arrange"], self.executable.dtype
        if arrange.moves:
            inputs = map(arrange.inward, inputs)
        inputs = [solid(x, dtype) for x in inputs]
        time, batch = inputs[0].shape[:2]
        states = [solid(s, dtype) for s in states]
        ys, finals, tape["context"] = self.executable.forward(inputs, states, bases, time, batch, self.train)
        if arrange.moves:
            ys = map(arrange.outward, ys)
        return (*ys, *finals) if arrange.stacked else (*ys, *[s[0] for s in finals])

    def backward(self, gs: dict, out, *args, needs, tape):
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, tape)
        context = tape["context"]
        arrange, dtype, n = tape["arrange"], self.executable.dtype, self.n_outputs
        outputs = [gs.get(i) for i in range(n)]
        if arrange.moves:
            outputs = [g if g is None else arrange.inward(g) for g in outputs]
        grads = [*outputs, *[gs.get(i) for i in range(n, n + self.n_states)]]
        grads = [g if g is None else solid(g, dtype) for g in grads]
        inputs, states, invariants = self.executable.backward(context, grads[:n], grads[n:])
        if arrange.moves:
            inputs = [g if g is None else arrange.outward(g) for g in inputs]
        return [*inputs, *states, *[invariants.get(s.uid) for s in self.program.bases]]

    def _replay(self, gs: dict, args, needs, tape):
        """Gradients that can be differentiated again: run the program on the tape."""
        arrange = tape["arrange"]
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        bases = {s.uid: a for s, a in zip(self.program.bases, tensors[self.n_arguments :])}
        results = compiler.replay(
            self.program.traced,
            [arrange.inward(x) for x in tensors[: self.n_inputs]],
            tensors[self.n_inputs : self.n_arguments],
            bases,
        )
        n = self.n_outputs
        results[:n] = [arrange.outward(y) for y in results[:n]]
        if arrange.stacked:
            results[n:] = [ops.expand_dims(s, 0) for s in results[n:]]
        return pull_back(results, gs, tensors, needs, create_graph=True)


def scan_compiled(
    cell: Cell,
    inputs: list[Tensor],
    structure,
    states: list[Tensor],
    state_structure,
    mode: str,
    arrange: Arrangement,
    steps: Steps | None = None,
    fresh: list[Tensor] | None = None,
) -> tuple[Any, Any] | None:
    """Outputs and final state; None if ``mode="auto"`` must run eagerly.

    `steps` says which steps count; `fresh` is the state of rows that begin anew, if it is not `states`.

    Raises
    ------
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    if config.grad_mode.tracer is not None:  # the step of another cell is being traced
        raise CompileError(
            f"{cell._title}: a layer runs inside a step: call its cell's step(), or run it in begin_sequence()"
        )
    found = program_of(cell, inputs, structure, states, state_structure, mode, arrange.batch_axis)
    if found is None:
        return None
    program, tensors = found
    if program.traced.drawn:
        time, batch = (inputs[0].data.shape[axis] for axis in (1 - arrange.batch_axis, arrange.batch_axis))
        inputs = [*inputs, *[Tensor(arrange.outward(mask)) for mask in program.draw(time, batch)]]
    args = (*inputs, *states, *tensors)
    train = config.is_grad_enabled() and any(a.requires_grad for a in args)
    loop = program.loop(cell._title, train, args)
    if structure is nest.LEAF and Call.may_come_again(program, tensors):
        known = known_of(cell)
        call = Call(program, loop, tensors, states, state_structure, known.settings.last)
        known.remember(inputs[0], arrange, call)
    if steps is None:
        results = apply(loop.op, args, {"tape": {"arrange": arrange}})
    else:
        results = loop.ragged.run(inputs, states, fresh, tensors, steps.ragged(arrange), arrange.stacked)
    n = loop.n_outputs
    return nest.unflatten(program.output_structure, results[:n]), nest.unflatten(state_structure, results[n:])


# ---- programs of a cell


def program_of(
    cell: Cell, inputs, structure, states, state_structure, mode: str, batch_axis: int = 1
) -> tuple[Program, list[Tensor]] | None:
    """The cell's program for arguments like these, traced if need be, and the tensors that it reads."""
    known = known_of(cell)
    key = (
        structure,
        state_structure,
        *[(x.data.shape[2:], x.data.dtype) for x in inputs],
        *[(s.data.shape[1:], s.data.dtype) for s in states],
        known.settings.read(cell),
    )
    batch = inputs[0].data.shape[batch_axis]
    for retry in (False, True):
        program = None if retry else known.programs.get(key)
        if program is None:
            with compiler.making:
                program = None if retry else known.programs.get(key)
                if program is None:
                    if len(known.programs) >= PROGRAMS:
                        known.programs.pop(next(iter(known.programs)))
                    program = known.programs[key] = trace_program(cell, inputs, structure, states, state_structure)
        if isinstance(program, str):
            break
        tensors = program.base_tensors(batch)
        if tensors is not None:
            return program, tensors
    else:  # not even those that it was traced with: a constant that does not have a row for each batch row
        program = "a constant has other rows than the batch; make it in begin_sequence(batch_size)"
    if mode == "compiled" or key not in known.warned:
        _raise_as_eager(cell, inputs, structure, states, state_structure, batch_axis)
    if mode == "compiled":
        raise CompileError(f"{cell._title}: {program}")
    if mode == "auto" and key not in known.warned:
        known.warned.add(key)
        warnings.warn(f"{cell._title} runs eagerly: {program}", RuntimeWarning, stacklevel=4)
    return None


def _raise_as_eager(cell: Cell, inputs, structure, states, state_structure, batch_axis: int) -> None:
    """Run one step on the tape: what eager mode rejects is rejected with the same error."""
    with compiler.making, trial(cell), config.no_grad():
        firsts = [Tensor(x.data[:1] if batch_axis else x.data[:, :1].swapaxes(0, 1)) for x in inputs]
        scan_eager(cell, firsts, structure, states, state_structure)


def trace_program(cell: Cell, inputs, structure, states, state_structure) -> Program | str:
    """The program of a step, or why there is none."""
    try:
        compiler.check_available()
        with compiler.making:
            return _trace_step(cell, inputs, structure, states, state_structure)
    except CompileError as error:
        return str(error)
    except Exception as error:  # whatever Python met that only tensors have
        return f"{type(error).__name__}: {error}, at {compiler.raised_at(error)}"


def _trace_step(cell: Cell, inputs, structure, states, state_structure) -> Program:
    shape: dict = {}

    def step(xs, ss):
        result = cell.step(nest.unflatten(structure, xs), nest.unflatten(state_structure, ss))
        if type(result) is not tuple or len(result) != 2:
            raise CompileError("step: wanted the pair (output, next_state)")
        ys, shape["outputs"] = nest.flatten(result[0])
        new, its = nest.flatten(result[1])
        if its != state_structure:
            raise CompileError(f"step: next_state: got {nest.describe(its)}, wanted {nest.describe(state_structure)}")
        return ys, new

    with trial(cell) as before:
        cell.begin_sequence(int(compiler.BATCH))
        before.restore_plain()
        settings, random = read_settings(cell), drawn(cell)
        traced = compiler.trace_step(
            step,
            [(x.shape[2:], x.dtype) for x in inputs],
            [(s.shape[1:], s.dtype) for s in states],
            states[0].dtype if states else cell.dtype,
            lambda tensor: find(cell, tensor) is not tensor,
        )
        if drawn(cell) != random:
            raise CompileError(
                "step draws random numbers: use nn.Dropout, or draw them in begin_sequence() and keep them as a tensor "
                "attribute"
            )
        if read_settings(cell) != settings or _holds_symbols(cell):
            raise CompileError("step writes to the cell's attributes: carry what changes in the state")
        sources = [(uid, find(cell, tensor)) for uid, tensor in traced.invariants.items()]
    return Program(traced, sources, shape["outputs"])


def _holds_symbols(cell: Cell) -> bool:
    return any(isinstance(v, compiler.Symbol) for module in cell.modules() for v in vars(module).values())
