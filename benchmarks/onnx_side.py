"""One layer in onnxruntime, for inference: a graph of the one node that ONNX has for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import sides
from .cases import BUILTIN, Shape

GATES = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}  # of PyTorch's, in ONNX's order
OPSET, IR_VERSION = 17, 8  # what all releases of the last years read


def load():
    """onnxruntime, or None where it or the package that writes its files is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime


def graph(name: str, shape: Shape) -> bytes:
    """The layer with our weights as an ONNX model: x (T, B, I) to y (T, 1, B, H)."""
    import onnx
    from onnx import helper, numpy_helper

    weights = sides.our_layer(name, shape).state_dict()
    order = GATES[name]

    def gates(key: str) -> np.ndarray:
        return np.concatenate([np.split(weights[f"{key}_l0"], len(order))[i] for i in order])

    arrays = {
        "W": gates("weight_ih"),
        "R": gates("weight_hh"),
        "B": np.concatenate([gates("bias_ih"), gates("bias_hh")]),
    }
    options: dict[str, Any] = {"linear_before_reset": 1} if name == "gru" else {}
    node = helper.make_node(BUILTIN[name], ["x", *arrays], ["y"], hidden_size=shape.H, **options)
    number = onnx.TensorProto.FLOAT
    made = helper.make_graph(
        [node],
        name,
        [helper.make_tensor_value_info("x", number, [shape.T, shape.B, shape.I])],
        [helper.make_tensor_value_info("y", number, [shape.T, 1, shape.B, shape.H])],
        [numpy_helper.from_array(array[None], key) for key, array in arrays.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def onnx_side(onnxruntime, name: str, shape: Shape, threads: int) -> sides.Side:
    """Inference only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(graph(name, shape), options, providers=["CPUExecutionProvider"])
    x, _ = sides.data(shape)

    def infer():
        (y,) = session.run(["y"], {"x": x})
        return [y[:, 0]]

    return sides.Side(None, infer)
