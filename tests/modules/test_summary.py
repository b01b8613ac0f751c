"""nn.summary: shapes and counts of any model, which stays as it is."""

import pickle
import random
import threading

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn


def rows(model, input=None):
    return {row.name: row for row in nn.summary(model, input).rows}


@pytest.mark.parametrize("mode", ["auto", "compiled", "eager"])
def test_stacked_and_bidirectional(mode):
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, mode=mode)
    row = rows(layer, np.zeros((5, 2, 3)))[""]
    assert row.kind == "LSTM"
    assert row.inputs == (5, 2, 3)
    assert row.output == [(5, 2, 8), [(4, 2, 4), (4, 2, 4)]]
    assert row.parameters == sum(p.size for p in layer.parameters()) > 0
    assert layer.mode == mode


class Leaky(nn.Cell):
    """A cell whose state is a dict, and whose output is a tuple."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size):
        return {"h": tr.zeros((batch_size, self.hidden_size))}

    def step(self, x, state):
        h = tr.tanh(self.inner(tr.concat([x, state["h"]], axis=-1)))
        return (h, h * 2), {"h": h}


def test_cells_of_users():
    found = rows(nn.Recurrent(Leaky(3, 4)), np.zeros((5, 2, 3), np.float32))
    assert found[""].output == [[(5, 2, 4), (5, 2, 4)], {"h": (2, 4)}]
    assert found["cell"].output == [[(2, 4), (2, 4)], {"h": (2, 4)}]
    assert found["cell"].calls == found["cell.inner"].calls == 5
    assert found["cell.inner"].inputs == (2, 7)
    assert found["cell.inner"].parameters == 32


@pytest.mark.parametrize("name", nn.cell_names())
def test_every_cell(name):
    kind = nn.cell_by_name(name)
    width = kind(3, 4).output_size or 4
    stack = nn.Recurrent(nn.Stacked([kind(3, 4), kind(width, 4)]), mode="eager")
    summary = nn.summary(stack, np.zeros((5, 2, 3), np.float32))
    assert summary.parameters == sum(p.size for p in stack.parameters())
    assert summary.rows[0].output[0] == stack(np.zeros((5, 2, 3), np.float32))[0].shape


class Noisy(nn.Module):
    """Draws, counts its calls in a buffer and in an attribute."""

    def __init__(self):
        self.rnn = nn.GRU(3, 4, weight_dropout=0.5)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", np.zeros(1, np.float32))
        self.calls = 0

    def forward(self, x, scale=1.0):
        self.count.data[:] += 1
        self.calls += 1
        noise = tr.randn((4,)).numpy() + np.random.standard_normal(4) + random.random()  # noqa: NPY002
        tr.seed(7)
        return self.drop(self.rnn(x)[0]) * noise.astype(np.float32) * scale


def test_nothing_changes():
    model, x = Noisy(), np.zeros((5, 2, 3), np.float32)
    tr.seed(3)
    expected = tr.randn((3,)).tolist()
    tr.seed(3)
    numpy, python = pickle.dumps(np.random.get_state()), random.getstate()  # noqa: NPY002
    attributes = {name: [*vars(module)] for name, module in model.named_modules()}
    before = model.state_dict()
    nn.summary(model, x)
    assert tr.randn((3,)).tolist() == expected
    assert pickle.dumps(np.random.get_state()) == numpy  # noqa: NPY002
    assert random.getstate() == python
    assert {name: [*vars(module)] for name, module in model.named_modules()} == attributes
    assert model.calls == 0
    assert all(module.training for module in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(p.grad is None for p in model.parameters())


def test_inputs():
    class Two(nn.Module):
        def forward(self, a, b):
            return a.sum() + b

    a, b = np.zeros((2, 3)), np.zeros(4)
    assert rows(Two(), (a, b))[""].inputs == [(2, 3), (4,)]
    assert rows(Two(), {"b": b, "a": tr.tensor(a)})[""].output == (4,)
    assert rows(nn.Linear(3, 1), (7, 3))[""].output == (7, 1)
    assert rows(nn.Linear(3, 1, dtype="float64"), (7, 3))[""].output == (7, 1)
    assert rows(nn.Embedding(9, 2), [[1, 2, 3]])[""].inputs == (1, 3)
    assert rows(nn.Linear(3, 1))[""].output is None


def test_shared_and_frozen():
    class Tied(nn.Module):
        def __init__(self):
            self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)
            self.head.weight = self.embedding.weight
            self.again = self.head
            self.embedding.requires_grad_(False)
            self.register_buffer("scale", np.ones(3, np.float32))

    summary = nn.summary(Tied())
    assert (summary.parameters, summary.trainable, summary.buffers, summary.bytes) == (45, 9, 3, 192)
    assert [row.name for row in summary.rows] == ["", "embedding", "head"]
    assert "45 parameters, 9 of them trained, 3 in buffers; 192 bytes" in str(summary)
    assert repr(summary) == str(summary)


def test_as_text_and_html():
    model = nn.Sequential(nn.Linear(30, 40), nn.Sequential(nn.Linear(40, 2)))
    lines = str(nn.summary(model, (7, 30))).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["name", "kind", "output", "parameters"],
        ["model", "Sequential", "(7,", "2)"],
        ["0", "Linear", "(7,", "40)", "1,240"],
    ]
    assert lines[4].startswith("    0 ")
    assert lines[-1] == "1,322 parameters; 5,288 bytes"
    assert nn.summary(model, (7, 30))._repr_html_().count("<tr>") == 5


def test_other_arguments():
    for wrong in (nn.Linear, None, np.zeros(3)):
        with pytest.raises(TypeError, match=r"model: got .*, wanted an nn\.Module"):
            nn.summary(wrong)
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()
    with pytest.raises(TypeError, match="Linear cannot be copied"):
        nn.summary(model, (1, 2))
    assert nn.summary(model).parameters == 6
    with pytest.raises(tr.errors.ShapeError):
        nn.summary(nn.Linear(2, 2), (1, 3))
