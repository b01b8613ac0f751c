"""Standard MIDI files, written, read, by hand, and broken."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import Note, read_midi, write_midi
from tinygrad_rnn.data.midi import TICKS, _as_varying, _varying
from tinygrad_rnn.errors import DataError

HEADER = b"MThd\0\0\0\x06\0\0\0\x01\0\x60"  # one track, 96 ticks


def file(path, track, header=HEADER):
    path.write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
    return path


@given(st.integers(0, 2**28 - 1))
def test_numbers_of_varying_length(number):
    text = _as_varying(number)
    assert _varying(b"?" + text + b"?", 1) == (number, 1 + len(text))


def test_the_examples_of_the_standard():
    pairs = {0x40: "40", 0x7F: "7f", 0x80: "8100", 0x2000: "c000", 0x1FFFFF: "ffff7f", 0x0FFFFFFF: "ffffff7f"}
    assert {n: _as_varying(n).hex() for n in pairs} == pairs


@given(
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(1, 4000), st.integers(0, 127)), min_size=1, unique_by=lambda n: n[2]
    )
)
def test_write_and_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("midi") / "x.mid"
    notes = [Note(start / TICKS, length / TICKS, pitch) for start, length, pitch in rows]
    write_midi(path, notes, tempo=90, program=12)
    got = read_midi(path)
    assert [n.pitch for n in got] == [n.pitch for n in sorted(notes)]
    for a, b in zip(got, sorted(notes)):
        assert a == pytest.approx(b)


def test_a_note_again_and_again(tmp_path):
    notes = [Note(0.5 * i, 0.5, 60) for i in range(5)]
    write_midi(tmp_path / "x.mid", notes)
    assert read_midi(tmp_path / "x.mid") == notes


def test_the_bytes_of_a_file(tmp_path):
    write_midi(tmp_path / "x.mid", [Note(0, 1, 60)], tempo=120, program=5)
    assert (tmp_path / "x.mid").read_bytes() == (
        b"MThd\0\0\0\x06\0\0\0\x01\x01\xe0MTrk\0\0\0\x17"
        b"\0\xff\x51\x03\x07\xa1\x20\0\xc0\x05\0\x90\x3c\x50\x83\x60\x80\x3c\0\0\xff\x2f\0"
    )


def test_what_other_programs_write(tmp_path):
    """Running status, note-on without loudness as the end, drums, bends, names, system messages, other chunks."""
    track = (
        b"\0\xff\x03\x04name\0\xf0\x02\x01\xf7\0\xc0\x01\0\xe0\0\x40\0\xb0\x07\x64"
        b"\0\x90\x3c\x50\x60\x3c\0\0\x3e\x50\0\x99\x23\x7f\x30\x90\x3e\0\0\x99\x23\0\0\xff\x2f\0"
    )
    path = file(tmp_path / "x.mid", track, HEADER + b"junk\0\0\0\x02??")
    assert read_midi(path) == [Note(0, 1, 60), Note(1, 0.5, 62)]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (b"\0\x90\x3c", r"x\.mid: got track 1 of 1, bytes 22 to 25, without an end: wanted an end of track"),
        (b"\0\x90\x3c\x50", "without an end: wanted an end of track"),
        (b"\0\x90\xbc\x50", "got the byte 0xbc at 24, wanted a value of 0 to 127, in track 1 of 1"),
        (b"\0\x99\x23\x7f\x60\x99\x23\0\0\xff\x2f\0", r"got drums only \(channel 10\), wanted at least one note"),
        (b"\0\x3c\x50", "got the byte 0x3c at 23, wanted an event"),
        (b"\0\xf4\x50", "got the event 0xf4 at 23, which is none of files"),
        (b"\xff\xff\xff\xff\xff\x00", "got a number of more than four bytes at 22"),
        (b"\0\xff\x2f\0", "got no notes, wanted at least one"),
        (b"\0\x90\x3c\x50\0\x80\x3c\0\0\xff\x2f\0", "got no notes, wanted at least one"),
    ],
)
def test_broken_tracks(tmp_path, track, message):
    with pytest.raises(DataError, match=message):
        read_midi(file(tmp_path / "x.mid", track))


def test_broken_files(tmp_path):
    path = tmp_path / "x.mid"
    for content in (b"", b"MThd", b"no music at all"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.mid: got the first bytes b'.*', wanted a standard MIDI file"):
            read_midi(path)
    with pytest.raises(DataError, match="got times in frames of film"):
        read_midi(file(path, b"", HEADER[:12] + b"\xe7\x28"))
    path.write_bytes(HEADER)
    with pytest.raises(DataError, match="it was cut"):
        read_midi(path)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (8, "got track 1 of 1, bytes 22 to 30, without an end"),
        (13, "got 34 bytes, wanted 35, as the length of track 1"),
    ],
)
def test_a_wrong_length(tmp_path, length, message):
    track = b"\0\x90\x3c\x50\x60\x3c\0\0\xff\x2f\0\0"
    path = tmp_path / "x.mid"
    path.write_bytes(HEADER + b"MTrk" + length.to_bytes(4, "big") + track)
    with pytest.raises(DataError, match=rf"x\.mid: {message}"):
        read_midi(path)


def test_notes_that_never_end_last_until_the_track_does(tmp_path):
    path = file(tmp_path / "x.mid", b"\0\x90\x3c\x50\x30\x3e\x50\x30\xff\x2f\0")
    assert read_midi(path) == [Note(0, 1, 60), Note(0.5, 0.5, 62)]


def test_many_tracks_take_no_longer_than_their_bytes(tmp_path):
    note = b"\0\x90\x3c\x50\x60\x3c\0\0\xff\x2f\0"
    track = b"MTrk" + len(note).to_bytes(4, "big") + note
    (tmp_path / "x.mid").write_bytes(HEADER[:10] + b"\xff\xff" + HEADER[12:] + track * 0xFFFF)
    assert len(read_midi(tmp_path / "x.mid")) == 0xFFFF


@given(st.binary(max_size=60))
def test_any_bytes(tmp_path_factory, content):
    """Nothing but notes or a DataError."""
    path = tmp_path_factory.mktemp("midi") / "x.mid"
    file(path, content)
    with contextlib.suppress(DataError):
        assert read_midi(path)


def test_notes_that_cannot_be_written(tmp_path):
    wrong = [
        Note(0, 0, 60),
        Note(-1, 1, 60),
        Note(0, 1, 128),
        Note(0, 1, -1),
        Note(0, 1, 60.5),
        Note(float("nan"), 1, 60),
    ]
    wrong += [Note(float("inf"), 1, 60), Note("0", 1, 60)]
    for note in wrong:
        with pytest.raises(DataError, match=r"notes\[1\]: got Note"):
            write_midi(tmp_path / "x.mid", [Note(0, 1, 60), note])
    with pytest.raises(
        DataError, match=r"notes\[1\]: got Note\(start=559242, .* which waits for 559241 quarters, wanted at"
    ):
        write_midi(tmp_path / "x.mid", [Note(0, 1, 60), Note(559242, 1, 60)])
    for notes in (3, None, [3], [(1, 2)]):
        with pytest.raises((TypeError, DataError), match=r"notes(\[0\])?: got "):
            write_midi(tmp_path / "x.mid", notes)
    with pytest.raises(ValueError, match="tempo: got nan, wanted"):
        write_midi(tmp_path / "x.mid", [Note(0, 1, 60)], tempo=float("nan"))
    with pytest.raises(ValueError, match="tempo: got 0, wanted"):
        write_midi(tmp_path / "x.mid", [Note(0, 1, 60)], tempo=0)
    with pytest.raises(ValueError, match="program: got 128"):
        write_midi(tmp_path / "x.mid", [Note(0, 1, 60)], program=128)
    assert not list(tmp_path.iterdir())


def test_the_latest_start(tmp_path):
    last = [Note(559240, 1, 60)]
    write_midi(tmp_path / "x.mid", last)
    assert read_midi(tmp_path / "x.mid") == last
