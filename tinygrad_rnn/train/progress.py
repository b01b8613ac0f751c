"""A progress bar on standard error or in a notebook, which is redrawn a few times a second."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any, TextIO


class Progress:
    """A progress bar that counts updates; without a terminal or a notebook, it does nothing.

    Parameters
    ----------
    total : int or None
        Updates in all, if known.
    done : int
        Updates before this run.
    show : bool or None
        None: only on a terminal, or in a notebook.
    """

    INTERVAL = 0.1  # seconds between two drawings

    def __init__(self, total: int | None, done: int, show: bool | None):
        self._bar: Any = None
        self._next = 0.0
        self._text: dict[str, str] = {}
        if sys.stderr.isatty() or in_notebook() if show is None else show:
            with warnings.catch_warnings():  # that a notebook without ipywidgets gets a bar of text
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm

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
        self._text |= {name: f"{value:.4g}" for name, value in row.items() if name.startswith("val_")}
        self.update(steps, row["loss"], force=True)

    def write(self, text: str, file: TextIO | None = None) -> None:
        """Print a line, on standard output unless told otherwise, above the bar."""
        file = sys.stdout if file is None else file
        if self._bar is None:
            print(text, file=file, flush=True)
        else:
            self._bar.write(text, file=file)
            file.flush()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def in_notebook() -> bool:
    """Whether this runs in a cell of a Jupyter notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
