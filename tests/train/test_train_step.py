"""Training steps as programs: losses, parameters and states of optimisers are those of the tape."""

import functools
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.compiler.ir import verify
from tinygrad_rnn.compiler.model.bind import Stages
from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import CompileError, DataError, DTypeError, ShapeError
from tinygrad_rnn.train import TrainStep

T, B, FEATURES, CLASSES = 4, 3, 2, 3


class Leaky(nn.Cell):
    """A cell of a user's own."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w = nn.Parameter(np.random.default_rng(1).normal(size=(hidden_size, input_size)).astype(dtype()))
        self.rate = nn.Parameter(np.full(hidden_size, 0.3, dtype()))

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, self.hidden_size), dtype=self.w.dtype)

    def step(self, x, h):
        h = h + tr.sigmoid(self.rate) * (tr.tanh(x @ self.w.T) - h)
        return h, h


def dtype():
    return tr.get_default_dtype()


class Model(nn.Module):
    """A layer, a head, and what may be between them."""

    def __init__(self, layer, width, embedded=False, norm=False, dropout=0.0):
        self.table = nn.Embedding(7, FEATURES, padding_idx=0) if embedded else None
        self.layer, self.head = layer, nn.Linear(width, CLASSES)
        self.norm = nn.LayerNorm(width) if norm else None
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        if self.table is not None:
            x = self.table(x)
        y = self.layer(x)[0]
        return self.head(self.drop(y if self.norm is None else self.norm(y)))


LAYERS = {
    "RNN": lambda: (nn.RNN(FEATURES, 4), 4),
    "LSTM": lambda: (nn.LSTM(FEATURES, 4, num_layers=2, dropout=0.3, bidirectional=True), 8),
    "GRU": lambda: (nn.GRU(FEATURES, 4, learn_initial_state=True), 4),
    "reverse": lambda: (nn.GRU(FEATURES, 4, reverse=True), 4),
    "batch first": lambda: (nn.LSTM(FEATURES, 4, batch_first=True), 4),
    "noise": lambda: (
        nn.LSTM(FEATURES, 4, input_dropout=0.2, recurrent_dropout=0.2, weight_dropout=0.3, zoneout=0.1),
        4,
    ),
    "own": lambda: (nn.Recurrent(Leaky(FEATURES, 4)), 4),
}
LOSSES = {
    "mse": (nn.mse_loss, "floats"),
    "l1": (nn.l1_loss, "floats"),
    "huber": (nn.huber_loss, "floats"),
    "binary": (nn.binary_cross_entropy_with_logits, "shares"),
    "classes": (nn.cross_entropy, "classes"),
    "smooth": (nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=1), "classes"),
    "shares": (nn.cross_entropy, "shares"),
}
OPTIMIZERS = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda ps: optim.Adam(ps, lr=0.01, amsgrad=True),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.01),
    "rmsprop": lambda ps: optim.RMSprop(ps, lr=0.01, momentum=0.5),
    "adagrad": lambda ps: optim.Adagrad(ps, lr=0.05),
}


def batches(kind, embedded, n=4):
    rng = np.random.default_rng(0)
    for _ in range(n):
        x = rng.integers(0, 7, (T, B)) if embedded else rng.normal(size=(T, B, FEATURES))
        if kind == "classes":
            yield x, rng.integers(0, CLASSES, (T, B))
        else:
            yield x, rng.random((T, B, CLASSES))


def on_the_tape(model, optimizer, loss, batch, clip_norm=None, clip_value=None):
    cast = lambda a: tr.tensor(a.astype(dtype()) if a.dtype.kind == "f" else a)
    value = loss(model(cast(batch[0])), cast(batch[1]))
    optimizer.zero_grad()
    value.backward()
    if clip_value is not None:
        optim.clip_grad_value_(list(model.parameters()), clip_value)
    if clip_norm is not None:
        optim.clip_grad_norm_(list(model.parameters()), clip_norm)
    optimizer.step()
    return value.item()


def alike(one, other, tolerance):
    """Fail unless two models or optimisers hold the same numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for k in one:
            alike(one[k], other[k], tolerance)
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            alike(a, b, tolerance)
    elif isinstance(one, np.ndarray | float):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    else:
        assert one == other


