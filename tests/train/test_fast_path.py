"""Training steps that come again see whatever has changed since the last one."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.compiler.runtime.contents import Contents
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import AnomalyError, ShapeError
from tinygrad_rnn.programs import reach
from tinygrad_rnn.train import TrainStep, fast_path, left_gradients
from tinygrad_rnn.train.known_numbers import MOST, KnownNumbers

from .models import updating

SCALE = 1.0


@pytest.fixture(autouse=True)
def compared_in_machine_code(monkeypatch):
    """What has to be the same is compared in machine code from the second step on, and not after many."""
    monkeypatch.setattr(reach, "OFTEN", 0)
    monkeypatch.setattr(fast_path, "OFTEN", 1)
    monkeypatch.setattr(left_gradients, "OFTEN", 1)


class Model(nn.Module):
    def __init__(self):
        self.layer, self.head = nn.LSTM(2, 3, dtype=np.float64), nn.Linear(3, 2, dtype=np.float64)
        self.drop, self.factor, self.kept = nn.Dropout(0.5), 1.0, {"shift": 0.0}
        self.second = self.third = nn.Parameter(np.ones(2))

    def forward(self, x):
        y, _ = self.layer(x)
        return self.head(self.drop(y)) * self.factor * SCALE + self.kept["shift"] + self.second**2 * self.third


class Doubled(Model):
    def forward(self, x):
        return super().forward(x) * 2


def replace_weight(model, optimizer):
    model.head.weight.data = model.head.weight.numpy() * 2


def write_weight(model, optimizer):
    model.head.weight.data[...] *= 2


def load_weights(model, optimizer):
    model.load_state_dict({name: 0.5 * a for name, a in model.state_dict().items()})


def load_state(model, optimizer):
    state = optimizer.state_dict()
    for values in state["state"].values():
        values.update({k: 3 * v for k, v in values.items() if isinstance(v, np.ndarray)})
    optimizer.load_state_dict(state)


def freeze(model, optimizer):
    model.layer.weight_hh_l0.requires_grad = False


def hook(model, optimizer):
    model.head.bias.register_hook(lambda grad: grad * 3)


def change_global(model, optimizer):
    global SCALE
    SCALE = 0.25


def untie(model, optimizer):
    model.third = nn.Parameter(model.second.data * 0.5)
    optimizer.add_param_group({"params": [model.third]})


def tie(model, optimizer):
    model.second = model.head.bias  # while the third one is as it was


def wrap_step(model, optimizer):
    step = optimizer.step

    def wrapped():
        step()
        model.head.bias.data[...] = 0.125

    optimizer.step = wrapped


def groups_in_a_tuple(_, optimizer):
    optimizer.param_groups = (*optimizer.param_groups,)
    optimizer.param_groups[0]["params"] = (*optimizer.param_groups[0]["params"],)


class Faster(optim.AdamW):
    def _update(self, group, *rest):
        super()._update({**group, "lr": group["lr"] * 2}, *rest)


CHANGES = {
    "step of the optimiser": wrap_step,
    "untied": untie,
    "tied": tie,
    "attribute": lambda model, _: setattr(model, "factor", 3.0),
    "attribute in a dict": lambda model, _: model.kept.update(shift=2.0),
    "evaluation": lambda model, _: model.eval(),
    "another module": lambda model, _: setattr(model, "drop", nn.Dropout(0.1)),
    "attributes in another dict": lambda model, _: setattr(model, "__dict__", {**vars(model), "factor": 3.0}),
    "another class": lambda model, _: setattr(model, "__class__", Doubled),
    "a new attribute": lambda model, _: setattr(model.head, "forward", lambda x: x[..., :2] * model.factor),
    "rate": lambda _, optimizer: optimizer.param_groups[0].update(lr=0.2),
    "groups in a tuple": groups_in_a_tuple,
    "another optimiser": lambda _, optimizer: setattr(optimizer, "__class__", Faster),
    "decay": lambda _, optimizer: optimizer.param_groups[0].update(weight_decay=0.1),
    "global": change_global,
    "weights replaced": replace_weight,
    "weights written to": write_weight,
    "weights loaded": load_weights,
    "state loaded": load_state,
    "frozen": freeze,
    "hook": hook,
}


def losses_and_weights(compiled, change):
    global SCALE
    SCALE = 1.0
    tr.seed(3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2))
    model = Model()
    optimizer = optim.AdamW(model.parameters(), lr=0.05)
    run = updating(model, optimizer, compiled)
    losses = [run(x, y) for _ in range(4)]
    change(model, optimizer)
    losses += [run(x, y) for _ in range(4)]
    if compiled and change is not hook and change is not freeze:
        assert run.updates()._paths
    SCALE = 1.0
    return losses, model.state_dict()


@pytest.mark.sampled(4)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(change):
    (losses, weights), (wanted, those) = (losses_and_weights(compiled, change) for compiled in (True, False))
    np.testing.assert_allclose(losses, wanted, rtol=1e-11)
    for name, a in weights.items():
        np.testing.assert_allclose(a, those[name], rtol=1e-9, atol=1e-12)


def test_inputs_that_are_parameters_count_with_those_that_the_model_reads():
    trained = []
    for compiled in (True, False):
        tr.seed(0)
        model = nn.Sequential(nn.Linear(2, 2, dtype=np.float64), nn.Linear(2, 2, dtype=np.float64))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        run = updating(model, optimizer, compiled)
        for x, y in [(model[0].weight, model[1].weight), (model[1].weight, model[0].weight)] * 2:
            run(x, y)
        trained.append(model.state_dict())
    for name, a in trained[0].items():
        np.testing.assert_allclose(a, trained[1][name], rtol=1e-12, atol=1e-12)


def test_an_optimizer_whose_attributes_are_in_another_dict_is_compared():
    model = nn.Linear(2, 2)
    step = TrainStep(model, optimizer := optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    for _ in range(3):
        step(np.ones((2, 2)), np.zeros((2, 2)))
    optimizer.__dict__ = {**vars(optimizer)}
    step(np.ones((2, 2)), np.zeros((2, 2)))
    optimizer.step = lambda *args, **options: None
    before = model.weight.numpy().copy()
    step(np.ones((2, 2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(model.weight.numpy(), before)


def test_options_that_are_written_to_are_compared():
    model = nn.Linear(2, 2)
    step = TrainStep(model, optimizer := optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    optimizer.param_groups[0]["maximize"] = mutable = np.array(False)
    for _ in range(4):
        step(np.ones((2, 2)), np.zeros((2, 2)))
    mutable[...] = True
    losses = [step(np.ones((2, 2)), np.zeros((2, 2))) for _ in range(3)]
    assert losses[0] < losses[1] < losses[2]


def small_step(**options):
    tr.seed(0)
    model = nn.Linear(2, 1)
    return model, TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, **options)


def test_arrays_put_back_are_read():
    model, step = small_step()
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    for _ in range(3):
        step(x, y)
    first, value = model.weight.data, model.weight.numpy().copy()
    model.weight.data = np.full((1, 2), 5, np.float32)
    step(x, y)
    model.weight.data = first
    first[...], model.bias.data[...] = value, 0
    wanted = float((x @ value.T).mean() * (x @ value.T).mean())
    assert step(x, y) == pytest.approx(wanted, rel=1e-5)


def test_other_shapes_and_dtypes_take_their_own_program():
    model, step = small_step()
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.float16):
        for rows in (3, 4, 3):
            x, y = rng.integers(0, 3, (rows, 2)).astype(dtype), rng.integers(0, 3, (rows, 1)).astype(np.float32)
            wanted = nn.mse_loss(model(tr.tensor(x.astype(np.float32))), tr.tensor(y)).item()
            assert step(x, y) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ShapeError):
        step(np.ones((3, 3), np.float32), np.ones((3, 1), np.float32))


def test_clipping_and_anomaly_mode_are_seen():
    model, step = small_step()
    x, y = np.ones((3, 2), np.float32), np.full((3, 1), 100, np.float32)
    for _ in range(3):
        step(x, y)
    step.clip_norm, before = 1e-3, model.weight.numpy().copy()
    step(x, y)
    assert np.abs(model.weight.numpy() - before).max() <= 1.01e-4
    with tr.detect_anomaly(), pytest.raises(AnomalyError):
        step(x * np.inf, y)


def test_indices_out_of_range_are_refused_each_time():
    tr.seed(0)
    model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 5))
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy)
    x = np.array([0, 1, 2])
    for _ in range(3):
        step(x, x)
    before = {name: a.copy() for name, a in model.state_dict().items()}
    for inputs, targets in ((x + 3, x), (x, x + 3), (x - 6, x)):
        with pytest.raises(IndexError):
            step(inputs, targets)
    assert all((a == before[name]).all() for name, a in model.state_dict().items())


class Late(optim.SGD):
    """Gets its momentum, with the state for it, from a switch that is not its own."""

    switch = ()

    def _initial_values(self, group):
        return (0.0 if self.switch else None,)

    def _update(self, group, *rest):
        super()._update({**group, "momentum": 0.9 if self.switch else 0.0}, *rest)


def test_states_that_an_optimizer_of_ones_own_asks_for_are_there(monkeypatch):
    monkeypatch.setattr(Late, "switch", ())
    model = nn.Linear(2, 2)
    step = TrainStep(model, Late(model.parameters(), lr=0.1), nn.mse_loss)
    for _ in range(4):
        step(np.ones((2, 2)), np.zeros((2, 2)))
    Late.switch = (True,)
    paths = [*step.updates()._paths.values()]
    Late.switch = ()
    assert paths and all(path.holds() for path in paths)
    Late.switch = (True,)
    assert not any(path.holds() for path in paths)


@pytest.mark.parametrize("owner", [optim.SGD, optim.Optimizer])
def test_methods_of_the_class_of_an_optimizer_may_be_replaced(owner, monkeypatch):
    model, step = small_step()
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    for _ in range(4):
        step(x, y)
    name = "_update" if owner is optim.SGD else "step"
    monkeypatch.setattr(owner, name, lambda *args, **options: None)
    before = model.weight.numpy().copy()
    step(x, y)
    np.testing.assert_array_equal(model.weight.numpy(), before)


class Warmup(optim.SGD):
    """Its rate grows with the number of the update."""

    def _update(self, group, step, *arrays):
        super()._update({**group, "lr": group["lr"] * step}, step, *arrays)


def test_options_that_depend_on_the_count_of_updates_are_read_at_each():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(12, n)).astype(np.float32) for n in (2, 1))
    weights = []
    for many in (False, True):
        tr.seed(0)
        model = nn.Linear(2, 1)
        step = TrainStep(model, Warmup(model.parameters(), lr=0.001), nn.mse_loss)
        loader = DataLoader((x, y), batch_size=2)
        if many:
            step.run(loader, 30)
        else:
            for _ in range(5):
                for batch in loader:
                    step(*batch)
        weights.append(model.weight.numpy().copy())
    np.testing.assert_array_equal(*weights)


class Heated(optim.SGD):
    """Its rate is kept where nobody expects it."""

    heat = 1.0

    def _update(self, group, step, *arrays):
        super()._update({**group, "lr": group["lr"] * self.heat}, step, *arrays)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, Heated])
def test_options_that_change_later_are_read(kind):
    x, y = np.ones((3, 2)), np.zeros((3, 1))
    weights = []
    for compiled in (True, False):
        tr.seed(0)
        model = nn.Linear(2, 1, dtype=np.float64)
        rate = np.array(0.01)
        optimizer = kind(model.parameters(), lr=0.01)
        step = TrainStep(model, optimizer, nn.mse_loss)
        for i in range(12):
            if i == 2:
                optimizer.param_groups[0]["lr"] = rate
            if i == 4:
                optimizer.heat = 2.0
            if i == 6:
                rate[...] = 0.05  # in place: the option is the same object
            if i == 8:
                optimizer.param_groups[0]["lr"] = 0.02
            if compiled:
                step(x, y)
            else:
                optimizer.zero_grad()
                nn.mse_loss(model(tr.tensor(x)), tr.tensor(y)).backward()
                optimizer.step()
        weights.append(model.weight.numpy().copy())
    np.testing.assert_allclose(*weights, rtol=1e-12)


def test_known_numbers_are_computed_again_where_they_may_have_changed():
    group, asked = {"lr": 0.1, "params": []}, []

    def compute(ahead):
        asked.append(ahead)
        return [group["lr"]]

    known = KnownNumbers(compute, True)
    assert [known.next(group, done) for done in (5, 6, 7, 8)] == [[0.1]] * 4
    assert asked == [1, 1, 2, MOST]
    group["lr"] = 0.2
    assert known.next(group, 9) == [0.2]
    assert known.next(group, 10) == known.next(group, 10 + MOST - 1) == [0.2]
    asked.clear()
    assert known.next(group, 10 + MOST) == known.next(group, 3) == [0.2]  # beyond, and before
    assert asked == [1, 2, MOST] * 2


@pytest.mark.parametrize(("inputs", "outputs"), [(200, 300), (4, 5)])  # a bucket of its own, and one with the bias
def test_gradients_that_somebody_holds_keep_their_values(inputs, outputs):
    tr.seed(0)
    model = nn.Linear(inputs, outputs)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    rng = np.random.default_rng(0)
    weight = model.weight
    where, held = [], []
    holders = {4: lambda g: g, 5: lambda g: g.numpy(), 6: lambda g: g.numpy()[3:], 7: lambda g: g.numpy().T}
    for i in range(12):
        step(*(rng.normal(size=(2, n)).astype(np.float32) for n in (inputs, outputs)))
        where.append(weight.grad.numpy().ctypes.data)
        if i in holders:
            kept = holders[i](weight.grad)
            held.append((kept, np.array(kept)))
        if i == 8:
            weight.grad = None
    assert where[1] == where[2] == where[3] and where[10] == where[11]  # memory is used again
    for kept, values in held:
        np.testing.assert_array_equal(np.asarray(kept), values)


@pytest.mark.parametrize("often", [1, left_gradients.OFTEN])
def test_gradients_whose_data_were_replaced_are_left_alone(monkeypatch, often):
    monkeypatch.setattr(left_gradients, "OFTEN", often)
    model = nn.Linear(2, 2)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    for _ in range(4):
        step(np.ones((2, 2)), np.zeros((2, 2)))
    kept, given = model.weight.grad.data, np.zeros((2, 2), np.float32)
    model.weight.grad.data = given
    before = kept.copy()
    step(np.ones((2, 2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(kept, before)
    np.testing.assert_array_equal(given, 0)
    assert model.weight.grad.numpy().all()


def test_a_gradient_that_is_taken_while_references_are_counted_is_kept(monkeypatch):
    model, step = small_step()
    x, taken, function = np.ones((3, 2), np.float32), [], Contents.function

    def taking(contents):
        if model.weight.grad is not None:
            array = model.weight.grad.data  # as another thread might
            taken.append((array, array.copy()))
        return function(contents)

    monkeypatch.setattr(Contents, "function", taking)
    for k in range(8):
        step(x, np.full((3, 1), k, np.float32))
    assert taken
    for array, values in taken:
        np.testing.assert_array_equal(array, values)


def test_gradients_that_somebody_keeps_are_not_overwritten():
    model, step = small_step()
    x, kept = np.ones((3, 2), np.float32), []
    for k in range(6):
        step(x, np.full((3, 1), k, np.float32))
        first = model.weight.grad.numpy().copy()
        if k == 3:
            kept = [model.weight.grad, first, model.bias.grad.data, model.bias.grad.numpy().copy()]
    tensor, wanted, array, values = kept
    np.testing.assert_array_equal(tensor.numpy(), wanted)
    np.testing.assert_array_equal(array, values)
    assert model.weight.grad is not tensor
    ours = model.weight.grad
    step(x, np.zeros((3, 1), np.float32))
    del ours
    model.weight.grad.requires_grad_()
    step(x, np.zeros((3, 1), np.float32))
    assert not model.weight.grad.requires_grad
    model.bias.grad = None
    step(x, np.zeros((3, 1), np.float32))
    assert model.bias.grad is not None


def test_a_hook_that_was_removed_leaves_the_short_way_open():
    model, step = small_step()
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    for _ in range(3):
        step(x, y)
    remove = model.weight.register_hook(lambda grad: grad * 0)
    before = model.weight.numpy().copy()
    with pytest.warns(RuntimeWarning):
        step(x, y)
    np.testing.assert_array_equal(model.weight.numpy(), before)
    remove()
    for _ in range(3):
        step(x, y)
    assert next(iter(step.updates()._paths.values())).holds()
    assert not np.array_equal(model.weight.numpy(), before)
