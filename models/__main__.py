"""``python -m models [NAME ...]``: list the models, or run one.

A model is a file beside this one whose name does not start with an underscore. The first line of its
docstring is what the list shows, and ``main(argv)``, a ``_command.Command``, runs it.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType

from tinygrad_rnn.errors import TinygradError

from . import __path__ as FOLDER
from ._parser import INSTALL, PROG, filled, no_such, width


def names() -> list[str]:
    """The models that there are."""
    return sorted(m.name for m in pkgutil.iter_modules(FOLDER) if not m.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import the model called `name`."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as e:
        raise SystemExit(missing(name, e)) from e


def missing(name: str, error: ModuleNotFoundError) -> str:
    """What to install for the model called `name`."""
    return f"models: {name} needs {error.name}, which is not installed; run: {INSTALL}"


def summary(name: str) -> str:
    """What the model called `name` does, in a line; it is not imported."""
    paths = (Path(folder, f"{name}.py") for folder in FOLDER)
    source = next(path for path in paths if path.is_file()).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]


def listing() -> str:
    """The models that there are, and how to call them."""
    columns, longest = width(), max(map(len, names()))
    usage = f"usage: {PROG} NAME [--epochs N] [--seed N] [--cell CELL] [--out FOLDER] [--resume] [...]"
    indent = " " * (longest + 4) if columns >= 60 else " " * 6
    lines = []
    for name in names():
        first = f"  {name:<{longest}}  "
        text = textwrap.wrap(f"{first}{summary(name)}", columns, subsequent_indent=indent, break_long_words=False)
        lines += text
    words = f"{PROG} NAME --help shows all options of one model, and what it can do after training."
    if PROG.startswith("python"):
        words = f"{PROG} report trains all of them with three to five seeds and writes the gallery.\n\n{words}"
    return "\n\n".join([filled(usage, columns), "\n".join(lines), filled(words, columns)])


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = argv
    if name == "report":
        from . import _report

        if not _report.README.is_file():
            print("models report: writes into a clone, and this is none", file=sys.stderr)
            return 2
        return _report.main(rest, {model: load(model).main for model in names()})
    if name not in names():
        print(f"models: {no_such('model', name, names())}", file=sys.stderr)
        return 2
    try:
        load(name).main(rest)
        sys.stdout.flush()
    except BrokenPipeError:  # as in "| head"
        print(
            f"models {name}: stopped, as nobody reads its output; if training had begun, --resume goes on",
            file=sys.stderr,
        )
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TinygradError, OSError) as e:  # the user's files and sizes; anything else is our mistake
        of_system = isinstance(e, OSError) and e.filename is not None and e.strerror
        print(f"models {name}: {f'{e.filename}: {e.strerror}' if of_system else e}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as e:
        print(missing(name, e), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
