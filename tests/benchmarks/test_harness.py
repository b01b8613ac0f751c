"""The shared timing: turns, medians, ratios, rows and files."""

import argparse
import json
import math
import time

import pytest

import tinygrad_rnn as tr
from benchmarks import harness
from benchmarks.harness import Timing


def test_candidates_take_turns(monkeypatch):
    monkeypatch.setattr(harness, "LEAST", 0.0)
    calls = []
    harness.measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls[-6:] == ["a", "b"] * 3


def test_a_limit_of_time_leaves_three_turns():
    timings = harness.measure({"a": lambda: time.sleep(0.003)}, repeats=50, limit=0.001)
    assert len(timings["a"].samples) == 3


def test_a_time_is_that_of_one_call():
    timings = harness.measure({"long": lambda: time.sleep(0.004), "short": lambda: None}, repeats=3)
    assert 0.004 <= timings["long"].median < 0.1
    assert timings["short"].median < 1e-4
    assert len(timings["short"].samples) == 3


def test_median_and_spread():
    timing = Timing([1.0, 2.0, 3.0, 4.0, 100.0])
    assert timing.median == 3.0
    assert timing.spread == pytest.approx((4 - 2) / 2 / 3)
    assert math.isnan(Timing([1.0]).spread)
    assert str(Timing([0.001, 0.001, 0.001])) == "1.00 ms ±0%"


def test_a_ratio_pairs_what_ran_in_the_same_turn():
    """The machine was ten times slower in the second turn, for both."""
    assert harness.ratio(Timing([2.0, 20.0, 2.0]), Timing([1.0, 10.0, 1.0])) == 2.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (1.0, "1.00 s"), (0.1234, "123 ms"), (45.6e-6, "45.6 us"), (3e-9, "0.00 us")],
)
def test_durations(seconds, text):
    assert harness.duration(seconds) == text


def test_report(tmp_path, capsys):
    file = tmp_path / "numbers.json"
    args = argparse.Namespace(threads=1, repeats=3, quick=True, json=file)
    report = harness.Report("a title", args)
    for case, other in (("one", 4.0), ("two", 1.0)):
        report.add(case, {"ours": Timing([2.0] * 3), "torch": Timing([other] * 3)}, "a note", flops=7)
    report.finish()
    text = capsys.readouterr().out
    assert text.startswith("a title\n")
    assert f"wrote {file}" in text
    (row,) = [line for line in text.splitlines() if line.startswith("one")]
    assert row.split() == [
        "one",
        "ours",
        "2.00",
        "s",
        "±0%",
        "torch",
        "4.00",
        "s",
        "±0%",
        "2.00x",
        "a",
        "note",
    ]
    assert "geometric mean: torch takes 1.00x as long" in text
    content = json.loads(file.read_text())
    assert content["title"] == "a title"
    assert content["options"] == {"threads": 1, "repeats": 3, "quick": True}
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["tinygrad_rnn"]
    assert [r["ratio"]["torch"] for r in content["rows"]] == [2.0, 0.5]
    assert content["rows"][0]["seconds"] == {"ours": 2.0, "torch": 4.0}
    assert content["rows"][0]["flops"] == 7


def test_options(capsys):
    parser = harness.options("benchmarks.bench_some", "Some benchmark.", repeats=9)
    assert harness.parse(parser, []).repeats == 9
    assert harness.parse(parser, ["--quick"]).repeats == 3
    assert harness.parse(parser, ["--quick", "--repeats", "2"]).repeats == 2
    with pytest.raises(SystemExit):
        harness.parse(parser, ["--repeats", "0"])
    assert "some: error: argument --repeats: got 0, wanted at least 1" in capsys.readouterr().err


def test_threads_are_put_back():
    libraries = [tr, *filter(None, [harness.torch()])]
    before = [library.get_num_threads() for library in libraries]
    with harness.threads(1):
        assert [library.get_num_threads() for library in libraries] == [1] * len(libraries)
    assert [library.get_num_threads() for library in libraries] == before
