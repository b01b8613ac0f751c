"""A changed callee in another file is compiled anew, an unchanged one comes from the disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn.kernels
from tinygrad_rnn.kernels.build.fingerprint import fingerprint

from .jit import needs_jit

BUILD = Path(tinygrad_rnn.kernels.__file__).parent / "build"
CALLEE = "from numba import njit\n@njit\ndef g(x):\n    return x + {}\n"
CALLER = """
from .inside.callee import g
from .build.fingerprint import kernel
@kernel
def f(x):
    return g(x)
"""
MAIN = "from kernels.caller import f; y = f(1); print(y, sum(f.stats.cache_hits.values()))"


def test_fingerprint_is_short_and_stable():
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 12


@pytest.mark.slow
@needs_jit
def test_a_changed_callee_is_not_taken_from_the_cache(tmp_path):
    package = tmp_path / "kernels"
    (package / "inside").mkdir(parents=True)
    shutil.copytree(BUILD, package / "build")
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(CALLER)

    def run(increment, **environment):
        (package / "inside" / "callee.py").write_text(CALLEE.format(increment))
        environment = os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path / "cache")} | environment
        command = [sys.executable, "-c", MAIN]
        out = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        return out.stdout.split()

    assert run(10) == ["11", "0"]
    assert run(10) == ["11", "1"]
    assert run(20) == ["21", "0"]
    assert run(10) == ["11", "1"]  # nothing was lost
    assert run(10, NUMBA_BOUNDSCHECK="1" if os.environ.get("NUMBA_BOUNDSCHECK") != "1" else "0") == ["11", "0"]
