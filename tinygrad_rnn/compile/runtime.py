"""Running a plan: three jitted calls forward or backward - prepare, loop, gather - and the arrays between them."""

from __future__ import annotations

import operator
import os
import threading
from typing import Any, NamedTuple

import numpy as np

from ..errors import CompileError
from . import threads
from .after import After
from .layout import Layout
from .plan import Plan, bases
from .pool import Pool
from .replay import evaluate
from .schedule import Buffer, Place

BINDINGS = 64  # pairs of T and batch whose tables are kept
_building = threading.RLock()  # several threads may make the first call


def check_available() -> None:
    """Say so where generated code cannot run."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise CompileError("Numba's JIT is switched off (NUMBA_DISABLE_JIT)")


class Jobs:
    """A table of jobs over arrays that are known by name.

    Parameters
    ----------
    phases : lists of jobs
        Those of one phase are independent; phases are done in order.
    arena : dict
        Offsets of the arrays that lie in the call's arena; the others are arrays by themselves.
    """

    def __init__(self, phases: list[list[tuple]], arena: dict[str, int], sizes, dtype):
        from ..kernels.jobs import COLUMNS, LOOSE, run_jobs

        self.run_jobs, self.panel = run_jobs, sizes.panel
        self.phases: list[tuple[int, int]] = []
        work: list[float] = []
        for phase in phases:
            if phase:
                self.phases.append((len(work), len(work) + len(phase)))
                work += [_work(job) for job in phase]
        self.work = np.concatenate([[0], np.cumsum(work)])
        jobs = [self._resolve(job, arena) for phase in phases for job in phase]
        names = dict.fromkeys(name for _, named in jobs for name in named.values() if name != "arena")
        loose = [name for name in names if name[0] != "b"]
        self.loose, self.fixed = loose[:LOOSE], loose[LOOSE:] + [name for name in names if name[0] == "b"]
        places = {"arena": 0}
        places |= {name: 1 + i for i, name in enumerate(self.loose)}
        places |= {name: 1 + LOOSE + i for i, name in enumerate(self.fixed)}
        self.table = np.zeros((len(jobs), COLUMNS), np.int64)
        for row, (job, named) in zip(self.table, jobs):
            row[: len(job)] = [places[named[i]] if i in named else x for i, x in enumerate(job)]
        self.spare = (np.zeros(1, dtype),) * (LOOSE - len(self.loose))
        self.addresses = np.zeros(1 + LOOSE + len(self.fixed), np.int64)
        self.known: list = [None] * len(self.fixed)  # parameters seldom move

    def _resolve(self, job: tuple, arena: dict[str, int]) -> tuple[list, dict[int, str]]:
        """The job with offsets in the arena, and the names in it by position."""
        from ..kernels.jobs import OFFSETS

        row, named = list(job), {}
        for name_at, offset_at in OFFSETS[job[0]]:
            name = job[name_at]
            if name in arena:
                row[offset_at] += arena[name]
                name = "arena"
            named[name_at] = name
        return row, named

    def _addresses(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        fixed = [arrays[name] for name in self.fixed]
        if not all(map(operator.is_, fixed, self.known)):
            addresses = self.addresses.copy()  # another thread may be reading the old ones
            addresses[len(addresses) - len(fixed) :] = [a.ctypes.data for a in fixed]
            self.addresses, self.known = addresses, fixed
            return addresses
        return self.addresses

    def run(self, arrays: dict[str, np.ndarray]) -> None:
        if not self.phases:
            return
        given = (self.panel, arrays["arena"], *[arrays[name] for name in self.loose], *self.spare)
        addresses = self._addresses(arrays)
        for i, (start, stop) in enumerate(self.phases):
            if i or self.work[stop] - self.work[start] < 2 * threads.WORTH:
                self.run_jobs(self.table, start, stop, addresses, *given)
                continue

            def some(a, b, start=start):
                self.run_jobs(self.table, start + a, start + b, addresses, *given)

            threads.run_weighted(some, self.work[start : stop + 1] - self.work[start])


def _work(job: tuple) -> float:
    """Multiply-adds of a product; other jobs count a little for each element."""
    from ..kernels.jobs import PRODUCT, PRODUCT_TN, SUM_ROWS

    if job[0] == PRODUCT:
        return job[5] * job[6] * job[9]
    if job[0] == PRODUCT_TN:
        return job[8] * job[9] * job[10]
    return 4.0 * job[5] * job[6] if job[0] == SUM_ROWS else 1.0


class Forward(NamedTuple):
    """A forward loop for one T and one batch."""

    d: np.ndarray
    arena: int  # elements
    zeros: int  # of them, to be cleared at its beginning
    offsets: dict[Buffer, int]
    prepare: Jobs
    results: list[tuple[str, int]]  # arrays that are handed out, and their sizes
    alone: list[str]  # array arguments after the workspace
    outputs: list  # views to make
    finals: list


class Backward(NamedTuple):
    """The backward loop and what comes after it, for one T and one batch."""

    d: np.ndarray
    arena: int
    zeros: int
    prepare: Jobs
    after: Jobs
    results: list[tuple[str, int]]
    alone: list[str]
    inputs: list
    finals: list
    grads: list[tuple[int, int, int, tuple]]  # uid of a base, its range in grads, its shape


class View(NamedTuple):
    """Rows of a buffer as an array (slots, batch, width), or (slots, batch) for a number per row."""

    name: str  # of the array
    start: int
    slots: int
    batch: int
    ld: int
    width: int
    flat: bool

    def of(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        stop = self.start + self.slots * self.batch * self.ld
        rows = arrays[self.name][self.start : stop].reshape(self.slots, self.batch, self.ld)
        return rows[:, :, 0] if self.flat else rows if self.width == self.ld else rows[:, :, : self.width]


class Context(NamedTuple):
    """What the backward loop needs of a forward one."""

    time: int
    batch: int
    arrays: dict[str, np.ndarray]


class Executable:
    """A plan with its loops; they are generated and compiled when they are first run.

    All arrays are contiguous and of the plan's dtype, which the caller has checked.
    """

    def __init__(self, plan: Plan, title: str):
        self.plan = plan
        self.title = title
        self.dtype = plan.traced.trace.dtype
        self._inference: tuple | None = None
        self._training: tuple | None = None
        self._bound: dict[tuple, Any] = {}
        self.pool = Pool(self.dtype)

    # ---- the loops

    @property
    def inference(self) -> tuple[Layout, list[Buffer], list[Buffer]]:
        """The forward loop that saves nothing, with the buffers of its states and outputs."""
        with _building:
            if self._inference is None:
                schedule, states, outputs = self.plan.inference()
                layout = Layout(schedule, "inference", False, self.dtype, f"{self.title}: forward, nothing saved.")
                self._inference = layout, states, outputs
            return self._inference

    @property
    def training(self) -> tuple[Layout, Layout, After]:
        """The forward loop, the backward loop, and what comes after it."""
        with _building:
            if self._training is None:
                plan = self.plan
                plan.differentiate()
                forward = Layout(plan.forward, "forward", False, self.dtype, f"{self.title}: forward.")
                reverse = Layout(plan.reverse, "reverse", True, self.dtype, f"{self.title}: backward through time.")
                after = After(plan, reverse)
                given = {s.uid: s for s in bases(plan.traced)}
                wanted = reverse.packing.bases | after.packing.bases
                self._given, self._derived = given, [s for uid, s in wanted.items() if uid not in given]
                self._training = forward, reverse, after
            return self._training

    def _derive(self, arrays: dict[str, np.ndarray]) -> None:
        """Add what only the backward loop reads of the parameters, such as an exponent less one."""
        if self._derived:
            values: dict = {uid: arrays[f"b{uid}"] for uid in self._given}
            for s, value in zip(self._derived, evaluate(self._derived, values)):
                arrays[f"b{s.uid}"] = np.ascontiguousarray(value, self.dtype)

    # ---- tables for one T and one batch

    def _binding(self, kind: str, time: int, batch: int) -> Any:
        key = (kind, time, batch)
        found = self._bound.get(key)
        if found is not None:
            return found
        with _building:
            if key not in self._bound:
                if len(self._bound) >= BINDINGS:
                    self._bound.pop(next(iter(self._bound)))
                    self.pool.clear()
                make = self._bind_backward if kind == "backward" else self._bind_forward
                self._bound[key] = make(kind, time, batch)
            return self._bound[key]

    def _bind_forward(self, kind: str, time: int, batch: int) -> Forward:
        plan, t = self.plan, self.plan.traced
        if kind == "training":
            layout, states, outputs = self.training[0], plan.states, plan.outputs
        else:
            layout, states, outputs = self.inference
        d, zeros, size, offsets, jobs = layout.bind(time, batch)
        for i, (buffer, s) in enumerate(zip(states, t.states)):
            jobs.append(self._begin(layout, f"s{i}", buffer, s.width, offsets, batch))
        results = [
            (b.name, layout.sizes.elements(b, time, batch) + layout.sizes.panel)
            for b in dict.fromkeys([*outputs, *states])
            if b.result
        ]
        views = [
            self._view(layout, b, offsets, int(b.kind == "history"), time, batch, y.shape)
            for b, y in zip(outputs, t.outputs)
        ]
        finals = [
            self._view(layout, b, offsets, time if b.kind == "history" else time & 1, 1, batch, s.shape)
            for b, s in zip(states, t.states)
        ]
        alone = [b.name for b in layout.alone]
        prepare = Jobs([jobs], {"w": 0}, layout.sizes, self.dtype)
        return Forward(d, size, zeros, offsets, prepare, results, alone, views, finals)

    def _begin(self, layout: Layout, source: str, buffer: Buffer, width: int, offsets, batch: int) -> tuple:
        """The job that copies initial values to the first slot of a state or a carry."""
        from ..kernels.jobs import ROWS

        target, at = (buffer.name, 0) if buffer.result else ("arena", offsets.setdefault(buffer, 0))
        return (ROWS, source, target, 0, width, batch, width, at, layout.sizes.ld(buffer))

    def _view(self, layout: Layout, buffer: Buffer, offsets, slot: int, slots: int, batch: int, shape) -> View:
        name, at = (buffer.name, 0) if buffer.result else ("arena", offsets[buffer])
        ld = layout.sizes.ld(buffer)
        return View(name, at + slot * batch * ld, slots, batch, ld, buffer.parts[0], len(shape) == 1)

    def _bind_backward(self, kind: str, time: int, batch: int) -> Backward:
        plan, t = self.plan, self.plan.traced
        _, reverse, after = self.training
        given = self._binding("training", time, batch).offsets
        after.place_grads(batch)
        extra = reverse.sizes.row([after.packing.size + after.grads_size + after.temp_size])
        d, w_size, size, offsets, jobs = reverse.bind(time, batch, extra)
        grads_at = w_size + after.packing.size
        for i, key in enumerate(reverse.emitter.ints):
            if key[0] == "at" and key[1] in given:
                d[i + 2] = given[key[1]]
        for i, (buffer, s) in enumerate(zip(plan.carries, t.states)):
            jobs.append(self._begin(reverse, f"s{i}", buffer, s.width, offsets, batch))

        def at(place: Place) -> tuple[str, int]:
            b = place.buffer
            row = reverse.sizes.part_at(b, place.part) + place.start
            row += batch * reverse.sizes.ld(b) if place.late else 0
            if b.alone:
                return b.name, row
            return ("arena", offsets[b] + row) if b in offsets else ("fw", given[b] + row)

        phases = after.bind(time, batch, at)
        arena = {"w": 0, "wx": w_size, "grads": grads_at, "temp": grads_at + after.grads_size}
        prepare = Jobs([jobs + after.packing.jobs], arena, reverse.sizes, self.dtype)
        results: list[tuple[str, int]] = []
        inputs: list[View | None] = []
        for i, x in enumerate(t.inputs):
            if not plan.wanted_inputs[i]:
                inputs.append(None)
                continue
            ld = reverse.sizes.row([x.width])
            results.append((f"dx{i}", time * batch * ld + reverse.sizes.panel))
            inputs.append(View(f"dx{i}", 0, time, batch, ld, x.width, len(x.shape) == 1))
        finals = [self._view(reverse, b, offsets, time & 1, 1, batch, s.shape) for b, s in zip(plan.carries, t.states)]
        grads = []
        for uid, shape in after.shapes.items():
            start = after.grad_at[uid]
            stop = min((o for o in after.grad_at.values() if o > start), default=after.grads_size)
            full = (batch, *shape[1:]) if int(np.prod(shape, dtype=int)) != stop - start else shape
            grads.append((uid, grads_at + start, grads_at + stop, full))
        alone = [b.name for b in reverse.alone]
        after_jobs = Jobs(phases, arena, reverse.sizes, self.dtype)
        totals = [at + reverse.sizes.elements(b, time, batch) for b, at in offsets.items() if b.kind == "total"]
        return Backward(
            d, size, max([w_size + extra, *totals]), prepare, after_jobs, results, alone, inputs, finals, grads
        )

    # ---- running

    def forward(self, inputs, states, bases: dict[str, np.ndarray], time: int, batch: int, train: bool):
        """Outputs (T, B, ...), final states (1, B, ...), and what the backward loop needs.

        Parameters
        ----------
        inputs, states : lists of arrays
        bases : dict
            Arrays of the invariants that the loops read, as ``b{uid}``.
        """
        bound: Forward = self._binding("training" if train else "inference", time, batch)
        layout = self.training[0] if train else self.inference[0]
        arrays = dict(bases)
        for i, x in enumerate(inputs):
            arrays[f"x{i}"] = x.reshape(-1)
        for i, s in enumerate(states):
            arrays[f"s{i}"] = s.reshape(-1)
        for name, size in bound.results:
            arrays[name] = self.pool.empty(size)
        self._loop(layout, bound, arrays, time, batch)
        ys = [view.of(arrays) for view in bound.outputs]
        finals = [view.of(arrays).copy() for view in bound.finals]
        return ys, finals, Context(time, batch, arrays) if train else None

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents of inputs, of initial states, and of invariants by uid."""
        time, batch, given = context
        bound: Backward = self._binding("backward", time, batch)
        arrays = dict(given)
        arrays["fw"] = given["arena"]
        self._derive(arrays)
        for i, g in enumerate(output_grads):
            arrays[f"g{i}"] = g.reshape(-1)
        for i, g in enumerate(state_grads):
            arrays[f"s{i}"] = g.reshape(-1)
        for name, size in bound.results:
            arrays[name] = self.pool.empty(size)
        self._loop(self.training[1], bound, arrays, time, batch)
        bound.after.run(arrays)
        arena = arrays["arena"]
        inputs = [None if view is None else view.of(arrays) for view in bound.inputs]
        states = [view.of(arrays)[0].copy() for view in bound.finals]
        return inputs, states, {uid: arena[a:b].reshape(shape) for uid, a, b, shape in bound.grads}

    def _loop(self, layout: Layout, bound: Any, arrays: dict, time: int, batch: int) -> None:
        ws = arrays["arena"] = self.pool.empty(bound.arena)
        ws[: bound.zeros] = 0
        bound.prepare.run(arrays)
        function, d, k = layout.function, bound.d, layout.numbers
        others = [arrays[name] for name in bound.alone]
        if layout.name == "reverse":
            others.insert(0, arrays["fw"])
        work = time * batch * layout.multiplications
        if work < 2 * threads.WORTH:
            function(0, batch, d, k, ws, *others)
        else:
            threads.run(lambda b0, b1: function(b0, b1, d, k, ws, *others), batch, work)
