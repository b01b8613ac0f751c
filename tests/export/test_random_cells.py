"""Random cells, of vectors, of any rank and of integers, as NumPy and as ONNX."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.export import to_numpy, to_onnx
from tinygrad_rnn.testing.integer_cells import random_integer_cell
from tinygrad_rnn.testing.random_cells import random_cell
from tinygrad_rnn.testing.ranked_cells import random_ranked_cell

from ..recurrent.scan.test_whole_numbers import AS_INTEGERS, C, X
from . import examples as on
from .test_c_integers import PICKS


def case(kind: str, seed: int):
    """A cell, and inputs of two sizes."""
    if kind == "ranked":
        cell = random_ranked_cell(np.random.default_rng(seed), 8, np.float64)
        return cell, [cell.example_input(t, b).data for t, b in ((4, 2), (3, 1))]
    if kind == "integers":
        cell = random_integer_cell(np.random.default_rng(seed))
        return cell, [tree.map(lambda x: x.data, cell.example_inputs(t, b)) for t, b in ((4, 2), (3, 1))]
    cell = random_cell(np.random.default_rng(seed), 10, np.float64)
    return cell, [tree.map(lambda x: x.data, cell.example_inputs(t, b, False)) for t, b in ((4, 2), (3, 1))]


@pytest.mark.parametrize("kind", ["random", "ranked", "integers"])
@pytest.mark.parametrize(
    "seeds", [range(3), pytest.param(range(100, 125), marks=pytest.mark.exhaustive)], ids=["few", "many"]
)
@np.errstate(all="ignore")
def test_random_cells(kind, seeds, tmp_path):
    for seed in seeds:
        cell, (example, other) = case(kind, seed)
        layer = nn.Recurrent(cell)
        if any(name == "constant" for name, *_ in getattr(cell, "program", ())):
            continue  # what is drawn for each batch would be frozen
        wanted = on.on_tape(layer, other)
        files = to_numpy(layer, example, tmp_path / f"cell{seed}.py")
        spec = importlib.util.spec_from_file_location(f"{kind}{seed}", files.code)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        compare(list(on.leaves(module.forward(*on.leaves(other)))), wanted, 1e-9, seed)
        if not exported(kind, cell):
            continue
        compare(by_onnx(layer, example, other, tmp_path), wanted, 1e-6, seed)


def exported(kind: str, cell) -> bool:
    """Whether all that a cell does leaves for ONNX, and onnxruntime does it too."""
    if kind == "integers":  # quotients are also of integers by zero, which onnxruntime does not do
        kept = {"remainder", "quotient", "bits", "other bits", "running products"}
        return not kept & {name for _, name, *_ in cell.program}
    return kind != "ranked" or not any(word in text for text, _ in cell.program for word in ("cumprod", "bits"))


def by_onnx(layer, example, other, folder):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    file = to_onnx(layer, example, folder / "cell.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    network = onnxruntime.InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])
    return network.run(None, dict(zip(file.inputs, on.leaves(other), strict=True)))


def compare(found, wanted, tolerance, seed):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()), err_msg=str(seed))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("from the end", "along") else pytest.mark.slow) for n in AS_INTEGERS]
)
def test_steps_of_integers(name, tmp_path):
    other = np.random.default_rng(5).integers(-3, 9, (6, 2, 2))
    # onnxruntime does not divide integers by zero
    require_equal(nn.Recurrent(C(AS_INTEGERS[name], "float64")), X, other, tmp_path, 1e-9, onnx=name != "by nothing")


def test_indices_that_a_model_computes(tmp_path):
    rng = np.random.default_rng(0)
    example, other = (PICKS.inputs(rng, t, b)[0] for t, b in ((5, 3), (4, 2)))
    require_equal(on.model_of(PICKS), example, other, tmp_path, 1e-5)


@np.errstate(divide="ignore")
def require_equal(model, example, other, folder, tolerance, onnx=True):
    wanted = on.on_tape(model, other)
    files = to_numpy(model, example, folder / "cell.py")
    spec = importlib.util.spec_from_file_location("cell", files.code)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    compare(list(on.leaves(module.forward(other))), wanted, tolerance, 0)
    if onnx:
        compare(by_onnx(model, example, other, folder), wanted, max(tolerance, 1e-6), 0)
