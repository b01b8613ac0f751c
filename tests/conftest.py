"""What every test gets: reproducible Hypothesis, a fixed seed, default settings; and which cases of a grid are run."""

import signal
import sys
import threading
import zlib
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import tinygrad_rnn as tr

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Hypothesis draws the same examples at each run; half as many where only the fast tests are run."""
    settings.register_profile(
        "tests",
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=6 if "not slow" in config.option.markexpr else 12,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items):
    """Of each test marked ``sampled(n)``, one case in n is run, and the others only with ``-m exhaustive``."""
    cases = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            cases[item.path, item.originalname].append(item)
    for group in cases.values():
        n = group[0].get_closest_marker("sampled").args[0]
        group.sort(key=lambda item: zlib.crc32(item.name.encode()))  # always the same ones, of every axis of the grid
        for item in group[-(-len(group) // n) :]:
            item.add_marker(pytest.mark.exhaustive)


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