def train_both(make, loss, data, tolerance, **clip):
    """Train one model on the tape and its like by programs; fail unless they stay alike."""
    kept = []
    for way in ("tape", "program"):
        tr.seed(0)
        model, optimizer = make()
        step = TrainStep(model, optimizer, loss, fallback="error", **clip)
        if way == "tape":
            losses = [on_the_tape(model, optimizer, loss, batch, **clip) for batch in data]
        else:
            losses = [step(*batch) for batch in data]
        grads = {n: None if p.grad is None else p.grad.data for n, p in model.named_parameters()}
        kept.append(({"losses": np.array(losses)}, model.state_dict(), optimizer.state_dict()["state"], grads))
    for one, other in zip(*kept):
        alike(one, other, tolerance)


@pytest.mark.slow
@settings(deadline=None, max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(LAYERS)),
    st.sampled_from(sorted(LOSSES)),
    st.sampled_from(sorted(OPTIMIZERS)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([{}, {"clip_norm": 0.1}, {"clip_value": 0.01}]),
    st.sampled_from(["float32", "float64"]),
)
def test_models_train_as_on_the_tape(layer, loss, optimizer, embedded, norm, clip, precision):
    function, kind = LOSSES[loss]
    tr.set_default_dtype(precision)
    try:

        def make():
            model = Model(*LAYERS[layer](), embedded, norm, 0.2)
            return model, OPTIMIZERS[optimizer](list(model.parameters()))

        # a variance that is nearly zero, as centred RMSprop's, tells roundings apart
        tolerance = 1e-12 if precision == "float64" else 1e-3 if optimizer == "rmsprop" else 1e-5
        train_both(make, function, list(batches(kind, embedded)), tolerance, **clip)
    finally:
        tr.set_default_dtype("float32")


def test_groups_frozen_and_tied_parameters_and_schedules():
    class Tied(nn.Module):
        def __init__(self):
            self.table, self.layer, self.unused = nn.Embedding(7, 4), nn.GRU(4, 4), nn.Linear(2, 2)
            self.layer.bias_ih_l0.requires_grad_(False)

        def forward(self, x):
            return self.layer(self.table(x))[0] @ self.table.weight.T

    data = list(batches("classes", True))
    kept = []
    for way in ("tape", "program"):
        tr.seed(0)
        model = Tied()
        groups = [{"params": [model.table.weight], "lr": 0.1}, {"params": [*model.layer.parameters()]}]
        optimizer = optim.Adam([*groups, {"params": [*model.unused.parameters()], "lr": 1.0}], lr=0.01)
        schedule = optim.StepLR(optimizer, 2)
        step = TrainStep(model, optimizer, nn.cross_entropy, fallback="error")
        for batch in data:
            if way == "tape":
                on_the_tape(model, optimizer, nn.cross_entropy, batch)
            else:
                step(*batch)
            schedule.step()
        assert model.unused.weight.grad is None
        assert model.layer.bias_ih_l0.grad is None
        kept.append((model.state_dict(), optimizer.state_dict()["state"]))
    for one, other in zip(*kept):
        alike(one, other, 1e-6)


def small(fallback="error", **options):
    tr.seed(0)
    model = nn.Linear(2, 1)
    return model, TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, fallback=fallback, **options)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("clip", [{"clip_norm": 0.5}, {"clip_value": 0.001}])
