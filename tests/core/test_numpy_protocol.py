"""NumPy's functions on tensors: each is an operation with gradients, a question of values, or refused by name."""

import inspect
import io
import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import numpy_protocol as protocol
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.testing import gradcheck


def leaf(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64), requires_grad=True)


A = np.array([[0.3, -0.7, 0.9], [0.45, 0.25, -0.15]])
B = np.array([[0.2, 0.8], [-0.6, 0.5], [0.4, 0.1]])
V, W = np.array([0.35, -0.55, 0.75]), np.array([0.6, 0.15, -0.4])

PLAIN = """
    absolute arccos arcsin arcsinh arctan arctanh ceil conjugate cos cosh deg2rad degrees exp exp2 expm1 fabs floor
    isfinite isinf isnan logical_not negative positive rad2deg radians reciprocal rint sign sin sinh square tan tanh
    trunc
"""
POSITIVE = "log log10 log1p log2 sqrt"
PAIRS = """
    add arctan2 divide equal floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or
    logical_xor maximum minimum multiply not_equal remainder subtract vecdot
"""

# how each operation of the table is called: of (a, b, v, w), which are arrays or tensors
UFUNCS = {
    **{name: lambda f, a, b, v, w: f(a) for name in PLAIN.split()},
    **{name: lambda f, a, b, v, w: f(abs(a)) for name in POSITIVE.split()},
    **{name: lambda f, a, b, v, w: f(a, v) for name in PAIRS.split()},
    **{name: lambda f, a, b, v, w: f(abs(a), v) for name in ("power", "float_power")},
    "arccosh": lambda f, a, b, v, w: f(1.5 + abs(a)),
    "divmod": lambda f, a, b, v, w: f(a, v),
    "matmul": lambda f, a, b, v, w: f(a, b),
}  # fmt: skip
WHOLE = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"}
FUNCTIONS = {
    "all": lambda f, a, b, v, w: f(a, axis=0),
    "amax": lambda f, a, b, v, w: f(a, 1),
    "amin": lambda f, a, b, v, w: f(a, axis=1, keepdims=True),
    "any": lambda f, a, b, v, w: f(a, 1, keepdims=True),
    "append": lambda f, a, b, v, w: f(a, [v], axis=0) @ f(v, 2.0)[:3],
    "argmax": lambda f, a, b, v, w: f(a, axis=1),
    "argmin": lambda f, a, b, v, w: f(a),
    "argsort": lambda f, a, b, v, w: f(a, axis=None, kind="stable"),
    "around": lambda f, a, b, v, w: f(a * 3.0),
    "array_split": lambda f, a, b, v, w: [*f(a, 2, axis=1), *f(v, [1])],
    "astype": lambda f, a, b, v, w: f(a, np.float64),
    "atleast_1d": lambda f, a, b, v, w: [f(v[0]), *f(v, a)],
    "atleast_2d": lambda f, a, b, v, w: [f(v[0]), *f(v, a)],
    "atleast_3d": lambda f, a, b, v, w: [f(v[0]), *f(v, a, a[None])],
    "average": lambda f, a, b, v, w: [f(a, axis=0), f(a, 1, weights=w * w), f(v, weights=w * w)],
    "broadcast_arrays": lambda f, a, b, v, w: list(f(a, v)),
    "broadcast_to": lambda f, a, b, v, w: f(v, (2, 3)),
    "clip": lambda f, a, b, v, w: [f(a, -0.5, 0.5), f(a, None, v), f(a, min=-0.1), f(a, a_min=-0.2, a_max=0.2)],
    "column_stack": lambda f, a, b, v, w: f([b, v, w]),
    "concatenate": lambda f, a, b, v, w: [f([a, a], axis=1), f((v, w, v)), f([a, v], axis=None)],
    "copy": lambda f, a, b, v, w: f(a),
    "cumprod": lambda f, a, b, v, w: [f(a), f(a, axis=1)],
    "cumulative_prod": lambda f, a, b, v, w: f(a, axis=1),
    "cumsum": lambda f, a, b, v, w: [f(a), f(a, axis=1)],
    "cumulative_sum": lambda f, a, b, v, w: f(a, axis=1),
    "diagonal": lambda f, a, b, v, w: [f(a), f(a, 1), f(b, -1), f(a, axis1=1, axis2=0), f(a[None], 0, 2, 1)],
    "diff": lambda f, a, b, v, w: [f(a), f(a, axis=0), f(v, 2)],
    "dot": lambda f, a, b, v, w: [f(a, b), f(v, w), f(a, v), f(2.0, v), f(v, b[None] * b[:, :1, None])],
    "dsplit": lambda f, a, b, v, w: f(a[None], 3),
    "dstack": lambda f, a, b, v, w: [f([a, a]), f([v, w])],
    "einsum": lambda f, a, b, v, w: [f("ij,jk->ik", a, b), f("i,i", v, w)],
    "empty_like": lambda f, a, b, v, w: f(a) * 0,
    "expand_dims": lambda f, a, b, v, w: [f(a, 1), f(a, axis=(0, 2))],
    "flip": lambda f, a, b, v, w: [f(a), f(a, axis=1)],
    "fliplr": lambda f, a, b, v, w: f(a),
    "flipud": lambda f, a, b, v, w: f(a),
    "full_like": lambda f, a, b, v, w: [f(a, 2.0), f(a, v), f(a, 2, dtype=int)],
    "hsplit": lambda f, a, b, v, w: [*f(a, 3), *f(v, [1])],
    "hstack": lambda f, a, b, v, w: [f([a, a]), f((v, w))],
    "imag": lambda f, a, b, v, w: f(a),
    "inner": lambda f, a, b, v, w: [f(a, v), f(v, w), f(a, a), f(2.0, v)],
    "matrix_transpose": lambda f, a, b, v, w: f(a),
    "max": lambda f, a, b, v, w: f(a),
    "mean": lambda f, a, b, v, w: [f(a, axis=0), f(v, keepdims=True)],
    "median": lambda f, a, b, v, w: [f(a), f(a, axis=1), f(a, axis=0, keepdims=True)],
    "min": lambda f, a, b, v, w: f(a, axis=-1),
    "moveaxis": lambda f, a, b, v, w: f(a, 0, 1),
    "nan_to_num": lambda f, a, b, v, w: [f(a), f(np.where(a > 0, a, -np.inf), 1.0, posinf=2.0, neginf=3.0)],
    "ndim": lambda f, a, b, v, w: [np.array(f(a))],
    "ones_like": lambda f, a, b, v, w: [f(a), f(a, dtype=int)],
    "outer": lambda f, a, b, v, w: [f(v, w), f(a, b)],
    "pad": lambda f, a, b, v, w: [f(a, 1), f(a, ((0, 1), (2, 0)), constant_values=3.0), f(v, 2, mode="edge")],
    "permute_dims": lambda f, a, b, v, w: f(a, (1, 0)),
    "prod": lambda f, a, b, v, w: f(a, axis=1),
    "ptp": lambda f, a, b, v, w: f(a, axis=1),
    "ravel": lambda f, a, b, v, w: f(a),
    "real": lambda f, a, b, v, w: f(a),
    "repeat": lambda f, a, b, v, w: [f(a, 2), f(a, [1, 2, 0], axis=1)],
    "reshape": lambda f, a, b, v, w: [f(a, (3, 2)), f(a, -1), f(a, (6,), copy=True)],
    "roll": lambda f, a, b, v, w: [f(a, 1), f(a, -1, axis=1), f(a, (1, 2), axis=(0, 1)), f(v, 4)],
    "round": lambda f, a, b, v, w: [f(a), f(a * 10.0, 1)],
    "shape": lambda f, a, b, v, w: [np.array(f(a))],
    "size": lambda f, a, b, v, w: [np.array(f(a)), np.array(f(a, 1))],
    "sort": lambda f, a, b, v, w: [f(a), f(a, axis=0), f(a, axis=None)],
    "split": lambda f, a, b, v, w: [*f(a, 3, axis=1), *f(v, [1, 2])],
    "squeeze": lambda f, a, b, v, w: [f(a[None]), f(a[None], axis=0)],
    "stack": lambda f, a, b, v, w: [f([v, w]), f([v, w, v], axis=1), f((a, a), axis=-1)],
    "std": lambda f, a, b, v, w: [f(a, axis=0), f(a, ddof=1)],
    "sum": lambda f, a, b, v, w: [f(a), f(a, 1), f(a, axis=(0, 1), keepdims=True)],
    "swapaxes": lambda f, a, b, v, w: f(a, 0, 1),
    "take": lambda f, a, b, v, w: [f(a, [0, 5]), f(a, [[0, 2]], axis=1)],
    "take_along_axis": lambda f, a, b, v, w: [f(a, np.array([[0, 2], [1, 1]]), axis=1), f(a, np.array([4, 1]), None)],
    "tensordot": lambda f, a, b, v, w: [f(a, b, 1), f(a, b, ([0, 1], [1, 0])), f(v, w, 0), f(a, b, axes=(1, 0))],
    "tile": lambda f, a, b, v, w: [f(a, 2), f(v, (2, 2))],
    "trace": lambda f, a, b, v, w: [f(a), f(a, 1)],
    "transpose": lambda f, a, b, v, w: [f(a), f(a, axes=(1, 0))],
    "tril": lambda f, a, b, v, w: [f(a), f(a, 1)],
    "triu": lambda f, a, b, v, w: [f(a), f(a, -1)],
    "unstack": lambda f, a, b, v, w: [*f(a), *f(a, axis=1)],
    "var": lambda f, a, b, v, w: [f(a, axis=1), f(a, ddof=1, keepdims=True)],
    "vdot": lambda f, a, b, v, w: [f(v, w), f(a, a)],
    "vsplit": lambda f, a, b, v, w: f(a, 2),
    "vstack": lambda f, a, b, v, w: [f([v, w]), f([a, v])],
    "where": lambda f, a, b, v, w: [f(a > 0, a, v), f(a > 0, 0.0, a), f(np.array([True, False, True]), v, w)],
    "zeros_like": lambda f, a, b, v, w: f(a),
}
LINALG = {
    "diagonal": lambda f, a, b, v, w: f(a[None], offset=1),
    "matmul": lambda f, a, b, v, w: f(a, b),
    "matrix_transpose": lambda f, a, b, v, w: f(a),
    "multi_dot": lambda f, a, b, v, w: f([v, b, a, w]),
    "norm": lambda f, a, b, v, w: [
        f(v), f(a), f(a, "fro"), f(v, 1), f(v, np.inf), f(v, -np.inf), f(v, 3), f(v, 0), f(a, axis=1),
        f(a, 1, axis=0), f(a, axis=(0, 1), keepdims=True), f(v, keepdims=True),
    ],
    "outer": lambda f, a, b, v, w: f(v, w),
    "tensordot": lambda f, a, b, v, w: f(a, b, axes=1),
    "trace": lambda f, a, b, v, w: f(a, offset=1),
    "vecdot": lambda f, a, b, v, w: f(a, v),
    "vector_norm": lambda f, a, b, v, w: [f(a), f(a, axis=1), f(v, ord=1), f(v, ord=np.inf)],
}  # fmt: skip
CALLS = {
    **{(np, name): call for name, call in UFUNCS.items()},
    **{(np, name): call for name, call in FUNCTIONS.items() if hasattr(np, name)},
    **{(np.linalg, name): call for name, call in LINALG.items()},
}


