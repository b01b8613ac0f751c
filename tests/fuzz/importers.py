"""Importers of other frameworks' models, whose libraries may be missing."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

LAYERS = [
    {"class_name": "Embedding", "config": {"name": "words", "mask_zero": True}},
    {"class_name": "LSTM", "config": {"name": "net", "units": 2, "return_sequences": True}},
    {"class_name": "Bidirectional", "config": {"name": "both", "layer": {"class_name": "GRU", "config": {"units": 2}}}},
    {"class_name": "Dense", "config": {"name": "top", "activation": "tanh"}},
]


# ---- ONNX


def read_onnx(path: Path) -> None:
    module = tr.io.from_onnx(path)
    assert module.outputs
    assert all(np.isfinite(p.numpy()).all() or p.size for p in module.parameters())


def onnx_seeds() -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes, initializers, inputs=("x",)):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", "B", 2]) for name in inputs]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3)
        arrays = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
        graph = helper.make_graph(nodes, "g", values, [output], arrays)
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    ones = lambda *shape: np.ones(shape, np.float32)
    weights = {"w": ones(1, 12, 2), "r": ones(1, 12, 3), "b": ones(1, 24)}
    lstm = helper.make_node("LSTM", ["x", "w", "r", "b"], ["all", "y"], hidden_size=3, activations=["Tanh"] * 3)
    shape = helper.make_node("Constant", [], ["s"], value_ints=[0, -1, 1])
    body = helper.make_graph(
        [helper.make_node("Add", ["h", "x_t"], ["k"]), helper.make_node("Identity", ["k"], ["y_t"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2]) for name in ("h", "x_t")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2]) for name in ("k", "y_t")],
    )
    scan = helper.make_node("Scan", ["h0", "x"], ["last", "y"], body=body, num_scan_inputs=1)
    reshape = helper.make_node("Reshape", ["x", "s"], ["y"])
    return [model([lstm], weights), model([shape, reshape], {}), model([scan], {"h0": ones(1, 2)})]


# ---- Keras


def keras_weights() -> bytes:
    """A file of weights as Keras writes it, of LAYERS."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        put = lambda name, *shapes: [file.create_dataset(f"{name}/vars/{i}", s, "f4") for i, s in enumerate(shapes)]
        put("layers/embedding", (5, 2))
        put("layers/lstm/cell", (2, 8), (2, 8), (8,))
        for direction in ("forward_layer", "backward_layer"):
            put(f"layers/bidirectional/{direction}/cell", (2, 6), (2, 6), (2, 6))
            file[f"layers/bidirectional/{direction}/cell/vars"].attrs["name"] = "gru_cell"
        put("layers/dense", (4, 1), (1,))
    return buffer.getvalue()


def keras_seeds() -> list[bytes]:
    """Configurations, which the reader below puts into files."""
    chain = {"class_name": "Sequential", "config": {"name": "m", "layers": LAYERS}}
    calls = [{"class_name": "InputLayer", "config": {"name": "in"}, "inbound_nodes": []}]
    for layer in LAYERS:
        source = {"class_name": "__keras_tensor__", "config": {"keras_history": [calls[-1]["config"]["name"], 0, 0]}}
        calls.append({**layer, "inbound_nodes": [{"args": [source], "kwargs": {"mask": None}}]})
    settings = {"name": "m", "layers": calls, "input_layers": ["in", 0, 0], "output_layers": [["top", 0, 0]]}
    graph = {"class_name": "Functional", "config": settings}
    return [json.dumps(config).encode() for config in (chain, graph)]


def read_keras(path: Path) -> None:
    config = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", keras_weights())
    model = tr.io.from_keras(path)
    assert isinstance(model, nn.Module)


ONNX = (b"\x0a\x00", b"\x12\x04", b"LSTM", b"Gemm", b"location", b"../x", b"\x08\xff\xff\xff\xff\x0f", b"\x70\x01")
KERAS = (b'"class_name"', b'"Dense"', b'"GRU"', b'"layer"', b'"config"', b'"units"', b'"inbound_nodes"')
IMPORTERS = {
    name: (read, seeds, words, file)
    for name, library, read, seeds, words, file in (
        ("onnx", "onnx", read_onnx, onnx_seeds, ONNX, "input.onnx"),
        ("keras", "h5py", read_keras, keras_seeds, KERAS, "input.keras"),
    )
    if importlib.util.find_spec(library) is not None
}
