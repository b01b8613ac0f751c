"""The commands, one function each; what a function returns is the exit code, and nothing is 0."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import __version__
from .terminal import NAME, Fault, Group, show, width

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "torch", "hypothesis", "matplotlib", "click")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
passed_on: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}  # all arguments, --help too
rest = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=NAME)
def root() -> None:
    """Recurrent networks on the CPU."""


@root.command()
@as_json
def info(as_json: bool) -> None:
    """Versions, processor, threads and cache."""
    import llvmlite.binding

    import tinygrad_rnn as tr

    from .. import cache

    features = llvmlite.binding.get_host_cpu_features()
    folder = cache.folder()
    files = cache.entries()
    values: dict[str, Any] = {
        "tinygrad_rnn": tr.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "processor": {
            "name": llvmlite.binding.get_host_cpu_name(),
            "vectors": [name for name in ("avx2", "fma", "avx512f", "neon") if features.get(name)],
            "cores": os.cpu_count(),
        },
        "threads": tr.get_num_threads(),
        "cache": {
            "folder": None if folder is None else str(folder),
            "files": len(files),
            "bytes": sum(entry.bytes for entry in files),
        },
    }
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in values["packages"].items())
    processor, kept = values["processor"], values["cache"]
    lines = [
        ("tinygrad_rnn", tr.__version__),
        ("Python", f"{values['python']}, {values['system']}"),
        ("packages", versions),
        ("processor", f"{processor['name']} ({' '.join(processor['vectors'])}), {processor['cores']} cores"),
        ("threads", str(values["threads"])),
        ("cache", f"{kept['folder'] or 'none'}: {kept['files']} files, {in_bytes(kept['bytes'])}"),
    ]
    show(as_json, values, "\n".join(_filled(name, text) for name, text in lines))


@root.command()
@click.argument("cell", metavar="MODULE:CELL")
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--skip", multiple=True, metavar="NAME", help="Not this one; may be repeated.")
@click.option("--features", type=click.IntRange(1), metavar="N", help="Of its input, where the cell does not say.")
@click.option("--examples", type=click.IntRange(1), default=10, metavar="N", help="Random cases of each; default: 10.")
@as_json
def check(
    cell: str, checks: tuple[str, ...], skip: tuple[str, ...], features: int | None, examples: int, as_json: bool
) -> int:
    """Check what layers rely on in a cell.

    Gradients, rows, streams, padding, resets, compiled loops, saving.

    MODULE:CELL is a class, an instance, or a function that makes one, imported from the current folder; a file,
    cells.py:Cell; or the name of a built-in cell. Exit code 1: a check failed.
    """
    import numpy as np

    from ..errors import CellCheckError
    from ..testing import CELL_CHECKS, check_cell
    from . import cells
    from .terminal import no_such

    for name in (*checks, *skip):
        if name not in CELL_CHECKS:
            raise Fault(no_such("check", name, CELL_CHECKS))
    value = cells.found(cell)
    cells.made(cell, None)  # or why it cannot be
    example = None if features is None else np.zeros((3, features))
    try:
        report = check_cell(value, checks or None, skip, example, examples)
    except CellCheckError as error:
        show(as_json, {"cell": cell, "passed": False, "check": error.check, "message": str(error)}, str(error))
        return 1
    except ImportError as error:
        raise click.ClickException(str(error)) from None
    except (TypeError, ValueError) as error:  # it cannot be made, or needs an example
        hint = ", here: --features N" if "pass example=" in str(error) else ""
        raise Fault(f"{cell}: {' '.join(str(error).split())}{hint}") from None
    except SystemExit as error:
        raise Fault(f"{cell}: {cells.in_a_line(error)}") from None
    lines = [f"{name}: passed" for name in report.passed]
    lines += [f"{name}: left out: {why}" for name, why in report.skipped.items()]
    values = {"cell": cell, "passed": True, "checks": list(report.passed), "skipped": report.skipped}
    show(as_json, values, "\n".join(lines))
    return 0


@root.command()
@click.argument("cell", metavar="MODULE:CELL")
@click.option("--sizes", type=click.IntRange(1), nargs=2, metavar="IN HIDDEN", help="Of the cell; default: 8 16.")
@click.option("--steps", type=click.IntRange(1), default=100, metavar="T", help="Time steps; default: 100.")
@click.option("--batch", type=click.IntRange(1), default=32, metavar="B", help="Rows; default: 32.")
@as_json
def explain(cell: str, sizes: tuple[int, int] | None, steps: int, batch: int, as_json: bool) -> None:
    """Show what a cell compiles to.

    Or why it does not compile, and what to write instead.

    MODULE:CELL is as for check; a layer will do, too.
    """
    from .. import nn
    from . import cells

    made = cells.made(cell, sizes)
    layer: Any = nn.Recurrent(made) if isinstance(made, nn.Cell) else made
    if not hasattr(layer, "explain"):
        raise Fault(f"{cell}: got the model {type(made).__name__}, wanted a cell or a recurrent layer")
    try:
        report = layer.explain((steps, batch))
    except (Exception, SystemExit) as error:  # whatever a step may raise
        raise Fault(f"{cell}: {cells.in_a_line(error)}") from None
    found = [
        {"where": one.where, "cell": repr(one.cell), "dtype": str(one.cell.dtype), "compiled": one.step is not None}
        | ({"reason": one.reason} if one.step is None else {"saved_bytes": one.step.saved_bytes})
        for one in report.cells
    ]
    show(as_json, {"compiled": report.compiled, "mode": report.mode, "cells": found, "text": str(report)}, str(report))


@root.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--prefix", default="", help="Take it off the names, and leave all others out.")
@click.option("--force", is_flag=True, help="Replace TARGET.")
@as_json
def convert(source: Path, target: Path, prefix: str, force: bool, as_json: bool) -> None:
    """Write weights in another format.

    SOURCE is a safetensors or npz file, a checkpoint of a trainer, or a state dict of PyTorch. The suffix of TARGET
    decides: .safetensors, .npz, .pt or .pth.
    """
    from ..storage.weights import read_weights, write_weights

    if not source.is_file():
        raise Fault(f"{source}: no such file")
    if target.exists() and not force:
        raise Fault(f"{target}: is there already; pass --force to replace it")
    arrays = {name[len(prefix) :]: a for name, a in read_weights(source).items() if name.startswith(prefix)}
    if not arrays:
        raise Fault(f"{source}: holds no weights{f' whose names begin with {prefix!r}' if prefix else ''}")
    write_weights(target, arrays)
    values = {"target": str(target), "arrays": {name: [str(a.dtype), list(a.shape)] for name, a in arrays.items()}}
    show(as_json, values, f"wrote {target}: {len(arrays)} arrays, {sum(a.size for a in arrays.values()):,} numbers")


# ---- compiled code


@root.group()
def cache() -> None:
    """Compiled code on the disk."""


def _folder() -> Path:
    from .. import cache

    folder = cache.folder()
    if folder is None:
        raise click.ClickException("no folder can be made; set TINYGRAD_RNN_CACHE to one")
    return folder


@cache.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Files, newest first, and their sizes."""
    from .. import cache

    folder, files = _folder(), cache.entries()
    total = sum(entry.bytes for entry in files)
    values = {"folder": str(folder), "bytes": total, "files": [entry._asdict() for entry in files]}
    lines = [f"{in_bytes(entry.bytes):>9}  {entry.name}" for entry in files]
    show(as_json, values, "\n".join([*lines, f"{in_bytes(total):>9}  in {len(files)} files of {folder}"]))


