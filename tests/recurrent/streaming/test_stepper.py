"""A stepper goes on with the cell as it is now: whatever changes its parameters or settings, the next step has it."""

import copy
import pickle
from collections import deque

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import config, nn, optim
from tinygrad_rnn.errors import DTypeError, ShapeError

MODES = ["eager", "auto"]
X = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)


def train(layer, kind=optim.SGD):
    optimizer = kind(layer.parameters(), lr=0.5)
    layer(X)[0].sum().backward()
    optimizer.step()


def halve(layer):
    with tr.no_grad():
        for p in layer.parameters():
            p *= 0.5


def write_items(layer):
    with tr.no_grad():
        for p in layer.parameters():
            p[...] = p.data * 0.5


def write_one_number(layer):
    next(layer.parameters()).data[0, 0] += 1


def replace(layer):
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.data * 2)


def swap_signs(layer):
    for p in layer.parameters():
        p.data[...] *= -1


def freeze_and_train(layer):
    layer.weight_ih_l0.requires_grad_(False)
    train(layer)


CHANGES = {
    "an optimiser": train,
    "adam": lambda layer: train(layer, optim.Adam),
    "a state dict": lambda layer: layer.load_state_dict(type(layer)(3, 4).state_dict()),
    "in-place arithmetic": halve,
    "items": write_items,
    "copy_": lambda layer: layer.bias_ih_l0.detach().copy_(np.ones_like(layer.bias_ih_l0.data)),
    "fill_": lambda layer: layer.bias_ih_l0.detach().fill_(0.3),
    "data": swap_signs,
    "one number of data": write_one_number,
    "numpy()": lambda layer: np.negative(layer.bias_hh_l0.numpy(), out=layer.bias_hh_l0.numpy()),
    "other data": lambda layer: setattr(layer.weight_hh_l0, "data", layer.weight_hh_l0.data * 2),
    "transposed data": lambda layer: setattr(
        layer.weight_ih_l0, "data", np.asfortranarray(layer.weight_ih_l0.data * 2)
    ),
    "another parameter": replace,
    "frozen": freeze_and_train,
    "drawn anew": lambda layer: layer.reset_parameters(),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("change", CHANGES)
def test_the_next_step_has_changed_parameters(kind, change, mode):
    if change == "in-place arithmetic" and not hasattr(tr.Tensor, "__imul__"):
        pytest.skip("needs in-place arithmetic")
    tr.seed(0)
    layer = kind(3, 4, mode=mode)
    step = layer.stepper(2)
    for t in range(5):
        if t in (2, 3):
            CHANGES[change](layer)
        state = step.state
        with tr.no_grad():
            y, last = layer(X[t : t + 1], state)
        np.testing.assert_allclose(step(X[t]), y.numpy()[0], rtol=1e-6, atol=1e-7)
        for a, b in zip(tr.core.tree.flatten(step.state)[0], tr.core.tree.flatten(last)[0]):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-6, atol=1e-7)


def test_several_layers_take_over_changes():
    tr.seed(0)
    layer = nn.GRU(3, 4, num_layers=3)
    step = layer.stepper(2)
    step(X[0])
    train(layer)
    layer.weight_hh_l1.data[...] *= 3
    with tr.no_grad():
        y, _ = layer(X[1:2], step.state)
    np.testing.assert_allclose(step(X[1]), y.numpy()[0], rtol=1e-6)


