"""Lowerings: what an operation is inside a compiled loop, as a part of its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Reduction(NamedTuple):
    """How a compiled loop reduces the features of a row to one number.

    A total begins as `init`. Each feature goes through `each` and into the total by `combine`; the finished total goes
    through `finish`. All but `init` are expressions, see :class:`Lowering`.

    Parameters
    ----------
    init : float
        Neutral: combined with any total, it leaves that as it is.
    combine : str
        Of two totals, ``{0}`` and ``{1}``. It has to be associative and commutative, as vector registers hold one total
        in each lane, which are combined at the end of the row.
    finish : str
        Of the total, ``{0}``. By default the total is the result.
    each : str
        Of a feature, ``{0}``. By default features are combined as they are.

    Examples
    --------
    The largest absolute value:

    >>> import numpy as np, tinygrad_rnn as tr
    >>> @tr.primitive(lowering=tr.Lowering(reduction=tr.Reduction(0.0, "vmax({0}, {1})", each="vabs({0})")))
    ... def largest(x):
    ...     return np.abs(x).max(axis=-1, keepdims=True)
    >>> largest(tr.tensor([[1.0, -3.0]]))
    tensor([[3.]], dtype=float32)
    """

    init: float
    combine: str
    finish: str = "{0}"
    each: str = "{0}"


@dataclass(frozen=True)
class Lowering:
    """What an operation is inside a compiled loop: an expression, a reduction, or other operations.

    Parameters
    ----------
    kind : str, optional
        "elementwise", "reduce" or "decompose"; by default, what is given says it. Other kinds, such as "matmul", are
        the package's own: an operation of yours that has one runs on the tape.
    code : str
        Of an elementwise operation: an expression in which ``{0}``, ``{1}`` stand for the inputs and ``{name}`` for a
        static parameter that is a number. It may hold

        * numbers and ``INF``,
        * the operators ``+ - * /``; ``vabs``, ``vfloor``, ``vround``, ``vmax``, ``vmin``; ``arctan``, ``arctan2``,
          ``cos``, ``erf``, ``exp``, ``expm1``, ``log``, ``log1p``, ``power``, ``sigmoid``, ``sin``, ``softplus``,
          ``sqrt``, ``tanh``; ``vbits``, of two whole numbers the bits that both have,
        * comparisons, which give truth values, and ``& | ^ ~`` of those,
        * ``vselect(condition, a, b)``; ``vsplat(number, k)``, the number in all lanes of a vector.
    cost : int
        Rough price per vector in multiples of an addition: whether to save or to recompute.
    reduction : Reduction, optional
        Of a reduction along the last axis.
    decompose : callable, optional
        ``decompose(*args, **static)`` computes the same from other operations, on the tensors of the step. What it
        gives has the shape and dtype that the operation gives. It may return ``NotImplemented``: then `code` or
        `reduction` is taken. A loop's gradients are those of the parts; the operation's own rules serve the tape.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> @tr.primitive(vjps=[lambda g, y, x: g * 2 * x], saves=(0,), lowering=tr.Lowering("elementwise", "{0} * {0}"))
    ... def square(x):
    ...     return x * x
    >>> @tr.primitive(lowering=tr.Lowering(decompose=lambda x: square(x).mean(axis=-1, keepdims=True)))
    ... def power_of_signal(x):
    ...     return np.mean(x * x, axis=-1, keepdims=True)
    >>> power_of_signal(tr.tensor([[1.0, 3.0]]))
    tensor([[5.]], dtype=float32)
    """

    kind: str = ""
    code: str = ""
    cost: int = 1
    reduction: Reduction | None = None
    decompose: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not self.kind:
            given = (self.code, "elementwise"), (self.reduction, "reduce"), (self.decompose, "decompose")
            object.__setattr__(self, "kind", next((kind for part, kind in given if part), ""))
