"""The short form of the soak, and the soak itself: it has to see what is wrong."""

import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent.scan import compiled
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from . import __main__ as command
from .calls import Call, run
from .case import KINDS, Coverage, run_case, run_cell_case
from .checks import Mismatch, require_close, roads_agree, rows_agree, slopes_agree, streams_agree, threads_agree
from .layers import Subject, draw_subject


@pytest.mark.slow
@pytest.mark.parametrize("number", [n if n < 3 else pytest.param(n, marks=pytest.mark.slow) for n in range(10)])
def test_a_few_cases(number):
    coverage = Coverage()
    run_case(0, number, coverage, calls=3)
    assert coverage.of("checks", "eager and compiled") + coverage.of("checks", "ill-conditioned") > 0


@pytest.mark.sampled(4)
@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_few_written_cells(number):
    coverage = Coverage()
    run_cell_case(0, number, coverage, calls=2)
    assert coverage.of("kinds", KINDS[number]) == 1
    assert coverage.of("checks", "eager and compiled") > 0


def subject_of(layer, kind="gru"):
    return Subject(layer, kind, {})


def call_of(subject, **attributes):
    """A plain call whose loss reads everything."""
    call = Call(subject, np.random.default_rng(0), 4, 3)
    call.steps, call.form, call.reset_state, call.scan, call.unbatched = {}, "leaf", None, False, False
    call.all_states, call.return_outputs, call.gradients, call.reads = False, True, True, "all"
    vars(call).update(attributes)
    return call


def test_all_checks_pass_where_nothing_is_wrong():
    subject = subject_of(nn.GRU(3, 4, dtype="float64"))
    call, rng = call_of(subject), np.random.default_rng(0)
    got, wanted = roads_agree(subject, call)
    assert {"output", "state", "gradient of input", "gradient of weight_ih_l0"} <= got.keys()
    threads_agree(subject, call, got)
    rows_agree(subject, call, {"compiled": got, "eager": wanted}, rng)
    streams_agree(subject, call, wanted, "compiled")
    assert slopes_agree(subject, call, {"compiled": got, "eager": wanted}, rng)


class Wrong(nn.GRUCell):
    """A cell with one mistake: a state outside the state, rows that know of others, or a value off the tape."""

    mistake = ""

    def step(self, x, h):
        h = super().step(x, h)[1]
        if self.mistake == "rows":
            h = h - h.mean(axis=0)
        if self.mistake == "gradient":
            h = h + 0.5 * h.detach()
        return h, h


def test_mistakes_are_seen():
    rng = np.random.default_rng(0)
    subject = subject_of(nn.Recurrent(Wrong(3, 4, dtype="float64")))
    subject.compiles = False
    call = call_of(subject)
    subject.cells[0].mistake = "rows"
    whole = {"eager": run(subject, call, "eager")}
    with pytest.raises(Mismatch, match=r"rows \d:\d alone and among all, eager: output"):
        rows_agree(subject, call, whole, rng)
    subject.cells[0].mistake = "gradient"
    whole = {"eager": run(subject, call, "eager")}
    with pytest.raises(Mismatch, match="gradients and finite differences: the slope of the loss"):
        slopes_agree(subject, call, whole, rng)


class Kinked(nn.Cell):
    """A cell that stands exactly where its slope jumps."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.b = nn.Parameter(np.zeros(3))

    def step(self, x, h):
        return tr.relu(self.b) + 0.5 * x, h


def test_a_kink_at_the_point_itself_is_no_mistake(rng):
    subject = subject_of(nn.Recurrent(Kinked()))
    call = call_of(subject)
    assert not slopes_agree(subject, call, {"eager": run(subject, call, "eager")}, rng)


def test_old_weights_are_seen(monkeypatch):
    """A loop that goes on with parameters that were replaced."""
    subject = subject_of(nn.Recurrent(nn.GRUCell(3, 4, dtype="float64")))
    call = call_of(subject)
    roads_agree(subject, call)
    real = compiled.build_call

    def stale(cell, *args, **options):
        kept = cell.weight_ih
        cell.weight_ih = nn.Parameter(kept.data * 1.01)
        try:
            return real(cell, *args, **options)
        finally:
            cell.weight_ih = kept

    monkeypatch.setattr(sys.modules["tinygrad_rnn.recurrent.scan.advance"], "_builder", lambda: stale)
    cache_of(subject.cells[0]).calls.clear()
    with pytest.raises(Mismatch, match="compiled and eager: output"):
        roads_agree(subject, call)


def test_what_differs_is_named():
    wanted = {"output": np.ones((2, 2)), "state": np.zeros(3)}
    require_close({k: v.copy() for k, v in wanted.items()}, wanted, "this and that", np.float64)
    off = {"output": np.array([[1, 1], [1, 1.5]]), "state": np.zeros(3)}
    with pytest.raises(Mismatch, match=r"this and that: output at \(1, 1\): got 1\.5, wanted 1 \(1 of 4"):
        require_close(off, wanted, "this and that", np.float64)
    with pytest.raises(Mismatch, match="got nan, wanted 0"):
        require_close({**wanted, "state": np.full(3, np.nan)}, wanted, "this and that", np.float64)
    with pytest.raises(Mismatch, match="float32"):
        require_close({**wanted, "state": np.zeros(3, np.float32)}, wanted, "this and that", np.float64)


def test_cases_are_drawn_from_their_numbers():
    first, second = (repr(draw_subject(np.random.default_rng([3, n]), 3).layer) for n in (5, 5))
    assert first == second
    assert len({repr(draw_subject(np.random.default_rng([3, n]), 3).layer) for n in range(8)}) > 5


def test_the_command_says_how_to_run_a_case_again(monkeypatch, capsys):
    def fails(seed, number, coverage, log=None):
        coverage.add("noise", "none")
        raise Mismatch("this is off")

    monkeypatch.setattr(command, "run_case", fails)
    assert command.main(["--minutes", "1", "--seed", "7"]) == 1
    out = capsys.readouterr().out
    assert "python -m tests.soak --seed 7 --case 3\n    Mismatch: this is off" in out
    assert f"stopped after {command.MOST} cases" in out
    assert command.main(["--case", "0"]) == 1
    monkeypatch.setattr(command, "run_case", lambda *args: None)
    assert command.main(["--minutes", "0"]) == 0