def test_large_parameters_of_one_gradient_are_clipped_once(clip):
    class Sum(nn.Module):
        def __init__(self):
            self.a, self.b = (nn.Parameter(np.full(20000, v)) for v in (0.25, 0.5))

        def forward(self, x):
            return x + self.a + self.b

    rng = np.random.default_rng(0)
    data = [(rng.normal(size=20000), rng.normal(size=20000)) for _ in range(3)]
    tr.set_default_dtype("float64")
    try:
        make = lambda: (lambda m: (m, optim.SGD(m.parameters(), lr=1.0)))(Sum())
        train_both(make, lambda y, t: ((y - t) ** 2).sum(), data, 1e-9, **clip)
    finally:
        tr.set_default_dtype("float32")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_parameters_that_were_frozen_have_had_fewer_updates(optimizer):
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(5, 2)), rng.normal(size=(5, 1))) for _ in range(8)]
    kept = []
    for native in (False, True):
        tr.seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        ours = OPTIMIZERS[optimizer](list(model.parameters()))
        step = TrainStep(model, ours, nn.mse_loss, fallback="error")
        for k, batch in enumerate(data):
            model[0].weight.requires_grad_(not 3 <= k < 5)
            if not model[0].weight.requires_grad:
                model[0].weight.grad = None
            step(*batch) if native else on_the_tape(model, ours, nn.mse_loss, batch)
        kept.append((model.state_dict(), ours.state_dict()["state"]))
    for one, other in zip(*kept):
        alike(one, other, 1e-5)


def test_what_changes_between_steps_is_seen():
    x, y = np.ones((4, 2)), np.ones((4, 1))
    model, step = small()
    step(x, y)
    model.weight.requires_grad_(False)
    before = model.weight.data.copy()
    step(x, y)
    np.testing.assert_array_equal(model.weight.data, before)
    model.weight.requires_grad_(True)
    model.weight.data = np.zeros((1, 2), np.float32)
    model.bias.data = np.zeros(1, np.float32)
    assert step(x, y) == 1.0
    step.optimizer.param_groups[0]["lr"] = 0.0
    before = model.weight.data.copy()
    step(x, y)
    np.testing.assert_array_equal(model.weight.data, before)
    assert step(x[:2], y[:2]) > 0  # a smaller batch


def test_bad_batches_raise_the_error_of_the_tape_and_change_nothing():
    model, step = small()
    before = model.state_dict()
    with pytest.raises(ShapeError, match="mse_loss: target: got shape"):
        step(np.ones((4, 2)), np.ones((3, 1)))
    with pytest.raises(DTypeError):
        step(np.array([["a", "b"]]), np.ones((1, 1)))
    with pytest.raises(DataError, match="no batches"):
        step.run([], 3)
    alike(model.state_dict(), before, 0)
    table = nn.Embedding(5, 1)
    step = TrainStep(table, optim.SGD(table.parameters(), lr=0.1), nn.mse_loss)
    step(np.zeros((2,), int), np.ones((2, 1)))
    before = table.state_dict()
    with pytest.raises(IndexError, match="got 5, wanted ids from 0 to 4"):
        step(np.array([1, 5]), np.ones((2, 1)))
    alike(table.state_dict(), before, 0)


def test_a_loss_that_is_no_scalar():
    model = nn.Linear(2, 1)
    for fallback in ("warn", "error"):
        step = TrainStep(model, optim.SGD(model.parameters()), lambda y, t: (y - t) ** 2, fallback=fallback)
        with pytest.raises(ShapeError, match="loss: got shape"):
            step(np.ones((4, 2)), np.ones((4, 1)))


