"""From here to ONNX, and back: the same outputs, and loops that compile again."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from ...export.examples import CELLS, MODELS, layer_of, sequence_of
from . import models  # noqa: F401  skips without onnx


def arrays(value):
    leaves, _ = tr.core.tree.flatten(value)
    return [leaf.numpy() if isinstance(leaf, tr.Tensor) else leaf for leaf in leaves]


def round_trip(model, example, path, mode="eager"):
    tr.export.to_onnx(model, example, path)
    return tr.io.from_onnx(path, mode=mode)


def same(model, back, example, atol=1e-5):
    if isinstance(example, dict):  # the file has a name of its own for each entry
        inputs = {name: next(a for key, a in example.items() if name.endswith(key)) for name in back.inputs}
    else:
        inputs = dict(zip(back.inputs, arrays(example), strict=True))
    want = arrays(model(*example) if isinstance(example, tuple) else model(example))
    found = back(**inputs)
    for got, expected in zip(found if isinstance(found, tuple) else (found,), want, strict=True):
        np.testing.assert_allclose(got.numpy(), expected, atol=atol)


@pytest.mark.parametrize("row", CELLS, ids=lambda row: row.name)
@pytest.mark.sampled(8)
def test_cells(row, tmp_path):
    layer = layer_of(row, mode="eager").eval()
    back = round_trip(layer, sequence_of(row, 5, 2), tmp_path / "m.onnx")
    same(layer, back, sequence_of(row, 5, 2))
    same(layer, back, sequence_of(row, 1, 1))


@pytest.mark.parametrize("example", MODELS, ids=lambda example: example.name)
@pytest.mark.sampled(4)
def test_models(example, tmp_path):
    tr.seed(0)
    model = example.make().eval()
    for module in model.modules():
        if hasattr(module, "mode"):
            module.mode = "eager"
    inputs = example.inputs(np.random.default_rng(0), 5, 2)
    same(model, round_trip(model, inputs, tmp_path / "m.onnx"), inputs)


def test_float64(tmp_path):
    layer = nn.LSTM(3, 4, bidirectional=True, dtype="float64", mode="eager")
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    same(layer, round_trip(layer, x, tmp_path / "m.onnx"), (x,), 1e-12)


def test_compiled_again(tmp_path):
    """The step of a cell is one here, too, after it was the body of a Scan."""
    layer = nn.Recurrent(nn.MGUCell(3, 4), mode="eager")
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = round_trip(layer, x, tmp_path / "m.onnx", mode="compiled")
        same(layer, back, (x,))
    (back(x)[0] ** 2).sum().backward()
    (layer(x)[0] ** 2).sum().backward()
    total = lambda module: sum(float((p.grad.numpy() ** 2).sum()) for p in module.parameters())
    np.testing.assert_allclose(total(back), total(layer), rtol=1e-4)
