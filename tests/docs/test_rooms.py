"""The docstring of each room: its promise in a line, and its files in reading order."""

import ast
import re

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from .page import ROOT

PACKAGE = ROOT / "tinygrad_rnn"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/**/__init__.py"))
ROWS = {
    "nn",
    "ops",
    "cells",
    "optim",
    "modules",
    "data",
    "fused",
    "reference",
}  # of files that do not build on each other
NAMES = {*tr.__all__, *nn.__all__, *(path.stem for path in PACKAGE.rglob("*")), "numpy"}

by_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())


def docstring(room) -> str:
    return ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""


@by_room
def test_a_room_begins_with_its_promise(room):
    first, _, rest = docstring(room).partition("\n")
    assert first.endswith(".")
    assert len(first) <= 100
    assert not rest or rest.startswith("\n")


@by_room
def test_a_room_names_its_files_in_reading_order(room):
    named = re.findall(r"`(\w+)`", docstring(room))
    inside = {path.stem for path in room.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    if room.name not in ROWS:
        assert inside - {"__init__"} - {*named} == set(), "name it, where one would read it"
    assert {*named} - NAMES == set(), "no such file"


@pytest.mark.sampled(2)
@by_room
def test_first_lines_are_short(room):
    for path in room.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                assert len(first) <= 100, f"{path.name}: {first}"
