"""Comparison of a batch with lengths, masks and resets with its rows run alone, part by part."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .. import ops
from ..config import no_grad
from ..core import Tensor, is_float, tree
from ..recurrent import Recurrent
from .cell_case import Case, Runner, evaluate, joined, require_equal, rows_of


def require_as_alone(
    case: Case, here: str, there: str, valid: np.ndarray | None = None, resets: np.ndarray | None = None, **which: Any
) -> None:
    """Compare a run with lengths, mask and resets, eager and compiled, with rows that are run by hand.

    Parameters
    ----------
    here, there : str
        Names of the two sides in messages.
    valid : bools (T, B), optional
        The steps that count, by hand; inputs at the others are NaN.
    resets : bools (T, B), optional
        Steps before which a row is reset.
    which : lengths, mask
        Arguments of the layer.
    """
    counts = np.ones((case.time, case.batch), bool) if valid is None else valid

    def by_hand(cell: Any, xs: Any, state: Any) -> tuple[Any, Any]:
        layer = Recurrent(cell, mode="eager")
        with no_grad():
            like, _ = layer(xs, state)
        rows = [_alone(layer, xs, state, like, counts[:, b], None if resets is None else resets[:, b], b)
                for b in range(case.batch)]  # fmt: skip
        return joined([y for y, _ in rows], 1), joined([s for _, s in rows], 0)

    def told(mode: str) -> Runner:
        return lambda cell, xs, state: Recurrent(cell, mode=mode)(tree.map(poisoned, xs), state, resets=resets, **which)

    def poisoned(x: Tensor) -> Tensor:
        fits = counts.reshape(*counts.shape, *(1,) * (len(x.shape) - 2))
        return ops.where(fits, x, np.nan) if is_float(x.dtype) and not counts.all() else x

    wanted = evaluate(case.evaluated(), by_hand)
    for mode in ("eager",) if case.subject.reason else ("eager", "compiled"):
        require_equal(evaluate(case, told(mode)), wanted, f"{here} ({mode})", there)


def _alone(
    layer: Callable, xs: Any, state: Any, like: Any, counts: np.ndarray, resets: np.ndarray | None, b: int
) -> tuple[Any, Any]:
    """Outputs and state of row `b`, run over its valid steps in parts between resets; zeros elsewhere."""
    row, steps = slice(b, b + 1), np.flatnonzero(counts)
    mine = layer.cell.initial_state(1) if state is None else rows_of(state, row, 0)  # type: ignore[attr-defined]
    cuts = [0, *(i for i in range(1, len(steps)) if resets is not None and resets[steps[i]]), len(steps)]
    outputs = []
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        if resets is not None and resets[steps[start]]:
            mine = None
        y, mine = layer(rows_of(rows_of(xs, row, 1), steps[start:stop].tolist(), 0), mine)
        outputs.append(y)
    left = np.flatnonzero(~counts)
    if len(left):
        outputs.append(tree.map(lambda y: Tensor(np.zeros((len(left), 1, *y.shape[2:]), y.dtype)), like))
    order = np.argsort(np.concatenate([steps, left])).tolist()
    return rows_of(joined(outputs, 0), order, 0), mine
