"""Compiled loops in processes of their own: for other processors, with bounds checks, from the disk, and at once."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_rnn.kernels.build.target import TARGET

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".pytest_cache"

SAMPLE = """
from tests.compiler.agreement import agree
from tests.compiler.corner_cells import BY_NAME
from tinygrad_rnn.kernels.build.target import TARGET
for name in {names}:
    case = BY_NAME[name]
    for T, B, I, H in ((3, 2, 3, 5), (2, 7, 9, 17), (1, 1, 2, 8)):
        agree(case.cell(I, H), case.sequences(T, B, I, H), case.states(B, I, H))
print({what})
"""


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors of this family")


def run(code, cache, **environment):
    """Start a process; give what it prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    caches = {"TINYGRAD_RNN_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=kept | caches | environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def output(process) -> str:
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err[-3000:]
    return out.strip()


@x86
@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("cpu", "lanes"), [("x86-64", (4, 2)), ("haswell", (8, 4)), ("nehalem", (4, 2))])
def test_other_processors(cpu, lanes):
    """SSE2 without fused multiply-add, AVX2, SSE4.2: fewer lanes and smaller tiles than here, perhaps."""
    if cpu == "haswell" and not (TARGET.has_fma and TARGET.vector_bytes >= 32):
        pytest.skip("this machine has no AVX2")
    names = ["peephole_lstm", "odd_slices", "softmax_inside", "activations", "masked_counter", "two_rnns"]
    what = "__import__('tinygrad_rnn.kernels.simd.lanes', fromlist='x').LANES_F32"
    code = SAMPLE.format(names=names, what=what)
    environment = {"NUMBA_CPU_NAME": cpu}
    if cpu != "haswell":
        environment["NUMBA_CPU_FEATURES"] = ""
    assert output(run(code, KEPT / f"programs-{cpu}", **environment)) == str(lanes[0])


@pytest.mark.slow
def test_bounds():
    """With bounds checks, a load or store outside an array is an IndexError."""
    names = ["peephole_lstm", "odd_slices", "delayed", "two_rnns", "variational_dropout", "several_inputs", "extrema"]
    code = SAMPLE.format(names=names, what="'checked' if TARGET else ''")
    process = run(code, KEPT / "programs-boundscheck", NUMBA_BOUNDSCHECK="1")
    assert output(process)
    process = run(BEYOND, KEPT / "programs-boundscheck", NUMBA_BOUNDSCHECK="1")
    assert output(process) == "IndexError IndexError"


BEYOND = """
from tests.compiler.agreement import run
from tests.compiler.corner_cells import BY_NAME
from tinygrad_rnn.compiler.runtime.launch import LaunchPlan
from tinygrad_rnn.kernels.loops.task_codes import CopyRows, TaskKind, positions_of
case = BY_NAME["peephole_lstm"]
def error():
    try:
        run(case.cell(), case.sequences(3, 2), case.states(2), "compiled")
    except IndexError as e:
        return type(e).__name__
bind = LaunchPlan._bind
def one_step_more(self, captures):
    self.d[0] += 1
    return bind(self, captures)
def more_rows(self, captures):
    self.tasks[self.tasks[:, 0] == TaskKind.COPY_ROWS, positions_of(CopyRows, start=1).rows] += 1000
    return bind(self, captures)
LaunchPlan._bind = one_step_more
first = error()
LaunchPlan._bind = more_rows
print(first, error())
"""


ONE = """
from tests.compiler.agreement import run
from tests.compiler.corner_cells import BY_NAME
case = BY_NAME["ugrnn"]
cell, xs, state = case.cell(), case.sequences(3, 2), case.states(2)
results, grads = run(cell, xs, state, "compiled")
print(sum(float((a * a).sum()) for a in results + grads).hex())
"""


@pytest.mark.slow
def test_two_processes_compile_at_once(tmp_path):
    """They write the same files, and get the same bits; a third finds them on the disk."""
    cache = tmp_path / "programs"
    both = [run(ONE, cache) for _ in range(2)]
    first, second = map(output, both)
    written = {f.name: f.stat().st_mtime_ns for f in cache.glob("*.code")}
    third = output(run(ONE, cache))
    assert first == second == third
    assert written
    assert {f.name: f.stat().st_mtime_ns for f in cache.glob("*.code")} == written
    assert not list(cache.glob("*.tmp"))


@pytest.mark.slow
def test_without_a_jit():
    """The tape takes over, with a reason."""
    code = """
import warnings, numpy as np, tinygrad_rnn as tr
from tinygrad_rnn import nn
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    nn.Recurrent(nn.GRUCell(2, 3))(np.zeros((2, 2, 2)))
print([str(w.message) for w in caught])
try:
    nn.Recurrent(nn.GRUCell(2, 3), mode="compiled")(np.zeros((2, 2, 2)))
except tr.errors.CompileError as e:
    print(e)
"""
    out = output(run(code, KEPT / "programs-nojit", NUMBA_DISABLE_JIT="1"))
    assert out.count("NUMBA_DISABLE_JIT") == 2
