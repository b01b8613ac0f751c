"""Lengths against torch's packed sequences, with copied weights, in float64: outputs, states, gradients."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree

from .test_torch_parity import B, H, I, T, mode, torch, twins  # noqa: F401  mode is a fixture

LENGTHS = [2, T, 3]
rnn = torch.nn.utils.rnn


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences(kind, bidirectional, batch_first, mode):  # noqa: F811
    layers = 2 if bidirectional else 1
    ours, theirs = twins(kind, mode, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, T, I) if batch_first else (T, B, I))
    shape = (layers * (1 + bidirectional), B, H)
    states = [rng.standard_normal(shape) for _ in range(2 if kind == "lstm" else 1)]
    mine = [tr.tensor(a, requires_grad=True) for a in (x, *states)]
    other = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    one = lambda s: s[0] if len(s) == 1 else tuple(s)
    y, final = ours(mine[0], one(mine[1:]), lengths=LENGTHS)
    packed = rnn.pack_padded_sequence(other[0], LENGTHS, batch_first=batch_first, enforce_sorted=False)
    packed, tfinal = theirs(packed, one(other[1:]))
    ty, _ = rnn.pad_packed_sequence(packed, batch_first=batch_first, total_length=T)
    results, theirs_too = [y, *tree.flatten(final)[0]], [ty, *tree.flatten(tfinal)[0]]
    for a, b in zip(results, theirs_too, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
        g = rng.standard_normal(a.shape)
        a.backward(g, retain_graph=True)
        b.backward(torch.tensor(g), retain_graph=True)
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)
    reference = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), reference[name].grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
