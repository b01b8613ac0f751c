import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import Vocabulary, tokenize
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

corpora = st.lists(st.lists(st.text(max_size=4), min_size=1), min_size=1)
kinds = st.fixed_dictionaries({}, optional={name: st.none() for name in ("pad", "unk", "sos", "eos")})


@given(corpora, kinds)
def test_decode_undoes_encode(corpus, kind):
    vocabulary = Vocabulary(corpus, **kind)
    for tokens in corpus:
        ids = vocabulary.encode(tokens)
        assert ids.dtype == np.int64
        assert vocabulary.decode(ids) == tokens


@given(corpora, kinds, st.integers(1, 3), st.integers(5, 8))
def test_ids_are_the_positions_of_distinct_tokens(corpus, kind, min_count, max_size):
    everything = [token for tokens in corpus for token in tokens]
    try:
        vocabulary = Vocabulary(corpus, min_count=min_count, max_size=max_size, **kind)
    except DataError:
        specials = {"<pad>", "<unk>", "<sos>", "<eos>"}
        assert all(everything.count(token) < min_count for token in set(everything) - specials)
        return
    specials = 4 - len(kind)
    assert len(vocabulary) == len(set(vocabulary.tokens)) <= max_size
    for i, token in enumerate(vocabulary.tokens):
        assert token in vocabulary
        assert vocabulary.token_to_id(token) == i
        assert vocabulary.id_to_token(i) == token
    counts = [everything.count(token) for token in vocabulary.tokens[specials:]]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= min_count
    left_out = set(everything) - set(vocabulary.tokens)
    assert len(vocabulary) == max_size or all(everything.count(token) < min_count for token in left_out)


@given(corpora)
def test_ids_do_not_depend_on_the_order_of_the_corpus(corpus):
    assert Vocabulary(corpus) == Vocabulary(corpus[::-1])


@given(corpora, kinds)
def test_load_undoes_save(corpus, kind):
    vocabulary = Vocabulary(corpus, **kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocabulary.json")
        vocabulary.save(path)
        loaded = Vocabulary.load(path)
    assert loaded == vocabulary
    assert (loaded.pad_id, loaded.unk_id) == (vocabulary.pad_id, vocabulary.unk_id)
    assert (loaded.sos_id, loaded.eos_id) == (vocabulary.sos_id, vocabulary.eos_id)


def test_a_lone_surrogate_survives_the_file(tmp_path):
    vocabulary = Vocabulary(['a\ud83d\n"ü'])
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary


def test_special_tokens_come_first_and_can_be_left_out():
    vocabulary = Vocabulary(["ba", "a"])
    assert vocabulary.tokens == ("<pad>", "<unk>", "<sos>", "<eos>", "a", "b")
    assert (vocabulary.pad_id, vocabulary.unk_id, vocabulary.sos_id, vocabulary.eos_id) == (0, 1, 2, 3)
    assert vocabulary.encode("ab", add_sos=True, add_eos=True).tolist() == [2, 4, 5, 3]
    assert vocabulary.encode("axb").tolist() == [4, 1, 5]
    assert vocabulary.decode([2, 4, 0, 1, 5, 3], skip_specials=True) == ["a", "b"]
    assert repr(vocabulary) == "Vocabulary(6 tokens, specials: <pad> <unk> <sos> <eos>)"

    bare = Vocabulary(["ba", "a"], pad=None, unk=None, sos=None, eos="\n")
    assert bare.tokens == ("\n", "a", "b")
    assert (bare.pad_id, bare.unk_id, bare.sos_id, bare.eos_id) == (None, None, None, 0)
    assert bare != vocabulary


def test_a_special_token_in_the_corpus_keeps_its_id():
    vocabulary = Vocabulary([["<unk>", "cat", "<unk>"]])
    assert vocabulary.encode(["<unk>", "cat"]).tolist() == [1, 4]
    assert len(vocabulary) == 5


def test_empty_sequences():
    vocabulary = Vocabulary(["a"])
    assert vocabulary.encode([]).dtype == np.int64
    assert vocabulary.encode("", add_eos=True).tolist() == [3]
    assert vocabulary.decode([]) == []


def test_errors_of_the_vocabulary():
    with pytest.raises(DataError, match=r"sequences: got 2 distinct tokens, none of them min_count=5 times"):
        Vocabulary(["ab"], min_count=5)
    with pytest.raises(DataError, match=r"sequences: got 0 distinct tokens"):
        Vocabulary([])
    with pytest.raises(TypeError, match=r"sequences: got the token 3, wanted str"):
        Vocabulary([[3]])
    with pytest.raises(ValueError, match=r"max_size: got 4, wanted an integer >= 5"):
        Vocabulary(["ab"], max_size=4)
    with pytest.raises(ValueError, match=r"min_count: got 0, wanted an integer >= 1"):
        Vocabulary(["ab"], min_count=0)
    with pytest.raises(TypeError, match=r"min_count: got 1.5, wanted an integer >= 1"):
        Vocabulary(["ab"], min_count=1.5)
    with pytest.raises(DataError, match=r"tokens: got '<x>' twice"):
        Vocabulary(["ab"], sos="<x>", eos="<x>")

    vocabulary = Vocabulary(["ab"], unk=None, sos=None, eos=None)
    with pytest.raises(DataError, match=r"tokens\[1\]: got the unknown token 'x', wanted one of the 3 known"):
        vocabulary.encode("ax")
    with pytest.raises(DataError, match=r"unknown token 'x'"):
        vocabulary.token_to_id("x")
    with pytest.raises(ValueError, match=r"add_sos: got True, but this vocabulary was built with sos=None"):
        vocabulary.encode("a", add_sos=True)
    with pytest.raises(ValueError, match=r"add_eos: got True"):
        vocabulary.encode("a", add_eos=True)
    with pytest.raises(DataError, match=r"ids\[1\]: got 3, wanted 0 <= value < 3"):
        vocabulary.decode([1, 3])
    with pytest.raises(DataError, match=r"ids\[0\]: got -1, wanted 0 <= value < 3"):
        vocabulary.id_to_token(-1)
    with pytest.raises(DTypeError, match=r"ids: got dtype float64, wanted integers"):
        vocabulary.decode([1.0])
    with pytest.raises(ShapeError, match=r"ids: got shape \(1, 1\), wanted \(length,\)"):
        vocabulary.decode([[1]])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("{}", "no 'specials'"),
        ('{"specials": {}, "tokens": [1]}', "a token that is no string"),
        ('{"specials": {}, "tokens": "ab"}', "first tokens"),
        ('{"specials": {}, "tokens": ["a", "a"]}', "got 'a' twice"),
        ('{"specials": {"pad": "<pad>"}, "tokens": ["a"]}', "for the first tokens"),
        ('{"specials": {"cls": "a"}, "tokens": ["a"]}', "for the first tokens"),
    ],
)
def test_a_file_that_holds_no_vocabulary(tmp_path, text, why):
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"v\.json: got no vocabulary \(.*{why}.*\), wanted the JSON of save"):
        Vocabulary.load(path)


