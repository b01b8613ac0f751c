"""NumPy's functions on tensors, such as ``np.tanh(t)``: the protocols of NEP 13 and NEP 18.

One table says it for all of NumPy. A function is one of these:

* an operation on tensors: it has a line in `UFUNCS`, `FUNCTIONS` or `LINALG`, with NumPy's names of the parameters; it
  gives tensors, gradients flow, and it is compiled in a step. Parameters that have no part in the line are refused.
* a question that has no gradient (`QUESTIONS`): it is answered for the values of any tensor.
* anything else: it gets the values of tensors that do not require gradients (in ``no_grad``: of all), and gives what
  it gives for arrays. Of others it is refused by name, as the gradient would be lost without a word.

``np.asarray(t)`` and ``t.numpy()`` ask for the values outright, and get them.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import config
from . import numpy_functions as n
from .functions import functions as f
from .node import Traceable

grad_mode = config.grad_mode


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple, options: dict) -> Any:
    """The result of ``ufunc.method(*inputs, **options)`` with a tensor among inputs or outputs."""
    out = options.get("out", ())
    if method == "__call__" and not options:
        operation = UFUNCS.get(ufunc.__name__)
        if operation is not None:
            return operation(*inputs)
    name = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
    if any(isinstance(o, Traceable) for o in out) or (method == "at" and isinstance(inputs[0], Traceable)):
        raise TypeError(f"{name}: writes into a tensor, which NumPy cannot note for gradients; write t[...] = value")
    if _gradient_in(inputs) or _gradient_in(options):
        if any(isinstance(i, np.ndarray) and i is o for i in inputs for o in out):
            name = f"{name} in place, as array op= tensor does,"
        given = " and ".join(f"{key}=" for key in options)
        raise _refused(name, f"with {given}" if given and ufunc.__name__ in UFUNCS else "")
    return getattr(ufunc, method)(*_values(inputs), **_values(options))


def array_function(function: Callable, args: tuple, kwargs: dict) -> Any:
    """The result of ``function(*args, **kwargs)`` with a tensor somewhere among the arguments."""
    name = _name(function)
    operation = OPERATIONS.get(name)
    if operation is not None:
        return _operate(name, function, operation, args, kwargs)
    arguments = _named(function, args, kwargs)
    if name in WRITERS and isinstance(next(iter(arguments.values())), Traceable):
        raise TypeError(f"{name}: writes into a tensor, which NumPy cannot note for gradients; write t[...] = value")
    harmless = name in QUESTIONS and not _gradient_in(arguments.get("weights"))
    if not harmless and (_gradient_in(args) or _gradient_in(kwargs)):
        raise _refused(name)
    return function(*_values(args), **_values(kwargs))


def _name(function: Callable) -> str:
    """The name of a NumPy function as users write it: np.sum, np.linalg.norm."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1)}.{function.__name__}"


def _refused(name: str, how: str = "") -> TypeError:
    return TypeError(
        f"{name}: cannot be differentiated {how or 'here'}, and a tensor that requires gradients would lose them; use "
        "the operations of tinygrad_rnn, or pass t.detach().numpy() if no gradient is wanted"
    )


@functools.cache
def _signature(function: Callable) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # of some functions written in C
        return None


def _named(function: Callable, args: tuple, kwargs: dict) -> dict:
    """The arguments of a call by the names of NumPy's parameters."""
    signature = _signature(function)
    if signature is None:
        return {**{str(i): a for i, a in enumerate(args)}, **kwargs}
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    for key, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(key, {})
    return arguments


def _operate(name: str, function: Callable, operation: Callable, args: tuple, kwargs: dict) -> Any:
    """Call the operation on tensors; NumPy's parameters that it does not have must be at their defaults."""
    known = _signature(operation)
    assert known is not None
    variable = any(p.kind is p.VAR_POSITIONAL for p in known.parameters.values())
    signature = None if variable else _signature(function)
    if signature is not None:
        kwargs, args = _named(function, args, kwargs), ()
    given = {}
    for key, value in kwargs.items():
        if key in known.parameters:
            if value is not np._NoValue:
                given[key] = value
        elif not _is_default(key, value, signature) and not (key == "dtype" and _is_dtype_of(value, args, kwargs)):
            raise TypeError(f"{name}: {key}= is not supported for tensors; got {key}={value!r}")
    return operation(*args, **given)


