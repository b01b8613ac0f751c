"""models/roommate: the rule, the weights by hand, long memories, diaries, the bar."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import __main__ as command
from models import roommate
from tinygrad_rnn import nn
from tinygrad_rnn.data import one_hot

SMALL = ["--long-samples", "40", "--long-hidden-size", "8", "--meals", "5"]


def test_the_rule_day_by_day():
    rng = np.random.default_rng(0)
    weather, first = rng.integers(0, 2, (20, 30)), rng.integers(0, 3, 20)
    meals = roommate.cook(weather, first)
    for row, sky, meal in zip(meals, weather, first):
        for today, rain in zip(row, sky):
            meal = (meal + 1) % 3 if rain else meal
            assert today == meal


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("meals", [3, 7])
def test_the_weights_by_hand(mode, meals):
    rng = np.random.default_rng(1)
    weather, first = rng.integers(0, 2, (10, 50)), rng.integers(0, meals, 10)
    layer = nn.Recurrent(roommate.ByHand(meals), mode=mode, batch_first=True)
    with tr.no_grad():
        outputs = layer(one_hot(weather, 2), tr.tensor(one_hot(first, meals)))[0].numpy()
    expected = (first[:, None] + np.cumsum(weather, axis=1)) % meals
    np.testing.assert_array_equal(outputs, one_hot(expected, meals))  # exactly one meal, with all votes


def test_guests():
    inputs, meals, waits = roommate.visits(50, 60, 8, np.random.default_rng(0))
    assert inputs.shape == (50, 60, 3 + 8)
    for x, y, w in zip(inputs, meals, waits):
        wish = None
        for t in range(60):
            if x[t, 2]:
                wish = x[t, 3:].argmax()
            assert y[t] == (wish + x[t, 1]) % 8
            assert x[t - w[t], 2] == 1
    assert waits.max() > 40


def test_yesterday_is_not_enough():
    """The same weather and the same meal shown are followed by different meals."""
    inputs, meals, waits = roommate.visits(500, 20, 3, np.random.default_rng(0))
    rows = inputs[waits > 0].astype(int)
    kinds = np.unique(np.column_stack([rows, meals[waits > 0]]), axis=0)
    assert len(kinds) == 2 * 3 * 3


def diary(path, weather, meals, header="weather,meal\n"):
    path.write_text(header + "".join(f"{w},{m}\n" for w, m in zip(weather, meals)))
    return path


@pytest.mark.slow
def test_a_diary(tmp_path, capsys):
    rng = np.random.default_rng(0)
    sky = rng.integers(0, 2, (1, 400))
    meals = np.array(["soup", "rice", "stew"])[roommate.cook(sky, np.array([0]))[0]]
    path = diary(tmp_path / "diary.csv", np.array(["dry", "wet"])[sky[0]], meals)
    out = ["--out", str(tmp_path / "out")]
    metrics = roommate.main(["--data", str(path), "--epochs", "25", *out])
    assert metrics["score"] > 0.9 > metrics["rnn_score"]
    found = roommate.main(["predict", "dry", "wet", "--first", "rice", *out])
    assert found == ["rice", "stew"]
    assert command.main(["roommate", "predict", "foggy", *out]) == 1
    assert "WEATHER: got 'foggy', wanted one of dry, wet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("dry", "soup")] * 55, "diary.csv: got 55 days, wanted 56 or more"),
        ([("dry", "soup")] * 60, "diary.csv: got the one meal 'soup' only"),
        ([("dry", "soup")] * 40 + [("wet", "")], "diary.csv, line 42: got an empty meal"),
        ([("dry", "soup,rice")] * 60, "diary.csv, line 2: got 3 cells, wanted 2: weather and meal"),
        ([], "diary.csv: got no rows, wanted rows of weather and meal"),
    ],
)
def test_bad_diaries(tmp_path, capsys, rows, message):
    path = diary(tmp_path / "diary.csv", *zip(*rows)) if rows else diary(tmp_path / "diary.csv", [], [])
    assert command.main(["roommate", "--data", str(path), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_same_meals_and_a_long_memory(tmp_path):
    """The whole of it, with fewer epochs."""
    metrics = roommate.main(["--epochs", "12", "--out", str(tmp_path)])
    assert metrics["by_hand_accuracy"] == metrics["learnt_accuracy"] == 1
    assert metrics["late_accuracy_lstm"] > 0.95
    assert metrics["late_accuracy_rnn"] < 0.3
