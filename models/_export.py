"""The use ``export`` of every model: what was trained, as a file for C, ONNX or NumPy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ExportError

from . import _command
from ._parser import PROG

BATCH, TIME = 23, 37  # of examples: lengths that no other axis has
ENDS = {"c": ".h", "numpy": ".py", "onnx": ".onnx"}
Example = Callable[[Any], tuple]  # arguments of a model, of which the axes matter, and no values


def use(name: str, kind: Callable[..., nn.Module], example: Example) -> _command.Use:
    """The use of the model called `name`, whose weights make a `kind`."""

    def export(args: argparse.Namespace) -> list[Path]:
        """Write the trained model as a file that needs nothing of this package, beside its weights.

        For C it is a header, for NumPy a file of Python with an .npz beside it, for ONNX one file with batch and time
        open; with --streaming one time step of it, with its states as inputs and outputs.
        """
        if args.streaming and args.to != "onnx":
            raise ExportError(f"--streaming: got it with --to {args.to}, wanted it with --to onnx; others have both")
        found = sorted(path.stem for path in args.out.glob("weights*.safetensors"))
        if not found:
            raise FileNotFoundError(f"{args.out}: there are no weights; train first: {PROG} {name} --out {args.out}")
        paths = []
        for weights in found:
            model, _ = _command.load(args, name, kind, weights)
            part = weights.removeprefix("weights").replace("-", "_")
            path = args.out / f"{name}{part}{'_step' * args.streaming}{ENDS[args.to]}"
            paths.append(_written(model, example(model), path, args))
            print(f"wrote {paths[-1]}")
        return paths

    return _command.Use(export, _options, "the model as C, ONNX or NumPy")


def _written(model: nn.Module, example: tuple, path: Path, args: argparse.Namespace) -> Path:
    if args.to == "c":
        return tr.export.to_c(model, path, example=example).path
    if args.to == "numpy":
        return tr.export.to_numpy(model, example, path).code
    try:
        return tr.export.to_onnx(model, example, path, args.streaming).path
    except ModuleNotFoundError as error:
        raise ExportError(str(error)) from None


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=tuple(ENDS), required=True, help="c, numpy or onnx")
    parser.add_argument("--streaming", action="store_true", help="for ONNX, one time step with the states")


# ---- examples


def features(*, batch_first: bool = True) -> Example:
    """One sequence of as many features as the first weight takes, for layers called ``rnn``."""

    def make(model: Any) -> tuple:
        lead = (BATCH, TIME) if batch_first else (TIME, BATCH)
        return (np.zeros((*lead, model.rnn.cell.input_size), np.float32),)

    return make


def ids(model: Any) -> tuple:
    """Symbols (T, B)."""
    return (np.zeros((TIME, BATCH), np.int64),)


def observations(model: Any) -> tuple:
    """Those of environments (T, B, features)."""
    return (np.zeros((TIME, BATCH, model.core.cell.input_size), np.float32),)


def texts(model: Any) -> tuple:
    """Symbols (N, T) and lengths (N,)."""
    return np.zeros((BATCH, TIME), np.int64), np.arange(BATCH) % TIME + 1
