"""GEMM fusion: sums of products, with what is added to them, become one call of the matrix tile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ir.program_ops import ADD, MATMUL
from ..ir.symbol import Symbol
from ..ir.weight_slices import resolve_slice
from .buffers import Place


@dataclass(eq=False)
class Accumulation:
    """``out = sum(a @ w) + bias + initial terms + epilogue terms``, one call of the matrix tile.

    The tile starts from the bias, or from initial terms that an earlier sweep has stored where the result goes.
    Epilogue terms are ready too late for that: whoever reads the result adds them.
    """

    out: Symbol
    terms: list[tuple[Symbol, Symbol]]
    bias: list[Symbol] = field(default_factory=list)
    initial_terms: list[Any] = field(default_factory=list)
    epilogue_terms: list[Any] = field(default_factory=list)
    level: int = 0
    place: Place | None = None


def find_accumulations(
    order: list[Symbol], uses: Mapping[int, int], sources: Collection[int], per_step: Collection[int]
) -> dict[int, Accumulation]:
    """Accumulations among the values that a loop computes, by the uid of their result.

    Parameters
    ----------
    order : list of Symbol
        Those values, operands first.
    uses : mapping
        How often each is read.
    sources, per_step : collections of uids
        What is there before the step runs; what has to be kept, and so is not absorbed into a sum.
    """
    found: dict[int, Accumulation] = {}
    absorbed: set[int] = set()

    def inner(s: Symbol) -> bool:
        """Whether one sum alone reads `s`."""
        # results and kept values count as read once more than by their users
        return uses[s.uid] == 1 and s.uid not in per_step and s.uid not in sources

    def addends(s: Symbol) -> list[Any]:
        """Terms of the sum `s`; sums in between are taken apart."""
        out: list[Any] = []
        for a in s.args:
            if isinstance(a, Symbol) and a.varying and a.shape == s.shape and a.op is ADD and inner(a):
                out += addends(a)
            else:
                out.append(a)
        return out

    def absorb(s: Symbol) -> None:
        for a in s.args:
            if isinstance(a, Symbol) and a.varying and a.shape == s.shape and a.op is ADD and inner(a):
                absorbed.add(a.uid)
                absorb(a)

    for s in reversed(order):  # from the results: the outermost sum absorbs those within
        if s.uid in absorbed or s.op not in (ADD, MATMUL):
            continue
        parts = addends(s) if s.op is ADD else [s]
        products = [t for t in parts if isinstance(t, Symbol) and _is_product(t, s) and (t is s or inner(t))]
        if not products:
            continue
        rest = [t for t in parts if not any(t is p for p in products)]
        # invariants of one row are packed, so the tile can begin from them; what else is ready in time is not known yet
        bias = [t for t in rest if isinstance(t, Symbol) and not t.varying and _is_row(t, s)]
        others = [t for t in rest if not any(t is b for b in bias)]
        terms = sorted(((p.args[0], p.args[1]) for p in products), key=_matrix_order)
        found[s.uid] = Accumulation(s, terms, bias, others)
        absorbed.update(p.uid for p in products)
        if s.op is ADD:
            absorb(s)
    return found


def _is_product(t: Symbol, out: Symbol) -> bool:
    return t.varying and t.op is MATMUL and t.shape == out.shape  # one number a row is added by who reads it


def _matrix_order(term: tuple[Symbol, Symbol]):
    """Sort key of terms: operands of neighbouring rows of one matrix come side by side."""
    a, w = term
    view = resolve_slice(w)
    return view.base.uid, view.axes[0][1:], a.uid


def _is_row(v: Symbol, out: Symbol) -> bool:
    """Whether `v` is one row that is added to every row of `out`."""
    return v.shape in ((out.width,), (1, out.width)) and out.ndim == 2
