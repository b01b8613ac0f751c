"""Linear, Embedding, Dropout, LayerNorm: values, gradients, messages."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.ops import twins
from tinygrad_rnn.ops.linear import linear

from ..differences import check_gradients

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seed():
    tr.seed(0)


def leaf(*shape):
    return tr.tensor(RNG.standard_normal(shape), requires_grad=True)


# one row: layer in float64, the shape of its input
TABLE = {
    "linear": (lambda: nn.Linear(3, 2, dtype="float64"), (4, 3)),
    "linear-nobias": (lambda: nn.Linear(3, 2, bias=False, dtype="float64"), (2, 2, 3)),
    "linear-vector": (lambda: nn.Linear(3, 2, dtype="float64"), (3,)),
    "layernorm": (lambda: nn.LayerNorm(4, dtype="float64"), (2, 3, 4)),
    "layernorm-two-axes": (lambda: nn.LayerNorm((3, 4), eps=0.1, dtype="float64"), (2, 3, 4)),
    "layernorm-nobias": (lambda: nn.LayerNorm(4, bias=False, dtype="float64"), (2, 4)),
    "layernorm-plain": (lambda: nn.LayerNorm(4, elementwise_affine=False), (2, 4)),
    "sequential": (
        lambda: nn.Sequential(nn.Linear(3, 5, dtype="float64"), nn.LayerNorm(5, dtype="float64")),
        (2, 3),
    ),
}


@pytest.mark.parametrize(("make", "shape"), TABLE.values(), ids=TABLE)
def test_gradients_equal_finite_differences(make, shape):
    layer, x = make(), leaf(*shape)
    for p in layer.parameters():
        p.data[...] = RNG.standard_normal(p.shape)
    check_gradients(lambda: [layer(x)], [*layer.parameters(), x])


@pytest.mark.parametrize(("make", "shape"), TABLE.values(), ids=TABLE)
def test_layers_equal_torch(make, shape):
    torch = pytest.importorskip("torch")
    layer = make()
    for p in layer.parameters():
        p.data[...] = RNG.standard_normal(p.shape)

    def twin(m):
        if isinstance(m, nn.Sequential):
            return torch.nn.Sequential(*[twin(c) for c in m])
        if isinstance(m, nn.Linear):
            return torch.nn.Linear(m.in_features, m.out_features, m.bias is not None, dtype=torch.float64)
        affine = m.weight is not None
        return torch.nn.LayerNorm(m.normalized_shape, m.eps, affine, affine and m.bias is not None).double()

    theirs = twin(layer)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in layer.state_dict().items()})
    x = RNG.standard_normal(shape)
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = layer(a), theirs(b)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-13)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_the_plain_maths(shape, bias):
    x, w = leaf(*shape), leaf(2, 3)
    b = leaf(2) if bias else None
    y = linear(x, w, b)
    expected = x @ w.T + b if bias else x @ w.T
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-14, atol=1e-15)
    wanted = [x, w, *([b] if bias else [])]
    g = RNG.standard_normal(y.shape)
    for a, c in zip(tr.grad(y, wanted, g), tr.grad(expected, wanted, g)):
        np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-13, atol=1e-14)


def test_linear_differentiates_twice():
    x, w, b = leaf(2, 3), leaf(2, 3), leaf(2)

    def first():
        return tr.grad((linear(x, w, b) ** 3).sum(), [x, w, b], create_graph=True)

    check_gradients(first, [x, w, b])


def test_linear_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"Linear: x: got shape \(2, 4\), wanted \(\.\.\., 3\)"):
        nn.Linear(3, 2)(np.ones((2, 4)))
    with pytest.raises(ShapeError, match=r"Linear: x: got shape \(\), wanted"):
        nn.Linear(3, 2)(np.ones(()))
    with pytest.raises(ShapeError, match=r"linear: got x \(2, 3\), weight \(3, 2\)"):
        linear(leaf(2, 3), leaf(3, 2))
    with pytest.raises(ShapeError, match=r"linear: bias: got shape \(3,\), wanted \(2,\)"):
        linear(leaf(2, 3), leaf(2, 3), leaf(3))


def test_linear_starts_within_its_bound():
    layer = nn.Linear(16, 50)
    for p in layer.parameters():
        assert 0.2 < np.abs(p.numpy()).max() <= 0.25


@pytest.mark.parametrize("make", [lambda d: nn.Linear(3, 2, dtype=d), lambda d: nn.LayerNorm(3, dtype=d)])
def test_arrays_take_the_dtype_of_the_layer(make):
    for dtype in ("float32", "float64"):
        assert make(dtype)(np.ones((2, 3))).dtype == dtype
        assert make(dtype)(np.ones((2, 3), int)).dtype == dtype


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
def test_layer_norm_of_rows_in_any_order_equals_torch(few, dtype, affine, monkeypatch):
    """Jitted and in NumPy; of what is not contiguous, and of what the caller holds."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(twins, "FEW", few)
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(3, 21, 4)).astype(dtype), rng.normal(size=(4, 3, 21)).astype(dtype)
    layer = nn.LayerNorm((3, 21), elementwise_affine=affine[0], bias=affine[1], dtype=dtype)
    theirs = torch.nn.LayerNorm((3, 21), elementwise_affine=affine[0], bias=affine[1], dtype=getattr(torch, dtype))
    for ours, other in zip(layer.parameters(), theirs.parameters(), strict=True):
        ours.data = rng.normal(size=(3, 21)).astype(dtype)
        other.data = torch.tensor(ours.data)
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = layer(tr.moveaxis(a, -1, 0)), theirs(b.movedim(-1, 0))
    y.backward(g)
    z.backward(torch.tensor(g))
    pairs = [(y.numpy(), z.detach()), (a.grad.numpy(), b.grad)]
    pairs += [(p.grad.numpy(), q.grad) for p, q in zip(layer.parameters(), theirs.parameters())]
    for found, wanted in pairs:
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(found, wanted.numpy(), rtol=tolerance, atol=tolerance)
    held = np.moveaxis(x, -1, 0).copy()
    y = layer(held)
    held[...] = 0  # does not change gradients of what was computed before
    if affine[0]:
        layer.weight.grad = None
        y.backward(g)
        np.testing.assert_allclose(layer.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-5)


