"""The command line ``tinygrad-rnn``: cells, caches, files of weights and models from a terminal.

Files, in reading order: `commands` (one function for each), `terminal` (their help, errors and exit codes),
`cells` (from ``module:Cell`` to a cell), `outside` (models and benchmarks, which lie beside the package).
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run a command, and return its exit code: 0; 1 if something failed; 2 if the arguments are wrong."""
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        print('tinygrad-rnn: needs click; run: pip install "tinygrad_rnn[cli]"', file=sys.stderr)
        return 1
    from .commands import root
    from .terminal import run

    return run(root, argv)
