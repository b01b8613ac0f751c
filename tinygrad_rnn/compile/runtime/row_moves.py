"""The jobs that bring rows of sequences of different lengths from the caller's arrays to a loop's, and back."""

from __future__ import annotations

from ..codegen.layout import Layout
from ..schedule.buffers import Buffer
from ..schedule.plan import Plan
from .binding import Moves, Places


def forward_moves(plan: Plan, states: list[Buffer], outputs: list[Buffer], batch: int, fresh: bool) -> Moves:
    """Moves around a forward loop; with `fresh`, rows that begin anew do so from states of their own."""
    from ...kernels.loops.segments import BEGINS, CARRIED, FINAL, FRESH, LATE, NOW, OWNER, SOURCE, TURN
    from ...kernels.loops.tasks import MOVE, SKIP, ZERO

    traced = plan.traced
    inputs, ys = [x.width for x in traced.inputs], [y.width for y in traced.outputs]

    def enter(places: Places) -> list[tuple]:
        """Inputs step by step; what each segment begins with, before its first step."""
        jobs: list[tuple] = [(MOVE, f"cx{i}", f"x{i}", 0, n, SOURCE, -1, 0, n, n, ZERO) for i, n in enumerate(inputs)]
        for i, (b, s) in enumerate(zip(states, traced.states)):
            target, at, ld = places(b)
            spots = [(BEGINS, at)] if b.kind == "history" else [(-1, at), (-1, at + batch * ld)]
            for source, rows in [(f"s{i}", CARRIED), (f"n{i}", FRESH)] if fresh else [(f"s{i}", OWNER)]:
                jobs += [(MOVE, source, target, 0, s.width, rows, to, k, ld, s.width, SKIP) for to, k in spots]
        return jobs

    def leave(places: Places) -> list[tuple]:
        """Outputs to their places, zero where steps do not count; the last states of rows."""
        jobs: list[tuple] = []
        for i, (b, n) in enumerate(zip(outputs, ys)):
            source, at, ld = places(b)
            rows = LATE if b.kind == "history" else NOW
            jobs.append((MOVE, source, f"cy{i}", at, ld, rows, -1, 0, n, n, ZERO))
        for i, (b, s) in enumerate(zip(states, traced.states)):
            source, at, ld = places(b)
            rows = FINAL if b.kind == "history" else TURN
            jobs.append((MOVE, source, f"ce{i}", at, ld, rows, -1, 0, s.width, s.width, ZERO))
        return jobs

    names = [f"cx{i}" for i in range(len(inputs))] + [f"n{i}" for i in range(len(states) if fresh else 0)]
    names += [f"cy{i}" for i in range(len(ys))] + [f"ce{i}" for i in range(len(states))]
    return Moves(names, enter, leave)


def backward_moves(plan: Plan, layout: Layout, fresh: bool) -> Moves:
    """Moves around the backward loop, likewise."""
    from ...kernels.loops.segments import CARRIED, CLOSES, ENDS, FRESH, NOW, OWNER, SOURCE
    from ...kernels.loops.tasks import MOVE, PLUS, ZERO

    traced, sizes = plan.traced, layout.sizes
    widths = [y.width for y in traced.outputs]
    wanted = [i for i, want in enumerate(plan.wanted_inputs) if want]
    states = list(enumerate(zip(plan.carries, traced.states)))

    def enter(places: Places) -> list[tuple]:
        """Gradients of outputs step by step; those of final states to the segments that end with them."""
        jobs: list[tuple] = [(MOVE, f"cg{i}", f"g{i}", 0, n, SOURCE, -1, 0, n, n, ZERO) for i, n in enumerate(widths)]
        for i, (b, s) in states:
            target, at, ld = places(b)
            jobs.append((MOVE, f"s{i}", target, 0, s.width, CLOSES, -1, at, ld, s.width, ZERO))
        return jobs

    def leave(places: Places) -> list[tuple]:
        """Gradients of inputs to their places; those of states to what the segments began with."""
        jobs: list[tuple] = []
        for i in wanted:
            n = traced.inputs[i].width
            jobs.append((MOVE, f"dx{i}", f"cdx{i}", 0, sizes.row([n]), NOW, -1, 0, n, n, ZERO))
        for i, (b, s) in states:
            source, at, ld = places(b)
            for target, rows in [(f"cs{i}", CARRIED), (f"cn{i}", FRESH)] if fresh else [(f"cs{i}", OWNER)]:
                jobs.append((MOVE, source, target, at, ld, ENDS, rows, 0, s.width, s.width, PLUS))
        return jobs

    names = [f"cg{i}" for i in range(len(widths))] + [f"cdx{i}" for i in wanted]
    names += [f"cs{i}" for i, _ in states] + [f"cn{i}" for i, _ in states if fresh]
    return Moves(names, enter, leave)