# ---- embedding


def test_embedding_reads_rows_and_adds_gradients():
    layer = nn.Embedding(5, 2, dtype="float64")
    ids = np.array([[1, 4, 1], [0, 1, 2]])
    y = layer(ids)
    np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[ids])
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [1, 3, 1, 0, 1])
    np.testing.assert_array_equal(layer(tr.tensor(ids)).numpy(), y.numpy())


@pytest.mark.parametrize("padding", [2, -3])
def test_the_padding_row_is_zero_and_frozen(padding):
    layer = nn.Embedding(5, 3, padding_idx=padding, dtype="float64")
    assert layer.padding_idx == 2
    assert not layer.weight.numpy()[2].any()
    layer.weight.data[2] = 7.0
    y = layer([2, 1, 2])
    np.testing.assert_array_equal(y.numpy()[[0, 2]], 7.0)
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 1, 0, 0, 0])
    layer.reset_parameters()
    assert not layer.weight.numpy()[2].any()


def test_embedding_messages():
    layer = nn.Embedding(5, 3)
    with pytest.raises(IndexError, match=r"indices: got 5, wanted ids from 0 to 4"):
        layer([0, 5])
    with pytest.raises(IndexError, match=r"indices: got -1, wanted ids from 0 to 4"):
        layer([-1])
    with pytest.raises(DTypeError, match=r"got .*float64, wanted integers"):
        layer([0.5])
    with pytest.raises(IndexError, match=r"padding_idx: got 5, wanted an id of a table with 5 rows"):
        nn.Embedding(5, 3, padding_idx=5)
    assert repr(nn.Embedding(5, 3, padding_idx=-1)) == "Embedding(5, 3, padding_idx=4)"


# ---- dropout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_keeps_the_mean_and_the_dtype(dtype):
    layer = nn.Dropout(0.3)
    x = tr.tensor(np.ones((200, 200)), dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    kept = y.numpy() != 0
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.7, rtol=1e-6)
    assert abs(kept.mean() - 0.7) < 0.01
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_dropout_is_seeded_and_off_in_evaluation():
    layer, x = nn.Dropout(0.5), tr.ones((8, 8))
    tr.seed(4)
    first = layer(x).numpy()
    assert not np.array_equal(first, layer(x).numpy())
    tr.seed(4)
    np.testing.assert_array_equal(first, layer(x).numpy())
    assert layer.eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    assert not nn.Dropout(1.0)(x).numpy().any()
    with pytest.raises(ValueError, match=r"p: got -0\.1, wanted a probability"):
        nn.Dropout(-0.1)


# ---- layer normalisation


def test_layer_norm_messages():
    with pytest.raises(ShapeError, match=r"LayerNorm: x: got shape \(4, 3\), wanted \(\.\.\., 3, 4\)"):
        nn.LayerNorm((3, 4))(np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"normalized_shape: got 0, wanted positive lengths"):
        nn.LayerNorm(0)
