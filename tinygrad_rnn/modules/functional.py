"""Layers and losses as functions, in PyTorch's names.

In the losses, classes stand on the **last** axis: logits are (..., C) and targets (...), so that outputs over
sequences, (T, B, C), go in as they are. (PyTorch puts the classes on axis 1; for (N, C) the two agree.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..checks import MOST, number, one_of, whole_number
from ..config import get_default_dtype, grad_mode
from ..core import Tensor, as_tensor, is_float
from ..core.aliases import Shape, Value
from ..core.dtype import as_array
from ..core.signatures import like_first
from ..errors import DTypeError, ShapeError
from ..ops.arguments import broadcasts, integers, operand
from ..ops.cross_entropy import check_classes, class_cross_entropy, class_nll, share_cross_entropy
from ..ops.elementwise import masked_product
from ..ops.layer_norm import layer_norm as normalised
from ..ops.linear import linear as linear
from ..ops.loss import logistic_loss, squared_error
from .ctc import REDUCTIONS
from .ctc import ctc_loss as ctc_loss
from .parameter import check_eps


@like_first
def layer_norm(x: Value, normalized_shape: Shape, weight: Value = None, bias: Value = None, eps: float = 1e-5) -> Value:
    """Bring `x` to mean 0 and variance 1 over its trailing axes, then scale and shift, as PyTorch's.

    Rows of equal elements become exactly 0 (then `bias`), and rows whose variance overflows NaN.

    Parameters
    ----------
    x : Tensor, (..., *normalized_shape)
    normalized_shape : int or tuple of int
    weight, bias : Tensor, of `normalized_shape`, optional
    eps : float
        Added to the variance.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    x, shape = operand(x, "layer_norm"), integers(normalized_shape, "normalized_shape")
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        wanted = ", ".join(("...", *map(str, shape)))
        raise ShapeError(f"layer_norm: x: got shape {tuple(x.shape)}, wanted ({wanted})")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(operand(value, name).shape) != shape:
            raise ShapeError(f"layer_norm: {name}: got shape {tuple(operand(value, name).shape)}, wanted {shape}")
    return normalise(x, len(shape), weight, bias, check_eps("layer_norm", eps))


def normalise(x: Value, n_axes: int, weight: Value, bias: Value, eps: float) -> Value:
    """Layer normalisation over the last `n_axes` axes, of arguments that were checked."""
    affine = [p for p in (weight, bias) if p is not None]
    return normalised(x, *affine, n_axes=n_axes, eps=eps, scaled=weight is not None, saved={})


def _pair(name: str, input: Value, target: Value) -> tuple[Value, Value]:
    """Input and target, checked to be of one shape; lists become arrays."""
    input, target = operand(input, f"{name}: input"), operand(target, f"{name}: target")
    if target.shape != input.shape:
        raise ShapeError(f"{name}: target: got shape {tuple(target.shape)}, wanted {tuple(input.shape)} as the input")
    return input, target


def _reduce(loss: Value, reduction: str) -> Value:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    return loss


def check_reduction(reduction: str) -> str:
    return one_of("reduction", reduction, REDUCTIONS)


def check_delta(delta: float) -> float:
    return number("delta", delta, "a positive number", lambda delta: delta > 0)


def check_smoothing(share: float) -> float:
    return number("label_smoothing", share, "a number between 0 and 1", lambda share: 0 <= share <= 1)


def check_ignored(index: int) -> int:
    return whole_number("ignore_index", index, -MOST, wanted="a whole number")


