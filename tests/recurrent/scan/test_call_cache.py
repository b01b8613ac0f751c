"""Guarded calls: they run only if nothing has changed, and give the results of the checked path."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, ShapeError
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.recurrent.scan import call_cache
from tinygrad_rnn.recurrent.scan.call_cache import CALLS, cache_of

T, B, I, H = 5, 2, 3, 4


def layer(kind=nn.LSTM, **options):
    tr.seed(0)
    return kind(I, H, dtype="float64", **options)


def sequence(seed=0, time=T, requires_grad=False):
    return tr.tensor(np.random.default_rng(seed).normal(size=(time, B, I)), requires_grad=requires_grad)


@pytest.fixture
def short(monkeypatch):
    """The calls that were made again: what they read is not looked up before."""
    calls = []
    run = call_cache.GuardedCall.run

    def count(self, arguments, arrange, steps, tensors=None):
        if tensors is None:
            calls.append(self)
        return run(self, arguments, arrange, steps, tensors)

    monkeypatch.setattr(call_cache.GuardedCall, "run", count)
    return calls


def gradients(module, x, state=None):
    """Outputs and all gradients of one training step."""
    module.zero_grad()
    x.grad = None
    ys, final = module(x, state)
    finals = final if isinstance(final, tuple) else (final,)
    loss = (ys * ys).sum() + sum((s * (i + 2)).sum() for i, s in enumerate(finals))
    if loss.requires_grad:
        loss.backward()
    found = [ys, *finals, *[p.grad for p in module.parameters()], x.grad]
    return [None if t is None else t.numpy().copy() for t in found]


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"reverse": True}, {"bidirectional": True}])
def test_the_same_as_the_first_call(kind, options, short):
    module, x = layer(kind, **options), sequence(requires_grad=True)
    first = gradients(module, x)
    assert not short
    same(gradients(module, x), first)
    assert len(short) == (2 if "bidirectional" in options else 1)


def test_arrays_instead_of_tensors(short):
    for module in (layer(), nn.Recurrent(nn.GRUCell(I, H, dtype="float64"))):
        x = sequence()
        wanted = module(x)[0].numpy()
        for array in (x.numpy(), np.asfortranarray(x.numpy()), x.numpy().astype("float32").astype("float64")):
            found = module(array)[0].numpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert module(x.numpy().astype("float32"))[0].dtype == np.float64
    assert len(short) == 8


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_lengths_masks_and_resets(kind, short):
    module, x = layer(kind), sequence(requires_grad=True)
    resets = np.random.default_rng(1).random((T, B)) < 0.4
    for count, options in enumerate(
        [{"lengths": [T, 2]}, {"lengths": [1, 0]}, {"mask": ~resets}, {"resets": resets}, {"lengths": [3, T]}]
    ):
        found = []
        for way in (module, copy.deepcopy(module)):
            way.mode = "compiled" if way is module else "eager"
            way.zero_grad()
            x.grad = None
            ys, _ = way(x, **options)
            (ys * ys).sum().backward()
            found.append([ys, x.grad, *[p.grad for p in way.parameters()]])
        for a, b in zip(*found):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
        assert len(short) == count
    state = tr.tensor(np.full((1, B, H), 0.5))
    module(x, state if kind is nn.GRU else (state, state), resets=resets)
    assert len(short) == count, "rows are reset to another state"


def test_states_of_ones_own(short):
    module, x = layer(), sequence()
    for wanted in (False, True):
        state = tuple(tr.tensor(np.full((1, B, H), v), requires_grad=wanted) for v in (0.1, 0.2))
        first = gradients(module, x, state)
        given = [s.grad for s in state]
        for s in state:
            s.grad = None
        same(gradients(module, x, state), first)
        for s, g in zip(state, given):
            assert (s.grad is None) == (g is None) == (not wanted)
            if wanted:
                np.testing.assert_array_equal(s.grad.numpy(), g.numpy())
    assert len(short) == 2
    zeros = gradients(module, x)
    assert not np.array_equal(zeros[0], first[0])
    with pytest.raises(ShapeError, match="state"):
        module(x, (state[0], tr.tensor(np.zeros((1, B, H + 1)))))


def test_a_graph_of_a_gradient(short):
    module, x = layer(nn.GRU), sequence(requires_grad=True)
    found = []
    for _ in range(2):
        (g,) = tr.grad((module(x)[0] ** 2).sum(), [x], create_graph=True)
        found.append(tr.grad((g * g).sum(), [module.weight_hh_l0])[0].numpy())
    assert len(short) == 1
    np.testing.assert_array_equal(*found)


def with_other_values(cell):
    with tr.no_grad():
        cell.weight_hh.copy_(cell.weight_hh.data * 0.5)


CHANGES = {
    "values": with_other_values,
    "array": lambda cell: setattr(cell.weight_hh, "data", cell.weight_hh.data * 0.5),
    "parameter": lambda cell: setattr(cell, "weight_hh", nn.Parameter(cell.weight_hh.data * 0.5)),
    "frozen": lambda cell: cell.weight_hh.requires_grad_(False),
    "all frozen": lambda cell: cell.requires_grad_(False),
    "state dict": lambda cell: cell.load_state_dict({k: v * 0.5 for k, v in cell.state_dict().items()}),
    "no bias": lambda cell: vars(cell).update(bias_ih=None, bias_hh=None),
    "another nonlinearity": lambda cell: setattr(cell, "nonlinearity", "relu"),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_seen(name):
    tr.seed(0)
    module, x = nn.Recurrent(nn.RNNCell(I, H, dtype="float64")), sequence()
    for _ in range(2):
        before = gradients(module, x)
    CHANGES[name](module.cell)
    found = gradients(module, x)
    assert any(
        (a is None) != (b is None) or (a is not None and not np.array_equal(a, b)) for a, b in zip(found, before)
    )
    same(found, gradients(copy.deepcopy(module), x))


def test_other_sizes_after_the_first_calls():
    module, x = nn.Recurrent(nn.RNNCell(I, H, dtype="float64")), sequence()
    for _ in range(2):
        module(x)
    cell = module.cell
    cell.hidden_size = 6
    cell.weight_ih, cell.weight_hh = nn.Parameter(np.ones((6, I))), nn.Parameter(np.ones((6, 6)))
    cell.bias_ih = cell.bias_hh = None
    assert module(x)[0].shape == (T, B, 6)


def test_gradients_switched_off_and_on(short):
    module, x, wanting = layer(), sequence(), sequence(requires_grad=True)
    for _ in range(2):
        with tr.no_grad():
            assert not module(x)[0].requires_grad
        assert module(x)[0].requires_grad
        assert gradients(module, wanting)[-1] is not None
    assert len(short) == 3
    module.requires_grad_(False)
    for _ in range(2):
        assert not module(x)[0].requires_grad
        assert module(wanting)[0].requires_grad


def test_an_eager_layer_stays_eager(short):
    module, x = layer(), sequence()
    for _ in range(2):
        module(x)
    module.mode = "eager"
    module(x)
    assert len(short) == 1
    module.mode = "fast"
    with pytest.raises(ValueError, match="mode"):
        module(x)


def on_both_roads(kind, calls):
    """Outputs of several calls of a cell, compiled and on the tape, which are the same; and the two cells."""
    found, cells = [], []
    for mode in ("compiled", "eager"):
        tr.seed(0)
        cell = kind(I, H, dtype="float64")
        found.append([scan(cell, sequence(), mode=mode)[0].numpy() for _ in range(calls)])
        cells.append(cell)
    np.testing.assert_allclose(*found, rtol=1e-12)
    return found, cells


class Started(nn.RNNCell):
    """Begins with a state and a sequence of its own."""

    begun = 0

    def initial_state(self, batch_size):
        return super().initial_state(batch_size) + tr.tensor(np.full(1, float(self.begun)))

    def begin_sequence(self, batch_size):
        vars(self)["begun"] = self.begun + 1


def test_a_cell_that_begins_in_its_own_way():
    _, cells = on_both_roads(Started, 4)
    assert [cell.begun for cell in cells] == [4, 4]


class Counting(nn.RNNCell):
    """Its initial state sets what its step reads."""

    count = 0

    def initial_state(self, batch_size):
        self.count = self.count + 1
        return super().initial_state(batch_size)

    def step(self, x, h):
        y, h = super().step(x * (self.count % 2 + 1), h)
        return y, h


def test_an_initial_state_that_sets_what_the_step_reads():
    on_both_roads(Counting, 6)


class Masked(nn.RNNCell):
    """Draws a mask for each sequence."""

    def begin_sequence(self, batch_size):
        self.mask = tr.tensor(tr.config.generator().random((batch_size, self.hidden_size)))

    def step(self, x, h):
        y, h = super().step(x, h * self.mask)
        return y, h


def test_masks_are_drawn_once_for_each_sequence():
    found, _ = on_both_roads(Masked, 3)
    assert not np.array_equal(found[0][0], found[0][1])


class Inner(nn.Cell):
    input_size, hidden_size, dtype = I, H, np.dtype("float64")

    def __init__(self):
        self.layer, self.fixed = layer(nn.RNN), sequence()

    def step(self, x, h):
        ys, _ = self.layer(self.fixed)
        return ys[0] + h, h


def test_a_layer_inside_a_step_is_still_refused():
    cell = Inner()
    for _ in range(2):
        cell.layer(cell.fixed)
    with pytest.raises(CompileError, match="begin_sequence"):
        scan(cell, sequence(), mode="compiled")


def test_few_calls_are_remembered():
    module = nn.Recurrent(nn.RNNCell(I, H, dtype="float64"))
    with tr.no_grad():
        for time in range(1, CALLS + 10):
            module(sequence(time=time))
    assert len(cache_of(module.cell).calls) == CALLS


def test_nothing_is_kept_alive():
    import weakref

    module = nn.Recurrent(nn.RNNCell(I, H, dtype="float64"))
    cell, old = module.cell, []
    for time in range(1, 4):
        for _ in range(2):
            module(sequence(time=time))
        old.append(weakref.ref(cell.weight_hh.data))
        cell.weight_hh.data = cell.weight_hh.data * 0.5
    known = cache_of(cell)
    assert len(known.calls) == 1
    assert [array for call in known.calls.values() for array in call.arrays if array is old[0]()] == []
    wide = nn.Recurrent(nn.RNNCell(I, call_cache.SMALL // 2 + 1, dtype="float64", init="torch"), mode="compiled")
    for _ in range(2):
        with tr.no_grad():
            wide(sequence(time=1))
    (call,) = cache_of(wide.cell).calls.values()
    assert call.initial is None


def test_no_outputs(short):
    module, x = layer(), sequence()
    for _ in range(2):
        ys, (h, _) = module(x, return_outputs=False)
        assert ys is None
        np.testing.assert_array_equal(h.numpy()[0], module(x)[0].numpy()[-1])
    assert len(short) == 3


class Blended(nn.Cell):
    """Its loop reads what is computed from a parameter."""

    input_size = hidden_size = I

    def __init__(self):
        self.weight = nn.Parameter(np.random.default_rng(0).normal(size=(I, I)))

    def step(self, x, h):
        h = tr.tanh(x + h @ (self.weight - self.weight.T))
        return h, h


@pytest.mark.parametrize("options", [{}, {"lengths": [2, T]}])
def test_what_is_computed_from_parameters_is_computed_each_time(options, short):
    found = []
    for mode in ("compiled", "eager"):
        module, x = nn.Recurrent(Blended(), mode), sequence(requires_grad=True)
        for _ in range(3):
            module.zero_grad()
            x.grad = None
            ys, _ = module(x, **options)
            (ys * ys).sum().backward()
            found.append([ys.numpy().copy(), x.grad.numpy(), module.cell.weight.grad.numpy()])
            with tr.no_grad():
                module.cell.weight.copy_(module.cell.weight.data * 0.5)
    assert len(short) == 2
    for a, b in zip(found[:3], found[3:]):
        for one, other in zip(a, b):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


class Noisy(nn.Cell):
    """Draws a mask for each step."""

    input_size = hidden_size = I

    def __init__(self):
        self.inner, self.drop = nn.GRUCell(I, I, dtype="float64"), nn.Dropout(0.5)

    def step(self, x, h):
        return self.inner.step(self.drop(x), h)


def test_masks_of_steps_are_drawn_each_time(short):
    found = []
    for mode in ("compiled", "eager"):
        tr.seed(0)
        module = nn.Recurrent(Noisy(), mode)
        found.append([module(sequence())[0].numpy().copy() for _ in range(3)])
    assert len(short) == 2
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert not np.array_equal(found[0][0], found[0][1])
