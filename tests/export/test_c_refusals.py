"""What cannot leave as C, with the reason, and without half a file."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, DataError, DTypeError, ExportError, ShapeError


class Branches(nn.Cell):
    input_size = hidden_size = 2

    def step(self, x, h):
        h = h + x if x.sum() > 0 else h
        return h, h


class Draws(nn.Cell):
    input_size = hidden_size = 2

    def begin_sequence(self, batch_size):
        self.mask = nn.Dropout(0.5)(tr.ones((batch_size, 2)))

    def step(self, x, h):
        h = tr.tanh(x + h) * self.mask
        return h, h


class Sorts(nn.Module):
    def __init__(self):
        self.layer = nn.GRU(2, 4)

    def forward(self, x):
        return tr.sort(self.layer(x)[0], axis=-1)


class Unsized(nn.Cell):
    hidden_size = 2

    def step(self, x, h):
        return h + x, h + x


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (lambda: Branches(), {}, CompileError, "tr.where"),
        (lambda: Draws(), {}, ExportError, "draws random numbers"),
        (lambda: nn.Sequential(nn.Linear(2, 3)), {}, ValueError, "example: wanted the arguments"),
        (lambda: Sorts(), {"example": np.zeros((5, 3, 2))}, ExportError, "Sorts: C has no such operations: .*sort"),
        (lambda: Unsized(), {}, ShapeError, "example"),
        (lambda: nn.GRUCell(2, 3), {"example": np.zeros((2, 2))}, ShapeError, "wanted \\(1, ...\\)"),
        (lambda: nn.GRUCell(2, 3), {"dtype": "float16"}, DTypeError, "wanted float32 or float64"),
        (lambda: nn.GRUCell(2, 3), {"dtype": "real"}, DTypeError, "got 'real'"),
        (lambda: nn.GRUCell(2, 3), {"dtype": None}, DTypeError, "got None"),
        (lambda: nn.GRUCell(2, 3), {"name": "my-cell"}, ValueError, "name: got 'my-cell'"),
        (lambda: nn.GRUCell(2, 3), {"name": "float"}, ValueError, "name: got 'float'"),
        (lambda: nn.GRUCell(2, 3), {"name": ""}, ValueError, "name: got ''"),
        (lambda: nn.GRUCell(2, 3), {"name": 3}, ValueError, "name: got 3"),
        (lambda: nn.GRUCell(2, 3), {"weights": "int4"}, ValueError, "weights: got 'int4'"),
        (lambda: 3, {}, TypeError, "model: got int"),
    ],
)
def test_refusals(tmp_path, model, options, error, words):
    with pytest.raises(error, match=words):
        tr.export.to_c(model(), tmp_path / "m.h", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_integer_is_infinite(tmp_path, value):
    for make, options in ((lambda: nn.GRUCell(2, 3), {}), (lambda: nn.Linear(2, 3), {"example": np.zeros((4, 2))})):
        model = make()
        name, weight = next(iter(model.named_parameters()))
        weight.data[1, 1] = value
        with pytest.raises(ExportError, match=f"weights: got 'int8' for {name}, which holds NaN or infinity"):
            tr.export.to_c(model, tmp_path / "m.h", weights="int8", **options)
    assert not list(tmp_path.iterdir())


def test_paths(tmp_path):
    cell = nn.GRUCell(2, 3)
    for path, error, words in (
        (tmp_path / "2.h", ValueError, "name="),
        (tmp_path / "there" / "m.h", FileNotFoundError, "m.h"),
        (3, TypeError, "path: got 3"),
        ("a\0b.h", DataError, "null"),
    ):
        with pytest.raises(error, match=words):
            tr.export.to_c(cell, path)
    with pytest.raises((DataError, OSError), match=str(tmp_path)):
        tr.export.to_c(cell, tmp_path, name="m")
    assert not list(tmp_path.iterdir())


def test_the_old_file_stays(tmp_path):
    path = tmp_path / "m.h"
    tr.export.to_c(nn.GRUCell(2, 3), path)
    before = path.read_text()
    with pytest.raises(CompileError):
        tr.export.to_c(Branches(), path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.h"]


def test_no_state_without_features(tmp_path):
    class Nothing(nn.Cell):
        input_size = hidden_size = 2

        def initial_state(self, batch_size):
            return tr.zeros((batch_size, 0))

        def step(self, x, e):
            return x + e.sum(-1, keepdims=True), e

    with pytest.raises(ExportError, match="Nothing: an input, a state or an output has no features"):
        tr.export.to_c(Nothing(), tmp_path / "m.h")
    assert not list(tmp_path.iterdir())
