"""Models as graphs: what they compute at any size, which sizes stay open, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ExportError
from tinygrad_rnn.export.evaluate import evaluate
from tinygrad_rnn.export.graph import Scan
from tinygrad_rnn.export.sizes import Size, fit, spread
from tinygrad_rnn.export.tracing import trace
from tinygrad_rnn.testing.cell_table import BY_NAME

from . import examples as on


def shapes_of(values) -> list[list[str]]:
    return [[str(n) for n in v.shape] for v in values]


def check(graph, model, args, tolerance: float = 1e-6) -> None:
    found, wanted = evaluate(graph, list(on.leaves(args))), on.on_tape(model, *args)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", on.mostly_slow(on.CELL_NAMES, "stacked", "two-inputs"))
def test_cells(name):
    row = BY_NAME[name]
    layer = on.layer_of(row)
    graph = trace(layer, on.sequence_of(row, 3, 2))
    assert shapes_of(graph.inputs)[0][:2] == ["T", "B"]
    for time, batch in ((1, 1), (4, 3)):
        check(graph, layer, (on.sequence_of(row, time, batch),))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("example", on.mostly_slow(on.MODELS, "speech", "transliterate"))
def test_models(example):
    model, rng = on.model_of(example), np.random.default_rng(0)
    graph = trace(model, example.inputs(rng, 5, 3))
    assert set(graph.sizes) >= {"B", "T"}
    for time, batch in ((1, 1), (8, 2)):
        check(graph, model, example.inputs(rng, time, batch), 1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_that_count(batch_first):
    tr.seed(0)
    layer, rng = (
        nn.Bidirectional(nn.GRUCell(3, 4), nn.LSTMCell(3, 4), batch_first=batch_first),
        np.random.default_rng(0),
    )

    def arguments(time, batch, lengths):
        lead = (batch, time) if batch_first else (time, batch)
        mask, resets = rng.random(lead) < 0.7, rng.random(lead) < 0.3
        return rng.standard_normal((*lead, 3)).astype(np.float32), None, np.array(lengths), mask, resets

    graph = trace(layer, arguments(4, 3, [4, 0, 2]))
    assert [len(scan.steps) for scan in graph.scans()] == [3, 3]
    check(graph, layer, arguments(4, 3, [4, 0, 2]))
    check(graph, layer, arguments(7, 2, [5, 7]))


def test_one_row_and_one_step_leave_all_sizes_open():
    tr.seed(0)
    layer = nn.LSTM(3, 4)
    h = np.zeros((1, 1, 4), np.float32)
    graph = trace(layer, (np.zeros((1, 1, 3), np.float32), (h, h), np.array([1])))
    assert shapes_of(graph.inputs) == [["T", "B", "3"], ["1", "B", "4"], ["1", "B", "4"], ["B"]]
    assert [v.name for v in graph.inputs] == ["input", "state_0", "state_1", "lengths"]


def test_sizes_that_the_model_fixes_stay_fixed():
    class Windows(nn.Module):
        def __init__(self):
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            return self.head(x.reshape(x.shape[0], -1))

    graph = trace(Windows(), np.ones((5, 4, 3), np.float32))
    assert shapes_of(graph.inputs) == [["B", "4", "3"]]


def test_models_with_limits_and_with_branches_far_away():
    class Table(nn.Module):
        def __init__(self):
            self.places = nn.Embedding(30, 3)

        def forward(self, x):
            if len(x) > 30:
                raise ValueError("too long")
            return x + self.places(np.arange(30))[: x.shape[0], None]

    class Branches(nn.Module):
        def forward(self, x):
            return 2 * x if x.shape[0] > 200 else x

    x = np.ones((5, 4, 3), np.float32)
    assert shapes_of(trace(Table(), x).inputs) == [["B", "T", "3"]]
    with pytest.raises(ExportError, match=r"other things with inputs of other sizes.*1009"):
        trace(Branches(), x)


def test_structure_of_a_scan():
    graph = trace(on.layer_of(BY_NAME["gru-before"]), np.ones((3, 2, 3), np.float32))
    (scan,) = graph.scans()
    assert isinstance(scan, Scan)
    assert scan.module == ""
    assert type(scan.cell) is nn.GRUCell
    assert {node.module for node in scan.body} == {"cell"}
    assert [node.op.name for node in graph.nodes][:2] == ["split", "split"]  # of parameters: before the loop
    assert sorted(graph.parameters()) == ["cell.bias_hh", "cell.bias_ih", "cell.weight_hh", "cell.weight_ih"]
    assert all("gru.py" in node.where for node in scan.body)


def test_refusals():
    class Branches(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    class Table(nn.Module):
        def forward(self, x):
            return x * np.sqrt(np.arange(1.0, x.shape[0] + 1)).astype(np.float32)[:, None]

    class Counts(nn.Module):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * float(self.calls)

    x = np.ones((3, 2), np.float32)
    with pytest.raises(ExportError, match=r"float\(\) of a tensor at .*test_graph.py"):
        trace(Branches(), x)
    with pytest.raises(ExportError, match=r"made anew for each size of the inputs, at .*test_graph.py"):
        trace(Table(), x)
    with pytest.raises(ExportError, match="writes to the attributes of a module"):
        trace(Counts(), x)
    with pytest.raises(ExportError, match="example: got no array"):
        trace(nn.Linear(2, 2), ())
    with pytest.raises(TypeError, match=r"model: got function, wanted an nn\.Module"):
        trace(lambda x: x, x)


def test_expressions_of_sizes():
    samples = spread({"B": 2, "T": 3})
    for text, make in {
        "T": lambda s: s["T"],
        "2 * B + 1": lambda s: 2 * s["B"] + 1,
        "4 * B * T": lambda s: 4 * s["B"] * s["T"],
        "(T + 7) // 8": lambda s: -(-s["T"] // 8),
        "B - T": lambda s: s["B"] - s["T"],
    }.items():
        found = fit([make(s) for s in samples], samples)
        assert isinstance(found, Size)
        assert str(found) == text
        assert found.at({"B": 11, "T": 29}) == make({"B": 11, "T": 29})
    assert fit([3] * 8, samples) == 3
    assert str(fit([1 / s["T"] for s in samples], samples)) == "1.0 / T"
    assert fit([hash(str(s)) % 97 for s in samples], samples) is None
