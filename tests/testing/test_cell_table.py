"""The table of cells: nothing is missing, and rows say what is true."""

import inspect

import numpy as np
import pytest

from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.core import tree
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.testing.cell_table import CELLS, EQUATIONS, PAPER_CELLS

BASES = {nn.Cell, nn.Modifier}
BUILT_IN = {kind for name in nn.__all__ if inspect.isclass(kind := getattr(nn, name)) and issubclass(kind, nn.Cell)}


def kinds():
    return {type(row.make(2, 3, None)) for row in CELLS}


def test_every_cell_that_nn_exports_has_a_row():
    assert len(BUILT_IN) > 15
    missing = {kind for kind in BUILT_IN - BASES - kinds() if not issubclass(kind, nn.Modifier)}
    assert not missing, "add a row to tinygrad_rnn/testing/cell_table.py"


def test_every_cell_that_has_a_name_has_equations():
    known = {nn.cell_by_name(name) for name in nn.cell_names()}  # those of examples and tests too
    ours = {kind for kind in known if getattr(recurrent.cells, kind.__name__, None) is kind}
    assert ours == {*EQUATIONS}


def test_names_are_unique():
    names = [row.name for row in CELLS]
    assert len({*names}) == len(names)
    assert all(row.covers for row in CELLS)
    assert all(inspect.getdoc(cell.step) for cell in PAPER_CELLS.values()), "say which paper"


@pytest.mark.parametrize("row", CELLS, ids=lambda r: r.name)
def test_rows_say_how_many_states_a_cell_has(row):
    assert len(tree.flatten(row.make(2, 3, None).initial_state(1))[0]) == row.states


@pytest.mark.parametrize("row", CELLS, ids=lambda r: r.name)
def test_rows_make_cells_of_the_dtype_that_is_asked_for(row):
    for dtype, wanted in ((None, "float32"), (np.float64, "float64")):
        assert {str(p.dtype) for p in row.make(2, 3, dtype).parameters()} == {wanted}


@pytest.mark.parametrize("cell", PAPER_CELLS.values(), ids=lambda c: c.name)
def test_papers_say_how_many_states_a_cell_has(cell):
    y, final = scan(cell.cell(), cell.sequences(2, 3), cell.states(3), mode="eager")
    assert y.shape == (2, 3, 5)
    assert len(tree.flatten(final)[0]) == cell.n_states
