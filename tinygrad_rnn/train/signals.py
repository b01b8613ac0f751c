"""Ctrl-C and SIGTERM as a flag that the training loop checks between two updates."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """The flag of a signal that asks the loop to end; a second signal ends it at once.

    Attributes
    ----------
    signal : int or None
        Which signal came.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Set the flag; the handler of both signals."""
        if self.signal is None:
            self.signal = number
            with contextlib.suppress(Exception):  # print() is not safe here
                os.write(sys.__stderr__.fileno(), b"\nfinishing this update (once more: end at once)\n")  # type: ignore[union-attr]
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def exception(self, text: str) -> BaseException:
        """The exception that the signal would have raised at once, with a text that says where the loop ended."""
        if self.signal == signal.SIGINT:
            return KeyboardInterrupt(text)
        print(text, file=sys.stderr, flush=True)
        return SystemExit(128 + (self.signal or 0))


_active: Interruption | None = None  # of the loop around this one


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Context that catches signals that would end the process; a user's own handlers are left alone.

    Only in the main thread, where Python handles signals; elsewhere nothing is ever noted.
    """
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield Interruption()
        return
    if _active is not None:
        yield _active
        return
    new = Interruption()
    before = {}
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual or signal.getsignal(number) == usual:
            before[number] = signal.signal(number, new.handle)
    _active = new
    try:
        yield new
    finally:
        _active = None
        for number, handler in before.items():
            if signal.getsignal(number) == new.handle:
                signal.signal(number, handler)
