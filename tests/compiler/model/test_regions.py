"""Programs in simpler operations and in regions: they compute what the traced ones do."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.ir.symbol import Symbol
from tinygrad_rnn.compiler.model.interpret import compute, evaluate, run_region
from tinygrad_rnn.compiler.model.region_loop import RegionLoop, compile_plan
from tinygrad_rnn.compiler.model.regions import Region, partition
from tinygrad_rnn.compiler.model.simplify import simplify

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
        plan = loops
    tr.seed(1)
    wanted = evaluate(program, arrays, {uid: t.data for uid, t in program.captured.items()})
    for way in ways:
        tr.seed(1)
        with np.errstate(all="ignore"):
            found = way()
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
        return nn.cross_entropy(head(x), tr.softmax(t), weight=weight, label_smoothing=0.1)

    return model, numbers(4, 3), numbers(4, 6, seed=1)


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


MODELS = [recurrent_model, word_model, attention_model, binary_model, soft_targets, several_norms]


@pytest.mark.parametrize("model", MODELS)
def test_models_and_their_gradients(model):
    plan = check(*called(model), native=True)
    assert sum(isinstance(stage, RegionLoop) for stage in plan) > 1


def test_what_lies_between_two_loops_is_one_region():
    plan = check(*recurrent_model())
    assert sorted(s.rows for s in plan if isinstance(s, Region)) == [1, 1, 20]  # two are factors of single numbers
    assert {"sum", "centre", "linear", "squared_error"}.isdisjoint(names(plan))
