"""models/speech: its voices, files of the user's own, the bar."""

import numpy as np
import pytest

from models import __main__ as command
from models import speech
from tinygrad_rnn.data import Vocabulary, log_mel, write_wav


def folder(path, count=12, table=False):
    """Recordings as a user has them."""
    path.mkdir()
    texts = []
    for i, recording in enumerate(speech.synthesise(count, seed=3)):
        write_wav(path / f"{i:02}.wav", recording.samples, recording.rate)
        texts.append(recording.text.upper())
        if not table:
            (path / f"{i:02}.txt").write_text(recording.text.upper() + "\n")
    if table:
        rows = [f"{i:02}.wav\t{text}\n" for i, text in enumerate(texts)]
        (path / "transcripts.tsv").write_text("file\ttext\n" + "".join(rows))
    return path


def test_voices():
    rng = np.random.default_rng(0)
    sounds = [speech.speak(["seven", "one"], rng) for _ in range(20)]
    lengths = np.array([len(s) for s in sounds]) / speech.RATE
    assert lengths.min() > 0.6
    assert lengths.max() > 1.3 * lengths.min()  # tempo varies
    assert all(np.isfinite(s).all() and np.abs(s).max() < 3 for s in sounds)
    assert all(s in speech.SOUNDS for sounds in speech.DIGITS.values() for s in sounds.split())


def test_vowels_have_their_formants():
    """The energy of a held vowel peaks at its first formant, that of /s/ lies above 2 kHz."""
    centres = np.fft.rfftfreq(4 * speech.FRAME, 1 / speech.RATE)
    for sound in ("iy", "eh", "s"):
        peaks = np.array([speech.SOUNDS[sound][2]], float)
        passed = speech.filters(peaks)[0]
        assert abs(centres[passed.argmax()] - peaks[0, 0]) <= 25
    frames = log_mel(speech.speak(["six"], np.random.default_rng(1)), speech.RATE, speech.BANDS)
    assert frames[:, -6:].mean(1).max() > frames[:, -6:].mean(1)[0] + 2


def test_recordings_are_of_the_seed():
    first, again, other = (speech.synthesise(3, seed) for seed in (1, 1, 2))
    assert [r.text for r in first] == [r.text for r in again] != [r.text for r in other]
    np.testing.assert_array_equal(first[2].samples, again[2].samples)
    assert set(" ".join(r.text for r in first).split()) <= set(speech.DIGITS)


def test_the_baseline_finds_equal_recordings():
    alphabet = Vocabulary(speech.DIGITS, pad="<blank>", unk=None, sos=None, eos=None)
    spaced = Vocabulary([*alphabet.tokens[1:], " "], pad="<blank>", unk=None, sos=None, eos=None)
    data = speech.Examples(speech.synthesise(6, seed=0), spaced)
    assert speech.nearest(data, data) == data.texts


@pytest.mark.sampled(2)
@pytest.mark.parametrize("table", [False, True])
def test_a_folder_of_recordings(tmp_path, capsys, table):
    data = folder(tmp_path / "data", table=table)
    out = ["--out", str(tmp_path / "out")]
    assert command.main(["speech", "--data", str(data), "--epochs", "1", "--hidden-size", "8", *out]) == 0
    assert "10 recordings to train on, 2 held out" in capsys.readouterr().out
    assert command.main(["speech", "transcribe", str(data / "00.wav"), str(data / "01.wav"), *out]) == 0
    assert capsys.readouterr().out.count(".wav: ") == 2
    write_wav(tmp_path / "x.wav", np.ones(9), 16000)
    assert command.main(["speech", "transcribe", str(tmp_path / "x.wav"), *out]) == 1
    assert "x.wav: got a rate of 16000 Hz, wanted 8000 Hz as in training" in capsys.readouterr().err


def broken(kind, path):
    if kind == "empty":
        for file in path.iterdir():
            file.unlink()
        return "holds 0 recordings, wanted two or more"
    if kind == "no text":
        (path / "03.txt").unlink()
        return "03.txt"
    if kind == "empty text":
        (path / "03.txt").write_text(" \n")
        return "03.txt: got an empty file, wanted text"
    if kind == "encoding":
        (path / "03.txt").write_bytes(b"three \xff")
        return "03.txt, line 1: got the byte 0xff, wanted utf-8"
    if kind == "no sound":
        (path / "03.wav").write_bytes(b"RIFF, or not")
        return "03.wav: got no WAV file"
    if kind == "rate":
        write_wav(path / "03.wav", np.ones(5000), 11025)
        return "03.wav: got a rate of 11025 Hz, wanted 8000 Hz as"
    if kind == "too short":
        write_wav(path / "03.wav", np.ones(500), 8000)
        (path / "03.txt").write_text("seven three")
        return "03.wav: got a recording of 0.06 s, too short to say 'seven three': 2 steps, wanted at least 12"
    (path / "transcripts.tsv").write_text("00.wav\tone\n01.wav\n")
    return "transcripts.tsv, line 2: got 1 cells, wanted 2: file and text"


@pytest.mark.parametrize(
    "kind", ["empty", "no text", "empty text", "encoding", "no sound", "rate", "too short", "ragged table"]
)
def test_bad_folders(tmp_path, capsys, kind):
    data = folder(tmp_path / "data", count=5)
    message = broken(kind, data)
    assert command.main(["speech", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_5_percent_with_half_of_the_recordings(tmp_path):
    metrics = speech.main(["--recordings", "800", "--epochs", "8", "--out", str(tmp_path)])
    assert metrics["cer"] <= 0.05
    assert metrics["beam_cer"] <= 0.05
    assert metrics["nearest_cer"] > 0.3