def flat(result) -> list:
    return [part for r in result for part in flat(r)] if isinstance(result, (list, tuple)) else [result]


def test_the_table_is_tested():
    assert set(protocol.UFUNCS) == {*UFUNCS, *WHOLE}
    assert set(protocol.FUNCTIONS) == set(FUNCTIONS)
    assert set(protocol.LINALG) == set(LINALG)
    assert not protocol.QUESTIONS & set(protocol.OPERATIONS)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("room", "name"), CALLS, ids=lambda x: getattr(x, "__name__", x))
def test_operations_give_tensors_with_gradients(room, name):
    function, call = getattr(room, name), CALLS[room, name]
    tensors = [leaf(x) for x in (A, B, V, W)]
    want, got = flat(call(function, A, B, V, W)), flat(call(function, *tensors))
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert isinstance(g, tr.Tensor) or name in ("ndim", "shape", "size")
        np.testing.assert_allclose(np.asarray(g), w, rtol=1e-12, atol=1e-14, strict=name != "where")
        assert np.asarray(g).dtype == np.asarray(w).dtype
    outputs = lambda *args: [y for y in flat(call(function, *args)) if isinstance(y, tr.Tensor) and y.requires_grad]
    if outputs(*tensors):
        assert gradcheck(outputs, tensors)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 2)])
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"empty_like"}))
def test_defaults_are_those_of_numpy(name, shape):
    """Called with nothing but an array, where NumPy takes that; the default axis is another one for each rank."""
    array = np.random.default_rng(0).normal(size=shape)
    function = getattr(np, name, None)
    try:
        want = flat(function(array))
    except (TypeError, ValueError):
        return
    got = flat(function(leaf(array)))
    assert len(got) == len(want)
    for g, w in zip(got, want):
        np.testing.assert_allclose(np.asarray(g), w, rtol=1e-12, atol=1e-14, strict=True)


