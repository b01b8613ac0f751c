"""Reports of what a step became: programs, schedules, saved values, costs, generated source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .codegen.layout import Layout
from .ir.heads import base_of, heads_of
from .ir.printer import Printer, computed, is_reduction
from .ir.symbol import Symbol
from .ir.weight_slices import resolve_slice
from .runtime.executable import Executable
from .schedule.buffers import Sum
from .schedule.plan import Plan
from .schedule.printer import SchedulePrinter, describe_buffers


class Saved(NamedTuple):
    """A value that is kept for the backward loop."""

    name: str
    expression: str
    bytes: int  # of one row at one time step; 0 for a result, which is there anyway


class Loop(NamedTuple):
    """A generated loop.

    ``schedule`` tells its levels, ``sweeps`` what each pass over a row computes, ``buffers`` the values in each buffer.
    FLOPs are those of one row at one time step; an elementwise operation counts as one.
    """

    name: str
    schedule: list[str]
    sweeps: list[str]
    buffers: list[str]
    matrix_flops: int
    other_flops: int
    workspace: int  # bytes for the T and B of the report, results included; 0 if they are not known
    source: str
    path: Path

    @property
    def flops(self) -> int:
        return self.matrix_flops + self.other_flops


class StepReport:
    """One compiled step, explained; ``str()`` is the whole report.

    Parameters
    ----------
    executable : Executable
    names : mapping
        uid of an input, state or invariant -> its name.
    outputs, states : sequences of str
        Names of the results.
    train : bool
        Whether any gradient is wanted.
    size : (T, B), optional
        For totals.

    Attributes
    ----------
    prologue, program, adjoint, after : lists of str
        What runs on the tape before the loop; one step forwards and backwards; what is done after the backward loop.
    inference, forward, backward : Loop
        `forward` is the one that saves; without gradients, the last two are None.
    saved : list of Saved
    recomputed : list of str
        Forward values that the backward loop computes again.
    saved_bytes : int
        Of one row at one time step; `saved_total` for the T and B given, with padding.
    after_flops, after_sums : int
        Of products and sums after the backward loop, for each row and time step.
    """

    def __init__(
        self,
        executable: Executable,
        names: Mapping[int, str],
        outputs: Sequence[str],
        states: Sequence[str],
        train: bool,
        size: tuple[int, int] | None = None,
    ):
        self.executable, self.size, self.dtype = executable, size, executable.dtype
        self.plan, traced = executable.plan, executable.plan.traced
        self.names = dict(names)
        self.printer = printer = SchedulePrinter(self.names)
        self.leaves = [_leaf_line(printer, s) for s in (*traced.inputs, *traced.states)]
        self.leaves += [_leaf_line(printer, s) for s in _invariants(self.plan)]
        forward = computed(traced.outputs + traced.new_states)
        self.prologue = _prologue(printer, self.plan)
        self.values = [s for s in forward if s.varying]
        self.program = [printer.line(s) for s in self.values]
        self.results = [f"{name} = {printer.name(s)}" for name, s in zip(outputs, traced.outputs)]
        self.results += [f"next {name} = {printer.name(s)}" for name, s in zip(states, traced.new_states)]
        self.inference = self._loop(executable.inference[0])
        self.forward: Loop | None = None
        self.backward: Loop | None = None
        self.adjoint: list[str] = []
        self.after: list[str] = []
        self.saved: list[Saved] = []
        self.recomputed: list[str] = []
        self.after_flops = self.after_sums = self.saved_total = 0
        if train:
            self._explain_backward({s.uid for s in forward}, outputs, states)

    @property
    def saved_bytes(self) -> int:
        return sum(s.bytes for s in self.saved)

    @property
    def loops(self) -> list[Loop]:
        return [loop for loop in (self.inference, self.forward, self.backward) if loop is not None]

    # ---- the backward side

    def _explain_backward(self, forward: set[int], outputs, states) -> None:
        layout, reverse, _ = self.executable.training
        plan, printer = self.plan, self.printer
        for s in plan.reverse.live.values():
            kind, index = s.leaf or ("", 0)
            if kind in ("cotangent", "carry"):
                self.names[s.uid] = f"grad({outputs[index] if kind == 'cotangent' else 'next ' + states[index]})"
        self.forward, self.backward = self._loop(layout), self._loop(reverse)
        given = forward | set(plan.saved)
        values = [s for s in plan.reverse.order if s.varying and s.uid not in given]
        values += [s for g in plan.adjoint.inputs if g is not None for s in computed([g], given) if s.varying]
        self.adjoint = [printer.line(s) for s in sorted({s.uid: s for s in values}.values(), key=lambda s: s.uid)]
        self.adjoint += [
            f"grad({printer.name(x)}) = {printer.name(g)}" + (", after the loop" if i in plan.deferred else "")
            for i, (x, g) in enumerate(zip(plan.traced.inputs, plan.adjoint.inputs))
            if g is not None
        ]
        self.adjoint += [
            f"grad({name}) = {printer.name(g)}, for the step before" for name, g in zip(states, plan.adjoint.states)
        ]
        self._explain_saved(layout)
        again = {s.uid: s for _, values in reverse.emitter.loops for s in values if s.uid in forward}
        self.recomputed = [f"{s.name} = {printer.expression(s)}" for _, s in sorted(again.items())]
        self._explain_after()

    def _explain_saved(self, layout: Layout) -> None:
        plan, item = self.plan, self.dtype.itemsize
        kept = [(plan.states[i], plan.traced.states[i], "before each step, and the last") for i in sorted(plan.history)]
        kept += [
            (plan.forward.kept[uid].buffer, s, self.printer.expression(s)) for uid, s in sorted(plan.saved.items())
        ]
        for buffer, s, text in kept:
            size = 0 if buffer.result else s.width * item
            self.saved.append(Saved(self.printer.name(s), text, size))
        if self.size is not None:
            buffers = dict.fromkeys(b for b, _, _ in kept if not b.result)
            self.saved_total = sum(layout.sizes.elements(b, *self.size) for b in buffers) * item

    def _explain_after(self) -> None:
        adj, printer = self.plan.adjoint, self.printer
        for i, terms in self.plan.deferred.items():
            text = " + ".join(f"{printer.name(g)} @ {printer.name(w)}" for g, w in terms)
            self.after.append(f"grad({printer.name(self.plan.traced.inputs[i])}) = {text}  # all steps at once")
            self.after_flops += sum(2 * g.width * w.shape[1] for g, w in terms)
        products: dict[tuple, list] = {}
        for p in adj.products:
            heads = heads_of(p.w)
            if heads is not None:
                shape = f"{heads.heads} of ({heads.rows}, T B) @ (T B, {heads.columns})"
                self.after.append(
                    f"grad({printer.name(p.w)}) += {printer.name(p.a)}.T @ {printer.name(p.g)}  # {shape}"
                )
                self.after_flops += 2 * heads.multiplications
                continue
            view = resolve_slice(p.w)
            products.setdefault((view.base.uid, view.transposed, p.a.uid, view.axes[0]), []).append(p)
        for found in products.values():
            found.sort(key=lambda p: resolve_slice(p.w).axes[1])
            target, a = printer.joined([p.w for p in found], 1), printer.name(found[0].a)
            g, rows, columns = self._side_by_side(found), found[0].a.width, sum(p.g.width for p in found)
            if target.endswith(".T"):
                target, a, g, rows, columns = target[:-2], g, a, columns, rows
            self.after.append(f"grad({target}) += {a}.T @ {g}  # ({rows}, T B) @ (T B, {columns})")
            self.after_flops += 2 * rows * columns
        for s in adj.scatters:
            row = f"{printer.name(s.table)}[{printer.name(s.rows)}]"
            self.after.append(f"grad({row}) += {printer.name(s.g)}  # for each step and row, in order")
        sums: dict[int, list] = {}
        for i, r in enumerate(adj.reductions):
            if i in self.plan.totals:
                name = self.plan.totals[i].name
                self.after.append(f"grad({printer.name(r.v)}) += {name}, the sum of {printer.name(r.g)}")
            else:
                sums.setdefault(resolve_slice(r.v).base.uid, []).append(r)
        for parts in sums.values():
            parts.sort(key=lambda r: resolve_slice(r.v).axes[-1:])
            target = printer.joined([r.v for r in parts], -1)
            self.after.append(f"grad({target}) += sum of {self._side_by_side(parts)}  # over steps and rows")
        self.after_sums = sum({r.g.uid: r.g.width for parts in sums.values() for r in parts}.values())
        if self.prologue and self.after:
            self.after.append("the tape goes on to what the values before the loop were computed from")

    def _side_by_side(self, parts: Sequence) -> str:
        """The cotangents of products or sums, in the order of their columns."""
        names = [self.printer.name(p.g) for p in parts]
        return names[0] if len(names) == 1 else f"[{' | '.join(names)}]"

    # ---- loops

    def _loop(self, layout: Layout) -> Loop:
        schedule, item = layout.schedule, self.dtype.itemsize
        terms = [term for p in schedule.products for m in p.members for term in m.terms]
        matrix = sum(2 * _multiplications(a, w) for a, w in terms)
        other = sum(s.width for _, values in layout.emitter.loops for s in values if _counts(s))
        other += sum(a.width for s in schedule.order if is_reduction(s) for a in s.args)
        other += sum(a.out.width * len(a.epilogue_terms) for a in schedule.accumulations.values())
        other += sum(s.width * (len(s.value.terms) - 1) for s in schedule.stores if isinstance(s.value, Sum))
        sweeps = [
            f"level {level}: {', '.join(s.name for s in sorted(values, key=lambda s: s.uid))}"
            for level, values in layout.emitter.loops
            if values
        ]
        own = [b for b in layout.book.buffers if b.owner == schedule.prefix]
        workspace = sum(layout.sizes.elements(b, *self.size) for b in own) * item if self.size else 0
        return Loop(
            layout.name,
            self.printer.schedule(schedule),
            sweeps,
            self._buffers(layout),
            matrix,
            other,
            workspace,
            layout.source,
            layout.path,
        )

    def _buffers(self, layout: Layout) -> list[str]:
        texts = describe_buffers(layout.schedule, layout.book.buffers)
        rows = (layout.sizes.ld(buffer) * self.dtype.itemsize for buffer in layout.book.buffers)
        return [f"{text}; {size} bytes a row" for text, size in zip(texts, rows)]

    # ---- text

    def sections(self, shown: Collection[Path] = ()) -> list[tuple[str, list[str]]]:
        """Titles and lines of the report; sources in `shown` are named only."""
        out = [
            ("leaves (and their names in the source)", self.leaves),
            ("before the loop, on the tape", self.prologue or ["nothing"]),
            ("one step", self.program + self.results),
        ]
        if self.forward is None or self.backward is None:
            out += [("inference loop", _loop_lines(self.inference)), ("backward", ["no gradient is wanted"])]
        else:
            saved = [f"{s.name}: {s.bytes} bytes{'' if s.bytes else ' (a result)'}, {s.expression}" for s in self.saved]
            out += [
                ("forward loop", _loop_lines(self.forward)),
                ("saved for the backward loop, of each row at each step", saved or ["nothing"]),
                ("one step backwards", self.adjoint),
                ("backward loop, from late to early", _loop_lines(self.backward)),
                ("recomputed there", self.recomputed or ["nothing"]),
                ("after the backward loop", self.after or ["nothing"]),
            ]
        out.append(("cost", self._cost()))
        for loop in self.loops:
            body = ["as above"] if loop.path in shown else _body(loop.source)
            out.append((f"generated source, {loop.name}: {loop.path}", body))
        return out

    def _cost(self) -> list[str]:
        rows = [("forward", self.inference.matrix_flops, self.inference.other_flops)]
        if self.backward is not None and self.forward is not None:
            rows = [("forward", self.forward.matrix_flops, self.forward.other_flops)]
            rows += [("backward", self.backward.matrix_flops, self.backward.other_flops)]
            rows += [("after", self.after_flops, self.after_sums)]
        total = self.size[0] * self.size[1] if self.size else 0
        lines = []
        for name, matrix, other in rows:
            lines.append(f"{name:<9}{matrix + other:>12,} FLOPs a row and step ({matrix:,} in products)")
            if total:
                lines[-1] += f", {(matrix + other) * total:,} for T={self.size[0]}, B={self.size[1]}"  # type: ignore[index]
        if self.backward is not None:
            lines.append(f"{'saved':<9}{self.saved_bytes:>12,} bytes a row and step")
            if total:
                lines[-1] += f", {self.saved_total:,} in all (rows padded to whole vectors)"
        if total:
            lines += [f"memory   {s.workspace:>12,} bytes of buffers and results, {s.name}" for s in self.loops]
        return lines

    def text(self, shown: Collection[Path] = ()) -> str:
        return "\n\n".join("\n".join([title, *("  " + s for s in lines)]) for title, lines in self.sections(shown))

    def __str__(self) -> str:
        return self.text()


def _multiplications(a: Symbol, w: Symbol) -> int:
    """Multiply-adds of one row of a product."""
    heads = heads_of(w)
    return a.width * w.shape[1] if heads is None else heads.multiplications


def _counts(s: Symbol) -> bool:
    """Whether `s` is arithmetic, and not another view of a value."""
    return s.op is not None and s.op.lowering is not None and s.op.lowering.cost > 0


def _loop_lines(loop: Loop) -> list[str]:
    return [*loop.schedule, "each sweep over a row computes", *("  " + s for s in loop.sweeps), "buffers"] + [
        "  " + b for b in loop.buffers
    ]


def _body(source: str) -> list[str]:
    """The functions; what stands above them is the same in all files."""
    return source[source.index("@translated") :].rstrip().split("\n")


def _leaf_line(printer: Printer, s: Symbol) -> str:
    lead = ["T", "B"] if s.varying and s.leaf and s.leaf[0] == "input" else ["B"] if s.varying else []
    shape = ", ".join([*lead, *map(repr, s.shape[1:] if s.varying else s.shape)])
    return f"{printer.name(s)} ({shape}): {s.name}"


def _invariants(plan: Plan) -> list[Symbol]:
    return [c.symbol for c in plan.traced.captured.values()]


def _prologue(printer: Printer, plan: Plan) -> list[str]:
    """Values computed from parameters alone, once per call."""
    t = plan.traced
    steps = computed(t.outputs + t.new_states)
    bases = [base_of(a) for s in steps if s.varying for a in s.operands if not a.varying]
    return printer.listing(bases)