@given(st.text())
def test_words_lose_nothing_but_white_space(text):
    tokens = tokenize(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(token and not any(c.isspace() for c in token) for token in tokens)


@given(st.text(), st.booleans())
def test_characters_lose_nothing(text, lowercase):
    assert "".join(tokenize(text, "char", lowercase)) == (text.lower() if lowercase else text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("don't l’été 'tis'", ["don't", "l’été", "'", "tis", "'"]),
        ("x_1 = 3.14", ["x_1", "=", "3", ".", "14"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # vowel signs are marks, not letters
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # accents as combining marks
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("ok ❤\ufe0f…", ["ok", "❤\ufe0f", "…"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_words(text, tokens):
    assert tokenize(text) == tokens


def test_errors_of_tokenize():
    with pytest.raises(ValueError, match=r"level: got 'line', wanted 'char' or 'word'"):
        tokenize("a", level="line")
    with pytest.raises(TypeError, match=r"text: got bytes, wanted str"):
        tokenize(b"a")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"specials": {}, "tokens": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"specials": {}, "tokens": []}',
        b'{"specials": {}, "tokens": 1' + b"0" * 5000 + b"}",
        b"\xff\xfe{",
        b"\0" * 9,
        "\ufeff{}".encode(),
    ],
)
def test_hostile_files(tmp_path, content):
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"v\.json: "):
        Vocabulary.load(path)


def test_what_are_no_tokens():
    for sequences in (3, None, [3], [["a", ["b"]]]):
        with pytest.raises(TypeError, match=r"sequences: got .*, wanted texts, or lists of tokens that are strings"):
            Vocabulary(sequences)
    with pytest.raises(TypeError, match="pad: got 3, wanted a string"):
        Vocabulary(["ab"], pad=3)
    for tokens in (3, None, [["a"]]):
        with pytest.raises(TypeError, match=r"tokens: got .*, wanted a sequence of strings"):
            Vocabulary(["ab"]).encode(tokens)
