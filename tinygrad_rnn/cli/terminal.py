"""Help that fits the terminal, errors in one line, near misses of names, and exit codes."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import click

from ..errors import TinygradError

NAME = "tinygrad-rnn"


class Fault(click.ClickException):
    """Something that the user can mend, told in one line; exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"{NAME}: {self.message}", err=True, file=file)


class Formatter(click.HelpFormatter):
    """Help whose first column leaves room for the second, also in narrow terminals."""

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 2 - 4), col_spacing)


class Context(click.Context):
    formatter_class = Formatter


class Command(click.Command):
    context_class = Context


class Group(click.Group):
    """A group of commands that names the nearest one if there is none of that name."""

    context_class = Context
    command_class = Command
    group_class = type  # groups in it are of this class

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise Fault(no_such("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def no_such(kind: str, got: str, names: Iterable[str]) -> str:
    """What to say of a name that there is not: the nearest one, or all."""
    names = list(names)
    near = difflib.get_close_matches(got, names, 1)
    return f"no {kind} {got!r}; {f'did you mean {near[0]}?' if near else 'there are ' + ', '.join(names)}"


def width() -> int:
    """Columns of the terminal."""
    return max(shutil.get_terminal_size().columns, 20)


def show(as_json: bool, values: dict[str, Any], text: str) -> None:
    """Print values as JSON, or a text about them."""
    click.echo(json.dumps(values, indent=2, default=str) if as_json else text)


def run(command: click.Command, argv: list[str] | None) -> int:
    """Run a command, print its errors, and return the exit code."""
    try:
        arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
        code = command.main(arguments, prog_name=NAME, standalone_mode=False, terminal_width=width())
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo(f"{NAME}: stopped", err=True)
        return 130
    except BrokenPipeError:  # what reads the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        click.echo(f"{NAME}: {f'{error.filename}: {error.strerror}' if named else error}", err=True)
        return 1
    except TinygradError as error:
        click.echo(f"{NAME}: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0
