"""Gradients against central differences, in float64: every entry, or one random projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import flag, not_negative, number
from ..config import enable_grad, no_grad
from ..core import Tensor, grad, tensor, version_counter
from ..errors import DTypeError, GradcheckError, GraphError


@enable_grad
def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    fast: bool = False,
) -> bool:
    """Check the gradients of a function against central differences.

    An entry passes if ``|analytical - numerical| <= atol + rtol * |numerical|``.

    Parameters
    ----------
    fn : callable
        ``fn(*inputs)`` gives a tensor, or a nest (tuples, lists, dicts) of tensors. It may also reach
        `inputs` in other ways, as a module reaches its parameters: they are perturbed, one after the other.
    inputs : Tensor or sequence
        Those that require gradients must be float64 leaves; the others are passed through.
    eps : float
        Half the step of the differences.
    atol, rtol : float
        Tolerances.
    fast : bool
        Compare one random projection of each Jacobian instead of all its entries: two evaluations per input,
        whatever its size. Where it fails, the full Jacobian is searched for the entry to name.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradcheckError
        Naming output, input, entry, and both numbers; also if two calls of `fn` differ. Where the differences to
        the left and to the right disagree, there is no derivative to compare with: the message tells the kink.
    DTypeError
        If an input or an output is float32.
    GraphError
        If no input requires gradients, or one is not a leaf.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn.testing import gradcheck
    >>> x = tr.tensor(np.array([0.5, -1.0]), requires_grad=True)
    >>> gradcheck(lambda x: tr.tanh(x).sum(), x)
    True
    """
    eps, atol, rtol, fast = _check_limits(eps, atol, rtol, fast)
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = _checked(inputs)
    with _own_memory([inputs[i] for i in checked]):
        return _check(fn, inputs, checked, eps, atol, rtol, fast)


@enable_grad
def gradgradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Sequence[Any] | None = None,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    fast: bool = False,
) -> bool:
    """Check the second gradients of a function: :func:`gradcheck` of its gradient.

    Parameters
    ----------
    fn, inputs, eps, atol, rtol, fast
        As for :func:`gradcheck`.
    grad_outputs : sequence of float64 tensors, optional
        The cotangents of the outputs; random by default. The gradient is differentiated in these too.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradcheckError, DTypeError, GraphError
        As :func:`gradcheck`; in the message, outputs are gradients of the inputs, and the inputs are followed
        by the cotangents.
    """
    eps, atol, rtol, fast = _check_limits(eps, atol, rtol, fast)
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = _checked(inputs)
    outputs = [y for y in _outputs(fn, inputs) if y.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(1)
        grad_outputs = [tensor(_signs(rng, y.shape), requires_grad=True) for y in outputs]

    def first(*args):
        ys = [y for y in _outputs(fn, args[: len(inputs)]) if y.requires_grad]
        xs = [args[i] for i in checked]
        found = grad(ys, xs, args[len(inputs) :], create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(first, [*inputs, *grad_outputs], eps, atol, rtol, fast) if outputs else True


# ---- what goes in and what comes out


def _check_limits(eps: float, atol: float, rtol: float, fast: bool) -> tuple[float, float, float, bool]:
    eps = number("eps", eps, "above 0 and below 1", lambda eps: 0 < eps < 1)
    return eps, not_negative("atol", atol), not_negative("rtol", rtol), flag("fast", fast)


def _checked(inputs: tuple) -> list[int]:
    """Positions of the inputs to differentiate."""
    found = []
    for i, t in enumerate(inputs):
        if not isinstance(t, Tensor) or not t.requires_grad:
            continue
        if t.dtype != np.float64:
            raise DTypeError(
                f"inputs[{i}]: got {t.dtype}, wanted float64: differences of {t.dtype} are mostly rounding"
            )
        if not t.is_leaf:
            raise GraphError(f"inputs[{i}]: got a computed tensor, wanted a leaf; use t.detach()")
        found.append(i)
    if not found:
        raise GraphError("inputs: none requires gradients, wanted at least one tensor with requires_grad=True")
    return found


def _leaves(nest: Any) -> Iterator[Tensor]:
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, dict):
        for value in nest.values():
            yield from _leaves(value)
    elif isinstance(nest, (tuple, list)):
        for value in nest:
            yield from _leaves(value)


def _outputs(fn, inputs) -> list[Tensor]:
    """The floating-point outputs of `fn`, in order."""
    outputs = [y for y in _leaves(fn(*inputs)) if y.dtype.kind == "f"]
    for k, y in enumerate(outputs):
        if y.dtype != np.float64:
            raise DTypeError(f"output {k}: got {y.dtype} from float64 inputs, wanted float64")
    return outputs


def _same_twice(once: list[Tensor], again: list[Tensor]) -> None:
    for k, (a, b) in enumerate(zip(once, again)):
        if not np.array_equal(a.data, b.data, equal_nan=True):
            raise GradcheckError(f"gradcheck: output {k} differs between two calls; fix the seed inside fn")


@contextmanager
def _own_memory(leaves: list[Tensor]) -> Iterator[None]:
    """Context in which leaves have writable memory of their own, so that they can be perturbed."""
    before = {id(x): (x, x.data, version_counter(x)[0]) for x in leaves}
    for x, data, _ in before.values():
        x.data = data.copy()
    try:
        yield
    finally:
        for x, data, last_write in before.values():
            x.data = data
            version_counter(x)[0] = last_write  # so that earlier graphs do not take this for a write


# ---- the two sides


def _check(fn, inputs: tuple, checked: list[int], eps: float, atol: float, rtol: float, fast: bool) -> bool:
    outputs = _outputs(fn, inputs)
    _same_twice(outputs, _outputs(fn, inputs))
    rng = np.random.default_rng(0)
    for i in checked:
        off = None
        if fast:
            off = _projection_that_differs(fn, inputs, i, rng, eps, atol, rtol)
            if off is None:
                continue
        outputs = _outputs(fn, inputs)
        analytical = _analytical(outputs, inputs[i])  # before values are overwritten
        numerical = _numerical(fn, inputs, inputs[i], eps, outputs)
        for k, (a, n) in enumerate(zip(analytical, numerical)):
            bad = ~_close(a, n, atol, rtol)
            if bad.any():
                kinks = _kinks(fn, inputs, inputs[i], k, a, bad, eps, atol, rtol)
                raise _complaint(a, n, bad, i, k, inputs[i].shape, outputs[k].shape, kinks)
        if off is not None:
            k, a, n = off
            raise GradcheckError(
                f"gradcheck: output {k} with respect to input {i}: a random projection of the gradient is "
                f"{a:.10g} analytically, {n:.10g} numerically, though each entry agrees"
            )
    return True


def _analytical(outputs: list[Tensor], x: Tensor) -> list[np.ndarray]:
    """The Jacobian of each output from gradients, (output size, input size)."""
    jacobians = []
    for y in outputs:
        rows = np.zeros((y.size, x.size))
        for j in range(y.size if y.requires_grad else 0):
            seed = np.zeros(y.size)
            seed[j] = 1.0
            (g,) = grad(y, x, [seed.reshape(y.shape)], retain_graph=True, allow_unused=True)
            if g is not None:
                rows[j] = g.data.reshape(-1)
        jacobians.append(rows)
    return jacobians


def _shifted(fn, inputs, x: Tensor, shift: np.ndarray) -> list[np.ndarray]:
    """The outputs with `x` moved by `shift`, in place, and moved back."""
    before, last_write = x.data.copy(), version_counter(x)[0]
    with no_grad():
        x.copy_(before + shift)
    try:
        return [y.data.copy() for y in _outputs(fn, inputs)]
    finally:
        x.data[...] = before
        version_counter(x)[0] = last_write


def _difference(fn, inputs, x: Tensor, shift: np.ndarray, eps: float) -> list[np.ndarray]:
    up = _shifted(fn, inputs, x, eps * shift)
    down = _shifted(fn, inputs, x, -eps * shift)
    return [(a - b) / (2 * eps) for a, b in zip(up, down)]


def _numerical(fn, inputs, x: Tensor, eps: float, outputs: list[Tensor]) -> list[np.ndarray]:
    jacobians = [np.zeros((y.size, x.size)) for y in outputs]
    for i in range(x.size):
        shift = np.zeros(x.size)
        shift[i] = 1.0
        for jacobian, column in zip(jacobians, _difference(fn, inputs, x, shift.reshape(x.shape), eps)):
            jacobian[:, i] = column.reshape(-1)
    return jacobians


def _kinks(fn, inputs, x: Tensor, k: int, analytical, bad, eps: float, atol: float, rtol: float) -> dict:
    """One-sided differences, by (row, column), of entries in `bad` where output `k` has a kink or a jump.

    Of a smooth function they come closer as the step shrinks, so that curvature is not taken for a kink.
    """
    found = {}
    for column in map(int, np.flatnonzero(bad.any(axis=0))):
        shift = np.zeros(x.size)
        shift[column] = 1.0
        shift = shift.reshape(x.shape)
        here = _shifted(fn, inputs, x, 0 * shift)[k]
        sides = []
        for step in (eps, eps / 8):
            up, down = (_shifted(fn, inputs, x, s * step * shift)[k] for s in (1, -1))
            sides.append((((here - down) / step).reshape(-1), ((up - here) / step).reshape(-1)))
        (left, right), (near_left, near_right) = sides
        with np.errstate(invalid="ignore"):
            gap, near = np.abs(right - left), np.abs(near_right - near_left)
            apart = gap > 10 * (atol + rtol * np.maximum(np.abs(left), np.abs(right)))
        within = _close(analytical[:, column], (near_left + near_right) / 2, atol, rtol)  # just beside the kink
        for row in map(int, np.flatnonzero(bad[:, column] & apart & ((near > gap / 2) | within))):
            found[row, column] = float(left[row]), float(right[row])
    return found


def _projection_that_differs(fn, inputs, i: int, rng, eps, atol, rtol) -> tuple | None:
    """The first output where ``weights . J . direction`` differs, with both numbers."""
    x, direction = inputs[i], _signs(rng, inputs[i].shape)
    weights, analytical = [], []
    for y in _outputs(fn, inputs):
        g = None
        w = _signs(rng, y.shape)
        if y.requires_grad:
            (g,) = grad(y, x, [w], retain_graph=True, allow_unused=True)
        weights.append(w)
        analytical.append(0.0 if g is None else float(np.vdot(g.data, direction)))
    for k, (a, w, d) in enumerate(zip(analytical, weights, _difference(fn, inputs, x, direction, eps))):
        n = float(np.vdot(w, d))
        if not _close(a, n, atol, rtol):
            return k, a, n
    return None


def _signs(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Weights of order one with random signs: one wrong entry changes the projection by its own size."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _close(a, n, atol: float, rtol: float) -> Any:
    """Whether entries are close; NaN and Inf never are."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(a) & np.isfinite(n) & (np.abs(a - n) <= atol + rtol * np.abs(n))


