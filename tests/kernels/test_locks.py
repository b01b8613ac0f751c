"""Numba's lock and ours: a user's function that calls a kernel compiles it while it is being compiled itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import threading, numba
from numba.core.compiler_lock import global_compiler_lock
from tinygrad_rnn.kernels.build.code_cache import jitted
from tinygrad_rnn.kernels.build.uninterrupted import uninterrupted

@jitted
def twice(x):
    return 2 * x

@numba.njit
def user(x):
    return twice(x) + 1

def in_turns():
    # one thread compiles a user's function, while another works for us and waits for the compiler
    working, compiling = threading.Event(), threading.Event()
    def work():
        working.set()
        assert compiling.wait(30)
        with global_compiler_lock:
            pass
    def compiles():
        assert working.wait(30)
        with global_compiler_lock:
            compiling.set()
            assert uninterrupted(lambda: 3) == 3
    threads = [threading.Thread(target=f) for f in (lambda: uninterrupted(work), compiles)]
    for t in threads: t.start()
    for t in threads: t.join()
"""
CASES = {
    "main thread": "print(user(2.0))",
    "other thread": "t = threading.Thread(target=lambda: print(user(2.0))); t.start(); t.join()",
    "compiled before": "twice(1.0); print(user(2.0))",
    "in turns": "in_turns(); print(5.0)",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_kernels_in_functions_of_users(case, tmp_path):
    env = os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CODE + CASES[case]], env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == ("5.0\n", 0), done.stderr
