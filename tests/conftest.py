"""What every test gets: reproducible Hypothesis, a fixed seed, default settings."""

import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import tinygrad_rnn as tr

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _fresh_settings():
    """Each test starts from the same seed, and leaves default dtype and gradient mode as they were."""
    tr.seed(0)
    dtype = tr.get_default_dtype()
    yield
    tr.set_default_dtype(dtype)
    assert tr.is_grad_enabled(), "a test left gradients switched off"


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator for the data of one test."""
    return np.random.default_rng(0)


@pytest.fixture
def restless_threads():
    """Threads that take turns at every chance.

    They are not measured: Python 3.11 cannot install two trace functions at once, and a thread that tries ends there.
    """
    interval, trace = sys.getswitchinterval(), threading.gettrace()
    threading.settrace(None)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    threading.settrace(trace)