@cache.command()
@as_json
def clear(as_json: bool) -> None:
    """Remove compiled code; it is compiled again when it is needed."""
    from .. import cache

    folder = _folder()
    count, size = cache.clear()
    show(
        as_json,
        {"folder": str(folder), "files": count, "bytes": size},
        f"removed {count} files, {in_bytes(size)}, from {folder}",
    )


@cache.command()
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(["float32", "float64"]), help="Only this one.")
@click.option("--layer", "layers", multiple=True, type=click.Choice(["RNN", "LSTM", "GRU"]), help="Only this one.")
@as_json
def warm(dtypes: tuple[str, ...], layers: tuple[str, ...], as_json: bool) -> None:
    """Compile ahead what most programs need, for images and CI."""
    from .. import cache

    folder, found = _folder(), []
    for made in cache.warmed(layers or cache.LAYERS, dtypes or cache.DTYPES):
        found.append({"name": made.name, "loaded": made.loaded, "seconds": round(made.seconds, 3)})
        if not as_json:
            click.echo(f"{made.seconds:6.2f} s  {'loaded  ' if made.loaded else 'compiled'}  {made.name}")
    compiled = sum(not made["loaded"] for made in found)
    show(as_json, {"folder": str(folder), "compiled": compiled, "made": found}, f"{compiled} compiled, for {folder}")


# ---- what lies beside the package


@root.command(context_settings=passed_on)
@rest
def bench(arguments: tuple[str, ...]) -> int:
    """Run a benchmark of a clone."""
    from . import outside

    return _exit_code(lambda: outside.benchmarks().main([*arguments]))


def _names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completions of the name of a model."""
    from . import outside

    given = ctx.params.get("arguments") or ()
    return [] if given else [name for name in outside.models().names() if name.startswith(incomplete)]


@root.command(context_settings=passed_on)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=_names)
def models(arguments: tuple[str, ...]) -> int:
    """Train or use a tutorial model.

    tinygrad-rnn models airline trains one; tinygrad-rnn models airline --help shows its options.
    """
    from . import outside

    return _exit_code(lambda: outside.models().main([*arguments]))


def _exit_code(main: Callable[[], Any]) -> int:
    """The exit code of a command line that may end the process."""
    try:
        return int(main() or 0)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0


@root.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for completion.

    In ~/.bashrc: eval "$(tinygrad-rnn completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, NAME, f"_{NAME.upper().replace('-', '_')}_COMPLETE").source())


# ---- texts


def in_bytes(count: int) -> str:
    """A number of bytes, in a unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} GiB"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _filled(name: str, text: str) -> str:
    """A line of a list, wrapped to the terminal."""
    indent = " " * 14
    return textwrap.fill(
        text,
        width(),
        initial_indent=f"{name:<14}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
