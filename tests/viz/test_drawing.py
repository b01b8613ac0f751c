"""Pictures of graphs without Graphviz: all is there, nothing overlaps, arrows lead upwards; and files of all kinds."""

import copy
import pickle
import shutil
import sys
import types
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, viz
from tinygrad_rnn.viz import drawing
from tinygrad_rnn.viz.layout import GAP, layered
from tinygrad_rnn.viz.svg import curves_svg

SVG = "{http://www.w3.org/2000/svg}"


def chain(length):
    y = tr.ones((1,)).requires_grad_()
    for _ in range(length):
        y = y * 0.5
    return viz.to_dot(y)


def titles(svg):
    return sorted(node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}title"))


@pytest.mark.parametrize("seed", range(20))
def test_layers(seed):
    """Random graphs: arrows lead upwards, and neighbours keep their distance."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    widths = {n: float(rng.integers(20, 200)) for n in range(count)}
    edges = [(a, b) for b in range(1, count) for a in rng.choice(b, min(b, int(rng.integers(0, 4))), replace=False)]
    layout = layered(widths, edges, 20.0)
    at = layout.centres
    assert set(at) == set(widths)
    for (a, b), way in zip(edges, layout.ways):
        assert (way[0], way[-1]) == (at[a], at[b])
        heights = [y for _, y in way]
        assert heights == sorted(set(heights))  # each point above the one before
    by_layer = {}
    for n, (x, y) in at.items():
        assert widths[n] / 2 - 1e-6 <= x <= layout.width - widths[n] / 2 + 1e-6
        assert 0 < y < layout.height
        by_layer.setdefault(y, []).append((x - widths[n] / 2, x + widths[n] / 2))
    for boxes in by_layer.values():
        boxes.sort()
        assert all(left - right > GAP - 1e-6 for (_, right), (left, _) in pairwise(boxes))


def test_an_empty_layout():
    assert layered({}, [], 20.0).centres == {}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["lstm", "mgu", "lru", "deltanet"])
def test_programs(name):
    drawing = viz.program_dot(nn.Recurrent(nn.cell_by_name(name)(3, 4)))
    (group,) = drawing.groups
    assert titles(drawing.svg()) == sorted(node.label for node in group.nodes)
    assert drawing.svg().count("stroke-dasharray") == sum(edge.back for edge in group.edges) > 0


def test_what_does_not_compile_is_shown_with_odd_letters():
    class Branching(nn.Cell):
        input_size = hidden_size = 3

        def extra_repr(self):
            return "<&>\"'"

        def step(self, x, h):
            return (h, h) if h.mean(axis=-1) > 0 else (x, x)

    svg = viz.program_dot(nn.Recurrent(Branching())).svg()
    assert "a Python branch on a tensor's value" in titles(svg)[0]
    assert "Branching(<&>\"')" in [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_control_characters_are_no_xml():
    w = tr.ones((2,)).requires_grad_()
    assert titles(viz.to_dot(w, {"a\x07\x1b<b>": w}).svg()) == ["a\ufffd\ufffd<b> (2,)"]


@pytest.mark.slow
def test_long_graphs_show_their_end():
    drawing = chain(3000)
    svg = drawing.svg()
    assert len(titles(svg)) == 200
    assert "and 2,801 more" in svg
    assert titles(chain(150).svg()).count("multiply (1,)") == 150
    deep = viz.to_dot(nn.RNN(2, 3, mode="eager")(np.ones((100, 1, 2), np.float32))[0][-1])
    assert "stack (100, 1, 3)" in titles(deep.svg())  # the result is there


def test_a_drawing_is_a_string():
    drawing = chain(2)
    assert isinstance(drawing, str)
    assert drawing == str(drawing)
    assert copy.deepcopy(drawing).svg() == pickle.loads(pickle.dumps(drawing)).svg() == drawing.svg()


# ---- files, and Graphviz


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    drawing = chain(2)
    drawing.save(tmp_path / "a.dot")
    assert (tmp_path / "a.dot").read_text() == f"{drawing}\n"
    drawing.save(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == drawing.svg() == drawing._repr_svg_()
    with pytest.raises(ValueError, match=r"path: got the suffix '\.jpg', wanted one of \.dot, "):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(ModuleNotFoundError, match=r"a \.png needs Graphviz's program dot, which is not installed"):
        drawing.save(tmp_path / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.dot", "a.svg"}


def test_graphviz_draws_where_it_is(tmp_path, monkeypatch):
    class Source:
        def __init__(self, text):
            self.text = text

        def pipe(self, format):
            return f"{format} of {self.text}".encode()

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setitem(sys.modules, "graphviz", types.SimpleNamespace(Source=Source))
    drawing = chain(1)
    assert drawing._repr_svg_() == f"svg of {drawing}"
    drawing.save(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_text() == f"pdf of {drawing}"
    monkeypatch.setitem(sys.modules, "graphviz", None)
    assert drawing._repr_svg_() == drawing.svg()
    with pytest.raises(ModuleNotFoundError, match=r"tinygrad_rnn\[notebooks\]"):
        drawing.save(tmp_path / "b.pdf")


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_reads_the_text():
    pytest.importorskip("graphviz")
    assert "<svg" in drawing.Drawing(chain(3).groups)._repr_svg_()


# ---- curves


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "curves",
    [{}, {"a": []}, {"a": [1.0]}, {"a": [0.0, 0.0]}, {"a": [np.nan, np.inf, -1.0]}, {"<a>": [1e-300, 1e300], "b": [2]}],
    ids=str,
)
def test_curves(curves, log):
    text = curves_svg(curves, "A & B", "t", log=log)
    page = ElementTree.fromstring(text)
    words = [node.text for node in page.iter(f"{SVG}text")]
    assert {"A & B", "t", *curves} <= {*words}
    assert "nan" not in text
    assert "inf" not in text


def test_a_curve_goes_through_its_points():
    text = curves_svg({"a": [1.0, 3.0, 2.0]}, "", "t")
    path = next(p.get("d") for p in ElementTree.fromstring(text).iter(f"{SVG}path") if "L" in p.get("d"))
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, p.split())) for p in path[1:].split("L")]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0  # y grows downwards
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.2)
