"""The driver: what it accepts, and how it says that something does not fit."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import DTypeError, ShapeError

from ..sequences import scan


class Step(nn.Cell):
    """A cell made of a function."""

    def __init__(self, step, hidden_size=2, input_size=None, initial_state=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self._step, self._initial = step, initial_state
        self.calls = 0

    def initial_state(self, batch_size):
        return super().initial_state(batch_size) if self._initial is None else self._initial(batch_size)

    def step(self, x, state):
        self.calls += 1
        return self._step(x, state)


X = np.ones((3, 2, 4), np.float32)


def test_modes():
    for mode in ("auto", "eager"):
        ys, _ = recurrent.scan(nn.GRUCell(4, 2), X, mode=mode)
        assert ys.shape == (3, 2, 2)
    with pytest.raises(ValueError, match=r"mode: got 'jit', wanted 'auto', 'compiled' or 'eager'"):
        recurrent.scan(nn.GRUCell(4, 2), X, mode="jit")


def test_integer_sequences_stay_integers():
    table = nn.Embedding(5, 3)

    def step(ids, h):
        assert ids.dtype == np.int64
        return table(ids), h

    ys, _ = scan(Step(step), np.array([[0, 4], [1, 1], [2, 0]]))
    np.testing.assert_array_equal(ys.numpy(), table.weight.numpy()[[[0, 4], [1, 1], [2, 0]]])


def test_a_sequence_without_features_serves_a_cell_without_input():
    ys, h = scan(Step(lambda x, h: (h, h + 1)), np.zeros((4, 3, 0)))
    assert ys.numpy()[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert h.numpy()[0, 0] == 4


def test_a_cell_may_put_out_nothing():
    ys, h = scan(Step(lambda x, h: (None, h + 1)), X)
    assert ys is None
    assert h.numpy()[0, 0] == 3


def test_nothing_is_recorded_without_gradients():
    cell = nn.LSTMCell(4, 2)
    with tr.no_grad():
        ys, (h, _) = scan(cell, X)
    assert not ys.requires_grad
    assert not h.requires_grad


@pytest.mark.slow
def test_long_sequences_do_not_reach_the_recursion_limit():
    cell = nn.GRUCell(1, 1)
    x = tr.tensor(np.zeros((3000, 1, 1)), dtype="float32", requires_grad=True)
    ys, _ = scan(cell, x)
    ys[-1].sum().backward()
    assert x.grad.shape == x.shape


BAD_INPUTS = {
    "rank": (np.ones((3, 4)), r"xs: got shape \(3, 4\), wanted \(T, B, 4\)"),
    "too-deep": (np.ones((3, 2, 4, 1)), r"xs: got shape \(3, 2, 4, 1\), wanted \(T, B, 4\)"),
    "features": (np.ones((3, 2, 5)), r"xs: got 5 features in shape \(3, 2, 5\), wanted 4"),
    "steps": (np.ones((0, 2, 4)), r"xs: got shape \(0, 2, 4\), an empty sequence"),
    "batch": (np.ones((3, 0, 4)), r"xs: got shape \(3, 0, 4\), an empty batch"),
    "none": (None, r"xs: got no sequence, wanted at least one"),
    "pair": (
        (np.ones((3, 2, 4)), np.ones((3, 1, 4))),
        r"xs: got sequences of shapes \(3, 2, 4\) and \(3, 1, 4\)",
    ),
    "flat": ((np.ones((3, 2, 4)), np.ones(3)), r"xs: got shape \(3,\)"),
}


@pytest.mark.parametrize(("xs", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_inputs_are_checked_before_any_step(xs, message):
    cell = Step(lambda x, h: (h, h), input_size=4)
    with pytest.raises(ShapeError, match="Step: " + message):
        scan(cell, xs)
    assert cell.calls == 0


def test_input_dtypes_are_checked():
    with pytest.raises(DTypeError, match=r"GRUCell: xs: got a float64 tensor, wanted float32"):
        scan(nn.GRUCell(4, 2), tr.zeros((3, 2, 4), "float64"))
    with pytest.raises(DTypeError, match=r"wanted numbers"):
        scan(nn.GRUCell(4, 2), np.array([[["a"]]]))


BAD_STATES = {
    "structure": (np.ones((2, 2)), ShapeError, r"state: got one tensor, wanted a pair of tensors, \(\*, \*\)"),
    "three": ([np.ones((2, 2))] * 3, ShapeError, r"state: got \[\*, \*, \*\], wanted a pair of tensors, \(\*, \*\)"),
    "batch": ((np.ones((3, 2)), np.ones((2, 2))), ShapeError, r"state: got shape \(3, 2\), wanted \(2, 2\)"),
    "rank": ((np.ones((2, 2)), np.ones(2)), ShapeError, r"state: got shape \(2,\), wanted \(2, 2\)"),
    "dtype": (
        (np.ones((2, 2)), tr.ones((2, 2), "float64")),
        DTypeError,
        r"state: got a float64 tensor, wanted float32",
    ),
}


@pytest.mark.parametrize(("state", "error", "message"), BAD_STATES.values(), ids=BAD_STATES)
def test_states_are_checked_before_any_step(state, error, message):
    cell = nn.LSTMCell(4, 2)
    cell.step = lambda x, s: pytest.fail("a step ran")
    with pytest.raises(error, match="LSTMCell: " + message):
        scan(cell, X, state)


def test_states_may_be_lists_and_numbers():
    cell = nn.LSTMCell(4, 2)
    _, wanted = scan(cell, X, (np.full((2, 2), 0.5), np.ones((2, 2))))
    for state in ([np.full((2, 2), 0.5), np.ones((2, 2), int)], ([[0.5, 0.5]] * 2, np.ones((2, 2), np.float16))):
        _, found = scan(cell, X, state)
        for a, b in zip(found, wanted):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (lambda b: tr.zeros((b + 1, 2)), r"got a tensor of shape \(3, 2\), wanted tensors \(2, \.\.\.\)"),
        (lambda b: (tr.zeros((b, 2)), 0.0), r"got float, wanted tensors"),
        (lambda b: tr.zeros(()), r"got a tensor of shape \(\), wanted"),
    ],
)
def test_initial_states_are_checked(initial, message):
    with pytest.raises(ShapeError, match=r"Step\.initial_state\(2\): " + message):
        scan(Step(lambda x, h: (h, h), initial_state=initial), X)


def late(first, second):
    """A step that returns `first`, but `second` from the second step on."""
    count = iter(range(1000))
    return lambda x, h: (first if next(count) == 0 else second)(h)


BAD_STEPS = {
    "no pair": (lambda x, h: h, ShapeError, r"step: returned a tensor of shape \(2, 2\), wanted the pair"),
    "triple": (lambda x, h: (h, h, h), ShapeError, r"step: returned a tuple of 3, wanted the pair"),
    "state structure": (
        late(lambda h: (h, h), lambda h: (h, (h, h))),
        ShapeError,
        r"step: next_state at t=1: got \(\*, \*\), wanted \*",
    ),
    "state shape": (
        lambda x, h: (h, h[:, :1]),
        ShapeError,
        r"step: next_state at t=0: got shape \(2, 1\), wanted \(2, 2\) as before",
    ),
    "state dtype": (
        lambda x, h: (h, h.astype("float64")),
        DTypeError,
        r"step: next_state at t=0: got float64, wanted float32 as before",
    ),
    "state array": (
        lambda x, h: (h, h.numpy()),
        DTypeError,
        r"step: next_state at t=0: got ndarray, wanted a tensor",
    ),
    "output structure": (
        late(lambda h: (h, h), lambda h: ({"a": h}, h)),
        ShapeError,
        r"step: output at t=1: got \{a: \*\}, wanted \*",
    ),
    "output shape": (
        late(lambda h: (h, h), lambda h: (h[:, :1], h)),
        ShapeError,
        r"step: output at t=1: got shape \(2, 1\), wanted \(2, 2\)",
    ),
    "output dtype": (
        late(lambda h: (h, h), lambda h: (h.astype("float64"), h)),
        DTypeError,
        r"step: output at t=1: got float64, wanted float32",
    ),
    "output number": (
        lambda x, h: (1.0, h),
        ShapeError,
        r"step: output at t=0: got float, wanted tensors \(2, ",
    ),
    "output rows": (
        lambda x, h: (h.sum(), h),
        ShapeError,
        r"step: output at t=0: got a tensor of shape \(\)",
    ),
}


@pytest.mark.parametrize(("step", "error", "message"), BAD_STEPS.values(), ids=BAD_STEPS)
def test_what_a_step_returns_is_checked(step, error, message):
    with pytest.raises(error, match=r"Step\." + message):
        scan(Step(step), X)


# ---- nests

Pair = namedtuple("Pair", "h c")

nests = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=10,
)


@given(nests)
def test_unflatten_inverts_flatten(value):
    flat, structure = tree.flatten(value)
    again = tree.unflatten(structure, flat)
    assert again == value
    assert tree.flatten(again)[1] == structure
    assert tree.map(lambda x: x, value) == value
    assert tree.describe(structure).count("*") == len(flat)


@given(nests, nests)
def test_nests_fit_only_if_their_structures_are_equal(a, b):
    fits = tree.flatten(a)[1] == tree.flatten(b)[1]
    if fits:
        assert tree.flatten(tree.map(lambda x, y: (x, y), a, b)) is not None
    else:
        with pytest.raises(ValueError, match="nest: got"):
            tree.map(lambda x, y: x, a, b)


def test_dicts_fit_in_any_order():
    assert tree.map(lambda x, y: x - y, {"a": 3, "b": 5}, {"b": 1, "a": 1}) == {"a": 2, "b": 4}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "*"),
        ((1, 2), "(*, *)"),
        ((1,), "(*,)"),
        ([1, None], "[*, None]"),
        ({"h": 1, "c": (2,)}, "{c: (*,), h: *}"),
        (Pair(1, 2), "Pair(*, *)"),
        ((), "()"),
    ],
)
def test_structures_are_described(value, text):
    assert tree.describe(tree.flatten(value)[1]) == text
