"""Options of the layers: learned initial states, all states, directions and how they are joined, carries."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.recurrent.layers.layer_options import DEFAULTS, LayerOptions
from tinygrad_rnn.recurrent.layers.multilayer import RNNBase
from tinygrad_rnn.testing.module_cells import Peephole

from ...differences import check_gradients, project
from ..sequences import draw, leaves, scan

MODES = ["eager", "compiled"]
T, B, I, H = 5, 2, 3, 4

both_modes = pytest.mark.parametrize("mode", MODES)
each_kind = pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda k: k.__name__)


@pytest.fixture(autouse=True)
def seed():
    tr.seed(0)


def same(first, second, tol=0.0):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a.numpy()), np.asarray(b.numpy()), rtol=tol, atol=tol)


def shuffle_initial(layer):
    """Give learned initial states values that are not zero."""
    rng = np.random.default_rng(3)
    for name, p in layer.named_parameters():
        if "initial_state" in name:
            nn.init.set_to(p, rng.standard_normal(p.shape))


# ---- learned initial states


@pytest.mark.sampled(4)
@both_modes
@each_kind
def test_a_learned_state_is_where_every_row_begins(kind, mode):
    layer = kind(I, H, num_layers=2, bidirectional=True, learn_initial_state=True, dtype="float64", mode=mode)
    shuffle_initial(layer)
    plain = kind(I, H, num_layers=2, bidirectional=True, dtype="float64", mode=mode)
    report = plain.load_state_dict(layer.state_dict(), strict=False)
    count = 2 if kind is nn.LSTM else 1
    suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert report.unexpected_keys == [f"initial_state_{i}{s}" for s in suffixes for i in range(count)]
    rows = [np.stack([getattr(layer, f"initial_state_{i}{s}").numpy() for s in suffixes]) for i in range(count)]
    state = [tr.tensor(np.repeat(r[:, None], B, axis=1)) for r in rows]
    x = draw((T, B, I))
    same(layer(x), plain(x, tuple(state) if count == 2 else state[0]), tol=1e-13)
    given = tuple(draw((4, B, H), seed=5) for _ in range(count))
    given = given if count == 2 else given[0]
    same(layer(x, given), plain(x, given), tol=1e-13)  # a state that is given goes first


@both_modes
def test_gradients_of_a_learned_state(mode):
    layer = nn.LSTM(I, 2, learn_initial_state=True, dtype="float64", mode=mode)
    shuffle_initial(layer)
    x = draw((3, B, I))
    assert layer.initial_state_1_l0.shape == (2,)
    check_gradients(lambda: leaves(*layer(x)), [layer.initial_state_0_l0, layer.initial_state_1_l0, layer.weight_hh_l0])


@both_modes
def test_any_cell_learns_its_state(mode):
    layer = nn.Recurrent(Peephole(I, H, "float64"), mode, learn_initial_state=True)
    names = [name for name, _ in layer.named_parameters()]
    assert names[:2] == ["cell.initial_state_0", "cell.initial_state_1"]  # c, then h: keys are sorted
    np.testing.assert_array_equal(layer.cell.initial_state_0.numpy(), 1)  # as the cell begins itself
    shuffle_initial(layer)
    c, h = (getattr(layer.cell, n).numpy() for n in ("initial_state_0", "initial_state_1"))
    x = draw((T, B, I))
    start = {"h": tr.tensor(np.tile(h, (B, 1))), "c": tr.tensor(np.tile(c, (B, 1)))}
    same(layer(x), scan(layer.cell.cell, x, start), tol=1e-13)
    check_gradients(lambda: leaves(*layer(x)), [layer.cell.initial_state_0, layer.cell.initial_state_1])


@both_modes
def test_streams_begin_with_the_learned_state(mode):
    layer = nn.GRU(I, H, learn_initial_state=True, mode=mode)
    shuffle_initial(layer)
    x = draw((T, B, I), "float32", requires_grad=False)
    step = layer.stepper(B)
    same([tr.tensor(np.stack([step(x.numpy()[t]) for t in range(T)]))], [layer(x)[0]], tol=1e-6)


def test_learned_states_are_saved_copied_and_reset():
    layer = nn.Bidirectional(nn.GRUCell(I, H), nn.GRUCell(I, H), mode="eager", learn_initial_state=True)
    shuffle_initial(layer)
    other = nn.Bidirectional(nn.GRUCell(I, H), nn.GRUCell(I, H), mode="eager", learn_initial_state=True)
    x = draw((T, B, I), "float32")
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(twin(x), layer(x))
    lstm = nn.LSTM(I, H, learn_initial_state=True)
    shuffle_initial(lstm)
    lstm.reset_parameters()
    assert not lstm.initial_state_0_l0.numpy().any()
    assert copy.deepcopy(lstm)._cells[0].initial_state_0 is not lstm.initial_state_0_l0


def test_a_cell_without_state_has_none_to_learn():
    class Plain(nn.Cell):
        def initial_state(self, batch_size):
            return None

    with pytest.raises(ValueError, match=r"LearnedInitialState: cell: Plain has no state"):
        nn.Recurrent(Plain(), learn_initial_state=True)
    with pytest.raises(TypeError, match=r"LearnedInitialState: cell: got int, wanted an nn\.Cell"):
        nn.LearnedInitialState(3)


# ---- all states


def by_steps(cell, x, state=None):
    """The states after every step, from one call for each."""
    states = []
    for t in range(len(x)):
        _, state = scan(cell, x[t : t + 1], state)
        states.append(state)
    return tree.map(lambda *s: tr.stack(s), *states)


@pytest.mark.sampled(4)
@both_modes
@pytest.mark.parametrize("make", [nn.LSTMCell, Peephole], ids=["tuple", "dict"])
def test_all_states_are_those_of_single_steps(make, mode):
    cell = make(I, H, dtype="float64")
    layer = nn.Recurrent(cell, mode)
    x = draw((T, B, I))
    ys, states = layer(x, return_states="all")
    zs, final = layer(x)
    same(ys, zs, tol=1e-13)
    same(tree.map(lambda s: s[-1], states), final, tol=1e-13)
    same(states, by_steps(cell, x), tol=1e-12)
    loss = lambda results: project(leaves(results))
    wanted = [x, *cell.parameters()]
    expected = tr.grad(loss([zs, by_steps(cell, x)]), wanted)
    same(tr.grad(loss([ys, states]), wanted), expected, tol=1e-10)
    before = layer._with_states[0]
    layer(x, return_states="all")
    assert layer._with_states == [before]  # compiled once
    assert list(layer.state_dict()) == [f"cell.{name}" for name in cell.state_dict()]


@pytest.mark.sampled(4)
@both_modes
@pytest.mark.parametrize("batch_first", [False, True])
def test_all_states_of_layers_and_directions(batch_first, mode):
    layer = nn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=batch_first, dtype="float64", mode=mode)
    x = draw((T, B, I))
    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)
    y, (h, c) = layer(turn(x), return_states="all")
    z, (h_n, c_n) = layer(turn(x))
    same(y, z, tol=1e-13)
    assert h.shape == c.shape == (4, *turn(x).shape[:2], H)
    lead = lambda s, i, t: turn(s[i])[t]
    for i, t in enumerate((-1, 0, -1, 0)):  # a direction that runs backwards ends at the first step
        same([lead(h, i, t), lead(c, i, t)], [h_n[i], c_n[i]], tol=1e-13)
    same(tr.concat([h[2], h[3]], axis=-1), y, tol=1e-13)
    same([turn(c[0])], [by_steps(layer._cells[0], x)[1]], tol=1e-12)


def test_all_states_without_a_batch():
    layer = nn.GRU(I, H, num_layers=2, mode="eager")
    y, h = layer(np.ones((T, I)), return_states="all")
    assert h.shape == (2, T, H)
    same(h[1], y)


def test_all_states_of_both_directions():
    fw, bw = nn.GRUCell(I, H, dtype="float64"), nn.GRUCell(I, H, dtype="float64")
    layer = nn.Bidirectional(fw, bw, mode="eager")
    x = draw((T, B, I))
    y, (a, b) = layer(x, return_states="all")
    same(y, tr.concat([a, b], axis=-1))
    same([a[-1], b[0]], list(layer(x)[1]))


def test_messages_name_the_cell():
    with pytest.raises(ShapeError, match=r"^GRUCell: xs: got 2 features"):
        nn.Recurrent(nn.GRUCell(I, H))(np.ones((T, B, 2)), return_states="all")


@both_modes
def test_all_states_where_not_all_steps_count(mode):
    layer = nn.Recurrent(nn.LSTMCell(I, H, dtype="float64"), mode)
    x, lengths = draw((T, B, I)), np.array([2, T])
    ys, (h, c) = layer(x, lengths=lengths, return_states="all")
    _, (h_n, c_n) = layer(x, lengths=lengths)
    same([ys], [h])
    same([h[lengths - 1, np.arange(B)], c[lengths - 1, np.arange(B)]], [h_n, c_n], tol=1e-13)
    assert not c.numpy()[2:, 0].any()


def test_which_states_is_checked():
    for layer in (nn.GRU(I, H), nn.Recurrent(nn.GRUCell(I, H))):
        with pytest.raises(ValueError, match=r"return_states: got array.*, wanted 'final' or 'all'"):
            layer(np.ones((T, B, I)), return_states=np.ones(2))
        with pytest.raises(ValueError, match=r"return_states: got 'last', wanted 'final' or 'all'"):
            layer(np.ones((T, B, I)), return_states="last")


# ---- directions


@pytest.mark.sampled(2)
@both_modes
@each_kind
def test_reversed_layers_equal_flipped_sequences(kind, mode):
    layer = kind(I, H, num_layers=2, reverse=True, dtype="float64", mode=mode)
    plain = kind(I, H, num_layers=2, dtype="float64", mode=mode)
    plain.load_state_dict(layer.state_dict())
    x = draw((T, B, I))
    y, state = layer(x)
    z, final = plain(tr.flip(x, 0))
    same([y, state], [tr.flip(z, 0), final])
    with pytest.raises(ValueError, match=r"stepper: this layer runs in reverse"):
        layer.stepper()


@both_modes
@pytest.mark.parametrize("merge", ["sum", "mean"])
def test_directions_are_added_up(merge, mode):
    layer = nn.GRU(I, H, num_layers=2, bidirectional=True, merge=merge, dtype="float64", mode=mode)
    assert layer.weight_ih_l1.shape == (3 * H, H)
    x = draw((T, B, I))
    y, _ = layer(x)
    assert y.shape == (T, B, H)
    scale = 1.0 if merge == "sum" else 0.5
    z = x
    for first in (0, 2):
        fw, bw = (scan(layer._cells[first + d], z, reverse=d == 1)[0] for d in range(2))
        z = (fw + bw) * scale
    same(y, z, tol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(I, H, bidirectional=True, reverse=True), r"LSTM: reverse: got True for a bidirectional layer"),
        (lambda: nn.GRU(I, H, bidirectional=True, merge="max"), r"merge: got 'max', wanted one of concat, sum, mean"),
        (lambda: nn.GRU(I, H, bidirectional=True, merge=["sum"]), r"merge: got \['sum'\], wanted one of concat, sum"),
        (lambda: nn.GRU(I, H, hidden=3), r"GRU: got an unknown option, hidden, wanted some of num_layers"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_repr_names_the_options():
    layer = nn.RNN(3, 4, bidirectional=True, merge="sum", learn_initial_state=True)
    assert repr(layer) == "RNN(3, 4, bidirectional=True, merge='sum', learn_initial_state=True)"
    assert repr(nn.LSTM(3, 4, proj_size=2, reverse=True)) == "LSTM(3, 4, reverse=True, proj_size=2)"


# ---- carries


@both_modes
def test_a_detached_carry_goes_on_without_gradients(mode):
    layer = nn.LSTM(I, H, dtype="float64", mode=mode)
    x = draw((2 * T, B, I))
    first, state = layer(x[:T])
    carry = nn.detach_state(state)
    second, _ = layer(x[T:], carry)
    same(tr.concat([first, second]), layer(x)[0], tol=1e-13)
    (g,) = tr.grad(second.sum(), [x])
    assert not g.numpy()[:T].any()
    assert g.numpy()[T:].any()
    assert nn.detach_state(None) is None
    assert not any(s.requires_grad for s in leaves(carry))
    nested = nn.detach_state({"a": [state[0]], "b": None})
    assert tree.flatten(nested)[1] == tree.flatten({"a": [state[0]], "b": None})[1]


def test_a_carry_of_another_batch_is_rejected():
    layer = nn.Recurrent(nn.GRUCell(I, H), learn_initial_state=True)
    with pytest.raises(ShapeError, match=r"state: got shape \(3, 4\), wanted \(2, 4\)"):
        layer(np.ones((T, B, I)), np.zeros((3, H)))


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_help_lists_every_option_with_its_default(layer):
    assert list(LayerOptions.__annotations__) == list(DEFAULTS)
    parameters = inspect.signature(layer).parameters
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, default in DEFAULTS.items():
        assert parameters[name].default == default
        assert name in RNNBase.__doc__
    made = layer(I, H, **{name: p.default for name, p in parameters.items() if p.default is not p.empty})
    assert repr(made) == repr(layer(I, H))
