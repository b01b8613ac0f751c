"""Sound files of any format that libsndfile reads, such as FLAC, OGG and MP3."""

from __future__ import annotations

import io
from os import PathLike

import numpy as np

from ..checks import missing
from ..errors import DataError
from ._checks import require_finite
from ._files import content


def read_audio(path: str | PathLike[str]) -> tuple[np.ndarray, int]:
    """The samples of a sound file of any usual format, and their rate.

    The library soundfile reads it: ``pip install "tinygrad_rnn[audio]"``. For WAV files of numbers, :func:`read_wav`
    needs no library, and notices where a file was cut; libsndfile gives what is there of WAV, AIFF and MP3.

    Parameters
    ----------
    path : path of the file
        Several channels become their mean.

    Returns
    -------
    samples : ndarray of float32, (N,)
        Between -1 and 1; of floating-point files whatever they hold.
    rate : int
        Samples per second.

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file, if it is something else, or holds no samples, or NaN or infinity.
    ModuleNotFoundError
        If soundfile is not there.
    """
    try:
        import soundfile
    except (ModuleNotFoundError, OSError):  # or the library that it calls
        raise missing("read_audio", "soundfile", "audio") from None
    with content(path) as raw:
        try:
            samples, rate = soundfile.read(io.BytesIO(raw), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, TypeError) as error:  # the second of raw samples without a format
            why = getattr(error, "error_string", error)
            raise DataError(f"{path}: got no sound file that can be read ({why})") from None
        if not samples.size:
            raise DataError(f"{path}: got 0 samples at a rate of {rate}, wanted some sound")
        require_finite(f"{path}, samples", samples)
        return samples.mean(1, dtype=np.float32), int(rate)
