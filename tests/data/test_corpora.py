"""Files of labelled text, whole and broken."""

import numpy as np
import pytest

from tinygrad_rnn.data import collate_sequences, read_class_folders, read_conll, read_pairs
from tinygrad_rnn.errors import DataError, ShapeError

NAMES = "label", "text"


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_pairs(tmp_path):
    expected = ["a", "b"], ['one "two', "three, four"]
    assert read_pairs(write(tmp_path, "x.tsv", 'Label\tText\na\tone "two\n\n b\tthree, four \n'), NAMES) == expected
    assert read_pairs(write(tmp_path, "x.csv", 'a,"one ""two"\r\nb,"three, four"\r\n'), NAMES) == expected
    assert read_pairs(write(tmp_path, "x.csv", "a;x\nlabel;text"), NAMES, delimiter=";") == (
        ["a", "label"],
        ["x", "text"],
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "", "x.csv: got no rows, wanted rows of label and text"),
        ("x.csv", "label,text\n", "x.csv: got no rows"),
        ("x.csv", "a,b\nc\n", "x.csv, line 2: got 1 cells, wanted 2: label and text"),
        ("x.csv", "a,b\n\nc,d,e\n", "x.csv, line 3: got 3 cells, wanted 2"),
        ("x.tsv", "a\tb\nc\t \n", "x.tsv, line 2: got an empty text"),
        ("x.tsv", "a\tb\n\tb\n", "x.tsv, line 2: got an empty label"),
        ("x.csv", 'a,"b\n', "x.csv, line 1: got no valid CSV"),
        ("x.csv", "a,Zoë\nb,Zoë\n".encode("latin-1"), "x.csv, line 1: got the byte 0xeb, wanted utf-8 text"),
    ],
)
def test_bad_pairs(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_pairs(write(tmp_path, name, content), NAMES)


def test_class_folders(tmp_path):
    for name, text in (("b/1.txt", "no\n"), ("a/2.txt", "yes"), ("a/1.txt", "oh yes"), ("a/x.md", "other")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "list.txt").write_text("of files")
    assert read_class_folders(tmp_path) == (["a", "a", "b"], ["oh yes", "yes", "no"])
    (tmp_path / "b" / "2.txt").write_text(" ")
    with pytest.raises(DataError, match=r"2.txt: got an empty file"):
        read_class_folders(tmp_path)


def test_no_class_folders(tmp_path):
    with pytest.raises(DataError, match=r"holds no folders with \.txt files"):
        read_class_folders(tmp_path)


def test_conll(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nNo DT O\n"
    path = write(tmp_path, "ner.txt", text)
    assert read_conll(path) == [(["EU", "rejects"], ["B-ORG", "O"]), (["No"], ["O"])]
    assert read_conll(path, tag=1) == [(["EU", "rejects"], ["NNP", "VBZ"]), (["No"], ["DT"])]


def test_conll_u(tmp_path):
    row = lambda number, form, pos: "\t".join([number, form, "_", pos, *"______"])
    lines = ["# sent_id = 1", row("1-2", "vámonos", "_"), row("1", "vamos", "VERB"), row("2", "nos", "PRON")]
    assert read_conll(write(tmp_path, "x.conllu", "\n".join(lines))) == [(["vamos", "nos"], ["VERB", "PRON"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x: got no sentences"),
        ("\n\n# only a comment\n", "x: got no sentences"),
        ("a X\nb\n", "x, line 2: got 1 columns, wanted 2 as in the lines before"),
        ("a\nb\n", "x, line 1: got 1 columns, wanted a token and a tag"),
        ("a X\n\xe9 X\n".encode("latin-1"), "x, line 2: got the byte 0xe9, wanted utf-8 text"),
    ],
)
def test_bad_conll(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_conll(write(tmp_path, "x", content))


def test_a_column_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="line 1: got 2 columns, wanted a token and a tag"):
        read_conll(write(tmp_path, "x", "a X\n"), tag=2)


def test_collating():
    (padded, lengths), targets = collate_sequences([(np.array([1, 2]), 7), (np.array([3]), 8)], value=9)
    assert padded.tolist() == [[1, 2], [3, 9]]
    assert lengths.tolist() == [2, 1]
    assert targets.tolist() == [7, 8]
    _, targets = collate_sequences([([1, 2], [0, 1]), ([3], [4])], ignore_index=-1)
    assert targets.tolist() == [[0, 1], [4, -1]]
    (padded, _), _ = collate_sequences([(np.ones((2, 3)), 0), (np.ones((1, 3)), 1)])
    assert padded.shape == (2, 2, 3)
    with pytest.raises(ShapeError, match=r"sequences\[1\]: got shape"):
        collate_sequences([(np.ones((2, 3)), 0), (np.ones((1, 2)), 1)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # inside a sentence
        ("EU ORG\n# O\n3 O\n", [["EU", "#", "3"]]),
        ("a DT B-NP\n# # I-NP\n1 CD I-NP\n", [["a", "#", "1"]]),
        # first in a sentence: a tag of the file, of the IOB scheme, or of its own
        ("EU ORG\n\n# ORG\n3 O\n", [["EU"], ["#", "3"]]),
        ("# # B-NP\n1 CD I-NP\n", [["#", "1"]]),
        ("# O\n# O\n3 B-X\n", [["#", "#", "3"]]),
        ("# #\n1 CD\n", [["#", "1"]]),
        ("# O\n", [["#"]]),
        # comments: other columns, or no tag
        ("# sentence 1\nEU ORG\n", [["EU"]]),
        ("# a longer remark\n# id 1\nEU ORG\n\n# id 2\n3 O\n", [["EU"], ["3"]]),
        ("#\nEU ORG\n", [["EU"]]),
        # between tabs a token is followed by one
        ("# sent_id = 1\n#\tO\n3\tO\n# more = 2\n4\tO\n", [["#", "3", "4"]]),
        ("#hash O\n", [["#hash"]]),
    ],
)
def test_the_token_hash(tmp_path, text, expected):
    assert [tokens for tokens, _ in read_conll(write(tmp_path, "x", text))] == expected


def test_a_remark_inside_a_sentence_is_no_row(tmp_path):
    with pytest.raises(DataError, match="x, line 2: got 4 columns, wanted 2 as in the lines before"):
        read_conll(write(tmp_path, "x", "a X\n# such a remark\nb Y\n"))


def test_delimiters_and_suffixes(tmp_path):
    path = write(tmp_path, "x.CSV", 'LABEL,Text\na,"b, c"\n')
    assert read_pairs(path, NAMES) == (["a"], ["b, c"])
    assert read_pairs(path, ("Label", "Text")) == (["a"], ["b, c"])
    for delimiter in ("::", "", "\n", '"'):
        with pytest.raises(ValueError, match=r"delimiter: got .*, wanted one character, and no quote or line end"):
            read_pairs(path, NAMES, delimiter=delimiter)
    with pytest.raises(TypeError, match="delimiter: got 3, wanted a string"):
        read_pairs(path, NAMES, delimiter=3)
    with pytest.raises(TypeError, match="names: got 'ab', wanted two names"):
        read_pairs(path, "ab")
