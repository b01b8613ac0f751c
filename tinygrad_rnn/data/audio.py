"""The log-mel spectrogram that speech recognisers read."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..checks import MOST_ELEMENTS
from ..errors import DataError, ShapeError
from ._checks import above_zero, as_array, integer, require_finite

FLOOR = 1e-8  # of energies, before the logarithm
LOWEST = 60  # hertz
LONGEST = 1 << 24  # window, in samples


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
    DataError
        If a sample is NaN or infinite, or so large that energies overflow.
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
    samples = as_array("samples", samples)
    rate, bands = integer("rate", rate, 2 * LOWEST + 1), integer("bands", bands, 1, MOST_ELEMENTS)
    if samples.ndim != 1 or not samples.size:
        raise ShapeError(f"samples: got shape {samples.shape}, wanted (N,) with some samples")
    require_finite("samples", samples)
    length = round(above_zero("window", window) * rate)
    step = max(1, round(above_zero("hop", hop) * rate))
    if not 2 <= length <= LONGEST:
        wanted = "more" if length < 2 else f"at most {LONGEST}"
        raise ValueError(f"window: got {window} s, {length} samples at a rate of {rate}, wanted {wanted}")
    size = 1 << (length - 1).bit_length()
    triangles = _triangles(size, rate, bands)
    samples = np.pad(samples.astype(np.float32), (0, max(0, length - samples.size)))
    frames = sliding_window_view(samples, length)[::step] * np.hanning(length).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.abs(np.fft.rfft(frames, size)) ** 2
        energies = power.astype(np.float32) @ triangles
    if not np.isfinite(energies).all():
        raise DataError(f"samples: got values up to {np.abs(samples).max():.3g}, so large that their energy overflows")
    return np.log(energies + FLOOR).astype(np.float32)


def _triangles(size: int, rate: int, bands: int) -> np.ndarray:
    """The weight of each frequency in each band, (size // 2 + 1, bands)."""
    mel = lambda f: 2595 * np.log10(1 + f / 700)
    places = mel(np.fft.rfftfreq(size, 1 / rate))[:, None]
    corners = np.linspace(mel(LOWEST), mel(rate / 2), bands + 2)
    rising = (places - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - places) / (corners[2:] - corners[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
    if not weights.any(0).all():
        raise ValueError(f"bands: got {bands}, too many for windows of {size} samples; wanted fewer")
    return weights