@like_first
def mse_loss(input: Value, target: Value, reduction: str = "mean") -> Value:
    """Squared error ``(input - target)**2``.

    Parameters
    ----------
    input, target : Tensor or array, of one shape
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes differ; nothing is broadcast.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> float(tr.nn.mse_loss(tr.tensor([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    check_reduction(reduction)
    input, target = _pair("mse_loss", input, target)
    if reduction == "mean" and (size := input.size):
        return squared_error(input, target, scale=1.0 / size)
    if reduction == "sum":
        return squared_error(input, target, scale=1.0)
    d = input - target
    return _reduce(d * d, reduction)


@like_first
def l1_loss(input: Value, target: Value, reduction: str = "mean") -> Value:
    """Absolute error ``|input - target|``; parameters as :func:`mse_loss`."""
    check_reduction(reduction)
    input, target = _pair("l1_loss", input, target)
    return _reduce(ops.abs(as_tensor(input) - target), reduction)


@like_first
def huber_loss(input: Value, target: Value, reduction: str = "mean", delta: float = 1.0) -> Value:
    """Squared error near zero, absolute error beyond `delta` (Huber 1964).

    ``d**2 / 2`` where ``|d| < delta``, else ``delta * (|d| - delta / 2)``; parameters as :func:`mse_loss`.
    """
    check_reduction(reduction)
    input, target = _pair("huber_loss", input, target)
    delta = check_delta(delta)
    d = as_tensor(input) - target
    near = ops.clip(d, -delta, delta)  # no infinity meets a zero, neither here nor in the gradient
    loss = near * (d - 0.5 * near) if math.isfinite(delta) else 0.5 * (d * d)
    return _reduce(loss, reduction)


@like_first
def binary_cross_entropy_with_logits(
    input: Value, target: Value, weight: Value = None, reduction: str = "mean", pos_weight: Value = None
) -> Value:
    """Cross-entropy of independent yes/no decisions, from logits, without overflow.

    ``-(pos_weight * t * log(sigmoid(x)) + (1 - t) * log(1 - sigmoid(x)))``

    Parameters
    ----------
    input : Tensor
        Logits.
    target : Tensor or array, shaped as `input`
        Probabilities, 0 or 1 as a rule.
    weight, pos_weight : Tensor or array, optional
        Constant factors of the loss, and of its positive part; broadcast against `input`.
    reduction : {"mean", "sum", "none"}
    """
    check_reduction(reduction)
    input, target = _pair("binary_cross_entropy_with_logits", input, target)
    input = as_tensor(input)
    target = _cast(target, input.dtype)
    if pos_weight is None:
        loss = logistic_loss(input, target)
    else:
        positive = _factors("pos_weight", pos_weight, input) * target
        loss = masked_product(positive, ops.softplus(-input)) + masked_product(1.0 - target, ops.softplus(input))
    if weight is not None:
        loss = loss * _factors("weight", weight, input)
    return _reduce(loss, reduction)


def _floats(value: Value) -> Value:
    """Log-probabilities or logits as a tensor of floats."""
    tensor = as_tensor(value)
    return tensor if is_float(tensor.dtype) else tensor.astype(get_default_dtype())


def _cast(value: Any, dtype: np.dtype) -> Value:
    """Arrays and integers in `dtype`; tensors of floats as they are."""
    return value if isinstance(value, Tensor) and is_float(value.dtype) else as_tensor(value, dtype)


def _constant(name: str, value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, Tensor) and grad_mode.tracer is not None:
        return value.detach().astype(dtype)
    array = value.data if isinstance(value, Tensor) else as_array(value, name, narrow=True, dtype=dtype)
    return array.astype(dtype, copy=False)


def _factors(name: str, value: Any, input: Value) -> np.ndarray:
    array = _constant(name, value, input.dtype)
    if not broadcasts(array.shape, input.shape) or np.broadcast_shapes(array.shape, input.shape) != input.shape:
        raise ShapeError(
            f"{name}: got shape {array.shape}, wanted what broadcasts to {tuple(input.shape)} as the input"
        )
    return array


def _class_weight(weight: Value, classes: int, dtype: np.dtype) -> np.ndarray:
    array = _constant("weight", weight, dtype)
    if array.shape != (classes,):
        raise ShapeError(f"weight: got shape {array.shape}, wanted ({classes},), one for each class")
    return array


def _class_indices(name: str, input: Value, target: Value, ignore_index: int) -> Value:
    """A target of class indices, checked; arrays as they are, lists as arrays."""
    index = target if isinstance(target, Tensor) else as_array(target, f"{name}: target", narrow=True)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{name}: target: got {index.dtype}, wanted integer class indices")
    if not input.shape or index.shape != input.shape[:-1]:
        raise ShapeError(
            f"{name}: target: got shape {index.shape} for logits of shape {tuple(input.shape)}, "
            f"wanted {tuple(input.shape[:-1])}: classes stand on the last axis"
        )
    check_classes(name, index, input.shape[-1], ignore_index)
    return index


@like_first
def nll_loss(
    input: Value, target: Value, weight: Value = None, ignore_index: int = -100, reduction: str = "mean"
) -> Value:
    """Negative log-likelihood ``-input[..., target]`` of log-probabilities.

    Parameters
    ----------
    input : Tensor, (..., C)
        Log-probabilities, classes on the last axis.
    target : integer Tensor or array, (...)
        Class indices.
    weight : array, (C,), optional
        A factor for each class; the mean is then weighted.
    ignore_index : int
        Targets with this value count for nothing; the mean of rows that are all ignored is 0.
    reduction : {"mean", "sum", "none"}
    """
    check_reduction(reduction)
    ignore_index = check_ignored(ignore_index)
    input = _floats(operand(input, "nll_loss: input"))
    index = _class_indices("nll_loss", input, target, ignore_index)
    more = () if weight is None else (_class_weight(weight, input.shape[-1], input.dtype),)
    return class_nll(input, index, *more, reduction=reduction, ignore_index=ignore_index)


@like_first
def cross_entropy(
    input: Value,
    target: Value,
    weight: Value = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Value:
    """Cross-entropy between softmax(`input`) and `target`, classes on the last axis.

    Parameters
    ----------
    input : Tensor, (..., C)
        Logits.
    target : Tensor or array
        Class indices, integers of shape (...); or probabilities, floats of shape (..., C).
    weight : array, (C,), optional
        A factor for each class; with indices, the mean is then weighted.
    ignore_index : int
        Class indices with this value count for nothing; the mean of rows that are all ignored is 0, where PyTorch has
        NaN.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        The share of the target that is spread evenly over all classes, in [0, 1] (Szegedy et al. 2016).

    Raises
    ------
    ShapeError
        If the shapes do not fit, or there are no rows to take the mean of.
    IndexError
        If a class index is out of range.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> logits = tr.zeros((7, 2, 5))                       # (T, B, C)
    >>> round(float(tr.nn.cross_entropy(logits, np.ones((7, 2), int))), 4)   # log(5)
    1.6094
    """
    check_reduction(reduction)
    label_smoothing, ignore_index = check_smoothing(label_smoothing), check_ignored(ignore_index)
    input = _floats(operand(input, "cross_entropy: input"))
    if not isinstance(target, Tensor | np.ndarray):
        target = operand(target, "cross_entropy: target")
    if is_float(target.dtype):
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    index = _class_indices("cross_entropy", input, target, ignore_index)
    more = () if weight is None else (_class_weight(weight, input.shape[-1], input.dtype),)
    return class_cross_entropy(
        input, index, *more, reduction=reduction, ignore_index=ignore_index, smoothing=label_smoothing, saved={}
    )


def _soft_cross_entropy(input: Value, target: Value, weight: Value, reduction: str, label_smoothing: float) -> Value:
    input, target = _pair("cross_entropy", input, target)
    if not input.shape:
        raise ShapeError("cross_entropy: input: got shape (), wanted (..., C)")
    more = () if weight is None else (_class_weight(weight, input.shape[-1], input.dtype),)
    target = _cast(target, input.dtype)
    return share_cross_entropy(input, target, *more, saved={}, reduction=reduction, smoothing=label_smoothing)


def accuracy(input: Value, target: Value, ignore_index: int = -100) -> Value:
    """The share of rows whose largest score is that of their class; without gradients, NaN of no rows.

    Parameters
    ----------
    input : Tensor or array, (..., C)
        Logits or probabilities, classes on the last axis.
    target : integer Tensor or array, (...)
    ignore_index : int
        Targets with this value count for nothing.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> float(tr.nn.accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])))
    0.5
    """
    ignore_index = check_ignored(ignore_index)
    input = _floats(operand(input, "accuracy: input"))
    index = as_tensor(_class_indices("accuracy", input, target, ignore_index))
    counted = (index != ignore_index).astype(input.dtype)
    right = ops.equal(ops.argmax(input, -1), index).astype(input.dtype) * counted
    return right.sum() / counted.sum()
