"""Kernels on other CPUs, with bounds checks, and not compiled: each in a process of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_rnn.kernels.build.target import TARGET

from .jit import needs_jit

FOLDER = Path(__file__).parent
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other CPUs of this family")


def run(*command, **environment):
    """Run Python with other environment variables; return what it prints."""
    settings = ("NUMBA_CPU", "NUMBA_BOUNDS")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
    result = subprocess.run(
        [sys.executable, *command], env=inherited | environment, cwd=FOLDER.parent.parent, capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def run_tests(selected, *files, **environment):
    """Run tests of this folder; some must have run."""
    paths = [str(FOLDER / f"test_{name}.py") for name in files]
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected, *paths, **environment)
    assert " passed" in out


# A sample of everything that depends on the width of vectors, on fused multiply-add and on the size of the tile
SAMPLE = "binary or reductions or two_sources or test_pack or (special and (tanh or log1p)) or finite"
ALL = ("lanes", "mathfn", "tile", "matmul_tanh")


@pytest.mark.slow
@needs_jit
def test_bounds_are_checked():
    run_tests("outside", "lanes", NUMBA_BOUNDSCHECK="1")


@needs_jit
@pytest.mark.slow
def test_everything_with_bounds_checks():
    run_tests("not targets", *ALL, NUMBA_BOUNDSCHECK="1")


@pytest.mark.slow
def test_entry_points_work_without_compiling():
    run_tests("test", "matmul_tanh", NUMBA_DISABLE_JIT="1")


PRINT_TARGET = (
    "from tinygrad_rnn.kernels.build.target import TARGET; print(TARGET.vector_bytes, TARGET.has_fma, TARGET.registers)"
)


@pytest.mark.sampled(8)
@x86
@pytest.mark.parametrize(
    ("cpu", "wanted"),
    [("nehalem", "16 False 16"), ("sandybridge", "32 False 16"), ("haswell", "32 True 16"),
     ("skylake-avx512", "64 True 32"), ("x86-64-v4", "64 True 32")],
)  # fmt: skip
def test_vectors_follow_a_forced_cpu(cpu, wanted):
    assert run("-c", PRINT_TARGET, NUMBA_CPU_NAME=cpu).strip() == wanted


@x86
def test_vectors_follow_forced_features():
    out = run("-c", PRINT_TARGET, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="-avx,-avx2,-fma")
    assert out.strip() == "16 False 16"


no_avx2 = pytest.mark.skipif(not (TARGET.has_fma and TARGET.vector_bytes >= 32), reason="this machine has no AVX2")
other_cpus = pytest.mark.parametrize("cpu", ["nehalem", pytest.param("haswell", marks=no_avx2)])


@x86
@needs_jit
@pytest.mark.slow
@pytest.mark.sampled(2)
@other_cpus
def test_sample_on_another_cpu(cpu):
    run_tests(SAMPLE, *ALL, NUMBA_CPU_NAME=cpu)


@x86
@needs_jit
@pytest.mark.exhaustive
@other_cpus
def test_everything_on_another_cpu(cpu):
    run_tests("not targets", *ALL, NUMBA_CPU_NAME=cpu)


COMPILE = """
import re
from numba import types
from tinygrad_rnn.kernels.gemm import gemm
f, n = types.Array(types.float32, 1, "C"), types.intp
factors = types.NamedTuple((f, n, n, n, f, n), gemm.Factors)
rows = types.NamedTuple((f, n, n), gemm.Rows)
signature = (factors, factors, types.boolean, rows, rows, n, n)
gemm.whole_panels.compile(signature)
(assembly,) = gemm.whole_panels.inspect_asm().values()
blocks = [b.count("vfmadd") for b in re.split(r"\\.LBB", assembly) if "(%rsp)" not in b]  # nothing is spilled
print(blocks.count(24), len(set(re.findall("%zmm[0-9]+", assembly))))
"""


@pytest.mark.slow
@x86
@needs_jit
def test_tile_of_avx512_fills_the_registers():
    """Only compiled, so that it runs on any machine: six rows of four vectors, for each of the two sources."""
    out = run("-c", COMPILE, NUMBA_CPU_NAME="skylake-avx512", NUMBA_CPU_FEATURES="+avx512f,+avx512vl")
    loops, registers = map(int, out.split())
    assert loops == 2
    assert registers >= 29
