"""The options of a run, kept in its folder, so that --resume goes on with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tinygrad_rnn.errors import CheckpointError, DataError
from tinygrad_rnn.storage.files import write_whole

NOT_KEPT = ("out", "resume", "force", "distributed")


def require_new(args: argparse.Namespace) -> None:
    """Raise DataError if a new run would write over what is in its folder."""
    if not args.resume and not args.force and args.out.is_dir() and any(args.out.iterdir()):
        raise DataError(
            f"--out: {args.out} holds files already; go on with that run with --resume, write over it with --force, or "
            "give another folder"
        )


def write(args: argparse.Namespace, model: str) -> None:
    """Keep the options of a run, so that --resume finds them."""
    options = {name: plain(value) for name, value in vars(args).items() if name not in NOT_KEPT}
    text = json.dumps({"model": model, "options": options}, indent=2)
    write_whole(args.out / "options.json", f"{text}\n".encode())


def read(out: Path, model: str, parser: argparse.ArgumentParser) -> dict:
    """The options of the run in the folder `out`, as `parser` makes them from words.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    CheckpointError
        Naming the file, if it holds something else than options of this model.
    """
    path = out / "options.json"
    if not path.is_file():
        raise FileNotFoundError(f"--resume: {path} does not exist: there is no run in that folder")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        owner, options = saved["model"], dict(saved["options"])
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: cannot be read as the options of a run: {error}") from None
    if owner != model:
        raise CheckpointError(f"{path}: got a run of {owner}, wanted one of {model}")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", *NOT_KEPT)}
    for name in options:
        if name not in actions:
            raise CheckpointError(f"{path}: got the option {name!r}, wanted some of {', '.join(actions)}")
    try:
        return {name: _value(actions[name], value) for name, value in options.items()}
    except (ValueError, TypeError, OverflowError, argparse.ArgumentTypeError) as error:
        raise CheckpointError(f"{path}: got an option that cannot be one: {error}") from None


def _value(action: argparse.Action, saved):
    """The value of an option from what :func:`plain` made of it."""
    if action.nargs == 0:
        if not isinstance(saved, bool):
            raise TypeError(f"{action.dest} is {saved!r}, wanted true or false")
        return saved
    if saved is None and action.default is None:
        return None
    several = action.nargs is not None
    if several != isinstance(saved, list) or (several and not saved):
        raise TypeError(f"{action.dest} is {saved!r}, wanted {'a list' if several else 'one value'}")
    convert = action.type if callable(action.type) else str
    values = []
    for value in saved if several else [saved]:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError(f"{action.dest} is {value!r}, wanted a number or a string")
        if action.choices is not None and value not in action.choices:
            raise ValueError(f"{action.dest} is {value!r}, wanted one of {', '.join(map(str, action.choices))}")
        values.append(convert(str(value)))
    return values if several else values[0]


def plain(value):
    """An option as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