INDICES = np.array([[0, 1, 0]])
NUMPY_REFUSES = {  # as NumPy does, of (a, v, s): a matrix, a vector and a scalar
    "append": [lambda a, v, s: np.append(a, v, 0)],
    "array_split": [
        lambda a, v, s: np.array_split(a, 2, 2), lambda a, v, s: np.array_split(a, 0),
        lambda a, v, s: np.array_split(s, 2), lambda a, v, s: np.array_split(a, [1], 5),
    ],
    "average": [
        lambda a, v, s: np.average(a, 2), lambda a, v, s: np.average(a, weights=v),
        lambda a, v, s: np.average(a, 2, weights=v), lambda a, v, s: np.average(a, -3, weights=v),
        lambda a, v, s: np.average(a, 0, weights=v),
    ],
    "diagonal": [
        lambda a, v, s: np.diagonal(a, 0, 0, 2), lambda a, v, s: np.diagonal(a, 0, 1, 1),
        lambda a, v, s: np.diagonal(a, 0, -3, 1), lambda a, v, s: np.diagonal(v), lambda a, v, s: np.diagonal(s),
        lambda a, v, s: np.linalg.diagonal(v),
    ],
    "diff": [
        lambda a, v, s: np.diff(a, 1, 2), lambda a, v, s: np.diff(a, -1), lambda a, v, s: np.diff(s),
        lambda a, v, s: np.diff(a, axis=-3),
    ],
    "dot": [lambda a, v, s: np.dot(a, a), lambda a, v, s: np.inner(a, v[:2]), lambda a, v, s: np.vdot(a, v)],
    "linalg": [
        lambda a, v, s: np.linalg.multi_dot([a, a]), lambda a, v, s: np.linalg.multi_dot([a]),
        lambda a, v, s: np.linalg.outer(a, v), lambda a, v, s: np.linalg.outer(v, s),
        lambda a, v, s: np.linalg.vecdot(a, v, axis=4),
    ],
    "norm": [
        lambda a, v, s: np.linalg.norm(a, axis=2), lambda a, v, s: np.linalg.norm(a, axis=(0, 0)),
        lambda a, v, s: np.linalg.norm(v, axis=(0, 1)),
    ],
    "roll": [
        lambda a, v, s: np.roll(a, 1, 2), lambda a, v, s: np.roll(a, 1, (0, 5)), lambda a, v, s: np.roll(a, 0, 7),
        lambda a, v, s: np.roll(a, (1, 2), (0, 1, 0)),
    ],
    "sort": [lambda a, v, s: np.sort(a, 2), lambda a, v, s: np.sort(s), lambda a, v, s: np.argsort(v, 1)],
    "split": [lambda a, v, s: np.vsplit(v, 3), lambda a, v, s: np.dsplit(a, 3), lambda a, v, s: np.hsplit(s, 1)],
    "sums": [lambda a, v, s: np.cumsum(a, 2), *[lambda a, v, s: np.cumulative_sum(a)] * hasattr(np, "cumulative_sum")],
    "take_along_axis": [
        lambda a, v, s: np.take_along_axis(a, INDICES, 2), lambda a, v, s: np.take_along_axis(a, INDICES, -3),
        lambda a, v, s: np.take_along_axis(s, INDICES, 0), lambda a, v, s: np.take_along_axis(a, INDICES[0], 0),
    ],
    "tensordot": [
        lambda a, v, s: np.tensordot(a, v, ([2], [0])), lambda a, v, s: np.tensordot(a, v, ([1], [1])),
        lambda a, v, s: np.tensordot(a, v, ([-3], [0])), lambda a, v, s: np.tensordot(a, v, 2),
        lambda a, v, s: np.tensordot(a, a, ([1, 1], [1, 1])), lambda a, v, s: np.tensordot(s, v, 1),
    ],
    "trace": [lambda a, v, s: np.trace(a, 0, 0, 2), lambda a, v, s: np.trace(v), lambda a, v, s: np.trace(a, 0, 1, 1)],
    "triangles": [lambda a, v, s: np.tril(s), lambda a, v, s: np.triu(s)],
}  # fmt: skip


