"""Memory while a network trains for long, in a process of its own."""

import re
import subprocess
import sys

import pytest


def growth(steps: int, warm_up: int) -> tuple[float, int]:
    command = [sys.executable, "-m", "tests.recurrent.flat_memory", "--steps", str(steps), "--warm-up", str(warm_up)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1500).stdout
    found = re.search(r"([+-][\d.]+)%; (\d+) dropped", text)
    assert found is not None, text
    return float(found[1]), int(found[2])


@pytest.mark.exhaustive
def test_memory_is_flat_while_shapes_options_and_settings_change():
    percent, alive = growth(20_000, 4_000)
    assert percent < 2
    assert alive == 0
