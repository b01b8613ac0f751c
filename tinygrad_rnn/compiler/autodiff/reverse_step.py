"""Reverse step: the cotangents that an adjoint computes, and how those of invariants are gathered."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.symbol import Symbol
from ..ir.walk import reachable


class MatrixProduct(NamedTuple):
    """``d(w) += a[t].T @ g[t]``, summed over time and rows; done after the loop."""

    w: Symbol
    a: Symbol
    g: Symbol


class ScatterAdd(NamedTuple):
    """``d(table)[rows[t][i]] += g[t][i]``, row after row; done after the loop."""

    table: Symbol  # (V, E)
    rows: Symbol  # (B, n): of the table
    g: Symbol  # (B, n * E)
    padding: int  # the row that gets no gradient, or -1


class Reduction(NamedTuple):
    """``d(v) += g[t]``, summed over time, and over rows and features where `v` was broadcast."""

    v: Symbol
    g: Symbol


class Adjoint(NamedTuple):
    """The reverse step: what it computes at each time step, from late to early.

    ``states[i]`` and ``inputs[i]`` are the cotangents of the step's arguments (None: not asked for); `products`,
    `reductions` and `scatters` say how the cotangents of invariants are gathered.
    """

    states: list[Symbol]
    inputs: list[Symbol | None]
    products: list[MatrixProduct]
    reductions: list[Reduction]
    scatters: list[ScatterAdd]

    def lines(self) -> list[tuple]:
        """Comparable listing of all values; equal for two adjoints that compute the same."""
        roots = [*self.states, *[g for g in self.inputs if g is not None]]
        roots += [s for product in self.products for s in product] + [s for r in self.reductions for s in r]
        roots += [s for table, index, g, _ in self.scatters for s in (table, index, g)]
        values = sorted(reachable(roots, lambda s: s.operands), key=lambda s: s.uid)
        return [
            (s.uid, s.operation, [a.uid if isinstance(a, Symbol) else repr(a) for a in s.args], repr(s.static), s.shape)
            for s in values
        ] + [tuple(s.uid for s in roots)]
