"""Exported NumPy files: their results, at once and as streams, their text, and what they refuse."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core.registration import registry
from tinygrad_rnn.errors import ExportError
from tinygrad_rnn.export import numpy_table, to_numpy
from tinygrad_rnn.testing.cell_table import BY_NAME

from . import examples as on

_numbers = itertools.count()


def load(files):
    """The exported file as a module."""
    spec = importlib.util.spec_from_file_location(f"exported_{next(_numbers)}", files.code)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(found, wanted, tolerance: float = 1e-6) -> None:
    found = list(on.leaves(found))
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", on.CELL_NAMES)
def test_cells(name, tmp_path):
    row, dtype = BY_NAME[name], np.float64
    layer = on.layer_of(row, dtype)
    files = to_numpy(layer, on.sequence_of(row, 3, 2, dtype), tmp_path / "layer.py")
    module = load(files)
    for time, batch in ((1, 1), (5, 3)):
        xs = on.sequence_of(row, time, batch, dtype)
        wanted = on.on_tape(layer, xs)
        check(module.forward(*on.leaves(xs)), wanted, 1e-9)
    state, outputs = (module.initial_state(3) if row.states else None), []
    for t in range(5):  # the last of the inputs, step by step
        one = [x[t] for x in on.leaves(xs)]
        result = module.step(*one, state) if row.states else (module.step(*one), None)
        outputs.append(next(on.leaves(result[0])))
        state = result[1]
    np.testing.assert_allclose(np.stack(outputs), wanted[0], atol=1e-9)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("example", on.mostly_slow(on.MODELS, "airline", "charlm", "sentiment", "speech"))
def test_models(example, tmp_path):
    model, rng = on.model_of(example), np.random.default_rng(0)
    files = to_numpy(model, example.inputs(rng, 5, 3), tmp_path / "model.py")
    module = load(files)
    for time, batch in ((1, 1), (8, 2)):
        args = example.inputs(rng, time, batch)
        check(module.forward(*on.leaves(args)), on.on_tape(model, *args), 2e-6)
    streams = {"forecast", "sentiment", "tagger", "speech", "transliterate"}
    assert (files.streaming == "") is (example.name not in streams), files.streaming
    assert hasattr(module, "step") is not files.streaming


class AllStates(nn.Module):
    def __init__(self):
        self.layer = nn.GRU(3, 4, num_layers=2)

    def forward(self, x):
        return self.layer(x, return_states="all")


class Pooled(nn.Module):
    def __init__(self):
        self.layer = nn.LSTM(3, 4, bidirectional=True, batch_first=True, learn_initial_state=True)

    def forward(self, x):
        y, _ = self.layer(x)
        return y.mean(axis=1), {"top": y.max(axis=1), "all": [tr.softmax(y.sum(axis=-1))]}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (AllStates, [(5, 2, 3), (4, 1, 3)]),
        (Pooled, [(2, 5, 3), (3, 4, 3)]),
        (lambda: nn.LSTM(3, 4), [(5, 3), (2, 3)]),
        (lambda: nn.LSTMCell(3, 4), [(5, 3), (2, 3)]),
        (lambda: nn.LSTM(3, 4, zoneout=0.1, recurrent_dropout=0.1), [(5, 2, 3), (1, 1, 3)]),
    ],
    ids=["all states", "pooled", "unbatched", "a cell", "regularised"],
)
def test_other_models(make, shapes, tmp_path):
    tr.seed(0)
    model, rng = make(), np.random.default_rng(0)
    xs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    module = load(to_numpy(model, xs[0], tmp_path / "m.py"))
    assert model.training
    for x in xs:
        check(module.forward(x), on.on_tape(model, x))


def test_states_of_the_arguments_in_a_stream(tmp_path):
    example = next(e for e in on.MODELS if e.name == "wordlm")
    model, (ids, state) = on.model_of(example), example.inputs(np.random.default_rng(0), 4, 2)
    module = load(to_numpy(model, (ids, state), tmp_path / "m.py"))
    wanted, logits = on.on_tape(model, ids, state), None
    for row in ids:
        logits, state = module.step(row, *state)
    np.testing.assert_allclose(logits, wanted[0][-1], atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_that_count(batch_first, tmp_path):
    layer, rng = (
        nn.Bidirectional(nn.GRUCell(3, 4), nn.LSTMCell(3, 4), batch_first=batch_first),
        np.random.default_rng(0),
    )

    def arguments(time, batch, lengths):
        lead = (batch, time) if batch_first else (time, batch)
        mask, resets = rng.random(lead) < 0.7, rng.random(lead) < 0.3
        return rng.standard_normal((*lead, 3)).astype(np.float32), None, np.array(lengths), mask, resets

    module = load(to_numpy(layer, arguments(4, 3, [4, 0, 2]), tmp_path / "m.py"))
    for args in (arguments(4, 3, [4, 0, 2]), arguments(7, 2, [5, 7])):
        check(module.forward(*on.leaves(args)), on.on_tape(layer, *args))


def test_names_of_all_kinds(tmp_path):
    """Parameters, parts and inputs may be called as Python does not allow, or as something that the file needs."""
    names = ("class", "np", "Path", "weights", "range", "sum", "sigmoid", "T", "B", "t")
    parts = ('quo"""te', "line\nbreak", "in", "a b", "back\\slash")

    class Odd(nn.Module):
        def __init__(self):
            for i, name in enumerate(names):
                setattr(self, name, nn.Parameter(np.full(3, 0.5 + 0.1 * i, np.float32)))
            self.parts, self.layer = nn.ModuleDict({name: nn.Linear(3, 3) for name in parts}), nn.GRU(3, 4)

        def forward(self, values):
            x = values['an """input']
            for name in names:
                x = x + getattr(self, name)
            for part in parts:
                x = tr.tanh(self.parts[part](x))
            return {part: self.layer(x)[0] for part in parts}

    tr.seed(0)
    model, x = Odd(), np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    module = load(to_numpy(model, {'an """input': x}, tmp_path / "m.py"))
    found = module.forward(x)
    assert list(found) == list(parts)
    check(found, on.on_tape(model, {'an """input': x}))
    assert module.step(x[0], module.initial_state(2))[0].keys() == found.keys()


