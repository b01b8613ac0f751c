"""The options of a run, kept in its folder, so that --resume goes on with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tinygrad_rnn.errors import CheckpointError


def write(args: argparse.Namespace, model: str) -> None:
    """Keep the options of a run, so that --resume finds them."""
    options = {name: plain(value) for name, value in vars(args).items() if name not in ("out", "resume")}
    path = args.out / "options.json"
    path.write_text(json.dumps({"model": model, "options": options}, indent=2) + "\n", encoding="utf-8")


def read(out: Path, model: str) -> dict:
    """The options of the run in the folder `out`."""
    path = out / "options.json"
    if not path.is_file():
        raise FileNotFoundError(f"--resume: {path} does not exist: there is no run in that folder")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        owner, options = saved["model"], dict(saved["options"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read as the options of a run: {error}") from error
    if owner != model:
        raise CheckpointError(f"{path}: got a run of {owner}, wanted one of {model}")
    return options


def plain(value):
    """An option as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
