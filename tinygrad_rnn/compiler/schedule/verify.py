"""Verifier of schedules and plans: runs a step on names, and compares each read with what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn, Protocol

from ..autodiff.reverse_step import Adjoint
from ..ir.printer import is_reduction
from ..ir.program import StepProgram
from ..ir.program_ops import JOIN, SLICE
from ..ir.symbol import Symbol
from ..ir.verify import describe, fault
from .buffers import Buffer, BufferKind, Place, Store, Sum
from .schedule import Product, Schedule

BEGUN, PARTIAL, ADDED = "begun", "partial", "added"  # what a place may hold of a value, if it is not all of it


class DifferentiatedPlan(Protocol):
    """Fields of a :class:`.Plan` that are verified, as it is made."""

    traced: StepProgram
    adjoint: Adjoint
    forward: Schedule
    reverse: Schedule
    states: list[Buffer]
    saved: dict[int, Symbol]
    history: set[int]
    deferred: dict[int, list[tuple[Symbol, Symbol]]]
    totals: dict[int, Buffer]


def verify_schedule(schedule: Schedule) -> None:
    """Check one loop: all that is read has been written before, once, and is not overwritten.

    Raises
    ------
    VerificationError
        If there is a fault; it names the value, the buffer and the level.
    """
    names = [b.name for b in _buffers(schedule)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        fault("schedule", f"two buffers are called {twice.pop()}")
    _Step(schedule).run()


def verify_plan(plan: DifferentiatedPlan) -> None:
    """Check a differentiated plan: the backward loop reads values where the forward loop leaves them.

    Raises
    ------
    VerificationError
        If there is a fault.
    """
    program, forward, reverse = plan.traced, plan.forward, plan.reverse
    verify_schedule(forward)
    verify_schedule(reverse)
    after = [s for p in plan.adjoint.products for s in (p.a, p.g)]
    after += [s for p in plan.adjoint.scatters for s in (p.rows, p.g)]
    after += [g for terms in plan.deferred.values() for g, _ in terms]
    after += [r.g for i, r in enumerate(plan.adjoint.reductions) if i not in plan.totals]
    after = [s.args[0] if s.op is SLICE and s.uid not in reverse.kept else s for s in after]
    for s in after:
        found = reverse.kept.get(s.uid) or reverse.sources.get(s.uid)
        if found is None or not found.buffer.kind.over_time:
            fault("plan", f"{describe(s)} is read after the loop, and kept in {_at(found)}")
    for s in (*reverse.live.values(), *after):
        if s.uid in reverse.sources and s.uid < program.limit and s.op is not SLICE:
            _check_saved(plan, s, reverse.sources[s.uid])
    written = {store.place.buffer for store in reverse.stores} | {product.buffer for product in reverse.products}
    for buffer in written:
        if buffer.owner == forward.prefix:
            fault("plan", f"the backward loop writes to {buffer.name}, which the forward loop keeps")
    for i, buffer in plan.totals.items():
        g = plan.adjoint.reductions[i].g
        if not any(r.value is g and r.place.buffer is buffer and r.add for r in reverse.outputs):
            fault("plan", f"the sum of {describe(g)} is read from {buffer.name}, to which nobody adds it")


def _check_saved(plan: DifferentiatedPlan, s: Symbol, place: Place) -> None:
    """Whether the forward loop leaves a value where the backward loop reads it."""
    program, kept = plan.traced, plan.forward.kept.get(s.uid)
    at_all_steps = []  # one state may be another of the step before
    for i in sorted(plan.history):
        at_all_steps += [Place(plan.states[i])] if program.states[i] is s else []
        at_all_steps += [Place(plan.states[i], next_step=True)] if program.new_states[i] is s else []
    if s.uid in plan.saved:
        if kept != place:
            fault("plan", f"{describe(s)} is read from {_at(place)}, and saved in {_at(kept)}")
    elif any(s is state for state in (*program.states, *program.new_states)):
        if place not in at_all_steps or place.buffer.kind is not BufferKind.STATES:
            fault("plan", f"{describe(s)} is read from {_at(place)}, wanted its state at all steps, which is not saved")
    elif all(s is not x for x in program.inputs):
        fault("plan", f"{describe(s)} is read by the backward loop, and not saved")


def _buffers(schedule: Schedule) -> list[Buffer]:
    places = [*schedule.sources.values(), *(r.place for r in schedule.outputs)]
    return list(dict.fromkeys([*(p.buffer for p in places), *schedule.buffers]))


def _at(place: Place | None) -> str:
    if place is None:
        return "no place"
    return f"{place.buffer.name}, part {place.part}{', the step after' if place.next_step else ''}"


class _Step:
    """One step of a loop, run level by level; ``held`` says which columns of which part hold what by now."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.held: dict[tuple[Buffer, int, bool], list[tuple[int, int, Any]]] = {}
        self.level = 0
        self.pieces: dict[int, int] = {}  # uid of a reduction -> how many of its operands have gone into the total
        self.seen: set[tuple[int, int]] = set()

    def fail(self, s: Symbol, why: str) -> NoReturn:
        fault("schedule", f"{describe(s)}, level {self.level}: {why}")

    def run(self) -> None:
        schedule = self.schedule
        for uid, place in schedule.sources.items():
            if uid in schedule.live:
                self._check_bounds(schedule.live[uid], place)
        done: set[int] = set()
        for self.level in range(schedule.levels):
            for product in schedule.products:
                if product.level == self.level:
                    self._product(product)
                    done |= {m.out.uid for m in product.members}
            for store in schedule.stores:
                if store.level == self.level:
                    self._store(store)
            for r in filter(is_reduction, schedule.order):
                self._reduce(r)
        for acc in schedule.accumulations.values():
            if acc.out.uid not in done:
                self.fail(acc.out, "it is in no product")
        for root in schedule.outputs:
            token = (ADDED, root.value.uid) if root.add else root.value.uid
            self._check_held(root.value, root.place, token, "is to be left")
        for uid, place in schedule.kept.items():
            if not place.buffer.kind.over_time:
                self.fail(schedule.per_step[uid], f"it is kept in {_at(place)}, which the next step overwrites")
            if uid not in schedule.sources:
                self._check_held(schedule.per_step[uid], place, uid, "is to be kept")

    # ---- what is computed

    def _product(self, product: Product) -> None:
        lead = product.members[0]
        self._check_operands(product)
        for i, m in enumerate(product.members):
            place = self._check_member(product, i)
            if m.initial_terms:
                self._check_held(m.out, place, (BEGUN, m.out.uid), "is to be accumulated onto")
                self.held[place.buffer, place.part, place.next_step] = []
            self._write(m.out, place, (PARTIAL, m.out.uid) if m.epilogue_terms else m.out.uid)
        behind = len(product.buffer.parts) - place.part - 1
        if behind:
            self.fail(lead.out, f"products write whole panels, and {product.buffer.name} has {behind} parts behind it")

    def _check_operands(self, product: Product) -> None:
        """Left operands are stored; those that are read as one are side by side, with zeros in between."""
        lead = product.members[0]
        for a, _ in lead.terms:
            self._check_stored(a)
        for run in product.sources:
            operands = [lead.terms[i][0] for i in run]
            places = [self.schedule.place_of(a) for a in operands]
            for a, place, after in zip(operands, places, places[1:]):
                if after != Place(place.buffer, place.part + 1, 0, place.next_step) or place.start:
                    self.fail(a, f"it is one operand with the next, from {_at(place)} to {_at(after)}")
            for a, place in zip(operands, places):
                zero_padded = any(store.place == place and store.zero_padded for store in self.schedule.stores)
                if len(run) > 1 and not zero_padded:
                    self.fail(a, f"lanes behind it in {_at(place)} are read by a product, and not zero")
        if sorted(i for run in product.sources for i in run) != list(range(len(lead.terms))):
            self.fail(lead.out, f"its operands are grouped as {product.sources}")

    def _check_member(self, product: Product, index: int) -> Place:
        """Members have operands in common, and are side by side; returns the place of one."""
        lead, m = product.members[0], product.members[index]
        same = [a.uid for a, _ in m.terms] == [a.uid for a, _ in lead.terms]
        if m.level != product.level or not same or bool(m.initial_terms) != bool(lead.initial_terms):
            self.fail(m.out, f"it is in one product with {lead.out.name}, which has other operands")
        if m.place is None or lead.place is None:
            self.fail(m.out, "a product stores it, and it has no place")
        wanted = Place(lead.place.buffer, lead.place.part + index, 0, lead.place.next_step)
        if m.place != wanted:
            self.fail(m.out, f"a product stores it in {_at(wanted)}, and it is read from {_at(m.place)}")
        return m.place

    def _store(self, store: Store) -> None:
        value, place = store.value, store.place
        if isinstance(value, Symbol) and is_reduction(value) and self.schedule.places.get(value.uid) == place:
            return  # the reduction itself writes it
        for s in value.terms if isinstance(value, Sum) else (value,):
            self._check_read(s)
        self._check_bounds(store.shaped, place)
        width = place.buffer.parts[place.part]
        if not store.masked and (place.start or store.width != width):
            self.fail(
                store.shaped, f"whole vectors of it are stored at column {place.start} of {width} in {_at(place)}"
            )
        if isinstance(value, Sum):
            self._write(store.shaped, place, (BEGUN, store.shaped.uid))
        else:
            self._write(value, place, (ADDED, value.uid) if store.add else value.uid)

    def _reduce(self, r: Symbol) -> None:
        mine = [a for a in r.args if self.schedule.level_of_pass(r, a) == self.level]
        for a in mine:
            self._check_read(a)
        if mine:
            done = self.pieces[r.uid] = self.pieces.get(r.uid, 0) + len(mine)
            if done == len(r.args):
                self._write(r, self.schedule.places[r.uid], r.uid)

    # ---- what is read

    def _check_read(self, root: Any) -> None:
        """Whether a value can be had at this level: from its place, or computed again from what can be."""
        schedule, stack = self.schedule, [root]
        while stack:  # without recursion: a step may be long
            s = stack.pop()
            if not isinstance(s, Symbol) or not s.varying or (s.uid, self.level) in self.seen:
                continue
            self.seen.add((s.uid, self.level))
            acc = schedule.accumulations.get(s.uid)
            if s.uid in schedule.sources:
                continue
            if schedule.level_of(s) > self.level:
                self.fail(s, f"it is read before its operands are ready, at level {schedule.level_of(s)}")
            if acc is not None and not acc.epilogue_terms:
                self._check_held(s, acc.place, s.uid, "is read")
            elif is_reduction(s) or s.op is JOIN or (s.uid in schedule.places and schedule.level_of(s) < self.level):
                self._check_stored(s)
            elif acc is not None:
                self._check_held(s, acc.place, (PARTIAL, s.uid), "is read")
                stack += acc.epilogue_terms
            elif s.op is None:
                self.fail(s, "it is a leaf that the loop is not given")
            else:
                stack += s.args

    def _check_stored(self, s: Symbol) -> None:
        """Whether the place of a value holds it."""
        schedule = self.schedule
        if s.uid in schedule.sources:
            return
        if s.op is JOIN:
            place = schedule.joins[s.uid]
            for part in s.args:
                self._check_held(part, place, part.uid, "is joined")
                place = replace(place, start=place.start + part.width)
            return
        if s.op is SLICE or s.uid not in schedule.places:
            self.fail(s, "it is read from a place, and has none")
        self._check_held(s, schedule.places[s.uid], s.uid, "is read")

    def _check_held(self, s: Symbol, place: Place | None, token: Any, verb: str) -> None:
        found = self.held.get((place.buffer, place.part, place.next_step), []) if place else []
        if place is None or (place.start, place.start + s.width, token) not in found:
            self.fail(s, f"it {verb} in {_at(place)}, which holds {self._names(found) or 'nothing'} by then")

    def _write(self, s: Symbol, place: Place, token: Any) -> None:
        self._check_bounds(s, place)
        if place.buffer.kind is BufferKind.EXTERNAL:
            self.fail(s, f"it is written to {_at(place)}, an array of the caller's")
        start, stop = place.start, place.start + s.width
        found = self.held.setdefault((place.buffer, place.part, place.next_step), [])
        given = [
            uid
            for uid, source in self.schedule.sources.items()
            if uid in self.schedule.live and source.buffer is place.buffer
            if (source.part, source.next_step) == (place.part, place.next_step)
            if source.start < stop and start < source.start + self.schedule.live[uid].width
        ]
        over = [t for a, b, t in found if a < stop and start < b]
        if over or given:
            self.fail(s, f"it is written to {_at(place)}, over {self._names([(0, 0, t) for t in over + given])}")
        found.append((start, stop, token))

    def _check_bounds(self, s: Symbol, place: Place) -> None:
        parts = place.buffer.parts
        if not 0 <= place.part < len(parts) or place.start < 0 or place.start + s.width > parts[place.part]:
            self.fail(
                s, f"it is in columns {place.start} to {place.start + s.width} of {_at(place)}, which has {parts}"
            )

    def _names(self, found: list[tuple[int, int, Any]]) -> str:
        def name(token: Any) -> str:
            if isinstance(token, tuple):
                return f"{token[0]} {name(token[1])}"
            return self.schedule.live[token].name if token in self.schedule.live else f"v{token}"

        return ", ".join(name(token) for _, _, token in found)
