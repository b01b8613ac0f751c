"""What a file says of its weights: architecture, version, dtype; and what it says if they do not fit."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError


def test_one_way_of_saving():
    assert tr.io.save is nn.save
    assert tr.io.load is nn.load


@pytest.mark.parametrize(("dtype", "text"), [(np.float32, "float32"), (np.float64, "float64")])
def test_what_is_kept(tmp_path, dtype, text):
    model = nn.Sequential(nn.Linear(3, 4, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype))
    tr.io.save(model, tmp_path / "m.safetensors")
    found = tr.io.read_metadata(tmp_path / "m.safetensors")
    assert found == {"architecture": repr(model), "version": tr.__version__, "dtype": text}


def test_others_keep_nothing(tmp_path):
    nn.save(nn.GRU(2, 3), tmp_path / "m.npz")
    assert tr.io.read_metadata(tmp_path / "m.npz") == {}


def test_own_texts(tmp_path):
    path = tmp_path / "w.safetensors"
    tr.io.write_weights(path, {"w": np.ones(2)}, {"note": "of a Tuesday"})
    assert tr.io.read_metadata(path) == {"note": "of a Tuesday"}
    with pytest.raises(CheckpointError, match="metadata: got 'epoch': 3"):
        tr.io.write_weights(path, {"w": np.ones(2)}, {"epoch": 3})


def test_a_mismatch_says_what_the_file_is_of(tmp_path):
    path = tmp_path / "m.safetensors"
    tr.io.save(nn.LSTM(3, 4), path)
    with pytest.raises(CheckpointError) as caught:
        tr.io.load(nn.GRU(3, 4, bias=False), path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: does not fit GRU (it was written for LSTM(3, 4)):"
    assert "  bias_ih_l0: got float32 (16,), not in the model" in lines
    assert "  weight_ih_l0: got float32 (16, 3), wanted float32 (12, 3)" in lines


def test_damaged(tmp_path):
    path = tmp_path / "m.safetensors"
    tr.io.save(nn.Linear(2, 2), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        tr.io.read_metadata(path)
