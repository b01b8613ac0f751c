"""docs/glossary.md: its terms are in use, in the files that it names."""

import re

import pytest

from .page import ROOT, read

SECTIONS = re.split(r"^## ", read("glossary.md"), flags=re.MULTILINE)[1:]
ROW = re.compile(r"^\| ([\w -]+) \| (.+) \| `([\w/]+\.py)` \|$", re.MULTILINE)
ENTRIES = [entry for section in SECTIONS for entry in ROW.findall(section)]


def test_every_row_is_read():
    rows = sum(line.startswith("| ") for section in SECTIONS for line in section.splitlines())
    assert len(ENTRIES) == rows - len(SECTIONS)
    assert len({term for term, _, _ in ENTRIES}) == len(ENTRIES) > 40


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_terms_are_in_order(section):
    terms = [term for term, _, _ in ROW.findall(section)]
    assert terms == sorted(terms, key=str.lower)


@pytest.mark.parametrize(("term", "meaning", "path"), ENTRIES, ids=[term for term, _, _ in ENTRIES])
def test_terms_are_in_use(term, meaning, path):
    """As words, as a name, or as the file's own name."""
    text = (ROOT / "tinygrad_rnn" / path).read_text(encoding="utf-8")
    words = re.split(r"[ -]", term)
    assert re.search(rf"(?i)\b{'[ _-]?'.join(words)}(s|es)?(?=\b|_|[A-Z])", f"{path} {text}"), term
    for other in re.findall(r"`([\w/]+\.py)`", meaning):
        assert (ROOT / "tinygrad_rnn" / other).exists()
