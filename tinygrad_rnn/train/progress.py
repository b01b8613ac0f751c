"""A progress bar on standard error, which is redrawn a few times a second."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A progress bar that counts updates; without a terminal, it does nothing.

    Parameters
    ----------
    total : int or None
        Updates in all, if known.
    done : int
        Updates before this run.
    show : bool or None
        None: only on a terminal.
    """

    INTERVAL = 0.1  # seconds between two drawings

    def __init__(self, total: int | None, done: int, show: bool | None):
        self._bar: Any = None
        self._next = 0.0
        self._text: dict[str, str] = {}
        if sys.stderr.isatty() if show is None else show:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, file=sys.stderr)

    @property
    def on(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def update(self, steps: int, loss: float, force: bool = False) -> None:
        """Draw the bar at `steps` updates, unless it was drawn a moment ago."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if force or now >= self._next:
            self._next = now + self.INTERVAL
            self._bar.set_postfix({**self._text, "loss": f"{loss:.4g}"}, refresh=False)
            self._bar.update(steps - self._bar.n)

    def epoch(self, steps: int, epoch: int, row: dict[str, float]) -> None:
        """Show the numbers of a finished epoch."""
        if self._bar is None:
            return
        self._text = {"epoch": str(epoch)}
        if "val_loss" in row:
            self._text["val_loss"] = f"{row['val_loss']:.4g}"
        self.update(steps, row["loss"], force=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
