"""Check against values (B,) that broadcast over features where there are as many as rows."""

from __future__ import annotations

from typing import Any

from ...core import Op, Tensor
from ...errors import ShapeError

KEEPING = frozenset({"reduce", "decompose", "matmul", "concat", "split", "reshape", "broadcast"})


def may_spread(leaves: list[Tensor], batch: int) -> bool:
    """Whether a step of these inputs and states may broadcast a value (B,) over B features."""
    if batch > 1:
        for x in leaves:
            shape = x.data.shape
            if len(shape) == 1 or shape[-1] == batch:
                return True
    return False


class RowNumbers:
    """Listener to a step's operations that tracks which values have the batch as their first axis.

    It refuses elementwise maths of a value (B,) with one of (B, n) where n happens to be B, which works for this size
    of the batch alone.

    Parameters
    ----------
    title : str
        The name of the cell in errors.
    leaves : list of tensors, (B, ...)
        The inputs and states of the step.
    """

    def __init__(self, title: str, leaves: list[Tensor], batch: int):
        self.title, self.batch = title, batch
        self._rows = {id(x.data): x.data for x in leaves}  # arrays, as views of the tape share them; kept alive

    def __call__(self, op: Op, args: tuple, static: dict, out: Any) -> None:
        """Track an operation and its result.

        Raises
        ------
        ShapeError
        """
        rows = [a.data for a in args if isinstance(a, Tensor) and id(a.data) in self._rows]
        if not rows:
            return
        kind = op.lowering.kind if op.lowering is not None else ""
        if kind in ("elementwise", "cast"):
            rank = max(a.ndim for a in rows)
            if min(a.ndim for a in rows) == 1 < rank:
                self._refuse_spread(op, rows)
            keeps = getattr(out, "ndim", 0) == rank
        elif not op.forward.__module__.startswith("tinygrad_rnn."):
            keeps = False  # a user's, of which nothing else is known
        elif kind == "slice":
            first = next(iter(static["index"]), None)  # arrays, too, which cannot be compared
            keeps = first is Ellipsis or (isinstance(first, slice) and first == slice(None))
        else:
            axis = static.get("axis", 1)
            axes = axis if isinstance(axis, tuple) else (axis,)
            whole = args[0].data if isinstance(args[0], Tensor) else None
            keeps = kind in KEEPING and id(whole) in self._rows and not {0, -rows[0].ndim, None} & {*axes}
        for y in out if isinstance(out, tuple) else (out,):
            if keeps and y.data.shape[:1] == (self.batch,):
                self._rows[id(y.data)] = y.data

    def _refuse_spread(self, op: Op, rows: list) -> None:
        wide = next((a for a in rows if a.ndim > 1 and a.shape[-1] == self.batch), None)
        if wide is not None:
            raise ShapeError(
                f"{self.title}.step: {op.name}: got ({self.batch},), a number for each row of the batch, and "
                f"{wide.shape}: NumPy would spread it over features, of which there happen to be {self.batch} too; "
                "write v[:, None] for a number per row"
            )
