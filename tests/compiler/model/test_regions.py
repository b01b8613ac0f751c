"""Programs in simpler operations and in regions: they compute what the traced ones do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.frontend.trace import recording
from tinygrad_rnn.compiler.ir.symbol import Symbol
from tinygrad_rnn.compiler.model.interpret import compute, evaluate, run_region
from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.compiler.model.program import ModelProgram
from tinygrad_rnn.compiler.model.region_loop import RegionLoop, compile_plan
from tinygrad_rnn.compiler.model.regions import Region, partition
from tinygrad_rnn.compiler.model.simplify import simplify
from tinygrad_rnn.compiler.model.trace import ModelTrace
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.modules.functional import layer_norm
from tinygrad_rnn.ops.elementwise import masked_product, masked_quotient
from tinygrad_rnn.ops.linear import linear
from tinygrad_rnn.ops.loss import logistic_loss

from ...op_table import TABLE
from .test_trace import double, numbers, program_of  # noqa: F401


def run_stages(program, plan, arrays):
    """The outputs of a program, stage by stage: each sees what earlier ones have left and nothing else."""
    values = {s.uid: a for s, a in zip(program.inputs, arrays)}
    values |= {uid: t.data for uid, t in program.captured.items()}
    for symbols, draw in program.draws:
        values |= {s.uid: a for s, a in zip(symbols, draw())}
    for stage in plan:
        if isinstance(stage, Region):
            values |= run_region(stage, values)
        elif isinstance(stage, RegionLoop):
            values |= stage.run(values)
        else:
            values[stage.uid] = compute(stage, [values[a.uid] if isinstance(a, Symbol) else a for a in stage.args])
    return [values[s.uid] for s in program.outputs]


def check(function, *arrays, native=False):
    """The plan of a function and its gradients, after a comparison with the program as it was traced."""
    return check_program(program_of(function, *arrays)[0], arrays, native)


def check_program(program, arrays, native=False, rtol=1e-12):
    simple = simplify(program)
    plan = partition(simple.values(), simple.outputs)
    ways = [lambda: run_stages(simple, plan, arrays)]
    ways.append(lambda: evaluate(simple, arrays, {uid: t.data for uid, t in simple.captured.items()}))
    if native:
        loops = compile_plan(plan)
        assert not any(isinstance(stage, Region) for stage in loops)
        ways.append(lambda: run_stages(simple, loops, arrays))
        dtype = next(s.dtype for s in program.outputs if s.dtype.kind == "f")
        whole = NativeProgram(program, {uid: t.data for uid, t in program.captured.items()}, dtype)
        run = lambda: [np.array(y, s.dtype) for y, s in zip(whole.run(arrays), program.outputs)]
        ways += [run, run]  # the second finds what the first has left
        plan = loops
    ways.insert(0, lambda: evaluate(program, arrays, {uid: t.data for uid, t in program.captured.items()}))
    results = []
    for way in ways:
        tr.seed(1)
        with np.errstate(all="ignore"):
            results.append(way())
    wanted = results[0]
    for found in results[1:]:
        for y, expected in zip(found, wanted, strict=True):
            assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol)
    return plan


def names(plan):
    return [s.operation if isinstance(s, Symbol) else "region" for s in plan]


def recurrent_model():
    rnn, norm, head = nn.LSTM(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)
    return lambda x, t: nn.mse_loss(head(norm(rnn(x)[0])), t), numbers(5, 4, 3), numbers(5, 4, 2, seed=1)


def word_model():
    words = np.random.default_rng(0).integers(0, 7, (5, 4))
    lookup, rnn, drop, head = nn.Embedding(7, 3), nn.GRU(3, 4), nn.Dropout(0.4), nn.Linear(4, 7)
    return lambda: nn.cross_entropy(drop(head(drop(rnn(lookup(words))[0]))), words)


def attention_model():
    query, key, score = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 1)

    def model(x):
        weights = tr.softmax(score(tr.tanh(query(x) + key(x))).squeeze(-1), 0)
        return ((tr.expand_dims(weights, -1) * x).sum(0) ** 2).sum()

    return model, numbers(5, 4, 3)


def binary_model():
    rnn, head = nn.RNN(3, 4), nn.Linear(4, 1)
    targets = (numbers(4, seed=2) > 0).astype(float)

    def model(x):
        return nn.binary_cross_entropy_with_logits(head(rnn(x)[1][-1]).squeeze(-1), targets)

    return model, numbers(5, 4, 3)


def soft_targets():
    head, weight = nn.Linear(3, 6), np.arange(1.0, 7.0)

    def model(x, t):
        logits = head(x)
        losses = [nn.cross_entropy(logits, tr.softmax(t), weight=weight, label_smoothing=0.1)]
        losses += [nn.cross_entropy(logits, tr.softmax(t), reduction=how).sum() for how in ("sum", "none")]
        return losses[0] + 0.3 * losses[1] + tr.tanh(losses[2])

    return model, numbers(4, 3), numbers(4, 6, seed=1)


def classes():
    head, weight = nn.Linear(3, 6), np.arange(1.0, 7.0)

    def model(x, t, u):
        logits = head(x)
        options = [{}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1}, {"weight": weight}]
        loss = sum(nn.cross_entropy(logits, t, **o).sum() * (i + 1) for i, o in enumerate(options))
        options = [{"weight": weight, "label_smoothing": 0.2, "ignore_index": 1}, {"ignore_index": 3}]
        return sum((nn.cross_entropy(logits, u, **o) for o in options), loss)

    return model, numbers(2, 3, 3), np.array([[0, 5, 3], [-100, 3, 2]]), np.array([[0, 5, 3], [1, 3, 2]])


def several_norms():
    first, last = nn.Linear(3, 6), nn.Linear(6, 6)
    norm, wide = nn.LayerNorm(6), nn.LayerNorm((4, 6))

    def model(x):
        y = first(x)
        z = norm(y) + wide(last(tr.relu(norm(y))))
        return tr.norm(z, axis=-1).mean() + tr.logsumexp(z, axis=-1).sum() + tr.var(z)

    return model, numbers(5, 4, 3)


def called(model):
    found = model()
    return found if isinstance(found, tuple) else (found,)


def cell_in_a_python_loop():
    cell, head = nn.LSTMCell(3, 4), nn.Linear(4, 2)

    def model(x, t):
        h, c = tr.zeros((4, 4)), tr.zeros((4, 4))
        for step in range(2):
            h, (h, c) = cell.step(x[step], (h, c))
        return nn.mse_loss(head(h), t)

    return model, numbers(2, 4, 3), numbers(4, 2, seed=1)


MODELS = [
    cell_in_a_python_loop,
    recurrent_model,
    word_model,
    attention_model,
    binary_model,
    soft_targets,
    classes,
    several_norms,
]


@pytest.mark.slow
@pytest.mark.sampled(12)
@pytest.mark.parametrize("model", MODELS)
def test_models_and_their_gradients(model):
    plan = check(*called(model), native=True)
    assert any(isinstance(stage, RegionLoop) for stage in plan)


def test_a_vector_that_is_read_as_a_whole_and_row_by_row():
    x, w = numbers(4, 4), tr.tensor(numbers(4), requires_grad=True)

    def function(x):
        y = tr.matmul(x, w)  # each row reads all of it
        return tr.sigmoid(w) * y  # and here its own number

    check(function, x, native=True)


def test_rows_of_a_transposed_matrix():
    x, w = numbers(5, 4, 1), tr.tensor(numbers(2, 2), requires_grad=True)

    def function(x):
        y = tr.concat([tr.tanh(x), x * 2.0], axis=-1)
        return tr.sigmoid(y @ w.T)[..., :1] + y[..., 1:]  # the gradient as well reads single rows

    plan = check(function, x, native=True)
    assert not any(s.operation in ("concat", "sigmoid", "multiply") for s in plan if isinstance(s, Symbol))


def test_what_lies_between_two_loops_is_one_region():
    plan = check(*recurrent_model())
    (region,) = [s for s in plan if isinstance(s, Region)]
    assert region.rows == 20
    assert [s.shape for s in region.numbers] == [()]  # the factor of the gradient
    assert {"sum", "centre", "linear", "squared_error"}.isdisjoint(names(plan))


def test_generated_sources_hold_no_sizes():
    sources = []
    for sizes in ((5, 3, 4, 6), (7, 33, 20, 50)):
        rows, inputs, hidden, classes = sizes
        first, norm, last = nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, classes)
        targets = np.arange(rows * 3).reshape(rows, 3) % classes

        def model(x, first=first, norm=norm, last=last, targets=targets):
            return nn.cross_entropy(last(tr.relu(norm(first(x)))), targets)

        plan = check(model, numbers(rows, 3, inputs), native=True)
        loops = [stage for stage in plan if isinstance(stage, RegionLoop)]
        sources.append([loop.executable.inference[0].source for loop in loops])
    assert sources[0] == sources[1]


# ---- every operation


def traced(function, *arrays):
    """The program of a function's results."""
    trace = ModelTrace()
    with recording(trace), np.errstate(all="ignore"):
        inputs = [trace.leaf("input", i, a.shape, a.dtype) for i, a in enumerate(arrays)]
        found = function(*inputs)
        outputs = [trace.lift(y) for y in (found if isinstance(found, tuple | list) else (found,))]
    captured = {s.uid: tensor for _, tensor, s in trace.captured.values()}
    return ModelProgram(tuple(inputs), captured, tuple(trace.draws), (), tuple(outputs))


