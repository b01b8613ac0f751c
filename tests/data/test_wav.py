"""WAV files as programs write them, whole and broken."""

import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import read_wav, write_wav
from tinygrad_rnn.data.wav import SUBFORMAT
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


def riff(
    data,
    bits,
    kind=1,
    channels=1,
    rate=8000,
    extensible=False,
    size=None,
    whole=None,
    before=b"",
    behind=b"",
    frame=None,
):
    """The bytes of a WAV file, as the specifications have it."""
    frame = channels * bits // 8 if frame is None else frame
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * frame, frame, bits)
    if extensible:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", kind) + SUBFORMAT
    size = len(data) if size is None else size
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    body += behind
    return b"RIFF" + struct.pack("<I", len(body) if whole is None else whole) + body


def read(tmp_path, content):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    return read_wav(path)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_formats(tmp_path, kind, bits, extensible, channels):
    values = np.random.default_rng(0).uniform(-1, 1, (50, channels))
    if kind == 3:
        raw, tolerance = values.astype(f"<f{bits // 8}").tobytes(), 1e-7
    else:
        numbers = np.round(values * (2 ** (bits - 1) - 1)).astype(np.int64) + (128 if bits == 8 else 0)
        raw = b"".join(int(n).to_bytes(bits // 8, "little", signed=bits > 8) for n in numbers.flat)
        tolerance = 2.0 ** (2 - bits) + 1e-7
    samples, rate = read(tmp_path, riff(raw, bits, kind, channels, 44100, extensible))
    assert rate == 44100
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, values.mean(1), atol=tolerance)


def test_bits_that_fill_no_bytes_lie_on_top(tmp_path):
    """12 bits in two bytes, 20 in three."""
    assert read(tmp_path, riff((0x4000).to_bytes(2, "little"), 12, frame=2))[0].tolist() == [0.5]
    assert read(tmp_path, riff((0x400000).to_bytes(3, "little"), 20, frame=3))[0].tolist() == [0.5]


def test_other_chunks(tmp_path):
    """Odd ones are padded; what follows the samples is left alone."""
    sound = np.array([100, -100], "<i2").tobytes()
    before, behind = b"LIST\x03\0\0\0abc\0", b"id3 \x02\0\0\0xx"
    expected = [100 / 32768, -100 / 32768]
    assert read(tmp_path, riff(sound, 16, before=before, behind=behind))[0].tolist() == expected


@pytest.mark.parametrize(
    ("size", "whole"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0, 0xFFFFFFFF), (0x7FFFF000, 0x7FFFF024), (0x80000000, 0)]
)
def test_headers_of_streams(tmp_path, size, whole):
    """What ffmpeg, GStreamer, SoX and arecord write to a pipe."""
    sound = np.array([100, -100, 50], "<i2").tobytes()
    samples, _ = read(tmp_path, riff(sound + b"?", 16, size=size, whole=whole))
    assert samples.tolist() == [100 / 32768, -100 / 32768, 50 / 32768]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (riff(bytes(4), 16, size=5000), r"x\.wav: got 4 bytes of samples, wanted 5000: it was cut"),
        (
            riff(bytes(4), 16, before=b"LIST\xff\xff\0\0"),
            r"a chunk b'LIST' of 65535 bytes, \d+ of them here: it was cut",
        ),
        (riff(bytes(4), 16, kind=7), "got samples of format 0x0007, wanted PCM"),
        (riff(bytes(4), 16, kind=2, extensible=True), "got samples of format 0x0002, wanted PCM"),
        (riff(bytes(8), 64), "got samples of 64 bits in format 1, wanted 8, 16, 24 or 32"),
        (riff(bytes(8), 0), "got samples of 0 bits"),
        (riff(bytes(8), 16, kind=3), "got samples of 16 bits in format 3, wanted 32 or 64"),
        (riff(bytes(8), 16, channels=0), "got 0 bytes for 0 channels"),
        (riff(bytes(8), 16, frame=7), "got 7 bytes for 1 channels of 16 bits, wanted 2"),
        (riff(bytes(8), 16, rate=0), "got 4 samples at a rate of 0, wanted some sound"),
        (riff(np.array([0, np.nan], "<f4").tobytes(), 32, 3), r"x\.wav, samples\[1\]: got nan, wanted a finite number"),
        (riff(np.array([1e300], "<f8").tobytes(), 64, 3), r"x\.wav, samples\[0\]: got inf"),
        (riff(b"", 16)[:36], "got a WAV file without samples"),
        (b"RIFF\x04\0\0\0WAVE", "got a WAV file without a format and samples"),
        (b"RIFF\x04\0\0\0WAVEdata\0\0\0\0", "got samples before their format"),
        (b"RIFF\x04\0\0\0WAVEfmt \x04\0\0\0abcd", "got a format of 4 bytes, wanted at least 16"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \xf0\xff\xff\xff", "got a chunk b'fmt ' of 4294967280 bytes"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [([0.1], 8000.0), ([0.1], 0), ([0.1], None), ([np.nan], 8000), ([], 8000), ([[0.1]], 8000), ("sound", 8000)],
)
def test_what_cannot_be_written_leaves_the_file_that_is_there(tmp_path, samples, rate):
    path = tmp_path / "x.wav"
    write_wav(path, [0.5], 8000)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError), match=r"^(samples|rate)(\[0\])?: got "):
        write_wav(path, samples, rate)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_is_written_as_it_is(tmp_path):
    write_wav(tmp_path / "x.wav", np.array([0.9, -1, 4], np.float16), 8000)
    np.testing.assert_allclose(read_wav(tmp_path / "x.wav")[0], [0.9, -1, 32767 / 32768], atol=1e-3)
