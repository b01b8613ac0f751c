"""Constructors."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError, ShapeError


@pytest.mark.parametrize("dtype", [None, np.float32, np.float64, np.int64, np.bool_])
def test_constants(dtype):
    want = np.float32 if dtype is None else dtype
    for shape in ((), (0,), (2, 3), 4):
        for t, same in (
            (tr.zeros(shape, dtype), np.zeros(shape)),
            (tr.ones(shape, dtype), np.ones(shape)),
            (tr.full(shape, 1, dtype), np.full(shape, 1)),
        ):
            assert t.dtype == want
            assert not t.requires_grad
            np.testing.assert_array_equal(t.numpy(), same)


def test_like():
    for x in (tr.tensor([1.5, 2.5]), tr.tensor(np.ones((2, 2))), tr.tensor([1, 2]), np.ones(3)):
        assert tr.zeros_like(x).dtype == x.dtype
        np.testing.assert_array_equal(tr.zeros_like(x).numpy(), np.zeros(x.shape))
        np.testing.assert_array_equal(tr.ones_like(x).numpy(), np.ones(x.shape))
        assert tr.ones_like(x, np.float32).dtype == np.float32


def test_eye_and_arange():
    np.testing.assert_array_equal(tr.eye(3).numpy(), np.eye(3))
    np.testing.assert_array_equal(tr.eye(2, 3, np.float64).numpy(), np.eye(2, 3))
    assert tr.eye(2).dtype == np.float32
    for args in ((5,), (1, 5), (5, 1, -2), (0,)):
        np.testing.assert_array_equal(tr.arange(*args).numpy(), np.arange(*args))
        assert tr.arange(*args).dtype == np.int64
    assert tr.arange(0, 1, 0.25).dtype == np.float32
    assert tr.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert tr.arange(3, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("dtype", [None, np.float32, np.float64])
def test_randn(dtype):
    tr.seed(3)
    a = tr.randn((200, 100), dtype)
    tr.seed(3)
    b = tr.randn((200, 100), dtype)
    assert a.dtype == (dtype or np.float32)
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert abs(a.mean().item()) < 0.03
    assert abs(a.std().item() - 1) < 0.03
    assert (a.numpy() != tr.randn((200, 100), dtype).numpy()).any()
    assert tr.randn((), dtype).shape == ()


@pytest.mark.parametrize("shape", [-1, (2, -1), (-2,), (2**40, 2**40)])
def test_shapes_that_no_array_has(shape):
    for make in (tr.zeros, tr.ones, tr.randn, lambda s: tr.full(s, 1.0)):
        with pytest.raises(ShapeError, match=r"shape: got .*, wanted lengths from 0 on"):
            make(shape)


def test_unsupported_dtype():
    with pytest.raises(DTypeError, match="dtype: got complex128"):
        tr.zeros((2,), complex)


def test_random_integers_are_refused():
    with pytest.raises(DTypeError, match="randn: dtype: got int64, wanted float32 or float64"):
        tr.randn(3, dtype="int64")


@pytest.mark.parametrize(("value", "error"), [("a", TypeError), (1.5, TypeError), (-1, ValueError)])
def test_seeds(value, error):
    with pytest.raises(error, match=f"seed: got {value!r}, wanted a whole number from 0 on"):
        tr.seed(value)
