"""Optimisers at the edges: settings at random against torch, variances that round below zero, wrong gradients."""

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import DTypeError, ShapeError

rate = st.sampled_from([0.0, 1e-3, 0.1, 1.0])
share = st.sampled_from([0.0, 0.5, 0.9, 0.999])
small = st.sampled_from([1e-8, 1e-3, 0.1])
decay = st.sampled_from([0.0, 0.01, 0.5])
SETTINGS = {
    "SGD": {"lr": rate, "momentum": share, "dampening": share, "weight_decay": decay, "nesterov": st.booleans()},
    "Adam": {
        "lr": rate,
        "betas": st.tuples(share, share),
        "eps": small,
        "weight_decay": decay,
        "amsgrad": st.booleans(),
    },
    "AdamW": {
        "lr": rate,
        "betas": st.tuples(share, share),
        "eps": small,
        "weight_decay": decay,
        "amsgrad": st.booleans(),
    },
    # torch's variance may be negative: then it has NaN, and a variance near zero is rounding only
    "RMSprop": {"lr": rate, "alpha": share, "eps": small, "weight_decay": decay, "momentum": share},
    "Adagrad": {
        "lr": rate,
        "lr_decay": decay,
        "weight_decay": decay,
        "eps": small,
    },
}


@settings(max_examples=60)
@given(st.data())
def test_as_torch_with_any_settings(data):
    torch = pytest.importorskip("torch")
    name = data.draw(st.sampled_from(sorted(SETTINGS)))
    groups = data.draw(st.integers(1, 3))
    options = [{k: data.draw(v) for k, v in SETTINGS[name].items()} for _ in range(groups)]
    common = {"initial_accumulator_value": data.draw(decay)} if name == "Adagrad" else {}  # torch's is one for all
    for o in options:
        if o.get("nesterov"):
            o.update(momentum=0.9, dampening=0.0)
    sizes = [data.draw(st.integers(0, 3)) for _ in range(groups)]  # a group may be empty
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = [[rng.normal(size=(2, 3)) for _ in range(n)] for n in sizes]
    ours = [[tr.tensor(v, requires_grad=True) for v in group] for group in values]
    theirs = [[torch.tensor(v, requires_grad=True) for v in group] for group in values]
    first = getattr(optim, name)([{"params": p, **o} for p, o in zip(ours, options)], **common)
    second = getattr(torch.optim, name)([{"params": p, **o} for p, o in zip(theirs, options)], **common)
    for _ in range(8):
        for p, q in zip(chain(*ours), chain(*theirs)):
            g = None if rng.random() < 0.2 else rng.normal(size=p.shape)
            p.grad, q.grad = (None, None) if g is None else (tr.tensor(g), torch.tensor(g))
        if rng.random() < 0.2:
            for a, b in zip(first.param_groups, second.param_groups):
                a["lr"] = b["lr"] = 0.01
        first.step()
        second.step()
    for p, q in zip(chain(*ours), chain(*theirs)):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("spread", [0.0, 1e-3])
def test_centered_variance_is_never_negative(dtype, alpha, spread):
    rng = np.random.default_rng(0)
    p = tr.tensor(np.zeros(50, dtype), requires_grad=True)
    optimizer = optim.RMSprop([p], lr=1e-3, alpha=alpha, centered=True, momentum=0.1)
    for _ in range(500):
        g = np.linspace(0.1, 1, 50) if spread == 0 else 100 + spread * rng.normal(size=50)
        p.grad = tr.tensor(g.astype(dtype))
        optimizer.step()
    assert np.isfinite(p.numpy()).all()


def test_nan_gradients_still_show():
    p = tr.tensor([1.0, 1.0], requires_grad=True)
    p.grad = tr.tensor([np.nan, 1.0])
    optim.RMSprop([p], centered=True).step()
    assert np.isnan(p.numpy()).tolist() == [True, False]


