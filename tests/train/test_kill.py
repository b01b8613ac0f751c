"""A training that is killed goes on as if nothing had happened."""

import pytest

from .kill import kill


@pytest.mark.slow
def test_killed_a_few_times():
    assert kill(3) >= 1


@pytest.mark.exhaustive
def test_killed_a_hundred_times():
    assert kill(100, seed=1) >= 1
