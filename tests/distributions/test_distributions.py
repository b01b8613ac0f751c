"""Distributions: equal to torch.distributions, and draws that follow them."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.distributions import Bernoulli, Categorical, Normal, kl_divergence
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.train import TrainStep

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 4, 3))
P, Q = RNG.uniform(0.1, 0.9, (2, 4, 3))

# name, parameters, values
TABLE = {
    "Categorical logits": ("Categorical", {"logits": A}, np.array([0, 2, 1, 1])),
    "Categorical probs": ("Categorical", {"probs": P}, np.array([[0, 2, 1, 1], [2, 2, 0, 0]])),
    "Bernoulli logits": ("Bernoulli", {"logits": A}, (B > 0).astype(float)),
    "Bernoulli probs": ("Bernoulli", {"probs": P}, (B > 0).astype(float)),
    "Normal": ("Normal", {"loc": A, "scale": P}, B),
    "Normal, broadcast": ("Normal", {"loc": A, "scale": P[0]}, B[:, :1]),
}


def pair(name, parameters):
    ours = {k: tr.tensor(v, requires_grad=True) for k, v in parameters.items()}
    theirs = {k: torch.tensor(v, requires_grad=True) for k, v in parameters.items()}
    made = getattr(tr.distributions, name)(**ours), getattr(torch.distributions, name)(**theirs)
    return *made, list(ours.values()), list(theirs.values())


def compare(y, z, ours, theirs):
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-13)
    y.sum().backward()
    z.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        if b.grad is None:  # of what has no part in the result
            assert a.grad is None or not a.grad.any()
        else:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_log_probabilities_and_entropies(row):
    name, parameters, value = row
    a, b, ours, theirs = pair(name, parameters)
    compare(a.log_prob(value), b.log_prob(torch.tensor(value)), ours, theirs)
    a, b, ours, theirs = pair(name, parameters)
    compare(a.entropy(), b.entropy(), ours, theirs)
    assert a.batch_shape == tuple(b.batch_shape)
    for name in ("probs", "logits", "mean", "variance", "stddev", "mode"):
        if hasattr(a, name) and not (name == "mean" and isinstance(a, Categorical)):
            np.testing.assert_allclose(getattr(a, name).numpy(), getattr(b, name).detach().numpy(), rtol=1e-9)
    assert repr(a).startswith(type(a).__name__)


@pytest.mark.parametrize(
    ("name", "p", "q"),
    [
        ("Categorical", {"logits": A}, {"logits": B}),
        ("Bernoulli", {"probs": P}, {"probs": Q}),
        ("Normal", {"loc": A, "scale": P}, {"loc": B, "scale": Q}),
    ],
)
def test_divergences(name, p, q):
    a, b, ours, theirs = pair(name, p)
    c, d, more, others = pair(name, q)
    compare(kl_divergence(a, c), torch.distributions.kl_divergence(b, d), ours + more, theirs + others)
    with pytest.raises(TypeError, match="kl_divergence: got Normal and Bernoulli"):
        kl_divergence(Normal(0.0, 1.0), Bernoulli(0.5))


def test_draws_follow_the_distribution():
    tr.seed(0)
    n = 20000
    classes = Categorical(probs=[[0.5, 0.0, 0.5], [0.1, 0.2, 0.7]]).sample((n,)).numpy()
    assert classes.shape == (n, 2)
    shares = np.array([[(classes[:, i] == k).mean() for k in range(3)] for i in range(2)])
    np.testing.assert_allclose(shares, [[0.5, 0.0, 0.5], [0.1, 0.2, 0.7]], atol=0.015)
    coins = Bernoulli(probs=np.array([0.0, 0.3, 1.0])).sample(n).numpy()
    np.testing.assert_allclose(coins.mean(0), [0.0, 0.3, 1.0], atol=0.015)
    assert coins.dtype == np.float64
    draws = Normal(np.array([1.0, -2.0]), np.array([0.5, 3.0])).sample((n,)).numpy()
    np.testing.assert_allclose(draws.mean(0), [1.0, -2.0], atol=0.08)
    np.testing.assert_allclose(draws.std(0), [0.5, 3.0], rtol=0.03)
    tr.seed(1)
    first = Normal(0.0, 1.0).sample((3,)).tolist()
    tr.seed(1)
    assert Normal(0.0, 1.0).sample((3,)).tolist() == first
    assert Normal(0.0, 1.0).sample().dtype == np.float32


def test_gradients_of_draws():
    loc, scale = tr.tensor(np.zeros(3), requires_grad=True), tr.tensor(np.ones(3), requires_grad=True)
    normal = Normal(loc, scale)
    assert not normal.sample().requires_grad
    draw = normal.rsample((5,))
    draw.sum().backward()
    assert loc.grad.tolist() == [5.0] * 3
    np.testing.assert_allclose(scale.grad.numpy(), draw.numpy().sum(0))
    assert not Categorical(logits=loc).sample().requires_grad


def test_certain_and_impossible():
    sure = Categorical(probs=[1.0, 0.0])
    assert sure.log_prob([0, 1]).tolist() == [0.0, -np.inf]
    assert sure.entropy().item() == 0.0
    assert kl_divergence(sure, Categorical(probs=[0.5, 0.5])).item() == pytest.approx(np.log(2))
    masked = tr.tensor(np.array([0.0, -np.inf, 0.0]), requires_grad=True)  # of actions that are not allowed
    policy = Categorical(logits=masked)
    (policy.entropy() + policy.log_prob(0)).backward()
    assert np.isfinite(masked.grad.numpy()).all()
    assert policy.entropy().item() == pytest.approx(np.log(2))
    coin = Bernoulli(probs=[0.0, 1.0])
    assert coin.log_prob([0.0, 1.0]).tolist() == [0.0, 0.0]
    assert coin.entropy().tolist() == [0.0, 0.0]
    assert Normal(0.0, 1.0).cdf(0.0).item() == 0.5


def test_refuses():
    calls = {
        "Categorical: got neither of probs and logits": (ValueError, lambda: Categorical()),
        "Bernoulli: got both of probs and logits": (ValueError, lambda: Bernoulli(0.5, 0.5)),
        "Categorical: probs: got rows that are no probabilities": (ValueError, lambda: Categorical([0.5, -0.5])),
        "Categorical: logits: got NaN": (ValueError, lambda: Categorical(logits=[np.nan, 1.0])),
        r"Categorical: logits: got shape \(\), wanted": (ShapeError, lambda: Categorical(logits=1.0)),
        "Categorical: value: got 3, wanted classes from 0 to 1": (IndexError, lambda: Categorical([1, 1]).log_prob(3)),
        "Categorical: value: got float": (DTypeError, lambda: Categorical([1, 1]).log_prob(0.5)),
        "Bernoulli: probs: got numbers outside": (ValueError, lambda: Bernoulli(1.5)),
        "Bernoulli: value: got other numbers": (ValueError, lambda: Bernoulli(0.5).log_prob(0.5)),
        "Normal: scale: got numbers that are not positive": (ValueError, lambda: Normal(0.0, 0.0)),
        r"Normal: got shapes \(2,\) and \(3,\)": (ShapeError, lambda: Normal([0.0, 1.0], [1.0, 1.0, 1.0])),
        "sample_shape: got -1": (ShapeError, lambda: Normal(0.0, 1.0).sample(-1)),
        "validate_args: got 'no'": (TypeError, lambda: Normal(0.0, 1.0, validate_args="no")),
    }
    for words, (error, call) in calls.items():
        with pytest.raises(error, match=words):
            call()


def test_dtypes_of_parameters():
    mean = nn.Linear(2, 1)(np.ones((4, 2)))
    assert Normal(mean, 1.0).log_prob(np.zeros((4, 1))).dtype == np.float32
    assert Normal(mean, np.ones((4, 1))).sample().dtype == np.float32
    assert Normal(np.zeros(2), np.ones(2)).sample().dtype == np.float64


def test_as_a_loss_in_a_training_step():
    """As on the tape, whether it is compiled or not."""
    x = RNG.normal(size=(6, 3)).astype(np.float32)
    losses = {
        "categorical": (4, RNG.integers(0, 4, 6), lambda y, t: -Categorical(logits=y).log_prob(t).mean()),
        "normal": (2, x[:, 0], lambda y, t: -Normal(y[:, 0], tr.exp(y[:, 1])).log_prob(t).mean()),
    }
    for size, target, loss in losses.values():
        found = []
        for compiled in (True, False):
            tr.seed(0)
            model = nn.Linear(3, size)
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            step = TrainStep(model, optimizer, loss)
            assert step.explain(x, target).compiled
            for _ in range(3):
                if compiled:
                    step(x, target)
                else:
                    optimizer.zero_grad()
                    loss(model(x), target).backward()
                    optimizer.step()
            found.append(model.weight.numpy().copy())
        np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
