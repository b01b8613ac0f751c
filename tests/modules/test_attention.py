"""Attention: by hand, its gradients, and that padding counts for nothing."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.testing import gradcheck


def arrays(batch=3, steps=4, time=5, query=6, memory=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, steps, query)), rng.standard_normal((batch, time, memory))


def test_by_hand():
    """Each query on its own, as the paper has it."""
    query, memory = arrays()
    layer = nn.LuongAttention(6, 2, output_size=7, dtype="float64")
    output, weights = layer(query, memory)
    w, c = layer.score.weight.numpy(), layer.combine.weight.numpy()
    for b in range(3):
        for s in range(4):
            h = query[b, s]
            scores = np.array([h @ w @ source for source in memory[b]])
            align = np.exp(scores) / np.exp(scores).sum()
            context = sum(a * source for a, source in zip(align, memory[b]))
            np.testing.assert_allclose(weights.numpy()[b, s], align)
            np.testing.assert_allclose(output.numpy()[b, s], np.tanh(c @ np.concatenate([context, h])))


def test_gradients():
    query, memory = (tr.tensor(a, requires_grad=True) for a in arrays())
    layer = nn.LuongAttention(6, 2, dtype="float64")
    assert gradcheck(lambda q, m: layer(q, m, lengths=[5, 1, 3]), [query, memory])
    w, c = layer.score.weight, layer.combine.weight
    assert gradcheck(lambda w, c: layer(query.numpy(), memory.numpy(), [5, 1, 3])[0], [w, c])


def test_padding_counts_for_nothing():
    query, memory = arrays()
    layer = nn.LuongAttention(6, 2, dtype="float64")
    lengths = [2, 5, 1]
    padded = memory.copy()
    for row, length in zip(padded, lengths):
        row[length:] = 1e6
    source = tr.tensor(padded, requires_grad=True)
    output, weights = layer(query, source, lengths)
    output.sum().backward()
    for b, length in enumerate(lengths):
        alone, _ = layer(query[b : b + 1], memory[b : b + 1, :length])
        np.testing.assert_allclose(output.numpy()[b], alone.numpy()[0])
        assert not weights.numpy()[b, :, length:].any()
        assert not source.grad.numpy()[b, length:].any()


def test_bad_input():
    layer = nn.LuongAttention(6, 2)
    query, memory = arrays()
    with pytest.raises(ShapeError, match=r"query: got shape \(3, 6\), wanted \(B, S, 6\)"):
        layer(query[:, 0], memory)
    with pytest.raises(ShapeError, match=r"memory: got shape \(2, 5, 2\), wanted \(3, T, 2\)"):
        layer(query, memory[:2])
    with pytest.raises(ValueError, match="lengths: got 6 for row 1, wanted 0 to 5"):
        layer(query, memory, [5, 6, 1])
    with pytest.raises(ValueError, match="lengths: got 0 for row 2, wanted at least 1"):
        layer(query, memory, [5, 1, 0])


def test_lengths_are_inputs_of_a_program():
    tr.seed(0)
    layer = nn.LuongAttention(3, 2)
    rng = np.random.default_rng(0)
    query, memory = (tr.tensor(rng.normal(size=shape), dtype="float32") for shape in ((2, 4, 3), (2, 5, 2)))
    fast = tr.compile(lambda lengths: layer(query, memory, lengths)[0], fallback="error")
    for lengths in ([5, 2], [1, 4], [3, 3]):
        found = fast(np.array(lengths))
        wanted, _ = layer(query, memory, lengths)
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="LuongAttention: lengths: got 0 for row 1, wanted at least 1"):
        fast(np.array([3, 0]))
    with pytest.raises(ValueError, match="LuongAttention: lengths: got 6 for row 0"):
        fast(np.array([6, 2]))
    with pytest.raises(ShapeError, match="LuongAttention: lengths"):
        fast(np.array([6, 2, 1]))
