"""models/forecast: its shop, folds, verdicts, files of the user's own, the bar."""

from datetime import date

import numpy as np
import pytest

from models import __main__ as command
from models import _series, forecast
from tinygrad_rnn.errors import DataError

SMALL = ["--look-back", "14", "--horizon", "4", "--epochs", "2", "--hidden-size", "8"]


def csv(path, values, header="day,sold"):
    path.write_text("\n".join([header, *(f"{i},{v}" for i, v in enumerate(values))]) + "\n")
    return path


def test_the_shop_has_weeks_and_grows():
    days = forecast.demand(1400, seed=0)
    assert (days >= 0).all()
    assert (days == days.round()).all()
    weekday = days[:1400].reshape(-1, 7).mean(0)
    assert weekday.argmax() == 5
    assert days[-365:].mean() > 1.2 * days[:365].mean()
    assert (forecast.demand(100, 1) != forecast.demand(100, 0)).any()


def test_nothing_of_the_test_part_is_seen():
    """Scale and windows come from the training part; folds forecast each step of the rest."""
    values = np.concatenate([np.arange(80.0) % 5, 1e6 * np.ones(20)])
    series = forecast.Series(values, look_back=10, horizon=4, period=5, name="x")
    assert series.cut == 80
    assert all(np.abs(array).max() < 3 for array in series.train)
    folds = series.folds()
    assert folds[0] == (slice(0, 80), slice(80, 84))
    assert set(range(80, 100)) == {t for _, coming in folds for t in range(coming.start, coming.stop)}


def test_honest_verdicts():
    good, bad = np.full((3, 2), 1.0), np.full((3, 2), 2.0)
    assert (
        forecast.verdict("LSTM", {"LSTM": good, "naive": bad, "worse": bad + 1})
        == "The LSTM beats naive: its mean error is 50.0% smaller."
    )
    text = forecast.verdict("LSTM", {"LSTM": bad, "naive": good, "worse": bad + 1})
    assert text == "The LSTM does NOT beat naive, which costs nothing: its mean error is 100.0% larger. Use naive."
    assert "does NOT beat naive" in forecast.verdict("LSTM", {"LSTM": good, "naive": 0 * good})


def test_it_says_so_when_it_loses(tmp_path, capsys):
    """A series that repeats itself exactly: seasonal-naive makes no mistake."""
    data = csv(tmp_path / "x.csv", [3, 1, 4, 1, 5, 9, 2] * 20)
    arguments = ["--data", str(data), "--column", "sold", *SMALL, "--out", str(tmp_path / "out")]
    assert command.main(["forecast", *arguments]) == 0
    text = capsys.readouterr().out
    assert "season: of 7 steps, as the training part shows" in text
    assert "does NOT beat seasonal-naive, 7, which costs nothing" in text


@pytest.mark.slow
def test_seasons(tmp_path, capsys):
    """What --period says counts; a walk has no season, and so only one rival."""
    values = np.cumsum(np.random.default_rng(0).standard_normal(200)).round(3)
    arguments = [
        "--data",
        str(csv(tmp_path / "x.csv", values)),
        "--column",
        "sold",
        *SMALL,
        "--out",
        str(tmp_path),
        "--force",
    ]
    assert command.main(["forecast", *arguments]) == 0
    text = capsys.readouterr().out
    assert "season: none, as the training part shows; --period sets it" in text
    assert "seasonal-naive" not in text
    assert command.main(["forecast", *arguments, "--period", "12"]) == 0
    text = capsys.readouterr().out
    assert "season: of 12 steps\n" in text
    assert "seasonal-naive, 12" in text
    assert forecast.Series(forecast.demand(1400, 0), 28, 14, None, "x").period == 7


