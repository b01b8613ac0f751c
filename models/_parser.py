"""Command lines of the models: help that fits the terminal, near misses of names, and types of options."""

from __future__ import annotations

import argparse
import difflib
import math
import shutil
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

# as they are called in a clone, and where they are installed with the package
PROG = "python -m models" if __package__ == "models" else "tinygrad-rnn models"
INSTALL = 'pip install -e ".[models]"' if __package__ == "models" else 'pip install "tinygrad_rnn[models]"'


def width() -> int:
    """Columns for text: those of the terminal."""
    return max(shutil.get_terminal_size().columns, 20)


def filled(text: str, columns: int, indent: str = "") -> str:
    """Paragraphs, wrapped between words; lines that are indented stay lines."""
    parts = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        whole = [paragraph] if not any(line.startswith(" ") for line in lines) else lines
        parts.append("\n".join(_wrapped(line, columns, indent) for line in whole))
    return "\n\n".join(parts)


def _wrapped(text: str, columns: int, indent: str) -> str:
    own = indent + " " * (len(text) - len(text.lstrip()))
    return textwrap.fill(
        " ".join(text.split()),
        max(columns, 20),
        initial_indent=own,
        subsequent_indent=own + "    " * (own != indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


def no_such(kind: str, got: str, names: Iterable[str]) -> str:
    """What to say of a name that there is not: the nearest one, or all."""
    names = list(names)
    near = difflib.get_close_matches(got, names, 1)
    return f"got {got!r}, which is no {kind}; " + (f"did you mean {near[0]}?" if near else f"wanted {', '.join(names)}")


class _Help(argparse.HelpFormatter):
    """Wraps descriptions by paragraphs, and leaves room for explanations in narrow terminals."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=min(24, width() // 3), width=width() - 1)

    def _format_usage(self, *args, **options) -> str:
        text = super()._format_usage(*args, **options)
        return filled(" ".join(text.split()), width() - 1) + "\n\n" if width() < 60 else text  # no room for a column

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return filled(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser that takes options by their whole names, and names the nearest one of others."""

    def __init__(self, prog: str, description: str, epilog: str | None = None):
        super().__init__(prog, description=description, epilog=epilog, formatter_class=_Help, allow_abbrev=False)

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        known, unknown = self.parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        for word in unknown:
            if word.startswith("--"):
                self.error(no_such("option", word.partition("=")[0], options))
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known

    def _check_value(self, action, value) -> None:
        near = difflib.get_close_matches(str(value), [*map(str, action.choices or ())], 1, 0.7)
        if near and value not in action.choices:
            raise argparse.ArgumentError(action, f"got {value!r}, which is no choice; did you mean {near[0]}?")
        super()._check_value(action, value)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is an integer of at least `least`."""

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted an integer of at least {least}")
        return number

    return integer


def above(least: float) -> Callable[[str], float]:
    """The type of an option that is a number above `least`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value < math.inf:
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number above {least:g}")
        return value

    return number


def folder(path: Path, what: str) -> Path:
    """A folder of the user's; an error if there is none."""
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise NotADirectoryError(f"{path}: got {found}, wanted a folder of {what}")
    return path


def count(parser: argparse.ArgumentParser, name: str, default: int | None, what: str = "", least: int = 1) -> None:
    """Add an option that is an integer of at least `least`."""
    text = "; ".join([what] * bool(what) + [f"default: {default}"] * (default is not None))
    parser.add_argument(name, type=at_least(least), default=default, metavar="N", help=text)


def number(parser: argparse.ArgumentParser, name: str, default: float, what: str = "", least: float = 0.0) -> None:
    """Add an option that is a number above `least`."""
    text = f"{what}; default: {default:g}" if what else f"default: {default:g}"
    parser.add_argument(name, type=above(least), default=default, metavar="X", help=text)
