"""WAV files, whole and broken, and the log-mel spectrogram."""

import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import log_mel, read_wav, write_wav
from tinygrad_rnn.errors import DataError, ShapeError


def pcm(path, values, width, channels=1, rate=8000):
    """A WAV file of integers."""
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        if width == 1:
            file.writeframes(bytes(v + 128 for v in values))
        else:
            file.writeframes(b"".join(int(v).to_bytes(width, "little", signed=True) for v in values))
    return path


@given(st.sampled_from([1, 2, 3, 4]), st.lists(st.floats(-1, 0.99), min_size=1, max_size=20))
def test_samples_of_any_width(tmp_path_factory, width, values):
    scale = 2 ** (8 * width - 1)
    path = pcm(tmp_path_factory.mktemp("wav") / "x.wav", [int(v * scale) for v in values], width, rate=44100)
    samples, rate = read_wav(path)
    assert rate == 44100
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, [int(v * scale) / scale for v in values], atol=1e-7)


def test_channels_become_their_mean(tmp_path):
    samples, _ = read_wav(pcm(tmp_path / "x.wav", [16384, 0, -16384, -16384], 2, channels=2))
    assert samples.tolist() == [0.25, -0.5]


def test_write_and_read(tmp_path):
    sound = np.sin(np.arange(100))
    write_wav(tmp_path / "x.wav", 1.2 * sound, 16000)
    samples, rate = read_wav(tmp_path / "x.wav")
    assert rate == 16000
    np.testing.assert_allclose(samples, np.clip(1.2 * sound, -1, 32767 / 32768), atol=1 / 32768)
    with pytest.raises(ShapeError, match=r"samples: got shape \(2, 3\), wanted \(N,\)"):
        write_wav(tmp_path / "y.wav", np.zeros((2, 3)), 16000)


def test_broken_files(tmp_path):
    path = tmp_path / "x.wav"
    for content in (b"", b"RIFF", b"no sound at all", bytes(100)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.wav: got no WAV file of PCM samples"):
            read_wav(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"of PCM samples \(it was cut\)"):
        read_wav(path)
    with pytest.raises(DataError, match="got 0 samples at a rate of 8000, wanted some sound"):
        read_wav(pcm(path, [], 2))
    pcm(path, range(100), 2)
    path.write_bytes(path.read_bytes()[:-21])
    with pytest.raises(DataError, match=r"x\.wav: got .* was cut"):
        read_wav(path)


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
