"""Windows of pandas frames: roles, groups, gaps and dates."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.data import FrameWindows, windows
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

pd = pytest.importorskip("pandas")


def sales(days=12, start="2024-01-01", freq="D"):
    index = pd.date_range(start, periods=days, freq=freq)
    steps = np.arange(days, dtype=float)
    return pd.DataFrame({"sales": steps, "price": 100 + steps, "holiday": steps % 3 == 0, "rain": -steps}, index=index)


def test_roles():
    frame = sales()
    found = windows(frame, 4, 2, targets="sales", known=["price", "holiday"], past="rain")
    assert type(found) is FrameWindows
    assert len(found) == 12 - 4 - 2 + 1
    assert found.input_names == ("sales", "rain", "price", "holiday")
    assert (found.known_names, found.target_names) == (("price", "holiday"), ("sales",))
    assert found.inputs.dtype == found.targets.dtype == np.float32
    for n in range(len(found)):
        np.testing.assert_array_equal(found.inputs[n], frame[[*found.input_names]].to_numpy(float)[n : n + 4])
        np.testing.assert_array_equal(found.targets[n], frame[["sales"]].to_numpy()[n + 4 : n + 6])
        np.testing.assert_array_equal(found.known[n], frame[["price", "holiday"]].to_numpy(float)[n + 4 : n + 6])
        assert [*found.times[n]] == [*frame.index[n + 4 : n + 6].to_numpy()]
        assert found.origins[n] == frame.index[n + 3]
    assert found.observed.all()
    assert found.groups is None
    plain_inputs, plain_targets = windows(frame[["sales", "rain", "price", "holiday"]].astype(float), 4, 2)
    np.testing.assert_array_equal(plain_inputs, found.inputs)
    np.testing.assert_array_equal(plain_targets[..., :1], found.targets)
    assert len(windows(frame, 4, 2, 3, targets="sales")) == 3
    assert windows(frame, 4, targets=["sales", "rain"]).targets.shape == (8, 1, 2)
    assert windows(frame, 4, targets="sales").known.shape == (8, 1, 0)


@pytest.mark.parametrize("how", ["columns", "levels"])
def test_groups_do_not_mix(how):
    parts = [sales(n).assign(shop=shop, town="x") for n, shop in ((7, "b"), (9, "a"), (3, "c"))]
    frame = pd.concat(parts).rename_axis("day").reset_index()
    frame = frame if how == "columns" else frame.set_index(["shop", "town", "day"])
    found = windows(frame, 4, 2, targets="sales", groups=["shop", "town"], time="day")
    assert found.groups == [("a", "x")] * 4 + [("b", "x")] * 2  # and none of three days
    assert found.targets[:, 0, 0].tolist() == [4, 5, 6, 7, 4, 5]
    table = found.frame(found.targets + 0.5)
    assert table.index.names == ["shop", "town", "origin", "time"]
    assert table.loc[("b", "x", "2024-01-05"), "sales"].tolist() == [5.5, 6.5]
    one = windows(frame, 4, 2, targets="sales", groups=["shop"], time="day")
    assert one.groups == ["a"] * 4 + ["b"] * 2


def test_missing_values():
    frame = sales()
    frame.loc["2024-01-06", "rain"] = np.nan
    with pytest.raises(DataError, match=r"series\['rain'\] at 2024-01-06.*: got nan, wanted a number; missing='skip'"):
        windows(frame, 3, 2, targets="sales", past="rain")
    assert len(windows(frame, 3, 2, targets="sales")) == 8  # what is not used may be missing
    skipped = windows(frame, 3, 2, targets="sales", past="rain", missing="skip")
    whole = windows(sales(), 3, 2, targets="sales", past="rain")
    keep = [n for n in range(8) if not n <= 5 < n + 3]  # it may be missing after the origin
    np.testing.assert_array_equal(skipped.inputs, whole.inputs[keep])
    filled = windows(frame, 3, 2, targets="sales", past="rain", missing="fill")
    np.testing.assert_array_equal(filled.inputs[3, :, 1], [-3, -4, -4])
    frame.loc["2024-01-08", "sales"] = np.nan
    filled = windows(frame, 3, 2, targets="sales", missing="fill")
    assert filled.targets[4, :, 0].tolist() == [6, 8]
    assert filled.observed[4, :, 0].tolist() == [False, True]
    frame.iloc[:2, 0] = np.nan  # nothing is before it
    assert windows(frame, 3, 2, targets="sales", missing="fill").origins[0] == np.datetime64("2024-01-05")
    with pytest.raises(ShapeError, match=r"wanted a run of look_back .* = 11 steps without missing values"):
        windows(frame, 9, 2, targets="sales", missing="skip")


@pytest.mark.parametrize("freq", ["D", "MS", "h", "B", "W-SUN"])
def test_steps_that_are_left_out(freq):
    whole = sales(40, freq=freq)
    frame = whole.drop(whole.index[[7, 21]])
    with pytest.raises(DataError, match=f"series: got no row for {str(whole.index[7].to_numpy())[:13]}.*, or nothing"):
        windows(frame, 3, 2, targets="sales")
    skipped = windows(frame, 3, 2, targets="sales", missing="skip")
    wanted = windows(whole, 3, 2, targets="sales")
    keep = [n for n in range(36) if not {7, 21} & {*range(n, n + 5)}]
    np.testing.assert_array_equal(skipped.inputs, wanted.inputs[keep])
    np.testing.assert_array_equal(skipped.times, wanted.times[keep])
    filled = windows(frame, 3, 2, targets="sales", missing="fill", freq=freq)
    np.testing.assert_array_equal(filled.times, wanted.times)
    assert filled.inputs[7, 0, 0] == 6
    np.testing.assert_array_equal(~filled.observed[..., 0], np.isin(wanted.targets[..., 0], [7, 21]))


def test_steps_that_are_numbers_or_words():
    frame = pd.DataFrame({"y": np.arange(8.0)}, index=[10, 12, 14, 16, 20, 22, 24, 26])
    found = windows(frame, 2, targets="y", missing="skip")
    assert found.times[:, 0].tolist() == [14, 16, 24, 26]
    words = pd.DataFrame({"y": np.arange(4.0)}, index=[*"abcd"])
    assert windows(words, 2, targets="y").times.tolist() == [["c"], ["d"]]
    assert windows(frame.reset_index(drop=True), 2, targets="y").times[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    months = pd.DataFrame({"y": np.arange(5.0)}, index=pd.period_range("2024-01", periods=5, freq="M"))
    assert windows(months, 2, targets="y").origins[0] == np.datetime64("2024-02-01")


def test_time_zones():
    """Days of a time zone have 23 to 25 hours, and forecasts begin at midnight there."""
    zone = "Europe/Berlin"
    frame = sales(40, start=pd.Timestamp("2024-02-20", tz=zone))
    found = windows(frame, 5, 2, targets="sales")
    assert found.times[0, 0] == np.datetime64("2024-02-24T23:00")
    table = found.frame()
    assert [*table.index.get_level_values("time")[:2]] == [*frame.index[5:7]]
    assert [*table.index.get_level_values("origin")[-2:]] == [frame.index[-3]] * 2
    for when in ("2024-03-10", pd.Timestamp("2024-03-09 23:00", tz="UTC"), frame.index[19]):
        before, after = found.split(when)
        assert (before.frame().index[-1][1], after.frame().index[0][1]) == (frame.index[18], frame.index[19])
    later = windows(frame, 5, 3, targets="sales", future=True)
    wanted = pd.date_range("2024-03-31", periods=3, tz=zone)
    assert [*later.frame().index] == [*wanted]
    assert [*later[:1].frame().index] == [*wanted]
    column = frame.rename_axis("day").reset_index()
    assert [*windows(column, 5, 3, targets="sales", time="day", future=True).frame().index] == [*wanted]


def test_durations_and_days_of_python():
    durations = sales(8).set_index(pd.to_timedelta([0, 1, 2, 3, 5, 6, 7, 8], "h"))
    found = windows(durations, 2, targets="sales", missing="skip")
    assert (found.times[:, 0] / np.timedelta64(1, "h")).tolist() == [2, 3, 7, 8]
    found = windows(durations[4:], 2, 2, targets="sales", future=True)
    assert (found.times / np.timedelta64(1, "h")).tolist() == [[9, 10]]
    frame = sales(8)
    with pytest.raises(DataError, match="got no row for 2024-01-04"):
        windows(frame.set_index(frame.index.date).drop(frame.index[3].date()), 2, targets="sales")
    assert windows(frame.set_index(frame.index.date), 2, targets="sales").origins[0] == np.datetime64("2024-01-02")


def test_what_a_program_shows():
    found = windows(sales(9), 3, 2, targets="sales", known="price")
    assert repr(found) == "FrameWindows(5 windows of 3 + 2 steps; inputs: sales, price; known: price; targets: sales)"
    assert found == found


def test_the_future():
    frame = sales(14, freq="MS")
    frame.loc[frame.index[10:], ["sales", "rain"]] = np.nan  # four months are planned
    found = windows(frame, 4, 3, targets="sales", known=["price", "holiday"], past="rain", future=True)
    assert len(found) == 1
    np.testing.assert_array_equal(found.inputs[0, :, 0], [6, 7, 8, 9])
    np.testing.assert_array_equal(found.known[0, :, 0], [110, 111, 112])
    assert np.isnan(found.targets).all()
    assert not found.observed.any()
    table = found.frame([[1.0, 2.0, 3.0]])
    assert [*table.index] == [*frame.index[10:13]]
    assert [*table.columns] == ["sales"]
    with pytest.raises(DataError, match="got known covariates for 4 steps after the last targets, wanted 5"):
        windows(frame, 4, 5, targets="sales", known="price", future=True)
    beyond = windows(sales(5, freq="MS"), 4, 3, targets="sales", future=True)
    assert [str(time)[:7] for time in beyond.times[0]] == ["2024-06", "2024-07", "2024-08"]
    groups = pd.concat([sales(6).assign(shop="a"), sales(9).assign(shop="b")])
    each = windows(groups, 4, 2, targets="sales", groups="shop", future=True)
    assert each.groups == ["a", "b"]
    assert [str(time)[:10] for time in each.times[:, 0]] == ["2024-01-07", "2024-01-10"]


def test_splits_and_parts():
    found = windows(sales(20), 4, 2, targets="sales")
    before, after = found.split("2024-01-11")
    assert before.times.max() < np.datetime64("2024-01-11") <= after.times.min()
    assert len(before) + len(after) == len(found) - 1  # one forecasts both sides
    np.testing.assert_array_equal(found[3:5].inputs, found.inputs[3:5])
    np.testing.assert_array_equal(found[[1, 7]].times, found.times[[1, 7]])
    with pytest.raises(TypeError, match="windows: got the index 3, wanted a slice"):
        found[3]


def test_forecasts_as_frames_and_pictures():
    pytest.importorskip("matplotlib")
    found = windows(sales(20), 4, 3, targets=["sales", "rain"])
    table = found.frame()
    assert table.shape == (len(found) * 3, 2)
    first = table.loc[found.origins[0]]
    np.testing.assert_array_equal(first.to_numpy(), found.targets[0])
    axes = first.plot()
    axes.figure.canvas.draw()
    assert [line.get_label() for line in axes.get_lines()] == ["sales", "rain"]
    assert "Jan" in "".join(label.get_text() for label in axes.get_xticklabels(which="both"))
    axes.figure.clear()
    with pytest.raises(ShapeError, match=r"forecasts: got shape \(2, 3\), wanted \(14, 3, 2\)"):
        found.frame(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"targets": "sale"}, DataError, "targets: got 'sale', which is the name of no column, wanted one of: sales"),
        ({"targets": "sales", "known": ["sales"]}, ValueError, "known: got 'sales', which is one of targets as well"),
        ({"targets": ["sales", "sales"]}, ValueError, "targets: got .*, wanted each column once"),
        ({"targets": []}, ValueError, "targets: got none"),
        ({"targets": "word"}, DTypeError, r"series\['word'\]: got dtype (object|str), wanted numbers"),
        ({"targets": "sales", "missing": "drop"}, ValueError, "missing: got 'drop', wanted 'error', 'skip' or 'fill'"),
        ({"targets": "sales", "groups": "shop"}, DataError, "groups: got 'shop', which is the name of no column"),
        ({"targets": "sales", "freq": "MS"}, DataError, "which is no step of the frequency 'MS'"),
        ({"targets": "sales", "look_back": 50}, ShapeError, "got 12 rows, wanted a run of look_back .* = 51 steps"),
        ({"targets": "sales", "look_back": 0}, ValueError, "look_back: got 0"),
        ({"known": "price"}, ValueError, "known: got 'price' without targets="),
        ({"targets": "sales", "future": "yes"}, TypeError, "future: got 'yes'"),
    ],
)
def test_mistakes(options, error, text):
    with pytest.raises(error, match=text):
        windows(sales().assign(word="x"), **{"look_back": 4, **options})


def test_times_out_of_order():
    frame = sales()
    with pytest.raises(DataError, match=r"got 2024-01-01 .* after 2024-01-02 .*, wanted each time once, in order"):
        windows(frame.iloc[[1, 0, 2, 3]], 2, targets="sales")
    with pytest.raises(DataError, match=r"got 2024-01-02 .* after 2024-01-02"):
        windows(frame.iloc[[0, 1, 1, 2]], 2, targets="sales")
    with pytest.raises(TypeError, match="series: got ndarray, wanted a pandas DataFrame"):
        windows(np.zeros((9, 2)), 2, targets="a")


def test_numbers_of_too_many_digits():
    frame = sales().assign(sales=lambda f: 1e9 + f["sales"])
    with pytest.warns(
        RuntimeWarning, match=r"series\['sales'\]: float32 rounds numbers by up to .*, which differ by 11"
    ):
        windows(frame, 2, targets="sales")
    tr.set_default_dtype("float64")
    assert windows(frame, 2, targets="sales").targets[0, 0, 0] == 1e9 + 2
    tr.set_default_dtype("float32")
    assert len(windows(frame.assign(sales=1e9), 2, targets="sales")) == 10  # a constant stays one
    assert len(windows(frame.assign(sales=frame["sales"] / 3 - 1e9 / 3), 2, targets="sales")) == 10


def test_times_far_apart():
    """A gap of many millions of steps is a mistake, and none to be filled."""
    for index in (
        np.r_[0:3, 10**10 : 10**10 + 9],
        pd.to_datetime(np.r_[0:3, 10**10 : 10**10 + 9], unit="s"),
        pd.to_timedelta(np.r_[0:3, 10**10 : 10**10 + 9], "s"),
    ):
        with pytest.raises(DataError, match=r"got times from .* in steps of .*, wanted fewer"):
            windows(sales().set_index(index), 2, targets="sales", missing="skip")
    with pytest.raises(ShapeError, match="got 0 rows, wanted a run"):
        windows(sales()[:0], 2, targets="sales")


@pytest.mark.parametrize("when", ["never", None, object()])
def test_splits_at_no_time(when):
    with pytest.raises(ValueError, match=r"when: got .*, wanted a date"):
        windows(sales(), 2, targets="sales").split(when)
    with pytest.raises(TypeError, match=r"when: got .*, wanted a time as 2"):
        windows(sales().reset_index(drop=True), 2, targets="sales").split(when)


def test_frames_without_roles_are_tables():
    inputs, targets = windows(sales()[["sales", "holiday"]], 4, 2)
    assert inputs.shape == (7, 4, 2)
    assert targets.shape == (7, 2, 2)