@pytest.mark.parametrize("size", [6, 20000], ids=["small", "large"])
@pytest.mark.parametrize(
    ("grad", "error", "words"),
    [
        (
            lambda n: tr.tensor(np.ones((n, 1), np.float32)),
            ShapeError,
            r"params\[1\].grad: got shape \(\d+, 1\), wanted \(1, \d+\)",
        ),
        (lambda n: tr.tensor(np.ones(n, np.float32)), ShapeError, r"params\[1\].grad: got shape \(\d+,\)"),
        (lambda n: tr.tensor(np.ones((), np.float32)), ShapeError, r"params\[1\].grad: got shape \(\)"),
        (lambda n: tr.tensor(np.ones((1, n // 2))), ShapeError, r"params\[1\].grad: got shape"),
        (lambda n: tr.tensor(np.ones((1, n))), DTypeError, r"params\[1\].grad: got float64, wanted float32"),
        (lambda n: tr.tensor(np.ones((1, n), np.int32)), DTypeError, r"params\[1\].grad: got int32, wanted float32"),
        (lambda n: np.ones((1, n), np.float32), TypeError, r"params\[1\].grad: got ndarray, wanted a Tensor"),
    ],
)
def test_gradients_that_do_not_fit_name_the_parameter(size, grad, error, words):
    p, q = (tr.tensor(np.zeros((1, n), np.float32), requires_grad=True) for n in (3, size))
    p.grad, q.grad = tr.tensor(np.ones((1, 3), np.float32)), grad(size)
    with pytest.raises(error, match=words):
        optim.SGD([p, q], lr=0.1).step()
    assert not p.numpy().any()
    assert not q.numpy().any()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_an_infinite_max_norm_only_measures(bad, norm_type):
    p, q = (tr.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    p.grad, q.grad = tr.tensor([3.0, bad]), tr.tensor([4.0, 0.0])
    norm = optim.clip_grad_norm_([p, q], math.inf, norm_type)
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf
    np.testing.assert_array_equal(p.grad.numpy(), np.array([3.0, bad], np.float32))
    assert q.grad.tolist() == [4.0, 0.0]
    with pytest.raises(FloatingPointError, match="gradients: got a norm of"):
        optim.clip_grad_norm_([p, q], math.inf, norm_type, error_if_nonfinite=True)


def test_a_tied_parameter_is_clipped_once():
    encoder, decoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    decoder.weight = encoder.weight
    encoder.weight.grad = tr.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert optim.clip_grad_norm_([*encoder.parameters(), *decoder.parameters()], 1.0) == 5.0
    np.testing.assert_allclose(encoder.weight.grad.numpy(), [[0.6, 0], [0, 0.8]], rtol=1e-5)


def test_clipping_leaves_read_only_arrays_alone():
    p = tr.tensor([1.0, 1.0], requires_grad=True)
    own = np.array([3.0, 4.0], np.float32)
    own.flags.writeable = False
    p.grad = tr.Tensor(own)
    optim.clip_grad_norm_([p], 1.0)
    optim.clip_grad_value_([p], 0.5)
    assert own.tolist() == [3.0, 4.0]
    assert p.grad.tolist() == [0.5, 0.5]


@settings(max_examples=40)
@given(st.data())
def test_nonfinite_gradients_are_found_before_the_update(data):
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 7, 20000]), min_size=1, max_size=5))
    params = [tr.tensor(np.zeros(n, np.float32), requires_grad=True) for n in sizes]
    for p in params:
        if data.draw(st.booleans()):
            p.grad = tr.tensor(np.full(p.shape, data.draw(st.sampled_from([1.0, 3e38, -3e38])), np.float32))
    optimizer = optim.SGD(params, lr=1e-30)
    optimizer.step(error_if_nonfinite=True)  # finite, even if their sum is not
    before = [p.numpy().copy() for p in params]
    some = [i for i, p in enumerate(params) if p.grad is not None and p.size]
    if some:
        i = data.draw(st.sampled_from(some))
        at = data.draw(st.integers(0, params[i].size - 1))
        bad = params[i].grad.data[at] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        with pytest.raises(FloatingPointError, match=rf"params\[{i}\].grad: got {bad} at \({at},\)"):
            optimizer.step(error_if_nonfinite=True)
    for p, value in zip(params, before):
        np.testing.assert_array_equal(p.numpy(), value)
    params[0].grad = None  # what an earlier gradient held is not looked at
    if all(p.grad is None or np.isfinite(p.grad.data).all() for p in params):
        optimizer.step(error_if_nonfinite=True)


# ---- schedules


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_plateau_with_metrics_on_both_sides_of_zero(mode, sign):
    """The relative threshold is a share of the size of the best: worse is never better."""
    own = optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    schedule = optim.ReduceLROnPlateau(own, mode=mode, threshold=0.1, patience=0, factor=0.5)
    way = 1.0 if mode == "max" else -1.0
    seen = []
    for change in (0.0, 0.0, 0.05, -0.05, 0.2):  # the share by which it gets better
        schedule.step(sign * 10 + way * 10 * change)
        seen.append(own.param_groups[0]["lr"])
    assert seen == [1.0, 0.5, 0.25, 0.125, 0.125]


def test_plateau_of_negative_metrics():
    own = optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    schedule = optim.ReduceLROnPlateau(own, threshold=0.1, patience=0)
    for metric in (-1.0, -0.95):
        schedule.step(metric)
    assert own.param_groups[0]["lr"] == 0.1
    assert schedule.best == -1.0


def test_milestone_at_the_beginning_as_torch():
    torch = pytest.importorskip("torch")
    own = optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    other = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    ours = optim.MultiStepLR(own, [0, 2], 0.5)
    theirs = torch.optim.lr_scheduler.MultiStepLR(other, [0, 2], 0.5)
    for _ in range(4):
        assert ours.get_last_lr() == theirs.get_last_lr()
        other.step()
        ours.step()
        theirs.step()


def test_groups_that_are_added_later():
    """A warm-up takes a new group up where it stands; a plateau lowers it too."""
    own = optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    warmup = optim.LinearWarmup(own, 4, 0.2)
    warmup.step()
    own.add_param_group({"params": [tr.tensor([1.0], requires_grad=True)], "lr": 10.0})
    for _ in range(5):
        warmup.step()
    assert warmup.get_last_lr() == pytest.approx([1.0, 10.0])
    plateau = optim.ReduceLROnPlateau(own, patience=0, factor=0.5)
    own.add_param_group({"params": [tr.tensor([1.0], requires_grad=True)], "lr": 2.0})
    for _ in range(2):
        plateau.step(1.0)
    assert plateau.get_last_lr() == pytest.approx([0.5, 5.0, 1.0])
    one_each = optim.ReduceLROnPlateau(own, min_lr=[0.0, 0.0, 0.0])
    own.add_param_group({"params": [tr.tensor([1.0], requires_grad=True)]})
    with pytest.raises(ValueError, match="min_lr: got 3 values, wanted 4"):
        one_each.step(1.0)


def test_no_combination_brings_a_rate_below_zero():
    own = optim.SGD([tr.tensor([1.0], requires_grad=True)], lr=0.1)
    pair = [optim.CosineAnnealingLR(own, 6, 0.01), optim.MultiStepLR(own, [2, 7])]
    for _ in range(20):
        for schedule in pair:
            schedule.step()
        assert own.param_groups[0]["lr"] >= 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: optim.SGD(p, lr="0.1"), TypeError, "lr: got '0.1', wanted a number"),
        (lambda p: optim.SGD(p, lr=[0.1]), TypeError, r"lr: got \[0.1\], wanted a number"),
        (lambda p: optim.Adam(p, eps=(1e-8, 1e-8)), TypeError, r"eps: got \(1e-08, 1e-08\), wanted a number"),
        (lambda p: optim.RMSprop(p, eps=[]), TypeError, r"eps: got \[\], wanted a number"),
        (lambda p: optim.Adagrad(p, initial_accumulator_value=[0.1] * 3), TypeError, "wanted a number"),
        (lambda p: optim.SGD(p, lr=None), TypeError, "lr: got None"),
        (lambda p: optim.SGD(p, lr=True), TypeError, "lr: got True"),
        (lambda p: optim.SGD(p, dampening="x"), TypeError, "dampening: got 'x'"),
        (lambda p: optim.Adam(p, betas=0.9), ValueError, "betas: got 0.9, wanted two numbers"),
        (lambda p: optim.Adam(p, betas=("a", 0.9)), TypeError, "betas: got"),
        (lambda p: optim.RMSprop(p, alpha=1.5), ValueError, "alpha: got 1.5, wanted at least 0 and below 1"),
        (lambda p: optim.StepLR(optim.SGD(p), "3"), ValueError, "step_size: got 3"),
        (lambda p: optim.StepLR(optim.SGD(p), math.nan), ValueError, "step_size: got nan"),
        (lambda p: optim.StepLR(optim.SGD(p), 3, gamma=-1), ValueError, "gamma: got -1"),
        (lambda p: optim.ExponentialLR(optim.SGD(p), "x"), TypeError, "gamma: got 'x', wanted a number"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD(p), 3, math.nan), ValueError, "eta_min: got nan"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), factor=-1), ValueError, "factor: got -1"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), patience=-1), ValueError, "patience: got -1"),
        (lambda p: optim.ReduceLROnPlateau(optim.SGD(p), min_lr="x"), TypeError, "min_lr: got 'x'"),
    ],
)
def test_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make([tr.tensor([1.0], requires_grad=True)])


