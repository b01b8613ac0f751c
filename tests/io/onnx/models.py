"""Small models of ONNX for tests, made by its own helpers."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import tinygrad_rnn as tr  # noqa: E402

TYPES = {"f": TensorProto.FLOAT, "d": TensorProto.DOUBLE, "i": TensorProto.INT64, "h": TensorProto.FLOAT16}
node = helper.make_node


def value(name, shape=None, kind="f"):
    return helper.make_tensor_value_info(name, TYPES[kind], shape)


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs, outputs, initializers=None, opset=17):
    """A model; initializers are arrays by name."""
    given = [tensor(name, array) for name, array in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def imported(tmp_path, made, mode="eager"):
    path = tmp_path / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return tr.io.from_onnx(path, mode=mode)


def lstm(op="LSTM", directions=1, sizes=(3, 4), dtype=np.float32, outputs=("y", "h", "c"), seed=0, **settings):
    """One node with weights of its own, and its weights."""
    gates, (n, h) = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], sizes
    rng = np.random.default_rng(seed)
    shapes = {"w": (directions, gates * h, n), "r": (directions, gates * h, h), "b": (directions, 2 * gates * h)}
    weights = {name: rng.uniform(-0.5, 0.5, shape).astype(dtype) for name, shape in shapes.items()}
    if directions == 2:
        settings["direction"] = "bidirectional"
    kind = np.dtype(dtype).char
    outputs = outputs if op == "LSTM" else outputs[:2]
    made = node(op, ["x", "w", "r", "b"], list(outputs), name="the/net", hidden_size=h, **settings)
    return model(
        [made],
        [value("x", ["T", "B", n], kind)],
        [value(o, [None] * (4 if o == "y" else 3), kind) for o in outputs],
        weights,
    ), weights
