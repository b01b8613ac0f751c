"""Lowerings of the package give what NumPy gives, special values included."""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import registry
from tinygrad_rnn.recurrent import scan

from .agreement import agree, close, loss_of
from .lowered import SPECIAL, WIDTH, Everything, apply, both, grid

# have masks among their operands
LOGICAL = {"logical_and", "logical_or", "logical_xor", "logical_not", "where"}
LOGICAL |= {"bitwise_and", "bitwise_or", "bitwise_xor", "invert"}
OPS = {
    name: op
    for name, op in sorted(registry.items())
    if op.lowering is not None
    and op.lowering.kind == "elementwise"
    and op.forward.__module__.startswith("tinygrad_rnn.")
    and name not in LOGICAL
}
ARITY = {name: len(inspect.signature(op.forward).parameters) for name, op in OPS.items()}
UNARY = [name for name, n in ARITY.items() if n == 1]
BINARY = [name for name, n in ARITY.items() if n == 2]


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_unary(dtype):
    values = np.concatenate([grid(dtype, 3, 5, WIDTH), np.array(SPECIAL, dtype).reshape(1, 1, -1).repeat(5, 1)])
    actual, wanted = both([apply(name) for name in UNARY], [values], dtype)
    for name, a, b in zip(UNARY, actual, wanted):
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(a, b, rtol=1e-14 if dtype == "float64" else 1e-6, atol=1e-300, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_binary(dtype):
    pairs = np.array([(a, b) for a in SPECIAL for b in [*SPECIAL, 3.0, -0.5]], dtype).reshape(-1, WIDTH, 2)
    a = np.concatenate([grid(dtype, 4, WIDTH), pairs[..., 0]])[None]
    b = np.concatenate([grid(dtype, 8, WIDTH)[4:], pairs[..., 1]])[None]
    actual, wanted = both([apply(name) for name in BINARY], [a, b], dtype)
    for name, x, y in zip(BINARY, actual, wanted):
        np.testing.assert_allclose(x, y, rtol=1e-13 if dtype == "float64" else 2e-6, atol=1e-300, err_msg=name)


LOGIC = {
    "and": lambda a, b: (a > 0) & (b > 0),
    "or of numbers": tr.logical_or,
    "xor with a number": lambda a, b: tr.logical_xor(a > b, b),
    "not a number": lambda a, b: tr.logical_not(a),
    "not": lambda a, b: ~(a < b),
    "true": lambda a, b: (a < b) | True,
    "bits of masks": lambda a, b: tr.bitwise_xor(a > 0, tr.bitwise_and(a > b, tr.invert(b > 0))),
    "where of masks": lambda a, b: tr.where(a > 0, b > 0, a < b),
    "where of a number": lambda a, b: tr.where(a, b, 2.0),
    "where of a flag": lambda a, b: tr.where(True, b, a),
    "sum of masks": lambda a, b: (a > 0) + (b > 0),
    "product of masks": lambda a, b: (a > 0) * (b > 0),
    "maximum of masks": lambda a, b: tr.maximum(a > 0, b > 0),
    "equal masks": lambda a, b: (a > 0) == (b > 0),
    "mask and number": lambda a, b: (a > 0) * b - (b > 0),
    "mask less than number": lambda a, b: (a > 0) < b,
    "cast there and back": lambda a, b: a.astype(bool).astype(b.dtype),
    "joined masks": lambda a, b: tr.concat([a > 0, b > 0], axis=-1)[:, 3:17],
    "mask joined with numbers": lambda a, b: tr.concat([a > 0, b], axis=-1),
    "column of a mask": lambda a, b: (a > 0)[:, 2] * b[:, 1],
}


def test_masks():
    a, b = (np.round(grid("float64", 2, 5, 3, WIDTH)[i]) for i in (0, 1))  # with ties and zeros
    actual, wanted = both(list(LOGIC.values()), [a, b], "float64")
    for name, x, y in zip(LOGIC, actual, wanted):
        np.testing.assert_array_equal(x, y, err_msg=name)


POWERS = [0, 1, 2, 3, 7, 8, 9, 64, 65, -1, -2, -4, -5, 0.5, 1.5, -0.5, 2.0, -3.0]


def test_powers_by_numbers():
    x = np.concatenate([grid("float64", 1, 4, WIDTH), np.array(SPECIAL).reshape(1, 1, -1).repeat(4, 1)])
    functions = [lambda a, e=e: a**e for e in POWERS] + [lambda a: 2.0**a, lambda a: 0.5**a]
    actual, wanted = both(functions, [x], "float64")
    for name, a, b in zip([*POWERS, "2 **", "0.5 **"], actual, wanted):
        np.testing.assert_allclose(a, b, rtol=2e-15, atol=1e-300, err_msg=str(name))


@pytest.mark.slow
def test_gradients_of_powers_by_numbers():
    """At zeros and infinities too."""
    x = np.concatenate([grid("float64", 1, 3, WIDTH), np.array(SPECIAL).reshape(1, 1, -1)], 1)
    for p in POWERS:
        found = []
        for mode in ("compiled", "eager"):
            t = tr.tensor(x, requires_grad=True)
            with np.errstate(all="ignore"):
                ys, _ = scan(Everything([lambda a, p=p: a**p], "float64"), [t], mode=mode)
                found.append(tr.grad(ys[0].sum(), t)[0].numpy())
        np.testing.assert_allclose(*found, rtol=1e-14, atol=1e-300, err_msg=str(p))
        np.testing.assert_array_equal(*map(np.signbit, np.nan_to_num(found)), err_msg=str(p))


REDUCTIONS = {
    "sum": lambda a: a.sum(axis=-1),
    "mean": lambda a: a.mean(axis=1, keepdims=True),
    "max": lambda a: a.max(axis=-1),
    "min": lambda a: a.min(axis=-1, keepdims=True),
    "var": lambda a: a.var(axis=-1),
    "std": lambda a: a.std(axis=-1, ddof=1),
    "softmax": lambda a: tr.softmax(a, axis=-1),
    "log_softmax": lambda a: tr.log_softmax(a, axis=-1),
    "logsumexp": lambda a: tr.logsumexp(a, axis=-1),
    "prod": lambda a: a.prod(axis=-1),
    "norm": lambda a: tr.norm(a, axis=-1),
    "absolute norm": lambda a: tr.norm(a, 1, axis=-1, keepdims=True),
    "of joined": lambda a: tr.concat([a, a * a], axis=-1).max(axis=-1),
    "sum of joined": lambda a: tr.concat([a, a * a], axis=-1).sum(axis=-1),
}


def test_reductions():
    actual, wanted = both(list(REDUCTIONS.values()), [grid("float64", 3, 4, WIDTH)], "float64")
    for name, a, b in zip(REDUCTIONS, actual, wanted):
        close(a, b, 1e-12, name)


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [-np.inf] * WIDTH], ids=str)
def test_reductions_of_special_values(special):
    x = grid("float64", 1, 2, WIDTH)
    x[0, 0, : len(special)] = special
    actual, wanted = both(list(REDUCTIONS.values()), [x], "float64")
    for name, a, b in zip(REDUCTIONS, actual, wanted):
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=name)


