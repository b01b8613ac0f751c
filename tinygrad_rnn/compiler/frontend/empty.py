"""Values without elements: what an empty slice gives, and what is made of it.

No gradient goes through them, and no program reads them: they are zeros of width 0. Joins leave them out; whatever else
is computed from one has no elements either, or does not depend on any: it is the same number each time, as the sum of
nothing is 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...core.dtype import promote
from ..ir.infer import infer, stand_in
from ..ir.program_ops import CAST, ZERO
from ..ir.symbol import BATCH, Symbol
from .integers import Integers


def is_empty(value: Any) -> bool:
    """Whether an operand is a tensor without elements."""
    return isinstance(value, Symbol) and 0 in value.shape


class Empty(Integers):
    """Rules for values without elements."""

    same_in_all_rows: Any

    def empty(self, shape: tuple, dtype: Any) -> Symbol:
        """The value of this shape, which has an axis of length 0."""
        row = self.make(ZERO, (), {"shape": (BATCH, 0)}, (BATCH, 0), self.dtype)
        self.ranges[row.uid] = 0.0, 0.0
        if dtype.kind == "b":
            row = self.make(CAST, (row,), {"dtype": str(dtype)}, (BATCH, 0), dtype)
        return self.shaped(row, shape[1:], dtype)

    def of_empty(self, op: Any, args: tuple, static: dict) -> Any:
        """An operation with an operand that has no elements; what the tape refuses is refused by `infer`."""
        found = infer(op, args, static, self.stand_in)
        if isinstance(found, list):
            return tuple([self._result(op, args, static, s, d, i) for i, (s, d) in enumerate(found)])
        return self._result(op, args, static, *found)

    def _result(self, op: Any, args: tuple, static: dict, shape: tuple, dtype: Any, number: int | None = None) -> Any:
        shape = self.symbolic(shape)
        if shape[:1] != (BATCH,) or (dtype.kind == "f" and dtype != self.dtype):
            self.fail(op, args, f"a row for each batch row, of {self.dtype}, not {dtype}{list(shape)}")
        if 0 in shape:
            return self.empty(shape, dtype)
        if op.lowering is not None and op.lowering.kind == "concat":
            return self._joined_without(op, args, static, dtype)
        arrays = [self._array(a) if isinstance(a, Symbol) else a for a in args]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = op.forward(*promote(op, arrays, [isinstance(a, Symbol) for a in args]), **static)
        return self.same_in_all_rows(np.asarray(out if number is None else out[number]))

    def _array(self, a: Symbol) -> np.ndarray:
        return stand_in(a.dtype, tuple([self.stand_in if n is BATCH else n for n in a.shape]))

    def _joined_without(self, op: Any, args: tuple, static: dict, dtype: np.dtype) -> Any:
        """A join of the operands that have elements."""
        rest = [a for a in args if 0 not in a.shape]
        rest = [a if a.varying or a.dtype.kind != "f" else self.zero(a.shape) + a for a in rest]
        joined = rest[0] if len(rest) == 1 else self.record(op, tuple(rest), static)
        return joined if joined.dtype == dtype else joined.astype(dtype)