def _complaint(a, n, bad, i: int, k: int, in_shape: tuple, out_shape: tuple, kinks: dict) -> GradcheckError:
    """The error for the entry that is off by most; for a kink only if all others agree."""
    smooth = bad.copy()
    for at in kinks:
        smooth[at] = not np.isfinite(a[at])
    kink = not smooth.any()
    shown = bad if kink else smooth
    with np.errstate(invalid="ignore"):
        off = np.where(shown, np.nan_to_num(np.abs(a - n), nan=np.inf), -1.0)
    row, column = np.unravel_index(int(np.argmax(off)), off.shape)
    out_at = tuple(int(j) for j in np.unravel_index(row, out_shape)) if out_shape else ()
    in_at = tuple(int(j) for j in np.unravel_index(column, in_shape)) if in_shape else ()
    place = f"gradcheck: output {k} at {out_at} with respect to input {i} at {in_at}: "
    if kink:
        left, right = kinks[row, column]
        error = GradcheckError(
            f"{place}a kink or a jump, where there is no derivative to compare with: the differences are {left:.6g} to "
            f"the left and {right:.6g} to the right, analytical {a[row, column]:.10g}; move the input a little"
        )
    else:
        error = GradcheckError(
            f"{place}analytical {a[row, column]:.10g}, numerical {n[row, column]:.10g} "
            f"({int(shown.sum())} of {bad.size} entries differ)"
        )
    error.input, error.at, error.kink = i, in_at, kink
    error.analytical, error.numerical = float(a[row, column]), float(n[row, column])
    return error