@pytest.mark.slow
def test_ties_share_gradients():
    """Maxima, minima and comparisons where operands are equal."""
    functions = [
        tr.maximum,
        tr.minimum,
        lambda a, b: tr.relu(a) + tr.abs(b),
        lambda a, b: a.max(axis=-1) - b.min(axis=-1),
        lambda a, b: tr.clip(a, -1.0, 1.0) * tr.where(a > b, a, b),
    ]
    a, b = (np.round(grid("float64", 2, 3, 4, WIDTH)[i]) for i in (0, 1))
    for f in functions:
        grads = []
        for mode in ("compiled", "eager"):
            xs = [tr.tensor(v, requires_grad=True) for v in (a, b)]
            ys, _ = scan(Everything([f], "float64"), xs, mode=mode)
            grads.append([g.numpy() for g in tr.grad(loss_of(ys), xs, allow_unused=True)])
        for x, y in zip(*grads):
            close(x, y, 1e-12)


# ---- parts of parameters


class Parts(nn.Cell):
    """Rows, columns and blocks of a parameter, transposed before or after, beside rows and in products."""

    hidden_size = 4

    def __init__(self, i, j):
        self.w, self.at = nn.Parameter(np.random.default_rng(1).normal(size=(6, 5))), (slice(i, i + 4), slice(j, j + 4))
        self.row, self.column = slice(i, i + 1), slice(j, j + 1)

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 4), "float64")

    def step(self, x, h):
        w, (rows, columns), row, column = self.w, self.at, self.row, self.column
        beside = [
            x * w[row, columns] + h * w[row.start, columns],
            x * w[rows, column].T + h * w[rows, column.start],
            x * w.T[column, rows] + h * w.T[column.start, rows],
            x * w.T[columns, row].T + h * w.T[columns, row.start],
            x * w[row, column] + h * w.T[column, row] + w[row.start, column.start],
        ]
        products = [
            x @ w[rows, columns] + h @ w[rows, columns].T,
            x @ w.T[columns, rows] + h @ w.T[columns, rows].T,
            x @ w[rows, column] + x[:, :1] @ w[row, columns] + h[:, :1] @ w[rows, column].T,
            h * (h @ w.T[columns, row]),
        ]
        results = [tr.tanh(y) for y in beside + products]
        return results, 0.1 * sum(results)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("i", "j"), [(0, 0), (2, 1)])