def test_what_cannot_be_traced_trains_on_the_tape():
    class Gated(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            y = self.layer(x)
            return y if float(y.sum()) > 0 else y * 2

    tr.seed(0)
    model = Gated()
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    x, y = np.ones((4, 2)), np.ones((4, 1))
    with pytest.warns(RuntimeWarning, match=r"TrainStep of Gated runs on the tape: float\(\) .* at .*test_train_step"):
        first = step(x, y)
    assert step.run([(x, y)], 50)[-1] < first
    assert "float()" in step.explain(x, y).reason
    with pytest.raises(CompileError, match="TrainStep of Gated"):
        TrainStep(model, step.optimizer, nn.mse_loss, fallback="error")(x, y)


def test_hooks_of_parameters_run():
    model, step = small("warn")
    seen = []
    model.weight.register_hook(seen.append)
    with pytest.warns(RuntimeWarning, match="hook"):
        step(np.ones((4, 2)), np.ones((4, 1)))
    assert len(seen) == 1


def test_several_inputs_and_runs():
    class Both(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, a, b):
            return self.layer(a) + self.layer(b)

    rng = np.random.default_rng(0)
    data = [((rng.normal(size=(4, 2)), rng.normal(size=(4, 2))), rng.normal(size=(4, 1))) for _ in range(3)]
    kept = []
    for _ in range(2):
        tr.seed(0)
        model = Both()
        step = TrainStep(model, optim.Adam(model.parameters()), nn.mse_loss, fallback="error")
        losses = [step(*data[k % 3]) for k in range(7)] if not kept else step.run(data, 7)
        kept.append(np.array(losses))
    np.testing.assert_array_equal(*kept)
    assert step.explain(*data[0]).compiled


def by_hand(step, loader, n):
    losses = []
    while len(losses) < n:
        for batch in loader:
            losses.append(step(*batch))
            if len(losses) == n:
                break
    return losses


@pytest.mark.sampled(2)
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_many_steps_in_one_call_are_those_one_by_one(words, batch_size):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (22, 3)) if words else rng.normal(size=(22, 3, 2))
    y = rng.integers(0, 5, (22, 3))
    kept = []
    for many in (False, True):
        tr.seed(0)
        rnn, head = nn.LSTM(4 if words else 2, 6, batch_first=True), nn.Linear(6, 5)
        model = nn.Sequential(*[nn.Embedding(7, 4)] * words, First(rnn), head)
        loader = DataLoader((x, y), batch_size=batch_size, shuffle=True, seed=1)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5)
        step = TrainStep(model, optimizer, nn.cross_entropy, clip_norm=0.7, fallback="error")
        losses = [*(step.run(loader, 30) if many else by_hand(step, loader, 30))]
        optimizer.param_groups[0]["lr"] = 0.05
        losses += [*(step.run(loader, 75) if many else by_hand(step, loader, 75))]
        kept.append((losses, model.state_dict(), optimizer.state_dict()["state"], loader.state_dict()))
    for one, other in zip(*kept):
        alike(np.array(one) if isinstance(one, list) else one, np.array(other) if isinstance(other, list) else other, 0)


