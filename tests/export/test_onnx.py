"""Exported ONNX files: what onnxruntime makes of them, which operators they have, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core.registration import registry
from tinygrad_rnn.errors import ExportError
from tinygrad_rnn.export import onnx_table, to_onnx
from tinygrad_rnn.testing.cell_table import BY_NAME

from . import examples as on

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(network, *args) -> list[np.ndarray]:
    """The outputs for the arrays in these arguments."""
    names = [v.name for v in network.get_inputs()]
    return network.run(None, dict(zip(names, on.leaves(args), strict=True)))


def check(found, wanted, tolerance: float = 1e-5) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name", on.mostly_slow(on.CELL_NAMES, "lstm", "rnn-relu", "gru-before", "mlstm-heads", "stacked")
)
def test_cells(name, tmp_path):
    row = BY_NAME[name]
    layer = on.layer_of(row)
    file = to_onnx(layer, on.sequence_of(row, 3, 2), tmp_path / "layer.onnx")
    standard = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}.get(name.split("-")[0], "Scan")
    assert ("Scan" if name == "lstm-projected" else standard) in file.operators
    network = session(file.path)
    for time, batch in ((1, 1), (5, 3)):
        xs = on.sequence_of(row, time, batch)
        check(run(network, xs), on.on_tape(layer, xs))


@pytest.mark.parametrize("example", on.MODELS, ids=lambda e: e.name)
def test_models(example, tmp_path):
    model, rng = on.model_of(example), np.random.default_rng(0)
    network = session(to_onnx(model, example.inputs(rng, 5, 3), tmp_path / "model.onnx").path)
    for time, batch in ((1, 1), (8, 2)):
        args = example.inputs(rng, time, batch)
        check(run(network, *args), on.on_tape(model, *args))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_states_and_lengths(kind, batch_first, tmp_path):
    tr.seed(0)
    layer = kind(3, 4, num_layers=2, bidirectional=True, batch_first=batch_first)
    rng = np.random.default_rng(0)

    def arguments(time, batch, lengths):
        x = rng.standard_normal((batch, time, 3) if batch_first else (time, batch, 3)).astype(np.float32)
        h = rng.standard_normal((2, 4, batch, 4)).astype(np.float32)
        return x, (tuple(h) if kind is nn.LSTM else h[0]), np.array(lengths)

    file = to_onnx(layer, arguments(5, 3, [5, 0, 2]), tmp_path / "layer.onnx")
    assert kind.__name__ in file.operators
    assert "Scan" not in file.operators
    network = session(file.path)
    for args in (arguments(5, 3, [5, 0, 2]), arguments(1, 1, [1]), arguments(3, 2, [0, 0])):
        check(run(network, *args), on.on_tape(layer, *args))


@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_that_count(batch_first, tmp_path):
    layer = nn.Bidirectional(nn.GRUCell(3, 4), nn.MGUCell(3, 4), batch_first=batch_first)
    rng = np.random.default_rng(0)

    def arguments(time, batch, lengths):
        lead = (batch, time) if batch_first else (time, batch)
        mask, resets = rng.random(lead) < 0.7, rng.random(lead) < 0.3
        return rng.standard_normal((*lead, 3)).astype(np.float32), None, np.array(lengths), mask, resets

    network = session(to_onnx(layer, arguments(4, 3, [4, 0, 2]), tmp_path / "m.onnx").path)
    for args in (arguments(4, 3, [4, 0, 2]), arguments(7, 2, [5, 7])):
        check(run(network, *args), on.on_tape(layer, *args))


@pytest.mark.parametrize("name", ["lstm", "gru", "mlstm-heads", "two-inputs", "stateless", "learned-start"])
def test_cells_as_streams(name, tmp_path):
    row = BY_NAME[name]
    if not row.states:
        layer, xs = nn.Sequential(nn.Linear(3, 4)), on.sequence_of(row, 5, 2)
        with pytest.raises(ExportError, match="no recurrent layer"):
            to_onnx(layer, xs, tmp_path / "m.onnx", streaming=True)
        return
    layer, xs = on.layer_of(row), on.sequence_of(row, 5, 2)
    file = to_onnx(layer, xs, tmp_path / "m.onnx", streaming=True)
    assert "Scan" not in file.operators
    network, wanted = session(file.path), on.on_tape(layer, xs)
    states = list(on.leaves(layer.cell.initial_state(2)))
    for t in range(5):
        found = run(network, [x[t] for x in on.leaves(xs)], states)
        states = found[len(found) - len(states) :]
        np.testing.assert_allclose(found[0], wanted[0][t], atol=1e-5)
    check(states, wanted[1:])


def test_float64_and_one_of_everything(tmp_path):
    layer, x = nn.LSTM(3, 4, dtype="float64"), np.random.default_rng(0).standard_normal((1, 1, 3))
    network = session(to_onnx(layer, x, tmp_path / "m.onnx").path)
    x = np.random.default_rng(1).standard_normal((6, 3, 3))
    check(run(network, x), on.on_tape(layer, x), 1e-12)
    layer = on.layer_of(BY_NAME["peephole-lstm"], np.float64)
    network = session(to_onnx(layer, x, tmp_path / "m.onnx").path)
    check(run(network, x), on.on_tape(layer, x), 1e-12)


@pytest.mark.parametrize("opset", [14, 18])
def test_other_versions_of_the_operators(opset, tmp_path):
    model, x = on.layer_of(BY_NAME["layernorm-lstm"]), np.random.default_rng(0).standard_normal((5, 2, 3))
    file = to_onnx(model, x.astype(np.float32), tmp_path / "m.onnx", opset=opset)
    assert [v.version for v in onnx.load(file.path).opset_import] == [opset]
    check(run(session(file.path), x.astype(np.float32)), on.on_tape(model, x.astype(np.float32)))


def test_names(tmp_path):
    layer = nn.GRU(3, 4)
    file = to_onnx(layer, np.ones((5, 2, 3), np.float32), tmp_path / "m.onnx", streaming=True)
    assert (file.inputs, file.outputs) == (("input", "h"), ("output_0", "output_1", "h_next"))
    model = onnx.load(to_onnx(nn.Recurrent(nn.MGUCell(3, 4)), np.ones((5, 2, 3)), tmp_path / "m.onnx").path)
    assert {"cell.weight_ih", "cell.weight_hh", "cell.bias"} <= {v.name for v in model.graph.initializer}
    dims = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["T", "B", 3]


def test_refusals(tmp_path, monkeypatch):
    class Products(nn.Module):
        def forward(self, x):
            return tr.cumprod(x, 0) + own(tr.cumprod(x * 2, 1))

    @tr.primitive()
    def own(x):
        return x * 2

    x, path = np.ones((3, 2), np.float32), tmp_path / "m.onnx"
    line = Products.forward.__code__.co_firstlineno + 1
    try:
        with pytest.raises(ExportError, match=rf"ONNX: cumprod at .*:{line}; own at .*:{line}$"):
            to_onnx(Products(), x, path)
    finally:
        del registry["own"]
    with pytest.raises(ExportError, match="opset: got 9, wanted at least 14"):
        to_onnx(nn.Linear(2, 2), x, path, opset=9)
    with pytest.raises(ExportError, match="opset: got 99, wanted at most"):
        to_onnx(nn.Linear(2, 2), x, path, opset=99)
    with pytest.raises(ExportError, match="runs backwards in time, which a stream of time steps cannot"):
        to_onnx(nn.LSTM(2, 3, bidirectional=True), np.ones((4, 3, 2), np.float32), path, streaming=True)
    with pytest.raises(OSError, match="nowhere"):
        to_onnx(nn.Linear(2, 2), x, tmp_path / "nowhere" / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r'to_onnx needs onnx; run: pip install "tinygrad_rnn\[onnx\]"'):
        to_onnx(nn.Linear(2, 2), x, path)
    assert not list(tmp_path.iterdir())


def test_the_table_knows_every_operation():
    built_in = {n for n, op in registry.items() if op.forward.__module__.startswith("tinygrad_rnn.")}
    assert built_in - onnx_table.TABLE.keys() == onnx_table.REFUSED
    assert not onnx_table.REFUSED & onnx_table.TABLE.keys()
