"""The axis of the batch in states, and whether a step keeps its rows apart; for searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Tensor, tree
from ..errors import ShapeError
from ..recurrent.rows import take_rows

Step = Callable[[np.ndarray, Any], tuple[Any, Any]]


def row_axes(
    step: Step, ids: np.ndarray, state: Any, rows: int, batch_axis: int | None, known: list[int] | None = None
) -> list[int]:
    """The axis of the rows of each tensor in `state`.

    It is as long as there are rows. Where several are, `step` is run with one row alone, or twice, along each of them:
    the right one gives the logits that the row has among the others.

    Parameters
    ----------
    known : list of int, optional
        The axes in a state before this one, which are taken if they fit.

    Raises
    ------
    ShapeError
        If there is none, or several do.
    """
    shapes = [_values(leaf).shape for leaf in tree.flatten(state)[0]]
    if batch_axis is not None:
        known = [batch_axis] * len(shapes)
    if (
        known
        and len(known) == len(shapes)
        and all(-len(s) <= a < len(s) and s[a] == rows for a, s in zip(known, shapes))
    ):
        return known
    for shape in shapes:
        if batch_axis is not None or rows not in shape:
            where = "an axis" if batch_axis is None else f"axis {batch_axis}"
            raise ShapeError(f"beam_search: state: got shape {shape}, wanted {where} with {rows} rows")
    guesses = []
    for axis in range(max(map(len, shapes), default=0)):
        guess = [axis if shape[axis : axis + 1] == (rows,) else shape.index(rows) for shape in shapes]
        if guess not in guesses:
            guesses.append(guess)
    if len(guesses) > 1:
        together = _logits(step, ids, state)
        index = np.zeros(1 if rows > 1 else 2, int)
        guesses = [g for g in guesses if _agrees(step, ids[index], take_rows(state, index, g), together[index])]
    if len(guesses) > 1 or (shapes and not guesses):
        raise ShapeError(
            f"beam_search: state: got shapes {', '.join(map(str, shapes))} for {rows} rows, and which axis they are "
            "cannot be told; pass batch_axis=, or switch noise off with eval()"
        )
    return guesses[0] if guesses else []


def check_rows_apart(name: str, step: Step, ids: np.ndarray, logits: Any, state: Any) -> None:
    """Raise if a step lets a row depend on another; `logits` and `state` are of all rows at once.

    Raises
    ------
    ShapeError
    """
    together = _values(logits)
    if together.ndim != 2 or len(together) != len(ids):
        return  # there are words of its own for that
    if _agrees(step, ids[1:2], None, together[1:2], unless=True):
        return
    if not _close(_logits(step, ids, None), together):
        return  # noise
    raise ShapeError(
        f"{name}: step: the logits of a row depend on the rows before it, wanted rows apart; a model that takes (T, B) "
        "reads ids (B,) as steps: give it ids[None], and take logits[0]"
    )


def _agrees(step: Step, ids: np.ndarray, state: Any, wanted: np.ndarray, unless: bool = False) -> bool:
    """Whether a step gives these logits; `unless` if it cannot be run so."""
    try:
        return _close(_logits(step, ids, state), wanted)
    except Exception:
        return unless


def _logits(step: Step, ids: np.ndarray, state: Any) -> np.ndarray:
    return _values(step(ids, state)[0])


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return np.allclose(a, b, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)


def _values(value: Any) -> np.ndarray:
    return value.data if isinstance(value, Tensor) else np.asarray(value)