def _is_default(key: str, value: Any, signature: inspect.Signature | None) -> bool:
    if value is np._NoValue or value is None:
        return True
    default = signature.parameters[key].default if signature is not None and key in signature.parameters else None
    return type(value) is type(default) and value == default


def _is_dtype_of(value: Any, *arguments: Any) -> bool:
    """Whether all tensors among the arguments have the dtype `value`: then dtype= changes nothing."""
    return all(t.dtype == value for t in _tensors(list(arguments)))


# ---- tensors among the arguments


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, Traceable):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors(v)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _gradient_in(value: Any) -> bool:
    """Whether `value` holds a tensor that requires gradients; traced values refuse by themselves, later."""
    if not grad_mode.enabled or grad_mode.tracer is not None:
        return False
    return any(getattr(t, "requires_grad", False) for t in _tensors(value))


def _values(value: Any) -> Any:
    """`value` with arrays in place of tensors; traced values refuse."""
    if isinstance(value, Traceable):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)(_values(v) for v in value)
    if isinstance(value, dict):
        return {key: _values(v) for key, v in value.items()}
    return value


# ---- the table: NumPy's names and parameters, and the operations on tensors

UFUNCS: dict[str, Callable] = {
    "absolute": lambda x: f.abs(x),
    "conjugate": lambda x: f.copy(x),
    "deg2rad": lambda x: x * (math.pi / 180),
    "degrees": lambda x: x * (180 / math.pi),
    "divmod": lambda a, b: (f.floor_divide(a, b), f.remainder(a, b)),
    "fabs": lambda x: f.abs(n.floating(x)),
    "float_power": lambda a, b: f.power(n.floating(a), b),
    "positive": lambda x: f.copy(x),
    "rad2deg": lambda x: x * (180 / math.pi),
    "radians": lambda x: x * (math.pi / 180),
    "rint": lambda x: f.round(x),
    "vecdot": n.vecdot,
}
_SAME_UFUNC = """
    add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil cos cosh divide
    equal exp exp2 expm1 floor floor_divide greater greater_equal hypot invert isfinite isinf isnan left_shift less
    less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul maximum minimum
    multiply negative not_equal power reciprocal remainder right_shift sign sin sinh sqrt square subtract tan tanh
    trunc
"""


def _as_named(name: str) -> Callable:
    return lambda *args: getattr(f, name)(*args)  # looked up when called: the table is filled in later


UFUNCS |= {name: _as_named(name) for name in _SAME_UFUNC.split()}

