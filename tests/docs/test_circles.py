"""No circles of imports in the package, not even of those in functions or for type checkers alone."""

import ast
from pathlib import Path

import pytest

from .page import ROOT

Graph = dict[str, set[str]]
ALLOWED = {
    # a tensor's operators give tensors: `operators` names the type, the others are tensors' methods
    frozenset({"core.conversion", "core.inplace", "core.operators", "core.tensor"}),
}


def imports(package: Path) -> Graph:
    """For each file of a package those of its files that it imports, wherever in it and for whatever."""
    files = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: {b for b in imported(name, path, package.name, files) if b != name} for name, path in files.items()}


def imported(name: str, path: Path, package: str, files: dict[str, Path]):
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [(alias.name.split("."), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [package, *filter(None, here[: len(here) + 1 - node.level])] if node.level else []
            base += node.module.split(".") if node.module else []
            modules = [(base, alias.name) for alias in node.names]
        else:
            continue
        for (top, *inner), last in modules:
            if top == package:
                whole, part = ".".join(inner), ".".join([*inner, *([last] if last else [])])
                yield part if part in files else whole


def circles(graph: Graph) -> set[frozenset[str]]:
    """The largest groups of files each of which leads to all others of its group."""
    reach: Graph = {}
    for start in graph:
        stack, seen = [*graph[start]], set()
        while stack:
            if (at := stack.pop()) not in seen:
                seen.add(at)
                stack += graph[at]
        reach[start] = seen
    return {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}


@pytest.mark.slow
def test_no_circles_but_those_allowed():
    found = circles(imports(ROOT / "tinygrad_rnn"))
    assert found == ALLOWED, "split a file, or move what both need"


def test_circles_are_found(tmp_path):
    package = tmp_path / "package"
    (package / "room").mkdir(parents=True)
    for name, text in {
        "__init__": "from .a import x",
        "a": "import numpy\ndef f():\n    from .room.b import g",
        "room/__init__": "",
        "room/b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import c",
        "room/c": "from ..a import f",
        "d": "import package.e",
        "e": "from package.d import x",
        "f": "from . import a, g",
        "g": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    graph = imports(package)
    assert graph["f"] == {"a", "g"}
    assert circles(graph) == {frozenset({"a", "room.b", "room.c"}), frozenset({"d", "e"})}
