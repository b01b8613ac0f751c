"""Files of labelled text: pairs, folders of one class each, tokens with tags."""

from __future__ import annotations

import csv
import io
from os import PathLike
from pathlib import Path
from typing import Literal

from ..errors import DataError
from .files import decode, read_text


def read_pairs(
    path: str | PathLike[str], names: tuple[str, str], delimiter: str | None = None, encoding: str = "utf-8"
) -> tuple[list[str], list[str]]:
    """The two columns of a CSV or TSV file, such as labels and texts, or words and their translations.

    Parameters
    ----------
    path : path of the file
        A first row that holds `names` is left out, and so are blank lines.
    names : (str, str)
        What the columns hold; errors name them.
    delimiter : str, optional
        Default: a comma in files that end in ``.csv``, else a tab. Quotes mean something beside commas only.
    encoding : str

    Returns
    -------
    first, second : list of str
        Without the white space around them.

    Raises
    ------
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
    delimiter = delimiter or ("," if Path(path).suffix == ".csv" else "\t")
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
            if not first or (a.lower(), b.lower()) != names:
                pairs.append((a, b))
            first = False
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: got no valid CSV ({error})") from None
    if not pairs:
        raise DataError(f"{path}: got no rows, wanted rows of {' and '.join(names)}")
    return [a for a, _ in pairs], [b for _, b in pairs]


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
    DataError
        If there is no such file, or one is empty; it is named.
    """
    paths = sorted(p for folder in sorted(Path(path).iterdir()) if folder.is_dir() for p in folder.glob(f"*{suffix}"))
    if not paths:
        raise DataError(f"{path}: holds no folders with {suffix} files, wanted one folder for each class")
    return [p.parent.name for p in paths], [read_text(p, encoding).strip() for p in paths]


def read_conll(
    path: str | PathLike[str], token: int | None = None, tag: int | None = None, encoding: str = "utf-8"
) -> list[tuple[list[str], list[str]]]:
    """Sentences with a tag for each token: a token in a line, a blank line after each sentence.

    Lines that begin with ``# `` or ``-DOCSTART-`` are left out; of CoNLL-U files, whose lines have ten cells
    between tabs, words that stand for several tokens too.

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
    sentences: list[tuple[list[str], list[str]]] = []
    width, ended = None, True
    for number, line in enumerate(decode(path, encoding).split("\n"), start=1):
        if not line.strip():
            ended = True
            continue
        if line.startswith(("# ", "-DOCSTART-")):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if width is not None and len(cells) != width:
            raise DataError(f"{path}, line {number}: got {len(cells)} columns, wanted {width} as in the lines before")
        width = len(cells)
        universal = width == 10 and "\t" in line
        if universal and not cells[0].isdigit():  # such as 1-2, which the tokens 1 and 2 follow
            continue
        at, of = (1, 3) if universal else (0, -1)
        at, of = at if token is None else token, of if tag is None else tag
        if width < 2 or not (-width <= at < width and -width <= of < width):
            raise DataError(f"{path}, line {number}: got {width} columns, wanted a token and a tag in each line")
        if ended:
            sentences.append(([], []))
            ended = False
        sentences[-1][0].append(cells[at])
        sentences[-1][1].append(cells[of])
    if not sentences:
        raise DataError(f"{path}: got no sentences, wanted lines with a token and a tag")
    return sentences
