"""Bad input: a program rejects what the tape rejects, with the same error, and changes nothing."""

import functools
import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError
from tinygrad_rnn.train import TrainStep


def floats(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def classes(*shape, n=4):
    return np.random.default_rng(0).integers(0, n, shape)


class Words(nn.Module):
    """An embedding, a layer and a head."""

    def __init__(self):
        self.table, self.layer, self.head = nn.Embedding(6, 3), nn.LSTM(3, 4), nn.Linear(4, 4)

    def forward(self, ids):
        return self.head(self.layer(self.table(ids))[0])


class Tagger(nn.Module):
    """A layer that reads lengths, and a head."""

    def __init__(self):
        self.layer, self.head = nn.GRU(3, 4), nn.Linear(4, 4)

    def forward(self, x, lengths):
        return self.head(self.layer(x, lengths=lengths)[0])


def with_entry(array, value):
    array = array.copy()
    array.flat[1] = value
    return array


class First(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class Nothing(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return None


class Spare(nn.Module):
    def __init__(self):
        self.layer, self.unused = nn.Linear(3, 4), nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


LINEAR, LAYER = lambda: nn.Linear(3, 4), lambda: nn.Sequential(nn.Linear(3, 3), First(nn.LSTM(3, 4)))


def odds(y, t):
    return nn.functional.binary_cross_entropy(0.1 * y + 0.5, t)


def spread(y, t):
    return nn.functional.gaussian_nll_loss(y[:, :2], t[:, :2], 0.1 * y[:, 2:] + 0.5)


def given_spread(y, t):
    return nn.functional.gaussian_nll_loss(y[:, :2], t[:, :2], t[:, 2:])


def normal(y, t):
    return -tr.distributions.Normal(y[:, :2], 0.1 * y[:, 2:] + 0.5).log_prob(t[:, :2]).mean()


def policy(y, t):
    return -tr.distributions.Categorical(logits=y).log_prob(t).mean()


def coins(y, t):
    return -tr.distributions.Bernoulli(logits=y).log_prob(t).mean()


X, IDS, T, Y = floats(5, 3), classes(5, 2), classes(5), floats(5, 4)
SMALL, LARGE, ONES = 0.01 * X, 1e4 * X, (Y > 0).astype(np.float32)
CASES = {  # model, loss, a good batch, a bad one
    "features": (LINEAR, nn.mse_loss, (X, Y), (floats(5, 2), Y)),
    "features of a layer": (LAYER, nn.mse_loss, (floats(4, 2, 3), floats(4, 2, 4)), (floats(4, 2, 2), floats(4, 2, 4))),
    "axes of a layer": (LAYER, nn.mse_loss, (floats(4, 2, 3), floats(4, 2, 4)), (floats(4, 2, 1, 3), floats(4, 2, 4))),
    "no steps": (LAYER, nn.mse_loss, (floats(4, 2, 3), floats(4, 2, 4)), (floats(0, 2, 3), floats(0, 2, 4))),
    "targets' shape": (LINEAR, nn.mse_loss, (X, Y), (X, floats(4, 4))),
    "one batch of another": (LINEAR, nn.cross_entropy, (X, T), (X, classes(4))),
    "classes' shape": (LINEAR, nn.cross_entropy, (X, T), (X, classes(5, 1))),
    "a class too large": (LINEAR, nn.cross_entropy, (X, T), (X, with_entry(T, 4))),
    "a class below zero": (LINEAR, nn.cross_entropy, (X, T), (X, with_entry(T, -1))),
    "classes of floats": (LINEAR, nn.cross_entropy, (X, T), (X, T.astype(np.float32))),
    "classes of truth": (LINEAR, nn.cross_entropy, (X, T), (X, T > 1)),
    "a word too large": (Words, nn.cross_entropy, (IDS, IDS), (with_entry(IDS, 6), IDS)),
    "a word below zero": (Words, nn.cross_entropy, (IDS, IDS), (with_entry(IDS, -7), IDS)),
    "words of floats": (Words, nn.cross_entropy, (IDS, IDS), (IDS.astype(np.float32), IDS)),
    "words of truth": (Words, nn.cross_entropy, (IDS, IDS), (IDS > 1, IDS)),
    "words of texts": (Words, nn.cross_entropy, (IDS, IDS), (np.array([["a", "b"]]), classes(1, 2))),
    "objects": (LINEAR, nn.mse_loss, (X, Y), (np.array([[None] * 3] * 5), Y)),
    "complex numbers": (LINEAR, nn.mse_loss, (X, Y), (X + 1j, Y)),
    "an empty batch": (LINEAR, nn.cross_entropy, (X, T), (X[:0], T[:0])),
    "lengths too large": (Tagger, nn.cross_entropy, ((floats(4, 2, 3), np.array([4, 2])), classes(4, 2)),
                          ((floats(4, 2, 3), np.array([5, 2])), classes(4, 2))),
    "lengths below zero": (Tagger, nn.cross_entropy, ((floats(4, 2, 3), np.array([4, 2])), classes(4, 2)),
                           ((floats(4, 2, 3), np.array([4, -1])), classes(4, 2))),
    "too many lengths": (Tagger, nn.cross_entropy, ((floats(4, 2, 3), np.array([4, 2])), classes(4, 2)),
                         ((floats(4, 2, 3), np.array([4, 2, 1])), classes(4, 2))),
    "no probabilities": (LINEAR, odds, (SMALL, ONES), (LARGE, ONES)),
    "computed variances below zero": (LINEAR, spread, (SMALL, Y), (LARGE, Y)),
    "given variances below zero": (LINEAR, given_spread, (X, Y**2), (X, Y)),
    "deviations below zero": (LINEAR, normal, (SMALL, Y), (LARGE, Y)),
    "an action too large": (LINEAR, policy, (X, T), (X, with_entry(T, 4))),
    "an action below zero": (LINEAR, policy, (X, T), (X, with_entry(T, -1))),
    "coins on their edge": (LINEAR, coins, (X, ONES), (X, ONES + 0.5)),
    "truth values of coins": (LINEAR, coins, (X, ONES > 0), (X, 2 * (ONES > 0))),
    "a loss of several elements": (LINEAR, lambda y, t: (y - t) ** 2, None, (X, Y)),
    "a loss that is a number": (LINEAR, lambda y, t: 3.0, None, (X, Y)),
    "a loss that is an array": (LINEAR, lambda y, t: np.zeros(()), None, (X, Y)),
    "a loss of nothing": (LINEAR, lambda y, t: None, None, (X, Y)),
    "a loss and more": (LINEAR, lambda y, t: (nn.mse_loss(y, t), y), None, (X, Y)),
    "a loss in a dict": (LINEAR, lambda y, t: {"loss": nn.mse_loss(y, t)}, None, (X, Y)),
    "a loss in a list": (LINEAR, lambda y, t: [nn.mse_loss(y, t)], None, (X, Y)),
    "a loss without parameters": (LINEAR, lambda y, t: (t * 2.0).sum(), None, (X, Y)),
    "a loss of a detached value": (LINEAR, lambda y, t: y.detach().sum(), None, (X, Y)),
    "a model of nothing": (lambda: Nothing(), nn.mse_loss, None, (X, Y)),
    "floats of two dtypes": (LINEAR, lambda y, t: nn.mse_loss(y, t.astype("float64")), None, (X, Y)),
    "a product that does not fit": (LINEAR, lambda y, t: (y @ t).sum(), None, (X, Y)),
    "a reshape that does not fit": (LINEAR, lambda y, t: y.reshape((7, 2)).sum(), None, (X, Y)),
    "an index beyond the end": (LINEAR, lambda y, t: y[:, 4].sum(), None, (X, Y)),
    "an axis that is not there": (LINEAR, lambda y, t: y.sum(2).sum(), None, (X, Y)),
}  # fmt: skip


SOME = [pytest.param(name, marks=[pytest.mark.slow] * (i % 2)) for i, name in enumerate(CASES)]
by_case = pytest.mark.parametrize("name", SOME)


def error_of(call):
    """The class of the error of a call, and its text; None if there is none."""
    try:
        call()
    except Exception as error:
        return type(error), re.sub(r" \(at .*?\)", "", str(error))
    return None


@pytest.mark.sampled(4)
@pytest.mark.parametrize("fallback", [pytest.param("warn", marks=pytest.mark.slow), "error"])
@by_case
@pytest.mark.filterwarnings("ignore:.* runs on the tape")
def test_compiled_functions_raise_what_the_function_raises(name, fallback):
    make, loss, good, bad = CASES[name]
    model = make()

    def function(x, t):
        return loss(model(*x), t)

    def called(f, batch):
        x, t = batch
        f(x if isinstance(x, tuple) else (x,), t)

    wanted = error_of(lambda: called(function, bad))
    compiled = tr.compile(function, fallback=fallback)
    for _ in range(2):
        found = error_of(lambda: called(compiled, bad))
        if wanted is not None:
            assert found == wanted
        elif found is not None:  # nothing is wrong for the function, which just cannot be compiled
            assert fallback == "error"
            assert found[0] is tr.errors.CompileError
        if good is not None:
            for _ in range(3):
                called(compiled, good)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("fallback", [pytest.param("warn", marks=pytest.mark.slow), "error"])
@by_case
@pytest.mark.filterwarnings("ignore:.* runs on the tape")
def test_training_steps_raise_what_the_tape_raises_and_change_nothing(name, fallback):
    make, loss, good, bad = CASES[name]
    errors = []
    for way in ("tape", "program"):
        tr.seed(0)
        model = make()
        optimizer = optim.Adam(model.parameters())
        taped = way == "tape"
        step = TrainStep(Tape(model) if taped else model, optimizer, loss, fallback="warn" if taped else fallback)
        errors.append([])
        for k in range(3):
            before = {n: a.copy() for n, a in model.state_dict().items()}
            errors[-1].append(error_of(functools.partial(step, *bad)))
            if errors[-1][-1] is not None:
                for n, a in model.state_dict().items():
                    np.testing.assert_array_equal(a, before[n])
                assert {s["step"] for s in optimizer.state_dict()["state"].values()} <= {k * (good is not None)}
            if good is not None:
                step(*good)
    assert errors[0] == errors[1]


BOUNDED = {  # what shows to be a probability, and a variance
    "sigmoid": lambda y: nn.functional.binary_cross_entropy(tr.sigmoid(y)[:, 1:], ONES[:, 1:]),
    "softmax": lambda y: nn.functional.binary_cross_entropy(tr.softmax(y, -1).T.reshape(5, 4), ONES),
    "clipped": lambda y: nn.functional.binary_cross_entropy(tr.clip(y, 0.01, 0.99), ONES),
    "shifted": lambda y: nn.functional.binary_cross_entropy(1 - (0.5 * tr.tanh(y) + 0.5), ONES),
    "joined": lambda y: nn.functional.gaussian_nll_loss(y, Y, tr.concat([tr.sigmoid(y)[:2], tr.exp(y[2:]) / 2])),
    "product": lambda y: nn.functional.binary_cross_entropy(tr.sigmoid(y) * tr.sigmoid(-y), ONES),
    "exp": lambda y: nn.functional.gaussian_nll_loss(y, Y, tr.exp(y)),
    "softplus": lambda y: nn.functional.gaussian_nll_loss(y, Y, tr.softplus(y) + 1e-3),
    "square": lambda y: nn.functional.gaussian_nll_loss(y, Y, y * y),
    "power": lambda y: nn.functional.gaussian_nll_loss(y, Y, y**2 / 3),
    "mean of squares": lambda y: nn.functional.gaussian_nll_loss(y, Y, (y**2).mean(0)),
    "least": lambda y: nn.functional.gaussian_nll_loss(y, Y, tr.maximum(y, 1e-3)),
    "number": lambda y: nn.functional.gaussian_nll_loss(y, Y, 0.5),
    "normal": lambda y: -tr.distributions.Normal(y, tr.where(y > 0, tr.exp(y), 2.0)).log_prob(Y).mean(),
    "categories": lambda y: -tr.distributions.Categorical(probs=tr.relu(y) + 1).log_prob(T).mean(),
}  # fmt: skip


@pytest.mark.sampled(5)
@pytest.mark.parametrize("loss", BOUNDED.values(), ids=BOUNDED)
def test_what_operations_tell_need_not_be_looked_at(loss):
    model = nn.Linear(3, 4)
    looked_at = re.compile(r"calls: .*\bbetween\b")
    report = tr.compile(lambda x: loss(model(x)), fallback="error").explain(X)
    assert report.compiled
    assert not looked_at.search(report.why), report.why
    assert looked_at.search(tr.compile(lambda x: odds(model(x), ONES), fallback="error").explain(SMALL).why)


def test_a_parameter_that_leaves_its_bounds_within_a_run_stops_it():
    scale = nn.Parameter(np.full(4, 0.05, np.float32))
    step = TrainStep(lambda x: 0 * x + scale, optim.SGD([scale], lr=0.01), lambda s, t: spread_of(s).sum())
    with pytest.raises(ValueError, match="scale: got numbers that are not positive"):
        step.run(DataLoader((Y, Y), 1), 50)
    np.testing.assert_allclose(scale.data, -0.01, atol=1e-6)  # and not much less


def spread_of(scale):
    return tr.distributions.Normal(0.0, scale[0]).scale


class Tape(nn.Module):
    """A model that counts its calls, which programs do not, so that it trains on the tape."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def forward(self, *xs):
        self.calls += 1
        return self.model(*xs)


# ---- loaders, and what is missing or not finite


def small(fallback="error"):
    tr.seed(0)
    model = nn.Linear(3, 4)
    return model, TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, fallback=fallback)


def test_a_last_batch_that_is_smaller_is_a_batch():
    x, y = floats(7, 3), floats(7, 4)
    losses, weights = [], []
    for way in ("loader", "list", "by hand"):
        model, step = small()
        loader = DataLoader((x, y), batch_size=3)
        if way == "by hand":
            losses.append(np.array([step(*b) for _ in range(4) for b in loader]))
        else:
            losses.append(step.run(loader if way == "loader" else [*loader], 12))
        weights.append(model.weight.data)
    for one, other in zip(losses[1:], weights[1:]):
        np.testing.assert_allclose(one, losses[0], rtol=1e-6)
        np.testing.assert_allclose(other, weights[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("loader", "error", "text"),
    [
        (list, DataError, "no batches"),
        (lambda: iter(()), DataError, "no batches"),
        (lambda: [(X, Y), (X[:0], Y[:0])], ShapeError, "mean: got an empty axis"),
        (lambda: [(X, Y), (X, Y[:3])], ShapeError, "mse_loss: target: got shape"),
        (lambda: [(X, Y), (X, Y, Y)], DataError, "batch: got"),
        (lambda: [(X, Y), X], DataError, "batch: got"),
        (lambda: [(X, Y), ([[1.0, 2.0, 3.0], [1.0]], Y)], DTypeError, "inputs: got nested sequences of unequal"),
        (lambda: X, DataError, "loader: got one array"),
        (lambda: 3, TypeError, "loader: got int"),
    ],
)
def test_bad_loaders(loader, error, text):
    for fallback in ("warn", "error"):
        _, step = small(fallback)
        with pytest.raises(error, match=text):
            step.run(loader(), 6)


@pytest.mark.filterwarnings("ignore:.* runs on the tape")
def test_losses_that_are_not_finite_train_as_on_the_tape():
    x = with_entry(X, np.nan)
    kept = []
    for way in ("tape", "program"):
        tr.seed(0)
        model = nn.Linear(3, 4)
        taped = way == "tape"
        step = TrainStep(Tape(model) if taped else model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
        with np.errstate(all="ignore"):
            kept.append([step(X, Y), step(x, Y), model.weight.data.copy()])
    for one, other in zip(*kept):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert np.isnan(kept[0][1])


@pytest.mark.filterwarnings("ignore:.* runs on the tape")
def test_parameters_without_a_gradient_are_left_alone():
    for native in (False, True):
        tr.seed(0)
        model = Spare()
        step = TrainStep(model if native else Tape(model), optim.Adam(model.parameters()), nn.mse_loss)
        before = model.unused.weight.data.copy()
        for _ in range(3):
            step(X, Y)
        np.testing.assert_array_equal(model.unused.weight.data, before)
        assert model.unused.weight.grad is None


def test_no_parameter_wants_a_gradient():
    model, step = small()
    step(X, Y)
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(tr.errors.GraphError, match="does not depend on any tensor that requires gradients"):
        step(X, Y)


def test_detached_results_require_no_gradients():
    head = nn.Linear(3, 2)
    compiled = tr.compile(lambda x: (head(x).detach(), head(x)), fallback="error")
    for _ in range(3):
        assert [y.requires_grad for y in compiled(X)] == [False, True]
