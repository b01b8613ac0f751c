"""Tensors from data, and gradients as a function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..checks import flag
from ..config import grad_mode
from .aliases import ArrayLike, DTypeLike
from .backward import grad as run_grad
from .dtype import as_array, check_dtype
from .inplace import values_of
from .node import Traceable
from .tensor import Borrowed, Tensor, check_differentiable


def tensor(data: ArrayLike, requires_grad: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """Make a leaf tensor; the values are copied.

    Parameters
    ----------
    data : array_like or Tensor
        What has a dtype keeps it: NumPy arrays and numbers, lists of them, Series of pandas, tensors of PyTorch.
        Python floats become the default dtype (float32).
    requires_grad : bool
        Whether gradients flow to it; floating-point dtypes only.
    dtype : float32, float64, an integer dtype or bool, optional

    Returns
    -------
    Tensor

    Raises
    ------
    DTypeError
        If the values are not numbers, or integers are asked for gradients.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.tensor([1.0, 2.0]).dtype
    dtype('float32')
    """
    if grad_mode.tracer is not None and isinstance(data, Tensor):
        return grad_mode.tracer.copy(data, requires_grad, dtype)
    dtype = None if dtype is None else check_dtype(dtype)
    array = np.array(as_array(values_of(data), "data", dtype=dtype), order="C")  # compiled loops take it as it is
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    if requires_grad is not False and (requires_grad := flag("requires_grad", requires_grad)):
        check_differentiable(array)
    return Tensor(array, requires_grad)


def as_tensor(data: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    """`data` as a tensor, without a copy where it already is one, or an array of the right dtype.

    The tensor of an array shares its memory: what is written to one later is seen in the other. An operation that
    needs the values for its gradient keeps a copy of them, so that such a write does not change gradients of what was
    computed before.
    """
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype == dtype else data.astype(dtype)
    dtype = None if dtype is None else check_dtype(dtype)
    array = as_array(data, "data", dtype=dtype)
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    shared = array is data or not array.flags.owndata
    return Tensor(array, False, None, Borrowed([0]) if shared else None)  # the caller may write to it unnoticed


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | np.ndarray | Sequence[ArrayLike] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs`, without touching any ``grad``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of tensors
        Inputs may be leaves or computed tensors.
    grad_outputs : sequence of Tensor or array, optional
        Cotangents of the outputs; may be left out for outputs with one element.
    create_graph : bool
        Record the walk, so that the results can be differentiated again (to any order).
    retain_graph : bool, optional
        Keep what the graph saved. Default: as `create_graph`.
    allow_unused : bool
        Give None for an input on which no output depends, instead of raising.

    Returns
    -------
    tuple of Tensor
        One for each input.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> x = tr.tensor(3.0, requires_grad=True)
    >>> (dx,) = tr.grad(x ** 3, x, create_graph=True)
    >>> float(dx), float(tr.grad(dx, x)[0])
    (27.0, 18.0)
    """
    outputs, inputs = _tensors(outputs, "outputs"), _tensors(inputs, "inputs")
    if isinstance(grad_outputs, (Tensor, np.ndarray)):
        grad_outputs = (grad_outputs,)
    if grad_outputs is not None and not isinstance(grad_outputs, Sequence):
        raise TypeError(f"grad_outputs: got {type(grad_outputs).__name__}, wanted a sequence, one for each output")
    return run_grad(
        outputs,
        inputs,
        grad_outputs,
        wrap=Tensor,
        create_graph=create_graph,
        retain_graph=retain_graph,
        allow_unused=allow_unused,
    )


def _tensors(given: Any, name: str) -> tuple:
    """One tensor, or several, as a tuple."""
    found = (given,) if isinstance(given, Traceable) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(t, Traceable) for t in found):
        raise TypeError(f"{name}: got {given!r}, wanted a Tensor or a sequence of tensors")
    return found


def partial_grad(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Sequence[ArrayLike], create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Partial derivatives: `inputs` are independent of each other, even if one was computed from another.

    Derivative rules have to return these, as the walk goes on past each input by itself. None: nothing depends on it.
    """
    how: dict = {"wrap": Tensor, "create_graph": create_graph, "retain_graph": create_graph, "allow_unused": True}
    return run_grad(tuple(outputs), tuple(inputs), tuple(grad_outputs), past_inputs=False, **how)


def vjp_by_replay(
    results: Sequence[Tensor], gs: dict, inputs: Sequence[Tensor], needs: Sequence[bool], create_graph: bool = False
) -> list[Tensor | None]:
    """Cotangents of the inputs of an operation that was run once more on the tape.

    `gs` holds the cotangents of some of its `results`, by position. None for inputs that do not need one, and for
    those on which no result depends.
    """
    # the values of a result may be independent of all inputs that need gradients
    pairs = [(results[i], g) for i, g in gs.items() if results[i].requires_grad]
    wanted = [t for t, need in zip(inputs, needs) if need]
    if not pairs:
        return [None] * len(needs)
    found = iter(partial_grad([y for y, _ in pairs], wanted, [g for _, g in pairs], create_graph))
    return [next(found) if need else None for need in needs]
