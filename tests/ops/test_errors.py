"""Wrong arguments: the message names the operation, what it got and what it wanted."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import DTypeError, ShapeError

x = tr.zeros((2, 3))
v = tr.zeros((3,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: x + tr.zeros((2,)), r"add: got shapes \(2, 3\) and \(2,\), which do not broadcast together"),
        (lambda: tr.where(x > 0, x, tr.zeros((4,))), r"where: got shapes .*\(4,\)"),
        (lambda: x @ x, r"matmul: got shapes \(2, 3\) and \(2, 3\), wanted"),
        (lambda: x @ 2.0, r"matmul: got shapes \(2, 3\) and \(\)"),
        (
            lambda: tr.zeros((2, 3, 4)) @ tr.zeros((5, 4, 2)),
            r"matmul: got shapes \(2, 3, 4\) and \(5, 4, 2\)",
        ),
        (lambda: tr.einsum("ij,jk->ik", x), r"einsum: got 1 operands for 'ij,jk->ik', wanted 2"),
        (lambda: tr.einsum("ijk->i", x), r"einsum: got shape \(2, 3\) for 'ijk'"),
        (lambda: tr.einsum("ij->k", x), r"einsum: got 'k' in the output of 'ij->k'"),
        (lambda: tr.einsum("i1->i", x), r"einsum: got 'i1' in 'i1->i', wanted letters and at most one"),
        (lambda: tr.einsum("...i...->i", x), r"einsum: got '...i...' in '...i...->i', wanted letters and at most one"),
        (lambda: tr.einsum("ij->i1", x), r"einsum: got 'i1' in 'ij->i1', wanted letters"),
        (lambda: tr.einsum("ij->ii", x), r"einsum: got 'i' in the output of 'ij->ii'"),
        (
            lambda: tr.einsum("ij,jk->ik", x, tr.zeros((4, 2))),
            r"einsum: got lengths 3 and 4 for 'j' in 'ij,jk->ik'",
        ),
        (lambda: x.reshape(4, 2), r"reshape: got shape \(2, 3\), which has 6 elements, wanted \(4, 2\)"),
        (lambda: x.reshape(-1, -1), r"reshape: .*wanted \(-1, -1\)"),
        (lambda: x.reshape(-1, 4), r"reshape: .*wanted \(-1, 4\)"),
        (lambda: x.transpose(0, 0), r"transpose: got axes \(0, 0\), wanted a permutation of the 2 axes"),
        (lambda: x.transpose(0, 5), r"transpose: got axes \(0, 5\)"),
        (lambda: x.sum(2), r"axis: got 2, wanted an axis of shape \(2, 3\)"),
        (lambda: x.sum((0, -2)), r"axis: got \(0, -2\), wanted each axis once"),
        (lambda: x.argmax(-3), r"axis: got -3"),
        (lambda: tr.cumsum(x, 2), r"axis: got 2"),
        (lambda: tr.argsort(x, 2), r"axis: got 2"),
        (lambda: x.swapaxes(0, 2), r"axis: got 2"),
        (lambda: tr.moveaxis(x, 3, 0), r"axis: got 3"),
        (lambda: tr.expand_dims(x, 4), r"axis: got 4"),
        (lambda: tr.flip(x, 2), r"axis: got 2"),
        (lambda: tr.take(x, [0], 2), r"axis: got 2"),
        (lambda: tr.repeat(x, 2, 2), r"axis: got 2"),
        (lambda: x.squeeze(0), r"squeeze: got axis 0 of shape \(2, 3\), wanted an axis of length 1"),
        (
            lambda: tr.broadcast_to(x, (2, 4)),
            r"broadcast_to: got shape \(2, 3\), which does not broadcast to \(2, 4\)",
        ),
        (lambda: tr.broadcast_to(x, (3,)), r"broadcast_to"),
        (lambda: tr.pad(x, ((1, 1),) * 3), r"pad_width: got .*wanted a pair for each axis of \(2, 3\)"),
        (lambda: tr.pad(x, -1), r"pad_width: got -1, wanted no negative width"),
        (lambda: tr.repeat(x, -1), r"repeats: got -1"),
        (lambda: tr.repeat(x, [1, 2], 1), r"repeats: got \[1, 2\], wanted a count, or 3 counts"),
        (lambda: tr.concat([]), r"concat: got no tensors"),
        (
            lambda: tr.concat([x, v]),
            r"concat: got shapes \(2, 3\), \(3,\), wanted equal shapes but for axis 0",
        ),
        (lambda: tr.concat([v, v], axis=1), r"axis: got 1, wanted an axis of shape \(3,\)"),
        (lambda: tr.stack([]), r"stack: got no tensors"),
        (lambda: tr.stack([x, v]), r"stack: got shapes \(2, 3\) and \(3,\), wanted equal shapes"),
        (
            lambda: tr.split(x, 2, axis=1),
            r"split: got 2 sections of axis 1 with length 3, wanted equal parts",
        ),
        (lambda: tr.split(x, 0), r"split: got 0 sections"),
        (lambda: tr.unstack(tr.tensor(1.0)), r"axis: got 0, wanted an axis of shape \(\)"),
        (lambda: tr.mean(tr.zeros((0,))), r"mean: got an empty axis in shape \(0,\)"),
        (lambda: tr.max(tr.zeros((2, 0)), 1), r"max: got an empty axis in shape \(2, 0\)"),
        (lambda: tr.var(tr.zeros((1,)), ddof=1), r"var: got 1 elements and ddof=1"),
    ],
)
def test_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: v[[0.5]], "index: got an array of float64, wanted integers or bool"),
        (lambda: v[tr.tensor([1.0])], "index: got an array of float32"),
        (lambda: tr.embedding(x, np.array([0.5])), "indices: got .*float64, wanted integers"),
        (lambda: tr.embedding(x, tr.tensor([True])), "indices: got bool, wanted integers"),
        (lambda: v + "text", "add: got str of dtype .*, wanted numbers"),
        (lambda: v + None, "add: got NoneType"),
        (lambda: v * 1j, "multiply: got complex"),
        (lambda: v * np.ones(3, complex), "multiply: got ndarray of dtype complex128"),
    ],
)
def test_dtypes(call, message):
    with pytest.raises(DTypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: v[3], r"index: got \(3,\) for shape \(3,\)"),
        (lambda: v[0, 0], r"index: got \(0, 0\) for shape \(3,\)"),
        (lambda: tr.take(v, [5]), r"for shape \(3,\)"),
        (lambda: tr.embedding(x, np.array([0, 2])), "indices: got 2, wanted ids from 0 to 1"),
        (lambda: tr.embedding(x, np.array([0, -1])), "indices: got -1, wanted ids from 0 to 1"),
    ],
)
def test_indices(call, message):
    with pytest.raises(IndexError, match=message):
        call()


def test_unknown_padding_mode():
    with pytest.raises(ValueError, match="mode: got 'mirror', wanted constant"):
        tr.pad(x, 1, mode="mirror")


@pytest.mark.parametrize("error", [ValueError, TypeError, OverflowError])
@pytest.mark.parametrize("given", [x, x.numpy()], ids=["tensor", "array"])
def test_errors_of_one_s_own_operations_pass_through(error, given):
    @tr.primitive()
    def picky(x):
        raise error("not today")

    with pytest.raises(error, match=r"^not today$") as caught:
        picky(given)
    assert type(caught.value) is error
    del tr.core.registry["picky"]
