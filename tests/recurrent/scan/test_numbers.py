"""Numbers of a cell that change from call to call: inputs of its program, at no cost of a trace."""

import copy
import math
import numbers
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import AnomalyError, CompileError, DTypeError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan import compiled
from tinygrad_rnn.recurrent.scan.call_cache import cache_of


class Cell(nn.Cell):
    """Runs any function as its step, with any attributes."""

    input_size = hidden_size = 3

    def __init__(self, function, dtype="float32", **attributes):
        self.function = function
        self.w = nn.Parameter(np.random.default_rng(0).uniform(-1, 1, (3, 3)).astype(dtype))
        for name, value in attributes.items():
            setattr(self, name, value)

    def step(self, x, h):
        h = self.function(self, tr.tanh(x @ self.w), h)
        return h, h


class Schedule:
    """A user's schedule: a number that falls with the steps taken."""

    def __init__(self):
        self.base, self.steps = 0.9, 1

    @property
    def rate(self):
        return self.base * 0.95**self.steps


class Slotted:
    __slots__ = ("rate",)


class Inner(nn.Module):
    def __init__(self):
        self.gain = 0.5

    def forward(self, x):
        return x * self.gain


@pytest.fixture
def traces(monkeypatch):
    """The results of all traces: programs, and reasons why there is none."""
    found = []
    trace = compiled.trace_program

    def count(*args):
        found.append(trace(*args))
        return found[-1]

    monkeypatch.setattr(compiled, "trace_program", count)
    return found


def run(cell, mode, x=None):
    """Outputs, final state and gradients."""
    cell.zero_grad()
    x = np.random.default_rng(1).uniform(-1, 1, (4, 2, 3)) if x is None else x
    y, h = scan(cell, tr.tensor(x.astype(cell.w.dtype), requires_grad=True), mode=mode)
    ((y * y).sum() + h.sum()).backward()
    return [t.numpy().copy() for t in (y, h, cell.w.grad) if t is not None]


