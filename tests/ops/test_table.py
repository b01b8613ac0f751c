"""Every row of the table: values, dtypes, gradients of both orders, arrays as well as tensors, PyTorch."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn.core import registry
from tinygrad_rnn.testing import gradcheck, gradgradcheck

from ..op_table import CONSTRUCTORS, TABLE

by_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
smooth_rows = pytest.mark.parametrize("row", [r for r in TABLE if r.smooth], ids=lambda row: row.name)


def flat(outputs) -> tuple:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def is_float(array) -> bool:
    return array.dtype.kind == "f"


def in_dtype(arrays, dtype):
    return tuple(a.astype(dtype) if is_float(a) else a for a in arrays)


def leaves(arrays):
    """Float arrays as tensors that require gradients; the others as they are."""
    return [tr.tensor(a, requires_grad=True) if is_float(a) else a for a in arrays]


def weighted_sum(outputs):
    """A scalar in which every element of every float output has its own weight."""
    total = None
    for y in outputs:
        weights = np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        term = (y * weights).sum()
        total = term if total is None else total + term
    return total


def gradients(row, xs, options, create_graph=False):
    outputs = [y for y in flat(row.call(*xs, **options)) if y.requires_grad]
    wanted = [x for x in xs if isinstance(x, tr.Tensor)]
    return tr.grad(weighted_sum(outputs), wanted, create_graph=create_graph, allow_unused=True)


@pytest.mark.sampled(8)
@by_row
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_values_and_dtypes_as_numpy(row, data, dtype):
    arrays, options = data.draw(row.cases)
    arrays = in_dtype(arrays, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and Inf among the special values
        got = flat(row.call(*[tr.tensor(a) for a in arrays], **options))
        want = flat(row.numpy(*in_dtype(arrays, np.float64), **options))
    assert len(got) == len(want)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for y, expected in zip(got, map(np.asarray, want)):
        assert isinstance(y, tr.Tensor)
        assert y.shape == expected.shape
        assert y.dtype == (dtype if is_float(expected) else expected.dtype)
        np.testing.assert_allclose(y.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.sampled(6)
@by_row
@settings(max_examples=8)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_arrays_give_what_tensors_give(row, data, dtype):
    arrays, options = data.draw(row.cases)
    arrays = in_dtype(arrays, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        plain = flat(row.call(*arrays, **options))
        taped = flat(row.call(*[tr.tensor(a) for a in arrays], **options))
    for a, t in zip(plain, taped, strict=True):
        assert isinstance(a, (np.ndarray, np.generic))
        assert a.dtype == t.dtype
        np.testing.assert_array_equal(a, t.numpy())


@pytest.mark.sampled(8)
@smooth_rows
@given(data=st.data())
def test_first_gradients(row, data):
    arrays, options = data.draw(row.cases)
    gradcheck(lambda *xs: row.call(*xs, **options), leaves(arrays), atol=1e-6, rtol=1e-5)


@pytest.mark.sampled(16)
@smooth_rows
@settings(max_examples=8)
@given(data=st.data())
def test_second_gradients(row, data):
    arrays, options = data.draw(row.cases)
    gradgradcheck(lambda *xs: row.call(*xs, **options), leaves(arrays), atol=1e-5, rtol=1e-4)


@pytest.mark.sampled(12)
@smooth_rows
@given(data=st.data())
def test_gradients_keep_float32(row, data):
    arrays, options = data.draw(row.cases)
    xs = leaves(in_dtype(arrays, np.float32))
    precise = gradients(row, leaves(in_dtype(in_dtype(arrays, np.float32), np.float64)), options)
    for create_graph in (False, True):
        for g, expected in zip(gradients(row, xs, options, create_graph), precise, strict=True):
            assert g.dtype == np.float32
            np.testing.assert_allclose(g.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", [r for r in TABLE if r.torch], ids=lambda row: row.name)
@given(data=st.data())
def test_same_as_torch(row, data):
    torch = pytest.importorskip("torch")
    arrays, options = data.draw(row.cases)
    xs = leaves(arrays)
    theirs = [torch.from_numpy(a.copy()).requires_grad_(is_float(a)) for a in map(np.asarray, arrays)]
    outputs = flat(row.call(*xs, **options))
    expected = flat(row.torch(*theirs, **options))
    for y, e in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(np.asarray(y), e.detach().numpy(), rtol=1e-10, atol=1e-12)
    if not row.smooth:
        return
    wanted = [t for t in theirs if t.requires_grad]
    total = sum((e * torch.arange(e.numel(), dtype=e.dtype).cos().reshape(e.shape)).sum() for e in expected)
    found = torch.autograd.grad(total, wanted)
    for g, e in zip(gradients(row, xs, options), found, strict=True):
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-9, atol=1e-11)


def test_every_public_function_has_a_row():
    public = {n for n in tr.ops.__all__ if callable(getattr(tr.ops, n))}
    assert public - {row.public_name for row in TABLE} == CONSTRUCTORS  # add a row for what is missing


@pytest.mark.slow
def test_every_primitive_is_exercised(monkeypatch):
    """Also those that only appear in derivative rules."""
    seen, record = set(), tr.Tensor._record

    def watch(op, args, static):
        seen.add(op.name)
        return record(op, args, static)

    monkeypatch.setattr(tr.Tensor, "_record", staticmethod(watch))

    @settings(max_examples=10)
    @given(data=st.data())
    def run(row, data):
        arrays, options = data.draw(row.cases)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            row.call(*[tr.tensor(a) for a in arrays], **options)
        if row.smooth:
            gradients(row, leaves(arrays), options, create_graph=True)

    for row in TABLE:
        run(row)
    ours = {name for name, op in registry.items() if op.forward.__module__.startswith("tinygrad_rnn.ops")}
    # those that only programs of whole functions have, of what these compute: see tests/programs
    assert ours - seen == {"added_back", "between", "gathered", "within"}
