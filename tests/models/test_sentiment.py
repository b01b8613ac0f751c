"""models/sentiment: its grammar, files, the bar."""

import random
import re

import numpy as np
import pytest

from models import __main__ as command
from models import sentiment
from tinygrad_rnn.data import Vocabulary


def opinion(text):
    """What a review says, worked out from the words by rules of its own: True for praise."""
    for contrast, winner in (
        (r"^(?:although|even if) (.*?) , (.*)$", 2),
        (r"^(.*?) , (?:although|even if|no matter that) (.*)$", 1),
        (r"^(.*?) , (?:but|and yet) (.*)$", 2),
    ):
        found = re.match(contrast, text)
        if found:
            return opinion(found[winner])
    (word,) = set(sentiment.PRAISE + sentiment.BLAME) & set(text.split())
    negated = re.search(r"\b(not|nobody|never|anything but|far from)\b", text)
    return (word in sentiment.PRAISE) != bool(negated)


def test_labels_are_true():
    labels, texts = sentiment.reviews(1000, seed=5)
    assert len(set(texts)) == 1000
    assert labels.count("good") == 500
    for label, text in zip(labels, texts):
        assert opinion(text) == (label == "good"), text


def test_single_words_say_little():
    """Each word is about as frequent in praise as in blame; negations turn many around."""
    rng = random.Random(0)
    texts = [sentiment.clause(rng, good=True) for _ in range(2000)]
    negated = sum(any(word in text.split() for word in sentiment.BLAME) for text in texts)
    assert 400 < negated < 800


def test_bag_of_words_can_count():
    """Where a word does tell, the baseline finds it."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    ids = [np.append(rng.integers(0, 8, 6), 8 + t) for t in targets]
    assert (sentiment.bag_of_words(ids, targets, 150, 10, 2) == targets[150:]).mean() > 0.95


def files(folder, kind):
    rows = [("up", f"we go up {i % 7} floors") for i in range(30)] + [
        ("down", f"down we go {i % 5}") for i in range(30)
    ]
    if kind == "folder":
        for i, (label, text) in enumerate(rows):
            (folder / "data" / label).mkdir(parents=True, exist_ok=True)
            (folder / "data" / label / f"{i}.txt").write_text(text)
        return folder / "data"
    separator = "," if kind == "csv" else "\t"
    path = folder / f"data.{kind}"
    path.write_text("label" + separator + "text\n" + "".join(f"{a}{separator}{b}\n" for a, b in rows))
    return path


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["csv", "tsv", "folder"])
def test_data_of_the_users_own(kind, tmp_path, capsys):
    out = str(tmp_path / "out")
    metrics = sentiment.main(
        ["--data", str(files(tmp_path, kind)), "--epochs", "6", "--hidden-size", "16", "--out", out]
    )
    assert metrics["accuracy"] == 1
    assert "48 texts to train on, 12 held out" in capsys.readouterr().out
    assert sentiment.main(["predict", "down we go 3", "we go up 3 floors", "--out", out]) == ["down", "up"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.csv: got no rows, wanted rows of label and text"),
        ("a,b\na,c\n", "x.csv: got the one label 'a' only, wanted several"),
        ("a,b\na,c\nd,e\n", "x.csv: got the label 'd' once, wanted every label twice"),
        ("a,b\nc\n", "x.csv, line 2: got 1 cells, wanted 2: label and text"),
        ("a,\xff\n".encode("latin-1"), "x.csv, line 1: got the byte 0xff"),
    ],
)
def test_bad_files(content, message, tmp_path, capsys):
    path, out = tmp_path / "x.csv", tmp_path / "out"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert command.main(["sentiment", "--data", str(path), "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_text_without_words(tmp_path, capsys):
    sentiment.main(["--reviews", "20", "--epochs", "1", "--out", str(tmp_path)])
    assert command.main(["sentiment", "predict", " ", "--out", str(tmp_path)]) == 1
    assert "TEXT: got ' ', wanted some words" in capsys.readouterr().err


def test_opinions_read_no_padding():
    """A text alone and in a batch of its beginnings gives the same."""
    _, texts = sentiment.reviews(20, seed=0)
    vocabulary = Vocabulary(map(sentiment.words, texts))
    model = sentiment.Classifier(len(vocabulary), 2, 8)
    model.eval()
    tokens, chances = sentiment.opinions(model, vocabulary, texts[3])
    _, shorter = sentiment.opinions(model, vocabulary, " ".join(tokens[:3]))
    np.testing.assert_allclose(chances[:3], shorter, rtol=1e-5)


@pytest.mark.slow
def test_98_percent_where_counting_words_reaches_85(tmp_path):
    metrics = sentiment.main(["--out", str(tmp_path)])
    assert metrics["accuracy"] >= 0.98
    assert metrics["bag_of_words_accuracy"] <= 0.85
