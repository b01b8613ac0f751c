"""Sound: WAV files, and the log-mel spectrogram that speech recognisers read."""

from __future__ import annotations

import wave
from os import PathLike

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import DataError, ShapeError
from ._checks import as_array, integer

FLOOR = 1e-8  # of energies, before the logarithm


def read_wav(path: str | PathLike[str]) -> tuple[np.ndarray, int]:
    """The samples of a WAV file, and their rate.

    Parameters
    ----------
    path : path of the file
        PCM of 8, 16, 24 or 32 bits; several channels become their mean.

    Returns
    -------
    samples : ndarray of float32, (N,)
        Between -1 and 1.
    rate : int
        Samples per second.

    Raises
    ------
    DataError
        Naming the file, if it is something else, was cut, or holds no samples.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "tone.wav")
    ...     write_wav(path, np.array([0.0, 0.5, -0.5]), rate=8000)
    ...     read_wav(path)
    (array([ 0. ,  0.5, -0.5], dtype=float32), 8000)
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            raw = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path}: got no WAV file of PCM samples ({str(error) or 'it was cut'})") from None
    if width not in (1, 2, 3, 4):
        raise DataError(f"{path}: got samples of {8 * width} bits, wanted 8, 16, 24 or 32")
    if rate < 1 or not raw:
        raise DataError(f"{path}: got {count} samples at a rate of {rate}, wanted some sound")
    if len(raw) != count * channels * width:
        raise DataError(f"{path}: got {len(raw)} bytes of samples, wanted {count * channels * width}: it was cut")
    values = np.frombuffer(raw, np.uint8) ^ np.uint8(0x80 if width == 1 else 0)  # bytes alone are unsigned
    padded = np.zeros((len(raw) // width, 4), np.uint8)  # 32-bit integers, with the bits of shorter ones on top
    padded[:, 4 - width :] = values.reshape(-1, width)
    samples = padded.view("<i4").astype(np.float32) / np.float32(2**31)
    return samples.reshape(-1, channels).mean(1), rate


def write_wav(path: str | PathLike[str], samples, rate: int) -> None:
    """Write samples as a WAV file: one channel, 16 bits.

    Parameters
    ----------
    path : path
    samples : array_like, (N,)
        Between -1 and 1; what is louder is clipped.
    rate : int
        Samples per second.
    """
    samples = as_array("samples", samples)
    if samples.ndim != 1:
        raise ShapeError(f"samples: got shape {samples.shape}, wanted (N,)")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(integer("rate", rate, 1))
        file.writeframes(np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())


def log_mel(samples, rate: int, bands: int = 32, window: float = 0.025, hop: float = 0.01) -> np.ndarray:
    """The log-mel spectrogram: how much energy there is around each pitch at each moment.

    Short windows of sound (Hann) are taken apart into frequencies; their energies are added up in triangles
    that are equally wide on the mel scale, ``2595 log10(1 + f / 700)``, on which steps sound equal.

    Parameters
    ----------
    samples : array_like, (N,)
    rate : int
        Samples per second.
    bands : int
        Triangles, from 60 Hz to half the rate.
    window, hop : float
        Length of a window, and from one to the next, in seconds.

    Returns
    -------
    ndarray of float32, (T, bands)
        ``T = 1 + (N - window) // hop`` in samples; a sound shorter than a window is filled up with silence.

    Raises
    ------
    ValueError
        If the windows are so short that a triangle holds no frequency.

    References
    ----------
    Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", 1980.

    Examples
    --------
    A tone of 1000 Hz lies in one band all the time:

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(1600) / 16000)
    >>> frames = log_mel(tone, rate=16000, bands=20)
    >>> frames.shape, set(frames.argmax(1).tolist())
    ((8, 20), {6})
    """
    samples = as_array("samples", samples).astype(np.float32)
    rate, bands = integer("rate", rate, 1), integer("bands", bands, 1)
    if samples.ndim != 1 or not samples.size:
        raise ShapeError(f"samples: got shape {samples.shape}, wanted (N,) with some samples")
    length, step = round(window * rate), max(1, round(hop * rate))
    if length < 2:
        raise ValueError(f"window: got {window} s, {length} samples at a rate of {rate}, wanted more")
    samples = np.pad(samples, (0, max(0, length - samples.size)))
    frames = sliding_window_view(samples, length)[::step] * np.hanning(length).astype(np.float32)
    size = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    energies = power.astype(np.float32) @ _triangles(size, rate, bands)
    return np.log(energies + FLOOR).astype(np.float32)


def _triangles(size: int, rate: int, bands: int) -> np.ndarray:
    """The weight of each frequency in each band, (size // 2 + 1, bands)."""
    mel = lambda f: 2595 * np.log10(1 + f / 700)
    places = mel(np.fft.rfftfreq(size, 1 / rate))[:, None]
    corners = np.linspace(mel(60), mel(rate / 2), bands + 2)
    rising = (places - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - places) / (corners[2:] - corners[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
    if not weights.any(0).all():
        raise ValueError(f"bands: got {bands}, too many for windows of {size} samples; wanted fewer")
    return weights
