"""Equal extents: values and buffer rows that are equally wide for every size of the layer."""

from __future__ import annotations

from ..ir.program_ops import SLICE
from ..ir.symbol import Symbol
from .buffers import Buffer, BufferKind
from .schedule import Schedule


def equal_widths(schedule: Schedule) -> dict[int, int]:
    """For each value the first one that is equally wide, for every layer size: they share a loop."""
    parent: dict[int, int] = {}  # union-find: operands of elementwise maths have one width, others may differ

    def find(u: int) -> int:
        while parent.setdefault(u, u) != u:
            parent[u] = parent[parent[u]]  # shorter for the next one
            u = parent[u]
        return u

    for s in schedule.live.values():
        find(s.uid)
        if s.uid in schedule.sources or s.op is None or s.lowering.kind not in ("elementwise", "matmul"):
            continue
        for a in s.args:
            # a width of one may be that of a number which is broadcast: it joins nothing
            if isinstance(a, Symbol) and a.varying and a.width == s.width > 1 and s.lowering.kind == "elementwise":
                parent[find(a.uid)] = find(s.uid)
    first: dict[int, int] = {}
    for uid in sorted(schedule.live):
        first.setdefault(find(uid), uid)
    return {uid: first[find(uid)] for uid in schedule.live}


def equal_rows(schedule: Schedule, width_class: dict[int, int]) -> dict[Buffer, Buffer]:
    """For each buffer the first one whose rows are equally wide: they share strides and row offsets."""
    parts: dict[tuple[Buffer, int], int] = {}
    places = [*schedule.places.items(), *schedule.sources.items(), *((r.value.uid, r.place) for r in schedule.outputs)]
    for uid, place in places:
        s = schedule.live.get(uid)
        if s is None or s.op is SLICE or place.start:
            continue
        if s.width == place.buffer.parts[place.part]:
            parts[place.buffer, place.part] = width_class[uid]
    first: dict[tuple, Buffer] = {}
    found = {}
    for buffer in dict.fromkeys(buffer for buffer, _ in parts):
        # no value spans a part without a class, as where a state is a concatenation: nothing says what it is equal to
        widths = tuple(parts.get((buffer, i)) for i in range(len(buffer.parts)))
        if None not in widths:
            # rows of the caller's are not padded, so their stride is another
            kind = buffer.kind is BufferKind.EXTERNAL, buffer.of_products  # which decide on padding
            found[buffer] = first.setdefault((*kind, widths), buffer)
    return found
