"""Cells with heads: each head is a cell of its own, gates in logarithms are those of the papers, errors have words."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tests.compiler.agreement import agree
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree

from ..sequences import draw, draw_state

KINDS = [nn.SLSTMCell, nn.MLSTMCell, nn.LinearAttentionCell, nn.DeltaNetCell, nn.GatedDeltaNetCell]
T, B, I, H, HEADS = 4, 3, 5, 6, 2
each = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)


def moved(cell):
    rng = np.random.default_rng(1)
    for p in cell.parameters():
        p.data += 0.2 * rng.standard_normal(p.shape)
        p.touch()
    return cell


def head_of(cell, n):
    """A cell of one head with the weights of head `n` of another."""
    alone = type(cell)(cell.input_size, cell.head_size, dtype=cell.dtype)
    for name, p in alone.named_parameters():
        rows = dict(cell.named_parameters())[name].numpy()
        size = 1 if name in ("weight_gates", "bias_gates", "a_log") else cell.head_size
        per_head = rows.reshape(-1, cell.heads, size, *rows.shape[1:])[:, n]
        p.data[...] = per_head.reshape(p.shape)
    return alone


@each
def test_a_head_is_a_cell_of_its_own(kind):
    cell = moved(kind(I, H, heads=HEADS, dtype="float64"))
    x = draw((T, B, I), requires_grad=False)
    y, final = nn.Recurrent(cell, mode="eager")(x)
    for n in range(HEADS):
        one, last = nn.Recurrent(head_of(cell, n), mode="eager")(x)
        size = cell.head_size
        np.testing.assert_allclose(y.numpy()[..., n * size : (n + 1) * size], one.numpy(), rtol=1e-12)
        for whole, part in zip(tree.flatten(final)[0], tree.flatten(last)[0], strict=True):
            np.testing.assert_allclose(whole.numpy()[:, n], part.numpy()[:, 0], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [1, 2, 3, 6])
@each
def test_compiled_equals_eager(kind, heads):
    cell = moved(kind(I, H, heads=heads, dtype="float64"))
    agree(cell, draw((T, B, I)), draw_state(cell, B))


def plain_slstm(cell, x):
    """The equations of the paper without the running maximum."""
    w, r, b = (p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias))
    r = r.reshape(4, cell.heads, cell.head_size, cell.head_size)
    h = c = n = np.zeros((x.shape[1], cell.heads, cell.head_size))
    ys = []
    for row in x:
        a = (row @ w.T + b).reshape(-1, 4, *h.shape[1:]) + np.einsum("bhd,ghed->bghe", h, r)
        i, f, z, o = np.exp(a[:, 0]), 1 / (1 + np.exp(-a[:, 1])), np.tanh(a[:, 2]), 1 / (1 + np.exp(-a[:, 3]))
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        ys.append(h.reshape(len(h), -1))
    return np.stack(ys)


def plain_mlstm(cell, x):
    """The same of the other, for which the denominator is at least one."""
    shape = x.shape[1], cell.heads, cell.head_size
    c, n = np.zeros((*shape, cell.head_size)), np.zeros(shape)
    ys = []
    for row in x:
        q, k, v, o = np.split(row @ cell.weight_ih.numpy().T, 4, axis=1)
        i, f = np.split(row @ cell.weight_gates.numpy().T + cell.bias_gates.numpy(), 2, axis=1)
        q, k, v = (a.reshape(shape) for a in (q, k / np.sqrt(cell.head_size), v))
        i, f = np.exp(i)[..., None], 1 / (1 + np.exp(-f))[..., None]
        c, n = f[..., None] * c + np.einsum("bhv,bhk->bhvk", i * v, k), f * n + i * k
        scale = np.maximum(np.abs((n * q).sum(-1, keepdims=True)), 1)
        y = np.einsum("bhvk,bhk->bhv", c, q) / scale
        ys.append(y.reshape(len(row), -1) / (1 + np.exp(-o - cell.bias.numpy())))
    return np.stack(ys)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize(("kind", "plain"), [(nn.SLSTMCell, plain_slstm), (nn.MLSTMCell, plain_mlstm)])
def test_gates_in_logarithms_are_those_of_the_paper(kind, plain, mode):
    cell = moved(kind(I, H, heads=HEADS, dtype="float64"))
    x = np.random.default_rng(0).standard_normal((40, B, I))
    with tr.no_grad():
        y, _ = nn.Recurrent(cell, mode=mode)(x)
    np.testing.assert_allclose(y.numpy(), plain(cell, x), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.SLSTMCell, nn.MLSTMCell, nn.GatedDeltaNetCell])
def test_long_sequences_of_large_gates_stay_finite(kind):
    cell = moved(kind(I, H, heads=HEADS, dtype="float64"))
    x = 20 * np.random.default_rng(0).standard_normal((10_000, 1, I))
    y, _ = nn.Recurrent(cell)(x)
    narrow = kind(I, H, heads=HEADS, dtype="float32")
    narrow.load_state_dict({k: v.astype("float32") for k, v in cell.state_dict().items()})
    z, last = nn.Recurrent(narrow)(x.astype("float32"))
    assert all(np.isfinite(s.numpy()).all() for s in tree.flatten(last)[0])
    assert np.abs(z.numpy() - y.numpy()).max() < 1e-2 * np.abs(y.numpy()).max()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_gates_that_let_next_to_nothing_in(mode):
    """At the beginning, and after a reset: the ratio of two numbers that a float32 cannot tell from zero."""
    wide, narrow = (nn.SLSTMCell(I, H, heads=HEADS, dtype=dtype) for dtype in ("float64", "float32"))
    moved(wide).bias.data[:H] = -200.0
    narrow.load_state_dict({k: v.astype("float32") for k, v in wide.state_dict().items()})
    x, found = np.random.default_rng(0).standard_normal((30, B, I)), []
    resets = np.arange(30)[:, None] % 11 == np.arange(B)
    for cell in (wide, narrow):
        y, _ = nn.Recurrent(cell, mode=mode)(x, resets=resets)
        grads = tr.grad((y * x[..., :1].astype(y.dtype)).sum(), [*cell.parameters()])
        found.append([y.numpy(), *[g.numpy() for g in grads]])
    np.testing.assert_allclose(found[0][0][:11, 0], plain_slstm(wide, x[:11, :1])[:, 0], rtol=1e-9)
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * np.abs(a).max())


@each
def test_wrong_numbers_of_heads(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: heads: got 4, wanted a divisor of hidden_size=6"):
        kind(3, 6, heads=4)
    with pytest.raises((ValueError, TypeError), match="heads: got 0"):
        kind(3, 6, heads=0)


@pytest.mark.slow
def test_layers_learn_with_heads():
    """Training lowers a loss, through a layer that is compiled."""
    tr.seed(0)
    layer, head = nn.Recurrent(nn.GatedDeltaNetCell(3, 8, heads=2), mode="compiled"), nn.Linear(8, 1)
    x = np.random.default_rng(0).standard_normal((12, 4, 3)).astype("float32")
    wanted = np.cumsum(x[..., :1], axis=0) * 0.2
    optimizer = tr.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.mse_loss(head(layer(x)[0]), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
