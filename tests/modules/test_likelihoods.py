"""Losses of probabilities, distributions and quantiles: equal to torch.nn.functional where that has them."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.train import TrainStep

from ..differences import check_gradients

RNG = np.random.default_rng(0)
SHAPE = (5, 4)
P, Q = RNG.uniform(0.05, 0.95, (2, *SHAPE))
A, B = RNG.normal(size=(2, *SHAPE))
W = np.array([0.5, 2.0, 1.0, 0.1])
SHARES = np.exp(A) / np.exp(A).sum(-1, keepdims=True)

# name of the function, arrays that want gradients, options
TABLE = {
    "smooth l1": ("smooth_l1_loss", (2 * A, B), {}),
    "smooth l1, beta": ("smooth_l1_loss", (A, B), {"beta": 0.3}),
    "smooth l1, no beta": ("smooth_l1_loss", (A, B), {"beta": 0.0}),
    "bce": ("binary_cross_entropy", (P, Q), {}),
    "bce, weight": ("binary_cross_entropy", (P, Q), {"weight": W}),
    "kl": ("kl_div", (np.log(P), SHARES), {}),
    "kl, logarithms": ("kl_div", (np.log(P), np.log(SHARES)), {"log_target": True}),
    "gaussian": ("gaussian_nll_loss", (A, B, Q), {}),
    "gaussian, full": ("gaussian_nll_loss", (A, B, Q), {"full": True, "eps": 0.3}),
    "gaussian, one variance a row": ("gaussian_nll_loss", (A, B, Q[:, :1]), {}),
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_as_torch(row, reduction):
    torch = pytest.importorskip("torch")
    name, arrays, options = row
    if reduction == "batchmean" and name != "kl_div":
        pytest.skip("of divergences alone")
    ours, theirs = [tr.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a) for a in arrays]
    for t in theirs:
        t.requires_grad_(True)
    more = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    loss = getattr(F, name)(*ours, reduction=reduction, **options)
    expected = getattr(torch.nn.functional, name)(*theirs, reduction=reduction, **more)
    assert loss.shape == tuple(expected.shape)
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


MODULES = {
    "BCELoss": ((P, Q), {"weight": W}),
    "SmoothL1Loss": ((A, B), {"beta": 0.4}),
    "KLDivLoss": ((np.log(P), SHARES), {"reduction": "batchmean"}),
    "GaussianNLLLoss": ((A, B, Q), {"full": True}),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    torch = pytest.importorskip("torch")
    arrays, options = MODULES[name]
    more = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**more)
    np.testing.assert_allclose(ours(*arrays).item(), theirs(*map(torch.tensor, arrays)).item(), rtol=1e-12)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours).startswith(name)


def test_probabilities_of_0_and_1():
    torch = pytest.importorskip("torch")
    p, t = np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    ours, theirs = tr.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    loss, expected = F.binary_cross_entropy(ours, t), torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(t))
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    expected.backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="binary_cross_entropy: input: got numbers outside"):
        F.binary_cross_entropy([1.5], [1.0])
    with pytest.raises(ValueError, match="binary_cross_entropy: input: got numbers outside"):
        F.binary_cross_entropy([np.nan], [1.0])


def test_divergence_of_impossible_classes():
    input = tr.tensor(np.array([[-np.inf, 0.0]]), requires_grad=True)
    loss = F.kl_div(input, np.array([[0.0, 1.0]]), "batchmean")
    loss.backward()
    assert loss.item() == 0.0
    assert input.grad.tolist() == [[0.0, -1.0]]


def test_variances():
    with pytest.raises(ValueError, match="gaussian_nll_loss: var: got negative numbers"):
        F.gaussian_nll_loss([1.0], [1.0], [-1.0])
    with pytest.raises(ShapeError, match=r"gaussian_nll_loss: var: got shape \(3,\), wanted \(2,\)"):
        F.gaussian_nll_loss([1.0, 2.0], [1.0, 2.0], [1.0, 1.0, 1.0])
    assert F.gaussian_nll_loss([1.0], [1.0], 1.0).item() == 0.0


# ---- quantiles


def test_quantiles_by_definition():
    quantiles = (0.1, 0.5, 0.7, 0.9)
    loss = F.quantile_loss(A, B[:, 0], quantiles, "none")
    d = B[:, :1] - A
    np.testing.assert_allclose(loss.numpy(), np.maximum(np.array(quantiles) * d, (np.array(quantiles) - 1) * d))
    one = F.quantile_loss(A, B, 0.3, "none")
    np.testing.assert_allclose(one.numpy(), np.maximum(0.3 * (B - A), -0.7 * (B - A)))
    assert F.quantile_loss(A, B, 0.5).item() == pytest.approx(0.5 * np.abs(A - B).mean())
    for q in (0.3, quantiles):
        input, target = tr.tensor(A, requires_grad=True), tr.tensor(B if q == 0.3 else B[:, 0], requires_grad=True)
        check_gradients(lambda i=input, t=target, q=q: [nn.QuantileLoss(q)(i, t)], [input, target])


def test_quantiles_are_found():
    """The minimum over a sample is its quantile."""
    sample = np.random.default_rng(0).exponential(size=2001)
    forecast = tr.tensor(np.zeros(3), requires_grad=True)
    optimizer = optim.Adam([forecast], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        nn.QuantileLoss((0.1, 0.5, 0.9))(tr.broadcast_to(forecast, (2001, 3)), sample).backward()
        optimizer.step()
    np.testing.assert_allclose(forecast.numpy(), np.quantile(sample, [0.1, 0.5, 0.9]), atol=0.1)


def test_quantiles_refuse():
    with pytest.raises(ValueError, match=r"quantiles: got .*, wanted numbers between 0 and 1"):
        nn.QuantileLoss((0.5, 1.5))
    with pytest.raises(TypeError, match="quantiles: got 'half'"):
        nn.QuantileLoss("half")
    with pytest.raises(ShapeError, match=r"input: got shape \(5, 4\) for targets \(5,\), wanted \(5, 3\)"):
        F.quantile_loss(A, B[:, 0], (0.1, 0.5, 0.9))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["quantile_loss", "smooth_l1_loss", "kl_div"])
def test_in_a_training_step(name):
    """As on the tape, compiled or not."""
    x, y = RNG.normal(size=(6, 3)).astype(np.float32), RNG.uniform(0.1, 1, (6, 2)).astype(np.float32)
    found = []
    for compiled in (True, False):
        tr.seed(0)
        model = nn.Linear(3, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = TrainStep(model, optimizer, getattr(F, name))
        for _ in range(3):
            if compiled:
                step(x, y)
            else:
                optimizer.zero_grad()
                getattr(F, name)(model(x), y).backward()
                optimizer.step()
        found.append(model.weight.numpy().copy())
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_accuracy():
    scores = np.array([[[0.1, 0.9], [0.8, 0.2]], [[0.3, 0.7], [0.6, 0.4]]])
    assert nn.accuracy(scores, np.array([[1, 1], [1, 0]])).item() == 0.75
    assert nn.accuracy(tr.tensor(scores, requires_grad=True), [[1, -1], [0, -1]], ignore_index=-1).item() == 0.5
    assert not nn.accuracy(tr.tensor(scores, requires_grad=True), [[1, 1], [1, 0]]).requires_grad
    with pytest.raises(IndexError, match="accuracy"):
        nn.accuracy(scores, [[2, 0], [0, 0]])
    with pytest.raises(ShapeError, match="accuracy: target"):
        nn.accuracy(scores, [0, 0])
