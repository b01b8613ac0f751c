"""models/airline: the tutorial's numbers, its files, and series of the user's own."""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from models import __main__ as command
from models import _command, airline
from tinygrad_rnn.data import read_column
from tinygrad_rnn.errors import DataError

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def series():
    return read_column(airline.PASSENGERS, "passengers")


def test_the_series(series):
    assert series.shape == (144,)
    assert series[[0, 1, -2, -1]].tolist() == [112, 118, 390, 432]
    assert series.sum() == 40363
    assert series.argmax() == 138  # July 1960
    assert series.max() == 622


def test_windows(series):
    data = airline.Windows(series, look_back=3)
    (train_x, train_y), (test_x, test_y) = data.train, data.test
    assert data.cut == 96
    assert train_x.shape == (93, 3, 1)
    assert test_x.shape == (45, 3, 1)
    np.testing.assert_allclose(data.scaler.inverse_transform(train_x[0, :, 0]), [112, 118, 132])
    np.testing.assert_allclose(data.scaler.inverse_transform(train_y[0]), [129])
    np.testing.assert_allclose(data.scaler.inverse_transform(test_x[0, :, 0]), series[96:99])
    np.testing.assert_allclose(data.scaler.inverse_transform(test_y[-1]), [432])


def test_initial_weights_are_those_of_keras():
    lstm = airline.Forecaster(4).rnn.cell
    hidden = lstm.weight_hh.numpy()
    np.testing.assert_allclose(hidden.T @ hidden, np.eye(4), atol=1e-6)  # over all gates at once
    bound = math.sqrt(6 / (1 + 16))
    assert 0.5 * bound < abs(lstm.weight_ih.numpy()).max() <= bound
    assert lstm.bias_ih.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    assert lstm.bias_hh.tolist() == [0.0] * 16
    assert not lstm.bias_hh.requires_grad


def test_persistence_is_the_difference_to_the_month_before(series):
    data = airline.Windows(series, look_back=2)
    errors = airline.evaluate(airline.Forecaster(4), data)
    steps = np.diff(series.astype(np.float64))
    assert errors["train_persistence_rmse"] == pytest.approx(np.sqrt(np.mean(steps[1:95] ** 2)), rel=1e-4)
    assert errors["test_persistence_rmse"] == pytest.approx(np.sqrt(np.mean(steps[97:] ** 2)), rel=1e-4)


def test_weights_give_the_same_forecasts(tmp_path, series):
    errors = airline.main(["--epochs", "2", "--out", str(tmp_path)])
    state = load_file(tmp_path / "weights.safetensors")
    model = airline.Forecaster(4)
    model.load_state_dict(state)
    data = airline.Windows(series, look_back=1)
    assert airline.evaluate(model, data) == errors


@pytest.mark.slow
def test_one_seed_one_result(tmp_path):
    out = ["--out", str(tmp_path), "--force"]
    first, again, other = (airline.main(["--epochs", "1", "--seed", seed, *out]) for seed in "112")
    assert first == again
    assert first != other


def test_a_series_of_the_users_own(tmp_path, capsys):
    table = tmp_path / "demand.csv"
    table.write_text("week,sold\n" + "".join(f"{i},{10 + i % 7}\n" for i in range(40)))
    errors = airline.main(
        [
            "--data",
            str(table),
            "--column",
            "sold",
            "--look-back",
            "7",
            "--epochs",
            "2",
            "--out",
            str(tmp_path),
            "--force",
        ]
    )
    assert capsys.readouterr().out.startswith("sold: 40 values, 19 windows to train on, 7 to test")
    assert all(math.isfinite(e) for e in errors.values())
    assert (tmp_path / "forecast.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("month,sold\n1,5\n2,\n", "line 3, column 'sold': got an empty cell"),
        ("month,passengers\n1,5\n", "got the column 'sold' nowhere"),
        ("month,sold\n1,5\n2,6\n3,7\n", "series: got 2 steps, wanted at least look_back + horizon = 13"),
        ("", "got an empty file"),
    ],
)
def test_bad_files(tmp_path, capsys, content, message):
    table, out = tmp_path / "table.csv", tmp_path / "out"
    table.write_text(content)
    arguments = ["--data", str(table), "--column", "sold", "--look-back", "12", "--out", str(out)]
    assert command.main(["airline", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_a_forecast_too_far_ahead(tmp_path, capsys):
    assert command.main(["airline", "--steps", "145", "--out", str(tmp_path / "out")]) == 1
    assert "--steps: got 145, wanted at most 144, as many as the series has" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_file(tmp_path, capsys):
    assert command.main(["airline", "--data", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err


def test_errors_are_those_of_the_framework(tmp_path):
    (tmp_path / "t.csv").write_text("passengers\nmany\n")
    with pytest.raises(DataError, match="line 2, column 'passengers': got 'many'"):
        airline.main(["--data", str(tmp_path / "t.csv"), "--out", str(tmp_path), "--force"])


@pytest.mark.slow
def test_the_tutorials_numbers(tmp_path):
    """22.9 and 47.5 passengers (Keras), within 10 %, for three seeds."""
    for seed in range(3):
        errors = airline.main(["--seed", str(seed), "--out", str(tmp_path / str(seed))])
        assert errors["train_rmse"] == pytest.approx(22.9, rel=0.1)
        assert errors["test_rmse"] == pytest.approx(47.5, rel=0.1)


def test_the_longer_forecast(tmp_path, series, capsys):
    """From the end of the training on: the error of a model that repeats the last value is known."""
    data = airline.Windows(series, look_back=1)
    errors = airline.evaluate(airline.Forecaster(4), data, steps=12)
    error = [series[at + step] - series[at - 1] for at in range(96, 133) for step in range(12)]
    assert errors["ahead_persistence_rmse"] == pytest.approx(math.sqrt(np.mean(np.square(error))), rel=1e-5)
    assert airline.main(["--epochs", "1", "--out", str(tmp_path)])
    capsys.readouterr()
    known = airline.main(["predict", "--steps", "4", "--out", str(tmp_path)])
    again = airline.main(["predict", "--steps", "4", "--out", str(tmp_path), "--data", str(airline.PASSENGERS)])
    np.testing.assert_allclose(known, again, rtol=1e-5)
    assert capsys.readouterr().out.split()[:4] == [f"{value:.1f}" for value in known]


def test_a_series_shorter_than_it_looks_back(tmp_path):
    airline.main(["--epochs", "1", "--look-back", "3", "--out", str(tmp_path)])
    (tmp_path / "short.csv").write_text("passengers\n1\n2\n")
    with pytest.raises(DataError, match=r"short.csv: got 2 rows, wanted at least the 3 that it sees"):
        airline.main(["predict", "--out", str(tmp_path), "--data", str(tmp_path / "short.csv")])


def test_predict_keeps_no_graph(series):
    data = airline.Windows(series, look_back=1)
    model = airline.Forecaster(4)
    predictions = _command.predict(model, data.test[0])
    assert predictions.shape == (47, 1)
    assert all(p.grad is None for p in model.parameters())
