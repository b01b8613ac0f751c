"""models/melody: its rules, keys, MIDI files of the user's own, the bar."""

import numpy as np
import pytest

from models import __main__ as command
from models import melody
from tinygrad_rnn.data import NGramModel, Note, read_midi, write_midi
from tinygrad_rnn.errors import DataError

STYLES, TUNES = melody.composed(240, seed=2)


def test_tunes_keep_the_rules():
    assert set(STYLES) == set(melody.STYLES)
    assert len({str(tune) for tune in TUNES}) == len(TUNES)
    for style, tune in zip(STYLES, TUNES):
        size, at, bars = melody.BARS[style.split("-")[0]], 0, [[] for _ in range(8)]
        assert tune[0][0] == 0
        for interval, length in tune:
            assert at // size == (at + length - 1) // size  # no note crosses a bar line
            bars[at // size].append((interval, length))
            at += length
        assert melody.closes(style, tune)
        assert bars[4] == bars[0]
        assert [length for _, length in bars[5]] == [length for _, length in bars[1]]
        assert melody.in_key(tune) == 1


def test_minor_is_minor():
    """Above the keynote, which the tune ends on, stands a small third in minor and never a large one."""
    for mode, third, other in (("minor", 3, 4), ("major", 4, 3)):
        kinds = {
            (interval - tune[-1][0]) % 12
            for style, tune in zip(STYLES, TUNES)
            if style.endswith(mode)
            for interval, _ in tune
        }
        assert third in kinds
        assert other not in kinds


def test_in_key():
    assert melody.in_key([(i, 4) for i in (0, 2, 4, 5, 7, 9, 11, 12)]) == 1
    assert melody.in_key([(i, 4) for i in range(12)]) == pytest.approx(8 / 12)
    assert melody.in_key([]) == 0


def test_closes():
    assert melody.closes("march-major", [(0, 16)] * 8)
    assert not melody.closes("march-major", [(0, 16)] * 7)
    assert not melody.closes("march-major", [(0, 16)] * 7 + [(0, 8), (0, 8)])


def test_bits_of_the_baseline_leave_the_style_out():
    ids = np.array([3, 0, 1, 2])
    trigram = NGramModel(np.tile(ids, 5), 3, 4)
    by_hand = [trigram.probabilities(ids[:1])[0], trigram.probabilities(ids[:2])[1], trigram.probabilities(ids[:3])[2]]
    assert melody.cost(trigram, ids) == pytest.approx(-np.log2(by_hand).sum())


@pytest.mark.parametrize(
    ("text", "key"), [("60", 60), ("C4", 60), ("c4", 60), ("Bb3", 58), ("A#3", 58), ("F#5", 78), ("A4", 69)]
)
def test_names_of_notes(text, key):
    assert melody.key(text) == key


@pytest.mark.parametrize("text", ["", "H4", "C", "128", "-1", "C#"])
def test_no_names_of_notes(text):
    with pytest.raises(DataError, match="--start: got"):
        melody.key(text)


def test_the_highest_notes_of_a_file():
    notes = [Note(0, 1, 48), Note(0, 1, 60), Note(1, 0.5, 62), Note(3, 0.25, 64)]
    assert melody.melody(notes, "x") == [(0, 4), (2, 8), (4, 1)]


def files(folder, count=8):
    for i, (style, tune) in enumerate(zip(STYLES[:count], TUNES)):
        (folder / style).mkdir(parents=True, exist_ok=True)
        melody.save(folder / style / f"{i}.mid", tune, 62)
    return folder


@pytest.mark.slow
def test_files_of_yours(tmp_path, capsys):
    data, out = files(tmp_path / "data"), ["--out", str(tmp_path / "out")]
    styles, tunes = melody.read(data)
    assert sorted(zip(styles, map(str, tunes))) == sorted(zip(STYLES[:8], map(str, TUNES)))
    assert command.main(["melody", "--data", str(data), "--epochs", "1", "--hidden-size", "8", *out]) == 0
    arguments = ["--style", "jig-minor", "--start", "D5", "--count", "2"]
    (first, second) = melody.main(["generate", *arguments, *out])
    assert first != second
    for number, tune in enumerate((first, second), start=1):
        notes = read_midi(tmp_path / "out" / f"new-{number}.mid")
        assert len(notes) == len(tune)
    assert melody.main(["generate", *arguments, *out]) == [first, second]  # of the seed
    for bad, message in ((["--style", "polka"], "got 'polka', wanted one of jig-major"), (["--start", "H"], "--start")):
        assert command.main(["melody", "generate", *bad, *out]) == 1
        assert message in capsys.readouterr().err


def test_bad_files(tmp_path, capsys):
    data = files(tmp_path / "data", count=2)
    path = next(data.rglob("*.mid"))
    for content, message in ((b"", "wanted a standard MIDI file"), (path.read_bytes()[:-9], "it was cut")):
        path.write_bytes(content)
        assert command.main(["melody", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
        text = capsys.readouterr().err
        assert message in text
        assert path.name in text
    write_midi(path, [Note(0, 1, 60)])
    assert command.main(["melody", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "got 1 note, wanted two or more" in capsys.readouterr().err
    path.unlink()
    assert command.main(["melody", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "holds 1 MIDI files, wanted two or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_beats_three_notes_in_a_row(tmp_path):
    """Half of the tunes, a third of the epochs: too few to count to eight bars, enough for the rest."""
    metrics = melody.main(["--tunes", "3000", "--epochs", "6", "--out", str(tmp_path)])
    assert metrics["bits"] < 0.85 * metrics["trigram_bits"]
    assert metrics["in_key"] > 0.95
    assert metrics["trigram_eight_bars"] < 0.05
