"""What fails while a loop is made, at whatever stage, runs on the tape with one warning."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import compiler, nn
from tinygrad_rnn.core import Op, apply
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan import loop

X = np.random.default_rng(0).uniform(-2, 2, (3, 4, 2)).astype(np.float32)
STEP = tr.Lowering("elementwise", "vselect({0} > 0.0, vsplat(1.0, k), vsplat(0.0, k))", cost=2)


class Cell(nn.Cell):
    input_size = hidden_size = 2

    def __init__(self, function):
        self.function = function
        self.w = nn.Parameter(np.array([1.0, 2.0], np.float32))

    def step(self, x, h):
        y = self.function(x * self.w - 0.5)
        return y, 0.5 * h + y


def spike(rule, lowering=STEP):
    """A threshold with a derivative rule of one's own."""
    op = Op("spike", lambda v: (v > 0).astype(v.dtype), vjps=[rule], saves=(0,), lowering=lowering)
    return lambda v: apply(op, (v,), {})


def by_numpy(g, y, v):
    return g / (1 + np.abs(np.asarray(v))) ** 2


def with_a_branch(g, y, v):
    return g * 2.0 if v.sum() > 0 else g


def without_lowering(g, y, v):
    return g * apply(Op("plain", lambda v: v * 0.5, vjps=[lambda g, y, v: g * 0.5], saves=()), (v,), {})


def over_the_batch(g, y, v):
    return g * v.sum(axis=0)


def failing(g, y, v):
    return g * (1 / 0 if isinstance(v, compiler.Symbol) else 2.0)


def by_the_rows(g, y, v):
    return g / v.shape[0]


RULES = [by_numpy, with_a_branch, without_lowering, over_the_batch, failing, by_the_rows]


def run(cell, mode):
    cell.zero_grad()
    x = tr.tensor(X, requires_grad=True)
    y, h = scan(cell, x, mode=mode)
    if y.requires_grad:
        (y * y).sum().backward()
    found = [y, h, x.grad, cell.w.grad]
    return [None if t is None else t.numpy().copy() for t in found]


def same(cell):
    for a, b in zip(run(cell, "auto"), run(cell, "eager")):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_cannot_be_traced(rule):
    cell = Cell(spike(rule))
    with pytest.warns(RuntimeWarning, match="runs eagerly: gradients") as caught:
        same(cell)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(cell)
        with tr.no_grad():
            scan(cell, X, mode="compiled")
    with pytest.raises(CompileError, match="Cell: gradients"):
        scan(cell, X, mode="compiled")


