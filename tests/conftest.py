"""What every test gets: reproducible Hypothesis, a fixed seed, default settings, one cache of jitted code."""

import os
from pathlib import Path

# Numba does not tell code with bounds checks from code without them, so each has its own cache.
_CHECKS = "-boundscheck" if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else ""
_CACHE = Path(__file__).resolve().parent.parent / ".pytest_cache" / f"numba{_CHECKS}"
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

import tinygrad_rnn as tr  # noqa: E402

settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=20,
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
