"""The log-mel spectrogram."""

import numpy as np
import pytest

from tinygrad_rnn.data import log_mel
from tinygrad_rnn.errors import DataError, ShapeError


def test_a_spectrogram_by_hand():
    """One window, by the definition."""
    rng = np.random.default_rng(0)
    sound, rate = rng.standard_normal(200).astype(np.float32), 8000
    n = np.arange(200)
    power = [abs(np.sum(np.hanning(200) * sound * np.exp(-2j * np.pi * k * n / 256))) ** 2 for k in range(129)]
    mel = 2595 * np.log10(1 + np.arange(129) * rate / 256 / 700)
    corners = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 4000 / 700), 14)
    expected = [
        np.log(sum(p * np.interp(m, corners[b : b + 3], [0, 1, 0]) for p, m in zip(power, mel)) + 1e-8)
        for b in range(12)
    ]
    frames = log_mel(sound, rate, bands=12)
    assert frames.shape == (1, 12)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames[0], expected, rtol=1e-4)


def test_frames():
    assert log_mel(np.zeros(80), 8000, bands=8).shape == (1, 8)  # shorter than a window
    assert log_mel(np.zeros(200 + 3 * 80), 8000, bands=8).shape == (4, 8)
    assert np.isfinite(log_mel(np.zeros(80), 8000, bands=8)).all()
    rising = log_mel(np.sin(2 * np.pi * (300 + 600 * np.arange(16000) / 16000) * np.arange(16000) / 8000), 8000)
    assert (np.diff(rising.argmax(1)) >= 0).all()
    assert rising.argmax(1)[-1] > rising.argmax(1)[0] + 8


def test_bad_arguments():
    with pytest.raises(ShapeError, match=r"samples: got shape \(0,\), wanted"):
        log_mel(np.zeros(0), 8000)
    with pytest.raises(ValueError, match="bands: got 200, too many for windows of 256 samples"):
        log_mel(np.zeros(1000), 8000, bands=200)
    with pytest.raises(ValueError, match=r"window: got 0\.0001 s, 1 samples"):
        log_mel(np.zeros(1000), 8000, window=0.0001)
    with pytest.raises(ValueError, match=r"rate: got 120, wanted an integer >= 121"):
        log_mel(np.zeros(1000), 120)
    for option in ("window", "hop"):
        for value in (0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=rf"{option}: got {value}, wanted a finite number above 0"):
                log_mel(np.zeros(1000), 8000, **{option: value})


def test_sounds_that_are_no_numbers():
    for wrong in (np.nan, np.inf):
        sound = np.zeros(1000)
        sound[7] = wrong
        with pytest.raises(DataError, match=rf"samples\[7\]: got {wrong}, wanted a finite number"):
            log_mel(sound, 8000)
    with pytest.raises(DataError, match="samples: got values up to 1e\\+25, so large that their energy overflows"):
        log_mel(np.full(1000, 1e25), 8000)
