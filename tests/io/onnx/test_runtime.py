"""Nodes with random options against onnxruntime."""

import numpy as np
import pytest

from tinygrad_rnn.errors import CheckpointError

from .models import imported, lstm, model, node, value

SETTINGS = {  # of activations: alpha, beta
    "Relu": 0, "Tanh": 0, "Sigmoid": 0, "Softsign": 0, "Softplus": 0, "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1,
    "Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2,
}  # fmt: skip
SHAPES = {"RNN": (1, 1), "GRU": (3, 2), "LSTM": (4, 3)}  # gates, activations


def random_node(op, rng):
    """A model of one node, and what goes in."""
    directions, n, h = rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 5)
    time, batch, (gates, count) = rng.integers(1, 6), rng.integers(1, 4), SHAPES[op]
    floats = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32)
    settings = {
        "hidden_size": h,
        "direction": "bidirectional" if directions == 2 else rng.choice(["forward", "reverse"]),
    }
    if rng.random() < 0.6:
        names = [str(name) for name in rng.choice(list(SETTINGS), count * directions)]
        numbers = [[rng.uniform(0.2, 0.9) for name in names if SETTINGS[name] > i] for i in range(2)]
        given = dict(zip(("activation_alpha", "activation_beta"), numbers))
        settings |= {"activations": names} | {name: values for name, values in given.items() if values}
    if op == "GRU":
        settings["linear_before_reset"] = int(rng.integers(2))
    if op == "LSTM":
        settings["input_forget"] = int(rng.integers(2))
    weights = {"w": floats(directions, gates * h, n), "r": floats(directions, gates * h, h)}
    if rng.random() < 0.7:
        weights["b"] = floats(directions, 2 * gates * h)
    feed = {"x": floats(time, batch, n)}
    if rng.random() < 0.5:
        feed["lengths"] = rng.integers(1, time + 1, batch).astype(np.int32)
    states = ["h0", "c0"] if op == "LSTM" else ["h0"]
    feed |= {name: floats(directions, batch, h) for name in states if rng.random() < 0.6}
    if op == "LSTM" and rng.random() < 0.5:
        weights["p"] = floats(directions, 3 * h)
    places = ["x", "w", "r", "b", "lengths", *states, *(["p"] if op == "LSTM" else [])]
    inputs = [name if name in feed or name in weights else "" for name in places]
    values = [value(name, [None] * array.ndim) for name, array in feed.items()]
    for given in values:
        if given.name == "lengths":
            given.type.tensor_type.elem_type = 6  # int32
    outputs = ["y", "h", "c"][: 1 + len(states)]
    made = node(op, inputs, outputs, **settings)
    return model([made], values, [value(o, [None] * (4 if o == "y" else 3)) for o in outputs], weights, opset=14), feed


@pytest.mark.parametrize("op", SHAPES)
def test_random_options(op, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    for seed in range(12):
        made, feed = random_node(op, np.random.default_rng(seed))
        session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        found = imported(tmp_path, made)(**feed)
        for got, want in zip(found, session.run(None, feed), strict=True):
            np.testing.assert_allclose(got.numpy(), want, atol=1e-5, err_msg=f"{seed}: {made.graph.node[0]}")


@pytest.mark.parametrize("name", ["Affine", "ScaledTanh", "ThresholdedRelu"])
def test_settings_without_defaults(name, tmp_path):
    made, _ = lstm("RNN", activations=[name], outputs=("y", "h"))
    with pytest.raises(CheckpointError, match=f"its activation {name} has no alpha or no beta"):
        imported(tmp_path, made)
