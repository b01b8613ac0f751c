"""Every operation of the table, exported: the expressions and the nodes mean what the operations do."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tests.op_table import TABLE as ROWS
from tinygrad_rnn import compiler, nn
from tinygrad_rnn.core import Tensor
from tinygrad_rnn.errors import ExportError
from tinygrad_rnn.export import numpy_table, onnx_table
from tinygrad_rnn.export.evaluate import evaluate
from tinygrad_rnn.export.numpy_file import refuse
from tinygrad_rnn.export.numpy_writer import Writer
from tinygrad_rnn.export.onnx_file import Model
from tinygrad_rnn.export.tracing import Tracing, evaluating
from tinygrad_rnn.programs.nests import flatten

from . import examples as on

FEW = settings(max_examples=3, suppress_health_check=list(HealthCheck))


class Call(nn.Module):
    """One operation as a model."""

    def __init__(self, row, options):
        self._call, self._options = row.call, options

    def forward(self, *arrays):
        return self._call(*arrays, **self._options)


def with_fixed_sizes(model, tensors):
    leaves: list = []
    structure = flatten(tuple(tensors), leaves)
    with evaluating(model), compiler.making, tr.no_grad(), np.errstate(all="ignore"):
        tracing = Tracing(model, model, structure, leaves, list(range(len(leaves))))
        return tracing.with_axes(tuple((None,) * t.ndim for t in tensors))


def traced(row, data):
    """The graph of the operation for arguments that are drawn; None if it is not for models that are used."""
    arrays, options = data.draw(row.cases)
    arrays = [np.asarray(a, np.float32 if a.dtype == np.float64 else a.dtype) for a in arrays]
    try:
        graph = with_fixed_sizes(Call(row, options), list(map(Tensor, arrays)))
    except (ExportError, IndexError):  # an index that is computed, a number that is read
        return None
    names = {node.op.name for node in graph.all_nodes()}
    return None if names & (numpy_table.REFUSED | {"class_nll"}) else graph


def check(found, graph, tolerance=2e-5):
    wanted = evaluate(graph, graph.example)
    found = list(on.leaves(found))
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@FEW
@given(data=st.data())
def test_operations(row, data):
    graph = traced(row, data)
    if graph is not None:
        check_numpy(graph)
        if not {node.op.name for node in graph.all_nodes()} & onnx_table.REFUSED:
            check_onnx(graph)


def check_numpy(graph):
    refuse(graph)
    writer = Writer(graph, "m")
    text, weights = writer.text(), io.BytesIO()
    np.savez(weights, **writer.arrays)
    weights.seek(0)
    text = text.replace('Path(__file__).with_suffix(".npz")', "weights_of_the_test")
    space: dict = {"weights_of_the_test": weights}
    with np.errstate(all="ignore"):
        exec(compile(text, "m.py", "exec"), space)
        check(space["forward"](*graph.example), graph)


def check_onnx(graph):
    onnxruntime = pytest.importorskip("onnxruntime")
    try:
        made = Model(graph, 18).made([f"output{i}" for i in range(len(graph.outputs))])
    except ExportError as error:
        if "at once" in str(error) or "truth value" in str(error):
            return  # indices that ONNX has no operator for
        raise
    if any(0 in v.shape for v in graph.outputs):
        return  # onnxruntime does not make empty arrays of full ones
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    network = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    check(network.run(None, {v.name: np.asarray(a) for v, a in zip(graph.inputs, graph.example)}), graph)