def test_layers_over_several_times_are_no_stream(tmp_path):
    class Pair(nn.Module):
        def __init__(self):
            self.first, self.second = nn.GRU(3, 4), nn.GRU(2, 4)

        def forward(self, x, z):
            return self.second(z, self.first(x)[1])[0]

    model, rng = Pair(), np.random.default_rng(0)
    args = [rng.standard_normal((n, 2, k)).astype(np.float32) for n, k in ((5, 3), (6, 2))]
    files = to_numpy(model, tuple(args), tmp_path / "m.py")
    assert files.streaming == "Pair: its layers run over sequences of several lengths, T, S"
    check(load(files).forward(*args), on.on_tape(model, *args))


def test_without_this_package(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    to_numpy(layer, x, tmp_path / "lstm.py")
    to_numpy(model, x, tmp_path / "net.py")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys; sys.modules['tinygrad_rnn'] = None\n"
        "import numpy as np, lstm, net\n"
        "x = np.load('x.npy'); y, (h, c) = lstm.forward(x)\n"
        "np.savez('out.npz', y=y, h=h, c=c, z=net.forward(x))\n"
        "assert {m.partition('.')[0] for m in sys.modules} & {'numba', 'torch', 'tinygrad_rnn'} == {'tinygrad_rnn'}\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True, timeout=120)
    found = np.load(tmp_path / "out.npz")
    check([found[k] for k in "yhc"], on.on_tape(layer, x))
    check(found["z"], on.on_tape(model, x))


def test_the_text_reads_as_the_cell_does(tmp_path):
    files = to_numpy(on.layer_of(BY_NAME["lstm"]), np.ones((5, 2, 3), np.float32), tmp_path / "m.py")
    assert files.code.read_text().split("\n\n\n")[3].splitlines() == [
        "def step_cell(x, h, c):",
        '    """One time step of cell, LSTMCell(3, 4)."""',
        "    gates = x @ cell_weight_ih.T + cell_bias_ih + (h @ cell_weight_hh.T + cell_bias_hh)",
        "    i, f, g, o = np.split(gates, 4, axis=-1)",
        "    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)",
        "    h = sigmoid(o) * np.tanh(c)",
        "    return h, h, c",
    ]


def test_refusals(tmp_path):
    class Sorts(nn.Module):
        def forward(self, x):
            return tr.cumsum(own(x) + own(x * 2), 0)

    @tr.primitive()
    def own(x):
        return x * 2

    x = np.ones((3, 2), np.float32)
    try:
        with pytest.raises(ExportError, match=r"cannot be exported to NumPy: own at .*test_numpy\.py:\d+$"):
            to_numpy(Sorts(), x, tmp_path / "m.py")
    finally:
        del registry["own"]
    with pytest.raises(ExportError, match=r"wanted the name of a file that ends with \.py"):
        to_numpy(nn.Linear(2, 2), x, tmp_path / "m.txt")
    for name in ("my-model.py", "numpy.py"):
        with pytest.raises(ExportError, match="wanted a name that Python can import"):
            to_numpy(nn.Linear(2, 2), x, tmp_path / name)
    with pytest.raises(OSError, match="nowhere"):
        to_numpy(nn.Linear(2, 2), x, tmp_path / "nowhere" / "m.py")
    (tmp_path / "a.py").mkdir()
    with pytest.raises(Exception, match="got a folder, wanted a file"):
        to_numpy(nn.Linear(2, 2), x, tmp_path / "a.py")
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_the_table_knows_every_operation():
    built_in = {n for n, op in registry.items() if op.forward.__module__.startswith("tinygrad_rnn.")}
    assert built_in - numpy_table.TABLE.keys() == numpy_table.REFUSED
    assert not numpy_table.REFUSED & numpy_table.TABLE.keys()
