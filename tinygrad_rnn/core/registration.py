"""Registration: a NumPy function and its rules become an operation, which tensors and symbols record."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import GraphError
from .lowering import Lowering
from .node import Op, Traceable, on_arrays

if TYPE_CHECKING:
    from .signatures import Decorator

registry: dict[str, Op] = {}


def primitive(
    *,
    vjps: Sequence[Callable | None] | None = None,
    joint_vjp: Callable | None = None,
    saves: Collection[int | str] | None = None,
    lowering: Lowering | None = None,
    view: bool = False,
    floats: bool = False,
    untyped: tuple[int, ...] = (),
    owns_gradients: bool = False,
) -> Decorator:
    """Register an operation of your own; the decorated function is its NumPy forward.

    The function takes arrays by position and static parameters by keyword. It then accepts tensors, and is
    differentiated, traced and compiled like every built-in operation.

    Parameters
    ----------
    vjps : sequence of callables, optional
        One rule per array: ``rule(g, out, *args, **static)``, written in tensor operations so that it can be
        differentiated again and compiled. ``None`` for an array without gradient. No rules at all: the
        operation has no gradient.
    joint_vjp : callable, optional
        Instead of `vjps`: ``rule(g, out, *args, needs, **static)`` returning one cotangent per array.
    saves : tuple, optional
        Which arrays' values (positions) the rules read; add ``OUT`` for the result. Default: all.
    lowering : Lowering, optional
        What it is in a compiled loop: an expression, a reduction or other operations, see :class:`Lowering`. Without
        one, or if a loop cannot be made of it, a step that uses the operation runs eagerly, and a warning says why.
    view, floats, untyped, owns_gradients
        See :class:`Op`.

    Returns
    -------
    callable
        The public function; its record is its attribute ``op``.

    Raises
    ------
    ValueError
        If a built-in operation has the function's name.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> @tr.primitive(vjps=[lambda g, y, x: g * 3 * x * x], saves=(0,),
    ...               lowering=tr.Lowering("elementwise", "{0} * {0} * {0}", cost=2))
    ... def cube(x):
    ...     return x * x * x
    >>> x = tr.tensor([2.0], requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor([12.], dtype=float32)
    """

    def wrap(forward: Callable) -> Any:
        name = forward.__name__.strip("_")
        op = Op(name, forward, vjps, joint_vjp, saves, lowering, view, floats, untyped, owns_gradients)
        owner = registry[op.name].forward.__module__ if op.name in registry else ""
        if owner.startswith("tinygrad_rnn.") and owner != forward.__module__:
            raise ValueError(f"primitive: got the name {op.name!r}, which {owner} has; choose another")
        registry[op.name] = op
        required = _required(forward)
        ruled = frozenset(required[: len(vjps or ())])

        @functools.wraps(forward)
        def call(*args: Any, **static: Any) -> Any:  # as apply(), but for one call less: the hottest line of the tape
            if static:
                by_keyword = not ruled.isdisjoint(static)
                for value in static.values():
                    if isinstance(value, Traceable):
                        by_keyword = True
                if by_keyword:
                    args, static = _by_position(op, required, args, static)
            for a in args:
                if isinstance(a, Traceable):
                    return a._record(op, args, static)
            return on_arrays(op, args, static)

        call.op = op  # type: ignore[attr-defined]
        return call

    return wrap


def _required(forward: Callable) -> tuple[str, ...]:
    """Names of the parameters that have no default and may be given by position."""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(forward).parameters.values()
    return tuple(p.name for p in parameters if p.kind in kinds and p.default is p.empty)


def _by_position(op: Op, required: tuple[str, ...], args: tuple, static: dict) -> tuple[tuple, dict]:
    """Arguments of a call with all values by position, where the tape and the rules look for them."""
    ruled = len(op.vjps or ())  # so many parameters are values for sure, tensors or not
    for i in range(len(args), len(required)):
        name = required[i]
        if name not in static or not (i < ruled or isinstance(static[name], Traceable)):
            break
        args = (*args, static.pop(name))
    for name, value in static.items():
        if isinstance(value, Traceable) and name not in required:
            raise GraphError(
                f"{op.name}: {name}: got a tensor by keyword, wanted it by position, or a number: gradients flow "
                "through what is given by position only"
            )
    return args, static
