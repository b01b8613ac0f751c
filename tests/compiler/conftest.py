"""What the compiler's tests need: compiled code, and launches that threads share whatever they are worth."""

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import config
from tinygrad_rnn.compiler import check_available
from tinygrad_rnn.compiler.runtime import pieces, sharing, trials
from tinygrad_rnn.errors import CompileError


def pytest_collection_modifyitems(items):
    try:
        check_available()
    except CompileError as error:
        for item in items:
            if "/compiler/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=str(error)))


@pytest.fixture
def threads_as_before():
    """A test that sets the number of threads leaves it as it was."""
    before = tr.get_num_threads()
    yield
    tr.set_num_threads(before)


@pytest.fixture(params=["by rows", "by step"])
def shared(request, monkeypatch, threads_as_before):
    """Every launch is shared, whatever it is worth: by ranges of rows, or each step."""
    from tinygrad_rnn.kernels.simd import types

    if types.BOUNDSCHECK:
        pytest.skip("one thread runs loops that are checked")
    by_step = request.param == "by step"

    def choices(alone, times, loop):
        together = by_step and loop is not None and loop.cost.meetings > 0
        return [2, 2] + [2 * n + together for n in range(2, 65)]

    monkeypatch.setattr(sharing, "WORTH", 0.0)
    monkeypatch.setattr(sharing, "_choices", choices)
    for name, value in {"ELEMENTS": 200, "WORTH": 0.0, "ROWS": 7, "COLUMNS": 1, "SUM_COLUMNS": 5}.items():
        monkeypatch.setattr(pieces, name, value)
    monkeypatch.setattr(config, "PROCESSORS", 64)
    monkeypatch.setattr(trials.Trials, "next_is_shared", lambda self: True)
    return by_step