@pytest.mark.parametrize("name", NUMPY_REFUSES)
def test_what_numpy_refuses_is_refused(name):
    """Axes that are not there, first of all: none is taken for another one."""
    arrays = (A, V, np.array(2.0))
    for call in NUMPY_REFUSES[name]:
        with pytest.raises(Exception):  # noqa: B017
            call(*arrays)
        with pytest.raises((ShapeError, DTypeError, ValueError), match="got"):
            call(*map(leaf, arrays))


def test_reshape_copies_when_asked():
    x = leaf(A)
    if "copy" in inspect.signature(np.reshape).parameters:
        assert not np.shares_memory(np.reshape(x, (3, 2), copy=True), x)
    assert np.shares_memory(np.reshape(x, (3, 2)), x)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_operations_on_integers(name):
    a, b = np.array([6, 1, 2]), np.array([1, 3, 0])
    function = getattr(np, name)
    args = (a,) if name == "invert" else (a, b)
    for given in [tuple(map(tr.tensor, args)), (args[0], tr.tensor(b)) if len(args) > 1 else (tr.tensor(a),)]:
        got = function(*given)
        assert isinstance(got, tr.Tensor)
        assert got.tolist() == function(*args).tolist()


# ---- the whole of NumPy


def public(room):
    for name in dir(room):
        function = getattr(room, name)
        if not name.startswith("_") and (hasattr(function, "_implementation") or isinstance(function, np.ufunc)):
            yield room, name


