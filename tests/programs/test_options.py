"""Every option of layers, losses and optimisers, as programs and on the tape."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.train import TrainStep

from ..recurrent.layers.test_random_options_by_hand import I, calls, layers, start_of
from ..recurrent.sequences import draw, leaves
from .agreement import agree, gradients, same

SOME = settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
MORE = settings(SOME, max_examples=60)
NOISE = ("recurrent_dropout", "weight_dropout", "zoneout", "dropout", "input_dropout")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ---- layers


def check_layer(layer, call, training):
    """Fail unless the program of a layer's call, with lengths, masks, resets and states, is what the tape does."""
    (T, B), options, return_states, given_state = call
    layer.train(training)
    x, state = draw((T, B, I)), start_of(layer, B, given_state)
    if layer.batch_first:
        x = tr.tensor(x.data.swapaxes(0, 1).copy(), requires_grad=True)
        options = {k: v if k == "lengths" else v.T.copy() for k, v in options.items()}

    def function(x, state, options):
        y, states = layer(x, state, **options, return_states=return_states)
        return y, states

    compiled = tr.compile(function, fallback="error")
    params = [*layer.parameters(), *leaves(state)] if given_state else [*layer.parameters()]
    wanted, by = gradients(function, params, (x, state, options))
    for _ in range(3):
        got, found = gradients(compiled, params, (x, state, options))
        same(got, wanted, 1e-9)
        for a, b in zip(found, by, strict=True):
            zero = np.zeros(()) if a is None and b is None else np.zeros_like(b if a is None else a)
            np.testing.assert_allclose(zero if a is None else a, zero if b is None else b, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@SOME
@given(layers(kinds=(nn.RNN, nn.LSTM, nn.GRU), noise=NOISE), calls(), st.booleans())
def test_options_of_layers(layer, call, training):
    layer.checkpoint_every = None
    check_layer(layer, (call[0], call[1], "final", call[3]), training)


@pytest.mark.exhaustive
@MORE
@given(layers(kinds=(nn.RNN, nn.LSTM, nn.GRU), noise=NOISE), calls(), st.booleans())
def test_all_options_of_layers(layer, call, training):
    layer.checkpoint_every = None
    check_layer(layer, call, training)


# ---- losses

C = 4
WEIGHT = np.linspace(0.5, 2.0, C)


def shares(seed=1):
    return np.random.default_rng(seed).uniform(0.1, 0.9, (3, 2, C))


def classes():
    return np.array([[0, 3], [1, 1], [2, 0]])


REDUCTIONS = ("mean", "sum", "none")
PLAIN = [{"reduction": r} for r in REDUCTIONS]


def times(*options):
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*options)]


LOSSES = {
    nn.MSELoss: (PLAIN, [numbers(3, 2, C, seed=2)], None),
    nn.L1Loss: (PLAIN, [numbers(3, 2, C, seed=2)], None),
    nn.HuberLoss: (times(PLAIN, [{"delta": 1.0}, {"delta": 0.3}]), [numbers(3, 2, C, seed=2)], None),
    nn.SmoothL1Loss: (times(PLAIN, [{"beta": 1.0}, {"beta": 0.3}]), [numbers(3, 2, C, seed=2)], None),
    nn.BCEWithLogitsLoss: (
        times(PLAIN, [{}, {"weight": WEIGHT}, {"pos_weight": WEIGHT}, {"weight": WEIGHT, "pos_weight": WEIGHT}]),
        [shares()],
        None,
    ),
    nn.BCELoss: (times(PLAIN, [{}, {"weight": WEIGHT}]), [shares()], tr.sigmoid),
    nn.CrossEntropyLoss: (
        times(
            PLAIN,
            [{}, {"weight": WEIGHT}],
            [{}, {"label_smoothing": 0.1}],
            [{}, {"ignore_index": 1}],
        ),
        [classes(), shares(), classes().astype(np.int32)],
        None,
    ),
    nn.NLLLoss: (times(PLAIN, [{}, {"weight": WEIGHT}], [{}, {"ignore_index": 1}]), [classes()], tr.log_softmax),
    nn.KLDivLoss: (times(PLAIN, [{}, {"log_target": True}]), [shares()], tr.log_softmax),
    nn.QuantileLoss: (times(PLAIN, [{"quantiles": 0.3}]), [numbers(3, 2, C, seed=2)], None),
    nn.GaussianNLLLoss: (times(PLAIN, [{}, {"full": True}]), [numbers(3, 2, C, seed=2)], None),
    nn.CTCLoss: (
        times(PLAIN, [{}, {"zero_infinity": True}]),
        [np.array([[1, 2], [3, 0]]), np.array([1, 2, 3], np.int32)],
        tr.log_softmax,
    ),
}
EACH = [
    pytest.param(kind, options, k, id=f"{kind.__name__}-{n}-{k}", marks=[pytest.mark.slow] * (n + k > 0))
    for kind, (every, targets, _) in LOSSES.items()
    for n, options in enumerate(every)
    for k, _ in enumerate(targets)
]


