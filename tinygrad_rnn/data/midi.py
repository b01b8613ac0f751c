"""Melodies as standard MIDI files: what players, notation programs and synthesisers read."""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

from ..atomic import write
from ..errors import DataError
from ._checks import above_zero, integer
from ._files import content

TICKS = 480  # of a quarter note, in the files that are written
DRUMS = 9  # the channel whose keys are no pitches
LONGEST_WAIT = 2**28 - 1  # ticks from one event to the next


class Note(NamedTuple):
    """A note: when it starts and how long it is, in quarter notes, and its key; 60 is the middle C."""

    start: float
    length: float
    pitch: int


def write_midi(path: str | PathLike[str], notes: Sequence[Note], tempo: float = 120.0, program: int = 0) -> None:
    """Write notes as a standard MIDI file of one track (format 0).

    Parameters
    ----------
    path : path
    notes : sequence of Note
        In any order; they may sound together.
    tempo : float
        Quarter notes per minute.
    program : int
        Instrument of General MIDI, 0 to 127; 0 is a piano.

    Raises
    ------
    DataError
        If a note has no length, starts before 0, its pitch is not 0 to 127, or it comes more than 559,240 quarters
        after what was before it.

    References
    ----------
    "Standard MIDI Files 1.0", MIDI Manufacturers Association, 1988.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "third.mid")
    ...     write_midi(path, [Note(0, 1, 60), Note(1, 2, 64)])
    ...     read_midi(path)
    [Note(start=0.0, length=1.0, pitch=60), Note(start=1.0, length=2.0, pitch=64)]
    """
    if not 4 <= above_zero("tempo", tempo) <= 60_000:
        raise ValueError(f"tempo: got {tempo}, wanted 4 to 60000 quarter notes per minute")
    if not 0 <= integer("program", program, 0) < 128:
        raise ValueError(f"program: got {program}, wanted 0 to 127")
    events: list[tuple[int, int, bytes, int]] = []  # time, order at that time, bytes, place of the note
    try:
        notes = list(notes)
    except TypeError:
        raise TypeError(f"notes: got {notes!r}, wanted a sequence of notes") from None
    for i, note in enumerate(notes):
        first, last, pitch = _ticks(i, note)
        # at one time, notes end before others begin
        events += [(first, 1, bytes([0x90, pitch, 80]), i), (last, 0, bytes([0x80, pitch, 0]), i)]
    events.sort(key=lambda event: event[:2])
    tempo_and_program = b"\0\xff\x51\x03" + round(60_000_000 / tempo).to_bytes(3, "big") + bytes([0, 0xC0, program])
    track = bytearray(tempo_and_program)
    now = 0
    for time, _, event, i in events:
        if time - now > LONGEST_WAIT:
            raise DataError(
                f"notes[{i}]: got {notes[i]}, which waits for {(time - now) / TICKS:.0f} quarters, "
                f"wanted at most {LONGEST_WAIT // TICKS}, as a file can hold"
            )
        track += _as_varying(time - now) + event
        now = time
    track += b"\0\xff\x2f\0"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    write(path, header + b"MTrk" + struct.pack(">I", len(track)) + track)


def _ticks(i: int, note: Note) -> tuple[int, int, int]:
    """Start and end of note `i` in ticks, and its pitch."""
    wanted = "a start >= 0, a length > 0 and a pitch of 0 to 127"
    try:
        start, length, pitch = note
        first, last, pitch = round(start * TICKS), round((start + length) * TICKS), operator.index(pitch)
    except (TypeError, ValueError, OverflowError):  # numbers that are none, NaN and infinity
        raise DataError(f"notes[{i}]: got {note!r}, wanted {wanted}") from None
    if first < 0 or last <= first or not 0 <= pitch < 128:
        raise DataError(f"notes[{i}]: got {note}, wanted {wanted}")
    return first, last, pitch


