"""Cells in C: every one of the table, those of papers and random ones, equal to Python's."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import Tensor, tree
from tinygrad_rnn.testing.cell_table import CELLS, PAPER_CELLS
from tinygrad_rnn.testing.random_cells import random_cell
from tinygrad_rnn.testing.ranked_cells import random_ranked_cell

from . import c_library
from .c_library import CLANG, arrays, compiled, initial, needs_compiler, run

pytestmark = needs_compiler
T, I, H = 4, 3, 5


def spread(cell, rng):
    """The cell with its parameters moved a little, as zeros hide mistakes."""
    for p in cell.parameters():
        p.data[...] += 0.2 * rng.uniform(-1, 1, p.shape)
        p.touch()
    return cell


def table(dtype):
    """Name, cell and inputs of the rows of the table."""
    for i, row in enumerate(CELLS):
        if not row.compiled:
            continue
        rng = np.random.default_rng(i)
        cell = spread(row.make(I, H, dtype), rng)
        shapes = row.shapes(T, 1, I, H)
        draw = lambda shape, rng=rng: rng.uniform(-1, 1, shape).astype(dtype)
        yield row.name, cell, {k: draw(v) for k, v in shapes.items()} if isinstance(shapes, dict) else draw(shapes)


def papers(dtype):
    for step in PAPER_CELLS.values():
        yield (
            f"paper-{step.name}",
            step.cell(I, H, dtype),
            tree.map(lambda x: x.data, step.sequences(T, 1, I, H, dtype)),
        )


def random_ones(dtype, seeds):
    for seed in seeds:
        cell = random_cell(np.random.default_rng(seed), 12, dtype)
        yield f"random{seed}", cell, {k: v.data for k, v in cell.example_inputs(T, 1, False).items()}


def ranked_ones(dtype, seeds):
    for seed in seeds:
        cell = random_ranked_cell(np.random.default_rng(seed), 8, dtype)
        yield f"ranked{seed}", cell, cell.example_input(T, 1).data


def require_equal(cases, folder, dtype, tolerance, *options):
    """Export all, compile them together, and compare outputs and states with the tape's."""
    files, wanted = [], []
    for name, cell, xs in cases:
        example = tree.map(lambda x: x[0], xs)
        file = tr.export.to_c(cell, folder / f"c_{name.replace('-', '_')}.h", dtype, example=example)
        files.append(file)
        with tr.no_grad():
            cell.begin_sequence(1)
            begun = arrays(cell.initial_state(1))
            rng = np.random.default_rng(1)
            states = [s + 0.3 * rng.uniform(0, 1, s.shape).astype(s.dtype) if s.dtype.kind == "f" else s for s in begun]
            structure = tree.flatten(cell.initial_state(1))[1]
            nest = tree.unflatten(structure, [Tensor(s) for s in states])
            ys, last = nn.Recurrent(cell, mode="eager")(tree.map(Tensor, xs), nest)
        wanted.append((file.name, arrays(xs), begun, states, arrays(ys), arrays(last)))
    library = compiled(folder, files, *options)
    for name, xs, begun, states, ys, last in wanted:
        for a, b in zip(initial(library, name, begun, dtype), begun):
            np.testing.assert_array_equal(a, b, err_msg=name)
        whole = [i for i, y in enumerate(ys) if y.dtype.kind != "f"]
        outputs, finals = run(library, name, xs, [y.shape[2:] for y in ys], states, dtype, whole)
        for a, b in zip([*outputs, *finals], [*ys, *last]):
            scale = max(1.0, float(np.abs(b, dtype=dtype).max(initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def test_some_cells_of_the_table(tmp_path):
    require_equal([*table("float32")][::4], tmp_path, "float32", 1e-6)


@pytest.mark.slow
def test_every_cell_of_the_table_in_single(tmp_path):
    require_equal([*table("float32"), *papers("float32")], tmp_path, "float32", 1e-6)


@pytest.mark.slow
def test_every_cell_of_the_table_in_double(tmp_path):
    require_equal([*table("float64"), *papers("float64")], tmp_path, "float64", 1e-12, "-O3")


@pytest.mark.slow
@pytest.mark.skipif(CLANG is None, reason="there is no clang")
def test_every_cell_of_the_table_by_clang(tmp_path, monkeypatch):
    monkeypatch.setattr(c_library, "COMPILER", CLANG)
    require_equal([*table("float32"), *papers("float32")], tmp_path, "float32", 1e-6, "-O3")


@pytest.mark.slow
def test_random_cells(tmp_path):
    cases = [*random_ones("float64", range(12)), *ranked_ones("float64", range(6))]
    require_equal(cases, tmp_path, "float64", 1e-12)


@pytest.mark.exhaustive
def test_more_random_cells(tmp_path):
    require_equal(random_ones("float32", range(100, 140)), tmp_path, "float32", 1e-6)
    cases = [*random_ones("float64", range(1000, 1060)), *ranked_ones("float64", range(100, 140))]
    require_equal(cases, tmp_path, "float64", 1e-12)


class Parts(nn.Cell):
    """A cell of parts of its input: those that begin together, and one feature beside a row."""

    input_size, hidden_size = 4, 3

    def __init__(self):
        self.a, self.b, self.c = (nn.Parameter(np.random.default_rng(k).normal(size=(k, 3))) for k in (4, 2, 1))

    def step(self, x, h):
        h = tr.tanh(x @ self.a + x[:, :2] @ self.b + x[:, :1] @ self.c + h * x[:, 2:3])
        return h, h


class Spreads(nn.Cell):
    """A cell whose next states are made of its states: swapped, spread, and as they are."""

    input_size, dtype = 1, np.dtype("float64")

    def initial_state(self, batch_size):
        return tuple(tr.zeros((batch_size, 2), "float64") for _ in range(4))

    def step(self, x, state):
        a, b, c, d = state
        return tr.concat([b, x, a, c], axis=-1), (b, a, tr.broadcast_to(c[:, :1], c.shape), d)


def test_parts_of_rows(tmp_path):
    xs = np.random.default_rng(0).normal(size=(T, 1, 4))
    cases = [("parts", Parts(), xs), ("spreads", Spreads(), xs[..., :1])]
    require_equal(cases, tmp_path, "float64", 1e-12)


def test_layers(tmp_path):
    layers = {
        "one": nn.LSTM(2, 4),
        "two": nn.GRU(2, 4, num_layers=2, batch_first=True),
        "three": nn.Recurrent(nn.MGUCell(2, 4)),
    }
    files = [tr.export.to_c(layer, tmp_path / f"{name}.h") for name, layer in layers.items()]
    library = compiled(tmp_path, files)
    x = np.random.default_rng(0).standard_normal((1, 5, 2)).astype(np.float32)
    for name, layer in layers.items():
        given = x if name == "two" else x.swapaxes(0, 1)
        with tr.no_grad():
            y, last = layer(given)
        states = [
            np.zeros((1, s.shape[-1]), np.float32) for s in arrays(last) for _ in range(s.shape[0] if s.ndim > 2 else 1)
        ]
        (found,), _ = run(library, name, [x.swapaxes(0, 1)], [(4,)], states, "float32")
        np.testing.assert_allclose(found[:, 0], y.data.reshape(5, 4), atol=1e-6)


def test_int8(tmp_path):
    rng = np.random.default_rng(0)
    cell = nn.LSTMCell(8, 24)
    whole, small = (tr.export.to_c(cell, tmp_path / f"{w}_.h", weights=w) for w in ("float", "int8"))
    assert whole.error is None
    assert 0 < small.error < 0.03
    assert small.weight_bytes < 0.4 * whole.weight_bytes
    library = compiled(tmp_path, [whole, small])
    xs, states = [rng.standard_normal((200, 1, 8)).astype(np.float32)], [np.zeros((1, 24), np.float32)] * 2
    (exact,), (near,) = (run(library, f.name, xs, [(24,)], states, "float32")[0] for f in (whole, small))
    error = np.sqrt(np.mean((near - exact) ** 2)) / np.sqrt(np.mean(exact**2))
    assert error == pytest.approx(small.error, rel=0.3)


def test_int8_of_odd_numbers(tmp_path):
    """Columns of numbers that are hardly any, of zeros, and of the largest."""
    cell = nn.RNNCell(3, 4)
    cell.weight_ih.data[...] = np.float32([[1e-45, -1e-45, 0], [0, 0, 0], [1e30, 1e-30, 0], [1, -1e-3, 1e-45]])
    file = tr.export.to_c(cell, tmp_path / "odd.h", weights="int8")
    assert np.isfinite(file.error)
    xs, states = [np.full((3, 1, 3), 0.1, np.float32)], [np.zeros((1, 4), np.float32)]
    ((found,), _) = run(compiled(tmp_path, [file]), "odd", xs, [(4,)], states, "float32")
    with tr.no_grad():
        wanted = nn.Recurrent(cell, mode="eager")(xs[0])[0]
    np.testing.assert_allclose(found, wanted.data, atol=0.02)
