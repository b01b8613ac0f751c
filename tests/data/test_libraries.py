"""Readers and writers against the libraries of each format: what one writes, the other reads alike."""

import io
import sys

import numpy as np
import pytest

from tinygrad_rnn.data import DataLoader, Note, read_audio, read_csv_columns, read_midi, read_wav, write_midi, write_wav
from tinygrad_rnn.errors import DataError


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 3])
def test_wav_of_libsndfile(tmp_path, form, kind, channels):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "x.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, (40, channels)), 22050, kind, format=form)
    wanted, _ = soundfile.read(path, always_2d=True)
    for read in (read_wav, read_audio):
        samples, rate = read(path)
        assert rate == 22050
        np.testing.assert_allclose(samples, wanted.mean(1), atol=1e-7)


def test_wav_for_libsndfile(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    write_wav(tmp_path / "x.wav", np.sin(np.arange(100)), 16000)
    samples, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(samples, read_wav(tmp_path / "x.wav")[0])


@pytest.mark.parametrize(
    ("suffix", "kind"), [("flac", "PCM_16"), ("ogg", "VORBIS"), ("wav", "ULAW"), ("aiff", "PCM_24")]
)
def test_other_sounds(tmp_path, suffix, kind):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"x.{suffix}"
    sound = 0.5 * np.sin(np.arange(4000) / 20)
    soundfile.write(path, np.stack([sound, 0 * sound], 1), 8000, kind)
    samples, rate = read_audio(path)
    assert rate == 8000
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, sound / 2, atol=0.03)
    if kind == "ULAW":
        with pytest.raises(DataError, match=r"format 0x0007, wanted PCM .*; read_audio reads others"):
            read_wav(path)


def test_what_is_no_sound(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "x.flac"
    for content in (b"", b"no sound at all", bytes(100), b"fLaC" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.flac: got no sound file that can be read"):
            read_audio(path)
    soundfile.write(tmp_path / "x.wav", np.array([0.0, np.nan]), 8000, "FLOAT")
    with pytest.raises(DataError, match=r"samples\[1, 0\]: got nan"):
        read_audio(tmp_path / "x.wav")
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "none.flac")


def test_without_soundfile(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tinygrad_rnn\[audio\]"'):
        read_audio(tmp_path / "x.flac")


def drawn_notes(rng, count):
    """Notes of which none of one pitch overlap."""
    ends, notes = {}, []
    for _ in range(count):
        pitch, wait, length = (int(n) for n in rng.integers([30, 0, 1], [40, 500, 700]))
        start = ends.get(pitch, 0) + wait
        ends[pitch] = start + length
        notes.append((start, length, pitch))
    return notes


@pytest.mark.parametrize("seed", range(5))
def test_midi_of_mido(tmp_path, seed):
    mido = pytest.importorskip("mido")
    rng = np.random.default_rng(seed)
    ticks = int(rng.integers(24, 960))
    file, wanted = mido.MidiFile(ticks_per_beat=ticks, type=1), []
    for channel in range(int(rng.integers(1, 4))):
        notes = drawn_notes(rng, 20)
        wanted += [Note(start / ticks, length / ticks, pitch) for start, length, pitch in notes]
        events = [(start, 1, "note_on", pitch) for start, _, pitch in notes]
        events += [(start + length, 0, rng.choice(["note_off", "note_on"]), pitch) for start, length, pitch in notes]
        track = mido.MidiTrack([mido.MetaMessage("track_name", name="x"), mido.Message("program_change", program=3)])
        track.append(mido.MetaMessage("set_tempo", tempo=400000))
        now = 0
        for time, starts, kind, pitch in sorted(events):
            how = {"note": pitch, "velocity": 64 if starts else 0, "channel": channel, "time": time - now}
            track.append(mido.Message(str(kind), **how))
            track.append(mido.Message("sysex", data=[1, 2, 3]))
            track.append(mido.Message("pitchwheel", pitch=10, channel=channel))
            now = time
        file.tracks.append(track)
    file.save(tmp_path / "x.mid")
    assert read_midi(tmp_path / "x.mid") == sorted(wanted)


def test_midi_for_mido(tmp_path):
    mido = pytest.importorskip("mido")
    notes = [Note(start / 480, length / 480, p) for start, length, p in drawn_notes(np.random.default_rng(0), 30)]
    write_midi(tmp_path / "x.mid", notes, tempo=150, program=7)
    file = mido.MidiFile(tmp_path / "x.mid")
    now, sounding, found = 0, {}, []
    for message in file.tracks[0]:
        now += message.time
        if message.type == "note_on":
            sounding[message.note] = now
        elif message.type == "note_off":
            begun = sounding.pop(message.note)
            found.append(Note(begun / 480, (now - begun) / 480, message.note))
    assert sorted(found) == sorted(notes)
    assert [m.tempo for m in file.tracks[0] if m.type == "set_tempo"] == [400000]
    assert file.ticks_per_beat == 480


@pytest.mark.parametrize("options", [{}, {"sep": ";"}, {"quoting": 1}, {"lineterminator": "\r\n"}])
def test_tables_of_pandas(tmp_path, options):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    names = ["a", "b, c", 'say "d"', "é"]
    frame = pandas.DataFrame(rng.normal(size=(20, 4)) * 10.0 ** rng.integers(-30, 30, (20, 4)), columns=names)
    path = tmp_path / "x.csv"
    frame.assign(word='x;, "y"').to_csv(path, index=False, **options)
    delimiter = options.get("sep", ",")
    found = read_csv_columns(path, [*reversed(names)], dtype=np.float64, delimiter=delimiter)
    np.testing.assert_array_equal(found, frame[[*reversed(names)]].to_numpy())
    again = pandas.read_csv(path, sep=delimiter)
    np.testing.assert_allclose(again[[*reversed(names)]].to_numpy(), found, rtol=1e-14)


def test_frames_are_no_arrays_of_a_loader():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"data: got a tuple that holds Series, wanted arrays; take \.to_numpy\(\)"):
        DataLoader((np.ones(3), pandas.Series([1, 2, 3])), batch_size=2)


def test_a_log_of_a_training_is_a_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    from tinygrad_rnn import nn, optim
    from tinygrad_rnn.train import CSVLogger, Trainer

    model = nn.Linear(1, 1)
    logger = CSVLogger(tmp_path / "log.csv")
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, callbacks=[logger], progress=False)
    history = trainer.fit([(np.ones((2, 1)), np.zeros((2, 1)))], epochs=3)
    text = io.StringIO((tmp_path / "log.csv").read_text())
    frame = pandas.read_csv(text, index_col="epoch")
    np.testing.assert_allclose(frame["loss"], history["loss"], rtol=1e-14)
    assert frame.index.tolist() == [1, 2, 3]
