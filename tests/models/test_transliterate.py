"""models/transliterate: Hangul, pairs of the user's own, the bar."""

import unicodedata

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import __main__ as command
from models import transliterate
from tinygrad_rnn import nn
from tinygrad_rnn.data import Vocabulary


def test_every_syllable_and_its_name():
    pairs = transliterate.hangul()
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 11172
    assert dict(pairs)["한"] == "han"
    assert all(transliterate.whole(list(transliterate.letters(a))) == a for a, _ in pairs)
    assert {len(transliterate.letters(a)) for a, _ in pairs} == {2, 3}


def test_composed_letters_count_as_one():
    assert transliterate.whole(["e", "\u0301", "t"]) == "ét"
    assert transliterate.letters("é") == "e\u0301"


def test_the_baseline_takes_the_most_similar():
    known = [("banana", "B"), ("cherry", "C"), ("mango", "M")]
    new = [("bananas", ""), ("mang", ""), ("cherries", "")]
    source = Vocabulary([a for a, _ in known + new], sos=None, eos=None)
    target = Vocabulary([b for _, b in known])
    data, others = (transliterate.Pairs(pairs, source, target) for pairs in (known, new))
    assert transliterate.nearest(data, others, len(source)) == ["B", "M", "C"]


def pairs_file(path, count=60):
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abcdeé"), rng.integers(2, 6))) for _ in range(count)})
    path.write_text("source\ttarget\n" + "".join(f"{w}\t{w[::-1].upper()}\n" for w in words), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("attention", [[], pytest.param(["--no-attention"], marks=pytest.mark.slow)])
def test_pairs_of_yours(tmp_path, capsys, attention):
    data, out = pairs_file(tmp_path / "pairs.tsv"), ["--out", str(tmp_path / "out")]
    assert command.main(["transliterate", "--data", str(data), "--epochs", "1", *attention, *out]) == 0
    assert "most similar" in capsys.readouterr().out
    for back, word in (([], "abba"), (["--back"], "ABBA")):
        for beam in ("1", "3"):
            assert command.main(["transliterate", "translate", word, *back, "--beam", beam, *out]) == 0
            assert capsys.readouterr().out.startswith(f"{word}: ")
    assert command.main(["transliterate", "translate", "xab", *out]) == 1
    assert "WORD: got 'xab' with 'x', which the training never showed" in capsys.readouterr().err
    assert command.main(["transliterate", "translate", " ", *out]) == 1
    assert "WORD: got ' ', wanted some letters" in capsys.readouterr().err


@pytest.mark.slow
def test_words_of_several_syllables(tmp_path, capsys, monkeypatch):
    """Each syllable is read alone, as in training."""
    out = ["--out", str(tmp_path / "out")]
    assert command.main(["transliterate", "--pairs", "300", "--epochs", "1", "--hidden-size", "16", *out]) == 0
    monkeypatch.setattr(transliterate, "translate", lambda model, target, pairs, *_: [s + s for s in pairs.sources])
    capsys.readouterr()
    assert command.main(["transliterate", "translate", "한국", *out]) == 0
    assert capsys.readouterr().out == "한국: 한한국국\n"
    assert command.main(["transliterate", "translate", "--back", "han-gug", *out]) == 0
    assert capsys.readouterr().out == "han-gug: hanhanguggug\n"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("attention", [True, False])
def test_it_writes_what_a_greedy_search_finds(attention):
    """With lengths that differ, and words that do not end."""
    tr.seed(0)
    model, rng = transliterate.EncoderDecoder(9, 7, 8, attention), np.random.default_rng(0)
    for p in [*model.parameters()]:
        p.data[...] *= 3
    with tr.no_grad():
        encoded = model.encode(rng.integers(0, 9, (20, 5)), rng.integers(1, 6, 20))
    first, lengths = np.full(20, 1), set()
    for stop in range(7):
        wanted = nn.greedy_search(transliterate.step_of(model), first, encoded, stop=stop, max_length=11)
        assert model.write(first, 11, encoded, stop) == wanted
        lengths |= {*map(len, wanted)}
    assert len(lengths) > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pairs.tsv: got no rows, wanted rows of source and target"),
        (b"a\tb\n" * 30, "pairs.tsv: got 1 different pairs, wanted 10 or more"),
        (b"a\tb\nc\n", "pairs.tsv, line 2: got 1 cells, wanted 2: source and target"),
        (b"a\tb\nc\t\n", "pairs.tsv, line 2: got an empty target"),
        (b"a\tb\nc\t\xff\n", "pairs.tsv, line 2: got the byte 0xff, wanted utf-8"),
    ],
)
def test_bad_pairs(tmp_path, capsys, content, message):
    (tmp_path / "pairs.tsv").write_bytes(content)
    assert command.main(["transliterate", "--data", str(tmp_path / "pairs.tsv"), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_letters_in_pictures():
    assert transliterate.shown(["han", "é"]) == ["han", "é"]
    assert transliterate.shown(list(unicodedata.normalize("NFD", "한"))) == ["Hieuh", "A", "Nieun"]


@pytest.mark.slow
def test_99_percent_in_both_directions(tmp_path):
    metrics = transliterate.main(["--out", str(tmp_path)])
    for direction in transliterate.DIRECTIONS:
        assert metrics[f"{direction}_exact"] >= 0.99
        assert metrics[f"{direction}_beam_exact"] >= 0.99
        assert metrics[f"{direction}_nearest_exact"] < 0.1
