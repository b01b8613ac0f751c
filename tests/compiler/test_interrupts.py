"""Ctrl-C and forks while Numba is imported and loops are compiled: the next call finds everything as it has to be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CALLS = """
import os, random, signal, sys, threading, time
import numpy as np
from tests.compiler.agreement import run
from tests.compiler.corner_cells import BY_NAME
seed, longest, names = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(",")
rng = random.Random(seed)
def call(name, mode="compiled"):
    case = BY_NAME[name]
    results, grads = run(case.cell(), case.sequences(3, 2), case.states(2), mode)
    return [*results, *grads]
def check(name):
    for a, b in zip(call(name), call(name, "eager"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""

INTERRUPTED = """
hits = 0
for name in names:
    for _ in range(4):
        timer = threading.Timer(rng.uniform(0, longest), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            try:
                call(name)
            finally:
                timer.cancel()
                timer.join()
        except KeyboardInterrupt:
            hits += 1
    check(name)
print(hits)
"""

FORKED = """
thread = threading.Thread(target=lambda: [call(name) for name in names])
thread.start()
children = []
while thread.is_alive() and len(children) < 5:
    time.sleep(rng.uniform(0, longest))
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            check(names[0])
            failed = 0
        finally:
            os._exit(failed)
    children.append(child)
thread.join()
ended = time.monotonic() + 600
states = []
while len(states) < len(children) and time.monotonic() < ended:
    for child in children:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                states.append(child)
        except ChildProcessError:
            pass
    time.sleep(0.01)
for child in set(children) - set(states):
    os.kill(child, signal.SIGKILL)
assert len(states) == len(children), "a child hangs"
print(len(children))
"""


def run(code, cache, seed, longest, *names, timeout=1200):
    """What a process prints that calls compiled cells; warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", CALLS + code,
         str(seed), str(longest), ",".join(names)],
        env=os.environ | {"TINYGRAD_RNN_CACHE": str(cache)}, cwd=ROOT, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no such signals and forks here")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache where the code is, so that most of a first call is imports."""
    return tmp_path_factory.mktemp("interrupts") / "cache"


@pytest.mark.slow
@posix
def test_ctrl_c_in_first_calls(filled):
    assert run(INTERRUPTED, filled, 0, 0.5, "ugrnn") > 0


@posix
@pytest.mark.exhaustive
def test_ctrl_c_while_everything_is_compiled(tmp_path):
    names = ["peephole_lstm", "ugrnn", "odd_slices", "indrnn", "softmax_inside"]
    assert sum(run(INTERRUPTED, tmp_path / str(seed), seed, 3.0, *names) for seed in range(3)) >= 3


@pytest.mark.slow
@posix
def test_forks_while_another_thread_imports(filled):
    assert run(FORKED, filled, 0, 0.1, "ugrnn") > 0


@posix
@pytest.mark.slow
@pytest.mark.parametrize("longest", [0.1, 0.6, 3.0])
def test_forks_while_another_thread_compiles(tmp_path, longest):
    assert run(FORKED, tmp_path / "cache", 0, longest, "ugrnn") > 0