@pytest.mark.sampled(16)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
@settings(max_examples=15)
@given(data=st.data())
def test_every_operation_in_simpler_ones(row, data):
    arrays, options = data.draw(row.cases)
    try:
        program = traced(lambda *xs: row.call(*xs, **options), *arrays)
    except CompileError:  # it reads values, as functions of the tape may
        return
    if all(isinstance(s, Symbol) for s in program.outputs):
        check_program(program, arrays)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, np.inf, -np.inf, np.nan, 1e-30, -25.0, 60.0]


def everything(x, y):
    """Elementwise maths and reductions, in one region."""
    unary = [f(x) for name in UNARY for f in [getattr(tr, name)]]
    unary += [x**3, x**0.5, 2.0 / x, x.astype(bool) * y, tr.clip(x, -1.0, y), tr.hard_tanh(x), -x, x - 1]
    binary = [f(x, y) for name in BINARY for f in [getattr(tr, name)]]
    along = [f(x, axis=-1) for f in (tr.sum, tr.mean, tr.max, tr.min, tr.any, tr.all, tr.softmax, tr.log_softmax)]
    along += [f(x + y, axis=-1, keepdims=True) for f in (tr.logsumexp, tr.norm, tr.var, tr.std)]
    return [*unary, *binary, *along, logistic_loss(x, tr.sigmoid(y)), masked_product(x, y), masked_quotient(x, y)]


