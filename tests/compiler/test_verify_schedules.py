"""The verifiers name what is broken in schedules, plans and generated code, which are broken here by hand."""

import dataclasses

import numpy as np
import pytest

from tinygrad_rnn.compiler.codegen.layout import Layout
from tinygrad_rnn.compiler.codegen.verify import verify_bound, verify_source
from tinygrad_rnn.compiler.ir.printer import is_reduction
from tinygrad_rnn.compiler.ir.program_ops import SLICE
from tinygrad_rnn.compiler.schedule.buffers import BufferKind, Sum
from tinygrad_rnn.compiler.schedule.verify import verify_plan, verify_schedule

from ..golden import CELLS
from .verified import B, T, plan_of, refused


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CELLS)
def test_whatever_is_not_computed_is_missed(name):
    plan = plan_of(name)
    for schedule in (plan.forward, plan.reverse):
        for things in (schedule.stores, schedule.products):
            for i, thing in enumerate(list(things)):
                if things is schedule.stores and is_written_by_reduction(schedule, thing):
                    continue
                del things[i]
                with refused("^schedule: "):
                    verify_schedule(schedule)
                things.insert(i, thing)
        verify_schedule(schedule)


def is_written_by_reduction(schedule, store):
    s = store.value
    return not isinstance(s, Sum) and is_reduction(s) and schedule.places.get(s.uid) == store.place


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", CELLS)
def test_what_is_computed_too_early_is_found(name):
    plan = plan_of(name)
    for schedule in (plan.forward, plan.reverse):
        late = [p for p in schedule.products if any(a.uid not in schedule.sources for a, _ in p.members[0].terms)]
        for product in late:
            level, product.level = product.level, 0
            for m in product.members:
                m.level = 0
            with refused("^schedule: .*level 0: it is (read|to be accumulated onto) "):
                verify_schedule(schedule)
            product.level = level
            for m in product.members:
                m.level = level
        verify_schedule(schedule)


def swap_places(schedule):
    a, b = [s for s in schedule.stores if not s.add and s.place.buffer.kind is BufferKind.SCRATCH][:2]
    a.place, b.place = b.place, a.place


def store_twice(schedule):
    schedule.stores.append(schedule.stores[-1])


def keep_garbage(schedule):
    for store in schedule.stores:
        store.zero_padded = False


def overwrite_a_source(schedule):
    store = next(s for s in schedule.stores if s.place.buffer.name == "c0")
    store.place = dataclasses.replace(store.place, next_step=False)


def write_to_the_callers(schedule):
    schedule.stores[0].place.buffer.kind = BufferKind.EXTERNAL


def keep_in_a_ring(schedule):
    next(iter(schedule.kept.values())).buffer.kind = BufferKind.DOUBLE_BUFFER


def another_part(schedule):
    store = schedule.stores[0]
    store.place = dataclasses.replace(store.place, part=40)


def same_names(schedule):
    schedule.buffers[0].name = schedule.outputs[0].place.buffer.name


def one_operand_less(schedule):
    del schedule.products[-1].sources[-1]


def parts_behind(schedule):
    schedule.products[0].buffer.parts.append(4)


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    ("how", "match"),
    [
        (swap_places, "which holds"),
        (store_twice, "over v"),
        (keep_garbage, "not zero"),
        (overwrite_a_source, "over|which holds"),
        (write_to_the_callers, "array of the caller's"),
        (keep_in_a_ring, "which the next step overwrites"),
        (another_part, "part 40"),
        (same_names, "two buffers are called"),
        (one_operand_less, "its operands are grouped as"),
        (parts_behind, "write whole panels"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_schedule_is_refused(how, match):
    plan = plan_of("odd")
    how(plan.reverse)
    with refused(f"^schedule: .*({match})"):
        verify_schedule(plan.reverse)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", CELLS)
def test_whatever_the_backward_loop_reads_has_to_be_saved(name):
    plan = plan_of(name)
    read = [uid for uid in plan.saved if uid in plan.reverse.live and plan.reverse.live[uid].op is not SLICE]
    for uid in read:
        s = plan.saved.pop(uid)
        with refused(rf"^plan: {s.name} = .* not saved"):
            verify_plan(plan)
        plan.saved[uid] = s
    for i in sorted(plan.history):
        plan.history.remove(i)
        with refused("^plan: .*not saved"):
            verify_plan(plan)
        plan.history.add(i)
    verify_plan(plan)


def test_the_backward_loop_reads_where_the_forward_loop_writes():
    plan = plan_of("lstm")
    a, b = list(plan.saved)[:2]
    kept = plan.forward.kept
    plan.reverse.sources[a], plan.reverse.sources[b] = kept[b], kept[a]
    with refused("^plan: .*is read from"):
        verify_plan(plan)


def test_sums_and_products_after_the_loop_find_their_operands():
    plan = plan_of("layer_norm_lstm")
    kept = dict(plan.reverse.kept)
    plan.reverse.kept.clear()
    with refused("^plan: .*is read after the loop"):
        verify_plan(plan)
    plan.reverse.kept.update(kept)
    root = next(r for r in plan.reverse.outputs if r.add)
    root.place = dataclasses.replace(root.place, buffer=dataclasses.replace(root.place.buffer))
    with refused("nobody adds|which holds|two buffers"):
        verify_plan(plan)


# ---- generated code


def layout_of(name):
    plan = plan_of(name)
    return Layout(plan.reverse, "reverse", True, np.float32, "A loop.")


def test_broken_sources_are_refused():
    source = layout_of("lstm").source
    verify_source(source)
    lines = source.splitlines()
    numbers = [i for i, line in enumerate(lines) if line.strip().startswith("v") and " = " in line]
    for i in numbers:
        with refused("is read before it is assigned to|assigned to twice"):
            name = lines[i].split()[0]
            changed = [*lines[:i], lines[i].replace(f"{name} =", "zero =", 1), *lines[i + 1 :]]
            verify_source("\n".join(changed))
    with refused("invalid syntax|expected"):
        verify_source("def loop(:")


def test_names_of_a_loop_are_known_in_it_only():
    verify_source("def f(a):\n    r = a\n    for i in range(a):\n        x = r + i\n        r = r + x\n")
    with refused("line 4: x is read before"):
        verify_source("def f(a):\n    for i in range(a):\n        x = i\n    y = x\n")
    with refused("line 3: x is assigned to twice"):
        verify_source("def f(a):\n    x = a\n    x = 1\n")


def test_overlapping_arrays_are_refused():
    layout = layout_of("layer_norm_lstm")
    bound = layout.bind(T, B)
    verify_bound(layout, bound, T, B)
    first, second, *_ = bound.offsets
    for broken, match in [
        (bound._replace(offsets=bound.offsets | {second: bound.offsets[first] + 1}), "within"),
        (bound._replace(arena=bound.arena // 2), "behind the array"),
        (bound._replace(weights=bound.weights // 2), "behind the array"),
        (bound._replace(zeros=0), "not cleared"),
        (bound._replace(dims=bound.dims[:-1]), "table of steps"),
    ]:
        with refused(f"^codegen: .*{match}"):
            verify_bound(layout, broken, T, B)
