"""Drawings: every operation and leaf is there, and arrows join what belongs together."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, viz

EDGE = re.compile(r"^ *(\w+) -> (\w+)", re.MULTILINE)
NODE = re.compile(r'^ *(\w+) \[label="((?:[^"\\]|\\.)*)"', re.MULTILINE)


def parse(text):
    """Labels by node, and arrows; every arrow joins nodes that are drawn."""
    assert text.startswith("digraph {")
    assert text.endswith("}")
    assert text.count("{") - text.count("}") == 0
    nodes, edges = dict(NODE.findall(text)), EDGE.findall(text)
    assert len(nodes) == len(NODE.findall(text))
    assert {n for e in edges for n in e} <= set(nodes)
    return nodes, edges


def test_a_tape():
    model = nn.Linear(3, 2)
    nodes, edges = parse(viz.to_dot(tr.tanh(model(np.ones((4, 3), np.float32))).sum(), model))
    at = {label: node for node, label in nodes.items()}
    assert set(at) == {"sum ()", "tanh (4, 2)", "linear (4, 2)", "weight (2, 3)", "bias (2,)"}
    assert (at["weight (2, 3)"], at["linear (4, 2)"]) in edges
    assert (at["tanh (4, 2)"], at["sum ()"]) in edges


def test_shared_values_are_drawn_once():
    w = tr.ones((2,)).requires_grad_()
    y = w * w
    nodes, edges = parse(viz.to_dot(y + y))
    assert sorted(nodes.values()) == ["add (2,)", "leaf (2,)", "multiply (2,)"]
    assert len(edges) == 4


def test_a_leaf_alone():
    nodes, edges = parse(viz.to_dot(tr.ones((2,)).requires_grad_()))
    assert list(nodes.values()) == ["leaf (2,)"]
    assert not edges


def test_long_graphs_need_no_recursion():
    h = tr.ones((1,)).requires_grad_()
    y = h
    for _ in range(3000):
        y = y * 0.5
    assert len(parse(viz.to_dot(y))[0]) == 3001


def test_what_cannot_be_drawn():
    with pytest.raises(TypeError, match="tensor: got ndarray, wanted a Tensor"):
        viz.to_dot(np.ones(3))
    with pytest.raises(TypeError, match=r"layer: got GRUCell, wanted a recurrent layer; of a cell: nn.Recurrent"):
        viz.program_dot(nn.GRUCell(3, 4))


def test_names_are_quoted():
    w = tr.ones((2,)).requires_grad_()
    assert r"a \"b\" \\c\nd (2,)" in viz.to_dot(w, {'a "b" \\c\nd': w})


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(3, 4),
        nn.Recurrent(nn.Stacked([nn.LSTMCell(3, 4), nn.GRUCell(4, 5)])),
        nn.LSTM(3, 4, 2, bidirectional=True),
    ],
    ids=["gru", "stacked", "bidirectional"],
)
def test_programs(layer):
    text = viz.program_dot(layer)
    nodes, edges = parse(text)
    cells = layer.explain().cells
    assert text.count("subgraph") == len(cells)
    for i, report in enumerate(cells):
        step = report.step
        mine = {n: label for n, label in nodes.items() if n.startswith(f"c{i}_")}
        traced = step.plan.traced
        leaves = len(traced.inputs) + len(traced.states)
        assert len(mine) == len(step.program) + leaves + len(traced.outputs)
        assert "x" in mine.values()
    states = sum(len(c.step.plan.traced.states) for c in cells)
    assert text.count("style=dashed") == states
    assert len(edges) > len(nodes) - 1


def test_a_cell_that_does_not_compile():
    class Branching(nn.Cell):
        input_size = hidden_size = 3

        def step(self, x, h):
            return (h, h) if h.mean(axis=-1) > 0 else (x, x)

    nodes, edges = parse(viz.program_dot(nn.Recurrent(Branching())))
    assert "a Python branch on a tensor's value" in nodes["c0"]
    assert not edges
