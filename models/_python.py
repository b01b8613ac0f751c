"""Python sources as sentences of tagged tokens; the tags come from Python's own parser."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
import warnings
from pathlib import Path

from tinygrad_rnn.errors import DataError

Sentence = tuple[list[str], list[str | None]]
LAYOUT = {tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER, tokenize.ENCODING}
BUILTINS = set(dir(builtins))


def sentences(source: str, path: Path | str) -> list[Sentence]:
    """The logical lines of a module: their tokens, and a tag for each name.

    Strings and numbers become ``"s"`` and ``0``; what is no name has no tag. The tags are keyword, definition,
    parameter, argument, attribute, method, call, builtin, module and variable.

    Raises
    ------
    DataError
        If Python cannot parse the source; it names file and line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in old sources
            tags = _tags(ast.parse(source))
        stream = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        why = str(error) or "it is nested too deep"  # as the parser's MemoryError means
        raise DataError(f"{path}, line {line}: got no Python source ({why}), wanted some") from None
    lines = source.split("\n")
    found: list[Sentence] = []
    tokens: list[str] = []
    marks: list[str | None] = []
    before = ""
    for token in stream:
        if token.type == tokenize.NEWLINE:
            if any(marks):
                found.append((tokens, marks))
            tokens, marks, before = [], [], ""
        elif token.type not in LAYOUT:
            tokens.append({tokenize.STRING: '"s"', tokenize.NUMBER: "0"}.get(token.type, token.string))
            line, column = token.start
            place = line, len(lines[line - 1][:column].encode())  # the parser counts bytes
            marks.append(_tag(token, before, tokens[0], tags.get(place)))
            before = token.string
    return found


def _tag(token: tokenize.TokenInfo, before: str, first: str, tag: str | None) -> str | None:
    """The tag of a token, from the token before it, the first of its line, and what the parser says."""
    if token.type != tokenize.NAME:
        return None
    if before in ("def", "class"):
        return "definition"
    if tag is None and keyword.iskeyword(token.string):
        return "keyword"
    if tag is None and (before == "as" or first in ("global", "nonlocal")):  # names without a place in the tree
        return "variable"
    return tag


def _tags(tree: ast.AST) -> dict[tuple[int, int], str]:
    """What the parser knows about the names at (line, column in bytes)."""
    tags: dict[tuple[int, int], str] = {}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            kind = "builtin" if node.id in BUILTINS else "call" if id(node) in called else "variable"
            tags[node.lineno, node.col_offset] = kind
        elif isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool)):
            tags[node.lineno, node.col_offset] = "keyword"
        elif isinstance(node, ast.arg):
            tags[node.lineno, node.col_offset] = "parameter"
        elif isinstance(node, ast.keyword) and node.arg is not None:
            tags[node.lineno, node.col_offset] = "argument"
        elif isinstance(node, ast.Attribute):
            start = node.end_col_offset - len(node.attr.encode())
            tags[node.end_lineno, start] = "method" if id(node) in called else "attribute"
        elif isinstance(node, ast.alias):
            _dotted(tags, node.lineno, node.col_offset, node.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            _dotted(tags, node.lineno, node.col_offset + len("from ") + node.level, node.module)
    return tags


def _dotted(tags: dict, line: int, start: int, name: str) -> None:
    """The parts of the name of a module."""
    for part in name.split("."):
        tags[line, start] = "module"
        start += len(part.encode()) + 1
