"""Weights of layers that are replaced: by parameters, or by tensors that are computed of others."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ShapeError

MODES = ["eager", "auto"]
X = np.random.default_rng(0).normal(size=(5, 2, 3))
KINDS = [nn.RNN, nn.LSTM, nn.GRU]


def loss(layer, **options):
    y, _ = layer(X, **options)
    return (y * y).sum()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_takes_the_place_of_a_deleted_parameter(kind, mode):
    """DropConnect by hand: the parameter lives under another name, and gradients flow to it through its mask."""
    tr.seed(0)
    layer = kind(3, 4, num_layers=2, mode=mode, dtype="float64")
    masks = [np.random.default_rng(i).random(layer.weight_hh_l1.shape) < 0.5 for i in range(2)]
    raw = layer.weight_hh_l1
    del layer.weight_hh_l1
    layer.raw = raw
    names = {name for name, _ in layer.named_parameters()}
    assert "raw" in names
    assert "weight_hh_l1" not in names
    with pytest.raises(AttributeError, match=f"{kind.__name__}: weight_hh_l1: deleted, wanted a tensor in its place"):
        layer(X)
    plain = kind(3, 4, num_layers=2, mode=mode, dtype="float64")
    for mask in masks:
        layer.weight_hh_l1 = layer.raw * mask
        layer.zero_grad()
        loss(layer).backward()
        state = {k: v for k, v in layer.state_dict().items() if k != "raw"}
        plain.load_state_dict({**state, "weight_hh_l1": raw.data * mask})
        plain.zero_grad()
        wanted = loss(plain)
        wanted.backward()
        np.testing.assert_allclose(loss(layer).item(), wanted.item(), rtol=1e-12)
        np.testing.assert_allclose(raw.grad.numpy(), plain.weight_hh_l1.grad.numpy() * mask, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(layer.weight_ih_l0.grad.numpy(), plain.weight_ih_l0.grad.numpy(), rtol=1e-10)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
def test_every_option_reads_the_tensor(mode):
    layer = nn.GRU(3, 4, mode=mode, dtype="float64", bidirectional=True, checkpoint_every=2, learn_initial_state=True)
    raw = layer.weight_ih_l0_reverse
    del layer.weight_ih_l0_reverse
    layer.raw = nn.Parameter(raw.data)
    layer.weight_ih_l0_reverse = layer.raw * 2.0
    assert tr.testing.gradcheck(lambda w: loss_with(layer, w), tr.tensor(raw.data, requires_grad=True))


def loss_with(layer, w):
    layer.weight_ih_l0_reverse = w * 2.0
    return loss(layer, lengths=[5, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_is_never_lost(kind):
    layer = kind(3, 4)
    before, y = list(layer.parameters()), layer(X)[0].numpy()
    for value in (tr.zeros(layer.weight_hh_l0.shape), None, np.zeros(layer.weight_hh_l0.shape), 0.5):
        with pytest.raises(TypeError, match=rf"{kind.__name__}: weight_hh_l0: got .*, wanted an nn.Parameter"):
            layer.weight_hh_l0 = value
        with pytest.raises(TypeError, match="weight_hh_l0"):
            layer.register_buffer("weight_hh_l0", value)
    with pytest.raises(ShapeError, match=r"weight_hh_l0: got shape \(2, 2\), wanted"):
        layer.weight_hh_l0 = nn.Parameter(np.zeros((2, 2)))
    assert list(map(id, layer.parameters())) == list(map(id, before))
    assert not list(layer.named_buffers())
    np.testing.assert_array_equal(layer(X)[0].numpy(), y)
    del layer.weight_hh_l0
    for value in (None, 0.5):
        with pytest.raises(TypeError, match=r"weight_hh_l0: got .*, wanted a tensor"):
            layer.weight_hh_l0 = value
    with pytest.raises(ShapeError, match=r"weight_hh_l0: got shape \(4,\), wanted"):
        layer.weight_hh_l0 = tr.zeros(4)
    layer.weight_hh_l0 = before[1]
    assert {id(p) for p in layer.parameters()} == {id(p) for p in before}
    np.testing.assert_array_equal(layer(X)[0].numpy(), y)


def test_copies_and_shared_parameters():
    layer = nn.GRU(4, 4, num_layers=2)
    layer.weight_hh_l1 = layer.weight_hh_l0
    assert len(list(layer.parameters())) == 7
    twin = copy.deepcopy(layer)
    raw = twin.weight_ih_l0
    del twin.weight_ih_l0
    twin.weight_ih_l0 = (raw * 0.0).detach()
    x = np.ones((3, 2, 4))
    assert not np.array_equal(twin(x)[0].numpy(), layer(x)[0].numpy())
    assert len(list(layer.parameters())) == 7


@pytest.mark.parametrize("mode", MODES)
def test_a_stepper_reads_the_tensor(mode):
    layer = nn.LSTM(3, 4, mode=mode)
    raw = layer.weight_hh_l0
    del layer.weight_hh_l0
    layer.weight_hh_l0 = raw * 0.5
    step, x = layer.stepper(2), X.astype(np.float32)
    for factor in (0.5, -1.0, 2.0):
        layer.weight_hh_l0 = raw * factor
        with tr.no_grad():
            y = layer(x[:1], step.state)[0].numpy()[0]
        np.testing.assert_allclose(step(x[0]), y, rtol=1e-5, atol=1e-7)
