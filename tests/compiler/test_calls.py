"""What a call of a loop takes and hands out, whether it is small or large."""

import weakref

import numpy as np
import pytest

from tinygrad_rnn.compiler.runtime import bind_forward, buffer_pool
from tinygrad_rnn.compiler.runtime.executable import Executable

from .agreement import run
from .corner_cells import BY_NAME

CASE = BY_NAME["peephole_lstm"]
T, B = 5, 3


@pytest.fixture(params=["small", "large"])
def call(request, monkeypatch):
    """An executable, the arguments of its forward call, and gradients of what it returns."""
    found = []
    forward = Executable.forward

    def spy(self, *args):
        found[:] = self, args
        return forward(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Executable, "forward", spy)
        run(CASE.cell(), CASE.sequences(T, B), CASE.states(B), "compiled")
    if request.param == "large":
        monkeypatch.setattr(bind_forward, "SMALL", 0)
        found[0]._bound.clear()
    executable, args = found
    rng = np.random.default_rng(0)
    ys, finals, _ = executable.forward(*args)
    return executable, args, [rng.normal(size=y.shape) for y in ys], [rng.normal(size=s.shape[1:]) for s in finals]


def arrays_of(executable, args, output_grads, state_grads):
    """All that the two calls return."""
    ys, finals, context = executable.forward(*args)
    inputs, states, invariants = executable.backward(context, output_grads, state_grads)
    return [*ys, *finals, *inputs, *states, *invariants.values()]


def test_small_and_large_calls_give_the_same_bits(call, monkeypatch):
    executable, args, output_grads, state_grads = call
    found = []
    for most in (0, bind_forward.SMALL, 10**9):
        monkeypatch.setattr(bind_forward, "SMALL", most)
        executable._bound.clear()
        found.append(arrays_of(executable, args, output_grads, state_grads))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_none_stands_for_zeros(call):
    executable, args, output_grads, state_grads = call
    zeros = [np.zeros_like(g) for g in output_grads], [np.zeros_like(g) for g in state_grads]
    for some, ends, wanted in (
        (output_grads, [None] * 2, (output_grads, zeros[1])),
        ([None], state_grads, (zeros[0], state_grads)),
        ([None], [state_grads[0], None], (zeros[0], [state_grads[0], zeros[1][1]])),
    ):
        for a, b in zip(arrays_of(executable, args, some, ends), arrays_of(executable, args, *wanted), strict=True):
            np.testing.assert_array_equal(a, b)


def test_arrays_that_are_read_only(call):
    executable, args, output_grads, state_grads = call
    wanted = arrays_of(executable, args, output_grads, state_grads)
    inputs, states, bases, *rest = args
    for array in (*inputs, *states, *bases, *output_grads, *state_grads):
        array.flags.writeable = False
    try:
        found = arrays_of(executable, (inputs, states, bases, *rest), output_grads, state_grads)
    finally:
        for array in (*inputs, *states, *bases):
            array.flags.writeable = True
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.flags.writeable


def test_parameters_that_move(call):
    executable, (inputs, states, bases, *rest), output_grads, state_grads = call
    twice, more = [2 * base for base in bases], (output_grads, state_grads)
    found = [
        arrays_of(executable, (inputs, states, b, *rest), output_grads, state_grads) for b in (bases, twice, bases)
    ]
    for a, b in zip(found[0], found[2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(found[0][0], found[1][0])
    executable._bound.clear()
    fresh = arrays_of(executable, (inputs, states, twice, *rest), *more)
    for a, b in zip(found[1], fresh, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_that_were_replaced_are_let_go(call):
    executable, (inputs, states, bases, *sizes), *grads = call
    bases = [b.copy() for b in bases]
    arrays_of(executable, (inputs, states, bases, *sizes), *grads)
    watched = [weakref.ref(b) for b in bases]
    del bases
    assert [w() for w in watched] == [None] * len(watched)


def test_small_results_keep_nothing_else_alive(call):
    executable, args, *_ = call
    if bind_forward.SMALL == 0:
        pytest.skip("results of large loops are views of padded rows")
    ys, finals, _ = executable.forward(*args)
    for array in (*ys, *finals):
        assert array.base is None
        assert array.flags.c_contiguous


def test_shared_zeros_stay_zero(call):
    executable, args, output_grads, _ = call
    arrays_of(executable, args, output_grads, [None, None])
    assert not executable.pool.zeros(buffer_pool.SMALL - 1).any()
