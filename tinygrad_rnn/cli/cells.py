"""From ``module:Cell`` to a cell: imported from the current folder, and made if it is a class."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import nn
from .terminal import Fault, no_such

PACKAGE = str(Path(__file__).parents[1])


def found(spec: str) -> Any:
    """What ``module:name``, ``file.py:name`` or the name of a built-in cell stands for."""
    if spec in nn.cell_names():
        return nn.cell_by_name(spec)
    module, colon, name = spec.rpartition(":")
    if not colon or not module or not name:
        near = difflib.get_close_matches(spec, nn.cell_names(), 1)
        if near:
            raise Fault(f"{spec}: no such cell; did you mean {near[0]}?")
        raise Fault(f"{spec}: wanted module:Cell, file.py:Cell, or one of {', '.join(nn.cell_names())}")
    value: Any = _imported(module)
    for part in name.split("."):
        if not hasattr(value, part):
            names = [key for key, thing in vars(value).items() if isinstance(thing, type | nn.Module)]
            raise Fault(f"{module}: {no_such('name', part, [n for n in names if not n.startswith('_')])}")
        value = getattr(value, part)
    return value


def _imported(module: str) -> ModuleType:
    """A module of the user's, by name from the current folder, or by its file."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        if not Path(module).is_file():
            raise Fault(f"{module}: no such file")
        spec = importlib.util.spec_from_file_location(Path(module).stem, module)
        assert spec is not None
        assert spec.loader is not None
        loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if module == missing or module.startswith(f"{missing}."):
            raise Fault(f"{module}: no such module in {os.getcwd()}, nor installed") from None
        raise Fault(f"{module}: imports {missing}, which is not installed") from None
    except SyntaxError as error:
        raise Fault(f"{module}: {error.msg}, at {error.filename}:{error.lineno}") from None
    except (Exception, SystemExit) as error:
        if isinstance(error, Fault):
            raise
        raise Fault(f"{module}: importing it fails: {in_a_line(error)}") from None


def in_a_line(error: BaseException) -> str:
    """An error with the last line of the user's that led to it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    own = [at for at in traceback.extract_tb(error.__traceback__) if not at.filename.startswith((PACKAGE, "<"))]
    return f"{text}, at {own[-1].filename}:{own[-1].lineno}" if own else text


def made(spec: str, sizes: tuple[int, int] | None) -> Any:
    """The cell or layer that `spec` stands for; a class or function is called, if need be with sizes."""
    value = found(spec)
    if isinstance(value, nn.Module):
        return value
    if not callable(value):
        raise Fault(f"{spec}: got {type(value).__name__}, wanted an nn.Cell, or what makes one")
    try:
        required = [
            p.name
            for p in inspect.signature(value).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        required = []
    if len(required) not in (0, 2):
        raise Fault(
            f"{spec}: needs the arguments {', '.join(required)}, wanted none, or input_size and hidden_size; "
            "name a function without arguments that makes one"
        )
    try:
        thing = value(*(sizes or (8, 16)) if required or sizes else ())
    except Exception as error:
        raise Fault(f"{spec}: making it fails: {in_a_line(error)}") from None
    if not isinstance(thing, nn.Module):
        raise Fault(f"{spec}: got {type(thing).__name__} from it, wanted an nn.Cell or a layer")
    return thing
