"""Plan of a step: its program, its adjoint, the values saved between them, and their schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import CompileError
from ..autodiff.adjoint import adjoint
from ..frontend.trace import Trace, recording
from ..ir import verify
from ..ir.heads import heads_of
from ..ir.program import StepProgram, leaves, wanted_invariants
from ..ir.program_ops import ADD, EXPAND, MATMUL, SLICE, is_ours
from ..ir.symbol import Symbol
from ..ir.walk import reachable
from ..ir.weight_slices import resolve_slice
from .buffers import Buffer, BufferKind, LoopOutput, Place
from .levels import READS_A_ROW
from .schedule import CHEAP, Schedule
from .verify import verify_plan, verify_schedule

SAVE_ABOVE = 12  # the backward loop recomputes what costs at most this much (a tanh and a little)


class Plan:
    """All decisions about one traced step that do not depend on T, the batch or values.

    Parameters
    ----------
    traced : StepProgram
    wanted_inputs : tuple of bool
        Inputs that need gradients.
    wanted : set of uids
        Invariant leaves that need gradients.
    watch : callable
        Makes the context in which derivative rules run, of their trace.
    """

    def __init__(
        self,
        traced: StepProgram,
        wanted_inputs: tuple,
        wanted: set[int],
        watch: Callable[[Trace], Any] = recording,
    ):
        self.traced, self.watch = traced, watch
        self.wanted_inputs = wanted_inputs
        self.wanted = wanted_invariants(traced, wanted)
        self.history: set[int] = set()  # states kept for all steps
        self.aliases: dict[int, int] = {}  # output -> state it equals
        # such an output is the history of the state, which is then a result and no copy
        for i, output in enumerate(traced.outputs):
            for j, state in enumerate(traced.new_states):
                if output is state and j not in self.aliases.values() and i not in self.aliases:
                    self.aliases[i] = j

    # ---- forward

    def schedule_forward(
        self, saved: dict[int, Symbol], history: set[int]
    ) -> tuple[Schedule, list[Buffer], list[Buffer]]:
        """The forward loop, with the buffers of its states and outputs.

        Parameters
        ----------
        saved : dict
            uid -> Symbol: values that are kept for all steps.
        history : set of int
            Numbers of the states that are kept for all steps; so are those that are outputs.
        """
        t = self.traced
        results = set(self.aliases.values())
        kept = history | results
        states = [
            Buffer(f"h{i}", BufferKind.STATES if i in kept else BufferKind.DOUBLE_BUFFER, [s.width], "f_", i in results)
            for i, s in enumerate(t.states)
        ]
        sources = {x.uid: Place(Buffer(f"x{i}", BufferKind.EXTERNAL, [x.width])) for i, x in enumerate(t.inputs)}
        sources |= {s.uid: Place(b) for s, b in zip(t.states, states)}
        roots = [LoopOutput(s, Place(b, next_step=True)) for s, b in zip(t.new_states, states)]
        outputs = []
        for i, y in enumerate(t.outputs):
            if i in self.aliases:
                outputs.append(states[self.aliases[i]])
                continue
            buffer = Buffer(f"y{i}", BufferKind.PER_STEP, [y.width], "f_", True)
            outputs.append(buffer)
            roots.append(LoopOutput(y, Place(buffer)))
        return Schedule(roots, sources, "f_", saved.values()), states, outputs

    def inference(self) -> tuple[Schedule, list[Buffer], list[Buffer]]:
        found = self.schedule_forward({}, set())
        if verify.enabled:
            verify_schedule(found[0])
        return found

    # ---- backward

    def differentiate(self) -> None:
        """Find the adjoint, choose the values that the forward loop saves, and schedule both loops."""
        t, limit = self.traced, self.traced.limit
        others = any(not is_ours(s.op) for s in t.expressions.values() if s.op is not None)
        found = []
        for _ in range(1 + others):  # rules of a user's are run twice: what differs would be frozen
            trace = Trace.extending(t)
            with self.watch(trace) if others else recording(trace):
                adj = adjoint(trace, t.outputs, t.new_states, t.inputs, t.states, self.wanted_inputs, self.wanted)
            if trace.refused:
                raise CompileError(trace.refused)
            found.append(adj.lines() if others else [])
        if found[0] != found[-1]:
            raise CompileError(
                "a derivative rule is not the same twice: it depends on what a compiled loop would freeze"
            )
        self.adjoint = adj
        self.constants = trace.added(t)
        self.deferred: dict[int, list[tuple[Symbol, Symbol]]] = {}  # input -> products done after the loop
        for i, dx in enumerate(adj.inputs):
            # no step reads the gradient of an input: it is one large product over all steps after the loop
            terms = _product_terms(dx) if dx is not None else None
            if terms is not None:
                self.deferred[i] = terms
        available = {s.uid for s in (*t.inputs, *t.states, *t.new_states)}
        roots = self._reverse_values()
        saved = self._choose_saved(roots, limit, available)
        # products and look-ups after the loop need them for all steps, at any price
        operands = [_whole(p.a) for p in adj.products] + [_whole(s.rows) for s in adj.scatters]
        saved |= {a.uid: a for a in operands if a.uid < limit and a.uid not in available}
        # a state is kept for all steps if anything reads it, before the step or after
        used = _reached(roots, available | set(saved)) | {a.uid for a in operands}
        self.saved = saved
        self.history = {
            i for i, (old, new) in enumerate(zip(t.states, t.new_states)) if old.uid in used or new.uid in used
        }
        self.forward, self.states, self.outputs = self.schedule_forward(saved, self.history)
        self._schedule_reverse()
        if verify.enabled:
            verify_plan(self)

    def _reverse_values(self) -> list[Symbol]:
        adj = self.adjoint
        out = list(adj.states)
        out += [g for i, g in enumerate(adj.inputs) if g is not None and i not in self.deferred]
        out += [g for terms in self.deferred.values() for g, _ in terms]
        out += [p.g for p in adj.products] + [r.g for r in adj.reductions]
        out += [s.g for s in adj.scatters]
        return out

    def _choose_saved(self, roots: list[Symbol], limit: int, available: set[int]) -> dict[int, Symbol]:
        """Forward values that the reverse step reads and that are expensive to compute again."""

        def forward(s: Symbol) -> bool:
            return s.uid < limit and s.op is not None and s.op not in READS_A_ROW

        read = [s for s in reachable(roots, lambda s: [] if forward(s) else s.varying_operands) if forward(s)]
        saved: dict[int, Symbol] = {}
        known = set(available)
        # operands first, so that what is computed from saved values is priced as such
        for s in sorted(read, key=lambda s: s.uid):
            if s.uid in available or not s.varying:
                continue
            if _cost(s, known, SAVE_ABOVE) > SAVE_ABOVE:
                for a in _narrow_operands(s, known):  # they take less room than what they are repeated to
                    if _cost(a, known, CHEAP) > CHEAP:
                        saved[a.uid] = a
                        known.add(a.uid)
            if _cost(s, known, SAVE_ABOVE) > SAVE_ABOVE:
                saved[s.uid] = s
                known.add(s.uid)
        return saved

    def _schedule_reverse(self) -> None:
        """Schedule the backward loop over states and saved values of the forward loop."""
        t, adj = self.traced, self.adjoint
        sources = {x.uid: Place(Buffer(f"x{i}", BufferKind.EXTERNAL, [x.width])) for i, x in enumerate(t.inputs)}
        for i, (new, buffer) in enumerate(zip(t.new_states, self.states)):
            if i in self.history:
                sources[new.uid] = Place(buffer, next_step=True)
        for i, (old, buffer) in enumerate(zip(t.states, self.states)):
            if i in self.history:
                sources[old.uid] = Place(buffer)
        for uid in self.saved:
            sources.setdefault(uid, self.forward.kept[uid])
        self.carries = [Buffer(f"c{i}", BufferKind.DOUBLE_BUFFER, [s.width], "r_") for i, s in enumerate(t.states)]
        self.seeds = [Buffer(f"g{i}", BufferKind.EXTERNAL, [y.width]) for i, y in enumerate(t.outputs)]
        for s in leaves(self._reverse_values()):
            kind, index = s.leaf or ("", 0)
            if kind == "cotangent":
                sources[s.uid] = Place(self.seeds[index])
            elif kind == "carry":
                sources[s.uid] = Place(self.carries[index])
        roots = [LoopOutput(g, Place(b, next_step=True)) for g, b in zip(adj.states, self.carries)]
        self.input_buffers: dict[int, Buffer] = {}
        for i, g in enumerate(adj.inputs):
            if g is not None and i not in self.deferred:
                self.input_buffers[i] = Buffer(f"dx{i}", BufferKind.PER_STEP, [g.width], "r_", True)
                roots.append(LoopOutput(g, Place(self.input_buffers[i])))
        per_step = {g.uid: g for g in (*(p.g for p in adj.products), *(s.g for s in adj.scatters))}
        adjacent: dict[tuple, dict[int, Symbol]] = {}  # they meet the same left operand: one product for all
        for p in sorted(adj.products, key=lambda p: resolve_slice(p.w).axes[1][1:]):
            adjacent.setdefault((resolve_slice(p.w).base.uid, p.a.uid), {})[p.g.uid] = p.g
        per_step |= {g.uid: g for terms in self.deferred.values() for g, _ in terms}
        self.totals: dict[int, Buffer] = {}  # reductions that the loop adds up itself
        buffers: dict[tuple[int, BufferKind], Buffer] = {}  # equal ones share a buffer
        for i, r in enumerate(adj.reductions):
            if r.g.uid not in per_step or not _is_row(r.v):
                each = r.v.ndim == 2 and r.v.shape[0] != 1  # row by itself, or all together
                kind = BufferKind.ACCUMULATOR if each else BufferKind.PARTIAL_SUM
                if (r.g.uid, kind) not in buffers:
                    name = f"{'total' if each else 'sum'}{i}"
                    buffers[r.g.uid, kind] = Buffer(name, kind, [r.g.width], "r_")
                    roots.append(LoopOutput(r.g, Place(buffers[r.g.uid, kind]), add=True))
                self.totals[i] = buffers[r.g.uid, kind]
        self.reverse = Schedule(
            roots, sources, "r_", per_step.values(), [list(group.values()) for group in adjacent.values()]
        )


def _narrow_operands(s: Symbol, given: set[int]) -> list[Symbol]:
    """Operands of repetitions that elementwise maths computes `s` from, and that have fewer features."""

    def operands(v: Symbol) -> list[Symbol]:
        known = v.uid in given and v is not s
        return [] if known or v.op is None or v.lowering.kind != "elementwise" else v.varying_operands

    found = [v.args[0] for v in reachable([s], operands) if v.op is EXPAND]
    return sorted((a for a in found if a.op is not None and a.uid not in given), key=lambda a: a.uid)


def _whole(s: Symbol) -> Symbol:
    """The leaf that `s` is columns of, or `s` itself."""
    return s.args[0] if s.op is SLICE else s


def _is_row(v: Symbol) -> bool:
    return v.ndim == 1 or (v.ndim == 2 and v.shape[0] == 1)


def _product_terms(s: Symbol) -> list[tuple[Symbol, Symbol]] | None:
    """Terms of a sum of products; None if it has others."""
    if s.op is None:
        return None
    if s.op is MATMUL:
        return [(s.args[0], s.args[1])] if heads_of(s.args[1]) is None else None
    if s.op is ADD and all(isinstance(a, Symbol) and a.varying for a in s.args):
        sides = [_product_terms(a) for a in s.args]
        if sides[0] is not None and sides[1] is not None:
            return sides[0] + sides[1]
    return None


def _reached(roots: list[Symbol], stop: set[int]) -> set[int]:
    return {s.uid for s in reachable(roots, lambda s: [] if s.uid in stop else s.varying_operands)}


def _cost(s: Any, given: set[int], budget: int) -> int:
    """Price of computing `s` from values in `given`, counting no further than `budget`."""
    if not isinstance(s, Symbol) or not s.varying or s.uid in given or s.op is None:
        return 0
    if s.lowering.kind in ("matmul", "reduce"):
        return budget + 1
    # of a tree: an operand that is read twice counts twice
    total = s.lowering.cost
    for a in s.args:
        if total > budget:
            break
        total += _cost(a, given, budget - total)
    return total
