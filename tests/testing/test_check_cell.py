"""``check_cell`` accepts sound cells, and says of broken ones what is broken."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CellCheckError, DTypeError, ShapeError
from tinygrad_rnn.testing import CELL_CHECKS, check_cell
from tinygrad_rnn.testing.cell_table import CELLS

from . import broken_cells as broken

DEFAULT = {"lstm", "gru", "indrnn", "lru"}  # each cell compiles for a few seconds
LENGTHS = ("padding_invariant", "masked_equals_left_out", "resets_equal_splitting")
GRADIENTS = ["gradients_of_inputs", "gradients_of_states", "gradients_of_parameters"]
COMPILING = ["eager_equals_compiled", "streamed_equals_whole", *LENGTHS]
LONG = {"layernorm_gru", "layernorm_lstm"}  # for half a minute, which other tests do


@pytest.mark.slow
def test_a_cell_keeps_its_promises():
    report = check_cell(broken.Elman)
    assert report.passed == CELL_CHECKS
    assert report.skipped == {}


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "name",
    [
        n if n in ("gru", "indrnn") else pytest.param(n, marks=pytest.mark.slow)
        for n in nn.cell_names()
        if n not in {"leaky", *LONG}
    ],
)
def test_built_in_cells(name):
    left = () if name in {*DEFAULT, "mgu"} else LENGTHS
    left = (*left, *GRADIENTS) if name == "lif" else left  # its surrogate gradients are no differences
    assert {*check_cell(nn.cell_by_name(name), skip=left).skipped} == {*left}


ON_TAPE = {"lstm-projected", "learned-start", "fast-weights", "stateless", "two-inputs"}


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=() if c.name in ON_TAPE else pytest.mark.slow) for c in CELLS],
)
def test_cells_with_options_on_the_tape(case):
    shapes = case.shapes(1, 1, 2, 3)
    example = {k: np.zeros(s[1:]) for k, s in shapes.items()} if isinstance(shapes, dict) else np.zeros(shapes[1:])
    cell = case.make(2, 3, np.float32)
    skip = COMPILING if case.smooth else [*COMPILING, *GRADIENTS]
    check_cell(cell, example=example, skip=skip, max_examples=5)


MODIFIERS = {
    "zoneout": lambda i, h: nn.Zoneout(nn.GRUCell(i, h), 0.3),
    "variational-dropout": lambda i, h: nn.VariationalDropout(nn.GRUCell(i, h), 0.3),
    "weight-drop": lambda i, h: nn.WeightDrop(nn.GRUCell(i, h), 0.3),
    "learned-start": lambda i, h: nn.LearnedInitialState(nn.LSTMCell(i, h)),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", MODIFIERS)
def test_modified_cells_on_the_tape(name):
    check_cell(MODIFIERS[name], skip=COMPILING, max_examples=5)


class Oddities(nn.Cell):
    """No parameters; integers and truth values as input, a dict and an empty tuple in the state."""

    def initial_state(self, batch_size):
        return {"sum": tr.zeros((batch_size, 2)), "none": ()}

    def step(self, x, state):
        total = 0.5 * state["sum"] + (x["count"] % 4).astype(x["x"].dtype) * tr.where(x["on"], x["x"], -x["x"])
        return {"tanh": tr.tanh(total)}, {"sum": total, "none": ()}


@pytest.mark.slow
def test_any_nest_of_inputs_and_states():
    example = {"x": np.ones((2, 2)), "count": np.array([[0], [3]]), "on": np.ones((2, 2), bool)}
    assert check_cell(Oddities(), example=example).passed == CELL_CHECKS


class Dropping(broken.Elman):
    """Dropout with one mask for the sequence."""

    def begin_sequence(self, batch_size):
        keep = tr.config.generator().random((batch_size, self.hidden_size)) < 0.5
        self.mask = tr.tensor(2.0 * keep if self.training else np.ones(keep.shape), dtype=self.dtype)

    def new(self, x, h):
        return super().new(x, h * self.mask)


@pytest.mark.slow
def test_random_numbers_in_training_are_no_obstacle():
    cell = Dropping(2, 3)
    report = check_cell(cell)
    assert report.passed == CELL_CHECKS
    assert cell.training
    assert "mask" not in vars(cell)  # the checks work on copies


# cell, the check that fails, what the message says, the smallest T and B
FAILURES = [
    (broken.LogOfNegative, "runs", r"output at time 0, row 0, feature 0: got nan, expected a finite number", (1, 1)),
    (broken.GrowingState, "runs", r"ShapeError: GrowingState\.step: next_state at t=0: got shape \(1, 2\)", (1, 1)),
    (broken.Hardwired, "runs", r"ValueError: no batch of one, at .*broken_cells\.py:\d+\n", (1, 1)),
    (broken.FixedFloat32, "runs", r"DTypeError: .*\n.*\n.*a tensor of the cell has a fixed dtype", (1, 1)),
    (broken.Counter, "repeatable", r"output at time 0.*: got .* in the second run.*\n.*\n.*a counter", (1, 1)),
    (broken.Sequences, "repeatable", r"in the second run, expected .* as in the first", (1, 1)),
    (broken.NoiseInEvaluation, "repeatable", r"usual cause: .*draws random numbers in evaluation mode", (1, 1)),
    (broken.Overwriting, "repeatable", r"input: was overwritten by the run", (1, 1)),
    (broken.WrongRule, "gradients_of_inputs",
     r"gradient of input at time 0, row 0, feature 0: got .* on the tape, expected .* by finite differences", (1, 1)),
    (broken.DetachedState, "gradients_of_states",
     r"gradient of initial state at row 0, feature 0: got 0 on the tape.*\n.*\n.*\.detach\(\)", (1, 1)),
    (broken.FrozenCopy, "gradients_of_parameters", r"gradient of scale at \(0,\): got 0 on the tape", (1, 1)),
    (broken.BatchMean, "rows_independent",
     r"output at time 0, row [01], feature 0: got .* among other rows, expected .* as alone", (1, 2)),
    (broken.LeakingRows, "rows_independent", r"output at time 1, row [01]", (2, 2)),
    (broken.RowNumbers, "rows_permute", r"got .* with permuted rows, expected .* as in order", (1, 2)),
    (broken.Clock, "chunked_equals_whole", r"output at time 1, .* in two chunks.*\n.*cut before time 1", (2, 1)),
    (broken.WrongLowering, "eager_equals_compiled", r"got .* compiled, expected .* as on the tape", (1, 1)),
    (broken.Sequences, "streamed_equals_whole", r"got .* in a stream, expected .* as in one sequence", (1, 1)),
    (broken.BatchMean, "padding_invariant",
     r"at time 0, row 1.* with padding \(eager\), expected .* as cut and alone.*\n.*lengths \[[01], 1\]", (1, 2)),
    (broken.SharedClock, "masked_equals_left_out",
     r"output at time 1, row 0.* with a mask \(eager\), expected .* as alone without the steps left out.*\n"
     r".*mask \(T, B\) \[\[0, 1\], \[1, 1\]\]\n.*row by row", (2, 2)),
    (broken.Clock, "resets_equal_splitting",
     r"output at time 1.* with resets \(eager\), expected .* as split.*\n.*resets \(T, B\) \[\[0\], \[1\]\]", (2, 1)),
    (broken.FixedFloat64, "float32_close_to_float64", r"DTypeError: .*\n.*\n.*register_buffer\(\)", (1, 1)),
    (broken.Unregistered, "save_and_load", r"gains\['h'\]: requires gradients but is none of the cell's param", (1, 1)),
    (broken.Reservoir, "save_and_load", r"got .* after loading, expected .* as before saving", None),
]  # fmt: skip


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("cell", "name", "message", "smallest"), FAILURES, ids=lambda v: getattr(v, "__name__", None))
def test_broken_cells_are_found_out(cell, name, message, smallest):
    with pytest.raises(CellCheckError, match=message) as raised:
        check_cell(cell, checks=[name])
    error, text = raised.value, str(raised.value)
    assert error.check == name
    assert text.startswith(f"{cell.__name__}({', '.join(map(str, error.case.sizes))}) fails the check {name}: ")
    assert f"T={error.case.time}, B={error.case.batch}, input {error.case.xs.shape}" in text
    if smallest is not None:  # it is random
        assert (error.case.time, error.case.batch) == smallest
        assert error.case.sizes == (1, 1)
    assert isinstance(error.case.cell, cell)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("cell", [
    broken.Counter, broken.BatchMean, broken.Clock, broken.WrongRule, broken.Overwriting, broken.SharedClock
])  # fmt: skip
def test_the_first_broken_promise_is_told(cell):
    order = {"Counter": 1, "BatchMean": 5, "Clock": 7, "WrongRule": 2, "Overwriting": 1, "SharedClock": 11}
    with pytest.raises(CellCheckError) as raised:
        check_cell(cell, skip=["eager_equals_compiled"])
    assert raised.value.check == CELL_CHECKS[order[cell.__name__]]


def test_an_instance_is_checked_in_its_own_sizes_and_stays_as_it_is():
    cell = broken.BatchMean(3, 4)
    before = cell.state_dict()
    with pytest.raises(CellCheckError, match=r"BatchMean\(3, 4\) fails .*\n.*\n.*input \(1, 2, 3\)"):
        check_cell(cell, checks="rows_independent")
    assert all(np.array_equal(before[k], v) for k, v in cell.state_dict().items())
    assert cell.dtype == np.float32
    assert all(p.grad is None for p in cell.parameters())


def test_errors_keep_their_cause():
    with pytest.raises(CellCheckError) as raised:
        check_cell(broken.GrowingState, checks=["runs"])
    assert isinstance(raised.value.__cause__, ShapeError)
    with pytest.raises(CellCheckError) as raised:
        check_cell(broken.FixedFloat64, checks=["float32_close_to_float64"])
    assert isinstance(raised.value.__cause__, DTypeError)


@pytest.mark.slow
def test_the_same_case_is_found_again():
    cell, texts = broken.LeakingRows(2, 3), []
    for _ in range(2):
        with pytest.raises(CellCheckError) as raised:
            check_cell(cell, checks=["rows_independent"])
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_wide_cells_take_no_longer():
    report = check_cell(nn.GRUCell(200, 150), checks=CELL_CHECKS[:8], max_examples=2)
    assert report.passed == CELL_CHECKS[:8]


def test_checks_are_selected_by_name():
    assert check_cell(nn.GRUCell(1, 2), checks=["runs"]).passed == ("runs",)
    report = check_cell(nn.GRUCell(1, 2), checks=["rows_permute", "runs"], skip=["runs"])
    assert report == (("rows_permute",), {"runs": "as asked for"})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_cell(nn.GRUCell, checks=["run"]), ValueError, "checks: got 'run', wanted some of runs, repeat"),
        (lambda: check_cell(nn.GRUCell(2, 3), 3), TypeError, "checks: got 3, wanted names of checks"),
        (lambda: check_cell(nn.GRUCell, skip=["run"]), ValueError, "skip: got 'run', wanted some of runs, repeat"),
        (lambda: check_cell(Oddities()), ValueError, "example: Oddities sets no input_size; pass example="),
        (lambda: check_cell(nn.Linear(2, 3)), TypeError, "cell: got Linear, wanted an nn.Cell"),
        (lambda: check_cell(nn.Linear), TypeError, "cell: the callable made a Linear, wanted an nn.Cell"),
        (lambda: check_cell(lambda size: nn.GRUCell(size, 2)), TypeError, "cell: got a callable with 1 required arg"),
        (lambda: check_cell(3), TypeError, "cell: got int, wanted an nn.Cell, or a callable that makes one"),
    ],
)
def test_misuse_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Rectified(nn.Cell):
    """A rate network: the rectifier has its kink at the initial state, zero."""

    def __init__(self, input_size: int, hidden_size: int):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.W, self.U = nn.Linear(hidden_size, hidden_size), nn.Linear(input_size, hidden_size)

    def step(self, x, h):
        h = 0.8 * h + 0.2 * (self.W(tr.relu(h)) + self.U(x))
        return h, h


class WrongBelowZero(Rectified):
    """The gradient of its state is lost where that is negative."""

    def step(self, x, h):
        h = 0.8 * h + 0.2 * (self.W(tr.relu(h) - tr.relu(-h.detach())) + self.U(x))
        return h, h


@pytest.mark.slow
def test_a_kink_at_the_initial_state_is_no_fault():
    skip = [name for name in CELL_CHECKS if not name.startswith("gradients")]
    assert "gradients_of_states" in check_cell(Rectified, skip=skip).passed
    with pytest.raises(CellCheckError, match="gradient of"):
        check_cell(WrongBelowZero, skip=skip)