def test_parts_of_parameters(i, j):
    found = []
    for mode in ("compiled", "eager"):
        cell, x = Parts(i, j), tr.tensor(grid("float64", 3, 2, 4), requires_grad=True)
        ys, h = scan(cell, x, mode=mode)
        found.append([*ys, h, *tr.grad(loss_of([*ys, h]), [x, cell.w])])
    for a, b in zip(*found):
        close(a.numpy(), b.numpy(), 1e-12)


INVERSE = ["arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "sinh", "cosh", "tan", "hypot", "arctan2"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_angles_and_hyperbolic_functions_within_four_units(dtype):
    wide, limits, rng = np.longdouble, np.finfo(dtype), np.random.default_rng(0)
    special = [*SPECIAL, limits.tiny, -limits.tiny / 8, limits.max, -limits.max, 1e9, -1.001e9, 1e-9]
    spread = [rng.uniform(-1, 1, 3000), 10.0 ** rng.uniform(-30, 30, 3000), 1 + 10.0 ** rng.uniform(-16, 3, 3000)]
    with np.errstate(all="ignore"):
        pair = [np.concatenate([m.ravel(), *map(rng.permutation, spread)]) for m in np.meshgrid(special, special)]
        a, b = (x.astype(dtype) for x in pair)
        one = [apply(name) for name in INVERSE[:-2]]
        two = [apply(name) for name in INVERSE[-2:]]
        a_row, b_row = a[None, :, None], b[None, :, None]
        found = [*both(one, [a_row], dtype)[0], *both(two, [a_row, b_row], dtype)[0]]
        for name, y in zip(INVERSE, found):
            args = (a, b) if name in INVERSE[-2:] else (a,)
            wanted, y = getattr(np, name)(*(x.astype(wide) for x in args)), y.ravel()
            rounded = wanted.astype(dtype)
            finite = np.isfinite(rounded)
            np.testing.assert_array_equal(y[~finite], rounded[~finite], err_msg=name)
            zero = rounded == 0
            np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(getattr(np, name)(*args)[zero]), err_msg=name)
            ulps = np.abs(y.astype(wide) - wanted)[finite] / np.spacing(np.abs(rounded[finite])).astype(wide)
            assert ulps.max() <= 4, (name, [x[finite][np.argmax(ulps)] for x in args])


class Angles(nn.Cell):
    """A step of inverse functions, for its gradients."""

    input_size = hidden_size = 3

    def __init__(self):
        self.w = nn.Parameter(np.random.default_rng(0).normal(size=(3, 3)))

    def step(self, x, h):
        z = 0.7 * tr.tanh(x @ self.w + h)
        total = tr.arcsin(z) - tr.arccos(z * tr.sin(h)) + tr.arctan(x) * tr.arcsinh(h) + tr.arctanh(z) * tr.sinh(z)
        total = total + tr.arccosh(1.5 + z * z) * tr.hypot(x, h + 0.1) + tr.arctan2(x, z) + tr.round(10 * x, 1) * h
        h = tr.tanh(total)
        return h, h


def test_gradients_of_inverse_functions():
    rng = np.random.default_rng(1)
    x, h = (tr.tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 2, 3), (2, 3)))
    agree(Angles(), x, h, tol=1e-11)
