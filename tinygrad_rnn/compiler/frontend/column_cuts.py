"""Cuts of products whose columns are used in overlapping parts, so that none is computed twice."""

from __future__ import annotations

import itertools

from ..ir.program_ops import ADD, MATMUL
from ..ir.symbol import Symbol
from ..ir.walk import reachable
from ..ir.weight_slices import resolve_slice


def overlaps(products: list[Symbol], roots: list[Symbol]) -> dict[int, list[int]]:
    """Columns at which to cut the products of which `roots` use overlapping columns.

    A layer normalisation before a split is such a case: its mean needs all columns, each gate some.
    """
    used: dict[tuple, set[tuple[int, int]]] = {}  # of what times which rows of which matrix: the columns
    for s in reachable(roots, lambda s: s.varying_operands):
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
    """(left operand, matrix, its rows) of a product, and the range of its columns."""
    a, w = product.args
    view = resolve_slice(w)
    axis, start, stop = view.axes[1]
    return (a.uid, view.base.uid, axis, view.axes[0]), (start, stop)
