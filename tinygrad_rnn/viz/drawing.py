"""Graphs as DOT text that notebooks show: by Graphviz if it is there, else by a layout of our own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from .. import atomic
from .svg import graph_svg

HEAD = ["digraph {", '  rankdir="BT"', '  node [fontname="monospace", fontsize=10, shape=box, style=rounded]']
TEXTS = (".dot", ".gv")
RENDERED = (".pdf", ".png")


class Node(NamedTuple):
    """A box, or an ellipse, with a text."""

    name: str
    label: str
    ellipse: bool = False
    filled: bool = False


class Edge(NamedTuple):
    """An arrow between two nodes; one that leads `back`, to the next step, is dashed."""

    start: str
    end: str
    back: bool = False


class Group(NamedTuple):
    """Nodes and arrows; with a title, in a frame."""

    title: str
    nodes: Sequence[Node]
    edges: Sequence[Edge]


class Drawing(str):
    """A graph as DOT text, which notebooks show as a picture.

    Examples
    --------
    >>> from tinygrad_rnn import nn, viz
    >>> drawing = viz.program_dot(nn.GRU(3, 4))
    >>> drawing.startswith("digraph"), drawing.svg().startswith("<svg")
    (True, True)
    """

    groups: tuple[Group, ...]

    def __new__(cls, groups: Sequence[Group]) -> Drawing:
        """The drawing of `groups`, each of which has nodes of its own."""
        drawing = super().__new__(cls, "\n".join([*HEAD, *(line for g in _texts(groups) for line in g), "}"]))
        drawing.groups = tuple(groups)
        return drawing

    def __getnewargs__(self) -> tuple:
        return (self.groups,)

    def svg(self) -> str:
        """The picture as SVG text, from our own layout, for which nothing has to be installed.

        Of a graph of more than 200 nodes it shows those computed last; the DOT text has all.
        """
        return graph_svg(self.groups)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture to a file.

        Parameters
        ----------
        path : str or path
            The suffix says the format: ``.dot`` and ``.gv`` are the text, ``.svg`` is drawn by Graphviz if it is
            installed, else by ourselves; ``.png`` and ``.pdf`` need Graphviz.

        Raises
        ------
        ValueError
            If it is another suffix.
        ModuleNotFoundError
            If the format needs Graphviz, and it is not there.
        """
        suffix = Path(path).suffix.lower()
        if suffix in TEXTS:
            atomic.write(path, f"{self}\n".encode())
        elif suffix == ".svg":
            atomic.write(path, self._picture().encode())
        elif suffix in RENDERED:
            atomic.write(path, self._rendered(suffix[1:]))
        else:
            raise ValueError(f"path: got the suffix {suffix!r}, wanted one of {', '.join((*TEXTS, '.svg', *RENDERED))}")

    def _repr_svg_(self) -> str:
        return self._picture()

    def _picture(self) -> str:
        try:
            return self._rendered("svg").decode("utf-8")
        except ModuleNotFoundError:
            return self.svg()

    def _rendered(self, kind: str) -> bytes:
        """The picture by Graphviz: the Python package, and the program ``dot`` that it calls."""
        if shutil.which("dot") is None:
            raise ModuleNotFoundError(f"a .{kind} needs Graphviz's program dot, which is not installed; .svg does not")
        try:
            import graphviz
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f'a .{kind} needs the package graphviz: pip install "tinygrad_rnn[notebooks]"'
            ) from None
        return graphviz.Source(str(self)).pipe(format=kind)


def _texts(groups: Sequence[Group]) -> list[list[str]]:
    """The lines of DOT of each group."""
    found = []
    for i, group in enumerate(groups):
        lines = [_node(node) for node in group.nodes] + [_edge(edge) for edge in group.edges]
        if group.title:
            head = [f"  subgraph cluster{i} {{", f"    label={_quote(group.title)}"]
            found.append([*head, *(f"    {line}" for line in lines), "  }"])
        else:
            found.append([f"  {line}" for line in lines])
    return found


def _node(node: Node) -> str:
    more = (", shape=ellipse" if node.ellipse else "") + (", style=filled" if node.filled else "")
    return f"{node.name} [label={_quote(node.label)}{more}]"


def _edge(edge: Edge) -> str:
    return f"{edge.start} -> {edge.end}" + (" [style=dashed, constraint=false]" if edge.back else "")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
