"""Cells in C: every one of the table, those of papers and random ones, equal to Python's."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import Tensor, tree
from tinygrad_rnn.testing.cell_table import CELLS, PAPER_CELLS
from tinygrad_rnn.testing.random_cells import random_cell

from .c_library import arrays, compiled, initial, needs_compiler, run

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
            states = [s + 0.3 * rng.uniform(0, 1, s.shape).astype(s.dtype) for s in begun]
            structure = tree.flatten(cell.initial_state(1))[1]
            nest = tree.unflatten(structure, [Tensor(s) for s in states])
            ys, last = nn.Recurrent(cell, mode="eager")(tree.map(Tensor, xs), nest)
        wanted.append((file.name, arrays(xs), begun, states, arrays(ys), arrays(last)))
    library = compiled(folder, files, *options)
    for name, xs, begun, states, ys, last in wanted:
        for a, b in zip(initial(library, name, begun, dtype), begun):
            np.testing.assert_array_equal(a, b, err_msg=name)
        outputs, finals = run(library, name, xs, [y.shape[2:] for y in ys], states, dtype)
        for a, b in zip([*outputs, *finals], [*ys, *last]):
            scale = max(1.0, float(np.abs(b).max(initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def test_every_cell_of_the_table_in_single(tmp_path):
    require_equal([*table("float32"), *papers("float32")], tmp_path, "float32", 1e-6)


@pytest.mark.slow
def test_every_cell_of_the_table_in_double(tmp_path):
    require_equal([*table("float64"), *papers("float64")], tmp_path, "float64", 1e-12, "-O3")


def test_random_cells(tmp_path):
    require_equal(random_ones("float64", range(12)), tmp_path, "float64", 1e-12)
