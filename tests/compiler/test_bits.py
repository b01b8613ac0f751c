"""Bits, shifts and powers of integers that both vary in time: what NumPy gives, and at the edges the tape."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import scan

from .agreement import agree

FUNCTIONS = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "left": lambda a, b: a << b,
    "right": lambda a, b: a >> b,
    "power": lambda a, b: a**b,
}


class Each(nn.Cell):
    """Functions of two inputs, in floats of a dtype."""

    def __init__(self, functions, dtype="float64"):
        self.functions, self.kind, self.w = list(functions), dtype, nn.Parameter(np.ones(1, dtype))
        self.mask = tr.tensor([6, -3, 0])

    dtype = property(lambda self: np.dtype(self.kind))

    def initial_state(self, batch_size):
        return None

    def step(self, x, state):
        return tuple(f(*x) for f in self.functions), None


def alike(functions, a, b, dtype="float64"):
    """Both roads give the same numbers of the same dtypes."""
    xs = tuple(tr.tensor(np.asarray(x)[None]) for x in (a, b))
    found, wanted = (scan(Each(functions, dtype), xs, mode=mode)[0] for mode in ("compiled", "eager"))
    for y, z in zip(found, wanted):
        assert y.dtype == z.dtype
        np.testing.assert_array_equal(y.numpy(), z.numpy())


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_all_small_numbers(dtype):
    small = np.arange(-20, 21)
    alike([FUNCTIONS[n] for n in ("and", "or", "xor")], *np.meshgrid(small, small), dtype)
    alike([FUNCTIONS["right"]], *np.meshgrid(small, np.arange(-3, 70)), dtype)
    alike([FUNCTIONS["left"]], *np.meshgrid(small, [*range(15), -1, -2, 64, 65, 1000]), dtype)
    alike([FUNCTIONS["power"]], *np.meshgrid(np.arange(-7, 8), np.arange(9)), dtype)
    alike([FUNCTIONS["power"]], *np.meshgrid([-1, 0, 1], [31, 62, 63, 64, 65, 1000, 1001]), dtype)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_up_to_the_largest_exact_number(dtype):
    most = 2 ** (24 if dtype == "float32" else 53) - 1
    large = [most, -most, most // 3, -most // 5, 0, 1, -1]
    alike([FUNCTIONS["or"]], *np.meshgrid(large, large), dtype)
    alike([FUNCTIONS["and"]], *np.meshgrid(large, large[2:]), dtype)
    alike([FUNCTIONS["xor"]], *np.meshgrid(large[2:], [5, -7, 0]), dtype)
    alike([FUNCTIONS["right"]], *np.meshgrid(large, np.arange(66)), dtype)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["int32", "int8", "uint8", "bool"])
def test_other_integers(kind):
    a, b = np.meshgrid(np.arange(-5, 6), [0, 1, 2, 3])
    a = (abs(a) if kind == "uint8" else a).astype(kind)
    alike(FUNCTIONS.values(), a, b.astype(kind), "float32")
    alike(FUNCTIONS.values(), a, b, "float64")  # of two dtypes


def test_beside_what_does_not_vary():
    cell = Each([])
    a, b = np.meshgrid(np.arange(-9, 9), [0, 1, 2])
    beside = [lambda a, b: a & cell.mask, lambda a, b: cell.mask | a, lambda a, b: a ^ cell.mask]
    beside += [lambda a, b: 3**b, lambda a, b: 5 << b, lambda a, b: -90 >> b, lambda a, b: (a > 0) << b]
    beside += [lambda a, b: a << -1, lambda a, b: a >> 60, lambda a, b: (a > 2) ** b, lambda a, b: abs(a) ** (b > 0)]
    small = np.arange(3)
    beside += [lambda a, b: a >> small, lambda a, b: small << b, lambda a, b: a**small, lambda a, b: small & a]
    cell.functions = beside
    xs = tuple(tr.tensor(x.T.copy()[None]) for x in (a, b))
    agree(cell, xs, None)


@pytest.mark.slow
def test_values_with_axes_and_states_go_on():
    class Hash(nn.Cell):
        hidden_size = 3

        def initial_state(self, batch_size):
            return tr.zeros((batch_size, 3), "int64")

        dtype = np.dtype("float64")

        def step(self, x, h):
            matrix = (h[:, :, None] ^ x[:, None, :]) & ((x[:, :, None] << (h[:, None, :] & 3)) | 1)
            h = matrix.sum(axis=2) & 1023
            return (h, matrix), h

    xs = tr.tensor(np.random.default_rng(0).integers(0, 50, (7, 3, 3)))
    agree(Hash(), xs, None, lengths=[7, 0, 4])


@pytest.mark.parametrize(
    ("name", "a", "b"), [("power", 10, 16), ("power", 3, 60), ("left", 1, 53), ("left", 3, 62), ("xor", 2**53, 1)]
)
def test_what_a_loop_does_not_hold_runs_on_the_tape(name, a, b):
    xs = tr.tensor([[[3], [a]]]), tr.tensor([[[2], [b]]])
    cell = Each([FUNCTIONS[name]])
    with pytest.raises(CompileError, match="step 0"):
        scan(cell, xs, mode="compiled")
    with pytest.warns(RuntimeWarning, match="Each"):
        (y,), _ = scan(cell, xs, mode="auto")
    np.testing.assert_array_equal(y.numpy(), FUNCTIONS[name](xs[0].numpy(), xs[1].numpy()))


def test_errors_are_those_of_the_tape():
    xs = tr.tensor([[[3], [2]]]), tr.tensor([[[2], [-1]]])
    with pytest.raises(ValueError, match="negative integer powers"):
        scan(Each([FUNCTIONS["power"]]), xs, mode="eager")
    with pytest.warns(RuntimeWarning, match="row 1"), pytest.raises(ValueError, match="negative integer powers"):
        scan(Each([FUNCTIONS["power"]]), xs)
