"""The one table of operations. To test a new one, add a row.

A row runs through every check in ``tests/ops/test_table.py``: values and dtypes against NumPy, first and
second gradients against finite differences, float32 gradients, arrays as well as tensors, and PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn.ops.cross_entropy import class_cross_entropy, class_nll, share_cross_entropy
from tinygrad_rnn.ops.ctc import ctc
from tinygrad_rnn.ops.dropout import dropout
from tinygrad_rnn.ops.elementwise import masked_product, masked_quotient
from tinygrad_rnn.ops.layer_norm import layer_norm
from tinygrad_rnn.ops.linear import linear
from tinygrad_rnn.ops.loss import bernoulli_loss, logistic_loss, squared_error
from tinygrad_rnn.ops.moments import centre
from tinygrad_rnn.testing import strategies as ts

from . import op_cases as on
from .alignments import losses_by_enumeration, torch_ctc


@dataclass(frozen=True)
class Row:
    """One operation, or one way to call it.

    Attributes
    ----------
    name : str
        The public name, and after a colon what is special about this row.
    call, numpy : callable
        ``f(*arrays, **options)``, on tensors (or arrays) and on arrays.
    cases : strategy
        Draws ``(arrays, options)``. Float arrays are float64, within a domain where `call` is smooth.
    torch : callable, optional
        The same with PyTorch's tensors.
    smooth : bool
        Whether gradients are checked.
    """

    name: str
    call: Callable[..., Any]
    numpy: Callable[..., Any]
    cases: st.SearchStrategy[on.Case]
    torch: Callable[..., Any] | None = None
    smooth: bool = True

    @property
    def public_name(self) -> str:
        return self.name.split(":")[0]


def T(name: str, **renamed: str) -> Callable[..., Any]:
    """A function of PyTorch, looked up at the call; options are renamed."""

    def call(*args, **options):
        import torch

        f = torch
        for part in name.split("."):
            f = getattr(f, part)
        return f(*args, **{renamed.get(k, k): v for k, v in options.items() if v is not None})

    return call


def torch_reduction(name: str) -> Callable[..., Any]:
    """PyTorch takes an empty tuple of axes for all axes, NumPy for none."""

    def call(x, axis=None, keepdims=False):
        import torch

        axis = tuple(range(x.ndim)) if axis is None else axis
        return x if axis == () else getattr(torch, name)(x, dim=axis, keepdim=keepdims)

    return call


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _logsumexp(x, axis, keepdims):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _softmax(x, axis):
    return np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)


def _log_softmax(x, axis):
    return np.log(_softmax(x, axis))


def _argsort(x, axis):
    return np.argsort(x, axis=axis, kind="stable")


def _share_cross_entropy(x, share, weight=None, reduction="mean", smoothing=0.0):
    share = share * (1 - smoothing) + smoothing / x.shape[-1]
    losses = -(share * (1.0 if weight is None else weight) * _log_softmax(x, -1)).sum(-1)
    return losses if reduction == "none" else getattr(losses, reduction)()


def _class_cross_entropy(x, target, weight=None, reduction="mean", ignore_index=-100, smoothing=0.0):
    valid, index = target != ignore_index, np.where(target == ignore_index, 0, target)
    weight = np.ones(x.shape[-1]) if weight is None else weight
    rows = weight[index] * valid
    losses = _share_cross_entropy(x, np.eye(x.shape[-1])[index], weight, "none", smoothing) * valid
    return losses if reduction == "none" else losses.sum() / (max(rows.sum(), 1e-300) if reduction == "mean" else 1)


def _with_weight(operation):
    """The operation, with the weight of classes as an option, which has the dtype of the logits."""

    def call(x, *share, target=None, weight=None, **how):
        arrays = share if target is None else (target,)
        return operation(x, *arrays, *([] if weight is None else [weight.astype(x.dtype)]), saved={}, **how)

    return call


def _class_nll(x, target, weight=None, **how):
    return class_nll(x, target, *([] if weight is None else [weight.astype(x.dtype)]), **how)


def _nll(x, target, weight=None, reduction="mean", ignore_index=-100):
    valid, index = target != ignore_index, np.where(target == ignore_index, 0, target)
    rows = (np.ones(x.shape[-1]) if weight is None else weight)[index] * valid
    losses = -np.take_along_axis(x, index[..., None], -1)[..., 0] * rows
    return losses if reduction == "none" else losses.sum() / (rows.sum() if reduction == "mean" else 1)


def _torch_nll(x, target, weight=None, **how):
    import torch

    weight = None if weight is None else torch.from_numpy(weight)
    return torch.nn.functional.nll_loss(x.movedim(-1, 1) if x.ndim > 1 else x, torch.from_numpy(target), weight, **how)


def _torch_cross_entropy(x, *share, target=None, weight=None, smoothing=0.0, **how):
    import torch

    weight = None if weight is None else torch.from_numpy(weight)
    target = torch.from_numpy(target) if target is not None else share[0].movedim(-1, 1) if x.ndim > 1 else share[0]
    logits = x.movedim(-1, 1) if x.ndim > 1 else x
    return torch.nn.functional.cross_entropy(logits, target, weight, label_smoothing=smoothing, **how)


def _with_saved(operation):
    return lambda *arrays, **how: operation(*arrays, saved={}, **how)


def _layer_norm(x, *affine, n_axes, eps, scaled):
    axes = tuple(range(x.ndim - n_axes, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = y * affine[0] if scaled else y
    return y + affine[-1] if len(affine) > scaled else y


def _torch_layer_norm(x, *affine, n_axes, eps, scaled):
    import torch

    weight, bias = affine[0] if scaled else None, affine[-1] if len(affine) > scaled else None
    return torch.nn.functional.layer_norm(x, x.shape[x.ndim - n_axes :], weight, bias, eps)


MATMUL = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 1, 3, 2), (3, 2, 4)),
    ((2, 2, 3), (3,)),
    ((3,), (2, 3, 2)),
    ((2, 2, 3), (3, 4)),
    ((2, 3), (2, 3, 4)),
    ((1, 2, 3), (4, 3, 1)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((2, 3, 0), (0, 2)),
    ((0, 2, 3), (3, 4)),
    ((2, 3), (3, 0)),
]
EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 2)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    ("i,i", (3,), (3,)),
    ("i,j->ij", (2,), (3,)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij->j", (2, 2, 3)),
    ("ij,ij,j->i", (2, 3), (2, 3), (3,)),
    ("...ij,...jk->...ik", (2, 2, 3), (3, 2)),
    ("...i->...", (2, 3, 2)),
    ("i...,i->...", (2, 3), (2,)),
    ("ij,kl->i", (2, 2), (2, 3)),
    ("ij,jk->ik", (0, 3), (3, 2)),
    ("ij,j->i", (2, 1), (3,)),
    ("ba,b", (3, 2), (3,)),
    (",i->i", (), (3,)),
    ("i,i->", (1,), (3,)),
    ("i,i->i", (1,), (3,)),
    ("bi,i->b", (4, 1), (5,)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij,ij->i", (1, 3), (2, 1)),
    ("bi,bi,bi->b", (1, 3), (2, 1), (2, 3)),
    ("bij,bjk->bik", (1, 2, 3), (4, 3, 2)),
    ("bij,bjk->bik", (4, 2, 1), (1, 3, 2)),
    ("ii,i->", (3, 3), (1,)),
    ("ii,i->", (1, 1), (3,)),
    ("...i,...i->...", (2, 1, 3), (4, 1)),
    ("ij->j", (0, 3)),
    ("ij->j", (3, 0)),
    ("ij->i", (3, 0)),
    ("i->", (0,)),
    ("i,j->j", (0,), (3,)),
    ("ii->i", (0, 0)),
    ("iii->i", (2, 2, 2)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("iji,jk->k", (2, 3, 2), (3, 2)),
]
LINEAR = [
    ((2, 3), (4, 3), (4,)),
    ((2, 3), (4, 3)),
    ((3,), (2, 3), (2,)),
    ((2, 2, 3), (4, 3), (4,)),
    ((0, 3), (2, 3), (2,)),
    ((2, 2, 0), (3, 0), (3,)),
]
MATMUL_TANH = [
    ((2, 3), (3, 4), (2, 4), (4, 4), (4,)),
    ((2, 3), (3, 4), (2, 4), (4, 4), (4,), (4,)),
    ((1, 1), (1, 1), (1, 1), (1, 1)),
    ((14, 2), (2, 3), (14, 3), (3, 3), (3,)),
    ((2, 0), (0, 3), (2, 3), (3, 3), (3,)),
]
_ties = (-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5)

ELEMENTWISE = [
    Row("negative", tr.negative, np.negative, on.unary(), T("neg")),
    Row("copy", tr.copy, np.copy, on.unary()),
    Row("exp", tr.exp, np.exp, on.unary(), T("exp")),
    Row("expm1", tr.expm1, np.expm1, on.unary(), T("expm1")),
    Row("log", tr.log, np.log, on.unary(0.2, 3.0), T("log")),
    Row("log1p", tr.log1p, np.log1p, on.unary(-0.8, 2.0), T("log1p")),
    Row("sqrt", tr.sqrt, np.sqrt, on.unary(0.2, 3.0), T("sqrt")),
    Row("abs", tr.abs, np.abs, on.unary(avoid=(0.0,)), T("abs")),
    Row("sign", tr.sign, np.sign, on.unary(avoid=(0.0,)), T("sign")),
    Row("sin", tr.sin, np.sin, on.unary(-4.0, 4.0), T("sin")),
    Row("cos", tr.cos, np.cos, on.unary(-4.0, 4.0), T("cos")),
    Row("tanh", tr.tanh, np.tanh, on.unary(-4.0, 4.0), T("tanh")),
    Row("sigmoid", tr.sigmoid, lambda x: 1 / (1 + np.exp(-x)), on.unary(-6.0, 6.0), T("sigmoid")),
    Row("relu", tr.relu, lambda x: np.maximum(x, 0), on.unary(avoid=(0.0,)), T("relu")),
    Row("softplus", tr.softplus, lambda x: np.log1p(np.exp(x)), on.unary(), T("nn.functional.softplus")),
    Row(
        "log_sigmoid",
        tr.log_sigmoid,
        lambda x: -np.logaddexp(0, -x),
        on.unary(-30.0, 30.0),
        T("nn.functional.logsigmoid"),
    ),
    Row("erf", tr.erf, _erf, on.unary(), T("erf")),
    Row("gelu", tr.gelu, lambda x: x / 2 * (1 + _erf(x / 2**0.5)), on.unary(), T("nn.functional.gelu")),
    Row(
        "gelu:tanh",
        tr.gelu,
        lambda x, approximate: x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
        on.unary(approximate=st.just("tanh")),
        T("nn.functional.gelu"),
    ),
    Row("silu", tr.silu, lambda x: x / (1 + np.exp(-x)), on.unary(), T("nn.functional.silu")),
    Row(
        "leaky_relu",
        tr.leaky_relu,
        lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
        on.unary(avoid=(0.0,), negative_slope=st.sampled_from([0.01, 0.5])),
        T("nn.functional.leaky_relu"),
    ),
    Row(
        "elu",
        tr.elu,
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
        on.unary(avoid=(0.0,), alpha=st.sampled_from([0.5, 1.0])),
        T("nn.functional.elu"),
    ),
    Row(
        "hard_sigmoid",
        tr.hard_sigmoid,
        lambda x: np.clip(x / 6 + 0.5, 0, 1),
        on.unary(-5.0, 5.0, avoid=(-3.0, 3.0)),
        lambda x: T("nn.functional.relu6")(x + 3) / 6,  # the gradient of its hardsigmoid is a float32 sixth
    ),
    Row(
        "hard_tanh",
        tr.hard_tanh,
        lambda x: np.clip(x, -1, 1),
        on.unary(avoid=(-1.0, 1.0)),
        T("nn.functional.hardtanh"),
    ),
    Row(
        "clip",
        tr.clip,
        lambda x, min, max: np.clip(x, min, max),
        on.unary(avoid=(-1.0, 1.5), min=st.sampled_from([None, -1.0]), max=st.just(1.5)),
        T("clamp"),
    ),
    Row("clip:below", lambda x: tr.clip(x, min=0.5), lambda x: np.clip(x, 0.5, None), on.unary(avoid=(0.5,))),
    Row(
        "clip:arrays",
        tr.clip,
        np.clip,
        on.nary(on.floats(), on.floats(-1.0, -0.5), on.apart(0.5, 1.0)),
    ),
    Row("floor", tr.floor, np.floor, on.unary(-2.2, 2.2, avoid=_ties), T("floor")),
    Row("ceil", tr.ceil, np.ceil, on.unary(-2.2, 2.2, avoid=_ties), T("ceil")),
    Row("round", tr.round, np.round, on.unary(-2.2, 2.2, avoid=_ties), T("round")),
    Row("round:places", tr.round, np.round, on.unary(specials=True, decimals=st.integers(-1, 2)), smooth=False),
    Row("round:flat", lambda x: tr.round(x, 1), lambda x: np.round(x, 1), on.unary(0.06, 0.14)),
    Row("round:ties", tr.round, np.round, on.unary(specials=True), smooth=False),
    Row("isnan", tr.isnan, np.isnan, on.unary(specials=True), T("isnan"), smooth=False),
    Row("isinf", tr.isinf, np.isinf, on.unary(specials=True), T("isinf"), smooth=False),
    Row("isfinite", tr.isfinite, np.isfinite, on.unary(specials=True), T("isfinite"), smooth=False),
    Row(
        "astype",
        tr.astype,
        lambda x, dtype: x.astype(dtype),
        on.unary(dtype=st.sampled_from([np.int32, np.bool_])),
        smooth=False,
    ),
    Row("invert", tr.invert, np.invert, on.unary(of=np.int64, lo=-9, hi=9), T("bitwise_not"), smooth=False),
    Row("invert:masks", lambda x: ~x, np.invert, on.unary(of=np.bool_), T("bitwise_not"), smooth=False),
    Row("logical_not", tr.logical_not, np.logical_not, on.unary(of=np.bool_), smooth=False),
    Row("exp2", tr.exp2, np.exp2, on.unary(), T("exp2")),
    Row("log2", tr.log2, np.log2, on.unary(0.2, 3.0), T("log2")),
    Row("log10", tr.log10, np.log10, on.unary(0.2, 3.0), T("log10")),
    Row("tan", tr.tan, np.tan, on.unary(-1.2, 1.2), T("tan")),
    Row("sinh", tr.sinh, np.sinh, on.unary(-3.0, 3.0), T("sinh")),
    Row("cosh", tr.cosh, np.cosh, on.unary(-3.0, 3.0), T("cosh")),
    Row("arcsin", tr.arcsin, np.arcsin, on.unary(-0.8, 0.8), T("arcsin")),
    Row("arccos", tr.arccos, np.arccos, on.unary(-0.8, 0.8), T("arccos")),
    Row("arctan", tr.arctan, np.arctan, on.unary(-3.0, 3.0), T("arctan")),
    Row("arcsinh", tr.arcsinh, np.arcsinh, on.unary(-3.0, 3.0), T("arcsinh")),
    Row("arccosh", tr.arccosh, np.arccosh, on.unary(1.2, 3.0), T("arccosh")),
    Row("arctanh", tr.arctanh, np.arctanh, on.unary(-0.8, 0.8), T("arctanh")),
    Row("square", tr.square, np.square, on.unary(), T("square")),
    Row("reciprocal", tr.reciprocal, np.reciprocal, on.unary(0.3, 2.0), T("reciprocal")),
    Row("mish", tr.mish, lambda x: x * np.tanh(np.log1p(np.exp(x))), on.unary(), T("nn.functional.mish")),
    Row(
        "selu",
        tr.selu,
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
        on.unary(avoid=(0.0,)),
        T("nn.functional.selu"),
    ),
    Row("relu6", tr.relu6, lambda x: np.clip(x, 0, 6), on.unary(-2.0, 8.0, avoid=(0.0, 6.0)), T("nn.functional.relu6")),
    Row(
        "hard_swish",
        tr.hard_swish,
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        on.unary(-5.0, 5.0, avoid=(-3.0, 3.0)),
        lambda x: x * T("nn.functional.relu6")(x + 3) / 6,  # the gradient of its hardswish is a float32 sixth
    ),
    Row("trunc", tr.trunc, np.trunc, on.unary(-2.2, 2.2, avoid=_ties), T("trunc")),
    Row(
        "nan_to_num",
        tr.nan_to_num,
        np.nan_to_num,
        on.unary(specials=True, nan=st.sampled_from([0.0, 1.5]), posinf=st.just(2.0), neginf=st.just(-3.0)),
        T("nan_to_num"),
        smooth=False,
    ),
    Row("nan_to_num:numbers", tr.nan_to_num, np.nan_to_num, on.unary(), T("nan_to_num")),
]
BINARY = [
    Row("add", tr.add, np.add, on.nary(on.floats(), on.floats()), T("add")),
    Row("subtract", tr.subtract, np.subtract, on.nary(on.floats(), on.floats()), T("sub")),
    Row("multiply", tr.multiply, np.multiply, on.nary(on.floats(), on.floats()), T("mul")),
    Row("divide", tr.divide, np.divide, on.nary(on.floats(), on.floats(0.5, 2.0)), T("div")),
    Row("divide:number", lambda x: 2.0 / x, lambda x: 2.0 / x, on.unary(-2.0, -0.5), lambda x: 2.0 / x),
    Row("power", tr.power, np.power, on.nary(on.floats(0.3, 2.0), on.floats()), T("pow")),
    Row(
        "power:to a number",
        lambda x, p: x**p,
        lambda x, p: x**p,
        on.unary(0.3, 2.0, p=st.sampled_from([-1, 0, 1, 2, 3, 0.5, -1.5])),
        lambda x, p: x**p,
    ),
    Row("power:whole, negative base", lambda x: x**3, lambda x: x**3, on.unary(), lambda x: x**3),
    Row("power:of a number", lambda x: 2.0**x, lambda x: 2.0**x, on.unary(), lambda x: 2.0**x),
    Row("masked_product", masked_product, np.multiply, on.nary(on.floats(avoid=(0.0,)), on.floats())),
    Row("masked_quotient", masked_quotient, np.divide, on.nary(on.floats(avoid=(0.0,)), on.floats(0.5, 2.0))),
    Row("maximum", tr.maximum, np.maximum, on.nary(on.floats(), on.apart()), T("maximum")),
    Row("minimum", tr.minimum, np.minimum, on.nary(on.floats(), on.apart()), T("minimum")),
    Row("where", tr.where, np.where, on.nary(on.BOOLEANS, on.floats(), on.floats()), T("where")),
    Row(
        "where:numbers",
        lambda c, x: tr.where(c, x, 0.5),
        lambda c, x: np.where(c, x, 0.5),
        on.nary(on.BOOLEANS, on.floats()),
    ),
    Row("remainder", tr.remainder, np.remainder, on.divided()),
    Row("floor_divide", tr.floor_divide, np.floor_divide, on.divided()),
    Row("less", tr.less, np.less, on.integral(), T("less"), smooth=False),
    Row("less_equal", tr.less_equal, np.less_equal, on.integral(), T("less_equal"), smooth=False),
    Row("greater", tr.greater, np.greater, on.integral(), T("greater"), smooth=False),
    Row("greater_equal", tr.greater_equal, np.greater_equal, on.integral(), T("greater_equal"), smooth=False),
    Row("equal", tr.equal, np.equal, on.integral(), T("eq"), smooth=False),
    Row("not_equal", tr.not_equal, np.not_equal, on.integral(), T("ne"), smooth=False),
    Row("logical_and", tr.logical_and, np.logical_and, on.nary(on.BOOLEANS, on.BOOLEANS), smooth=False),
    Row("logical_or", tr.logical_or, np.logical_or, on.nary(on.BOOLEANS, on.BOOLEANS), smooth=False),
    Row("logical_xor", tr.logical_xor, np.logical_xor, on.nary(on.BOOLEANS, on.BOOLEANS), smooth=False),
    *(
        Row(name, getattr(tr, name), getattr(np, name), on.nary(on.BITS, on.BITS), T(name), smooth=False)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
    ),
    Row("bitwise_and:masks", lambda a, b: a & b, np.bitwise_and, on.nary(on.BOOLEANS, on.BOOLEANS), smooth=False),
    Row("bitwise_or:mixed", lambda a, b: a | b, np.bitwise_or, on.nary(on.BITS, on.BOOLEANS), smooth=False),
    Row("bitwise_xor:numbers", lambda a: (a ^ 5, 5 ^ a), lambda a: (a ^ 5, 5 ^ a), on.nary(on.BITS), smooth=False),
    Row(
        "left_shift",
        tr.left_shift,
        np.left_shift,
        on.nary(on.BITS, on.SHIFTS),
        T("bitwise_left_shift"),
        smooth=False,
    ),
    Row(
        "right_shift",
        tr.right_shift,
        np.right_shift,
        on.nary(on.BITS, on.SHIFTS),
        T("bitwise_right_shift"),
        smooth=False,
    ),
    Row("left_shift:numbers", lambda a: (a << 2, 3 << a), lambda a: (a << 2, 3 << a), on.nary(on.SHIFTS), smooth=False),
    Row(
        "right_shift:numbers", lambda a: (a >> 1, 9 >> a), lambda a: (a >> 1, 9 >> a), on.nary(on.SHIFTS), smooth=False
    ),
    Row("logaddexp", tr.logaddexp, np.logaddexp, on.nary(on.floats(), on.floats()), T("logaddexp")),
    Row("arctan2", tr.arctan2, np.arctan2, on.nary(on.floats(0.3, 2.0), on.floats()), T("arctan2")),
    Row("hypot", tr.hypot, np.hypot, on.nary(on.floats(0.3, 2.0), on.floats()), T("hypot")),
]

REDUCE = [
    Row("sum", tr.sum, np.sum, on.reduced(empty=True), torch_reduction("sum")),
    Row("mean", tr.mean, np.mean, on.reduced(), torch_reduction("mean")),
    Row("var", tr.var, np.var, on.reduced(min_side=2, min_dims=1, ddof=True, unique=True, several=False)),
    Row("std", tr.std, np.std, on.reduced(min_side=2, min_dims=1, ddof=True, unique=True, several=False)),
    Row(
        "centre",
        lambda x, axis: centre(x, axis=axis),
        lambda x, axis: x - np.mean(x, axis, keepdims=True),
        on.reduced(keepdims=False, several=False, none=False, min_dims=1).map(on.axis_as_tuple),
    ),
    Row("max", tr.max, np.max, on.reduced(unique=True), torch_reduction("amax")),
    Row("min", tr.min, np.min, on.reduced(unique=True), torch_reduction("amin")),
    Row("prod", tr.prod, np.prod, on.reduced(empty=True)),
    Row("prod:zeros", tr.prod, np.prod, on.reduced(lo=-1.0, hi=1.0, dtype=np.int64).map(on.as_floats)),
    Row("norm", tr.norm, lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis, keepdims=keepdims)), on.lengths()),
    Row(
        "norm:absolute",
        lambda x, **options: tr.norm(x, 1, **options),
        lambda x, **options: np.sum(np.abs(x), **options),
        on.lengths(several=False),
        lambda x, axis, keepdims: T("linalg.vector_norm")(x, 1, dim=axis, keepdim=keepdims),
    ),
    Row(
        "norm:largest",
        lambda x, **options: tr.norm(x, np.inf, **options),
        lambda x, **options: np.max(np.abs(x), **options),
        on.lengths(several=False),
    ),
    Row("logsumexp", tr.logsumexp, _logsumexp, on.reduced()),
    Row(
        "softmax",
        tr.softmax,
        _softmax,
        on.reduced(none=False, min_dims=1, several=False, keepdims=False),
        T("softmax", axis="dim"),
    ),
    Row(
        "log_softmax",
        tr.log_softmax,
        _log_softmax,
        on.reduced(none=False, min_dims=1, several=False, keepdims=False),
        T("log_softmax", axis="dim"),
    ),
    Row("argsort:falling", lambda x: tr.argsort(x, -1, True), lambda x: _argsort(-x, -1), on.ordered(), smooth=False),
    Row("sort", tr.sort, np.sort, on.ordered(axes=True), lambda x, axis: T("sort")(x, dim=axis)[0]),
    Row("sort:falling", lambda x: tr.sort(x, descending=True), lambda x: -np.sort(-x), on.ordered()),
    Row("sort:flattened", lambda x: tr.sort(x, None), lambda x: np.sort(x, None), on.unary(), smooth=False),
    Row(
        "topk",
        lambda x, k: tr.topk(x, k),
        lambda x, k: (-np.sort(-x)[..., :k], _argsort(-x, -1)[..., :k]),
        on.ordered(k=st.integers(0, 1)),
    ),
    Row("median", tr.median, np.median, on.reduced(unique=True)),
    Row("argsort:flattened", lambda x: tr.argsort(x, None), lambda x: _argsort(x, None), on.unary(), smooth=False),
    Row("cumsum", tr.cumsum, np.cumsum, on.reduced(several=False, keepdims=False, empty=True)),
    Row("cumprod", tr.cumprod, np.cumprod, on.reduced(several=False, keepdims=False, empty=True)),
    Row(
        "cumprod:zeros",
        tr.cumprod,
        np.cumprod,
        on.reduced(lo=-1.0, hi=1.0, several=False, none=False, min_dims=1, keepdims=False, dtype=np.int64).map(
            on.as_floats
        ),
        T("cumprod", axis="dim"),
    ),
    Row("diff", tr.diff, np.diff, on.ordered(n=st.integers(0, 2), axes=True), T("diff", axis="dim")),
    Row("argmax", tr.argmax, np.argmax, on.reduced(several=False), smooth=False),
    Row("argmin", tr.argmin, np.argmin, on.reduced(several=False), smooth=False),
    Row(
        "argsort",
        tr.argsort,
        _argsort,
        on.reduced(several=False, none=False, min_dims=1, keepdims=False),
        smooth=False,
    ),
    Row("all", tr.all, np.all, on.reduced(dtype=np.bool_, empty=True), smooth=False),
    Row("any", tr.any, np.any, on.reduced(dtype=np.bool_, empty=True), smooth=False),
]

PILES = [((), ()), ((3,), (3,)), ((3,), (2, 3))]
TRIANGLES = [((3, 4),), ((4, 2),), ((2, 3, 3),), ((0, 2),)]

SHAPE = [
    Row("reshape", lambda x, shape: tr.reshape(x, shape), np.reshape, on.reshaped(), T("reshape")),
    Row("transpose", lambda x, axes: tr.transpose(x, axes), np.transpose, on.transposed()),
    Row(
        "swapaxes",
        lambda x, a, b: tr.swapaxes(x, a, b),
        lambda x, a, b: np.swapaxes(x, a, b),
        on.two_axes(),
        lambda x, a, b: x.swapaxes(a, b),
    ),
    Row("moveaxis", tr.moveaxis, np.moveaxis, on.two_axes(("source", "destination")), T("moveaxis")),
    Row("moveaxis:several", tr.moveaxis, np.moveaxis, on.several_moved(), T("moveaxis")),
    Row("squeeze", tr.squeeze, np.squeeze, on.squeezed(), T("squeeze", axis="dim")),
    Row("expand_dims", tr.expand_dims, np.expand_dims, on.expanded()),
    Row("broadcast_to", tr.broadcast_to, np.broadcast_to, on.broadcasted(), T("broadcast_to", shape="size")),
    Row("flip", tr.flip, np.flip, on.reduced(keepdims=False, empty=True)),
    Row("pad", tr.pad, np.pad, on.padded()),
    Row("pad:modes", tr.pad, np.pad, on.padded(constant=False)),
    Row("repeat", tr.repeat, np.repeat, on.repeated()),
    Row("tile", tr.tile, np.tile, on.tiled()),
    Row(
        "concat",
        lambda *xs, axis: tr.concat(xs, axis),
        lambda *xs, axis: np.concatenate(xs, axis),
        on.joined(),
        lambda *xs, axis: T("cat")(xs, dim=axis),
    ),
    Row(
        "concat:flattened",
        lambda *xs: tr.concat(xs, None),
        lambda *xs: np.concatenate(xs, None),
        on.of_shapes(((2, 3), (2,)), ((), (1, 1), (0, 2)), ((3,),)),
    ),
    Row(
        "stack",
        lambda *xs, axis: tr.stack(xs, axis),
        lambda *xs, axis: np.stack(xs, axis),
        on.joined(new_axis=True),
        lambda *xs, axis: T("stack")(xs, dim=axis),
    ),
    Row(
        "split",
        lambda x, at, axis: tr.split(x, at, axis),
        lambda x, at, axis: np.split(x, at, axis),
        on.cut(),
        lambda x, at, axis: T("tensor_split")(x, at, dim=axis),
    ),
    Row(
        "split:as slices",
        lambda x, at: tr.split(x, at),
        lambda x, at: np.split(x, at),
        st.tuples(
            st.tuples(ts.arrays((5, 2))), st.fixed_dictionaries({"at": st.lists(st.integers(-7, 8), max_size=3)})
        ),
    ),
    Row(
        "unstack",
        tr.unstack,
        lambda x, axis: tuple(np.moveaxis(x, axis, 0)),
        on.unstacked(),
        T("unbind", axis="dim"),
    ),
    Row("roll", tr.roll, np.roll, on.rolled(), T("roll", shift="shifts", axis="dims")),
    Row(
        "roll:several",
        lambda x: tr.roll(x, (1, -2), (0, 1)),
        lambda x: np.roll(x, (1, -2), (0, 1)),
        on.of_shapes(((3, 4),)),
    ),
    Row("hstack", lambda *xs: tr.hstack(xs), lambda *xs: np.hstack(xs), on.of_shapes(*PILES[:2], ((2, 3), (2, 1)))),
    Row("vstack", lambda *xs: tr.vstack(xs), lambda *xs: np.vstack(xs), on.of_shapes(*PILES)),
    Row("array_split", tr.array_split, np.array_split, on.parted()),
    Row("tril", tr.tril, np.tril, on.of_shapes(*TRIANGLES), T("tril")),
    Row("triu", lambda x: tr.triu(x, 1), lambda x: np.triu(x, 1), on.of_shapes(*TRIANGLES), lambda x: T("triu")(x, 1)),
    Row("diagonal", tr.diagonal, np.diagonal, on.crossed(), T("diagonal", axis1="dim1", axis2="dim2")),
    Row("trace", tr.trace, np.trace, on.crossed()),
    Row(
        "glu",
        tr.glu,
        lambda x: x[..., :2] / (1 + np.exp(-x[..., 2:])),
        on.of_shapes(((4,),), ((3, 4),)),
        T("nn.functional.glu"),
    ),
]

INDEX = [
    Row("getitem", lambda x, index: x[index], lambda x, index: x[index], on.indexed()),
    Row("getitem:function", tr.getitem, lambda x, index: x[index], on.indexed()),
    Row("take", tr.take, np.take, on.taken()),
    Row(
        "embedding:padding",
        lambda table, indices: tr.embedding(table, indices, padding_idx=-1)[indices != len(table) - 1],
        lambda table, indices: table[indices[indices != len(table) - 1]],
        on.looked_up(),
    ),
    Row(
        "embedding",
        tr.embedding,
        lambda w, indices: w[indices],
        on.looked_up(),
        lambda w, indices: w[indices],
    ),
    Row("take_along_axis", tr.take_along_axis, np.take_along_axis, on.picked()),
]

LINALG = [
    Row("matmul", tr.matmul, np.matmul, on.of_shapes(*MATMUL), T("matmul")),
    Row(
        "outer",
        tr.outer,
        lambda a, b: a[..., :, None] * b[..., None, :],
        on.of_shapes(((2,), (3,)), ((4, 2), (4, 3)), ((1,), (0,))),
    ),
    Row(
        "einsum",
        lambda *xs, subscripts: tr.einsum(subscripts, *xs),
        lambda *xs, subscripts: np.einsum(subscripts, *xs),
        on.of_shapes(*EINSUM),
    ),
    Row(
        "linear",
        linear,
        lambda x, w, *b: x @ w.T + (b[0] if b else 0),
        on.of_shapes(*LINEAR),
        T("nn.functional.linear"),
    ),
    Row(
        "matmul_tanh",
        tr.matmul_tanh,
        lambda x, w_x, h, w_h, *b: np.tanh(x @ w_x + h @ w_h + sum(b)),
        on.of_shapes(*MATMUL_TANH),
    ),
    Row(
        "matmul_tanh:transposed",
        lambda x, w_x, h, w_h, *b: tr.matmul_tanh(x, w_x, h, w_h, *b, transposed=True),
        lambda x, w_x, h, w_h, *b: np.tanh(x @ w_x.T + h @ w_h.T + sum(b)),
        on.of_shapes(*[[s[0], s[1][::-1], *s[2:]] for s in MATMUL_TANH]),
    ),
    Row("dot", tr.dot, np.dot, on.of_shapes(*MATMUL[:4], ((), (3,)), ((2, 3), (2, 3, 2)), ((3,), (2, 3, 2)))),
    Row("tensordot", tr.tensordot, np.tensordot, on.contracted(), T("tensordot", axes="dims")),
]

NORM = [
    Row("dropout", dropout, lambda x, keep, scale: x * keep * scale, on.masked(), smooth=True),
    Row("layer_norm", _with_saved(layer_norm), _layer_norm, on.normalised(), _torch_layer_norm),
]

LOSS = [
    Row(
        "squared_error",
        squared_error,
        lambda x, y, scale: scale * np.sum((x - y) ** 2),
        on.same_shape(scale=st.sampled_from([1.0, 0.25])),
    ),
    Row(
        "logistic_loss",
        logistic_loss,
        lambda x, y: np.logaddexp(0, x) - x * y,
        on.same_shape(),
        lambda x, y: T("nn.functional.binary_cross_entropy_with_logits")(x, y, reduction="none"),
    ),
    Row(
        "bernoulli_loss",
        bernoulli_loss,
        lambda p, t: -t * np.log(p) - (1 - t) * np.log1p(-p),
        on.nary(on.floats(0.1, 0.9), on.floats(0.0, 1.0)),
    ),
    Row("class_nll", _class_nll, _nll, on.classified(smoothed=False), _torch_nll),
    Row(
        "class_cross_entropy",
        _with_weight(class_cross_entropy),
        _class_cross_entropy,
        on.classified(),
        _torch_cross_entropy,
    ),
    Row(
        "share_cross_entropy",
        _with_weight(share_cross_entropy),
        _share_cross_entropy,
        on.shared_out(),
        _torch_cross_entropy,
    ),
    Row(
        "ctc",
        lambda x, labels, offsets, **more: ctc(tr.log_softmax(x, -1), labels, np.diff(offsets), **more),
        lambda x, **alignment: losses_by_enumeration(tr.log_softmax(x, -1), **alignment),
        on.alignments(),
        torch_ctc,
    ),
]

TABLE = [*ELEMENTWISE, *BINARY, *REDUCE, *SHAPE, *INDEX, *LINALG, *NORM, *LOSS]

# Constructors have no arguments to differentiate; tests/ops/test_create.py has them.
CONSTRUCTORS = {
    "arange", "eye", "full", "full_like", "linspace", "one_hot", "ones", "ones_like", "rand", "randn", "zeros",
    "zeros_like",
}  # fmt: skip
