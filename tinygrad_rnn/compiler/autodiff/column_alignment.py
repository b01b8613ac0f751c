"""Analysis of programs: whether each column of a value depends on one column of others only."""

from __future__ import annotations

from typing import Any

from ..ir.program_ops import BROADCAST_ROW, SLICE
from ..ir.symbol import Symbol
from ..ir.walk import fold
from .adjoint import differentiable_arguments


class ColumnAlignment:
    """Analysis: whether column i of a value depends on column i of some sources only.

    Parameters
    ----------
    sources : set of uids
    units : int
        Their width.
    differentiable : bool
        Whether only what gradients pass through counts.
    """

    def __init__(self, sources: set[int], units: int, differentiable: bool = False):
        self.units, self.differentiable = units, differentiable
        self.known: dict[int, Any] = dict.fromkeys(sources, True)  # None: depends on no source; else what mixes

    def find_mixing_op(self, root: Symbol) -> Symbol | None:
        """The operation that mixes columns on the way to `root`; None if there is none."""
        operands = differentiable_arguments if self.differentiable else lambda s: s.operands
        found = fold(root, self.known, operands, self._judge)
        return found if isinstance(found, Symbol) else None

    def _judge(self, s: Symbol, args: list) -> Any:
        mixing = next((a for a in args if isinstance(a, Symbol)), None)
        if mixing is not None or all(a is None for a in args):
            return mixing
        # a slice moves columns, and a broadcast spreads one over all: both count as elementwise to the loop, not here
        whole = s.ndim == 2 and s.width == self.units
        return True if whole and s.lowering.kind == "elementwise" and s.op not in (SLICE, BROADCAST_ROW) else s
