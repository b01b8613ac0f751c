"""Losses: equal to torch.nn.functional, equal to finite differences, and clear about what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.ops import twins

from ..differences import check_gradients

REDUCTIONS = ["mean", "sum", "none"]


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def classes(shape, n, seed=1, ignore=None):
    index = np.random.default_rng(seed).integers(0, n, shape)
    if ignore is not None:
        index.reshape(-1)[::3] = ignore
    return index


def shares(shape, seed=2):
    p = np.exp(draw(shape, seed))
    return p / p.sum(-1, keepdims=True)


W = np.array([0.5, 2.0, 1.0, 0.1])
X, Y = (5, 4), (3, 2, 4)

# one row: our function, the name of torch's, input, target, options
TABLE = {
    "mse": ("mse_loss", draw(X), draw(X, 1), {}),
    "mse-flat": ("mse_loss", draw(3), draw(3, 1), {}),
    "l1": ("l1_loss", draw(Y), draw(Y, 1), {}),
    "huber": ("huber_loss", 3 * draw(X), draw(X, 1), {}),
    "huber-delta": ("huber_loss", 3 * draw(X), draw(X, 1), {"delta": 0.3}),
    "bce": ("binary_cross_entropy_with_logits", 5 * draw(X), shares(X), {}),
    "bce-weights": (
        "binary_cross_entropy_with_logits",
        draw(X),
        (draw(X, 1) > 0).astype(float),
        {"weight": W, "pos_weight": np.array([3.0, 0.2, 1.0, 2.0])},
    ),
    "nll": ("nll_loss", np.log(shares(X)), classes(5, 4), {}),
    "nll-weight-ignore": (
        "nll_loss",
        np.log(shares(X)),
        classes(5, 4, ignore=-100),
        {"weight": W},
    ),
    "ce": ("cross_entropy", draw(X), classes(5, 4), {}),
    "ce-sequence": ("cross_entropy", draw(Y), classes((3, 2), 4), {}),
    "ce-ignore": ("cross_entropy", draw(Y), classes((3, 2), 4, ignore=2), {"ignore_index": 2}),
    "ce-weight": ("cross_entropy", draw(X), classes(5, 4), {"weight": W}),
    "ce-smooth": ("cross_entropy", draw(X), classes(5, 4), {"label_smoothing": 0.2}),
    "ce-everything": (
        "cross_entropy",
        draw(Y),
        classes((3, 2), 4, ignore=-1),
        {"label_smoothing": 0.3, "weight": W, "ignore_index": -1},
    ),
    "ce-shares": ("cross_entropy", draw(X), shares(X), {}),
    "ce-shares-everything": ("cross_entropy", draw(Y), shares(Y), {"label_smoothing": 0.1, "weight": W}),
    "ce-large-logits": ("cross_entropy", 1000 * draw(X), classes(5, 4), {}),
    "ce-vector": ("cross_entropy", draw(4), classes((), 4), {}),
}
every_loss = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


@pytest.fixture(params=["NumPy", "jitted"])
def either_twin(request, monkeypatch):
    """However little there is to do."""
    for name in ("FEW", "MANY"):
        monkeypatch.setattr(twins, name, 0 if request.param == "jitted" else 10**9)


@every_loss
@every_reduction
@pytest.mark.usefixtures("either_twin")
def test_losses_equal_torch(row, reduction):
    torch = pytest.importorskip("torch")
    name, x, target, options = row
    many = name in ("cross_entropy", "nll_loss") and x.ndim > 2  # torch has the classes on axis 1
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    t = torch.tensor(target)
    if many:
        logits = torch.movedim(b, -1, 1)
        t = torch.movedim(t, -1, 1) if target.dtype.kind == "f" else t
    else:
        logits = b
    more = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    loss = getattr(F, name)(a, target, reduction=reduction, **options)
    expected = getattr(torch.nn.functional, name)(logits, t, reduction=reduction, **more)
    assert loss.shape == tuple(expected.shape)
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", [row for k, row in TABLE.items() if k != "ce-large-logits"])  # no digits left
@every_reduction
@pytest.mark.usefixtures("either_twin")
def test_gradients_equal_finite_differences(row, reduction):
    name, x, target, options = row
    a = tr.tensor(x, requires_grad=True)
    wanted = [a]
    if target.dtype.kind == "f":
        target = tr.tensor(target, requires_grad=True)
        wanted.append(target)
    check_gradients(lambda: [getattr(F, name)(a, target, reduction=reduction, **options)], wanted)


@pytest.mark.parametrize("name", ["mse", "huber", "bce", "bce-weights", "nll", "ce-everything", "ce-shares"])
@pytest.mark.usefixtures("either_twin")
def test_losses_differentiate_twice(name):
    function, x, target, options = TABLE[name]
    a = tr.tensor(x, requires_grad=True)

    def first():
        return tr.grad(getattr(F, function)(a * a, target, **options), a, create_graph=True)

    check_gradients(first, [a])


@every_loss
@pytest.mark.usefixtures("either_twin")
def test_float32_stays_float32(row):
    name, x, target, options = row
    wide = getattr(F, name)(tr.tensor(x), target, **options)
    narrow = getattr(F, name)(tr.tensor(x, dtype="float32"), target, **options)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow.numpy(), wide.numpy(), rtol=1e-5, atol=1e-6)


MODULES = {
    "mse": (nn.MSELoss, {}),
    "l1": (nn.L1Loss, {}),
    "huber-delta": (nn.HuberLoss, {"delta": 0.3}),
    "bce-weights": (nn.BCEWithLogitsLoss, TABLE["bce-weights"][3]),
    "nll-weight-ignore": (nn.NLLLoss, {"weight": W}),
    "ce-everything": (nn.CrossEntropyLoss, TABLE["ce-everything"][3]),
}


@pytest.mark.parametrize("name", MODULES)
@every_reduction
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_modules_call_the_functions(name, reduction, dtype):
    function, x, target, options = TABLE[name]
    kind, settings = MODULES[name]
    module = kind(reduction=reduction, **settings)
    a = tr.tensor(x, dtype=dtype)
    expected = getattr(F, function)(a, target, reduction=reduction, **options)
    np.testing.assert_array_equal(module(a, target).numpy(), expected.numpy())
    assert f"reduction={reduction!r}" in repr(module)
    assert list(module.parameters()) == []


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_cross_entropy_of_classes_equals_that_of_one_hot_shares(n, c, seed):
    logits, index = draw((n, c), seed), classes(n, c, seed)
    a = F.cross_entropy(tr.tensor(logits), index)
    b = F.cross_entropy(tr.tensor(logits), np.eye(c)[index])
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("either_twin")
def test_extreme_logits_stay_finite():
    x = tr.tensor([[1e4, -1e4]], dtype="float32", requires_grad=True)
    for loss in (
        F.cross_entropy(x, np.array([0])),
        F.binary_cross_entropy_with_logits(x, np.array([[1, 0]])),
    ):
        assert float(loss) == 0.0
    assert float(F.cross_entropy(x, np.array([1]))) == pytest.approx(2e4)


def test_ignored_rows_count_for_nothing():
    x = tr.tensor([[0.0, 1.0], [-np.inf, np.inf]], dtype="float64")
    with np.errstate(invalid="ignore"):
        loss = F.nll_loss(x, np.array([1, -100]), reduction="sum")
    assert float(loss) == -1.0
    logits = tr.tensor(draw((2, 2)), requires_grad=True)
    F.cross_entropy(logits, np.array([0, -100])).backward()
    assert not logits.grad.numpy()[1].any()
    for loss in (F.cross_entropy, F.nll_loss):  # all of them: a loss of zero, without a gradient
        nothing = loss(logits, np.array([-100, -100]))
        assert float(nothing) == 0.0
        assert not tr.grad(nothing, logits)[0].numpy().any()
        with pytest.raises(ShapeError, match="mean: got no rows, wanted at least one"):
            loss(tr.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.mse_loss(tr.zeros((3, 1)), np.zeros(3)),
            ShapeError,
            r"mse_loss: target: got shape \(3,\), wanted \(3, 1\) as the input",
        ),
        (
            lambda: F.l1_loss(tr.zeros(3), np.zeros(1)),
            ShapeError,
            r"l1_loss: target: got shape \(1,\), wanted \(3,\)",
        ),
        (
            lambda: F.huber_loss(tr.zeros(3), tr.zeros(3), delta=0),
            ValueError,
            r"delta: got 0, wanted a positive",
        ),
        (lambda: nn.HuberLoss(delta=-1), ValueError, r"delta: got -1, wanted a positive"),
        (
            lambda: F.mse_loss(tr.zeros(3), tr.zeros(3), "max"),
            ValueError,
            r"reduction: got 'max', wanted 'mean'",
        ),
        (lambda: nn.NLLLoss(reduction="max"), ValueError, r"reduction: got 'max', wanted 'mean'"),
        (
            lambda: F.mse_loss(tr.zeros(3), tr.zeros(3, "float64")),
            DTypeError,
            r"squared_error: got float32 and float64 tensors",
        ),
        (
            lambda: F.cross_entropy(tr.zeros((2, 3)), np.array([0, 3])),
            IndexError,
            r"cross_entropy: target: got class 3, wanted 0 to 2, or -100",
        ),
        (
            lambda: F.nll_loss(tr.zeros((2, 3)), np.array([0, -1])),
            IndexError,
            r"nll_loss: target: got class -1, wanted 0 to 2",
        ),
        (
            lambda: F.cross_entropy(tr.zeros((2, 5, 3)), np.zeros((2, 3), int)),
            ShapeError,
            r"cross_entropy: target: got shape \(2, 3\) for logits of shape \(2, 5, 3\), wanted \(2, 5\)",
        ),
        (
            lambda: F.cross_entropy(tr.zeros((2, 3)), np.zeros(2)),
            ShapeError,
            r"cross_entropy: target: got shape \(2,\), wanted \(2, 3\) as the input",
        ),
        (
            lambda: F.nll_loss(tr.zeros((2, 3)), np.zeros(2)),
            DTypeError,
            r"nll_loss: target: got float64, wanted integer class indices",
        ),
        (
            lambda: F.cross_entropy(tr.zeros((2, 3)), np.zeros(2, int), weight=W),
            ShapeError,
            r"weight: got shape \(4,\), wanted \(3,\), one for each class",
        ),
        (
            lambda: F.cross_entropy(tr.zeros((2, 3)), np.zeros(2, int), label_smoothing=2),
            ValueError,
            r"label_smoothing: got 2, wanted a number between 0 and 1",
        ),
        (lambda: F.mse_loss(tr.zeros((0, 2)), np.zeros((0, 2))), ShapeError, r"mean: got an empty axis"),
    ],
)
def test_misfits_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


INF = np.inf


@pytest.mark.parametrize("pos_weight", [None, 1.0])
@pytest.mark.usefixtures("either_twin")
def test_infinite_logits(pos_weight):
    x = tr.tensor(np.array([INF, INF, INF, -INF, -INF, -INF, 2.0]), requires_grad=True)
    t = np.array([0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 0.5])
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none", pos_weight=pos_weight)
    np.testing.assert_allclose(loss.data, [INF, INF, 0.0, 0.0, INF, INF, np.log1p(np.exp(-2.0)) + 1.0])
    loss.backward(np.ones(7))
    np.testing.assert_allclose(x.grad.data[:6], [1.0, 0.5, 0.0, 0.0, -0.5, -1.0])


ROWS = tr.zeros((2, 3))
INDEX = np.zeros(2, int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.huber_loss(ROWS, ROWS, delta=None), TypeError, "delta: got None, wanted a number"),
        (lambda: F.cross_entropy(ROWS, INDEX, label_smoothing="0"), TypeError, "label_smoothing: got '0', wanted a"),
        (lambda: F.cross_entropy(tr.tensor(2.0), 1.0), ShapeError, r"input: got shape \(\), wanted \(..., C\)"),
        (lambda: F.cross_entropy(ROWS, [[1, 2], [3]]), DTypeError, "cross_entropy: target: got nested sequences"),
        (lambda: F.nll_loss(ROWS, [[1, 2], [3]]), DTypeError, "nll_loss: target: got nested sequences"),
        (lambda: F.cross_entropy(ROWS, INDEX, weight="abc"), DTypeError, "weight: got str"),
        (
            lambda: F.binary_cross_entropy_with_logits(ROWS, ROWS, pos_weight=object()),
            DTypeError,
            "pos_weight: got object",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(ROWS, ROWS, weight=np.ones((4, 2, 3))),
            ShapeError,
            r"weight: got shape \(4, 2, 3\), wanted what broadcasts to \(2, 3\)",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(ROWS, ROWS, pos_weight=np.ones(2)),
            ShapeError,
            r"pos_weight: got shape \(2,\), wanted what broadcasts to \(2, 3\)",
        ),
    ],
)
def test_odd_options_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- extreme logits


def by_definition(x, index=None, share=None, weight=None, smoothing=0.0):
    """Losses of rows and their gradients in long double."""
    x = x.astype(np.longdouble)
    z = x - x.max(-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    weight = np.ones(x.shape[-1]) if weight is None else weight
    share = np.eye(x.shape[-1])[index] if share is None else share
    q = (share * (1 - smoothing) + smoothing / x.shape[-1]) * weight
    with np.errstate(invalid="ignore"):
        return -np.where(q == 0, 0, q * logp).sum(-1), np.exp(logp) * q.sum(-1, keepdims=True) - q


LARGEST = {"float32": 3e38, "float64": 1e308}
ROWS_OF_LOGITS = {
    "large": lambda dtype: [1e4, -1e4, 9990.0, 1e4],
    "all large": lambda dtype: [1e4, 1e4, 1e4 + 1, 1e4],
    "low": lambda dtype: [-1e4, -1e4, -1e4 - 2, -1e4],
    "largest": lambda dtype: [LARGEST[dtype], -LARGEST[dtype], 0.0, 1.0],
    "all largest": lambda dtype: [LARGEST[dtype]] * 4,
    "some impossible": lambda dtype: [-np.inf, 0.0, 1.0, -np.inf],
    "subnormal": lambda dtype: [1e-40, -1e-40, 0.0, -0.0],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logits", ROWS_OF_LOGITS)
@pytest.mark.usefixtures("either_twin")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_extreme_logits_of_every_class(logits, dtype):
    """Alone and amid eleven classes more, which makes whole vectors and a rest."""
    for more in (0, 11):
        row = np.array(ROWS_OF_LOGITS[logits](dtype) + [ROWS_OF_LOGITS[logits](dtype)[0]] * more, dtype)
        x = np.tile(row, (len(row), 1))
        index = np.arange(len(row))
        for smoothing in (0.0, 0.1):
            if smoothing and not np.abs(row).max() < 1e30:  # a share of infinity
                continue
            a = tr.tensor(x, requires_grad=True)
            loss = F.cross_entropy(a, index, reduction="none", label_smoothing=smoothing)
            wanted, gradient = by_definition(x, index, smoothing=smoothing)
            with np.errstate(over="ignore"):
                wanted = wanted.astype(dtype)
            np.testing.assert_allclose(loss.numpy(), wanted, rtol=3e-6 if dtype == "float32" else 1e-14)
            loss.backward(np.ones(len(row)))
            np.testing.assert_allclose(
                a.grad.numpy(), gradient.astype(dtype), atol=1e-6 if dtype == "float32" else 1e-15
            )
            share = np.eye(len(row))[index]
            if np.isfinite(wanted).all():  # nothing times infinity has no value
                soft = F.cross_entropy(a, share, reduction="none", label_smoothing=smoothing)
                np.testing.assert_allclose(soft.numpy(), wanted, rtol=3e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf], [np.inf, np.inf], [np.nan, np.inf]])
@pytest.mark.usefixtures("either_twin")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_rows_without_probabilities_are_nan_and_alone(row, dtype):
    for more in (0, 40):
        x = np.zeros((3, 2 + more), dtype)
        x[1] = row + row[1:] * more
        index = np.array([0, 0, 1])
        for target in (index, np.eye(2 + more)[index]):
            a = tr.tensor(x, requires_grad=True)
            loss = F.cross_entropy(a, target, reduction="none")
            assert np.isnan(loss.numpy()).tolist() == [False, True, False]
            loss.backward(np.ones(3))
            assert np.isnan(a.grad.numpy()).all(1).tolist() == [False, True, False]
            assert np.isfinite(a.grad.numpy()[[0, 2]]).all()
        ignored = tr.tensor(x, requires_grad=True)
        F.cross_entropy(ignored, np.array([0, -100, 1])).backward()
        assert np.isfinite(ignored.grad.numpy()).all()
        assert not ignored.grad.numpy()[1].any()


@pytest.mark.usefixtures("either_twin")
def test_one_class_and_no_rows():
    a = tr.tensor(draw((5, 1)), requires_grad=True)
    loss = F.cross_entropy(a, np.zeros(5, int))
    loss.backward()
    assert float(loss) == 0.0
    assert not a.grad.numpy().any()
    for shape in ((0, 3), (2, 0, 3)):
        none = tr.tensor(np.zeros(shape), requires_grad=True)
        for target in (np.zeros(shape[:-1], int), np.zeros(shape)):
            assert float(F.cross_entropy(none, target, reduction="sum")) == 0.0
            loss = F.cross_entropy(none, target, reduction="none")
            assert loss.shape == shape[:-1]
            loss.backward(np.zeros(shape[:-1]))
            assert none.grad.shape == shape
        with pytest.raises(ShapeError, match="mean: got an empty axis"):
            F.cross_entropy(none, np.zeros(shape))


@pytest.mark.parametrize("many", [7, 300])
@pytest.mark.usefixtures("either_twin")
def test_logits_need_not_be_contiguous_nor_kept(many):
    x = draw((many, 5, 4))
    index, share = classes((5, 4), many), np.moveaxis(shares((5, 4, many)), -1, 0)
    for target, of in ((index, index), (np.moveaxis(share, 0, -1), np.moveaxis(share, 0, -1).copy())):
        found = []
        for a in (tr.tensor(np.moveaxis(x, 0, -1).copy(), requires_grad=True), tr.tensor(x, requires_grad=True)):
            logits = a if a.shape[-1] == many else tr.moveaxis(a, 0, -1)
            loss = F.cross_entropy(logits, of if a is logits else target, reduction="sum")
            loss.backward(retain_graph=True)
            loss.backward()
            found.append(a.grad.numpy() if a is logits else np.moveaxis(a.grad.numpy(), 0, -1))
        np.testing.assert_allclose(*found, rtol=1e-12)
    held = np.broadcast_to(draw(many), (6, many))  # of no memory of its own, and read only
    a = F.cross_entropy(held, classes(6, many))
    np.testing.assert_allclose(a.numpy(), F.cross_entropy(held.copy(), classes(6, many)).numpy(), rtol=1e-14)


def test_a_later_write_to_the_targets_changes_no_gradient():
    x, index = draw((5, 4)), classes(5, 4)
    share, target = shares((5, 4)), index.copy()
    for held, wanted in ((target, index), (share, share.copy())):
        a, b = (tr.tensor(x, requires_grad=True) for _ in range(2))
        loss = F.cross_entropy(a, held)
        held[...] = 0
        loss.backward()
        F.cross_entropy(b, wanted).backward()
        np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_logits_of_integers_are_floats():
    loss = F.cross_entropy(np.array([[1, 2, 3]]), np.array([[0.5, 0.25, 0.25]]), weight=[0.5, 1.0, 2.0])
    logits = tr.tensor([[1.0, 2.0, 3.0]])
    assert loss.item() == F.cross_entropy(logits, np.array([[0.5, 0.25, 0.25]]), weight=[0.5, 1.0, 2.0]).item()
