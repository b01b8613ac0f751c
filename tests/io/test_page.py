"""docs/weights.md: its code runs, and its list of operators is whole."""

import importlib.util
import os
import re

import numpy as np
import pytest

import tinygrad_rnn as tr

from ..docs.page import blocks, read

os.environ.setdefault("KERAS_BACKEND", "torch")
PAGE = read("weights.md")
NEEDS = {
    "Our own files": [],
    "From PyTorch, and back": ["torch"],
    "From Keras": ["torch", "keras", "h5py"],
    "From ONNX": ["onnx"],
}


def files_of(section, folder):
    """The files that the code reads."""
    if section == "From Keras":
        import keras

        layers = [keras.layers.LSTM(4, return_sequences=True, name="lstm"), keras.layers.Dense(1, name="dense")]
        model = keras.Sequential([keras.Input((None, 3)), *layers])
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
    elif section == "From ONNX":
        from .onnx.models import lstm

        (folder / "model.onnx").write_bytes(lstm()[0].SerializeToString())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("section", NEEDS)
def test_code_runs(section, tmp_path, monkeypatch):
    for library in NEEDS[section]:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    files_of(section, tmp_path)
    names = {"np": np, "tr": tr, "nn": tr.nn}
    found = [block for block in blocks(PAGE) if block.section == section]
    assert found
    for block in found:
        exec(block.text, names)


def test_the_list_of_operators_is_whole():
    from tinygrad_rnn.io.onnx.importing import KNOWN

    listed = PAGE[PAGE.index("Operators:") : PAGE.index("A file with others")]
    assert re.findall(r"`(\w+)`", listed) == sorted(KNOWN)


def test_opsets():
    from tinygrad_rnn.io.onnx.reading import NEWEST, OLDEST

    assert f"Opsets {OLDEST} to {NEWEST}" in PAGE
    if importlib.util.find_spec("onnx"):
        import onnx

        assert onnx.defs.onnx_opset_version() >= OLDEST
