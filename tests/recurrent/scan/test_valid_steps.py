"""Lengths, masks and resets: against a loop by hand, whatever the padding holds, and what is refused."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.testing import gradcheck
from tinygrad_rnn.testing.module_cells import MGU, LearnedStart, Peephole, TwoInputs

from ..by_hand import scan_by_hand, some_steps
from ..sequences import draw, draw_state, leaves

T, B, I, H = 6, 4, 3, 5
STEPS = some_steps(T, B)
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "mgu": MGU, "peephole": Peephole, "learned-start": LearnedStart}
modes = pytest.mark.parametrize("mode", ["eager", "compiled"])
directions = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
each_steps = pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)


def cell_of(name):
    tr.seed(0)
    return CELLS[name](I, H, dtype="float64")


def everything(run, inputs, *args, **how):
    """Results of a run, and gradients of a loss that reads them all."""
    results = leaves(*run(*args, **how))
    rng = np.random.default_rng(7)
    loss = sum((r * rng.standard_normal(r.shape)).sum() for r in results)
    grads = tr.grad(loss, inputs, allow_unused=True) if loss.requires_grad else [None] * len(inputs)
    return [r.numpy() for r in results] + [np.zeros(x.shape) if g is None else g.numpy() for g, x in zip(grads, inputs)]


def assert_same(got, wanted, tol=1e-12):
    assert len(got) == len(wanted)
    for i, (a, b) in enumerate(zip(got, wanted)):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol, err_msg=f"{i} of {len(got)}")


@pytest.mark.sampled(24)
@modes
@directions
@each_steps
def test_as_by_hand(mode, reverse, steps):
    for name in CELLS:
        cell = cell_of(name)
        x, state, reset_state = draw((T, B, I)), draw_state(cell, B), draw_state(cell, B, seed=2)
        inputs = [x, *leaves(state, reset_state), *cell.parameters()]
        for more in ({"state": state}, {"state": state, "reset_state": reset_state}, {"state": None}):
            how = {**steps, **more, "reverse": reverse}
            got = everything(recurrent.scan, inputs, cell, x, mode=mode, **how)
            assert_same(got, everything(scan_by_hand, inputs, cell, x, **how))


@directions
@each_steps
def test_nests_of_inputs(reverse, steps):
    """Only eagerly: one of the inputs is more than a row."""
    cell = TwoInputs(I, H, dtype="float64")
    xs = draw({"a": (T, B, I), "b": (T, B, 2, H)})
    inputs = [*leaves(xs), *cell.parameters()]
    got = everything(recurrent.scan, inputs, cell, xs, mode="eager", reverse=reverse, **steps)
    assert_same(got, everything(scan_by_hand, inputs, cell, xs, None, reverse=reverse, **steps))


class Root(nn.Cell):
    """Has no finite value, or slope, at an input of zero."""

    def __init__(self):
        self.input_size, self.hidden_size = I, H
        self.weight = nn.Linear(I + H, H, dtype="float64")

    def step(self, x, h):
        x = tr.log(x * x) + x / tr.sqrt((x * x).sum(axis=-1, keepdims=True))
        h = tr.tanh(self.weight(tr.concat([x, h], axis=-1)) + 1 / (h * h).sum(axis=-1, keepdims=True))
        return h, h

    def initial_state(self, batch_size):
        return tr.ones((batch_size, H), "float64")


@pytest.mark.sampled(6)
@modes
@directions
@pytest.mark.parametrize("poison", [np.nan, np.inf, 0.0, 1e300])
def test_padding_has_no_influence(mode, reverse, poison):
    """Inputs, cotangents of outputs, masks and resets where nothing counts may hold anything."""
    lengths, mask = STEPS["all"]["lengths"], STEPS["all"]["mask"]
    counts = (np.arange(T)[:, None] < lengths) & mask
    for cell in (Root(), cell_of("lstm")):
        found = []
        for seed in (0, 1):
            x, state = draw((T, B, I)), draw_state(cell, B)
            rng = np.random.default_rng(seed)
            padding = np.where(rng.random((T, B, 1)) < 0.5, poison, rng.standard_normal((T, B, I)))
            x = tr.tensor(np.where(counts[..., None], x.numpy(), padding), requires_grad=True)
            hole = counts | ((np.arange(T)[:, None] >= lengths) & (rng.random((T, B)) < 0.5))
            resets = STEPS["all"]["resets"] | ((np.arange(T)[:, None] >= lengths) & (rng.random((T, B)) < 0.5))
            ys, final = recurrent.scan(
                cell, x, state, mode=mode, reverse=reverse, lengths=lengths, mask=hole, resets=resets
            )
            weights = np.where(counts[..., None], np.ones((T, B, H)), poison)
            inputs = [x, *leaves(state), *cell.parameters()]
            cotangents = [tr.tensor(weights), *(tr.ones(s.shape, s.dtype) for s in leaves(final))]
            grads = tr.grad([ys, *leaves(final)], inputs, cotangents, allow_unused=True)
            found.append([r.numpy() for r in (ys, *leaves(final), *grads)])
            assert not ys.numpy()[~counts].any()
            assert not grads[0].numpy()[~counts].any()
            assert all(np.isfinite(a).all() for a in found[-1])
        assert_same(found[0], found[1], tol=0)


@modes
@directions
def test_infinite_rows_stay_among_themselves(mode, reverse):
    """What one row makes of NaN, others do not see; the gradients of weights do."""
    cell, x = cell_of("gru"), draw((T, B, I)).numpy()
    x[2, 1] = np.nan
    lengths = [T, T, 3, 0]
    ys, h = recurrent.scan(cell, x, mode=mode, reverse=reverse, lengths=lengths)
    assert np.isnan(h.numpy()).all(axis=1).tolist() == [False, True, False, False]
    assert np.isfinite(ys.numpy()[:, [0, 2, 3]]).all()


@modes
def test_a_state_that_is_reset_at_once_is_not_read(mode):
    cell = cell_of("lstm")
    state = tuple(tr.tensor(np.where(np.arange(B)[:, None] == 1, np.nan, s.numpy())) for s in draw_state(cell, B))
    resets = np.zeros((T, B), bool)
    resets[0, 1] = True
    mask = np.ones((T, B), bool)
    mask[2, 1] = False
    (ys, _) = recurrent.scan(cell, draw((T, B, I)), state, mode=mode, resets=resets, mask=mask)
    grads = tr.grad(ys.sum(), list(cell.parameters()))
    assert np.isfinite(ys.numpy()).all()
    assert all(np.isfinite(g.numpy()).all() for g in grads)


@modes
@directions
def test_finite_differences(mode, reverse):
    cell = cell_of("lstm")
    x, state, reset_state = draw((T, B, I)), draw_state(cell, B), draw_state(cell, B, seed=2)

    def results(*_):
        ys, final = recurrent.scan(
            cell, x, state, mode=mode, reverse=reverse, reset_state=reset_state, **STEPS["lengths and resets"]
        )
        return (ys * ys).sum() + sum((s * s * s).sum() for s in final)

    gradcheck(results, [x, *leaves(state, reset_state), *cell.parameters()], fast=True)


@modes
def test_second_derivatives(mode):
    cell = nn.GRUCell(2, 2, dtype="float64")
    x, h = draw((3, 3, 2)), draw_state(cell, 3)
    steps = {"lengths": [3, 0, 2], "resets": np.eye(3, dtype=bool)}

    def slope(*_):
        ys, final = recurrent.scan(cell, x, h, mode=mode, **steps)
        (g,) = tr.grad((ys * ys).sum() + final.sum(), [x], create_graph=True)
        return (g * g).sum()

    gradcheck(slope, [x, h, *cell.parameters()], fast=True, atol=1e-5)


@modes
def test_all_steps_are_as_none(mode):
    """What says nothing costs nothing, and changes nothing."""
    cell, x = cell_of("lstm"), draw((T, B, I))
    for steps in ({"lengths": [T] * B}, {"mask": np.ones((T, B), bool)}, {"resets": np.zeros((T, B), bool)}):
        plain, given = recurrent.scan(cell, x, mode=mode), recurrent.scan(cell, x, mode=mode, **steps)
        for a, b in zip(leaves(*plain), leaves(*given)):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@modes
def test_what_is_given_may_be_changed_afterwards(mode):
    cell, x = cell_of("gru"), draw((T, B, I))
    lengths, mask, resets = (np.array(STEPS["all"][k]) for k in ("lengths", "mask", "resets"))
    (wanted,) = tr.grad(recurrent.scan(cell, x, mode=mode, **STEPS["all"])[0].sum(), [x])
    ys, _ = recurrent.scan(cell, x, mode=mode, lengths=lengths, mask=mask, resets=resets)
    lengths[:], mask[:], resets[:] = 1, True, False
    (got,) = tr.grad(ys.sum(), [x])
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_tensors_and_lists_are_taken_too():
    cell, x = cell_of("gru"), draw((T, B, I))
    want, _ = recurrent.scan(cell, x, mode="eager", **STEPS["all"])
    steps = {k: tr.tensor(v) for k, v in STEPS["all"].items()}
    assert_same([recurrent.scan(cell, x, mode="eager", **steps)[0].numpy()], [want.numpy()])
    steps = {k: v.tolist() for k, v in STEPS["all"].items()}
    assert_same([recurrent.scan(cell, x, mode="eager", **steps)[0].numpy()], [want.numpy()])


@modes
def test_bool_and_integer_states(mode):
    """States of other dtypes are carried through as they are."""

    class Counter(nn.Cell):
        def initial_state(self, batch_size):
            return tr.zeros((batch_size,), "int64"), tr.tensor(np.zeros((batch_size, 2), bool))

        def step(self, x, state):
            n, odd = state
            return (n + 1, odd), (n + 1, tr.logical_not(odd))

    (counts, odds), (n, odd) = recurrent.scan(Counter(), np.zeros((5, 3, 0)), mode=mode, lengths=[5, 0, 3])
    assert n.numpy().tolist() == [5, 0, 3]
    assert odd.numpy()[:, 0].tolist() == [True, False, True]
    assert counts.dtype == np.int64
    assert counts.numpy()[:, 2].tolist() == [1, 2, 3, 0, 0]
    assert odds.dtype == bool


# ---- what is refused

M = np.ones((T, B), bool)
REFUSED = {
    "lengths-many": ({"lengths": [1] * 5}, ShapeError, r"lengths: got shape \(5,\), wanted \(4,\), one for each row"),
    "lengths-scalar": ({"lengths": 3}, ShapeError, r"lengths: got shape \(\), wanted \(4,\)"),
    "lengths-long": ({"lengths": [1, 7, 2, 9]}, ValueError, r"lengths: got 9 for row 3, wanted 0 to 6"),
    "lengths-negative": ({"lengths": [1, 6, -2, 0]}, ValueError, r"lengths: got -2 for row 2, wanted 0 to 6"),
    "lengths-float": ({"lengths": [1.0, 2, 3, 4]}, DTypeError, r"lengths: got float32, wanted integers"),
    "lengths-ragged": ({"lengths": [[1], [2, 3], 4, 5]}, DTypeError, r"lengths: got nested sequences of unequal"),
    "lengths-bool": ({"lengths": [True] * 4}, DTypeError, r"lengths: got bool, wanted integers"),
    "mask-shape": ({"mask": M.T}, ShapeError, r"mask: got shape \(4, 6\), wanted \(6, 4\), which is \(T, B\)"),
    "mask-rank": ({"mask": M[..., None]}, ShapeError, r"mask: got shape \(6, 4, 1\), wanted \(6, 4\)"),
    "mask-dtype": ({"mask": M * 1.0}, DTypeError, r"mask: got float64, wanted bool"),
    "resets-shape": ({"resets": M[:5]}, ShapeError, r"resets: got shape \(5, 4\), wanted \(6, 4\)"),
    "resets-dtype": ({"resets": M.astype(int)}, DTypeError, r"resets: got int64, wanted bool"),
    "reset-state": (
        {"resets": M, "reset_state": np.zeros((3, H))},
        ShapeError,
        r"reset_state: got shape \(3, 5\), wanted \(4, 5\)",
    ),
}


@modes
@pytest.mark.parametrize(("steps", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(mode, steps, error, message):
    with pytest.raises(error, match="GRUCell: " + message):
        recurrent.scan(cell_of("gru"), draw((T, B, I)), mode=mode, **steps)


def test_layers_name_themselves():
    x = np.zeros((B, T, I), np.float32)
    with pytest.raises(ShapeError, match=r"LSTM: mask: got shape \(6, 4\), wanted \(4, 6\), which is \(B, T\)"):
        nn.LSTM(I, H, batch_first=True)(x, mask=M)
    with pytest.raises(ValueError, match=r"GRUCell: lengths: got 7 for row 0"):
        nn.Recurrent(nn.GRUCell(I, H), batch_first=True)(x, lengths=[7] * B)


class Changing(nn.Cell):
    """Returns something else at the third step."""

    def __init__(self, change):
        self.change, self.calls, self.hidden_size = change, 0, H

    def step(self, x, h):
        self.calls += 1
        return h, self.change(h) if self.calls == 3 else h


CHANGES = {
    "structure": (lambda h: (h, h), ShapeError, r"next_state at t=2: got \(\*, \*\), wanted \*"),
    "shape": (lambda h: h[:, :2], ShapeError, r"next_state at t=2: got shape \(4, 2\), wanted \(4, 5\)"),
    "dtype": (lambda h: h.astype("float64"), DTypeError, r"next_state at t=2: got float64, wanted float32"),
}


@pytest.mark.parametrize("steps", [{}, STEPS["lengths and resets"]], ids=["all", "some"])
@pytest.mark.parametrize(("change", "error", "message"), CHANGES.values(), ids=CHANGES)
def test_a_step_that_changes_its_state(change, error, message, steps):
    with pytest.raises(error, match="Changing.step: " + message):
        recurrent.scan(Changing(change), np.zeros((T, B, I)), mode="eager", **steps)


@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_only_what_rows_begin_anew_with_is_trained(checkpoint_every, rng):
    """All else is frozen, and a state is given."""
    found = []
    x, state = rng.standard_normal((5, 3, 2)), rng.standard_normal((3, 4))
    resets = np.zeros((5, 3), bool)
    resets[2, 1] = resets[4, 0] = True
    for mode in ("auto", "eager"):
        tr.seed(0)
        layer = nn.Recurrent(
            nn.GRUCell(2, 4, dtype="float64"), mode=mode, learn_initial_state=True, checkpoint_every=checkpoint_every
        )
        layer.requires_grad_(False)
        (start,) = [p for name, p in layer.named_parameters() if "initial_state" in name]
        start.requires_grad_()
        ys, _ = layer(x, state, resets=resets)
        (ys * ys).sum().backward()
        found.append(start.grad.numpy())
        assert all(p.grad is None for p in layer.parameters() if p is not start)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)
    assert found[0].any()
