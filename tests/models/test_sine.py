"""models/sine: the waves, the bar, and the files."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from models import __main__ as command
from models import _command, sine


def test_waves():
    inputs, targets = sine.waves(50, 25, seed=3)
    assert inputs.shape == (50, 25, 1)
    assert targets.shape == (50, 1)
    assert inputs.dtype == targets.dtype == np.float32
    wave = np.concatenate([inputs[:, :, 0], targets], axis=1).astype(np.float64)
    assert 0.99 < abs(wave).max() <= 1
    # a sine fulfils w[t+1] + w[t-1] = 2 cos(2 pi / period) w[t], target included
    factor = ((wave[:, 2:] + wave[:, :-2]) * wave[:, 1:-1]).sum(1) / (wave[:, 1:-1] ** 2).sum(1)
    np.testing.assert_allclose(wave[:, 2:] + wave[:, :-2], factor[:, None] * wave[:, 1:-1], atol=1e-5)
    periods = 2 * np.pi / np.arccos(factor / 2)
    assert periods.min() > 19.9
    assert periods.max() < 30.1
    assert np.ptp(periods) > 8


def test_weights_give_the_same_error(tmp_path):
    errors = sine.main(["--epochs", "1", "--samples", "20", "--seed", "2", "--out", str(tmp_path)])
    model = sine.Predictor(32)
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    inputs, targets = sine.waves(20, 25, seed=2)
    error = np.abs(_command.predict(model, inputs[16:]) - targets[16:]).mean()
    assert error == pytest.approx(errors["mae"], rel=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("samples", "steps"), [(5, 25), (6, 1)])
def test_the_smallest_sizes(samples, steps, tmp_path):
    arguments = ["--samples", str(samples), "--steps", str(steps), "--epochs", "1", "--out", str(tmp_path)]
    assert np.isfinite(sine.main(arguments)["mae"])


def test_too_few_samples(capsys):
    with pytest.raises(SystemExit):
        sine.main(["--samples", "4"])
    assert "argument --samples: got '4', wanted an integer of at least 5" in capsys.readouterr().err


def series_file(path, count):
    values = 50 + 20 * np.sin(np.arange(count) * 2 * np.pi / 23)
    path.write_text("tide\n" + "\n".join(f"{v:.4f}" for v in values) + "\n")
    return values


@pytest.mark.slow
def test_a_series_of_yours(tmp_path, capsys):
    """The last fifth is held out, and nothing of it is seen; predictions are in its unit."""
    values = series_file(tmp_path / "x.csv", 500)
    (train_x, test_x, train_future, test_future), scaler = sine.of_series(values, 25, tmp_path / "x.csv")
    assert train_x.shape == (400 - 74, 25, 1)
    assert test_x.shape == (100 - 74, 25, 1)
    np.testing.assert_allclose(scaler.inverse_transform(train_future[-1]), values[350:400])
    np.testing.assert_allclose(scaler.inverse_transform(test_x[0, :, 0]), values[400:425])
    np.testing.assert_allclose(scaler.inverse_transform(test_future[-1]), values[-50:])
    out = ["--out", str(tmp_path / "out")]
    errors = sine.main(["--data", str(tmp_path / "x.csv"), "--column", "tide", "--epochs", "30", *out])
    assert errors["mae"] < 0.05
    follow = sine.main(["predict", "--steps", "3", *out])
    np.testing.assert_allclose(follow, 50 + 20 * np.sin(np.arange(500, 503) * 2 * np.pi / 23), atol=4)
    assert np.ptp(sine.main(["predict", "--values", *map(str, values[:25]), *out])) > 10
    capsys.readouterr()


def test_bad_series(tmp_path, capsys):
    data = ["--data", str(tmp_path / "x.csv")]
    series_file(tmp_path / "x.csv", 375)
    assert command.main(["sine", *data, "--column", "tide", "--out", str(tmp_path / "out")]) == 1
    assert "x.csv: got 375 values, wanted at least 376 for windows of 25 steps" in capsys.readouterr().err
    for arguments in (data, ["--column", "tide"]):
        assert command.main(["sine", *arguments, "--out", str(tmp_path / "out")]) == 1
        assert "--data, --column: got only one of them, wanted both" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_half_a_percent_of_the_amplitude(tmp_path):
    for seed in range(3):
        errors = sine.main(["--seed", str(seed), "--out", str(tmp_path / str(seed))])
        assert errors["mae"] <= 0.005
        assert errors["persistence_mae"] > 0.1
