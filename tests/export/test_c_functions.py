"""Elementary functions in C: within four units in the last place, as NumPy at odd places, and in vectors."""

import ctypes
import math
import re
import subprocess
from decimal import Decimal, localcontext

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.export.c.functions import TEXTS, Dialect
from tinygrad_rnn.ops.compare import BITS_OF_FLOATS

from .c_library import COMPILER, WARNINGS, compiled, needs_compiler, run

pytestmark = needs_compiler
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
erf = np.vectorize(math.erf, otypes=[np.longdouble])
EXACT = {
    "exp": np.exp, "expm1": np.expm1, "tanh": np.tanh, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt,
    "sin": np.sin, "cos": np.cos, "arctan": np.arctan, "erf": erf,
    "sigmoid": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "abs": np.abs, "round": np.rint, "floor": np.floor,
}  # fmt: skip
BINARY = ("power", "arctan2", "max", "min", "bits_of_both")


def library(folder, dtype, *options):
    """All functions, each in a loop; and what the compiler says of them."""
    dialect = Dialect("m", np.dtype(dtype))
    dialect.used |= set(TEXTS)
    lines = ["#include <stdint.h>", "#include <string.h>", "#include <math.h>", dialect.functions()]
    pointers, real = "const {0} *restrict x, const {0} *restrict w, {0} *restrict y, long n", dialect.real
    for name in (*EXACT, *BINARY):
        args = "x[i], w[i]" if name in BINARY else "x[i]"
        lines.append(f"void do_{name}({pointers.format(real)}) {{ (void)w; for (long i = 0; i < n; i++) "
                     f"y[i] = m_{name}({args}); }}")  # fmt: skip
    source = folder / f"{dtype}.c"
    source.write_text("\n".join(lines) + "\n")
    command = [COMPILER, *WARNINGS, *options, "-shared", "-fPIC", source, "-o", folder / f"{dtype}.so", "-lm"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return ctypes.CDLL(str(folder / f"{dtype}.so")), "\n".join(lines).split("\n"), done.stderr


def apply(loaded, name, x, w=None):
    y = np.empty_like(x)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, x if w is None else w, y)]
    getattr(loaded, f"do_{name}")(*pointers, ctypes.c_long(len(x)))
    return y


def ulps(got, exact):
    """How far numbers are from exact ones, in units in the last place."""
    nearest = exact.astype(got.dtype)
    with np.errstate(invalid="ignore"):
        far = np.abs(got.astype(np.longdouble) - exact) / np.spacing(np.abs(nearest)).astype(np.longdouble)
    same = (got == nearest) | (np.isnan(got) & np.isnan(nearest))
    return np.where(same, 0.0, far)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_four_units(tmp_path, dtype):
    loaded, lines, told = library(tmp_path, dtype, "-O3", *["-fopt-info-vec-optimized"] * ("gcc" in COMPILER))
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 2.5, -1.5, limits.tiny, limits.tiny / 8, limits.max,
             -limits.max, 88.7, -87.5, -103.0, 709.5, -745.0, 20.0, -20.0]  # fmt: skip
    spread = [rng.normal(0, 1, 3000), rng.normal(0, 30, 3000), np.exp(rng.uniform(-30, 30, 3000)) * rng.choice([-1, 1])]
    with np.errstate(all="ignore"):
        x = np.concatenate([edges, *spread]).astype(dtype)
        for name, function in EXACT.items():
            at = x[np.abs(x) < 1e6] if name in ("sin", "cos") else x
            worst = ulps(apply(loaded, name, at), function(at.astype(np.longdouble)))
            assert np.nanmax(worst) < 4.0, (name, at[np.argmax(worst)])
            assert not np.isnan(worst).any(), name
        some = np.array([*edges, 2.0, 3.0, -2.0, -3.0, 0.3, 7.7]).astype(dtype)
        a, b = (m.ravel() for m in np.meshgrid(some, some))
        base, exponent = np.exp(rng.uniform(-5, 5, 2000)).astype(dtype), rng.uniform(-8, 8, 2000).astype(dtype)
        assert ulps(apply(loaded, "power", base, exponent), base.astype(np.longdouble) ** exponent).max() < 4
        np.testing.assert_array_equal(np.isnan(apply(loaded, "power", a, b)), np.isnan(a**b))
        whole = [rng.integers(-(2**22), 2**22, 999).astype(dtype) for _ in "ab"]
        np.testing.assert_array_equal(apply(loaded, "bits_of_both", *whole), BITS_OF_FLOATS.forward(*whole))
        np.testing.assert_array_equal(apply(loaded, "bits_of_both", a, b), BITS_OF_FLOATS.forward(a, b))
        angles = np.arctan2(a.astype(np.longdouble), b.astype(np.longdouble))
        assert ulps(apply(loaded, "arctan2", a, b), angles).max() < 4
        np.testing.assert_array_equal(apply(loaded, "max", a, b), np.maximum(a, b))
        np.testing.assert_array_equal(apply(loaded, "min", a, b), np.minimum(a, b))
    if dtype == "float32" and told:
        found = {int(n) for n in re.findall(r":(\d+):\d+: optimized: loop vectorized", told)}
        names = {re.search(r"do_(\w+)", lines[n - 1])[1] for n in found if "do_" in lines[n - 1]}
        assert {*EXACT, *BINARY} - names <= {"sin", "cos", "bits_of_both"}


