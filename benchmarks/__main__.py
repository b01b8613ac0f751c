"""``python -m benchmarks [NAME ...]``: list the benchmarks, or run one.

A benchmark is a file ``bench_NAME.py`` beside this one. The first line of its docstring is what the list
shows, and ``main(argv)`` runs it. ``results`` runs all that RESULTS.md is made of.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import sys
import textwrap

from . import __path__ as FOLDER
from . import results

PREFIX = "bench_"


def names() -> list[str]:
    """The benchmarks that there are."""
    found = (m.name for m in pkgutil.iter_modules(FOLDER))
    return sorted(name.removeprefix(PREFIX) for name in found if name.startswith(PREFIX))


def load(name: str):
    """Import the benchmark called `name`."""
    return importlib.import_module(f"benchmarks.{PREFIX}{name}")


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m benchmarks NAME [--quick] [--json FILE] [...]\n")
        width = max(shutil.get_terminal_size().columns, 40)
        for name, module in [*((name, load(name)) for name in names()), ("results", results)]:
            about = (module.__doc__ or "").strip().splitlines()[0]
            print(textwrap.fill(f"  {name:<12}  {about}", width, subsequent_indent=" " * 16, break_on_hyphens=False))
        words = (
            "python -m benchmarks NAME --help shows all options of one benchmark. They compare with PyTorch, JAX and "
            "onnxruntime where these are installed: pip install torch jax onnx onnxruntime"
        )
        print(f"\n{textwrap.fill(words, width)}")
        return 0
    name, *rest = argv
    if name == "results":
        return results.main(rest)
    if name not in names():
        print(f"benchmarks: got {name!r}, wanted one of {', '.join(names())}", file=sys.stderr)
        return 2
    return load(name).main(rest)


if __name__ == "__main__":
    raise SystemExit(main())
