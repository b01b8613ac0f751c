"""Printing programs and schedules in a form that people read."""

from __future__ import annotations

from typing import Any

from .symbol import Symbol


def expression(s: Symbol) -> str:
    """One line: what `s` is computed from."""
    args = ", ".join(a.name if isinstance(a, Symbol) else f"{a:g}" for a in s.args)
    static = ", ".join(f"{k}={v}" for k, v in s.static.items() if k not in ("dtype", "rank", "shape"))
    op = s.op.name if s.op is not None else "leaf"
    kind = "bool" if s.dtype.kind == "b" else str(s.dtype)
    return f"{s.name}: {kind}[{'B, ' if s.varying else ''}{s.width if s.varying else list(s.shape)}] = {op}({args}{', ' + static if static else ''})"


def listing(symbols: list[Symbol]) -> list[str]:
    """Every value behind `symbols`, in order of computation."""
    seen: dict[int, Symbol] = {}
    stack = list(symbols)
    while stack:
        s = stack.pop()
        if s.uid in seen:
            continue
        seen[s.uid] = s
        stack += [a for a in s.args if isinstance(a, Symbol)]
    return [expression(seen[uid]) for uid in sorted(seen) if seen[uid].leaf is None]


def describe(schedule: Any) -> list[str]:
    """The schedule's levels, a line each, without sizes."""
    lines = []
    for level in range(schedule.levels):
        products = [
            " + ".join(f"{a.name} @ {w.name}" for a, w in p.members[0].terms)
            + (f" (and {len(p.members) - 1} more, side by side)" if len(p.members) > 1 else "")
            for p in schedule.products
            if p.level == level
        ]
        stores = [
            f"{s.value.name if isinstance(s.value, Symbol) else 'sum'} -> {s.place.buffer.name}"
            for s in schedule.stores
            if s.level == level
        ]
        parts = ([f"products: {'; '.join(products)}"] if products else []) + (
            [f"rows: {', '.join(stores)}"] if stores else []
        )
        lines.append(f"level {level}: {'; '.join(parts)}")
    return lines