def test_gradient_shared_by_two_parameters_is_clipped_once():
    a, b = (tr.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    a.grad = b.grad = tr.tensor(np.ones(2))
    assert optim.clip_grad_norm_([a, b], 1.0) == 2.0
    np.testing.assert_allclose(b.grad.numpy(), 0.5, rtol=1e-6)
    assert optim.clip_grad_norm_([a, b], 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [np.ones(2), [1.0, 2.0], "one"])
def test_gradient_that_is_no_tensor(wrong):
    w = tr.tensor(np.zeros(2), requires_grad=True)
    sgd = optim.SGD([w], lr=0.1)
    w.grad = wrong
    name = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"params\[0\].grad: got {name}, wanted a Tensor or None"):
        sgd.step()
    for clip in (optim.clip_grad_norm_, optim.clip_grad_value_):
        with pytest.raises(TypeError, match=rf"parameters\[0\].grad: got {name}, wanted a Tensor or None"):
            clip([w], 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda w, sgd: optim.clip_grad_norm_(3, 1.0),
            "parameters: got int, wanted a Tensor or an iterable of tensors",
        ),
        (lambda w, sgd: optim.clip_grad_norm_([w, 3], 1.0), r"parameters\[1\]: got int, wanted a Tensor"),
        (lambda w, sgd: optim.clip_grad_value_(sgd.param_groups, 1.0), r"parameters\[0\]: got dict, wanted a Tensor"),
        (lambda w, sgd: optim.clip_grad_norm_([w], "1"), "max_norm: got '1', wanted a number"),
        (lambda w, sgd: optim.clip_grad_norm_([w], 1.0, [2]), r"norm_type: got \[2\], wanted a number"),
        (lambda w, sgd: optim.clip_grad_value_([w], None), "clip_value: got None, wanted a number"),
        (lambda w, sgd: optim.SGD(np.array(2.0), lr=1), "params: got ndarray of shape ()"),
        (lambda w, sgd: optim.LinearWarmup(sgd, 3, after=w), "after: got Tensor, wanted a Schedule"),
        (lambda w, sgd: optim.MultiStepLR(sgd, 3), "milestones: got 3, wanted an iterable of whole numbers"),
    ],
)
def test_odd_arguments(call, words):
    w = tr.tensor(np.zeros(2), requires_grad=True)
    with pytest.raises(TypeError, match=words):
        call(w, optim.SGD([w], lr=0.1))
