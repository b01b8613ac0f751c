import csv
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn.data import read_column, read_csv_columns
from tinygrad_rnn.errors import DataError, DTypeError

AIRLINE = Path(__file__).parents[2] / "models" / "data" / "airline.csv"
names = st.lists(st.from_regex(r'[a-z," ]*[a-z]', fullmatch=True), min_size=1, max_size=4, unique_by=str.strip)


@pytest.mark.slow
@given(names, st.integers(1, 5), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.data())
def test_reading_undoes_writing(header, count, encoding, data):
    shape = (count, len(header))
    table = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(allow_nan=False, allow_infinity=False)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        with open(path, "w", newline="", encoding=encoding) as file:
            csv.writer(file).writerows([header, *table.tolist()])
        order = data.draw(st.permutations(range(len(header))))
        columns = [header[i].strip() for i in order]
        encoding = encoding.removesuffix("-sig")  # a byte order mark is no part of the first name
        read = read_csv_columns(path, columns, dtype=np.float64, encoding=encoding)
        np.testing.assert_array_equal(read, table[:, order])
        column = read_column(path, columns[0], dtype=np.float64, encoding=encoding)
        np.testing.assert_array_equal(column, table[:, order[0]])


def test_the_airline_series():
    passengers = read_column(AIRLINE, "passengers")
    assert passengers.dtype == np.float32
    assert passengers.shape == (144,)
    assert (passengers[0], passengers[-1], passengers.min(), passengers.max()) == (112, 432, 104, 622)
    assert passengers.sum() == 40363
    months = [line.split(",")[0] for line in AIRLINE.read_text().splitlines()]
    assert months == [
        "month",
        *(f"{year}-{month:02d}" for year in range(1949, 1961) for month in range(1, 13)),
    ]


def read(tmp_path, content, columns=("a", "b"), **kwargs):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv_columns(path, columns, **kwargs)


def test_forms_of_files(tmp_path):
    for text in ("a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4", "a, b\n 1 , 2\n3,4\n\n\n", 'a,b\n"1",2\n3,"4"'):
        np.testing.assert_array_equal(read(tmp_path, text), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(read(tmp_path, "n;a;b\nx;-1e3;.5\n", delimiter=";"), [[-1000, 0.5]])
    np.testing.assert_array_equal(read(tmp_path, "n,a\n,1\nnan,2\n", ["a"]), [[1], [2]])  # others may be empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"t\.csv: got an empty file, wanted a header and rows"),
        ("\n\n", r"t\.csv: got an empty file"),
        ("a,b\n", r"t\.csv: got a header and no rows, wanted at least one row"),
        ("a,b\n1,2\n3,\n", r"t\.csv, line 3, column 'b': got an empty cell, wanted a finite number"),
        ("a,b\n1,2\n  ,4\n", r"t\.csv, line 3, column 'a': got an empty cell"),
        ("a,b\n1,x\n", r"t\.csv, line 2, column 'b': got 'x', wanted a finite number"),
        ("a,b\n1,1_000\n", r"t\.csv, line 2, column 'b': got '1_000', wanted a finite number"),
        ("a,b\n1,NaN\n", r"t\.csv, line 2, column 'b': got 'NaN', wanted a finite number <= 3.4e\+38"),
        ("a,b\n1,-inf\n", r"t\.csv, line 2, column 'b': got '-inf', wanted a finite number"),
        ("a,b\n1,1e39\n", r"t\.csv, line 2, column 'b': got '1e39', wanted a finite number"),
        ("a,b\n1,2\n3\n", r"t\.csv, line 3: got 1 cells, wanted 2 \(a,b\)"),
        ("a,b\n1,2,3\n", r"t\.csv, line 2: got 3 cells, wanted 2"),
        ("a,b\n1,2\n\n3,4\n", r"t\.csv, line 3: got 0 cells, wanted 2"),
        ("a,c\n1,2\n", r"t\.csv, line 1: got the column 'b' nowhere, wanted it once in: a, c"),
        ("a,b,b\n1,2,3\n", r"t\.csv, line 1: got the column 'b' several times, wanted it once in: a, b, b"),
        ('a,b\n1,"2\n', r"t\.csv, line 2: got no valid CSV \(unexpected end of data\)"),
        (
            "a,b\n1,2\n3,é\n".encode("latin-1"),
            r"t\.csv, line 3: got the byte 0xe9, wanted utf-8 text; save the file so, or pass its encoding=",
        ),
        ("a,b\n1,2\n".encode("utf-16"), r"t\.csv, line 1: got the byte 0xff, wanted utf-8 text"),
    ],
)
def test_errors_name_file_line_and_column(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_column(tmp_path / "none.csv", "a")
    with pytest.raises(TypeError, match=r"columns: got the str 'ab', wanted a sequence of names"):
        read(tmp_path, "a,b\n1,2\n", "ab")
    with pytest.raises(ValueError, match=r"columns: got none, wanted at least one name"):
        read(tmp_path, "a,b\n1,2\n", [])
    with pytest.raises(DTypeError, match=r"dtype: got int64, wanted float32 or float64"):
        read(tmp_path, "a,b\n1,2\n", dtype=np.int64)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_accents_in_letters_or_beside_them(tmp_path, form, asked):
    text = unicodedata.normalize(form, "größe,é\n1,2\n")
    column = unicodedata.normalize(asked, "é")
    np.testing.assert_array_equal(read(tmp_path, text, [column]), [[2]])
    both = unicodedata.normalize("NFC", "é") + "," + unicodedata.normalize("NFD", "é") + "\n1,2\n"
    with pytest.raises(DataError, match="got the column 'é' several times"):
        read(tmp_path, both, [column])


def test_delimiters(tmp_path):
    for delimiter in ("::", "", "\n", '"'):
        with pytest.raises(ValueError, match=r"delimiter: got .*, wanted one character, and no quote or line end"):
            read(tmp_path, "a,b\n1,2\n", delimiter=delimiter)
    with pytest.raises(TypeError, match="delimiter: got None, wanted a string"):
        read(tmp_path, "a,b\n1,2\n", delimiter=None)
    with pytest.raises(DTypeError, match="dtype: got 'number', wanted a dtype of real numbers"):
        read(tmp_path, "a,b\n1,2\n", dtype="number")
    with pytest.raises(TypeError, match="columns: got 3, wanted a sequence of names"):
        read(tmp_path, "a,b\n1,2\n", 3)