FUNCTIONS: dict[str, Callable] = {
    "all": lambda a, axis=None, keepdims=False: f.all(a, axis, keepdims),
    "any": lambda a, axis=None, keepdims=False: f.any(a, axis, keepdims),
    "append": lambda arr, values, axis=None: (
        f.concat([n.as_1d(arr), n.as_1d(values)])
        if axis is None
        else f.concat([n.operand(arr), n.operand(values)], axis)
    ),
    "argmax": lambda a, axis=None, keepdims=False: f.argmax(a, axis, keepdims),
    "argmin": lambda a, axis=None, keepdims=False: f.argmin(a, axis, keepdims),
    "argsort": lambda a, axis=-1, kind=None, stable=None: n.of_arrays(f.argsort, a, axis),
    "array_split": lambda ary, indices_or_sections, axis=0: list(
        f.array_split(n.operand(ary), indices_or_sections, axis)
    ),
    "astype": lambda x, dtype, copy=True: f.astype(x, dtype),
    "atleast_1d": lambda *arys: n.each(1, arys),
    "atleast_2d": lambda *arys: n.each(2, arys),
    "atleast_3d": lambda *arys: n.each(3, arys),
    "average": n.average,
    "broadcast_arrays": lambda *args: n.broadcast(args),
    "broadcast_to": lambda array, shape: f.broadcast_to(array, (shape,) if isinstance(shape, int) else shape),
    "clip": lambda a, a_min=None, a_max=None, min=None, max=None: f.clip(
        n.operand(a), min if a_min is None else a_min, max if a_max is None else a_max
    ),
    "column_stack": lambda tup: f.concat([n.as_column(x) for x in tup], 1),
    "concatenate": lambda arrays, axis=0: (
        f.concat([n.as_1d(x) for x in arrays]) if axis is None else f.concat([n.operand(x) for x in arrays], axis)
    ),
    "copy": lambda a, order="K": f.copy(a),
    "cumsum": lambda a, axis=None: f.cumsum(n.operand(a), axis),
    "cumprod": lambda a, axis=None: f.cumprod(n.operand(a), axis),
    "cumulative_prod": lambda x, axis=None: n.cumulative(f.cumprod, x, axis),
    "cumulative_sum": lambda x, axis=None: n.cumulative(f.cumsum, x, axis),
    "diagonal": lambda a, offset=0, axis1=0, axis2=1: f.diagonal(n.operand(a), offset, axis1, axis2),
    "diff": lambda a, n=1, axis=-1: f.diff(a, n, axis),
    "dot": lambda a, b: f.dot(n.operand(a), n.operand(b)),
    "dsplit": lambda ary, indices_or_sections: list(f.split(ary, indices_or_sections, 2)),
    "dstack": lambda tup: f.concat([n.at_least(3, x) for x in tup], 2),
    "einsum": lambda subscripts, *operands, optimize=True: f.einsum(subscripts, *map(n.operand, operands)),
    "empty_like": lambda prototype, dtype=None: f.zeros_like(prototype, dtype),
    "expand_dims": lambda a, axis: f.expand_dims(n.operand(a), axis),
    "flip": lambda m, axis=None: f.flip(n.operand(m), axis),
    "fliplr": lambda m: f.flip(m, 1),
    "flipud": lambda m: f.flip(m, 0),
    "full_like": lambda a, fill_value, dtype=None: n.full_like(a, fill_value, dtype),
    "hsplit": lambda ary, indices_or_sections: list(f.split(ary, indices_or_sections, min(1, len(ary.shape) - 1))),
    "hstack": lambda tup: f.hstack([n.operand(x) for x in tup]),
    "imag": lambda val: f.zeros_like(val),
    "inner": n.inner,
    "matrix_transpose": lambda x: f.swapaxes(x, -1, -2),
    "max": lambda a, axis=None, keepdims=False: f.max(n.operand(a), axis, keepdims),
    "mean": lambda a, axis=None, keepdims=False: f.mean(n.operand(a), axis, keepdims),
    "median": lambda a, axis=None, keepdims=False: f.median(n.operand(a), axis, keepdims),
    "min": lambda a, axis=None, keepdims=False: f.min(n.operand(a), axis, keepdims),
    "moveaxis": lambda a, source, destination: f.moveaxis(a, source, destination),
    "nan_to_num": lambda x, copy=True, nan=0.0, posinf=None, neginf=None: f.nan_to_num(
        n.operand(x), nan, posinf, neginf
    ),
    "ndim": lambda a: len(n.operand(a).shape),
    "ones_like": lambda a, dtype=None: f.ones_like(a, dtype),
    "outer": lambda a, b: f.reshape(n.as_1d(a), (-1, 1)) * f.reshape(n.as_1d(b), (1, -1)),
    "pad": lambda array, pad_width, mode="constant", constant_values=0: f.pad(array, pad_width, mode, constant_values),
    "permute_dims": lambda a, axes=None: f.transpose(a, axes),
    "prod": lambda a, axis=None, keepdims=False: f.prod(n.operand(a), axis, keepdims),
    "ptp": lambda a, axis=None, keepdims=False: f.max(a, axis, keepdims) - f.min(a, axis, keepdims),
    "ravel": lambda a: n.as_1d(a),
    "real": lambda val: f.copy(val),
    "repeat": lambda a, repeats, axis=None: f.repeat(n.operand(a), repeats, axis),
    "reshape": lambda a, shape, copy=None: f.copy(f.reshape(a, shape)) if copy else f.reshape(a, shape),
    "roll": lambda a, shift, axis=None: f.roll(n.operand(a), shift, axis),
    "round": lambda a, decimals=0: f.round(n.operand(a), decimals),
    "shape": lambda a: tuple(n.operand(a).shape),
    "size": lambda a, axis=None: np.size(np.broadcast_to(0, n.operand(a).shape), axis),
    "sort": lambda a, axis=-1, kind=None, stable=None: n.of_arrays(f.sort, a, axis),
    "split": lambda ary, indices_or_sections, axis=0: list(f.split(ary, indices_or_sections, axis)),
    "squeeze": lambda a, axis=None: f.squeeze(a, axis),
    "stack": lambda arrays, axis=0: f.stack([n.operand(x) for x in arrays], axis),
    "std": lambda a, axis=None, ddof=0, keepdims=False: f.std(n.operand(a), axis, keepdims, ddof),
    "sum": lambda a, axis=None, keepdims=False: f.sum(n.operand(a), axis, keepdims),
    "swapaxes": lambda a, axis1, axis2: f.swapaxes(a, axis1, axis2),
    "take": lambda a, indices, axis=None: f.take(n.operand(a), indices, axis),
    "take_along_axis": lambda arr, indices, axis=-1: f.take_along_axis(n.operand(arr), indices, axis),
    "tensordot": lambda a, b, axes=2: f.tensordot(n.operand(a), n.operand(b), axes),
    "tile": lambda A, reps: f.tile(A, reps),
    "trace": lambda a, offset=0, axis1=0, axis2=1: f.trace(n.operand(a), offset, axis1, axis2),
    "transpose": lambda a, axes=None: f.transpose(n.operand(a), axes),
    "tril": lambda m, k=0: f.tril(n.operand(m), k),
    "triu": lambda m, k=0: f.triu(n.operand(m), k),
    "unstack": lambda x, axis=0: f.unstack(x, axis),
    "var": lambda a, axis=None, ddof=0, keepdims=False: f.var(n.operand(a), axis, keepdims, ddof),
    "vdot": lambda a, b: f.sum(n.as_1d(a) * n.as_1d(b)),
    "vsplit": lambda ary, indices_or_sections: list(f.split(n.with_axes(2, ary, "np.vsplit"), indices_or_sections, 0)),
    "vstack": lambda tup: f.vstack([n.operand(x) for x in tup]),
    "where": n.where,
    "zeros_like": lambda a, dtype=None: f.zeros_like(a, dtype),
}
FUNCTIONS |= {"amax": FUNCTIONS["max"], "amin": FUNCTIONS["min"], "around": FUNCTIONS["round"]}