UNARY = [
    "exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "sin", "cos", "tanh", "sigmoid", "relu", "softplus",
    "log_sigmoid", "erf", "gelu", "silu", "leaky_relu", "elu", "hard_sigmoid", "floor", "ceil", "round",
    "isnan", "isinf", "isfinite", "logical_not",
]  # fmt: skip
BINARY = [
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "less", "less_equal", "greater",
    "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_elementwise_maths_and_reductions_in_machine_code(dtype):
    pairs = np.array([(a, b) for a in SPECIAL for b in SPECIAL], dtype).reshape(-1, 13, 2)
    finite = numbers(2, 13, 13).astype(dtype)
    x, y = (np.concatenate([f, p]).reshape(2, 13, 13) for f, p in zip(finite, np.moveaxis(pairs, -1, 0)))
    plan = check_program(traced(everything, x, y), (x, y), True, rtol=1e-13 if dtype == "float64" else 3e-6)
    assert any(isinstance(stage, RegionLoop) for stage in plan)
    assert {s.operation for s in plan if isinstance(s, Symbol)} <= {"reshape"}


# ---- random functions


@st.composite
def functions(draw):
    """A function of two arrays (..., n) and of parameters, whose value is one number, and the arrays."""
    lead, n = tuple(draw(st.lists(st.integers(1, 3), max_size=3))), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 9))
    steps = draw(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3)), min_size=1, max_size=9))
    arrays = numbers(*lead, n, seed=seed), numbers(*lead, n, seed=seed + 1)
    parameters = {}

    def parameter(name, *shape):
        if (name, shape) not in parameters:
            made = numbers(*shape, seed=len(parameters) + 20) / max(1, len(shape))
            parameters[name, shape] = tr.tensor(made, requires_grad=True)
        return parameters[name, shape]

    def function(x, y):
        values = [x * parameter("gain", n), y]
        for name, i in steps:
            a, b = values[-1], values[-1 - i % len(values)]
            found = STEPS[name](a, b, parameter)
            values.append(found if found is not None else a)
        total = (values[0] * 0.5).sum()
        for v in values[1:]:
            total = total + (tr.tanh(v) * np.cos(np.arange(v.size)).reshape(v.shape)).mean()
        return total

    return function, arrays