class First(nn.Module):
    """The outputs of a layer without its state."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def test_a_wrong_class_among_many_steps_is_named_and_stops_them():
    x, y = np.zeros((10, 2, 2), np.float32), np.zeros((10, 2), int)
    y[7, 1] = 9
    model = nn.Sequential(First(nn.RNN(2, 3, batch_first=True)), nn.Linear(3, 4))
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy, fallback="error")
    with pytest.raises(IndexError, match="got class 9"):
        step.run(DataLoader((x, y), batch_size=1), 10)


@pytest.mark.parametrize("position", [1, 4])
def test_an_error_among_many_steps_uses_up_the_batches_up_to_its_own(position):
    x, y, kept = np.zeros((10, 2), np.float32), np.zeros(10, int), []
    for many in (False, True):
        model = nn.Linear(2, 3)
        step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy, fallback="error")
        loader = DataLoader((x, y), batch_size=2, shuffle=True, seed=4)
        run = step.run if many else functools.partial(by_hand, step)
        y[:] = 0
        run(loader, 40 + position)  # so that several epochs go in one call
        y[loader.epoch()[3]] = 9  # behind some batches of that call
        with pytest.raises(IndexError, match="got class 9"):
            run(loader, 100)
        kept.append((loader.state_dict(), optimizer_steps(step)))
    assert kept[0] == kept[1]


def optimizer_steps(step):
    return [steps for _, bucket in step.optimizer.flat_buffers() for steps in bucket.steps]


def test_clipping_may_be_set_between_steps():
    x, y = np.ones((2, 3), np.float32), np.full((2, 1), 9, np.float32)
    changes = []
    for late in (False, True):
        tr.seed(0)
        model = nn.Linear(3, 1)
        step = TrainStep(model, optim.SGD(model.parameters(), lr=1.0), nn.mse_loss, clip_norm=None if late else 0.5)
        before = model.state_dict()
        if late:
            step(x, y)
            model.load_state_dict(before)
            step.clip_norm = 0.5
        step(x, y)
        changes.append(model.weight.data - before["weight"])
    np.testing.assert_array_equal(changes[0], changes[1])


def test_a_loader_of_three_arrays_is_no_loader_of_pairs():
    x = np.zeros((4, 2), np.float32)
    model = nn.Linear(2, 2)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=1.0), nn.mse_loss)
    with pytest.raises(DataError, match="pair"):
        step.run(DataLoader((x, x, x), batch_size=2), 2)


@pytest.mark.parametrize("many", [False, True])
def test_ctrl_c_after_a_native_call_leaves_the_optimiser_in_step(many, monkeypatch):
    x, y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
    model = nn.Linear(3, 1)
    optimizer = optim.Adam(model.parameters())
    step = TrainStep(model, optimizer, nn.mse_loss, fallback="error")
    step(x[:1], y[:1])
    done = []

    def interrupted(self, count, *others):
        found = original(self, count, *others)
        if many and count == 1:  # the first one of a loader
            return found
        done.append(found)
        raise KeyboardInterrupt

    original = Stages.run_steps
    monkeypatch.setattr(Stages, "run_steps", interrupted)
    before = model.weight.data.copy()
    with pytest.raises(KeyboardInterrupt):
        step.run(DataLoader((x, y)), 8) if many else step(x[:1], y[:1])
    assert not np.array_equal(model.weight.data, before)
    steps = {entry["step"] for entry in optimizer.state_dict()["state"].values()}
    assert done[0] == 1 + many
    assert steps == {1 + done[0] + many}


def test_model_loss_and_optimiser_may_be_replaced():
    x, y = np.ones((2, 3), np.float32), np.full((2, 1), 3, np.float32)
    first, second = nn.Linear(3, 1), nn.Linear(3, 1)
    step = TrainStep(first, optim.SGD(first.parameters(), lr=0.1), nn.mse_loss, fallback="error")
    step(x, y)
    step.model, step.optimizer, step.loss = second, optim.SGD(second.parameters(), lr=0.0), nn.l1_loss
    before = first.weight.data.copy()
    wanted = nn.l1_loss(second(tr.tensor(x)), y).item()
    np.testing.assert_allclose([step(x, y), step(x, y)], wanted, rtol=1e-6)
    np.testing.assert_array_equal(first.weight.data, before)


def test_a_fault_of_the_binder_is_said_and_costs_no_step(monkeypatch):
    monkeypatch.setattr(verify, "enabled", False)
    monkeypatch.setattr(NativeProgram, "_bind", lambda self, part: {}["what is not there"])
    model = nn.Linear(3, 1)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    x, y = np.ones((2, 3), np.float32), np.full((2, 1), 3, np.float32)
    with pytest.warns(RuntimeWarning, match="runs without machine code: KeyError"):
        losses = [step(x, y) for _ in range(3)]
    assert losses[2] < losses[0]


@pytest.mark.usefixtures("restless_threads")
def test_threads_take_turns():
    tr.seed(0)
    model = nn.Linear(3, 2, dtype=np.float64)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.0), nn.mse_loss, fallback="error")
    rng = np.random.default_rng(0)
    batches = [(k * rng.normal(size=(4, 3)), rng.normal(size=(4, 2))) for k in range(1, 4)]
    wanted, found = [step(*batch) for batch in batches], [[] for _ in batches]
    work = lambda k: found[k].extend(step(*batches[k]) for _ in range(60))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[loss] * 60 for loss in wanted]
