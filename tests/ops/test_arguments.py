"""Odd arguments of every public function: the right value, or an error that says what was got and what was wanted."""

import re
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import TinygradError

A = [[1.0, 2.0], [3.0, 4.0]]
I = [[1, 2], [3, 4]]
M = [[True, False], [False, True]]
I0 = [[0, 1]]
ONE_FLOAT = (
    "abs arccos arccosh arcsin arcsinh arctan arctanh ceil cos cosh elu erf exp exp2 expm1 floor gelu hard_sigmoid "
    "hard_swish hard_tanh isfinite isinf isnan leaky_relu log log10 log1p log2 log_sigmoid logical_not mish nan_to_num "
    "negative reciprocal relu relu6 round selu sigmoid sign silu sin sinh softplus sqrt square tan tanh trunc"
)
TWO = (
    "add subtract multiply divide power maximum minimum remainder floor_divide less less_equal greater greater_equal "
    "equal not_equal logical_and logical_or logical_xor logaddexp arctan2 hypot"
)
WITH_AXIS = (
    "sum mean var std max min prod norm logsumexp softmax log_softmax cumsum argmax argmin argsort all any flip "
    "squeeze cumprod sort median"
)
# name -> arguments that are right; each is then replaced by each of ODD
CALLS = {
    **dict.fromkeys(ONE_FLOAT.split(), (A,)),
    **dict.fromkeys(TWO.split(), (A, A)),
    **dict.fromkeys(WITH_AXIS.split(), (A,)),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"), (I, I)),
    "invert": (I,),
    "arange": (0, 4, 1),
    "array_split": (A, 2, 0),
    "diagonal": (A, 0, 0, 1),
    "diff": (A, 1, 0),
    "dot": (A, A),
    "full_like": (A, 1.0),
    "glu": (A, 0),
    "hstack": ([A, A],),
    "linspace": (0.0, 1.0, 5),
    "one_hot": ([0, 1], 2),
    "rand": ((2,),),
    "roll": (A, 1, 0),
    "take_along_axis": (A, I0, 0),
    "tensordot": (A, A, 1),
    "topk": (A, 1, 0),
    "trace": (A, 0, 0, 1),
    "tril": (A, 0),
    "triu": (A, 0),
    "vstack": ([A, A],),
    "astype": (A, "float32"),
    "broadcast_to": (A, (3, 2, 2)),
    "clip": (A, 0.0, 1.0),
    "concat": ([A, A], 0),
    "copy": (A,),
    "einsum": ("ij,jk->ik", A, A),
    "embedding": (A, [0, 1]),
    "expand_dims": (A, 0),
    "eye": (2, 2),
    "full": ((2,), 1.0),
    "getitem": (A, 0),
    "matmul": (A, A),
    "matmul_tanh": (A, A, A, A),
    "moveaxis": (A, 0, 1),
    "ones": ((2,),),
    "ones_like": (A,),
    "outer": (A, A),
    "pad": (A, 1),
    "randn": ((2,),),
    "repeat": (A, 2, 0),
    "reshape": (A, (4,)),
    "split": (A, 2, 0),
    "stack": ([A, A], 0),
    "swapaxes": (A, 0, 1),
    "take": (A, [0], 0),
    "tile": (A, 2),
    "transpose": (A, (1, 0)),
    "unstack": (A, 0),
    "where": (M, A, A),
    "zeros": ((2,),),
    "zeros_like": (A,),
}
ODD = {
    "None": None, "string": "text", "flag": True, "int": 1, "far": 7, "negative": -5, "float": 1.5, "nan": np.nan,
    "complex": 1j, "list": [1.0, 2.0], "ints": [1, 0], "flags": [True, False], "empty": [],
    "ragged": [[1.0], [1.0, 2.0]], "strings": ["a", "b"], "tuple": (0, 1), "empty tuple": (), "twice": (0, 0),
    "dict": {"a": 1}, "set": {1},
    "object": object(), "bytes": b"ab", "0-d": np.array(2.0), "0-d int": np.array(1), "np.int64": np.int64(1),
    "np.float32": np.float32(0.5), "np.bool": np.True_, "no rows": np.zeros((0, 2)), "3-D": np.ones((2, 2, 2)),
    "complex array": np.ones((2, 2), complex), "objects": np.array([None, 1]), "float16": np.ones((2, 2), np.float16),
    "bools": np.array(M), "int8": np.ones((2, 2), np.int8), "uint64": np.ones((2, 2), np.uint64),
    "slice": slice(0, 1), "tensor": tr.tensor(A), "scalar tensor": tr.tensor(1.0), "int tensor": tr.tensor(I),
    "tensors": [tr.tensor([1.0, 2.0]), tr.tensor([3.0, 4.0])], "float64": tr.tensor(np.array(A)), "type": int,
    "function": len, "infinity": np.inf, "huge": 10**30,
}  # fmt: skip
WORDS = re.compile(r"^[\w.()\[\] :,=]+: .*(got|wanted)|got .*wanted|which do not broadcast", re.S)
AXES = [
    None,
    0,
    -1,
    1,
    (0, 1),
    (-1,),
    (),
    2,
    -3,
    (0, 0),
    1.0,
    "0",
    True,
    [0],
    np.int64(1),
    np.array([0, 1]),
    (0, 1.0),
    {},
]