def check(cell, **tolerance):
    """The compiled step gives what the tape gives."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = run(cell, "eager")
    for a, b in zip(run(cell, "compiled"), wanted):
        assert a.dtype == b.dtype
        eps = 1e-5 if a.dtype == np.float32 else 1e-12
        assert_allclose(a, b, rtol=eps, atol=eps)


def mix(cell, z, h):
    return (1 - cell.alpha) * h + cell.alpha * z


def put(name):
    return lambda cell, value: setattr(cell, name, value)


KINDS = {
    "attribute": (mix, {"alpha": 0.5}, put("alpha")),
    "NumPy number": (mix, {"alpha": np.float64(0.5)}, lambda c, v: setattr(c, "alpha", np.float64(v))),
    "narrow NumPy number": (mix, {"alpha": np.float32(0.5)}, lambda c, v: setattr(c, "alpha", np.float32(v))),
    "list": (lambda c, z, h: c.a[0] * h + c.a[1] * z, {"a": [0.5, 0.25]}, lambda c, v: c.a.__setitem__(1, v)),
    "dict": (lambda c, z, h: c.a["x"] * h + z, {"a": {"x": 0.5}}, lambda c, v: c.a.update(x=v)),
    "nest": (
        lambda c, z, h: c.a["x"][0] * h + z,
        {"a": {"x": [0.5, "other"]}},
        lambda c, v: c.a["x"].__setitem__(0, v),
    ),
    "object": (lambda c, z, h: c.a.x * h + z, {"a": SimpleNamespace(x=0.5)}, lambda c, v: setattr(c.a, "x", v)),
    "slots": (lambda c, z, h: c.a.rate * h + z, {"a": None}, lambda c, v: setattr(c.a, "rate", v)),
    "schedule": (lambda c, z, h: c.a.rate * h + z, {"a": None}, lambda c, v: setattr(c.a, "base", v)),
    "submodule": (lambda c, z, h: 0.5 * h + c.a(z), {"a": None}, lambda c, v: setattr(c.a, "gain", v)),
    "with a parameter": (lambda c, z, h: 0.5 * h + z @ (c.alpha * c.w), {"alpha": 0.5}, put("alpha")),
    "comparison of tensors": (lambda c, z, h: tr.where(z > c.alpha, z, c.alpha), {"alpha": 0.5}, put("alpha")),
    "NumPy function": (lambda c, z, h: np.exp(-c.alpha) * h + z, {"alpha": 0.5}, put("alpha")),
    "power": (lambda c, z, h: tr.abs(z) ** c.alpha + 0.5 * h, {"alpha": 0.5}, put("alpha")),
    "division": (lambda c, z, h: z / (c.alpha + 3) + h / 2, {"alpha": 0.5}, put("alpha")),
    "loop": (lambda c, z, h: sum(a * z for a in c.a) + 0.5 * h, {"a": [0.1] * 8}, lambda c, v: c.a.__setitem__(3, v)),
}


def make(kind, dtype="float32"):
    function, attributes, change = KINDS[kind]
    cell = Cell(function, dtype, **copy.deepcopy(attributes))
    if kind in ("slots", "schedule", "submodule"):
        cell.a = {"slots": Slotted, "schedule": Schedule, "submodule": Inner}[kind]()
        change(cell, 0.5)
    return cell, change


@pytest.mark.sampled(24)
@pytest.mark.parametrize(
    ("kind", "dtype"), [*((k, "float32") for k in KINDS), ("attribute", "float64"), ("power", "float64")]
)
def test_the_third_value_needs_no_trace(kind, dtype, traces):
    cell, change = make(kind, dtype)
    check(cell)
    change(cell, 0.3)
    check(cell)
    assert len(traces) == 2
    for value in (0.7, 0.1, 0.2, 0.5, 0.3):
        change(cell, value)
        check(cell)
    assert len(traces) == 2
    assert not any(isinstance(t, str) for t in traces)


@pytest.mark.slow
@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", ["attribute", "with a parameter", "comparison of tensors", "power", "division"])
@settings(max_examples=6)
@given(values=st.lists(st.floats(width=64) | st.sampled_from([0.1, -0.0, math.nan, 1e300, 5e-324, 1.5]), min_size=3))
def test_any_values(kind, values):
    cell, change = make(kind, "float64")
    for value in values:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            change(cell, value)
            x = np.random.default_rng(1).uniform(-1, 1, (2, 2, 3))
            for a, b in zip(run(cell, "compiled", x)[:2], run(cell, "eager", x)[:2]):
                assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_results_are_those_of_a_constant_to_the_bit():
    cell, frozen = Cell(mix, alpha=0.5), []
    for value in (0.1, 0.2, 1 / 3, 1e-30):
        other = Cell(mix, alpha=value)
        frozen.append(run(other, "compiled"))
    for value, wanted in zip((0.1, 0.2, 1 / 3, 1e-30), frozen):
        cell.alpha = value
        for a, b in zip(run(cell, "compiled"), wanted):
            assert_array_equal(a, b)


DECIDING = {
    "branch": lambda c, z, h: z if c.alpha > 0.25 else h + z,
    "truth": lambda c, z, h: z if c.alpha else h + z,
    "int": lambda c, z, h: z * int(10 * c.alpha) + 0.1 * h,
    "function of Python's": lambda c, z, h: z * math.exp(c.alpha) + 0.1 * h,
    "smallest": lambda c, z, h: z * min(c.alpha, 0.25) + 0.1 * h,
    "text": lambda c, z, h: z * {"0.5": 1.0, "0.25": 2.0}.get(f"{c.alpha}", 3.0) + 0.1 * h,
    "key": lambda c, z, h: z * {0.5: 1.0, 0.25: 2.0}.get(c.alpha, 3.0) + 0.1 * h,
    "array": lambda c, z, h: z * tr.tensor([c.alpha] * 3) + 0.1 * h,
    "bounds": lambda c, z, h: tr.clip(z, -c.alpha, c.alpha) + 0.1 * h,
    "caught": lambda c, z, h: caught(c) * z + 0.1 * h,
    "type": lambda c, z, h: z * (2.0 if type(c.alpha) is float else 3.0) * c.alpha + 0.1 * h,
    "rounded": lambda c, z, h: z * round(c.alpha, 1) + 0.1 * h,
    "method": lambda c, z, h: z * (1.0 if c.alpha.is_integer() else 2.0) + 0.1 * h,
    "alone": lambda c, z, h: z * tr.exp(c.alpha) + 0.1 * h,
}


def caught(cell):
    try:
        return 1.0 if cell.alpha > 0.25 else 2.0
    except Exception:
        return 3.0


@pytest.mark.sampled(16)
@pytest.mark.parametrize("kind", DECIDING)
def test_numbers_that_decide_are_frozen(kind, traces):
    cell = Cell(DECIDING[kind], alpha=0.5, beta=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (0.5, 0.25, 0.1, 0.5, 0.0, 1.0):
            cell.alpha = value
            check(cell)


def test_only_what_decides_is_frozen(traces):
    cell = Cell(lambda c, z, h: (z if c.alpha > 0.25 else h + z) * c.beta, alpha=0.5, beta=0.5)
    for alpha, beta in ((0.5, 0.5), (0.1, 0.4)):
        cell.alpha, cell.beta = alpha, beta
        check(cell)
    count = len(traces)
    for alpha, beta in ((0.5, 0.1), (0.1, 0.2), (0.5, 0.3)):
        cell.alpha, cell.beta = alpha, beta
        check(cell)
    assert len(traces) == count + 1  # the first branch, for any beta


def test_whole_numbers(traces):
    cell = Cell(lambda c, z, h: z * 0.9**c.epoch + 0.1 * h, epoch=0)
    for epoch in range(6):
        cell.epoch = epoch
        check(cell)
    assert len(traces) == 2


def test_another_type_has_a_program_of_its_own(traces):
    cell = Cell(lambda c, z, h: z * (c.n // 2) + 0.1 * h, n=3)
    for n in (3, 5, 7, 3.5, 5.5, np.float64(7.5), 9, True, tr.tensor(np.float32(2.0))):
        cell.n = n
        if not isinstance(n, tr.Tensor):
            check(cell)
    cell.function, cell.n = mix, 0.5
    cell.alpha = 0.5
    check(cell)


@pytest.mark.parametrize("other", [None, True, math.inf])
def test_a_number_in_whose_place_comes_something_else(other):
    """What a step does then is another branch, which small rows would not tell from the one for numbers."""

    def step(cell, x, h):
        plain = cell.limit is None or cell.limit is True
        return tr.where(x > 0.99, 5.0 if plain else cell.limit, h + x)

    cell = Cell(step, limit=0.5)
    fast, slow = nn.Recurrent(cell, mode="compiled"), nn.Recurrent(cell, mode="eager")
    xs = 9 * np.random.default_rng(0).standard_normal((3, 4, 3)).astype("float32")
    for cell.limit in (0.5, 0.75, 0.25, other, 0.125, other):
        assert_allclose(fast(xs)[0].numpy(), slow(xs)[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "is_float",
    [
        lambda v: type(v) is float,
        lambda v: {float: True}.get(type(v), False),
        lambda v: isinstance(v, float),
        lambda v: v.__class__ is float,
        lambda v: isinstance(v, numbers.Real),
        lambda v: np.ndim(v) == 0,
    ],
    ids=["type", "table", "isinstance", "class", "abstract", "ndim"],
)
def test_steps_that_ask_what_a_number_is(is_float):
    """Branches that small rows would not tell apart."""

    def step(cell, x, h):
        return tr.where(x > 0.99, cell.limit if is_float(cell.limit) else 5.0, h + x)

    cell = Cell(step, limit=0.5)
    fast, slow = nn.Recurrent(cell, mode="compiled"), nn.Recurrent(cell, mode="eager")
    xs = 9 * np.random.default_rng(0).standard_normal((3, 4, 3)).astype("float32")
    for cell.limit in (0.5, 0.75, 0.25, 1, 0.125):
        assert_allclose(fast(xs)[0].numpy(), slow(xs)[0].numpy(), rtol=1e-5, atol=1e-6)


UNBOUND = 1e30


@pytest.mark.parametrize(
    "same", [lambda v: v is UNBOUND, lambda v: v is not None and not (v is not UNBOUND), lambda v: id(v) == id(UNBOUND)]
)
def test_steps_that_ask_which_number_it_is(same):
    def step(cell, x, h):
        return tr.where(x > 0.99, 5.0 if same(cell.limit) else cell.limit, h + x)

    cell = Cell(step, limit=0.5)
    fast, slow = nn.Recurrent(cell, mode="compiled"), nn.Recurrent(cell, mode="eager")
    xs = 9 * np.random.default_rng(0).standard_normal((3, 4, 3)).astype("float32")
    for cell.limit in (0.5, 0.75, 0.25, UNBOUND, 0.125):
        assert_allclose(fast(xs)[0].numpy(), slow(xs)[0].numpy(), rtol=1e-5, atol=1e-6)


def test_comparisons_with_none_are_no_reason_to_trace_again(traces):
    def step(cell, x, h):
        bound = True if cell.limit is None else cell.limit is not False
        return x * cell.limit + h if bound and cell.limit is not None else h

    layer, xs = nn.Recurrent(Cell(step, limit=0.5)), np.ones((3, 4, 3), "float32")
    for layer.cell.limit in (0.5, 0.75, 0.25, 0.125):
        layer(xs)
    assert len(traces) == 2


def test_a_cell_with_forty_numbers(traces):
    rng = np.random.default_rng(3)

    def function(cell, z, h):
        return sum(a * z + b * h for a, b in zip(cell.a, cell.b)) / 40 + cell.c * h

    cell = Cell(function, a=[0.1] * 20, b=[0.2] * 20, c=0.0)
    for _ in range(6):
        check(cell)
        cell.a[:], cell.b[:], cell.c = rng.uniform(size=20).tolist(), rng.uniform(size=20).tolist(), rng.uniform()
    assert len(traces) == 2


def test_steps_that_write_to_a_number_are_refused_as_ever():
    def function(cell, z, h):
        cell.alpha *= 0.9
        return cell.alpha * z + h

    cell = Cell(function, alpha=0.5)
    for value in (0.5, 0.4, 0.3):
        cell.alpha = value
        with pytest.raises(CompileError, match="writes to the cell's attributes"):
            scan(cell, np.zeros((3, 2, 3), np.float32), mode="compiled")
        assert cell.alpha == value


def test_cells_that_do_not_compile_warn_once(traces):
    cell = Cell(lambda c, z, h: (c.alpha * z if z.numpy().sum() > 0 else z) + h, alpha=0.5)
    x = np.ones((3, 2, 3), np.float32)
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        scan(cell, x)
    for value in (0.4, 0.3, 0.2):
        cell.alpha = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found, _ = scan(cell, x)
        wanted, _ = scan(cell, x, mode="eager")
        assert_array_equal(found.numpy(), wanted.numpy())
    assert type(cell.alpha) is float


def test_errors_of_a_number_are_those_of_the_tape():
    cell = Cell(lambda c, z, h: z * (1 / c.alpha) + 0.1 * h, alpha=0.5)
    for value in (0.5, 0.4, 0.3):
        cell.alpha = value
        check(cell)
    cell.alpha = 0.0
    for mode in ("eager", "auto", "compiled"):
        with pytest.raises(ZeroDivisionError):
            run(cell, mode)
    cell.alpha = 0.2
    check(cell)


@pytest.mark.parametrize(("value", "power"), [(-0.5, 0.5), (10**400, 1)])
def test_values_that_are_no_floats(value, power):
    cell = Cell(lambda c, z, h: z * c.alpha**c.power + 0.1 * h, alpha=1, power=power)
    if power < 1:
        cell.alpha = 1.0
    check(cell)
    cell.alpha *= 2
    check(cell)
    cell.alpha = value
    for mode in ("eager", "auto", "compiled"):
        with pytest.raises(DTypeError):
            run(cell, mode)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("power", [np.float64(1.0), np.float64(0.5), np.float64(2.0), np.float32(3.0)])
def test_powers_by_numbers_of_numpy(power):
    check(Cell(lambda c, z, h: (tr.abs(z) + 0.1) ** c.power + 0.1 * h, power=power))


def test_a_second_value_that_the_step_rejects():
    cell = Cell(lambda c, z, h: z * (1 / c.alpha) + 0.1 * h, alpha=0.5)
    check(cell)
    cell.alpha = 0.0
    for mode in ("eager", "auto", "compiled"):
        with pytest.raises(ZeroDivisionError):
            run(cell, mode)
    for value in (0.2, 0.5, 0.3):
        cell.alpha = value
        check(cell)


def test_threads_that_run_the_cell_while_it_is_traced():
    rng = np.random.default_rng(7)
    x = tr.tensor(rng.uniform(-1, 1, (3, 2, 3)).astype(np.float32))
    cell = Cell(lambda c, z, h: (1 - c.alpha) * h + c.alpha * z + c.beta, alpha=0.5, beta=0.0)
    scan(cell, x)
    for alpha in (0.25, 0.75):
        cell.alpha = alpha
        wanted, _ = scan(Cell(cell.function, alpha=alpha, beta=0.0), x, mode="eager")
        found, errors, start = [], [], threading.Barrier(6)

        def work(mode, found=found, errors=errors, start=start):
            start.wait()
            try:
                found.extend(scan(cell, x, mode=mode)[0].numpy() for _ in range(30))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(mode,)) for mode in ("eager", "auto", "compiled") * 2]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not errors
        for y in found:
            assert_allclose(y, wanted.numpy(), rtol=1e-5, atol=1e-6)
        cell.beta = 0.0


def test_a_number_set_for_each_sequence(traces):
    class Drawing(Cell):
        def begin_sequence(self, batch_size):
            self.alpha = 0.5 * self.count / 10
            self.count += 1

    cell, tape = (Drawing(mix, count=1) for _ in range(2))
    for _ in range(5):
        for a, b in zip(run(cell, "compiled"), run(tape, "eager")):
            assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert len(traces) == 2


def test_steppers_follow(traces):
    cell = Cell(mix, alpha=0.5)
    xs = np.random.default_rng(4).uniform(-1, 1, (8, 2, 3)).astype(np.float32)
    stepper = nn.Recurrent(cell).stepper(2)
    h = tr.zeros((2, 3), "float32")
    for t, x in enumerate(xs):
        cell.alpha = 0.1 * (t + 1)
        with tr.no_grad():
            y, h = cell.step(tr.tensor(x), h)
        assert_allclose(stepper(x), y.numpy(), rtol=1e-5, atol=1e-6)
    assert len(traces) == 2


def test_gradients_of_gradients_and_anomalies(traces):
    cell = Cell(mix, "float64", alpha=0.5)
    x = np.random.default_rng(5).uniform(-1, 1, (3, 2, 3))

    def second(mode):
        t = tr.tensor(x, requires_grad=True)
        y, _ = scan(cell, t, mode=mode)
        (g,) = tr.grad((y**3).sum(), [t], create_graph=True)
        return tr.grad((g * g).sum(), [t])[0].numpy()

    for value in (0.5, 0.4, 0.3):
        cell.alpha = value
        assert_allclose(second("compiled"), second("eager"), rtol=1e-9)
    assert len(traces) == 2
    cell.alpha = math.nan
    with tr.detect_anomaly(), pytest.raises(AnomalyError, match="NaN"):
        scan(cell, x, mode="compiled")


@pytest.mark.slow
def test_checkpoints_in_time():
    cell = Cell(mix, "float64", alpha=0.5)
    x = np.random.default_rng(6).uniform(-1, 1, (9, 2, 3))
    for value in (0.5, 0.4, 0.3, 0.2):
        cell.alpha = value
        found = []
        for options in ({"mode": "eager"}, {"mode": "compiled", "checkpoint_every": 2}):
            cell.zero_grad()
            y, _ = scan(cell, x, **options)
            (y * y).sum().backward()
            found.append(cell.w.grad.numpy().copy())
        assert_allclose(*found, rtol=1e-10)


def test_reports_name_the_numbers():
    cell = Cell(mix, alpha=0.5)
    for value in (0.5, 0.4):
        cell.alpha = value
        run(cell, "compiled")
    report = str(nn.Recurrent(cell).explain())
    assert "sub(1, alpha)" in report
    assert "alpha ()" in report


def test_unchanged_numbers_stay_constants():
    cell = Cell(mix, alpha=0.5)
    for _ in range(3):
        run(cell, "compiled")
    assert not cache_of(cell).static_attributes.numbers.inputs
