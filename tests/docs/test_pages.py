"""All pages of docs: what they link to and name is there."""

import re

import pytest

from .page import ROOT

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    file = ROOT / page
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        other = (file.parent / path) if path else file
        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other.read_text(encoding="utf-8")), target


def test_every_page_is_reached_from_the_readme():
    seen, new = set(), {"README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([\w/.-]+\.md)[^)]*\)", text):
            path = ((ROOT / page).parent / target).resolve().relative_to(ROOT.resolve()).as_posix()
            new |= {path} - seen
    assert seen >= {*PAGES}


@pytest.mark.parametrize("page", ["docs/compiler.md", "docs/layout.md"])
def test_files_that_are_named_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.(?:py|cfg|svg))`", text))
    assert len(named) > 20
    roots = [ROOT, ROOT / "docs", ROOT / "tinygrad_rnn", ROOT / "tinygrad_rnn" / "compiler"]
    for path in named:
        assert any((root / path).exists() for root in roots), path
