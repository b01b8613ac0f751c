"""What the models of series share: going on from a series with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.data import read_column
from tinygrad_rnn.errors import DataError


def facts(args: argparse.Namespace, series: np.ndarray, scaler) -> dict[str, Any]:
    """What is saved with the weights, so that a forecast can go on from the end of the series."""
    last = series[-args.look_back :]
    return {"column": args.column, "look_back": args.look_back, "last": last, "scaler": scaler.state_dict()}


def last_values(args: argparse.Namespace, facts: dict[str, Any]) -> np.ndarray:
    """As many values as the model looks back on: the last ones of --data, or those of the training."""
    column = args.column or facts["column"]
    if args.data is None:
        if args.column:
            raise DataError(f"--column: got {args.column!r} without --data, wanted the file that it is in")
        return np.array(facts["last"], np.float32)
    if column is None:
        raise DataError("--column: got none with --data, wanted the name of the column to forecast")
    values = read_column(args.data, column)
    if len(values) < facts["look_back"]:
        raise DataError(f"{args.data}: got {len(values)} rows, wanted at least the {facts['look_back']} that it sees")
    return values[-facts["look_back"] :]


def options(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`last_values`."""
    parser.add_argument("--data", type=Path, metavar="CSV", help="whose last values to start from")
    parser.add_argument("--column", help="the series in it; default: that of the training")
