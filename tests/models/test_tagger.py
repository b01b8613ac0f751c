"""models/tagger: what Python's parser says, files of tagged tokens, the bar."""

import numpy as np
import pytest

from models import __main__ as command
from models import _python, tagger
from tinygrad_rnn.errors import DataError

SOURCE = '''
import os.path as p
from . import near
from a.b import c
@decorate(1)
class Größe(Base, metaclass=Meta):
    x: int = None
    def method(self, ä="text", *rest, key=True) -> str:
        """Says."""
        global g
        print(self.äh.go(len(rest), sep=ä))
        try:
            return other(lambda q: q)
        except Error as e:
            pass
'''

EXPECTED = """
import keyword  os module  path module  as keyword  p variable
from keyword  import keyword  near module
from keyword  a module  b module  import keyword  c module
decorate call
class keyword  Größe definition  Base variable  metaclass argument  Meta variable
x variable  int builtin  None keyword
def keyword  method definition  self parameter  ä parameter  rest parameter  key parameter  True keyword  str builtin
global keyword  g variable
print builtin  self variable  äh attribute  go method  len builtin  rest variable  sep argument  ä variable
try keyword
return keyword  other call  lambda keyword  q parameter  q variable
except keyword  Error variable  as keyword  e variable
pass keyword
"""


def test_what_the_parser_says():
    found = _python.sentences(SOURCE, "x.py")
    lines = EXPECTED.strip().split("\n")
    assert len(found) == len(lines)
    for (tokens, tags), line in zip(found, lines):
        pairs = [(token, tag) for token, tag in zip(tokens, tags) if tag is not None]
        assert pairs == [tuple(part.split()) for part in line.split("  ")]


def test_strings_numbers_and_signs_are_read_but_not_tagged():
    (line,) = _python.sentences("x = f(1.5, 'abc')  # why\n", "x.py")
    assert line == (["x", "=", "f", "(", "0", ",", '"s"', ")"], ["variable", None, "call", *[None] * 5])


def test_every_name_of_a_module_has_a_tag():
    source = tagger.read_text(command.__file__)
    for tokens, tags in _python.sentences(source, "x.py"):
        for token, tag in zip(tokens, tags):
            assert token.isidentifier() == (tag is not None), (token, tokens)


@pytest.mark.parametrize("source", ["x = (1,\n", "def f(:\n", "x\0y"])
def test_what_is_no_python(source):
    with pytest.raises(DataError, match=r"x.py, line \d: got no Python source"):
        _python.sentences(source, "x.py")


@pytest.mark.parametrize(
    ("token", "shape"),
    [
        ("Hello", "<Aa>"),
        ("UTF8", "<A0>"),
        ("_private", "<_a>"),
        ("ArrayList2", "<AaAa0>"),
        ("...", "<.>"),
        ("é", "<a>"),
    ],
)
def test_shapes(token, shape):
    assert tagger.shape(token) == shape


def test_most_frequent_tag():
    sentences = [(["a", "b"], ["X", "Y"]), (["a"], ["X"]), (["a"], ["Y"]), (["c"], ["X"])]
    held_out = [(["a", "b", "new"], ["X", "X", "X"])]
    assert tagger.most_frequent(sentences, held_out, ["X", "Y"]).tolist() == [0, 1, 0]


def conll(path, sentences):
    """Words that are nouns after an article, and verbs elsewhere."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(sentences):
        for _ in range(rng.integers(1, 4)):
            noun = rng.random() < 0.5
            lines += ["the D"] * noun + [f"w{rng.integers(0, 3)} {'N' if noun else 'V'}"]
        lines.append("")
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.slow
def test_a_file_of_the_users_own(tmp_path, capsys):
    out = str(tmp_path / "out")
    data, held_out = conll(tmp_path / "train.txt", 200), conll(tmp_path / "test.txt", 20)
    metrics = tagger.main(
        ["--data", data, "--held-out", held_out, "--epochs", "8", "--hidden-size", "16", "--out", out]
    )
    assert metrics["accuracy"] > 0.9 > metrics["most_frequent_accuracy"]
    (tmp_path / "new.txt").write_text("w0 the w1 w2\n\nthe w1\n")
    capsys.readouterr()
    found = tagger.main(["tag", str(tmp_path / "new.txt"), "--out", out])
    assert [mark for _, mark in found] == ["V", "D", "N", "V", "D", "N"]
    assert capsys.readouterr().out.startswith("w0\tV\nthe\tD\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.txt: got no sentences"),
        (b"a X\n\nb\n", "x.txt, line 3: got 1 columns, wanted 2"),
        (b"a X\n\nb X\n", "x.txt: got the one tag 'X' only, wanted several"),
        (b"a X\nb Y\n", "x.txt: got one sentence, wanted some to train on"),
        (b"a X\n\xff Y\n", "x.txt, line 2: got the byte 0xff"),
    ],
)
def test_bad_files(content, message, tmp_path, capsys):
    (tmp_path / "x.txt").write_bytes(content)
    out = tmp_path / "out"
    assert command.main(["tagger", "--data", str(tmp_path / "x.txt"), "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_better_than_the_most_frequent_tag(tmp_path):
    metrics = tagger.main(["--characters", "300000", "--epochs", "3", "--out", str(tmp_path)])
    assert metrics["accuracy"] > 0.95
    assert metrics["most_frequent_accuracy"] < 0.85
