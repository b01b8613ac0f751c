"""No silent upcasts: a float tensor keeps its dtype, whatever it meets."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError

FLOATS = [np.float32, np.float64]
by_dtype = pytest.mark.parametrize("dtype", FLOATS)


def test_new_tensors():
    assert tr.tensor([1.0, 2.0]).dtype == np.float32
    assert tr.tensor(1.0).dtype == np.float32
    assert tr.tensor([1, 2]).dtype == np.int64
    assert tr.tensor([True]).dtype == np.bool_
    assert tr.tensor(np.ones(2)).dtype == np.float64
    assert tr.tensor(np.float64(1.0)).dtype == np.float64
    assert tr.tensor(np.ones(2, ">f4")).dtype == np.float32
    assert tr.tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert tr.tensor([1, 2], dtype="float32", requires_grad=True).dtype == np.float32


ARRAY_LIKES = {
    "list of arrays": lambda a: [a[0], a[1]],
    "tuple of rows": lambda a: (a[0], [a[1, 0], a[1, 1]]),
    "list of numbers": lambda a: [list(row) for row in a],
    "list of tensors": lambda a: [tr.tensor(row) for row in a],
    "array with Python numbers": lambda a: [a[0], [3.0, 4]],
    "matrix": lambda a: np.asmatrix(a) if hasattr(np, "asmatrix") else a,
    "masked array": lambda a: np.ma.masked_array(a, False),
    "memory": lambda a: memoryview(a),
    "frame of pandas": lambda a: pytest.importorskip("pandas").DataFrame(a),
    "tensor of torch": lambda a: pytest.importorskip("torch").from_numpy(a),
    "something with __array__": lambda a: type("A", (), {"__array__": lambda self, dtype=None, copy=None: a})(),
}


@by_dtype
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", ARRAY_LIKES)
def test_what_has_a_dtype_keeps_it(dtype, kind):
    a = np.array([[1.0, 2.0], [3.0, 4.0]], dtype)
    for t in (tr.tensor(ARRAY_LIKES[kind](a)), tr.as_tensor(ARRAY_LIKES[kind](a))):
        assert type(t.data) is np.ndarray
        assert (t.dtype, t.tolist()) == (dtype, a.tolist())


def test_series_of_pandas():
    pd = pytest.importorskip("pandas")
    assert tr.tensor(pd.Series([1.0, 2.0])).dtype == np.float64
    assert tr.tensor(pd.Series([1.0, 2.0], dtype="float32")).dtype == np.float32
    assert tr.tensor(pd.Series([1, 2])).dtype == np.int64
    assert tr.tensor([pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0])]).dtype == np.float64
    with pytest.raises(DTypeError, match="data: got Series of dtype object"):
        tr.tensor(pd.Series(["a", "b"]))


def test_masked_values_are_refused():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for data in (masked, [masked, masked]):
        with pytest.raises(DTypeError, match=r"data: got an array with masked values, wanted none; .*filled"):
            tr.tensor(data)
    x = tr.tensor(np.ones(2))
    for f in (lambda: x * masked, lambda: tr.where(masked, x, x), lambda: tr.concat([x, masked])):
        with pytest.raises(DTypeError, match="masked values"):
            f()
    assert np.ma.is_masked(masked * x)
    x.requires_grad_()
    with pytest.raises(TypeError, match="got tensors that require gradients, which would get lost"):
        masked * x


def test_what_numpy_cannot_read():
    torch = pytest.importorskip("torch")
    with pytest.raises(DTypeError, match=r"data: got Tensor, which NumPy cannot read: .*requires grad"):
        tr.tensor(torch.ones(2, requires_grad=True))
    with pytest.raises(DTypeError, match=r"data: got Tensor, which NumPy cannot read: .*BFloat16"):
        tr.tensor(torch.ones(2, dtype=torch.bfloat16))


def test_default_dtype():
    tr.set_default_dtype(np.float64)
    assert tr.get_default_dtype() == np.float64
    assert tr.tensor([1.0]).dtype == np.float64
    assert tr.zeros((2,)).dtype == np.float64
    assert tr.exp(tr.tensor([1, 2])).dtype == np.float64
    with pytest.raises(DTypeError, match="got int64, wanted float32 or float64"):
        tr.set_default_dtype(np.int64)


@pytest.mark.parametrize("data", [np.ones(2, np.float16), np.ones(2, np.longdouble), np.ones(2, complex)])
def test_unsupported_dtypes(data):
    with pytest.raises(DTypeError, match=f"data: got .*{data.dtype}"):
        tr.tensor(data)
    with pytest.raises(DTypeError):
        tr.tensor([1], dtype=data.dtype)


@pytest.mark.parametrize("data", ["text", None, [None], {"a": 1}, object()])
def test_data_that_are_no_numbers(data):
    with pytest.raises(DTypeError, match="data: got"):
        tr.tensor(data)


def test_ragged_data():
    with pytest.raises(DTypeError, match="nested sequences of unequal lengths"):
        tr.tensor([[1.0], [1.0, 2.0]])


def test_unknown_dtype_name():
    with pytest.raises(DTypeError, match="dtype: got 'float33', wanted a NumPy dtype"):
        tr.tensor([1.0], dtype="float33")


@by_dtype
@pytest.mark.parametrize(
    "other",
    [
        2,
        2.5,
        True,
        np.float64(2.5),
        np.float32(2.5),
        np.int64(2),
        np.array(2.5),
        np.array([2.5, 1.0]),
        np.array([2, 1]),
        np.array([True, False]),
        np.array([2.5, 1.0], np.float16),
        tr.tensor([2, 1]),
        tr.tensor([True, False]),
        [2.0, 1.0],
    ],
    ids=repr,
)
@pytest.mark.parametrize("op", [tr.add, tr.multiply, tr.subtract, tr.maximum, tr.power], ids=lambda f: f.__name__)
def test_everything_adopts_the_float_tensor(dtype, other, op):
    x = tr.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    plain = np.asarray(other.numpy() if isinstance(other, tr.Tensor) else other, dtype)
    for y, want in ((op(x, other), op(x.numpy(), plain)), (op(other, x), op(plain, x.numpy()))):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), want)
        (g,) = tr.grad(y.sum(), x)
        assert g.dtype == dtype


@by_dtype
def test_operators_with_numpy_on_the_left(dtype):
    x = tr.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    for left in (np.float64(2.0), np.array([1.0, 3.0]), np.array(2)):
        for y in (left + x, left - x, left * x, left / x, left**x, left % x):
            assert isinstance(y, tr.Tensor)
            assert y.dtype == dtype
    assert isinstance(np.ones((3, 2)) @ x, tr.Tensor)
    assert isinstance(np.array([1.0, 3.0]) < x, tr.Tensor)


@pytest.mark.parametrize(
    "op",
    [
        tr.add,
        tr.divide,
        tr.matmul,
        tr.maximum,
        lambda a, b: tr.concat([a, b]),
        lambda a, b: tr.where(True, a, b),
    ],
)
def test_two_float_dtypes_do_not_mix(op):
    a, b = tr.tensor(np.ones(2, np.float32)), tr.tensor(np.ones(2))
    with pytest.raises(DTypeError, match="got float32 and float64 tensors, wanted one float dtype"):
        op(a, b)


def test_conditions_keep_their_dtype():
    x = tr.tensor([1.0, 2.0])
    for condition in (
        tr.tensor([True, False]),
        np.array([1.0, 0.0]),
        [1, 0],
        tr.tensor(np.array([1.0, 0.0])),
    ):
        assert tr.where(condition, x, 0.0).tolist() == [1.0, 0.0]


def test_where_of_two_numbers_gets_the_default_dtype():
    condition = tr.tensor([True, False])
    assert tr.where(condition, 1.5, 0.0).dtype == np.float32
    assert tr.where(condition, 1.5, 0.0).tolist() == [1.5, 0.0]
    assert tr.where(condition, 1, 0).dtype == np.int64


def test_integer_tensors():
    i = tr.tensor([1, 2, 3])
    assert (i + 1).dtype == np.int64
    assert (i * i).sum().dtype == np.int64
    assert (i + 0.5).dtype == np.float32
    assert (i / 2).dtype == np.float32
    assert (i // 2).tolist() == [0, 1, 1]
    assert (i % 2).tolist() == [1, 0, 1]
    assert tr.exp(i).dtype == np.float32
    assert i.mean().dtype == np.float32
    assert i.mean().item() == 2.0
    assert i.std().dtype == np.float32
    assert tr.softmax(i).dtype == np.float32
    assert (i + np.ones(3)).dtype == np.float64  # an array's dtype is as good as a tensor's


def test_bool_tensors():
    b = tr.tensor([True, False])
    assert (~b).tolist() == [False, True]
    assert (b & True).tolist() == [True, False]
    assert (b | b).dtype == np.bool_
    assert b.sum().item() == 1
    assert tr.cumsum(b).tolist() == np.cumsum([True, False]).tolist()


@pytest.mark.parametrize("data", [[1, 2], [True], np.arange(3, dtype=np.uint8)])
def test_only_floats_require_gradients(data):
    with pytest.raises(DTypeError, match=r"requires_grad: got a \w+ tensor, wanted float32 or float64"):
        tr.tensor(data, requires_grad=True)


def test_casts():
    x = tr.tensor([1.5, -2.5], requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * y).sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [3.0, -5.0]
    i = x.astype(np.int64)
    assert not i.requires_grad
    assert i.tolist() == [1, -2]
    same = x.astype("float32")  # a copy, as NumPy's
    assert not np.shares_memory(same.numpy(), x.numpy())
    assert same.requires_grad
    with pytest.raises(DTypeError):
        x.astype(complex)


def test_second_gradients_through_a_cast():
    x = tr.tensor([2.0], requires_grad=True)
    (g,) = tr.grad((x.astype(np.float64) ** 3).sum(), x, create_graph=True)
    assert g.dtype == np.float32
    (h,) = tr.grad(g.sum(), x)
    assert (h.dtype, h.tolist()) == (np.float32, [12.0])


def test_gradient_argument():
    x = tr.tensor([1.0, 2.0], requires_grad=True)
    (x * 2).backward(np.ones(2))  # an array adopts
    assert x.grad.dtype == np.float32
    with pytest.raises(DTypeError, match="gradient: got float64, wanted float32"):
        (x * 2).backward(tr.tensor(np.ones(2)))


def test_integers_as_gradient_of_a_float():
    x = tr.tensor([1.0, 2.0], requires_grad=True)
    (x * 2).backward([1, 3])
    assert x.grad.tolist() == [2.0, 6.0]
    assert x.grad.dtype == np.float32


def test_a_rule_that_upcasts_is_named():
    op = tr.primitive(vjps=[lambda g, y, x: g * np.ones(2)], saves=())(lambda x: x * 1)
    x = tr.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(DTypeError, match="vjp: a rule returned float64, wanted float32"):
        op(x).sum().backward()


@pytest.mark.parametrize("make", [tr.tensor, tr.as_tensor])
def test_numbers_of_python_lose_no_digits_on_the_way_to_the_dtype_that_was_asked_for(make):
    assert make(0.1, dtype="float64").item() == 0.1
    assert make([0.1, 1e300], dtype="float64").tolist() == [0.1, 1e300]
    assert make([0.1, np.float32(2)], dtype="float64").tolist() == [0.1, 2.0]
    assert make([16777217.0], dtype="int64").tolist() == [16777217]
    assert make(0.1).dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "wanted"), [("int8", "float32"), ("int16", "float32"), ("int32", "float64"), ("int64", "float64")]
)
def test_functions_of_whole_numbers_in_arrays(kind, wanted):
    """In double precision, as NumPy has it; of small ones in the default dtype, and never in half precision."""
    found = tr.exp(np.array([1, 2], kind))
    assert found.dtype == wanted
    np.testing.assert_allclose(found, np.exp([1.0, 2.0]), rtol=1e-6)
