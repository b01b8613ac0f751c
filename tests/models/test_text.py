"""What the models of text share: finding texts, splitting them, streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import _text
from tinygrad_rnn.errors import DataError


@pytest.mark.slow
def test_sources_are_those_of_the_standard_library():
    top, all_of_them = _text.sources(), _text.sources(packages=True)
    assert {"argparse.py", "ast.py"} <= {path.name for path in top}
    assert set(top) < set(all_of_them)
    assert not any({"test", "site-packages"} & set(path.parts) for path in all_of_them)
    assert not any(path.name.startswith("_sysconfigdata") for path in all_of_them)  # a build wrote it


def test_files(tmp_path):
    for name in ("a.txt", "b.md", "c.py", "sub/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = _text.files([tmp_path, tmp_path / "c.py"], (".txt", ".md"))
    assert [path.name for path in found] == ["a.txt", "b.md", "d.txt", "c.py"]
    with pytest.raises(DataError, match=r"sub: holds no file that ends in .md or .rst"):
        _text.files([tmp_path / "sub"], (".md", ".rst"))


@given(st.lists(st.text("ab", min_size=1, max_size=30), min_size=2, max_size=9), st.integers(0, 5))
def test_split_takes_whole_texts_up_to_the_limit(texts, seed):
    total = sum(map(len, texts))
    if total < 4:
        return
    train, held_out = _text.split(texts, 0.3, seed)
    assert sum(map(len, held_out)) == round(0.3 * total)
    cut = [text for text in train + held_out if text not in texts]
    assert len(cut) <= 1  # the last of those held out
    train, held_out = _text.split(texts, 0.3, seed, limit=total - 1)
    assert sum(map(len, train)) + sum(map(len, held_out)) <= total - 1


def test_split_of_one_text():
    assert _text.split(["abcdefghij"], 0.2, seed=1) == (["abcdefgh"], ["ij"])
    assert _text.split(["abcdefghij"], 0.5, seed=1, limit=4) == (["ab"], ["cd"])
    with pytest.raises(DataError, match="got 1 texts of 1 characters"):
        _text.split(["a"], 0.2, seed=0)


def test_streams_fit_short_texts():
    assert _text.streams(np.arange(1000), 4, 10).inputs.shape == (249, 4)
    assert _text.streams(np.arange(450), 4, 10).inputs.shape == (224, 2)
    assert _text.streams(np.arange(5), 4, 10).inputs.shape == (4, 1)


def test_what_is_never_written():
    model = _text.LanguageModel(5, 3, 4, "gru")
    step = _text.stepper(model, never=[1, 3])
    logits, state = step(np.array([0, 2]), None)
    assert np.isneginf(logits[:, [1, 3]]).all()
    assert np.isfinite(logits[:, [0, 2, 4]]).all()
    assert state.shape == (2, 4)