EVERYTHING = [*public(np), *public(np.linalg), *public(np.fft)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("room", "name"), EVERYTHING, ids=lambda x: getattr(x, "__name__", x))
def test_no_function_of_numpy_loses_a_gradient(room, name):
    """What is neither an operation nor a question is refused by name."""
    function = getattr(room, name)
    if isinstance(function, np.ufunc):
        key, required = f"np.{function.__name__}", function.nin
        known = function.__name__ in protocol.UFUNCS
    else:
        key = protocol._name(function)
        signature = protocol._signature(function)
        required = 1 if signature is None else sum(
            p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            for p in signature.parameters.values()
        ) or 1  # fmt: skip
        known = key in protocol.OPERATIONS or key in protocol.QUESTIONS
    if known:
        return
    x = leaf([1.0, 2.0])
    attempts = [(x,) * required, (np.ones(2),) * (required - 1) + (x,)]
    if inspect.isfunction(getattr(function, "_implementation", None)):  # C code converts a list as np.array() does
        attempts.append(([x, x],) * required)
    with pytest.raises(TypeError) as caught:
        function(*attempts[0])
    assert str(caught.value).startswith(key)
    assert re.search(r"t\.detach\(\)\.numpy\(\)|write t\[\.\.\.\] = value", str(caught.value))
    for arguments in attempts[1:]:  # some do not look there for arrays, and refuse in their own words
        with pytest.raises(Exception):  # noqa: B017
            function(*arguments)


@pytest.mark.parametrize("method", ["reduce", "accumulate", "reduceat", "outer", "at"])
def test_methods_of_ufuncs(method):
    arguments = {"reduceat": ([0],), "outer": (np.ones(2),), "at": ([0], 1.0)}.get(method, ())
    with pytest.raises(TypeError, match=rf"np\.add\.{method}: "):
        getattr(np.add, method)(leaf([1.0, 2.0]), *arguments)
    plain = tr.tensor(np.array([1.0, 2.0]))
    if method == "at":
        with pytest.raises(TypeError, match=r"np\.add\.at: writes into a tensor"):
            np.add.at(plain, *arguments)
    else:
        want = getattr(np.add, method)(np.array([1.0, 2.0]), *arguments)
        np.testing.assert_array_equal(getattr(np.add, method)(plain, *arguments), want)


