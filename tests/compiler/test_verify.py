"""The verifiers name what is broken, phase by phase; programs are broken here by hand."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import Plan
from tinygrad_rnn.compiler.autodiff import adjoint as adjoint_module
from tinygrad_rnn.compiler.autodiff.adjoint import adjoint
from tinygrad_rnn.compiler.autodiff.reverse_step import MatrixProduct
from tinygrad_rnn.compiler.autodiff.verify import verify_adjoint
from tinygrad_rnn.compiler.codegen.layout import Layout
from tinygrad_rnn.compiler.codegen.verify import verify_bound, verify_source
from tinygrad_rnn.compiler.frontend.trace import Trace, recording
from tinygrad_rnn.compiler.ir import verify
from tinygrad_rnn.compiler.ir.printer import is_reduction
from tinygrad_rnn.compiler.ir.program import wanted_invariants
from tinygrad_rnn.compiler.ir.program_ops import MATMUL, SLICE
from tinygrad_rnn.compiler.ir.verify import verify_program
from tinygrad_rnn.compiler.runtime import bind_backward
from tinygrad_rnn.compiler.runtime.verify import verify_epilogue
from tinygrad_rnn.compiler.schedule.buffers import BufferKind, Sum
from tinygrad_rnn.compiler.schedule.verify import verify_plan, verify_schedule
from tinygrad_rnn.errors import VerificationError
from tinygrad_rnn.kernels.loops.task_codes import AddColumns, Clear, SumRows, TransposedProduct, Vector
from tinygrad_rnn.recurrent.explain import explain
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from ..golden import CELLS

T, B = 5, 2


def program_of(name):
    """A program of its own, which may be broken."""
    cell = CELLS[name]()
    explain(cell)
    ((program,),) = cache_of(cell).programs.values()
    return program.traced


def plan_of(name):
    program = program_of(name)
    plan = Plan(program, (True,) * len(program.inputs), set(program.invariants))
    plan.differentiate()
    return plan


def value(program, operation):
    """A value of an operation that the results need."""
    return next(s for s in verify.reachable(program.results, lambda s: s.varying_operands) if s.operation == operation)


def refused(match):
    return pytest.raises(VerificationError, match=match)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CELLS)
def test_programs_that_are_right_pass(name):
    plan = plan_of(name)
    verify_program(plan.traced)
    verify_plan(plan)
    verify_schedule(plan.inference()[0])


# ---- programs


def narrower(program):
    value(program, "tanh").shape = (verify.BATCH, 3)


def of_another_dtype(program):
    value(program, "tanh").dtype = np.dtype(np.float64)


def mask_operand(program):
    mask = value(program, "greater")
    product = next(s for s in program.expressions.values() if s.operation == "multiply" and s.uid > mask.uid)
    product.args = (mask, *product.args[1:])


def constant(program):
    value(program, "tanh").varying = False


def cycle(program):
    (h,), first = program.new_states, program.outputs[0]
    while first.varying_operands and first.varying_operands[0].leaf is None:
        first = first.varying_operands[0]
    first.args = (h, *first.args[1:])


def foreign_operand(program):
    trace = Trace(program.dtype)
    value(program, "tanh").args = (trace.leaf("input", 0, value(program, "tanh").shape, program.dtype, True),)


def matrix_of_other_rows(program):
    product = next(s for s in program.expressions.values() if s.op is MATMUL)
    product.args[1].shape = (9, product.shape[1])


def number_too_high(program):
    value(program, "tanh").uid = program.limit + 3


def wrong_arity(program):
    value(program, "multiply").args = value(program, "multiply").args[:1]


BROKEN = {
    narrower: "its operands make it float32",
    of_another_dtype: "wanted float32 or bool",
    mask_operand: "wanted numbers as operand 0, got bool",
    constant: "wanted a value that varies in time",
    cycle: "which is defined after it",
    foreign_operand: "does not hold",
    matrix_of_other_rows: "as many rows of its matrix|its operands make it",
    number_too_high: "got a number from",
    wrong_arity: "lowering",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("how", BROKEN, ids=lambda how: how.__name__)
def test_a_broken_program_is_refused(how, monkeypatch):
    monkeypatch.setattr(verify, "_check_key", lambda *args: None)
    program = program_of("odd")
    verify_program(program)
    how(program)
    with refused(f"^trace: .*({BROKEN[how]})"):
        verify_program(program)


@pytest.mark.parametrize("how", [narrower, foreign_operand, wrong_arity], ids=lambda how: how.__name__)
def test_a_value_stands_under_its_key(how):
    program = program_of("gru")
    how(program)
    with refused("^trace: v.*one value for equal expressions"):
        verify_program(program)


def test_faults_name_the_value_and_the_line():
    program = program_of("lstm")
    s = value(program, "tanh")
    s.dtype = np.dtype(bool)
    with refused(rf"{s.name} = tanh\(.*lstm\.py:\d+.*fault of the compiler"):
        verify_program(program)


def test_results_are_checked():
    program = program_of("lstm")
    (x,), h = program.inputs, program.states[0]
    for change, match in [
        ({"outputs": (x.args or next(iter(program.captured.values())).symbol,)}, "output 0"),
        ({"new_states": (program.new_states[0],)}, "wanted 2"),
        ({"new_states": (x, program.new_states[1])}, "new state 0"),
        ({"inputs": (h,)}, "input 0"),
        ({"states": program.states[::-1]}, "state 0"),
        ({"mask_probabilities": (0.5,)}, "random mask"),
        ({"captured": {}}, "does not hold"),
        ({"expressions": {}}, "does not hold"),
        ({"limit": 3}, "got a number from 3 on"),
    ]:
        with refused(match):
            verify_program(dataclasses.replace(program, **change))


def test_slices_are_of_columns_that_are_there(monkeypatch):
    monkeypatch.setattr(verify, "_check_key", lambda *args: None)

    class Sliced(nn.Cell):
        def initial_state(self, batch_size):
            return tr.zeros((batch_size, 2))

        def step(self, x, h):
            return x[:, :2] + h, h

    cell = Sliced()
    explain(cell, tr.zeros((T, B, 5)))
    ((program,),) = cache_of(cell).programs.values()
    s = next(s for s in program.traced.expressions.values() if s.op is SLICE)
    s.static["stop"] = 400
    with refused("columns within the 5"):
        verify_program(program.traced)


# ---- adjoints


def adjoint_of(name, monkeypatch):
    """An adjoint, and how it is verified."""
    found = {}
    monkeypatch.setattr(adjoint_module, "verify_adjoint", lambda *args: found.update(args=args))
    program = program_of(name)
    with recording(Trace.extending(program)) as trace:
        t = program
        adj = adjoint(
            trace, t.outputs, t.new_states, t.inputs, t.states, (True,), wanted_invariants(t, set(t.invariants))
        )
    return adj, lambda broken: verify_adjoint(found["args"][0], broken, *found["args"][2:])


def test_broken_adjoints_are_refused(monkeypatch):
    adj, check = adjoint_of("rnn", monkeypatch)
    check(adj)
    p, r = next(p for p in adj.products if p.a.width == 3), adj.reductions[0]
    for broken, match in [
        (adj._replace(states=[]), "wanted those of"),
        (adj._replace(inputs=[None]), "wanted those of"),
        (adj._replace(inputs=adj.states), "the gradient of"),
        (adj._replace(products=[p._replace(a=p.g)]), "is the product of"),
        (adj._replace(products=[p._replace(w=p.a)]), "not asked for"),
        (adj._replace(reductions=[r._replace(g=p.a)]), "wanted 4 features"),
        (adj._replace(products=[MatrixProduct(r.v, p.a, p.g)]), "is the product of"),
    ]:
        with refused(f"^adjoint: .*{match}"):
            check(broken)


def test_one_cotangent_for_each_result(monkeypatch):
    adj, check = adjoint_of("rnn", monkeypatch)
    seed = next(
        s
        for s in verify.reachable([p.g for p in adj.products], lambda s: s.operands)
        if s.leaf and s.leaf[0] == "cotangent"
    )
    seed.leaf = ("cotangent", 7)
    with refused("no cotangent of a result"):
        check(adj)


# ---- schedules and plans


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


# ---- tasks after the loop


def epilogue_of(make, monkeypatch, time=T, batch=B, lengths=None):
    """What is verified of the tasks after the backward loop of a cell."""
    found = []

    def keep(epilogue, phases, *others):
        found.append((epilogue, [list(tasks) for tasks in phases], *others))

    monkeypatch.setattr(bind_backward, "verify_epilogue", keep)
    cell = make()
    x = tr.tensor(np.ones((time, batch, cell.input_size), np.float32), requires_grad=True)
    nn.Recurrent(cell, mode="compiled")(x, lengths=lengths)[0].sum().backward()
    return found[0]


def neighbours(record, rows=2):
    """The record with one of its integers less or more by one, but for the distance to the next row of a single row."""
    rows = getattr(record, "rows", rows)
    for name, value in zip(record._fields, record):
        if isinstance(value, tuple):
            across = isinstance(record, AddColumns | TransposedProduct) and name == "source"
            others = list(neighbours(value, 2 if across else rows))
        else:
            others = [value - 1, value + 1] if type(value) is int and (name != "ld" or rows > 1) else []
        yield from (record._replace(**{name: other}) for other in others)


@pytest.mark.slow
@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("name", "time", "batch", "lengths"),
    [*((name, T, B, None) for name in CELLS), ("odd", 3, 33, None), ("gru", T, B, [5, 3])],
)
def test_whatever_is_another_task_after_the_loop_is_found(name, time, batch, lengths, monkeypatch):
    epilogue, phases, *others = epilogue_of(CELLS[name], monkeypatch, time, batch, lengths)
    verify_epilogue(epilogue, phases, *others)
    for tasks in phases:
        for i, task in enumerate(list(tasks)):
            for instead in ([], [task, task], *([t] for t in neighbours(task))):
                tasks[i : i + 1] = instead
                with refused("^epilogue: "):
                    verify_epilogue(epilogue, phases, *others)
                tasks[i : i + len(instead)] = [task]
    verify_epilogue(epilogue, phases, *others)


class Tied(nn.Cell):
    """A matrix that is used twice, a bias that is used twice, a number, and a value for each row of the batch."""

    input_size = hidden_size = 4

    def __init__(self):
        self.w = nn.Parameter(np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(4, 4))
        self.b = nn.Parameter(np.ones(4, np.float32))
        self.c = nn.Parameter(np.float32(0.5))

    def begin_sequence(self, batch_size):
        self.rows = tr.zeros((batch_size, 4)) + self.b

    def step(self, x, h):
        h = tr.tanh(x @ self.w + h @ self.w.T + self.b) * self.c + self.b * h + self.rows
        return h, h


def into_another_gradient(phases):
    task = next(t for t in phases[0] if isinstance(t, TransposedProduct))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(at=task.target.at + task.target.ld))


def behind_the_gradients(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(at=10**6))


def from_another_arena(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(source=task.source._replace(array="forward_arena"))


def some_rows(phases):
    task = next(t for t in phases[-1] if isinstance(t, SumRows))
    phases[-1][phases[-1].index(task)] = task._replace(rows=task.rows - 1)


def all_shared(phases):
    phases[0] += phases[1]
    phases[1].clear()


def of_another_kind(phases):
    phases[0].append(Clear(Vector("grads", 0), 1))


def added_to_an_array_of_the_callers(phases):
    task = next(t for t in phases[0] if isinstance(t, SumRows))
    phases[0][phases[0].index(task)] = task._replace(target=task.target._replace(array="x0"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("how", "match"),
    [
        (into_another_gradient, "at the same time|leaves grads|over what another|the gradient of b"),
        (behind_the_gradients, "leaves grads"),
        (from_another_arena, "nobody has written"),
        (some_rows, "wanted all"),
        (all_shared, "at the same time"),
        (of_another_kind, "wanted a product or a sum"),
        (added_to_an_array_of_the_callers, "wanted it to write to grads"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_broken_tasks_after_the_loop_are_refused(how, match, monkeypatch):
    epilogue, phases, *others = epilogue_of(Tied, monkeypatch)
    verify_epilogue(epilogue, phases, *others)
    how(phases)
    with refused(f"^epilogue: .*({match})"):
        verify_epilogue(epilogue, phases, *others)


def test_a_sum_of_the_loop_is_one_sum(monkeypatch):
    epilogue, phases, *others = epilogue_of(Tied, monkeypatch)
    outputs = epilogue.plan.reverse.outputs
    root = next(r for r in outputs if r.add)
    outputs.append(dataclasses.replace(root, value=next(r.value for r in outputs if r.value is not root.value)))
    with refused("^epilogue: .*so is another value"):
        verify_epilogue(epilogue, phases, *others)


def test_packed_matrices_for_inputs_are_those_of_the_step(monkeypatch):
    epilogue, phases, *others = epilogue_of(CELLS["lstm"], monkeypatch)
    packing = epilogue.packing
    for i, task in enumerate(list(packing.tasks)):
        for instead in ([], [task, task], *([t] for t in neighbours(task))):
            packing.tasks[i : i + 1] = instead
            with refused("^epilogue: "):
                verify_epilogue(epilogue, phases, *others)
            packing.tasks[i : i + len(instead)] = [task]
    verify_epilogue(epilogue, phases, *others)


# ---- when it runs


@pytest.mark.parametrize("mode", ["auto", "compiled"])
def test_a_fault_is_no_reason_to_run_eagerly(mode, monkeypatch):
    freeze = Trace.freeze

    def broken(self, inputs, states, outputs, new_states, shapes):
        return freeze(self, inputs, states, outputs, states[:0], shapes)

    monkeypatch.setattr(Trace, "freeze", broken)
    with refused("got 0 new states"):
        nn.Recurrent(nn.RNNCell(3, 4), mode=mode)(tr.zeros((T, B, 3)))


def test_without_the_flag_nothing_is_verified(monkeypatch):
    monkeypatch.setattr(verify, "enabled", False)
    for name in ("verify_program", "verify_values"):
        monkeypatch.setattr(verify, name, None)
    monkeypatch.setattr("tinygrad_rnn.compiler.autodiff.adjoint.verify_adjoint", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.schedule.plan.verify_plan", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.schedule.plan.verify_schedule", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.codegen.layout.verify_source", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.codegen.layout.verify_bound", None)
    monkeypatch.setattr(bind_backward, "verify_epilogue", None)
    nn.RNN(3, 4)(tr.zeros((T, B, 3)))[0].sum().backward()


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("flag", "wanted"), [(None, "False"), ("", "False"), ("0", "False"), ("1", "True")])
def test_the_flag(flag, wanted):
    env = {k: v for k, v in os.environ.items() if k != "TINYGRAD_RNN_VERIFY"}
    env |= {} if flag is None else {"TINYGRAD_RNN_VERIFY": flag}
    code = "from tinygrad_rnn.compiler.ir import verify; print(verify.enabled)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted
    assert verify.enabled
