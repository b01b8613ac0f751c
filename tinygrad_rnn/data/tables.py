"""Numeric columns of a CSV file with a header."""

from __future__ import annotations

import csv
import io
import math
import reprlib
import unicodedata
from collections.abc import Sequence
from os import PathLike

import numpy as np

from ..config import get_default_dtype
from ..errors import DataError
from ._checks import as_dtype, separator, text
from .files import decode


def read_column(
    path: str | PathLike[str], column: str, *, dtype=None, delimiter: str = ",", encoding: str = "utf-8"
) -> np.ndarray:
    """One numeric column of a CSV file.

    Parameters and errors are those of :func:`read_csv_columns`.

    Returns
    -------
    ndarray, shape (N,)
    """
    return read_csv_columns(path, [column], dtype=dtype, delimiter=delimiter, encoding=encoding)[:, 0]


def read_csv_columns(
    path: str | PathLike[str],
    columns: Sequence[str],
    *,
    dtype=None,
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> np.ndarray:
    """Numeric columns of a CSV file whose first line names them.

    Every row must have as many cells as the header, and every cell of the chosen columns must hold a finite
    number. Blank lines at the end are ignored.

    Parameters
    ----------
    path : path of the file
    columns : sequence of str
        Names of columns, in the order of the result.
    dtype : float32 or float64, optional
        Of the result; the default dtype unless given.
    delimiter : str
        One character.
    encoding : str

    Returns
    -------
    ndarray, shape (N, len(columns))

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file, the line and the column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.csv")
    ...     _ = path.write_text("day,rain,wind\\nMon,0.5,3\\nTue,1.5,4\\n")
    ...     read_csv_columns(path, ["wind", "rain"])
    array([[3. , 0.5],
           [4. , 1.5]], dtype=float32)
    """
    if isinstance(columns, str):
        raise TypeError(f"columns: got the str {columns!r}, wanted a sequence of names; or use read_column")
    try:
        columns = [text("columns", column) for column in columns]
    except TypeError:
        raise TypeError(f"columns: got {columns!r}, wanted a sequence of names") from None
    if not columns:
        raise ValueError("columns: got none, wanted at least one name")
    dtype = as_dtype("dtype", get_default_dtype() if dtype is None else dtype, "f")
    separator("delimiter", delimiter)
    header, rows = _rows(path, delimiter, encoding)
    places = [_place(path, header, column) for column in columns]
    limit = float(np.finfo(dtype).max)
    values = []
    for line, row in rows:
        if len(row) != len(header):
            names = delimiter.join(header)
            raise DataError(f"{path}, line {line}: got {len(row)} cells, wanted {len(header)} ({names})")
        values.append([_number(row[i], limit, (path, line, header[i])) for i in places])
    if not values:
        raise DataError(f"{path}: got a header and no rows, wanted at least one row")
    return np.array(values, dtype)


def _rows(path, delimiter: str, encoding: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the other rows with the numbers of their last lines."""
    lines = io.StringIO(decode(path, encoding).rstrip("\n"), newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: got no valid CSV ({error})") from None
    if not rows:
        raise DataError(f"{path}: got an empty file, wanted a header and rows")
    return [unicodedata.normalize("NFC", name.strip()) for name in rows[0][1]], rows[1:]


def _place(path, header: list[str], column: str) -> int:
    """Position of `column` in the header, however its accents are written."""
    column = unicodedata.normalize("NFC", column)
    if header.count(column) != 1:
        found = "several times" if column in header else "nowhere"
        raise DataError(f"{path}, line 1: got the column {column!r} {found}, wanted it once in: {', '.join(header)}")
    return header.index(column)


def _number(cell: str, limit: float, where: tuple) -> float:
    """The number in `cell`, of a magnitude of at most `limit`; an error tells `where` it stands."""
    try:
        number = float(cell.replace("_", "?"))  # Python reads 1_000 as a number, CSV does not
    except ValueError:
        number = math.nan
    if abs(number) <= limit:
        return number
    path, line, name = where
    got = reprlib.repr(cell) if cell.strip() else "an empty cell"
    raise DataError(f"{path}, line {line}, column {name!r}: got {got}, wanted a finite number <= {limit:.2g}")
