"""The CTC loss against enumeration of all alignments, finite differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.testing import gradcheck, gradgradcheck

from ..alignments import labellings, losses_by_enumeration


def logits(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def sequences(time, batch, classes, most, seed=0, blank=0, fit=True):
    """Padded targets and both lengths; repeated labels are common."""
    rng = np.random.default_rng(seed)
    labels = np.delete(np.arange(classes), blank)
    targets = rng.choice(labels, (batch, most))
    counts, steps = rng.integers(0, most + 1, batch), rng.integers(0, time + 1, batch)
    if fit:
        steps[:] = rng.integers(min(2 * most, time), time + 1, batch)
    return targets, steps, counts


@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(2, 4), st.integers(0, 4)),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_the_loss_is_the_sum_over_all_alignments(sizes, seed, data):
    time, batch, classes, _ = sizes
    blank = data.draw(st.integers(0, classes - 1))
    x = log_softmax(logits(time, batch, classes, seed=seed))
    targets, steps, counts = sequences(*sizes, seed, blank, fit=False)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    labels = np.concatenate([row[:n] for row, n in zip(targets, counts)])
    expected = losses_by_enumeration(x, labels, offsets, steps, blank)
    padded = F.ctc_loss(x, targets, steps, counts, blank=blank, reduction="none").numpy()
    np.testing.assert_allclose(padded, expected, rtol=1e-12, atol=1e-12)
    in_a_row = F.ctc_loss(x, labels, steps, counts, blank=blank, reduction="none").numpy()
    np.testing.assert_array_equal(padded, in_a_row)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(12, 3, 5, 4), (30, 4, 8, 9), (1, 2, 3, 1), (6, 5, 3, 5)])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_equal_to_torch(reduction, dtype, sizes, zero_infinity):
    torch = pytest.importorskip("torch")
    targets, steps, counts = sequences(*sizes, seed=1, blank=1, fit=False)
    steps = np.maximum(steps, 1)
    x = logits(*sizes[:3], dtype=dtype)
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    options = {"blank": 1, "reduction": reduction, "zero_infinity": zero_infinity}
    loss = F.ctc_loss(tr.log_softmax(a, -1), targets, steps, counts, **options)
    expected = torch.nn.functional.ctc_loss(b.log_softmax(-1), *map(torch.tensor, (targets, steps, counts)), **options)
    assert loss.dtype == dtype
    assert loss.shape == tuple(expected.shape)
    tolerance = 1e-6 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    if not np.isfinite(loss.numpy()).all():
        return
    loss.sum().backward()
    if dtype == "float32":  # torch's own rounding grows with time: its gradients in float64
        b = torch.tensor(x.astype(float), requires_grad=True)
        more = map(torch.tensor, (targets, steps, counts))
        expected = torch.nn.functional.ctc_loss(b.log_softmax(-1), *more, **options)
    expected.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_torch_adds_what_a_log_softmax_takes_away_again():
    torch = pytest.importorskip("torch")
    x, (targets, steps, counts) = log_softmax(logits(8, 2, 4)), sequences(8, 2, 4, 3)
    steps[:] = 8
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.ctc_loss(a, targets, steps, counts, reduction="sum").backward()
    torch.nn.functional.ctc_loss(b, *map(torch.tensor, (targets, steps, counts)), reduction="sum").backward()
    np.testing.assert_allclose(a.grad.numpy() + np.exp(x), b.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a.grad.numpy().sum(-1), -1.0, rtol=1e-12)  # shares of one emission at each step


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_gradients_equal_finite_differences(reduction):
    targets, steps, counts = sequences(5, 3, 4, 2)
    x = tr.tensor(logits(5, 3, 4), requires_grad=True)  # need not be normalised

    def loss(x):
        return F.ctc_loss(x, targets, steps, counts, reduction=reduction)

    assert gradcheck(loss, x, atol=1e-8, rtol=1e-6)
    assert gradgradcheck(loss, x)


def test_float32_keeps_its_digits_over_long_sequences():
    targets, steps, counts = sequences(600, 2, 20, 100)
    grads = []
    for dtype in (np.float32, np.float64):
        x = tr.tensor(log_softmax(logits(600, 2, 20)).astype(np.float32).astype(dtype), requires_grad=True)
        F.ctc_loss(x, targets, steps, counts, reduction="sum").backward()
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-6, atol=1e-7)


def test_without_a_batch():
    x = log_softmax(logits(6, 3))
    target = np.array([2, 2])
    expected = -labellings(x, 0)[0][2, 2]
    for lengths in [(6, 2), ([6], [2]), (np.array(6), tr.tensor(2))]:
        assert F.ctc_loss(x, target, *lengths, reduction="none").shape == ()
        assert float(F.ctc_loss(x, target, *lengths, reduction="none")) == pytest.approx(expected, rel=1e-12)
        assert float(F.ctc_loss(x, target, *lengths)) == pytest.approx(expected / 2, rel=1e-12)


def test_nothing_to_read():
    x = log_softmax(logits(4, 2, 3))
    loss = F.ctc_loss(x, np.zeros((2, 0), int), [4, 0], [0, 0], reduction="none")
    np.testing.assert_allclose(loss.numpy(), [-x[:, 0, 0].sum(), 0.0])
    assert float(F.ctc_loss(x, [], [4, 4], [0, 0])) == pytest.approx(-x[:, :, 0].sum() / 2)  # divided by one, not zero


def test_what_does_not_fit_is_impossible():
    x = tr.tensor(logits(3, 3, 3), requires_grad=True)
    arguments = np.array([[1, 1], [1, 2], [1, 2]]), [2, 3, 1], [2, 2, 2]
    loss = F.ctc_loss(tr.log_softmax(x, -1), *arguments, reduction="none")
    assert np.isinf(loss.numpy()).tolist() == [True, False, True]
    loss.sum().backward()
    assert np.isnan(x.grad.numpy()).any(axis=(0, 2)).tolist() == [True, False, True]
    expected = x.grad.numpy()[:, 1].copy()
    x.grad = None
    loss = F.ctc_loss(tr.log_softmax(x, -1), *arguments, reduction="none", zero_infinity=True)
    assert (loss.numpy() == 0).tolist() == [True, False, True]
    loss.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[:, 1], expected)
    assert not x.grad.numpy()[:, [0, 2]].any()
    again = tr.grad(
        F.ctc_loss(tr.log_softmax(x, -1), *arguments, reduction="sum", zero_infinity=True), x, create_graph=True
    )
    np.testing.assert_allclose(again[0].numpy(), x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_classes_that_cannot_be_are_no_obstacle():
    x = np.log(
        [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], where=np.array([[1, 1, 0], [0, 1, 0]], bool), out=np.full((2, 3), -np.inf)
    )
    a = tr.tensor(x, requires_grad=True)
    loss = F.ctc_loss(a, [1], 2, 1)
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    loss.backward()
    np.testing.assert_allclose(a.grad.numpy(), [[-0.5, -0.5, 0], [0, -1, 0]], atol=1e-12)
    assert float(F.ctc_loss(x, [2], 2, 1)) == np.inf


def test_nothing_is_read_behind_the_lengths():
    targets, steps, counts = sequences(9, 4, 4, 3)
    clean = log_softmax(logits(9, 4, 4))
    results = []
    for fill in (0.0, np.nan):
        x = clean.copy()
        padded = targets.copy() if fill == 0 else np.where(np.arange(3) < counts[:, None], targets, -7)
        for b, n in enumerate(steps):
            x[n:, b] = fill
        a = tr.tensor(x, requires_grad=True)
        loss = F.ctc_loss(a, padded, steps, counts)
        loss.backward()
        results.append((float(loss), a.grad.numpy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert all(not results[0][1][n:, b].any() for b, n in enumerate(steps))


@pytest.mark.parametrize("create_graph", [False, True])
def test_nan_flows_where_it_counts(create_graph):
    x = log_softmax(logits(4, 3, 4))
    x[2, 0, 1] = np.nan  # a label of the row
    x[2, 1, 3] = np.nan  # not one
    a = tr.tensor(x, requires_grad=True)
    loss = F.ctc_loss(a, [[1, 2]] * 3, [4] * 3, [2] * 3, reduction="none")
    assert np.isnan(loss.numpy()).tolist() == [True, False, False]
    (g,) = tr.grad(loss.sum(), a, create_graph=create_graph)
    assert np.isnan(g.numpy()[:, 0, :3]).any(axis=1).all()
    assert np.isfinite(g.numpy()[:, 1:]).all()


def test_rows_are_independent():
    targets, steps, counts = sequences(10, 6, 5, 4)
    x, order = log_softmax(logits(10, 6, 5)), np.array([3, 0, 5, 1, 2, 4])
    whole = F.ctc_loss(x, targets, steps, counts, reduction="none").numpy()
    mixed = F.ctc_loss(x[:, order], targets[order], steps[order], counts[order], reduction="none").numpy()
    np.testing.assert_array_equal(mixed, whole[order])


def test_the_module_calls_the_function():
    targets, steps, counts = sequences(8, 2, 4, 3, blank=2)
    x = log_softmax(logits(8, 2, 4))
    module = nn.CTCLoss(blank=2, reduction="sum", zero_infinity=True)
    expected = F.ctc_loss(x, targets, steps, counts, 2, "sum", True)
    np.testing.assert_array_equal(module(x, targets, steps, counts).numpy(), expected.numpy())
    assert repr(module) == "CTCLoss(blank=2, reduction='sum', zero_infinity=True)"
    assert nn.ctc_loss is F.ctc_loss


def test_a_network_learns_to_read():
    rng = np.random.default_rng(0)
    cell, head = nn.LSTM(3, 12), nn.Linear(12, 4)
    optimizer = tr.optim.Adam([*cell.parameters(), *head.parameters()], lr=0.02)
    targets = rng.integers(1, 4, (16, 3))
    x = np.zeros((12, 16, 3), np.float32)
    for b, row in enumerate(targets):
        for i, label in enumerate(row):
            x[4 * i + rng.integers(0, 2) : 4 * i + 3, b, label - 1] = 1.0  # held for a while
    for _ in range(150):
        loss = F.ctc_loss(tr.log_softmax(head(cell(x)[0]), -1), targets, [12] * 16, [3] * 16)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.1
    read = nn.ctc_beam_search(tr.log_softmax(head(cell(x)[0]), -1), beam_width=4)
    assert [best.labels for (best,) in read] == [tuple(row) for row in targets.tolist()]


X = np.zeros((4, 2, 3))
GOOD = (X, np.array([[1, 2], [2, 0]]), [4, 4], [2, 1])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({0: np.zeros(3)}, ShapeError, r"log_probs: got shape \(3,\), wanted \(T, B, C\) or \(T, C\)"),
        ({0: np.zeros((4, 0, 3))}, ShapeError, r"log_probs: got shape \(4, 0, 3\), an empty batch"),
        ({0: np.zeros((4, 3))}, ShapeError, r"targets: got shape \(2, 2\), wanted \(S,\)"),
        ({1: np.array([[1, 2]])}, ShapeError, r"targets: got shape \(1, 2\), wanted \(2, S\), or all labels in a row"),
        ({1: np.array([1, 2])}, ShapeError, r"targets: got 2 labels, wanted 3, the sum of target_lengths"),
        ({1: np.ones((2, 2))}, DTypeError, r"targets: got float64, wanted integers"),
        ({1: np.array([[1, 3], [2, 0]])}, IndexError, r"targets: got class 3 in row 0, wanted 0 to 2"),
        ({1: np.array([[1, 2], [-1, 0]])}, IndexError, r"targets: got class -1 in row 1"),
        ({1: np.array([[1, 2], [0, 0]])}, IndexError, r"targets: got the blank in row 1"),
        ({2: [4, 5]}, ValueError, r"input_lengths: got 5 for row 1, wanted 0 to 4"),
        ({2: [-1, 4]}, ValueError, r"input_lengths: got -1 for row 0"),
        ({2: [4.0, 4.0]}, DTypeError, r"input_lengths: got float64, wanted integers"),
        ({2: [True, True]}, DTypeError, r"input_lengths: got bool, wanted integers"),
        ({2: [4]}, ShapeError, r"input_lengths: got shape \(1,\), wanted \(2,\), one for each row"),
        ({3: [3, 1]}, ValueError, r"target_lengths: got 3 for row 0, wanted 0 to 2"),
        ({3: 2}, ShapeError, r"target_lengths: got shape \(\), wanted \(2,\)"),
        ({4: 3}, IndexError, r"blank: got 3, wanted a class from 0 to 2"),
        ({4: -1}, IndexError, r"blank: got -1"),
        ({5: "max"}, ValueError, r"reduction: got 'max'"),
    ],
)
def test_misfits_are_explained(changes, error, message):
    arguments = dict(enumerate((*GOOD, 0, "mean"))) | changes
    with pytest.raises(error, match=message):
        F.ctc_loss(*arguments.values())


def test_targets_as_lists_of_unequal_lengths():
    log_probs = tr.log_softmax(tr.tensor(np.random.default_rng(0).normal(size=(6, 3, 4))), -1)
    padded, counts = np.array([[1, 2, 3], [2, 0, 0], [0, 0, 0]]), [3, 1, 0]
    wanted = nn.functional.ctc_loss(log_probs, padded, [6] * 3, counts, reduction="none").numpy()
    for targets in ([[1, 2, 3], [2], []], ([1, 2, 3], (2, 1), [0]), [np.array([1, 2, 3]), tr.tensor([2]), []]):
        found = nn.functional.ctc_loss(log_probs, targets, [6] * 3, counts, reduction="none").numpy()
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ShapeError, match="targets: got 1 labels in row 1, wanted 2 as target_lengths says"):
        nn.functional.ctc_loss(log_probs, [[1, 2, 3], [2], []], [6] * 3, [3, 2, 0])
    with pytest.raises(ShapeError, match=r"targets: got one number, wanted \(B, S\)"):
        nn.functional.ctc_loss(log_probs, 1, [6] * 3, counts)
    with pytest.raises(ShapeError, match="input_lengths: got rows of unequal lengths"):
        nn.functional.ctc_loss(log_probs, padded, [[6], [6, 5]], counts)
