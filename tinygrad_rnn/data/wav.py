"""WAV files: integer and floating-point samples of any usual width."""

from __future__ import annotations

import struct
from os import PathLike
from typing import NamedTuple

import numpy as np

from ..atomic import write
from ..errors import DataError, ShapeError
from ._checks import as_array, integer, require_finite
from ._files import content

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # the rest of a GUID that begins with one of these numbers
WIDTHS = {PCM: (1, 2, 3, 4), FLOAT: (4, 8)}  # bytes


class _Format(NamedTuple):
    """The format of samples in a file: kind, width, channels, rate."""

    kind: int
    channels: int
    rate: int
    width: int


def read_wav(path: str | PathLike[str]) -> tuple[np.ndarray, int]:
    """The samples of a WAV file, and their rate.

    Parameters
    ----------
    path : path of the file
        PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64 bits; several channels become their mean.

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
        Naming the file, if it is something else, was cut, or holds no samples, or NaN or infinity.

    Notes
    -----
    Programs that write to a pipe cannot say how long the sound will be. Where they leave the length 0, or the
    greatest possible, all that follows counts.

    References
    ----------
    "Multimedia Programming Interface and Data Specifications 1.0", IBM and Microsoft, 1991; "Multiple Channel Audio
    Data and WAVE Files", Microsoft, 2007 (WAVE_FORMAT_EXTENSIBLE).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "tone.wav")
    ...     write_wav(path, np.array([0.0, 0.5, -0.5]), rate=8000)
    ...     read_wav(path)
    (array([ 0. ,  0.5, -0.5], dtype=float32), 8000)
    """
    with content(path) as raw:
        form, data = _chunks(path, raw)
        frame = form.channels * form.width
        count = len(data) // frame
        if form.rate < 1 or not count:
            raise DataError(f"{path}: got {count} samples at a rate of {form.rate}, wanted some sound")
        data = data[: count * frame]
        samples = _floats(data, form) if form.kind == FLOAT else _integers(data, form.width)
        require_finite(f"{path}, samples", samples)
        return samples.reshape(count, form.channels).mean(1, dtype=np.float32), form.rate


def _chunks(path: str | PathLike[str], raw: bytes) -> tuple[_Format, memoryview]:
    """The format of a file, and the bytes of its samples."""
    if len(raw) < 12 or raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        why = "it was cut" if len(raw) < 12 else f"its first bytes are {raw[:12]!r}"
        raise DataError(f"{path}: got no WAV file of PCM samples ({why})")
    form: _Format | None = None
    at = 12
    while at + 8 <= len(raw):
        name, size = struct.unpack_from("<4sI", raw, at)
        at += 8
        if name == b"data":
            if form is None:
                raise DataError(f"{path}: got samples before their format, wanted it first")
            here = len(raw) - at
            if _of_stream(size, int.from_bytes(raw[4:8], "little"), here):
                size = here
            elif size > here:
                raise DataError(f"{path}: got {here} bytes of samples, wanted {size}: it was cut")
            return form, memoryview(raw)[at : at + size]
        if size > len(raw) - at:
            raise DataError(f"{path}: got a chunk {name!r} of {size} bytes, {len(raw) - at} of them here: it was cut")
        if name == b"fmt ":
            form = _format(path, raw[at : at + size])
        at += size + size % 2  # chunks begin at even places
    wanted = "samples" if form else "a format and samples"
    raise DataError(f"{path}: got a WAV file without {wanted}: it was cut")


def _of_stream(size: int, whole: int, here: int) -> bool:
    """Whether the size of the samples is none, as the sound was still going on when it was written.

    It is 0 or the greatest number, with sign or without; SoX rounds that down to pages, arecord up.
    """
    if size == 0:
        return whole in (0, 0xFFFFFFFF)
    return size > here and (size == 0xFFFFFFFF or 0x7FFFF000 <= size <= 0x80000000)


def _format(path: str | PathLike[str], chunk: bytes) -> _Format:
    """The format that the chunk of this name describes."""
    if len(chunk) < 16:
        raise DataError(f"{path}: got a format of {len(chunk)} bytes, wanted at least 16")
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == SUBFORMAT:
        kind = int.from_bytes(chunk[24:26], "little")
    width = (bits + 7) // 8
    if kind not in WIDTHS:
        raise DataError(
            f"{path}: got samples of format {kind:#06x}, wanted PCM (1) or floating point (3); read_audio reads others"
        )
    if width not in WIDTHS[kind]:
        wanted = "8, 16, 24 or 32" if kind == PCM else "32 or 64"
        raise DataError(f"{path}: got samples of {bits} bits in format {kind}, wanted {wanted}")
    if channels < 1 or frame != channels * width:
        raise DataError(f"{path}: got {frame} bytes for {channels} channels of {bits} bits, wanted {channels * width}")
    return _Format(kind, channels, rate, width)


def _integers(data: memoryview, width: int) -> np.ndarray:
    """Integers of `width` bytes as numbers from -1 to 1; those of one byte are unsigned."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values, width = padded.reshape(-1).view("<i4"), 4
    else:
        values = np.frombuffer(data, f"<i{width}")
    return values.astype(np.float32) / np.float32(2 ** (8 * width - 1))


def _floats(data: memoryview, form: _Format) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return np.frombuffer(data, f"<f{form.width}").astype(np.float32)


def write_wav(path: str | PathLike[str], samples, rate: int) -> None:
    """Write samples as a WAV file: one channel, 16 bits.

    Parameters
    ----------
    path : path
        The file appears at once or not at all; one that is there is replaced.
    samples : array_like, (N,)
        Between -1 and 1; what is louder is clipped.
    rate : int
        Samples per second.

    Raises
    ------
    DataError
        If a sample is NaN or infinite, or there are none.
    """
    samples = as_array("samples", samples)
    if samples.ndim != 1:
        raise ShapeError(f"samples: got shape {samples.shape}, wanted (N,)")
    if not samples.size:
        raise DataError("samples: got none, wanted some sound")
    require_finite("samples", samples)
    rate = integer("rate", rate, 1, 2**31 - 1)
    values = np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, PCM, 1, rate, 2 * rate, 2, 16)
    size = 4 + len(form) + 8 + len(values)
    if size >= 2**32:
        raise DataError(f"samples: got {len(samples)}, wanted fewer than {2**31}, as a WAV file can hold")
    write(
        path, struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + form + struct.pack("<4sI", b"data", len(values)) + values
    )