@pytest.mark.sampled(18)
@pytest.mark.parametrize("default", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "options", "target"), EACH)
def test_losses(kind, options, target, default):
    tr.set_default_dtype("float64")
    x, targets, before = tr.tensor(numbers(3, 2, C), requires_grad=True), LOSSES[kind][1][target], LOSSES[kind][2]
    if kind is nn.CrossEntropyLoss and targets.dtype.kind == "f":
        options = {k: v for k, v in options.items() if k != "ignore_index"}
    head, loss = nn.Linear(C, C), kind(**options)
    tr.set_default_dtype(default)

    def function(x, t):
        y = head(x)
        y = y if before is None else before(y)
        if kind is nn.CTCLoss:
            return loss(y, t, np.array([3, 2]), tr.tensor([2, 1]))
        if kind is nn.GaussianNLLLoss:
            return loss(y, t, tr.exp(y[..., ::-1]))
        return loss(y, t)

    report = agree(function, [*head.parameters()], x, targets).explain(x, targets)
    assert report.native, report.why


def test_no_loss_is_left_out():
    assert {*LOSSES} == {getattr(nn, name) for name in dir(nn) if name.endswith("Loss")}


# ---- optimisers

OPTIMIZERS = {
    optim.SGD: times(
        [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "dampening": 0.5}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ),
    optim.Adam: times(
        [{}, {"amsgrad": True}], [{}, {"weight_decay": 0.1}], [{}, {"betas": (0.5, 0.9)}], [{}, {"maximize": True}]
    ),
    optim.AdamW: times([{}, {"amsgrad": True}], [{}, {"weight_decay": 0.0}], [{}, {"maximize": True}]),
    optim.RMSprop: times(
        [{}, {"centered": True}], [{}, {"momentum": 0.9}], [{}, {"weight_decay": 0.1}], [{}, {"maximize": True}]
    ),
    optim.Adagrad: times(
        [{}, {"lr_decay": 0.1}],
        [{}, {"initial_accumulator_value": 0.5}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ),
    optim.NAdam: times([{}, {"decoupled_weight_decay": True}], [{}, {"weight_decay": 0.1}], [{}, {"maximize": True}]),
}
CLIPPING = [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}]
EVERY = [
    pytest.param(kind, options, clip, id=f"{kind.__name__}-{n}-{k}", marks=[pytest.mark.slow] * (k != n % 3 or n % 4))
    for kind, every in OPTIMIZERS.items()
    for n, options in enumerate(every)
    for k, clip in enumerate(CLIPPING)
]


class Counting(nn.Module):
    """A model that counts its calls, which programs do not, so that it trains on the tape."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        return self.model(x)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("kind", "options", "clip"), EVERY)
@pytest.mark.filterwarnings("ignore:.* runs on the tape")
def test_optimisers(kind, options, clip):
    x, y, kept = numbers(5, 3), numbers(5, 2), []
    tr.set_default_dtype("float64")
    for taped in (True, False):
        tr.seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        params = [*model.parameters()]
        optimizer = kind([{"params": params[:1], "lr": 0.01}, {"params": params[1:]}], lr=0.03, **options)
        step = TrainStep(
            Counting(model) if taped else model, optimizer, nn.mse_loss, fallback="warn" if taped else "error", **clip
        )
        losses = []
        for k in range(6):
            if k == 3:
                optimizer.param_groups[1]["lr"] *= 0.5
            losses.append(step(x, y))
        kept.append([np.array(losses), *[p.data for p in params], *[p.grad.data for p in params]])
    for got, wanted in zip(kept[1], kept[0], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_no_optimiser_is_left_out():
    found = {v for v in vars(optim).values() if isinstance(v, type) and issubclass(v, optim.Optimizer)}
    assert found - {optim.Optimizer} == {*OPTIMIZERS, optim.LBFGS}  # which asks for the loss several times a step