def read_midi(path: str | PathLike[str]) -> list[Note]:
    """The notes of a standard MIDI file, without the drums, sorted by start and pitch.

    A note that never ends lasts until the end of its track, as players have it.

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file and the place, if it is something else, was cut, or holds no notes.
    """
    with content(path) as raw:
        if len(raw) < 14 or raw[:4] != b"MThd":
            raise DataError(f"{path}: got the first bytes {raw[:4]!r}, wanted a standard MIDI file")
        size, _, tracks, ticks = struct.unpack(">IHHH", raw[4:14])
        if ticks == 0 or ticks & 0x8000:
            raise DataError(f"{path}: got times in frames of film, wanted times in ticks of a quarter note")
        if size < 6:
            raise DataError(f"{path}: got a header of {size} bytes, wanted 6 or more")
        notes: list[Note] = []
        drums = False
        at = 8 + size
        for number in range(1, tracks + 1):
            at, stop = _find_track(path, raw, at, number, tracks)
            try:
                found, drummed = _track(memoryview(raw)[:stop], at, ticks)
            except IndexError:
                raise DataError(
                    f"{path}: got track {number} of {tracks}, bytes {at} to {stop}, without an end: "
                    "wanted an end of track (ff 2f 00) as its last event"
                ) from None
            except ValueError as error:
                raise DataError(f"{path}: got {error}, in track {number} of {tracks}") from None
            notes += found
            drums |= drummed
            at = stop
        if not notes:
            found_instead = "drums only (channel 10)" if drums else "no notes"
            raise DataError(f"{path}: got {found_instead}, wanted at least one note with a pitch")
        return sorted(notes)


def _find_track(path: str | PathLike[str], raw: bytes, at: int, number: int, tracks: int) -> tuple[int, int]:
    """Start and end of the next track's events; chunks of other kinds are skipped."""
    while True:
        start = at + 8
        stop = start + int.from_bytes(raw[at + 4 : start], "big")
        if len(raw) < start:
            raise DataError(f"{path}: got {len(raw)} bytes, wanted track {number} of {tracks} at {at}: it was cut")
        if len(raw) < stop:
            raise DataError(
                f"{path}: got {len(raw)} bytes, wanted {stop}, as the length of track {number} of {tracks} says: "
                "it was cut, or the length is wrong"
            )
        if raw[at : at + 4] == b"MTrk":
            return start, stop
        at = stop


def _track(raw: memoryview, at: int, ticks: int) -> tuple[list[Note], bool]:
    """The notes of the track whose events begin at byte `at`, and whether there are drums."""
    notes: list[Note] = []
    sounding: dict[tuple[int, int], int] = {}  # since when
    now = status = 0
    drums = False

    def end(key: tuple[int, int]) -> None:
        begun = sounding.pop(key, now)
        if begun < now:
            notes.append(Note(begun / ticks, (now - begun) / ticks, key[1]))

    while True:
        wait, at = _varying(raw, at)
        now += wait
        if raw[at] & 0x80:
            status, at = raw[at], at + 1
        elif not 0x80 <= status < 0xF0:  # an event without a status has that of the one before
            raise ValueError(f"the byte 0x{raw[at]:02x} at {at}, wanted an event")
        if status == 0xFF:
            kind, (length, at) = raw[at], _varying(raw, at + 1)
            if kind == 0x2F:
                for key in list(sounding):
                    end(key)
                return notes, drums
            at += length
        elif status in (0xF0, 0xF7):
            length, at = _varying(raw, at)
            at += length
        elif status > 0xF0:
            raise ValueError(f"the event 0x{status:02x} at {at - 1}, which is none of files")
        else:
            kind, channel = status >> 4, status & 15
            size = 1 if kind in (12, 13) else 2
            for place in range(at, at + size):
                if raw[place] & 0x80:
                    raise ValueError(f"the byte 0x{raw[place]:02x} at {place}, wanted a value of 0 to 127")
            if kind in (8, 9):
                pitch, loud = raw[at], raw[at + 1]
                drums |= channel == DRUMS
                if channel != DRUMS:
                    end((channel, pitch))
                    if kind == 9 and loud:
                        sounding[channel, pitch] = now
            at += size


def _varying(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of varying length at a place, and the place behind it."""
    number = 0
    for _ in range(4):
        byte = raw[at]
        number, at = number << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            return number, at
    raise ValueError(f"a number of more than four bytes at {at - 4}, wanted one of MIDI")


def _as_varying(number: int) -> bytes:
    """A number, seven bits to a byte; all but the last have the eighth bit set."""
    text = [number & 0x7F]
    while number := number >> 7:
        text.insert(0, number & 0x7F | 0x80)
    return bytes(text)