def outcome(function, *args, **options):
    """The result, or the error after it was looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **options)
        except (TinygradError, TypeError, ValueError, IndexError) as e:
            if WORDS.search(str(e)):
                return e
            raise


def test_every_function_is_called():
    assert set(CALLS) == set(tr.ops.__all__)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("of", ["arrays", "tensors"])
@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments(name, of):
    function, right = getattr(tr, name), CALLS[name]
    if of == "tensors" and right[0] is A:
        right = (tr.tensor(A, requires_grad=True), *right[1:])
    assert not isinstance(outcome(function, *right), Exception)
    for place in range(len(right)):
        for label, odd in ODD.items():
            args = [*right[:place], odd, *right[place + 1 :]]
            try:
                y = outcome(function, *args)
            except Exception as e:
                raise AssertionError(f"{name}, argument {place} is {label}: {e!r}") from e
            if isinstance(y, (np.ndarray, np.generic, tr.Tensor)):
                assert y.dtype.kind in "fiub", f"{name}, argument {place} is {label}: {y.dtype}"
                assert y.dtype != np.float16, f"{name}, argument {place} is {label}: {y.dtype}"


@pytest.mark.parametrize(
    "x", [A, 3.0, [], np.zeros((0, 2)), np.ones((2, 3, 2))], ids=["2-D", "0-d", "empty", "no rows", "3-D"]
)
@pytest.mark.parametrize("name", WITH_AXIS.split())
def test_odd_axes(name, x):
    function, same = getattr(tr, name), getattr(np, name, None)
    for axis in AXES:
        try:
            plain, taped = outcome(function, x, axis=axis), outcome(function, tr.tensor(x, dtype="float64"), axis=axis)
        except Exception as e:
            raise AssertionError(f"{name}, axis={axis!r}: {e!r}") from e
        assert isinstance(plain, Exception) == isinstance(taped, Exception)
        if isinstance(plain, Exception):
            continue
        np.testing.assert_array_equal(plain, taped.numpy())
        if same is not None and not (np.ndim(x) == 0 and axis is not None) and not isinstance(axis, (list, np.ndarray)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    wanted = same(np.asarray(x), axis=axis)
                except TypeError:  # several axes, where NumPy takes one
                    continue
                except ValueError:  # NumPy's own median cannot reshape what has no rows
                    assert name == "median" and np.size(x) == 0
                    continue
            np.testing.assert_allclose(plain, wanted, rtol=1e-12)
            assert np.shape(plain) == np.shape(wanted)


@pytest.mark.parametrize("name", [n for n in CALLS if hasattr(np, n) and n not in ("outer", "randn", "unstack")])
def test_lists_and_numbers_as_numpy(name):
    right = CALLS[name]
    plain = [np.asarray(a) if a is A or a is I or a is M or a is I0 else a for a in right]
    with np.errstate(all="ignore"):
        got, wanted = getattr(tr, name)(*right), getattr(np, name)(*plain)
    pairs = zip(got, wanted) if isinstance(wanted, (list, tuple)) else [(got, wanted)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_lists_beside_tensors():
    t = tr.tensor([1.0], requires_grad=True)
    joined = tr.concat([t, [2.0]])
    assert joined.tolist() == [1.0, 2.0]
    assert joined.dtype == np.float32
    joined.sum().backward()
    assert t.grad.tolist() == [1.0]
    assert tr.stack([tr.tensor(1.0), 2.0]).tolist() == [1.0, 2.0]
    assert tr.nn.Linear(2, 3)([[1.0, 2.0]]).shape == (1, 3)
    assert tr.nn.LayerNorm(np.int64(2))([[1.0, 2.0]]).shape == (1, 2)
    assert tr.nn.Embedding(5, 3)([]).shape == (0, 3)
    assert float(tr.nn.mse_loss([1.0, 2.0], [1.0, 4.0])) == 2.0


@pytest.mark.parametrize("axis", [0, -1])
def test_scalars_have_an_axis(axis):
    """As NumPy's reductions, and in PyTorch everywhere."""
    x = tr.tensor(np.array(2.5), requires_grad=True)
    for f in (tr.sum, tr.mean, tr.max, tr.min, tr.prod, tr.logsumexp, tr.norm, tr.squeeze):
        assert f(x, axis=axis).item() == 2.5
        assert f(x, axis=axis).shape == ()
        assert tr.grad(f(x, axis=axis), x)[0].item() == 1.0
    assert tr.softmax(x, axis).item() == 1.0
    assert tr.log_softmax(x, axis).item() == 0.0
    assert tr.var(x, axis).item() == tr.std(x, axis).item() == 0.0
    assert tr.argmax(x, axis).tolist() == 0
    assert tr.cumsum(x, axis).tolist() == [2.5]
    assert tr.argsort(x, axis).tolist() == [0]
    assert tr.repeat(x, 2, axis).tolist() == [2.5, 2.5]
    assert tr.all(x, axis).item()
    for f in (tr.flip, tr.unstack, lambda x, a: tr.swapaxes(x, a, a), lambda x, a: tr.moveaxis(x, a, a)):
        with pytest.raises(tr.errors.ShapeError, match=rf"axis: got {axis}, wanted an axis of shape \(\)"):
            f(x, axis)


def test_axes_of_length_zero():
    x = tr.tensor(np.zeros((2, 0)), requires_grad=True)
    assert tr.softmax(x, 1).shape == tr.log_softmax(x, 1).shape == (2, 0)
    assert tr.logsumexp(x, 1).tolist() == [-np.inf, -np.inf]
    assert tr.norm(x, axis=1).tolist() == [0.0, 0.0]
    for f in (tr.softmax, tr.log_softmax, tr.logsumexp):
        assert tr.grad(f(x, 1).sum(), x)[0].shape == (2, 0)
