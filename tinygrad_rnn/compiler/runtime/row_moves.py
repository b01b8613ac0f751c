"""Gather and scatter of rows of sequences of different lengths, as tasks around a loop."""

from __future__ import annotations

from ...kernels.loops.task_codes import IN_ORDER, Matrix, Missing, MoveRows, Section, Task
from ..codegen.array_names import Role
from ..codegen.layout import Layout
from ..schedule.buffers import Buffer, BufferKind
from ..schedule.plan import Plan
from .binding import Locate, RowMoves


def forward_moves(
    plan: Plan, states: list[Buffer], outputs: list[Buffer], batch: int, with_reset_states: bool
) -> RowMoves:
    """Moves around a forward loop; `with_reset_states`: rows are reset to other states than initial ones."""
    traced = plan.traced
    inputs, ys = [x.width for x in traced.inputs], [y.width for y in traced.outputs]

    def gather(locate: Locate) -> list[Task]:
        """Inputs step by step; what each segment begins with, before its first step."""
        tasks: list[Task] = []
        for i, n in enumerate(inputs):
            source, target = Matrix(Role.CALLER_INPUT.of(i), 0, n), Matrix(Role.INPUT.of(i), 0, n)
            tasks.append(MoveRows(source, target, Section.PADDED_ROW, IN_ORDER, n, Missing.ZERO))
        initial = [(Role.STATE, Section.INITIAL_ROW if with_reset_states else Section.BATCH_ROW)]
        if with_reset_states:
            initial.append((Role.RESET_STATE, Section.RESET_ROW))
        for i, (b, s) in enumerate(zip(states, traced.states)):
            target = locate(b)
            slots: list[tuple[int, Matrix]] = [(Section.FIRST_STATE, target)]
            if (
                b.kind is not BufferKind.STATES
            ):  # a step reads one slot of a ring or the other, as its number is even or odd
                slots = [(IN_ORDER, target), (IN_ORDER, target._replace(at=target.at + batch * target.ld))]
            for role, rows in initial:
                source = Matrix(role.of(i), 0, s.width)
                # a segment begins with a state of one of the two kinds: each task leaves the rows of the other alone
                tasks += [MoveRows(source, slot, rows, to, s.width, Missing.KEEP) for to, slot in slots]
        return tasks

    def scatter(locate: Locate) -> list[Task]:
        """Outputs to their places, zero where steps do not count; the last states of rows."""
        tasks: list[Task] = []
        for i, (b, n) in enumerate(zip(outputs, ys)):
            rows = Section.PACKED_STATE if b.kind is BufferKind.STATES else Section.PACKED_ROW
            target = Matrix(Role.CALLER_OUTPUT.of(i), 0, n)
            tasks.append(MoveRows(locate(b), target, rows, IN_ORDER, n, Missing.ZERO))
        for i, (b, s) in enumerate(zip(states, traced.states)):
            rows = Section.FINAL_STATE if b.kind is BufferKind.STATES else Section.FINAL_SLOT
            target = Matrix(Role.CALLER_FINAL.of(i), 0, s.width)
            tasks.append(MoveRows(locate(b), target, rows, IN_ORDER, s.width, Missing.ZERO))
        return tasks

    names = [Role.CALLER_INPUT.of(i) for i in range(len(inputs))]
    names += [Role.RESET_STATE.of(i) for i in range(len(states) if with_reset_states else 0)]
    names += [Role.CALLER_OUTPUT.of(i) for i in range(len(ys))]
    names += [Role.CALLER_FINAL.of(i) for i in range(len(states))]
    return RowMoves(names, gather, scatter)


def backward_moves(plan: Plan, layout: Layout, with_reset_states: bool) -> RowMoves:
    """Moves around the backward loop, likewise."""
    traced, sizes = plan.traced, layout.sizes
    widths = [y.width for y in traced.outputs]
    wanted = [i for i, want in enumerate(plan.wanted_inputs) if want]
    states = list(enumerate(zip(plan.carries, traced.states)))

    def gather(locate: Locate) -> list[Task]:
        """Gradients of outputs step by step; those of final states to the segments that end with them."""
        tasks: list[Task] = []
        for i, n in enumerate(widths):
            source, target = Matrix(Role.CALLER_OUTPUT_GRAD.of(i), 0, n), Matrix(Role.OUTPUT_GRAD.of(i), 0, n)
            tasks.append(MoveRows(source, target, Section.PADDED_ROW, IN_ORDER, n, Missing.ZERO))
        for i, (b, s) in states:
            source = Matrix(Role.STATE.of(i), 0, s.width)
            tasks.append(MoveRows(source, locate(b), Section.FINAL_ROW, IN_ORDER, s.width, Missing.ZERO))
        return tasks

    def scatter(locate: Locate) -> list[Task]:
        """Gradients of inputs to their places; those of states to what the segments began with."""
        tasks: list[Task] = []
        for i in wanted:
            n = traced.inputs[i].width
            ld = sizes.input_grad_ld(plan.input_buffers.get(i), n)
            source, target = Matrix(Role.INPUT_GRAD.of(i), 0, ld), Matrix(Role.CALLER_INPUT_GRAD.of(i), 0, n)
            tasks.append(MoveRows(source, target, Section.PACKED_ROW, IN_ORDER, n, Missing.ZERO))
        began = [(Role.CALLER_STATE_GRAD, Section.INITIAL_ROW if with_reset_states else Section.BATCH_ROW)]
        if with_reset_states:
            began.append((Role.CALLER_RESET_GRAD, Section.RESET_ROW))
        for i, (b, s) in states:
            for role, rows in began:
                target = Matrix(role.of(i), 0, s.width)
                # several segments of a row may begin with the same reset state: their gradients add up
                tasks.append(MoveRows(locate(b), target, Section.FIRST_GRAD, rows, s.width, Missing.ADD))
        return tasks

    names = [Role.CALLER_OUTPUT_GRAD.of(i) for i in range(len(widths))]
    names += [Role.CALLER_INPUT_GRAD.of(i) for i in wanted]
    names += [Role.CALLER_STATE_GRAD.of(i) for i, _ in states]
    names += [Role.CALLER_RESET_GRAD.of(i) for i, _ in states if with_reset_states]
    return RowMoves(names, gather, scatter)