class Scaled(nn.Cell):
    """Settings in an attribute, in a dict, and in a part."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.map = nn.Linear(3, 3)
        self.scale, self.options = 1.0, {"shift": 0.0}

    def step(self, x, h):
        h = tr.tanh(self.map(x) * self.scale + h + self.options["shift"])
        return h, h


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
def test_the_next_step_has_changed_settings(mode):
    layer = nn.Recurrent(Scaled(), mode)
    step = layer.stepper(2)

    def check(t):
        with tr.no_grad():
            y = layer(X[t : t + 1], step.state)[0].numpy()[0]
        np.testing.assert_allclose(step(X[t]), y, rtol=1e-6)

    check(0)
    layer.cell.scale = 2.0
    check(1)
    layer.cell.options["shift"] = 0.5
    check(2)
    layer.cell.map = nn.Linear(3, 3)
    check(3)
    layer.cell.map.weight.data[...] += 1
    check(4)
    layer.cell.map.bias = None
    check(5)


class Normed(nn.Cell):
    """What is computed of parameters: when a sequence begins, and before the loop."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.w, self.v = nn.Parameter(np.eye(3) + 0.1), nn.Parameter(np.ones((3, 3)))

    def begin_sequence(self, batch_size):
        self.normed = self.w / tr.sqrt((self.w * self.w).sum())

    def step(self, x, h):
        h = tr.tanh(x @ self.normed + h @ (self.v / self.v.sum()))
        return h, h


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["w", "v"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_what_is_computed_of_parameters_is_computed_anew(mode, name, by_hand):
    cell = Normed()
    layer = nn.Recurrent(cell, mode)
    x = X.astype(np.float64)
    step = layer.stepper(2)
    step(x[0])
    p = getattr(cell, name)
    if by_hand:
        p.data[0] *= 3
    else:
        with tr.no_grad():
            p.copy_(p.data * np.array([1.0, 2.0, 3.0]))
    with tr.no_grad():
        y = layer(x[1:2], step.state)[0].numpy()[0]
    np.testing.assert_allclose(step(x[1]), y, rtol=1e-12)


def test_writes_to_a_part_of_a_large_parameter_are_told():
    layer = nn.LSTM(3, 128)
    step = layer.stepper(2)
    step(X[0])
    layer.weight_hh_l0.data[...] *= 1.01  # as a whole: at once
    with tr.no_grad():
        y = layer(X[1:2], step.state)[0].numpy()[0]
    np.testing.assert_allclose(step(X[1]), y, rtol=1e-5, atol=1e-6)
    layer.weight_hh_l0.data[100, 7] += 1
    layer.weight_hh_l0.touch()  # or it is said
    with tr.no_grad():
        y = layer(X[2:3], step.state)[0].numpy()[0]
    np.testing.assert_allclose(step(X[2]), y, rtol=1e-5, atol=1e-6)
    layer.weight_hh_l0.data[100, 7] += 1
    with pytest.warns(RuntimeWarning, match="written to through its data, and up to 66 steps"):
        deque((step(X[3]) for _ in range(67)), 0)
    with tr.no_grad():
        y = layer(X[4:5], step.state)[0].numpy()[0]
    np.testing.assert_allclose(step(X[4]), y, rtol=1e-5, atol=1e-6)


def test_other_shapes_and_dtypes_need_a_new_stepper():
    layer = nn.GRU(3, 4)
    step = layer.stepper(2)
    layer.to("float64")
    with pytest.raises(ShapeError, match="GRUCell: stepper: parameters changed their shapes or dtypes; make a new"):
        step(X[0])


# ---- states: the stepper speaks the layer's form


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_states_go_from_layer_to_stepper_and_back(kind, layers, mode):
    tr.seed(0)
    layer = kind(3, 4, num_layers=layers, mode=mode)
    with tr.no_grad():
        _, state = layer(X[:2])
        whole, _ = layer(X)
    step = layer.stepper(2)
    step.reset(state)
    for t in (2, 3):
        np.testing.assert_allclose(step(X[t]), whole.numpy()[t], rtol=1e-5, atol=1e-6)
    with tr.no_grad():
        ys, _ = layer(X[4:], step.state)
    np.testing.assert_allclose(ys.numpy(), whole.numpy()[4:], rtol=1e-5, atol=1e-6)
    step.reset(step.state)
    if kind is nn.LSTM:
        step.reset(list(step.state))
        with pytest.raises(ShapeError, match=r"LSTMCell: state: got one tensor, wanted a pair of tensors, \(\*, \*\)"):
            step.reset(step.state[0])
    else:
        with pytest.raises(ShapeError, match=r"state: got shape \(2, 4\), wanted \(\d, 2, 4\) as the layer's"):
            step.reset(np.zeros((2, 4)))


@pytest.mark.parametrize("mode", MODES)
def test_states_of_a_cell(mode):
    layer = nn.Recurrent(nn.LSTMCell(3, 4), mode)
    step = layer.stepper(2)
    _, state = layer(X)
    step.reset(state)
    with tr.no_grad():
        y, _ = layer(X[:1], step.state)
    np.testing.assert_allclose(step(X[0]), y.numpy()[0], rtol=1e-6)
    with pytest.raises(ShapeError, match=r"state: got shape \(1, 4\), wanted \(2, 4\)"):
        step.reset((np.zeros((1, 4)), np.zeros((1, 4))))


# ---- inputs


@pytest.mark.parametrize("mode", MODES)
def test_inputs_of_other_kinds(mode):
    layer = nn.GRU(3, 4, mode=mode)
    step, values = layer.stepper(1), [[1.0, 0.0, -1.0]]
    wanted = step(np.array(values, np.float32))
    for x in (values, (values[0],), np.array(values), np.array(values, np.float16), np.array(values, int)):
        step.reset()
        np.testing.assert_allclose(step(x), wanted, rtol=1e-6)
    step.reset()
    found = step(tr.tensor(values))
    assert isinstance(found, tr.Tensor)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    for x, got in (([1.0, 0.0, 1.0], r"\(3,\)"), (1.0, r"\(\)"), (np.zeros((2, 3)), r"\(2, 3\)")):
        with pytest.raises(ShapeError, match=rf"GRUCell: x: got shape {got}, wanted \(1, 3\)"):
            step(x)
    with pytest.raises(ShapeError, match=r"x: got \(\*, \*\), wanted one array"):
        step((np.zeros((1, 3)), np.zeros((1, 3))))
    with pytest.raises(DTypeError, match="x: got"):
        step(np.array([["a", "b", "c"]]))


class Difference(nn.Cell):
    """A state that is the input, and an output that is the state."""

    def __init__(self):
        self.input_size = self.hidden_size = 1

    def step(self, x, before):
        return (x - before, x), x


@pytest.mark.parametrize("mode", MODES)
def test_a_reused_buffer(mode):
    step, buffer, found = nn.Recurrent(Difference(), mode).stepper(1), np.zeros((1, 1), np.float32), []
    for v in (1, 2, 4, 8):
        buffer.fill(v)
        y, same = step(buffer)
        found.append(float(y[0, 0]))
        same[...] = 100.0  # the caller's own
    assert found == [1, 1, 2, 4]
    state = np.full((1, 1), 3.0, np.float32)
    step.reset(state)
    state[...] = 0
    step.state[...] = 7
    assert float(step(buffer)[0][0, 0]) == 5


# ---- noise: every stepper keeps its own


@pytest.mark.parametrize("mode", MODES)
def test_sequences_in_between_do_not_change_the_noise(mode):
    """Two streams of one cell, each with masks of its own, and the layer called in between."""
    tr.seed(0)
    cell = nn.VariationalDropout(nn.GRUCell(3, 4), 0.5, 0.5, 0.5)
    layer = nn.Recurrent(cell, mode)
    tr.seed(1)
    alone = layer.stepper(2)
    wanted = [alone(x) for x in X]
    tr.seed(1)
    one = layer.stepper(2)
    other = layer.stepper(3)
    for t, x in enumerate(X):
        np.testing.assert_array_equal(one(x), wanted[t])
        other(np.ones((3, 3), np.float32))
        layer(X[:, :1])


class Shrinking(nn.Cell):
    """When a sequence begins, a plain number and a decision are read off the parameters."""

    def __init__(self, noise=0.0):
        self.input_size = self.hidden_size = 3
        self.w, self.drop = nn.Parameter(np.eye(3) * 0.5), nn.Dropout(noise)

    def begin_sequence(self, batch_size):
        self.scale = float(self.w.data.sum())
        self.negative = self.scale < 0

    def step(self, x, h):
        h = self.drop(tr.tanh(x @ self.w * self.scale + h))
        return (-h if self.negative else h), h


@pytest.mark.parametrize("mode", MODES)
def test_numbers_that_are_read_off_parameters_are_read_anew(mode):
    """The step becomes another program."""
    cell = Shrinking()
    layer, x = nn.Recurrent(cell, mode), X.astype(np.float64)
    step = layer.stepper(2)
    step(x[0])
    for t, factor in ((1, 2.0), (2, -1.0), (3, 1.0)):
        cell.w.data[...] *= factor
        with tr.no_grad():
            y, last = layer(x[t : t + 1], step.state)
        np.testing.assert_allclose(step(x[t]), y.numpy()[0], rtol=1e-12)
        np.testing.assert_allclose(step.state, last.numpy(), rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("looking", [False, True])
def test_a_write_does_not_draw_twice(looking, mode):
    """Masks of a step that meets changed parameters are those that it would have drawn anyway."""
    found = []
    for write in (False, True):
        cell = Shrinking(noise=0.5)
        step, x = nn.Recurrent(cell, mode).stepper(2), X.astype(np.float64)
        tr.seed(0)
        with tr.detect_anomaly(looking):
            ys = []
            for t in range(4):
                if write:
                    cell.w.data[0, 0] += 1e-9
                ys.append(step(x[t]))
        found.append((ys, config.generator().random()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_are_refused(mode, copied):
    """A stream goes on in a new stepper that is given the state, and a learner's likewise."""
    layer, x = nn.Recurrent(nn.MinGRUCell(2, 3), mode=mode), np.ones((1, 2), np.float32)
    step, learner = layer.stepper(), nn.RTRL(layer, mode=mode)
    step(x), learner.step(x)
    for stream, name in ((step, "Stepper"), (learner, "RTRL: MinGRUCell")):
        with pytest.raises(TypeError, match=f"{name}: cannot be copied or pickled; copy the (layer|cell), make a new"):
            copied(stream)
    again, other = copy.deepcopy(layer).stepper(), nn.RTRL(copy.deepcopy(layer), mode=mode)
    again.reset(step.state), other.reset(learner.state)
    np.testing.assert_array_equal(again(x), step(x))
    np.testing.assert_array_equal(other.step(x).numpy(), learner.step(x).numpy())
