"""Draws docs/layout.svg: the rooms of the package and who imports whom, read from the sources.

    python docs/layout_picture.py

Where a room stands is decided here; arrows come from the imports, numbers from the ways that layout.md tells.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parent / "tinygrad_rnn"
Edge = tuple[str, str]


class Place(NamedTuple):
    """A room on the picture: its left upper corner, its size, what it is for, and the rooms in it, in reading order."""

    x: int
    y: int
    width: int
    height: int
    about: str
    inside: tuple[str, ...] = ()


ROOMS = {
    "distributions": Place(40, 128, 200, 52, "draws, likelihoods"),
    "cli": Place(40, 184, 200, 48, "tinygrad-rnn ..."),
    "io": Place(850, 262, 140, 96, "weights, models", ("keras", "onnx")),
    "testing": Place(270, 110, 250, 56, "gradcheck, check_cell, cells"),
    "viz": Place(550, 110, 250, 56, "drawings, gradient flow"),
    "train": Place(850, 110, 290, 56, "loop, stopping, checkpoints"),
    "estimators": Place(850, 30, 290, 50, "scikit-learn's contract"),
    "programs": Place(590, 210, 210, 56, "functions as programs"),
    "export": Place(1000, 210, 140, 96, "code and files", ("c",)),
    "nn": Place(270, 210, 250, 56, "the face: names for models"),
    "decoding": Place(40, 310, 200, 96, "greedy and beam\nsearch, sampling, CTC"),
    "recurrent": Place(270, 310, 530, 96, "cells, run over time", ("cells", "scan", "layers", "streaming")),
    "modules": Place(40, 450, 200, 96, "parameters, layers\nwithout time, losses"),
    "compiler": Place(
        270,
        450,
        530,
        96,
        "a step becomes one fused loop, forward and backward",
        ("ir", "frontend", "autodiff", "schedule", "codegen", "runtime", "model"),
    ),
    "optim": Place(850, 450, 290, 96, "SGD, Adam, RMSprop, Adagrad,\nschedules, clipping"),
    "ops": Place(40, 590, 760, 56, "operations: forward, derivative rule and lowering in one record each"),
    "storage": Place(960, 590, 180, 56, "arrays as files"),
    "core": Place(40, 700, 200, 96, "op records, tensors,\nthe tape, backward"),
    "kernels": Place(
        270,
        700,
        690,
        96,
        "Numba: machine code, vectors, matrix products",
        ("build", "simd", "threads", "gemm", "loops", "fused", "stages", "reference"),
    ),
    "data": Place(990, 700, 150, 96, "readers, loaders;\nNumPy only"),
}
GROUND = ("checks", "config", "errors", "atomic", "foreign_names")  # files below all rooms
PATHS: dict[Edge, list[tuple[int, int]]] = {  # of arrows that are not one vertical line: corners, first to last
    ("distributions", "ops"): [(40, 154), (20, 154), (20, 618), (40, 618)],
    ("cli", "testing"): [(240, 208), (255, 208), (255, 150), (270, 150)],
    ("io", "nn"): [(850, 288), (535, 288), (535, 250), (520, 250)],
    ("nn", "decoding"): [(270, 238), (140, 238), (140, 310)],
    ("decoding", "recurrent"): [(240, 358), (270, 358)],
    ("recurrent", "modules"): [(330, 406), (330, 428), (200, 428), (200, 450)],
    ("train", "distributions"): [(870, 110), (870, 90), (236, 90), (236, 128)],
    ("train", "viz"): [(850, 138), (800, 138)],
    ("estimators", "nn"): [(850, 55), (535, 55), (535, 238), (520, 238)],
    ("export", "programs"): [(1000, 254), (800, 254)],
    ("train", "programs"): [(870, 166), (870, 238), (800, 238)],
    ("modules", "storage"): [(180, 546), (180, 568), (1050, 568), (1050, 590)],
    ("optim", "core"): [(900, 546), (900, 673), (200, 673), (200, 700)],
}
VERTICAL = {  # where the others are
    ("testing", "nn"): 395,
    ("viz", "recurrent"): 570,
    ("programs", "recurrent"): 675,
    ("train", "optim"): 940,
    ("estimators", "train"): 995,
    ("recurrent", "compiler"): 535,
    ("modules", "ops"): 140,
    ("compiler", "ops"): 535,
    ("optim", "kernels"): 930,
    ("storage", "data"): 1065,
    ("ops", "core"): 100,
    ("ops", "kernels"): 535,
}
WAYS = {"A later call": "#1f5fa8", "Backward": "#c2571a"}  # headings of layout.md, and their colours


# ---- what is read


def imports(package: Path = PACKAGE) -> set[Edge]:
    """Pairs of rooms of which the first imports the second, anywhere in its files."""
    edges = set()
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package).with_suffix("").parts
        if len(here) == 1 and here[0] == "__init__":
            continue  # the package as a whole is no room
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = here[: len(here) - node.level]
            module = (*base, *(node.module or "").split(".")) if node.module else base
            rooms = {module[0]} if module else {alias.name for alias in node.names}
            edges |= {(here[0], room) for room in rooms if room != here[0]}
    return edges


def without_implied(edges: set[Edge]) -> set[Edge]:
    """The edges that do not follow from others: no longer way leads from the first room to the second."""
    return {(a, b) for a, b in edges if not any(reaches(edges, c, b) for x, c in edges if x == a and c != b)}


def reaches(edges: set[Edge], start: str, end: str) -> bool:
    return start == end or any(reaches(edges, b, end) for a, b in edges if a == start)


def drawn() -> set[Edge]:
    """The arrows of the picture."""
    return without_implied({(a, b) for a, b in imports() if a in ROOMS and b in ROOMS})


def way(heading: str) -> list[str]:
    """The files that a section of layout.md leads through, in order."""
    text = (FOLDER / "layout.md").read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text[text.index(f"## {heading}\n") + 3 :], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)


def rooms_on(files: Iterable[str]) -> list[tuple[str, str]]:
    """Room, and room inside of it or "", of each file; each once."""
    found = dict.fromkeys((parts[0], parts[1] if len(parts) > 2 else "") for parts in (f.split("/") for f in files))
    return [pair for pair in found if pair[0] in ROOMS]


# ---- what is drawn

INK, LINE, WIDTH, HEIGHT = "#222222", "#8a8a8a", 1180, 920
FILL = {"compiler": "#eaf1f9", "recurrent": "#eaf1f9", "kernels": "#eaf1f9"}


def text(x: float, y: float, words: str, size: int = 15, **style: str) -> str:
    more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{more}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, more: str = "") -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" stroke="{LINE}"{more}/>'
    )


def inner(place: Place, name: str) -> tuple[float, float, float]:
    """Left, top and width of a room inside."""
    share = (place.width - 14) / len(place.inside)
    return place.x + 10 + share * place.inside.index(name), place.y + 57, share - 6


def room(name: str, place: Place) -> list[str]:
    x, y, width, height, about, inside = place
    parts = [box(x, y, width, height, FILL.get(name, "#f6f6f6"))]
    parts += [text(x + 12, y + 23, f"{name}/", 18, font_weight="bold")]
    parts += [text(x + 12, y + 44 + 19 * i, line) for i, line in enumerate(about.splitlines())]
    for each in inside:
        left, top, share = inner(place, each)
        parts += [box(left, top, share, 30, "#ffffff")]
        parts += [text(left + share / 2, top + 20, each, text_anchor="middle")]
    if name == "compiler":  # from phase to phase
        for each in inside[1:]:
            left, top, _ = inner(place, each)
            parts.append(text(left - 3, top + 20, "›", 15, text_anchor="middle", font_weight="bold"))
    return parts


def arrow(edge: Edge) -> str:
    if edge in PATHS:
        corners = PATHS[edge]
    elif edge in VERTICAL:
        above, below = (ROOMS[name] for name in edge)
        corners = [(VERTICAL[edge], above.y + above.height), (VERTICAL[edge], below.y)]
    else:
        raise SystemExit(f"{edge[0]} now imports {edge[1]}: say in VERTICAL or PATHS where its arrow goes")
    (x, y), (end_x, end_y) = corners[-2:]
    end = (end_x + 4 * (x > end_x) - 4 * (x < end_x), end_y - 4 * (y < end_y))  # the tip is outside
    points = " ".join(f"{a:g},{b:g}" for a, b in (*corners[:-1], end))
    return f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#tip)"/>'


def badges(heading: str, color: str, row: int) -> list[str]:
    """Numbered circles on the rooms that a way leads through."""
    parts = []
    for number, (name, inside) in enumerate(rooms_on(way(heading)), 1):
        place = ROOMS[name]
        if inside:
            left, top, share = inner(place, inside)
            x, y = left + share - 10 - 20 * (1 - row), top - 4
        else:
            x, y = place.x + place.width - 18 - 22 * (1 - row), place.y + 17
        parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="9.5" fill="{color}"/>')
        parts.append(text(x, y + 4.5, str(number), 12, fill="#ffffff", text_anchor="middle", font_weight="bold"))
    return parts


def svg() -> str:
    """The picture."""
    edges = drawn()
    unused = {*PATHS, *VERTICAL} - edges
    if unused or {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()} != {*ROOMS}:
        raise SystemExit(f"rooms or arrows of the picture are not those of the package: {sorted(unused)}")
    style = 'font-family="DejaVu Sans, Verdana, Helvetica, sans-serif"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style} fill="{INK}">']
    parts += [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    ]
    parts += [f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>']
    parts += [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
    parts += [box(270, 25, 250, 40, "#ffffff", ' stroke-dasharray="5 4"'), text(282, 51, "models/", 18)]
    parts += [box(550, 25, 250, 40, "#ffffff", ' stroke-dasharray="5 4"'), text(562, 51, "benchmarks/", 18)]
    parts += [text(850, 42, "beside the package,", 14), text(850, 60, "they import any of its rooms", 14)]
    parts += [text(40, 36, "Arrows lead to what is", 14)]
    parts += [text(40, 54, "imported; those that follow", 14), text(40, 72, "from others are left out.", 14)]
    for row, (heading, color) in enumerate(WAYS.items()):
        y = 94 + 22 * row
        parts += [f'<circle cx="50" cy="{y - 4}" r="9.5" fill="{color}"/>']
        parts += [text(50, y + 0.5, "1", 12, fill="#ffffff", text_anchor="middle", font_weight="bold")]
        parts += [text(66, y, f"{heading.lower()}{' of layer(x)' * (not row)}", 14)]
    parts += [arrow(edge) for edge in sorted(edges)]
    for name, place in ROOMS.items():
        parts += room(name, place)
    for row, (heading, color) in enumerate(WAYS.items()):
        parts += badges(heading, color, row)
    parts += [box(40, 835, 1100, 56, "#f6f6f6"), text(52, 869, "all but kernels import", 15)]
    parts += [text(250 + 165 * i, 869, f"{name}.py", 16, font_weight="bold") for i, name in enumerate(GROUND)]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (FOLDER / "layout.svg").write_text(svg(), encoding="utf-8")
    print(f"wrote {FOLDER / 'layout.svg'}")
