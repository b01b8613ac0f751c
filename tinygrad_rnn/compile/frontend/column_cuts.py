"""Where to cut products whose columns are used in overlapping parts."""

from __future__ import annotations

import itertools

from ..ir.program_ops import ADD, MATMUL
from ..ir.symbol import Symbol, behind
from ..ir.views import resolve


def overlaps(products: list[Symbol], roots: list[Symbol]) -> dict[int, list[int]]:
    """Where to cut products of which `roots` use overlapping columns, so that none is computed twice.

    A layer normalisation before a split is such a case: its mean needs all columns, each gate some.
    """
    used: dict[tuple, set[tuple[int, int]]] = {}  # of what times which rows of which matrix: the columns
    for s in behind(roots, lambda s: s.varying_operands):
        if s.op is MATMUL:
            key, columns = _column_range(s)
            used.setdefault(key, set()).add(columns)
    cuts = {}
    for i, product in enumerate(products):
        while product.op is ADD:  # of the pieces of a concatenation: all are cut alike
            product = product.args[0]
        key, (first, last) = _column_range(product)
        inside = sorted((a, b) for a, b in used.get(key, ()) if first <= a and b <= last)
        if any(b > c for (_, b), (c, _) in itertools.pairwise(inside)):
            cuts[i] = sorted({n - first for n in itertools.chain((first, last), *inside)})
    return cuts


def _column_range(product: Symbol) -> tuple[tuple, tuple[int, int]]:
    """What is multiplied with which rows of which matrix; and which columns of it."""
    a, w = product.args
    view = resolve(w)
    axis, start, stop = view.axes[1]
    return (a.uid, view.base.uid, axis, view.axes[0]), (start, stop)
