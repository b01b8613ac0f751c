"""Operations that only programs have: the normal form needs them, users do not write them."""

from __future__ import annotations

from ...core import Lowering, Op

SLICE = Op("slice", None, lowering=Lowering("elementwise", "{0}", 0))  # columns of a leaf: static start, stop
CAST = Op("cast", None, lowering=Lowering("elementwise", "{0}", 0))  # between bool and float
ALIAS = Op("alias", None, lowering=Lowering("elementwise", "{0}", 0))  # (B,) <-> (B, 1)
SPREAD = Op("spread", None, lowering=Lowering("elementwise", "{0}", 0))  # (B, 1) -> (B, F)
ZERO = Op("zero", None, lowering=Lowering("elementwise", "vsplat(0.0, k)", 0))
CONCAT = Op("concat", None, lowering=Lowering("concat"))
