"""docs/layout.md: its picture is that of the imports, and calls go the way that it tells."""

import importlib.util
import re
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from ..kernels.jit import needs_jit
from .page import ROOT, read

SPEC = importlib.util.spec_from_file_location("layout_picture", ROOT / "docs" / "layout_picture.py")
picture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(picture)
PAGE = read("layout.md")
COMMANDS = {"cache", "__main__"}  # files that lie above all rooms, or nearly
ROOMS = {path.name for path in picture.PACKAGE.iterdir() if (path / "__init__.py").exists()}


@pytest.mark.slow
def test_the_picture_is_up_to_date():
    there = (ROOT / "docs" / "layout.svg").read_text(encoding="utf-8")
    assert there == picture.svg(), "run python docs/layout_picture.py"


@pytest.mark.slow
def test_arrows_are_the_imports():
    edges = {(a, b) for a, b in picture.imports() if a in ROOMS and b in ROOMS}
    shown = picture.drawn()
    assert shown < edges
    for edge in edges:
        assert picture.reaches(shown, *edge), edge
    for a, b in shown:
        assert not picture.reaches(shown - {(a, b)}, a, b), f"{a} to {b} follows from others"
        assert not picture.reaches(shown, b, a), f"{a} and {b} import each other"
    others = {b for _, b in picture.imports()} - ROOMS - COMMANDS - {"__version__"}
    assert others == {*picture.GROUND}
    assert not {a for a, _ in picture.imports()} & {"kernels"}


def test_imports_are_found(tmp_path):
    package = tmp_path / "package"
    for name in ("above", "below/inside"):
        (package / name).mkdir(parents=True)
    (package / "__init__.py").write_text("from . import above")
    (package / "above" / "a.py").write_text("from .b import c\ndef f():\n    from ..below.inside.d import e\n")
    (package / "below" / "inside" / "d.py").write_text("import numpy\nfrom ... import errors\nfrom .. import f\n")
    assert picture.imports(package) == {("above", "below"), ("below", "errors")}


def table() -> dict[str, set[str]]:
    """Room: who may import it."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    return {room: ROOMS if "every room" in who else set(re.findall(r"`(\w+)`", who)) for room, who in rows}


@pytest.mark.slow
def test_the_table_has_every_room_and_holds():
    assert table().keys() == ROOMS
    for a, b in picture.imports():
        assert b not in ROOMS or a in COMMANDS or a in table()[b], f"{a} imports {b}"


def test_the_list_of_folders_is_complete():
    assert set(re.findall(r"^ {6}(\w+)/ ", PAGE, re.MULTILINE)) == ROOMS
    around = set(re.findall(r"^ {4}(\w+)/ ", PAGE, re.MULTILINE))
    assert around and all((ROOT / folder).is_dir() for folder in around)


def test_rooms_inside_are_drawn():
    for room, place in picture.ROOMS.items():
        inside = {path.parent.name for path in (picture.PACKAGE / room).glob("*/__init__.py")}
        assert inside == {*place.inside}, room


# ---- ways


def passed(function) -> list[str]:
    """The files of the package that a call passes, in the order in which it comes to them."""
    files = {}
    start = f"{picture.PACKAGE}/"

    def watch(frame, event, argument):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(start) and frame.f_code.co_name != "<module>":
            files[name.removeprefix(start)] = None
        package, *module = str(getattr(argument, "__module__", "")).split(".")
        if event == "c_call" and package == "tinygrad_rnn":  # machine code
            files["/".join(module) + ".py"] = None

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(before)
    return list(files)


@pytest.fixture
def calls():
    """What the layer of the page does: its first and later calls, with what they pass."""
    nn.RNN(1, 2)(np.ones((1, 1, 1)))  # what is done once in a process, such as imports
    layer = nn.LSTM(3, 4)
    x = tr.tensor(np.ones((5, 2, 3), np.float32), requires_grad=True)
    first = passed(lambda: layer(x))
    for _ in range(3):
        layer(x)[0].sum().backward()
    later = passed(lambda: layer(x))
    total = layer(x)[0].sum()
    return {"The first call": first, "A later call": later, "Backward": passed(lambda: total.backward())}


@needs_jit
def test_calls_go_the_way_of_the_page(calls):
    assert picture.way("A later call") == calls["A later call"]
    assert picture.way("Backward") == calls["Backward"]
    told = picture.way("The first call")
    assert len(told) > 15
    assert [file for file in calls["The first call"] if file in told] == told
