"""Cells of integers, truth values and look-ups in C: equal to the tape, and no index reads outside of its table."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import ExportError
from tinygrad_rnn.testing.integer_cells import random_integer_cell

from ..recurrent.scan.test_whole_numbers import AS_INTEGERS, AS_NUMBERS, C, Counter, X
from . import examples as on
from . import test_c_models as models
from .c_library import compiled, needs_compiler, require_no_complaints, run
from .test_c_cells import require_equal

pytestmark = needs_compiler
STEPS = AS_INTEGERS | AS_NUMBERS
FEW = ["quotients", "rows", "padding", "along", "fed back"]


def by_hand(names, dtype):
    for name in names:
        yield f"hand-{name.replace(' ', '-')}", C(STEPS[name], dtype), X[:, :1]
    counter = Counter(3).to(dtype) if dtype == "float32" else Counter(3)
    if dtype == "float64":
        yield "counter", counter, np.random.default_rng(3).standard_normal((6, 1, 2))


def random_ones(seeds):
    for seed in seeds:
        cell = random_integer_cell(np.random.default_rng(seed))
        yield f"integers{seed}", cell, tree.map(lambda x: x.data, cell.example_inputs(5, 1))


def test_some_steps(tmp_path):
    with np.errstate(divide="ignore"):
        require_equal([*by_hand(FEW, "float64"), *random_ones(range(3))], tmp_path, "float64", 1e-12)


@pytest.mark.slow
def test_every_step(tmp_path):
    with np.errstate(divide="ignore"):
        require_equal(by_hand(STEPS, "float32"), tmp_path, "float32", 1e-6)
        require_equal([*by_hand(STEPS, "float64"), *random_ones(range(3, 60))], tmp_path, "float64", 1e-12, "-O3")


class Reader(nn.Cell):
    """A cell that looks up rows by its input and by the number of the step, and says which feature is the largest."""

    input_size, hidden_size, dtype = None, 3, np.dtype("float32")

    def __init__(self):
        self.table = nn.Parameter(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, 3)), tr.zeros((batch_size,), "int64")

    def step(self, x, state):
        h, n = state
        h = tr.tanh(h + tr.embedding(self.table, x["id"]) * x["f"] + self.table[n % 5])
        return (h, tr.argmax(h, -1)), (h, n + 1)


EXAMPLE = {"id": np.zeros((1,), np.int64), "f": np.zeros((1, 3), np.float32)}


def test_an_index_outside_counts_as_zero(tmp_path):
    file = tr.export.to_c(Reader(), tmp_path / "reader.h", example=EXAMPLE)
    text = file.path.read_text()
    assert "const float *restrict x0, const int32_t *restrict x1, float *restrict y0, int32_t *restrict y1" in text
    assert "in_1 and out_1 are of int32_t" in text
    assert "an index for which its table has no row" in text
    library = compiled(tmp_path, [file])
    f = np.random.default_rng(1).standard_normal((6, 1, 3)).astype(np.float32)
    ids = np.array([0, -1, 5, 4, 2**31 - 1, -(2**31)])[:, None]
    states = [np.zeros((1, 3), np.float32), np.zeros(1)]
    found, final = run(library, "reader", [f, ids], [(3,), ()], states, "float32", [1])
    kept = np.where((ids >= 0) & (ids < 5), ids, 0)
    with tr.no_grad():
        wanted, _ = nn.Recurrent(Reader(), mode="eager")({"f": f, "id": kept})
    np.testing.assert_allclose(found[0], wanted[0].data, atol=1e-6)
    np.testing.assert_array_equal(found[1], wanted[1].data)
    assert final[1].tolist() == [6]


@pytest.mark.slow
def test_odd_numbers_under_sanitizers(tmp_path):
    """Indices outside, and features and states that are no numbers: no read outside of a table, nothing undefined."""
    tr.export.to_c(Reader(), tmp_path / "reader.h", example=EXAMPLE)
    (tmp_path / "main.c").write_text("""
#include "reader.h"
int main(void) {
    const int32_t ids[6] = {0, -1, 5, INT32_MAX, INT32_MIN, 1};
    const float odd[6] = {0.0f, 1e30f, -INFINITY, INFINITY, NAN, -1e30f};
    for (int i = 0; i < 36; i++) {
        reader_state state;
        float y[3], x[3] = {odd[i % 6], odd[i / 6], 1.0f};
        int32_t most;
        reader_init(&state);
        state.s1[0] = odd[i / 6];
        for (int t = 0; t < 3; t++) reader_step(&state, x, &ids[i % 6], y, &most);
        if (most < 0 || most > 3) return 1;
    }
    return 0;
}
""")
    require_no_complaints(tmp_path / "main.c", "-fsanitize=float-cast-overflow")


class Around(nn.Module):
    """A model around it, whose ids are computed."""

    def __init__(self):
        self.layer, self.head = nn.Recurrent(Reader()), nn.Linear(3, 4)

    def forward(self, f, ids):
        (y, most), (_, n) = self.layer({"f": f, "id": tr.where(ids > 3, 4, ids)})
        return self.head(y), most + 1, n, tr.embedding(self.head.weight, most), tr.one_hot(most, 3)


class Picks(nn.Module):
    """A model that indexes by what it computes, behind its layer."""

    def __init__(self):
        self.embed, self.layer = nn.Embedding(6, 3), nn.GRU(3, 4)
        self.table = nn.Parameter(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))

    def forward(self, ids):
        y, _ = self.layer(self.embed(ids))
        most = tr.argmax(y, axis=-1)
        rows = self.table[most] + tr.take(self.table, most - 4, axis=0)
        columns = self.table[:, most % 2], self.table[most - 4, 1], y[:, None, ..., most[0] - 2]
        return tr.take_along_axis(y, most[..., None], axis=-1), rows, tr.one_hot(most, 4) * y, *columns


PICKS = on.Example("picks", Picks, lambda rng, t, b: (rng.integers(0, 6, (t, b)),))


@pytest.mark.slow
def test_models_around_it(tmp_path):
    draw = lambda rng, t, b: (rng.standard_normal((t, b, 3)).astype(np.float32), rng.integers(0, 9, (t, b)))
    models.require_equal([on.Example("around", Around, draw), PICKS], tmp_path)


@pytest.mark.slow
def test_int8(tmp_path):
    file = tr.export.to_c(Reader(), tmp_path / "reader.h", example=EXAMPLE, weights="int8")
    assert file.error == 0.0  # it has no product
    file = tr.export.to_c(C(STEPS["rows"]), tmp_path / "rows.h", example=X[0, :1], weights="int8")
    assert 0 < file.error < 0.05


class Draws(nn.Cell):
    input_size = hidden_size = 2

    def __init__(self, draw):
        self.draw = draw

    def step(self, x, h):
        h = tr.tanh(x + h) * self.draw(h)
        return h, h


DRAWS = {
    "uniform": lambda h: tr.random.uniform(h.shape),
    "normal": lambda h: tr.random.normal(h.shape),
    "mask": lambda h: nn.Dropout(0.5)(tr.ones(h.shape)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_do_not_leave(tmp_path, name):
    with pytest.raises(ExportError, match=r"Draws.*each step draws random numbers in evaluation, too, which a file"):
        tr.export.to_c(Draws(DRAWS[name]), tmp_path / "m.h")
    assert not list(tmp_path.iterdir())