LINALG: dict[str, Callable] = {
    "diagonal": lambda x, offset=0: f.diagonal(x, offset, -2, -1),
    "matmul": lambda x1, x2: f.matmul(n.operand(x1), n.operand(x2)),
    "matrix_transpose": lambda x: f.swapaxes(x, -1, -2),
    "multi_dot": n.multi_dot,
    "norm": n.norm,
    "outer": n.outer,
    "tensordot": lambda x1, x2, axes=2: f.tensordot(n.operand(x1), n.operand(x2), axes),
    "trace": lambda x, offset=0: f.trace(x, offset, -2, -1),
    "vecdot": lambda x1, x2, axis=-1: f.sum(f.multiply(x1, x2), axis),
    "vector_norm": n.vector_norm,
}

OPERATIONS = {f"np.{name}": operation for name, operation in FUNCTIONS.items()}
OPERATIONS |= {f"np.linalg.{name}": operation for name, operation in LINALG.items()}

_QUESTIONS = """
    allclose argpartition argwhere array2string array_equal array_equiv array_repr array_str can_cast common_type
    count_nonzero diag_indices_from digitize flatnonzero histogram histogram2d histogram_bin_edges histogramdd isclose
    iscomplex iscomplexobj isin isneginf isposinf isreal isrealobj lexsort linalg.matrix_rank may_share_memory
    min_scalar_type nanargmax nanargmin nonzero result_type save savetxt savez savez_compressed searchsorted
    shares_memory tril_indices_from triu_indices_from
"""
QUESTIONS = frozenset(f"np.{name}" for name in _QUESTIONS.split())
WRITERS = frozenset(f"np.{name}" for name in ("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"))