@pytest.mark.slow
def test_a_file_of_yours(tmp_path, capsys):
    rng = np.random.default_rng(0)
    data = csv(tmp_path / "x.csv", np.cumsum(rng.standard_normal(150)).round(3))
    out = ["--out", str(tmp_path / "out")]
    assert command.main(["forecast", "--data", str(data), "--column", "sold", *SMALL, *out]) == 0
    assert "x.csv, sold: 150 values" in capsys.readouterr().out
    assert command.main(["forecast", "predict", *out]) == 0
    first = capsys.readouterr().out
    assert len(first.split()) == 4
    assert command.main(["forecast", "predict", "--data", str(data), *out]) == 0
    assert capsys.readouterr().out == first  # its end is where the training stood
    short = csv(tmp_path / "short.csv", [1, 2, 3])
    assert command.main(["forecast", "predict", "--data", str(short), *out]) == 1
    error = capsys.readouterr().err
    assert "short.csv: got 3 rows, wanted at least the 14 that it sees" in error
    for verb in ([], ["predict"]):
        new = ["--force"] if not verb else []
        assert command.main(["forecast", *verb, "--column", "sold", *out, *new]) == 1
        assert "--column: got 'sold' without --data, wanted the file that it is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "x.csv, line 31, column 'sold': got an empty cell, wanted a finite number"),
        ("many", "x.csv, line 31, column 'sold': got 'many', wanted a finite number"),
        ("nan", "x.csv, line 31, column 'sold': got 'nan', wanted a finite number"),
        ("1,2", "x.csv, line 31: got 3 cells, wanted 2 (day,sold)"),
    ],
)
def test_bad_cells(tmp_path, capsys, cell, message):
    values = list(range(100))
    values[29] = cell
    data = csv(tmp_path / "x.csv", values)
    out = tmp_path / "out"
    assert command.main(["forecast", "--data", str(data), "--column", "sold", "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_bad_series(tmp_path, capsys):
    data = str(csv(tmp_path / "x.csv", range(30)))
    assert command.main(["forecast", "--data", data]) == 1
    assert "--column: got none with --data" in capsys.readouterr().err
    assert command.main(["forecast", "--data", data, "--column", "price"]) == 1
    assert "got the column 'price' nowhere, wanted it once in: day, sold" in capsys.readouterr().err
    assert command.main(["forecast", "--data", data, "--column", "sold"]) == 1
    assert "x.csv, sold: got 30 values, wanted at least 107 to look back 28, ahead 14" in capsys.readouterr().err
    with pytest.raises(DataError, match="got the one value 5 in the training part"):
        forecast.Series(np.full(200, 5.0), 10, 4, 5, "x")
    (tmp_path / "x.csv").write_text("")
    assert command.main(["forecast", "--data", data, "--column", "sold"]) == 1
    assert "x.csv: got an empty file, wanted a header and rows" in capsys.readouterr().err


def test_the_rows_it_asks_for_are_enough():
    for look_back, horizon, period in ((28, 14, 7), (3, 1, 1), (5, 20, 60), (1, 10, 2)):
        with pytest.raises(DataError) as error:
            forecast.Series(np.arange(5.0), look_back, horizon, period, "x")
        rows = int(str(error.value).split("at least ")[1].split()[0])
        assert forecast.Series(np.arange(float(rows)), look_back, horizon, period, "x").folds()


@pytest.mark.slow
def test_it_beats_both_rivals(tmp_path):
    for seed in range(2):
        metrics = forecast.main(["--seed", str(seed), "--out", str(tmp_path / str(seed))])
        assert metrics["mae"] < 0.95 * metrics["best_baseline_mae"]


def test_times_are_dates_where_there_are_dates(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("n,when,value\n1,2020-01-30,5\n2,2020-01-31,6\n3,2020-02-01,7\n")
    times = _series.times(file, 3, "1900", "D")
    assert times.tolist() == [date(2020, 1, 30), date(2020, 1, 31), date(2020, 2, 1)]
    assert _series.longer(times, 2).tolist()[3:] == [date(2020, 2, 2), date(2020, 2, 3)]
    for text in ("2020-01-30\n2020-01-29\n", "1990\n1991\n", "2020-06-30\n2020-06-31\n", "1\n2\n"):
        file.write_text(f"when\n{text}")
        assert _series.times(file, 2, "1900", "D").tolist() == [0, 1]
    assert _series.times(None, 2, "2018-01", "M").tolist() == [date(2018, 1, 1), date(2018, 2, 1)]
    assert _series.longer(np.arange(3), 2).tolist() == [0, 1, 2, 3, 4]
