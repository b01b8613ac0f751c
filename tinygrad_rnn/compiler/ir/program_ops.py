"""Operations of programs alone, and records of the tape's whose algebra the compiler uses."""

from __future__ import annotations

from ...core import Lowering, Op
from ...ops import add, divide, elementwise, index, linalg, multiply, negative, reduce, shape, subtract

SLICE = Op("slice", None, lowering=Lowering("elementwise", "{0}", 0))  # columns of a leaf: static start, stop
CAST = Op("cast", None, lowering=Lowering("elementwise", "{0}", 0))  # between bool and float
RESHAPE_ROW = Op("reshape", None, lowering=Lowering("elementwise", "{0}", 0))  # (B,) <-> (B, 1)
BROADCAST_ROW = Op("broadcast", None, lowering=Lowering("elementwise", "{0}", 0))  # (B, 1) -> (B, F)
ZERO = Op("zero", None, lowering=Lowering("elementwise", "vsplat(0.0, k)", 0))
CONCAT = Op("concat", None, lowering=Lowering("concat"))  # of results, and before parts go their own ways
JOIN = Op("join", None, lowering=Lowering("join", cost=4))  # a row in one piece, of which parts are stored one by one
# of rows that hold values of any rank, in order: see frontend/any_rank.py
VIEW = Op("view", None, lowering=Lowering("view"))  # a row of features as a step sees it: static row, dtype
EXPAND = Op("expand", None, lowering=Lowering("expand", cost=0))  # repeated along some axes: static dims
GATHER = Op("gather", None, lowering=Lowering("gather", cost=4))  # features by constant numbers: static table
LOOKUP = Op("lookup", None, lowering=Lowering("lookup", cost=8))  # a table's numbers at computed places
# an invariant: matrices of a stack along the diagonal of one that is zero elsewhere, see ir/heads.py
BLOCKS = Op("blocks", None)
FLATTEN = Op("flatten", None)  # an invariant with a row for each batch row, broadcast to a row: static row
PICK = Op("output", None)  # of an operation on parameters that gives several: static index

# records, not names: an operation of a user's may be called as one of them
ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATIVE = add.op, subtract.op, multiply.op, divide.op, negative.op
MATMUL, SUM, CONSTANT = linalg.MATMUL, reduce.SUM, elementwise.CONSTANT
GETITEM, TRANSPOSE = index.GETITEM, shape.TRANSPOSE
RESHAPE, BROADCAST = shape.RESHAPE, shape.BROADCAST_TO


def is_ours(op: Op) -> bool:
    """Whether the record of an operation is this package's, and not one of a user's own."""
    return op.forward is None or (getattr(op.forward, "__module__", None) or "").startswith("tinygrad_rnn.")
