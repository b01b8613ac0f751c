"""Forecasts of several steps and the folds of their evaluation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import find_period, persistence, roll_forward, seasonal_naive, walk_forward
from tinygrad_rnn.errors import DataError, ShapeError


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 9))
def test_roll_forward_of_a_linear_recurrence(look_back, rows, steps):
    """A model that sums its window gives what a loop over a list gives."""
    rng = np.random.default_rng(look_back)
    window = rng.integers(-3, 3, (rows, look_back, 1)).astype(float)
    got = roll_forward(lambda x: x.sum(1), window, steps)
    for row, forecast in zip(window[:, :, 0].tolist(), got[:, :, 0]):
        for value in forecast:
            assert value == sum(row[-look_back:])
            row.append(value)


def test_roll_forward_keeps_the_dtype_of_the_window_and_does_not_change_it():
    window = np.ones((2, 3, 1), np.float32)
    got = roll_forward(lambda x: x[:, -1].astype(np.float64) * 2, window, 2)
    assert got[:, :, 0].tolist() == [[2, 4], [2, 4]]
    assert (window == 1).all()


def test_roll_forward_checks_the_model():
    with pytest.raises(ShapeError, match=r"predict: returned shape \(2, 1, 1\), wanted \(2, 1\)"):
        roll_forward(lambda x: x[:, -1:], np.ones((2, 3, 1)), 1)
    with pytest.raises(ShapeError, match="window: got shape"):
        roll_forward(lambda x: x, np.ones((2, 3)), 1)


@given(st.integers(1, 8), st.integers(0, 8), st.integers(1, 20))
def test_seasonal_naive_repeats(period, more, steps):
    past = np.arange(period + more)
    got = seasonal_naive(past, period, steps)
    whole = np.concatenate([past, got])
    assert all(whole[t] == whole[t - period] for t in range(len(past), len(whole)))


def test_naive_forecasts_of_many_series():
    past = np.array([[1, 2, 3], [4, 5, 6]])
    assert persistence(past, 2).tolist() == [[3, 3], [6, 6]]
    assert seasonal_naive(past, 2, 3).tolist() == [[2, 3, 2], [5, 6, 5]]
    with pytest.raises(ShapeError, match="wanted at least period = 4 steps"):
        seasonal_naive(past, 4, 1)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 12))
def test_folds_never_see_the_future(first, horizon, stride, more):
    length = first + horizon + more
    folds = list(walk_forward(length, first, horizon, stride))
    assert folds[0][0] == slice(0, first)
    for known, future in folds:
        assert known.stop == future.start
        assert future.stop - future.start == horizon
        assert future.stop <= length
    assert folds[-1][1].stop + stride > length


def test_folds_of_a_short_series():
    with pytest.raises(ShapeError, match=r"length: got 5 steps, wanted at least first \+ horizon = 6"):
        walk_forward(5, 4, 2)


@given(st.integers(2, 30), st.integers(0, 10), st.floats(-5, 5))
def test_the_period_of_a_season_with_trend_and_noise(period, seed, slope):
    rng = np.random.default_rng(seed)
    season = rng.permutation(period) * 10.0
    steps = np.arange(12 * period + 20)
    series = season[steps % period] + slope * steps + rng.normal(0, 0.3, len(steps))
    assert find_period(series) == period
    assert find_period(series.astype(np.float32) * 1e-3 + 7) == period
    assert period == 2 or find_period(series, longest=period - 1) != period


@pytest.mark.parametrize("seed", range(20))
def test_walks_and_noise_have_no_period(seed):
    noise = np.random.default_rng(seed).standard_normal(400)
    assert find_period(np.cumsum(noise)) == 1
    assert find_period(noise) == 1


def test_the_strongest_of_several_periods():
    hours = np.arange(24 * 7 * 8)
    day, week = 10 * np.sin(2 * np.pi * hours / 24), 4.0 * (hours // 24 % 7 >= 5)
    assert find_period(day) == 24
    assert find_period(day * (1 + week)) == 168


def test_no_period_in_what_stands_still_or_is_short():
    for series in ([], [1.0], [1, 2, 1, 2, 1], np.full(50, 1e9), np.linspace(0, 1, 50), np.arange(50) / 3):
        assert find_period(series) == 1
    with pytest.raises(ShapeError, match=r"series: got shape \(2, 3\), wanted \(T,\)"):
        find_period(np.ones((2, 3)))


def test_a_period_of_any_unit():
    series = np.array([3, 1, 4, 1, 5] * 6, np.float64)
    for unit in (1e-300, 1e-12, 1, 1e12, 1e300):
        assert find_period(series * unit) == 5


def test_a_period_of_what_is_no_number():
    with pytest.raises(DataError, match=r"series\[2\]: got nan, wanted a finite number"):
        find_period([3, 1, np.nan, 1, 5] * 6)


def test_integers_do_not_round_what_follows():
    forecast = roll_forward(lambda x: x.mean(1), np.array([[[1], [2]]]), steps=2)
    assert forecast[0, :, 0].tolist() == [1.5, 1.75]
