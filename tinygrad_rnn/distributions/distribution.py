"""The base of distributions: parameters as tensors, shapes of draws, checks of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import config, ops
from ..checks import flag
from ..core import Tensor, Traceable, as_tensor, is_float
from ..core.aliases import Shape, Value
from ..errors import ShapeError
from ..ops.arguments import integers, operand

grad_mode = config.grad_mode


class Distribution:
    """A batch of independent distributions.

    Attributes
    ----------
    batch_shape : tuple
        The shape of the batch; that of one draw.
    """

    batch_shape: tuple[int, ...]

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws, `sample_shape` + `batch_shape`, through which no gradient flows."""
        raise NotImplementedError

    def log_prob(self, value: Value) -> Tensor:
        """The logarithm of the probability, or of its density, at `value`, which broadcasts with the batch."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy in nats, of the shape of the batch."""
        raise NotImplementedError

    def _shape(self, sample_shape: Shape) -> tuple[int, ...]:
        shape = integers(sample_shape, "sample_shape")
        if min(shape, default=0) < 0:
            raise ShapeError(f"sample_shape: got {sample_shape}, wanted lengths from 0 on")
        if grad_mode.tracer is not None:
            grad_mode.tracer.refuse("a draw from a distribution")
        return (*shape, *self.batch_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_shape={self.batch_shape})"


def floats(value: Any, name: str) -> Any:
    """A parameter as a tensor of floats; numbers and lists have the default dtype."""
    if not isinstance(value, Tensor | np.ndarray) and not hasattr(value, "dtype"):
        value = np.asarray(operand(value, name), config.get_default_dtype())
    found = as_tensor(operand(value, name))
    return found if is_float(found.dtype) else ops.astype(found, config.get_default_dtype())


def one_of_two(kind: str, probs: Any, logits: Any, validate_args: Any) -> tuple[str, Any]:
    """The name and the value of the one parameter that was given."""
    flag("validate_args", validate_args)
    if (probs is None) == (logits is None):
        got = "neither" if probs is None else "both"
        raise ValueError(f"{kind}: got {got} of probs and logits, wanted one of them")
    name = "logits" if probs is None else "probs"
    return name, floats(logits if probs is None else probs, f"{kind}: {name}")


def check_values(condition: Callable[[], Any], message: str) -> None:
    """Raise ValueError unless all of the bools hold that are computed; what is traced has no values yet."""
    if grad_mode.tracer is None and not np.asarray(condition()).all():
        raise ValueError(message)


def check_argument(value: Any, test: Callable[[np.ndarray], None]) -> None:
    """Let `test` raise what is wrong with a value; that of a program's argument, before each run."""
    tracer: Any = grad_mode.tracer
    if tracer is None or not isinstance(value, Traceable):
        test(np.asarray(value))
    elif tracer.whole:
        tracer.check_argument(tracer.lift(value), test)


def broadcast_shape(kind: str, a: tuple, b: tuple) -> tuple[int, ...]:
    """The shape to which two broadcast."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(f"{kind}: got shapes {a} and {b}, wanted such that broadcast") from None


def weighted(p: Any, value: Any) -> Any:
    """``p * value``; 0 where the probability `p` is, even if `value` is infinite, and no gradient there."""
    return p * ops.where(p == 0, 0.0, value)
