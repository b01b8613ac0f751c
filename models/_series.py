"""What the models of series share: going on from a series with a trained model."""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.data import read_column
from tinygrad_rnn.errors import DataError

DATE = re.compile(r"[1-9]\d{3}-\d\d")  # how dates begin that are taken for such


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


def times(path: Path | None, count: int, start: str, unit: str) -> np.ndarray:
    """What the axis of time shows: dates, or if there are none the numbers of steps.

    Parameters
    ----------
    path : path of a CSV file, or None
        The first of its columns whose cells are all dates, in rising order, is taken.
    count : int
        Values of the series; dates that follow them are a step of the last two apart.
    start, unit : str
        Without a file: the first date, and NumPy's letter for a step.
    """
    if path is None:
        return np.datetime64(start, unit) + np.arange(count)
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    for column in zip(*rows):
        if len(column) != count or not all(DATE.match(cell) for cell in column):
            continue
        try:
            dates = np.array(column, "datetime64")
        except ValueError:  # such as the 31st of June
            continue
        if (np.diff(dates) > np.timedelta64(0)).all():
            return dates
    return np.arange(count)


def longer(times: np.ndarray, steps: int) -> np.ndarray:
    """`times`, and so many more steps after them."""
    return np.concatenate([times, times[-1] + (times[-1] - times[-2]) * np.arange(1, steps + 1)])


def options(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`last_values`."""
    parser.add_argument("--data", type=Path, metavar="CSV", help="whose last values to start from")
    parser.add_argument("--column", help="the series in it; default: that of the training")
