"""Melodies as standard MIDI files: what players, notation programs and synthesisers read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ._checks import integer

TICKS = 480  # of a quarter note, in the files that are written
DRUMS = 9  # the channel whose keys are no pitches


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
        If a note has no length, starts before 0 or its pitch is not 0 to 127.

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
    if not 4 <= tempo <= 60_000:
        raise ValueError(f"tempo: got {tempo}, wanted 4 to 60000 quarter notes per minute")
    if not 0 <= integer("program", program, 0) < 128:
        raise ValueError(f"program: got {program}, wanted 0 to 127")
    events: list[tuple[int, bytes]] = []
    for i, (start, length, pitch) in enumerate(notes):
        first, last = round(start * TICKS), round((start + length) * TICKS)
        if first < 0 or last <= first or not 0 <= pitch < 128:
            raise DataError(f"notes[{i}]: got {notes[i]}, wanted a start >= 0, a length > 0 and a pitch of 0 to 127")
        events += [(first, bytes([0x90, pitch, 80])), (last, bytes([0x80, pitch, 0]))]
    events.sort(key=lambda event: (event[0], event[1][0]))  # at one time, notes end before others begin
    track = b"\0\xff\x51\x03" + round(60_000_000 / tempo).to_bytes(3, "big") + bytes([0, 0xC0, program])
    now = 0
    for time, event in events:
        track += _as_varying(time - now) + event
        now = time
    track += b"\0\xff\x2f\0"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    Path(path).write_bytes(header + b"MTrk" + struct.pack(">I", len(track)) + track)


def read_midi(path: str | PathLike[str]) -> list[Note]:
    """The notes of a standard MIDI file: of all tracks and channels but the drums, sorted by start and pitch.

    Raises
    ------
    DataError
        Naming the file and the place, if it is something else, was cut, or holds no notes.
    """
    raw = Path(path).read_bytes()
    if len(raw) < 14 or raw[:4] != b"MThd":
        raise DataError(f"{path}: got the first bytes {raw[:4]!r}, wanted a standard MIDI file")
    size, _, tracks, ticks = struct.unpack(">IHHH", raw[4:14])
    if ticks == 0 or ticks & 0x8000:
        raise DataError(f"{path}: got times in frames of film, wanted times in ticks of a quarter note")
    notes: list[Note] = []
    at = 8 + size
    for _ in range(tracks):
        while raw[at : at + 4] not in (b"MTrk", b""):  # chunks of other kinds may stand between
            at += 8 + int.from_bytes(raw[at + 4 : at + 8], "big")
        stop = at + 8 + int.from_bytes(raw[at + 4 : at + 8], "big")
        try:
            notes += _track(raw[:stop], at + 8, ticks)
        except IndexError:
            raise DataError(f"{path}: got {len(raw)} bytes, wanted {max(stop, at + 8)} or more: it was cut") from None
        except ValueError as error:
            raise DataError(f"{path}: got {error}") from None
        at = stop
    if not notes:
        raise DataError(f"{path}: got no notes, wanted at least one")
    return sorted(notes)


def _track(raw: bytes, at: int, ticks: int) -> list[Note]:
    """The notes of the track whose events begin at byte `at`."""
    notes: list[Note] = []
    sounding: dict[tuple[int, int], int] = {}  # since when
    now = status = 0
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
                return notes
            at += length
        elif status in (0xF0, 0xF7):
            length, at = _varying(raw, at)
            at += length
        elif status > 0xF0:
            raise ValueError(f"the event 0x{status:02x} at {at - 1}, which is none of files")
        else:
            kind, channel = status >> 4, status & 15
            if kind in (8, 9) and channel != DRUMS:
                pitch, loud = raw[at], raw[at + 1]
                begun = sounding.pop((channel, pitch), None)
                if begun is not None and now > begun:
                    notes.append(Note(begun / ticks, (now - begun) / ticks, pitch & 0x7F))
                if kind == 9 and loud:
                    sounding[channel, pitch] = now
            at += 1 if kind in (12, 13) else 2


def _varying(raw: bytes, at: int) -> tuple[int, int]:
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