def test_a_rule_that_can_be_traced():
    cell = Cell(spike(lambda g, y, v: g / (1 + tr.abs(v)) ** 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(cell)
        scan(cell, X, mode="compiled")


def test_a_constant_in_a_rule():
    cell = Cell(spike(lambda g, y, v: g * np.array([2.0, 3.0], np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(cell)


def sums(v):
    return np.sum(v * v, axis=-1, keepdims=True)


LOWERINGS = {
    "a sum under another name": tr.Lowering("reduce", "sum"),
    "a reduction with code": tr.Lowering("reduce", "{0} * {0}"),
    "unknown kind": tr.Lowering("scan", "sum"),
    "product": tr.Lowering("matmul"),
    "slice": tr.Lowering("slice"),
    "malformed": tr.Lowering("elementwise", "{0} +"),
    "too few braces": tr.Lowering("elementwise", "{3}"),
    "unknown function": tr.Lowering("elementwise", "cosh({0})"),
    "of another shape": tr.Lowering("elementwise", "{0}"),
    "none": None,
}


@pytest.mark.parametrize("name", LOWERINGS)
def test_lowerings_that_do_not_serve(name):
    op = Op("sumsq", sums, vjps=[lambda g, y, v: g * 2 * v], saves=(0,), lowering=LOWERINGS[name])
    cell = Cell(lambda v: apply(op, (v,), {}) + v)
    with pytest.warns(RuntimeWarning, match="runs eagerly.*sumsq|runs eagerly: traced"):
        same(cell)
    with pytest.raises(CompileError):
        scan(cell, X, mode="compiled")


STAGES = [
    ("tinygrad_rnn.compiler.schedule.plan.Plan", "differentiate"),
    ("tinygrad_rnn.compiler.schedule.plan.Plan", "schedule_forward"),
    ("tinygrad_rnn.compiler.codegen.layout.Layout", "__init__"),
    ("tinygrad_rnn.compiler.codegen.numba_loop.Emitter", "__init__"),
    ("tinygrad_rnn.compiler.codegen.module_cache", "load"),
]


@pytest.mark.parametrize(("where", "name"), STAGES)
@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), KeyError("odd"), RuntimeError("LLVM is odd")])
def test_errors_of_the_compiler_itself(where, name, error, monkeypatch):
    def fail(*args, **more):
        raise error

    monkeypatch.setattr(f"{where}.{name}", fail)
    cell = Cell(lambda v: tr.tanh(v) * 1.2345)
    with pytest.warns(RuntimeWarning, match="runs eagerly.*odd"):
        same(cell)
    monkeypatch.undo()


def test_a_backward_loop_that_cannot_be_made(monkeypatch):
    cell = Cell(lambda v: tr.tanh(v) * 1.5432)
    scan(cell, X, mode="compiled")
    monkeypatch.setattr(loop.CompiledLoop, "can_reverse", lambda self: False)
    same(cell)


@pytest.mark.parametrize("what", ["deep", "much"])
def test_a_cell_that_holds_too_much(what):
    """What a step may read is watched for changes, but not without end."""
    cell = Cell(lambda v: 2.0 * v)
    cell.held = [[i] for i in range(20_001)]
    if what == "deep":
        cell.held = []
        for _ in range(100):
            cell.held = [cell.held]
    message = "the cell holds more than a program can watch, such as a list"
    with pytest.warns(RuntimeWarning, match=f"runs eagerly: {message}"):
        same(cell)
    with pytest.raises(CompileError, match=message):
        run(cell, "compiled")


CONSTANT = {
    "features": lambda v, w: tr.ones((v.shape[0], 2)),
    "number": lambda v, w: tr.zeros((v.shape[0],)),
    "full": lambda v, w: tr.full((v.shape[0], 2), 3.0),
    "of a weight": lambda v, w: tr.broadcast_to(tr.exp(w), (v.shape[0], 2)),
    "number of a weight": lambda v, w: tr.broadcast_to(tr.exp(w[:1]), (v.shape[0],)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", CONSTANT)
def test_results_that_do_not_vary(name):
    cell = Cell(lambda v: v)
    cell.step = lambda x, h: (CONSTANT[name](x, cell.w), 0.5 * h + x * cell.w)
    for a, b in zip(run(cell, "compiled"), run(cell, "eager")):
        np.testing.assert_allclose(a, np.zeros(a.shape) if b is None else b, rtol=1e-5, atol=1e-6)


def test_a_constant_with_rows_of_its_own_is_no_result():
    rows = tr.tensor(np.arange(8, dtype=np.float32).reshape(4, 2))
    cell = Cell(lambda v: v)
    cell.step = lambda x, h: (rows, 0.5 * h + x * cell.w)
    message = r"output 0: got a constant of shape \(4, 2\), wanted a row for each batch row"
    with pytest.raises(CompileError, match=message):
        run(cell, "compiled")
    with pytest.warns(RuntimeWarning, match=message):
        found = run(cell, "auto")
    for a, b in zip(found[:2], run(cell, "eager")[:2]):
        np.testing.assert_array_equal(a, b)


def test_a_branch_on_all_values_is_told_as_one():
    for what in (tr.all, tr.any):
        cell = Cell(lambda v, what=what: v if what(v > 0) else -v)
        with pytest.raises(CompileError, match="Python branch"):
            scan(cell, X, mode="compiled")


def test_reports_do_not_depend_on_what_was_done_before():
    fresh = str(nn.LSTM(3, 4).explain((12, 2)))
    layer = nn.LSTM(3, 4)
    for grad in (True, False, True):
        x = tr.tensor(np.ones((3, 2, 3), np.float32), requires_grad=grad)
        layer(x)[0].sum().backward()
        layer.requires_grad_(False)
        layer(x)[0].sum()
        layer.requires_grad_(True)
    assert str(layer.explain((12, 2))) == fresh
    assert layer.explain().cells[0].step.saved_bytes == 80


SLOPE, DRAWS = 2.0, np.random.default_rng(0)


def with_a_global(g, y, v):
    return g * SLOPE


def random_rule(g, y, v):
    return g * float(DRAWS.random())


def test_what_a_rule_reads_is_not_stale(monkeypatch):
    """The slope of a surrogate gradient may be annealed."""
    box = {"slope": 1.0}
    for rule in (with_a_global, lambda g, y, v: g * box["slope"]):
        box["slope"] = 1.0
        cell = Cell(spike(rule))
        same(cell)
        before = run(cell, "auto")[3]
        monkeypatch.setitem(globals(), "SLOPE", SLOPE + 1.0)
        box["slope"] = 3.0
        same(cell)
        assert not np.array_equal(before, run(cell, "compiled")[3])


def test_a_rule_that_draws():
    with pytest.raises(CompileError, match="not the same twice"):
        run(Cell(spike(random_rule)), "compiled")