QUESTIONS = {
    "allclose": lambda t: np.allclose(t, [1.0, 2.0]),
    "array_equal": lambda t: np.array_equal(t, t),
    "isclose": lambda t: np.isclose(t, 1.0).tolist(),
    "histogram": lambda t: np.histogram(t, bins=2)[0].tolist(),
    "nonzero": lambda t: [i.tolist() for i in np.nonzero(t)],
    "where": lambda t: [i.tolist() for i in np.where(t > 1)],
    "count_nonzero": lambda t: int(np.count_nonzero(t)),
    "searchsorted": lambda t: int(np.searchsorted(t, 1.5)),
    "array_str": lambda t: np.array_str(t),
    "result_type": lambda t: np.result_type(t),
    "iterable": lambda t: np.iterable(t),
    "isscalar": lambda t: np.isscalar(t),
    "asarray": lambda t: np.asarray(t).tolist(),
    "array": lambda t: np.array([t, t]).tolist(),
    "number": lambda t: float(np.array(t[0])),
    "asanyarray": lambda t: np.asanyarray(t, dtype=np.float32).dtype,
    "full": lambda t: np.full(2, np.asarray(t)).tolist(),
    "testing": lambda t: np.testing.assert_allclose(t, [1.0, 2.0]),
    "testing twice": lambda t: np.testing.assert_array_equal(t, t),
    "almost": lambda t: np.testing.assert_array_almost_equal(t, [1.0, 2.0]),
    "less": lambda t: np.testing.assert_array_less(t, 3.0),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_are_answered_for_any_tensor(name):
    array = np.array([1.0, 2.0])
    for t in (leaf(array), leaf(array) * 1.0, tr.tensor(array)):
        assert QUESTIONS[name](t) == QUESTIONS[name](array)


def test_files():
    t = leaf([1.0, 2.0])
    for save in (np.save, np.savez, np.savetxt):
        save(io.BytesIO(), t)
    file = io.BytesIO()
    np.save(file, t)
    file.seek(0)
    assert np.load(file).tolist() == [1.0, 2.0]


def test_without_gradients_tensors_are_as_good_as_arrays():
    t = tr.tensor(np.array([3.0, 1.0, 2.0]))
    assert np.median(t) == 2.0
    assert np.percentile(t, 50) == 2.0
    assert np.cov(t).tolist() == 1.0
    assert np.interp(1.5, [1.0, 2.0], t[:2]) == 2.0
    np.testing.assert_allclose(np.arctan(t), np.arctan(t.numpy()))
    np.testing.assert_allclose(np.fft.rfft(t), np.fft.rfft(t.numpy()))
    assert np.unique(tr.tensor([1, 2, 1])).tolist() == [1, 2]
    assert np.bincount(tr.tensor([1, 2, 1])).tolist() == [0, 2, 1]
    w = leaf([3.0, 1.0, 2.0])
    with tr.no_grad():
        assert np.median(w) == 2.0
    with pytest.raises(TypeError, match=r"np\.histogram: cannot be differentiated"):
        np.histogram(t, weights=w)


REFUSED = {
    "np.sum: dtype=": lambda x: np.sum(x, dtype="float32"),
    "np.sum: out=": lambda x: np.sum(x, out=np.zeros(())),
    "np.sum: where=": lambda x: np.sum(x, where=np.array([True, False])),
    "np.mean: where=": lambda x: np.mean(x, where=[True, False]),
    "np.concatenate: out=": lambda x: np.concatenate([x, x], out=np.zeros(4)),
    "np.clip: out=": lambda x: np.clip(x, 0, 1, out=np.zeros(2)),
    "np.exp: cannot be differentiated with out=": lambda x: np.exp(x, out=np.zeros(2)),
    "np.add: cannot be differentiated with where=": lambda x: np.add(x, 1, where=np.array([True, False])),
    "np.copyto: cannot be differentiated": lambda x: np.copyto(np.zeros(2), x),
    "np.copyto: writes into a tensor": lambda x: np.copyto(x, 0.0),
    "np.add: writes into a tensor": lambda x: np.add(1.0, np.ones(2), out=x),
    "np.linalg.norm: ord=": lambda x: np.linalg.norm(np.multiply.outer(np.ones(2), np.ones(2)) * x, 2),
    "np.linalg.svd: cannot": lambda x: np.linalg.svd(x * np.ones((2, 1))),
    "np.subtract in place, as array op= tensor does,: cannot": lambda x: np.ones(2).__isub__(x),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused_is_named(message):
    with pytest.raises(TypeError, match=re.escape(message)):
        REFUSED[message](leaf([1.0, 2.0]))


def test_tensors_in_a_list():
    """Functions that NumPy does not ask us about refuse; what is said to be a conversion converts."""
    x = leaf([1.0, 2.0])
    for function in (np.sum, np.mean, np.max, np.median, np.transpose, np.std, np.prod):
        with pytest.raises(
            TypeError, match=r"np\.\w+: got tensors that require gradients, which would get lost; pass one"
        ):
            function([x, x])
    for name, call in (
        ("vectorize", lambda: np.vectorize(float)(x)),
        ("r_", lambda: np.r_[x, x]),
        ("c_", lambda: np.c_[x, x]),
    ):
        with pytest.raises(TypeError, match=f"np.{name}: got tensors that require gradients"):
            call()
    with pytest.raises(TypeError, match="got tensors that require gradients"):
        np.full(2, x)
    for convert in (np.array, np.asarray, np.asanyarray, np.asarray_chkfinite, np.ascontiguousarray):
        assert convert(x).tolist() == [1.0, 2.0]
        assert convert([x, x]).tolist() == [[1.0, 2.0]] * 2
    assert np.array([x.sum()]).tolist() == [3.0]
    assert np.mean([x.detach(), x.detach()]) == 1.5
    with tr.no_grad():
        assert np.mean([x, x]) == 1.5


def test_arrays_keep_their_side_of_an_operator():
    x, array = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    for y in (array + x, array - x, array * x, array / x, array**x, array @ x, array < x, array == x, array % x):
        assert isinstance(y, tr.Tensor)
    assert isinstance(np.float64(2) * x, tr.Tensor)
    assert isinstance(np.float32(2) ** x, tr.Tensor)
    assert isinstance(np.int64(2) - x, tr.Tensor)
    assert (np.bool_(True) & tr.tensor([True, False])).tolist() == [True, False]
    (x * array * np.float64(2)).sum().backward()
    assert x.grad.tolist() == [6.0, 8.0]
    assert x.grad.dtype == np.float64
    narrow = tr.tensor([1.0, 2.0])
    for y in (array * narrow, np.float64(2) * narrow, np.multiply(array, narrow), np.add(2.0, narrow)):
        assert y.dtype == np.float32
    total = np.zeros(2)
    total += x.detach()
    total *= tr.tensor([2.0, 2.0])
    assert type(total) is np.ndarray
    assert total.tolist() == [2.0, 4.0]


def test_a_penalty_trains():
    w = leaf([3.0, 4.0])
    loss = (w * 0).sum() + np.linalg.norm(w)
    loss.backward()
    np.testing.assert_allclose(w.grad.tolist(), [0.6, 0.8])
    zero = leaf([0.0, 0.0])
    np.linalg.norm(zero).backward()
    assert zero.grad.tolist() == [0.0, 0.0]


class InNumpy(nn.Cell):
    """A step in NumPy's words."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.w, self.u = nn.Parameter(np.full((3, 3), 0.2, np.float32)), nn.Parameter(np.eye(3, dtype=np.float32))

    def step(self, x, h):
        both = np.concatenate([np.dot(h, self.w), np.matmul(x, self.u)], axis=-1)
        h = np.tanh(both[:, :3] + np.maximum(both[:, 3:], 0.1))
        h = np.where(h > 0.5, h, np.square(h)) * np.sum(h, axis=1, keepdims=True)
        return np.exp(-h), h


class InOperations(InNumpy):
    def step(self, x, h):
        a, b = h @ self.w, x @ self.u
        h = tr.tanh(a + tr.maximum(b, 0.1))
        h = tr.where(h > 0.5, h, h * h) * h.sum(1, keepdims=True)
        return tr.exp(-h), h


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_step_may_speak_numpy(mode):
    xs = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    results = []
    for cell in (InNumpy(), InOperations()):
        ys, h = nn.Recurrent(cell, mode=mode)(xs)
        (ys.sum() + h.sum()).backward()
        results.append([ys.numpy(), h.numpy(), cell.w.grad.numpy(), cell.u.grad.numpy()])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("call", [np.fabs, lambda x: np.float_power(x, -1), lambda x: np.float_power(2.0, x)])
def test_floats_of_integers(call):
    got = call(tr.tensor([-2, 1, 4]))
    assert got.dtype.kind == "f"
    np.testing.assert_allclose(got.data, call(np.array([-2, 1, 4])), rtol=1e-6)
