"""How type checkers see operations: a tensor gives a tensor, whatever the other parameters are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, overload

if TYPE_CHECKING:
    from .aliases import ArrayLike, Value
    from .node import Op
    from .tensor import Tensor

P = ParamSpec("P")  # all parameters but the first


class Function(Protocol[P]):
    """A function of values: a tensor where one of them is a tensor, else an array.

    The first one decides for type checkers. After an array or a number they leave open which of both it is.
    """

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **static: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: ArrayLike, /, *args: P.args, **static: P.kwargs) -> Value: ...


class Operation(Function[P], Protocol[P]):
    """A public operation: a function with its record, as :func:`tinygrad_rnn.primitive` makes it."""

    op: Op


class Decorator(Protocol):
    """The decorator that a call of :func:`tinygrad_rnn.primitive` gives."""

    def __call__(self, forward: Callable[Concatenate[Any, P], Any], /) -> Operation[P]: ...


def like_first(function: Callable[Concatenate[Any, P], Any]) -> Function[P]:
    """The function as it is; type checkers see that its result is a tensor if its first argument is one."""
    return function
