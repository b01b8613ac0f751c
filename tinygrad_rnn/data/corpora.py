"""Files of labelled text: pairs, folders of one class each, tokens with tags."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple

from ..atomic import checked
from ..errors import DataError
from ._checks import integer, plain, separator, text
from .files import decode, read_text

IOB = re.compile(r"O|[BILUES]-\S+")  # tags of spans


def read_pairs(
    path: str | PathLike[str], names: tuple[str, str], delimiter: str | None = None, encoding: str = "utf-8"
) -> tuple[list[str], list[str]]:
    """The two columns of a CSV or TSV file, such as labels and texts, or words and their translations.

    Parameters
    ----------
    path : path of the file
        A first row that holds `names` is left out, and so are blank lines.
    names : (str, str)
        What the columns hold, in any case; errors name them.
    delimiter : str, optional
        One character. Default: a comma in files that end in ``.csv`` or ``.CSV``, else a tab. Quotes mean something
        beside commas only.
    encoding : str

    Returns
    -------
    first, second : list of str
        Without the white space around them.

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file and the line, if it has more or fewer than two cells, or an empty one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "reviews.csv")
    ...     _ = path.write_text('label,text\\ngood,"short, and sweet"\\nbad,long\\n')
    ...     read_pairs(path, ("label", "text"))
    (['good', 'bad'], ['short, and sweet', 'long'])
    """
    names = _two(names)
    if delimiter is None:
        delimiter = "," if Path(checked(path)).suffix.lower() == ".csv" else "\t"
    separator("delimiter", delimiter)
    header = tuple(map(plain, names))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(decode(path, encoding)), delimiter=delimiter, quoting=quoting, strict=True)
    pairs: list[tuple[str, str]] = []
    first = True
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != 2:
                raise DataError(
                    f"{path}, line {reader.line_num}: got {len(row)} cells, wanted 2: {' and '.join(names)}"
                )
            a, b = row[0].strip(), row[1].strip()
            for name, cell in zip(names, (a, b)):
                if not cell:
                    raise DataError(f"{path}, line {reader.line_num}: got an empty {name}, wanted some text")
            if not first or (plain(a), plain(b)) != header:
                pairs.append((a, b))
            first = False
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: got no valid CSV ({error})") from None
    if not pairs:
        raise DataError(f"{path}: got no rows, wanted rows of {' and '.join(names)}")
    return [a for a, _ in pairs], [b for _, b in pairs]


def _two(names: tuple[str, str]) -> tuple[str, str]:
    """`names`, if they are two strings."""
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != 2:
        raise TypeError(f"names: got {names!r}, wanted two names of columns")
    return text("names[0]", names[0]), text("names[1]", names[1])


def read_class_folders(
    path: str | PathLike[str], suffix: str = ".txt", encoding: str = "utf-8"
) -> tuple[list[str], list[str]]:
    """Texts in a folder for each class: ``path/good/1.txt``, ``path/bad/1.txt``, ...

    Returns
    -------
    labels, texts : list of str
        In the order of the names of folders and files.

    Raises
    ------
    OSError
        If the folder is missing, or may not be read.
    DataError
        If there is no such file, or one is empty; it is named.
    """
    text("suffix", suffix)
    path = Path(checked(path))
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    paths = sorted(p for folder in folders for p in folder.iterdir() if p.name.endswith(suffix) and not p.is_dir())
    if not paths:
        raise DataError(f"{path}: holds no folders with {suffix} files, wanted one folder for each class")
    return [p.parent.name for p in paths], [read_text(p, encoding).strip() for p in paths]


def read_conll(
    path: str | PathLike[str], token: int | None = None, tag: int | None = None, encoding: str = "utf-8"
) -> list[tuple[list[str], list[str]]]:
    """Sentences with a tag for each token: a token in a line, a blank line after each sentence.

    Lines that begin with ``-DOCSTART-`` are left out; of CoNLL-U files, whose lines have ten cells between tabs, words
    that stand for several tokens; and comments, which begin with ``# ``, before the first token of a sentence. There,
    in files separated by blanks, a line such as ``# O`` or ``# # B-NP`` is the token ``#``, if it has as many columns
    as other lines and a tag of the file or of the IOB scheme. Inside a sentence there are no comments.

    Parameters
    ----------
    path : path of the file
    token, tag : int, optional
        Columns, counted from 0, or from -1 backwards. Default: the first and the last; of CoNLL-U files the
        form and the universal part of speech.
    encoding : str

    Returns
    -------
    list of (tokens, tags)

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file and the line, if it has another number of columns than those before it, or too few.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "ner.txt")
    ...     _ = path.write_text("Ada NNP B-PER\\nwrote VBD O\\n\\nYes UH O\\n")
    ...     read_conll(path)
    [(['Ada', 'wrote'], ['B-PER', 'O']), (['Yes'], ['O'])]
    """
    token, tag = (None if at is None else integer(name, at, -(2**31)) for name, at in (("token", token), ("tag", tag)))
    rows = _rows(decode(path, encoding))
    sure = [row for row in rows if not row.doubtful] or [
        row for row in rows if _is_token(row.cells, max(2, len(row.cells)), set(), -1)
    ]
    if not sure:
        raise DataError(f"{path}: got no sentences, wanted lines with a token and a tag")
    width, tabs = len(sure[0].cells), sure[0].tabs
    universal = width == 10 and tabs
    at, of = (1, 3) if universal else (0, -1)
    at, of = at if token is None else token, of if tag is None else tag
    if width < 2 or not (-width <= at < width and -width <= of < width):
        raise DataError(f"{path}, line {sure[0].line}: got {width} columns, wanted a token and a tag in each line")
    tags = {row.cells[of] for row in sure if len(row.cells) == width}
    sentences: list[tuple[list[str], list[str]]] = []
    ended = True
    for row in rows:
        ended |= row.first
        if (
            row.cells[0] == "#"
            and not row.tabs
            and (tabs or (row.doubtful and not _is_token(row.cells, width, tags, of)))
        ):
            continue
        if len(row.cells) != width:
            raise DataError(
                f"{path}, line {row.line}: got {len(row.cells)} columns, wanted {width} as in the lines before"
            )
        if universal and not row.cells[0].isdigit():  # such as 1-2, which the tokens 1 and 2 follow
            continue
        if ended:
            sentences.append(([], []))
            ended = False
        sentences[-1][0].append(row.cells[at])
        sentences[-1][1].append(row.cells[of])
    if not sentences:
        raise DataError(f"{path}: got no sentences, wanted lines with a token and a tag")
    return sentences


class _Row(NamedTuple):
    """A line that is not blank."""

    line: int
    cells: list[str]
    tabs: bool
    first: bool  # after a blank line
    doubtful: bool  # it may be a comment


def _rows(content: str) -> list[_Row]:
    """The lines of a file that hold tokens, or comments."""
    rows = []
    first = beginning = True  # of a sentence, with its comments
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            first = beginning = True
        elif not line.startswith("-DOCSTART-"):
            tabs = "\t" in line
            cells = line.split("\t") if tabs else line.split()
            beginning = beginning and cells[0] == "#" and not tabs
            rows.append(_Row(number, cells, tabs, first, beginning))
            first = False
    return rows


def _is_token(cells: list[str], width: int, tags: set[str], of: int) -> bool:
    """Whether a line that begins with ``#`` and a blank is a token and not a comment."""
    return len(cells) == width and (cells[of] in tags or "#" in cells[1:] or IOB.fullmatch(cells[of]) is not None)