def joined(f):
    """Of two values that broadcast together, else of the first and its own."""

    def step(a, b, parameter):
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            shape = ()
        return f(a, b if len(shape) >= max(a.ndim, b.ndim) and np.prod(shape) < 500 else a)

    return step


def along(f):
    return lambda a, b, parameter: f(a) if a.ndim else None


def halves(a):
    left, right = tr.split(a, [a.shape[-1] // 2], axis=-1)
    return tr.concat([right * 2.0, tr.tanh(left)], axis=-1)


STEPS = {
    "tanh": lambda a, b, parameter: tr.tanh(a),
    "relu": lambda a, b, parameter: tr.relu(a),
    "square": lambda a, b, parameter: tr.tanh(a) ** 2,
    "logistic": lambda a, b, parameter: tr.sigmoid(-a),
    "where": joined(lambda a, b: tr.where(a > b, a, 0.5 * b)),
    "add": joined(lambda a, b: a + b),
    "multiply": joined(lambda a, b: tr.tanh(a) * tr.tanh(b)),
    "maximum": joined(lambda a, b: tr.maximum(a, b)),
    "gain": lambda a, b, parameter: a * parameter("gain", *a.shape[-1:]),
    "bias": lambda a, b, parameter: a + parameter("bias", *a.shape[1:]),
    "scalar": lambda a, b, parameter: a * (parameter("scalar") * 0.5),
    "linear": lambda a, b, parameter: linear(a, parameter("w", 3, a.shape[-1]), parameter("b", 3)) if a.ndim else None,
    "product": lambda a, b, parameter: a @ parameter("m", a.shape[-1], 2) if a.ndim else None,
    "vector": lambda a, b, parameter: a @ parameter("v", a.shape[-1]) if a.ndim else None,
    "sum": along(lambda a: a.sum(-1, keepdims=True)),
    "number": along(lambda a: a.mean(-1)),
    "largest": along(lambda a: a.max(-1, keepdims=True)),
    "first": along(lambda a: a.sum(0)),
    "middle": lambda a, b, parameter: a.sum(1) if a.ndim > 2 else None,
    "all": lambda a, b, parameter: a.mean(),
    "softmax": along(lambda a: tr.softmax(a)),
    "log_softmax": along(lambda a: tr.log_softmax(a, tuple(range(a.ndim))[-2:])),
    "norm": along(lambda a: layer_norm(a, a.shape[-1:])),
    "wide norm": along(lambda a: layer_norm(a, a.shape[-2:])),
    "flat": lambda a, b, parameter: a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1),
    "column": lambda a, b, parameter: tr.expand_dims(a, -1) if a.ndim < 4 else None,
    "slice": lambda a, b, parameter: a[..., 1:] if a.ndim and a.shape[-1] > 1 else None,
    "halves": lambda a, b, parameter: halves(a) if a.ndim and a.shape[-1] > 1 else None,
    "join": lambda a, b, parameter: tr.concat([a, b], -1) if a.ndim and a.shape[:-1] == b.shape[:-1] else None,
    "transpose": lambda a, b, parameter: a.T,
    "detach": lambda a, b, parameter: a.detach() * a,
    "dropout": lambda a, b, parameter: nn.Dropout(0.4)(a),
    "loss": joined(lambda a, b: nn.mse_loss(a, b) if a.shape == b.shape else None),
}  # from the last value and one before; None: as it was


@settings(max_examples=10, deadline=None)
@given(functions())
def test_random_functions_and_their_gradients_in_simpler_operations(case):
    function, arrays = case
    check(function, *arrays)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(functions())
def test_random_functions_and_their_gradients_in_machine_code(case):
    function, arrays = case
    check(function, *arrays, native=True)


@pytest.mark.exhaustive
@settings(max_examples=20, deadline=None)
@given(functions())
def test_many_random_functions_and_their_gradients_in_machine_code(case):
    function, arrays = case
    check(function, *arrays, native=True)