def exact_erf(x):
    """The error function by its series, in the digits of the context."""
    x = Decimal(float(x))
    term = total = x
    for n in range(1, 400):
        term *= -x * x / n
        total += term / (2 * n + 1)
        if abs(term) < abs(total) * Decimal(10) ** -30:
            break
    return total * 2 / PI.sqrt()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_error_function_at_the_borders_of_its_pieces(tmp_path, dtype):
    loaded, _, _ = library(tmp_path, dtype, "-O3")
    rng, info, beside = np.random.default_rng(0), np.finfo(dtype), np.arange(-20, 20) * np.finfo(dtype).eps
    smallest = np.arange(1, 6, dtype=np.int32 if dtype == "float32" else np.int64).view(dtype)
    x = [rng.uniform(0, 6.2, 800), rng.uniform(0.9, 1.1, 200), 1 + beside, 3.95 + beside, 5.95 + beside]
    x += [np.exp(rng.uniform(np.log(info.smallest_subnormal), 0, 200)), smallest.astype("float64"), [info.tiny]]
    x = np.concatenate(x).astype(dtype)
    got = apply(loaded, "erf", x)
    with localcontext() as context:
        context.prec = 60
        exact = [exact_erf(v) for v in x]
        unit = [Decimal(float(np.spacing(np.dtype(dtype).type(float(e))))) for e in exact]
        far = [abs(Decimal(float(y)) - e) / u for y, e, u in zip(got, exact, unit)]
    assert max(far) < 2, x[int(np.argmax(far))]
    np.testing.assert_array_equal(apply(loaded, "erf", -x), -got)
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, info.max, 30.0], dtype)
    found = apply(loaded, "erf", odd)
    np.testing.assert_array_equal(found, [0, 0, 1, -1, np.nan, 1, 1])
    assert np.signbit(found[:2]).tolist() == [False, True]


def test_the_library_in_their_place(tmp_path):
    cell = nn.LSTMCell(2, 5)
    file = tr.export.to_c(cell, tmp_path / "m.h")
    xs = [np.random.default_rng(0).standard_normal((6, 1, 2)).astype(np.float32)]
    states = [np.zeros((1, 5), np.float32)] * 2
    found = [
        run(compiled(tmp_path, [file], *more), "m", xs, [(5,)], states, "float32")[0][0]
        for more in (("-O2",), ("-O2", "-DM_USE_LIBM"))
    ]
    np.testing.assert_allclose(*found, atol=1e-6)
