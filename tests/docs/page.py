"""The code blocks of a page of docs, and what each of them changes in a copy of the repository."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEAD = re.compile(r"# (?P<path>[\w/]+\.py)(?:, (?P<how>continued|names|rows of (?P<table>\w+)))?\n")


class Block(NamedTuple):
    """A code block.

    Attributes
    ----------
    section : str
        The heading above it.
    path : str
        The file that its first line names; empty for code that is only run.
    how : str
        What it is to that file: "" (all of it), "continued", "names" or "rows of TABLE".
    table : str
    text : str
        Without the line that names the file.
    """

    section: str
    path: str
    how: str
    table: str
    text: str


def read(name: str) -> str:
    """The text of docs/`name`."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """All code blocks of a page, in order."""
    found = []
    for match in BLOCK.finditer(page):
        section = re.findall(r"^#+ (.*)$", re.sub(BLOCK, "", page[: match.start()]), re.MULTILINE)[-1]
        head = HEAD.match(match[1])
        if head is None:
            found.append(Block(section, "", "", "", match[1]))
        else:
            text = match[1][head.end() :]
            found.append(Block(section, head["path"], head["how"] or "", head["table"] or "", text))
    return found


def carry_out(block: Block, root: Path) -> None:
    """Change or make the file of a block in the copy of the repository at `root`."""
    file = root / block.path
    file.parent.mkdir(parents=True, exist_ok=True)
    if not block.how:
        assert not file.exists(), f"{block.path} is there: the page takes it for a new file"
        file.write_text(block.text, encoding="utf-8")
        return
    text = file.read_text(encoding="utf-8")
    if block.how == "continued":
        text = f"{text}\n\n{block.text}"
    elif block.how == "names":
        name = block.text.split()[-1]
        text = re.sub(r"^(?=from )", block.text, text, count=1, flags=re.MULTILINE)
        text, count = re.subn(r"^__all__ = \[\n", rf'\g<0>    "{name}",\n', text, flags=re.MULTILINE)
        assert count == 1
    else:  # a row, at the first bracket that is left open from where the table, or the function that makes it, begins
        table = rf"^(?:def )?{block.table}\b[^\n]*(?:(?<=[\[{{(])|(?<=:)\n.*?[\[{{(])\n"
        text, count = re.subn(
            table, lambda m: f"{m[0]}{block.text.rstrip()},\n", text, count=1, flags=re.MULTILINE | re.DOTALL
        )
        assert count == 1, f"{block.path} has no table {block.table}"
    file.write_text(text, encoding="utf-8")
