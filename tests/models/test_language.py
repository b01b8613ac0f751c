"""models/charlm and models/wordlm: their texts, what they measure, what they write."""

import argparse
import gzip
import math

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import __main__ as command
from models import _text, charlm, wordlm
from tinygrad_rnn import nn
from tinygrad_rnn.data import Vocabulary


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.slow
def test_a_text_of_the_users_own(tmp_path, capsys):
    """One that repeats itself is soon known by heart."""
    text = write(tmp_path / "rhyme.txt", "round and round the garden, like a teddy bear. " * 300)
    out = str(tmp_path / "out")
    bits = charlm.main(["--data", text, "--epochs", "12", "--hidden-size", "48", "--out", out])
    assert bits["bits"] < 1
    held_out = ("round and round the garden, like a teddy bear. " * 300)[-705:].encode()
    assert bits["gzip_bits"] == pytest.approx(8 * len(gzip.compress(held_out, 9)) / len(held_out))
    assert bits["trigram_bits"] < 1
    capsys.readouterr()
    (best, *_) = charlm.main(["complete", "round and round the gar", "--out", out])
    assert best[0] == "garden"
    assert best[1] > 0.5
    assert (
        charlm.main(["generate", "--start", "like a t", "--length", "4", "--top-k", "1", "--out", out])
        == "like a teddy"
    )


def test_surprise_is_the_loss():
    model = _text.LanguageModel(7, 3, 4, "lstm")
    ids = np.arange(40) % 7
    with tr.no_grad():
        logits, _ = model(ids[:-1, None])
        loss = float(nn.cross_entropy(logits[:, 0], ids[1:]))
    assert charlm.surprise(model, ids).mean() == pytest.approx(loss / math.log(2), rel=1e-5)


@pytest.mark.slow
def test_words_follow_words(tmp_path, capsys):
    text = write(tmp_path / "x.txt", "the cat sat on the mat and the dog lay on the rug . " * 150)
    arguments = ["--data", text, "--epochs", "4", "--hidden-size", "32", "--out", str(tmp_path / "out")]
    perplexity = wordlm.main(arguments)
    assert perplexity["perplexity"] < 3
    assert perplexity["bigram_perplexity"] < perplexity["unigram_perplexity"]
    capsys.readouterr()
    (first, *_) = wordlm.main(["suggest", "the dog", "--out", str(tmp_path / "out")])
    assert first[0] == "lay"
    assert capsys.readouterr().out.split()[1] == "lay"
    out = ["--out", str(tmp_path / "out")]
    said = wordlm.main(["write", "the dog", "--length", "5", "--top-k", "1", *out])
    assert said == "the dog lay on the rug ."
    model, vocabulary = _text.load(argparse.Namespace(out=tmp_path / "out"), "wordlm")
    start = vocabulary.encode(["the", "dog"], add_sos=True)[None]
    step = _text.stepper(model, [vocabulary.unk_id, vocabulary.sos_id])
    tr.seed(3)
    (wanted,) = nn.sample(step, start, 12, temperature=1.5, stop=vocabulary.eos_id)
    text = wordlm.main(["write", "the dog", "--length", "12", "--temperature", "1.5", "--seed", "3", *out])
    assert text == " ".join(["the dog", *vocabulary.decode(wanted)])


def test_docstrings(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        '"""Of the module."""\nclass A:\n  "Of the class."\n  def f(self):\n    "Of f."\n\ndef g():\n  "Of f."\n'
    )
    assert wordlm.docstrings([path]) == ["Of the module.", "Of the class.", "Of f."]


def test_suggestions_are_words_with_their_probabilities():
    vocabulary = Vocabulary([["a", "b", "c"]], pad=None)
    model = _text.LanguageModel(len(vocabulary), 3, 4, "rnn")
    found = wordlm.next_words(model, vocabulary, "a b", 9)
    assert {word for word, _ in found} == {"a", "b", "c", "<eos>"}
    assert 0 < sum(chance for _, chance in found) < 1
    chances = [chance for _, chance in found]
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("name", ["charlm", "wordlm"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.txt: got an empty file, wanted text"),
        (b"\xff\xfe\x00", "x.txt, line 1: got the byte 0xff, wanted utf-8 text"),
        (b"too short", ", wanted "),
        (None, "x.txt"),
    ],
)
def test_bad_files(name, content, message, tmp_path, capsys):
    path, out = tmp_path / "x.txt", tmp_path / "out"
    if content is not None:
        path.write_bytes(content)
    arguments = ["--min-count", "1"] if name == "wordlm" else []
    assert command.main([name, "--data", str(path), "--out", str(out), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_without_texts(tmp_path, capsys):
    assert command.main(["charlm", "--data", str(tmp_path)]) == 1
    assert "holds no file that ends in .txt or .md or .py" in capsys.readouterr().err


@pytest.mark.slow
def test_charlm_beats_the_trigram_model(tmp_path):
    """On a tenth of its text already."""
    bits = charlm.main(["--characters", "300000", "--epochs", "2", "--out", str(tmp_path)])
    assert bits["bits"] < bits["trigram_bits"]
