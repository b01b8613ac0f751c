"""A program is frozen: what a loop saves and computes does not depend on what the cell has done before."""

import dataclasses

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.frontend.trace import Trace, recording
from tinygrad_rnn.recurrent.explain import explain
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

T, B, I, H = 4, 2, 3, 4


class Odd(nn.Cell):
    """Slices, a concatenation, reductions along features, a matrix that is computed, and numbers of its own."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.Linear(input_size, 2 * hidden_size)
        self.w = nn.Parameter(np.linspace(-0.5, 0.5, hidden_size**2, dtype=np.float32).reshape(hidden_size, -1))
        self.scale = nn.Parameter(np.ones(hidden_size, np.float32))

    def step(self, x, h):
        z = self.inner(x)
        a, b = z[:, : self.hidden_size], z[:, self.hidden_size :]
        a = tr.tanh(a + h @ (self.w - self.w.T)) * self.scale
        joined = tr.concat([a, tr.sigmoid(b)], axis=-1)
        weight = tr.exp(joined - joined.max(axis=-1, keepdims=True))
        weight = weight / weight.sum(axis=-1, keepdims=True)
        h = 0.3 * h + weight[:, 1 : self.hidden_size + 1] * tr.where(a > 0, a, 0.1 * b)
        return h - h.mean(axis=-1, keepdims=True), h


LAYERS = {
    "lstm": lambda: nn.LSTM(I, H),
    "gru": lambda: nn.GRU(I, H),
    "rnn, bidirectional": lambda: nn.RNN(I, H, bidirectional=True),
    "lstm, zoneout and projection": lambda: nn.LSTM(I, H, proj_size=2, zoneout=0.2),
    "gru, dropout between layers": lambda: nn.GRU(I, H, dropout=0.3, num_layers=2),
    "gru, dropout on the state": lambda: nn.GRU(I, H, recurrent_dropout=0.3),
    "layer-normalised lstm": lambda: nn.Recurrent(nn.LayerNormLSTMCell(I, H)),
    "odd": lambda: nn.Recurrent(Odd(I, H)),
    "lru": lambda: nn.Recurrent(nn.LRUCell(I, H)),
}


def make(name):
    tr.seed(0)
    return LAYERS[name]()


def sequence(requires_grad=False):
    values = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)
    return tr.tensor(values, requires_grad=requires_grad)


def infer(layer):
    with tr.no_grad():
        layer(sequence())


def train(layer, **more):
    output = layer(sequence(**more))[0]
    output.sum().backward()


def train_inputs(layer):
    train(layer, requires_grad=True)


def train_frozen(layer):
    """Train with half of the parameters, then give all back."""
    parameters = list(layer.parameters())
    for p in parameters[::2]:
        p.requires_grad_(False)
    train(layer)
    train_inputs(layer)
    for p in parameters:
        p.requires_grad_(True)


def train_ragged(layer):
    output = layer(sequence(True), lengths=[T, T - 2])[0]
    output.sum().backward()


def differentiate_twice(layer):
    x = sequence(True)
    (g,) = tr.grad(layer(x)[0].sum(), x, create_graph=True)
    (g * g).sum().backward()


USES = (infer, train, train_inputs, train_frozen, train_ragged, differentiate_twice)


def everything(layer):
    """The report for inputs with and without gradients; of each cell its sources and saved bytes."""
    found = []
    for requires_grad in (False, True):
        report = layer.explain(sequence(requires_grad))
        steps = [c.step for c in report.cells]
        found.append(str(report))
        found += [loop.source for step in steps for loop in step.loops]
        found += [(step.saved_bytes, step.saved_total, step.saved, step.recomputed) for step in steps]
    return found


@pytest.mark.slow
@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", LAYERS)
def test_a_used_layer_is_explained_as_a_fresh_one(name):
    layer = make(name)
    for use in USES:
        use(layer)
    assert everything(layer) == everything(make(name))


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", LAYERS)
def test_no_use_leaves_a_trace(name, use):
    layer = make(name)
    use(layer)
    assert everything(layer) == everything(make(name))


def program_of(cell):
    explain(cell)
    ((program,),) = cache_of(cell).programs.values()
    return program.traced


def test_a_program_cannot_be_changed():
    program = program_of(nn.LSTMCell(I, H))
    with pytest.raises(dataclasses.FrozenInstanceError):
        program.outputs = ()
    for mapping in (program.expressions, program.captured, program.invariants):
        with pytest.raises(TypeError):
            mapping["new"] = None
    assert isinstance(program.outputs, tuple)


def contents(program):
    return [list(mapping.values()) for mapping in (program.expressions, program.captured)]


def test_extensions_do_not_know_each_other():
    program = program_of(nn.GRUCell(I, H))
    before = contents(program)
    found = []
    for _ in range(2):
        with recording(Trace.extending(program)) as trace:
            (h,) = program.new_states
            known, new = tr.tanh(h), tr.tanh(h) * tr.tensor(np.ones(H, np.float32))
            assert tr.tanh(h) is known  # equal values of one extension are one
        found.append((known, new, trace.added(program)))
    (one, other), (product, again), (tensors, others) = zip(*found)
    assert one is not other
    assert one.uid == other.uid >= program.limit
    assert product is not again
    assert len(tensors) == len(others) == 1
    assert contents(program) == before


def test_an_extension_finds_the_values_of_its_program():
    program = program_of(nn.LSTMCell(I, H))
    with recording(Trace.extending(program)):
        for s in program.expressions.values():
            if s.varying and s.operation in ("tanh", "sigmoid"):
                assert getattr(tr, s.operation)(s.args[0]) is s
