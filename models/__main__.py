"""``python -m models [NAME ...]``: list the models, or run one.

A model is a file beside this one whose name does not start with an underscore. The first line of its
docstring is what the list shows, and ``main(argv)``, a ``_command.Command``, runs it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

from tinygrad_rnn.errors import TinygradError

from . import __path__ as FOLDER


def names() -> list[str]:
    """The models that there are."""
    return sorted(m.name for m in pkgutil.iter_modules(FOLDER) if not m.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import the model called `name`."""
    try:
        return importlib.import_module(f"models.{name}")
    except ModuleNotFoundError as e:
        raise SystemExit(missing(name, e)) from e


def missing(name: str, error: ModuleNotFoundError) -> str:
    """What to install for the model called `name`."""
    return f'models: {name} needs {error.name}, which is not installed; run: pip install -e ".[models]"'


def summary(name: str) -> str:
    """What the model called `name` does, in a line."""
    return (load(name).__doc__ or "").strip().split("\n")[0]


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m models NAME [--epochs N] [--seed N] [--cell CELL] [--out FOLDER] [--resume] [...]\n")
        width = max(map(len, names()))
        for name in names():
            print(f"  {name:<{width}}  {summary(name)}")
        print("\npython -m models report trains all of them with three seeds and writes the table of the README.")
        print("python -m models NAME --help shows all options of one model, and what it can do after training.")
        return 0
    name, *rest = argv
    if name == "report":
        from . import _report

        return _report.main(rest, {model: load(model).main for model in names()})
    if name not in names():
        print(f"models: got {name!r}, wanted one of {', '.join(names())}", file=sys.stderr)
        return 2
    try:
        load(name).main(rest)
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
