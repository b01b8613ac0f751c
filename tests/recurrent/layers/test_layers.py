"""The layers: what they own, dropout, directions, and their messages."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import CheckpointError, DTypeError, ShapeError
from tinygrad_rnn.modules.dropout import dropout_mask

from ...differences import check_gradients
from ..sequences import draw, leaves, scan

# these tests are of the layers around the cells, so all run on the tape
RNN, LSTM, GRU = (partial(kind, mode="eager") for kind in (nn.RNN, nn.LSTM, nn.GRU))
Recurrent, Bidirectional = (partial(kind, mode="eager") for kind in (nn.Recurrent, nn.Bidirectional))

LAYERS = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "gru-before": lambda *a, **k: GRU(*a, reset_after=False, **k),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@pytest.fixture(autouse=True)
def seed():
    tr.seed(0)


def same(first, second):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.sampled(4)
@every_layer
def test_gradients_equal_finite_differences(make):
    layer = make(2, 2, num_layers=2, bidirectional=True, dtype="float64")
    x, h = draw((3, 2, 2)), draw((4, 2, 2), seed=1)
    state = (h, draw((4, 2, 2), seed=2)) if make is LSTM else h
    check_gradients(lambda: leaves(*layer(x, state)), [*layer.parameters(), x, *leaves(state)])


@every_layer
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
)
def test_layers_are_scans_of_their_cells(make, sizes, layers, bidirectional, bias):
    T, B, I, H = sizes
    layer = make(I, H, layers, bias=bias, bidirectional=bidirectional, dtype="float64")
    x = draw((T, B, I), requires_grad=False)
    y, state = layer(x)
    cells = iter(layer._cells)
    finals = []
    for _ in range(layers):
        runs = [scan(next(cells), x, reverse=r) for r in ((False, True) if bidirectional else (False,))]
        x = tr.concat([ys for ys, _ in runs], axis=-1)
        finals += [s for _, s in runs]
    same(y, x)
    same(state, tree.map(lambda *s: tr.stack(s), *finals))


@every_layer
@pytest.mark.parametrize("batched", [True, False])
def test_batch_first_moves_the_batch_of_inputs_and_outputs_only(make, batched):
    layer = make(3, 4, num_layers=2, dtype="float64")
    first = copy.deepcopy(layer)
    first.batch_first = True
    x = draw((5, 2, 3) if batched else (5, 3))
    y, state = layer(x)
    z, other = first(x.swapaxes(0, 1) if batched else x)
    same(y, z.swapaxes(0, 1) if batched else z)
    same(state, other)


@every_layer
def test_chunks_equal_the_whole(make):
    layer = make(3, 4, num_layers=2, dtype="float64")
    x = draw((7, 2, 3))
    y, state = layer(x)
    a, carry = layer(x[:3])
    b, carry = layer(x[3:], carry)
    same(y, tr.concat([a, b]))
    same(state, carry)


@every_layer
def test_integer_and_float64_arrays_take_the_dtype_of_the_layer(make):
    layer = make(3, 4)
    y, _ = layer(np.ones((2, 1, 3)))
    assert y.dtype == np.float32
    z, _ = layer(np.ones((2, 1, 3), int))
    assert z.dtype == np.float32
    same(y, z)


# ---- dropout between the layers


def test_dropout_acts_between_layers_in_training_only():
    layer = GRU(3, 4, num_layers=2, dropout=0.5)
    x = draw((6, 2, 3), np.float32, requires_grad=False)
    tr.seed(1)
    first = layer(x)
    other = layer(x)
    tr.seed(1)
    again = layer(x)
    same(first, again)
    assert not np.array_equal(first[0].numpy(), other[0].numpy())
    layer.eval()
    plain = GRU(3, 4, num_layers=2)
    plain.load_state_dict(layer.state_dict())
    same(layer(x), plain(x))
    assert layer.train()._cells[0].training


def test_dropout_masks_the_lower_layer_elementwise():
    layer = RNN(2, 3, num_layers=2, dropout=0.25, dtype="float64")
    x = draw((4, 5, 2), requires_grad=False)
    lower, upper = layer._cells
    tr.seed(7)
    y, _ = layer(x)
    tr.seed(7)
    ys, _ = scan(lower, x)
    mask = dropout_mask(ys.shape, 0.25, ys.dtype)
    assert set(np.unique(mask)) == {0.0, 1 / 0.75}
    same(y, scan(upper, ys * mask)[0])


def test_full_dropout_leaves_the_biases():
    layer = RNN(2, 3, num_layers=2, dropout=1.0)
    y, _ = layer(np.random.default_rng(0).standard_normal((4, 1, 2)))
    np.testing.assert_array_equal(y.numpy(), 0)


def test_dropout_on_one_layer_is_pointed_out():
    with pytest.warns(UserWarning, match=r"LSTM: dropout=0\.5 acts between layers"):
        LSTM(2, 3, dropout=0.5)


# ---- parameters


@every_layer
def test_the_cells_hold_the_same_parameters(make):
    layer = make(3, 4, num_layers=2, bidirectional=True)
    assert layer.weight_hh_l1_reverse is layer._cells[3].weight_hh
    assert len(list(layer.parameters())) == 16
    assert len(list(layer.modules())) == 1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.bias_ih_l1 is twin._cells[2].bias_ih
        assert twin.bias_ih_l1 is not layer.bias_ih_l1


def test_setting_a_parameter_sets_it_in_its_cell():
    layer = GRU(3, 4, bidirectional=True)
    layer.weight_ih_l0_reverse = layer.weight_ih_l0
    assert layer._cells[1].weight_ih is layer._cells[0].weight_ih
    assert len(list(layer.parameters())) == 7
    layer.extra = nn.Parameter([1.0])
    assert len(list(layer.parameters())) == 8


def test_loading_and_casting_reach_the_cells():
    layer, other = LSTM(3, 4, num_layers=2), LSTM(3, 4, num_layers=2)
    other.load_state_dict(layer.state_dict())
    x = np.ones((3, 1, 3))
    same(layer(x), other(x))
    assert layer.to("float64")(x)[0].dtype == np.float64
    with pytest.raises(CheckpointError, match=r"does not fit LSTM[\s\S]*missing keys: weight_ih_l1"):
        layer.load_state_dict(LSTM(3, 4).state_dict())


def test_reset_parameters_draws_anew():
    layer = LSTM(3, 4, init="torch")
    before = layer.state_dict()
    layer.reset_parameters()
    assert not np.array_equal(before["weight_ih_l0"], layer.weight_ih_l0.numpy())
    assert np.abs(layer.bias_hh_l0.numpy()).max() <= 0.5


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (LSTM(3, 4), "LSTM(3, 4)"),
        (
            GRU(3, 4, num_layers=2, bias=False, dropout=0.1, batch_first=True, reset_after=False),
            "GRU(3, 4, num_layers=2, bias=False, dropout=0.1, batch_first=True, reset_after=False)",
        ),
        (RNN(3, 4, nonlinearity="relu"), "RNN(3, 4, nonlinearity='relu')"),
        (
            Recurrent(nn.GRUCell(3, 4, bias=False), reverse=True),
            "Recurrent(\n  mode='eager', reverse=True\n  (cell): GRUCell(3, 4, bias=False)\n)",
        ),
        (
            Bidirectional(nn.RNNCell(3, 4), nn.RNNCell(3, 4), merge="sum"),
            "Bidirectional(\n  merge='sum'\n  (cell_fw): RNNCell(3, 4, nonlinearity='tanh')\n"
            "  (cell_bw): RNNCell(3, 4, nonlinearity='tanh')\n)",
        ),
    ],
)
def test_repr_reads_like_the_architecture(module, text):
    assert repr(module) == text


# ---- layers of any cell


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_runs_any_cell(batch_first, reverse):
    cell = nn.LSTMCell(3, 4, dtype="float64")
    layer = Recurrent(cell, batch_first=batch_first, reverse=reverse)
    x = draw((5, 2, 3))
    y, state = layer(x.swapaxes(0, 1) if batch_first else x)
    expected, final = scan(cell, x, reverse=reverse)
    same(y.swapaxes(0, 1) if batch_first else y, expected)
    same(state, final)
    assert next(iter(layer.state_dict())) == "cell.weight_ih"


@pytest.mark.parametrize("merge", ["concat", "sum", "mean"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_bidirectional_merges_both_directions(merge, batch_first):
    fw, bw = nn.GRUCell(3, 4, dtype="float64"), nn.GRUCell(3, 4, dtype="float64")
    layer = Bidirectional(fw, bw, merge=merge, batch_first=batch_first)
    x = draw((5, 2, 3))
    start = draw((2, 4), seed=3), draw((2, 4), seed=4)
    y, (a, b) = layer(x.swapaxes(0, 1) if batch_first else x, start)
    ys_fw, h_fw = scan(fw, x, start[0])
    ys_bw, h_bw = scan(bw, x, start[1], reverse=True)
    f, g = ys_fw.numpy(), ys_bw.numpy()
    expected = {"concat": np.concatenate([f, g], -1), "sum": f + g, "mean": (f + g) / 2}[merge]
    np.testing.assert_allclose((y.swapaxes(0, 1) if batch_first else y).numpy(), expected, rtol=1e-14)
    same((a, b), (h_fw, h_bw))


def test_bidirectional_equals_the_built_in_layer():
    layer = LSTM(3, 4, bidirectional=True, dtype="float64")
    x = draw((5, 2, 3))
    y, (h, c) = layer(x)
    z, (fw, bw) = Bidirectional(*layer._cells)(x)
    same(y, z)
    same((h, c), tree.map(lambda a, b: tr.stack([a, b]), fw, bw))


def test_stacked_cells_equal_layers():
    layer = GRU(3, 4, num_layers=2, dtype="float64")
    x = draw((5, 2, 3))
    y, h = layer(x)
    z, states = Recurrent(nn.Stacked(layer._cells))(x)
    same(y, z)
    same(h, tr.stack(states))


# ---- messages


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m(np.ones((5, 2, 4))),
            ShapeError,
            r"LSTM: input: got shape \(5, 2, 4\), wanted \(T, B, 3\)",
        ),
        (lambda m: m(np.ones(3)), ShapeError, r"LSTM: input: got shape \(3,\)"),
        (
            lambda m: m(np.ones((0, 2, 3))),
            ShapeError,
            r"LSTM: input: got shape \(0, 2, 3\), wanted at least one",
        ),
        (
            lambda m: m(np.ones((5, 0, 3))),
            ShapeError,
            r"LSTM: input: got shape \(5, 0, 3\), wanted at least one",
        ),
        (
            lambda m: m(tr.zeros((5, 2, 3), "float64")),
            DTypeError,
            r"LSTM: input: got a float64 tensor, wanted float32",
        ),
        (
            lambda m: m(np.ones((5, 2, 3)), np.zeros((1, 2, 4))),
            ShapeError,
            r"LSTM: state: got one tensor, wanted a pair of tensors, \(\*, \*\)",
        ),
        (
            lambda m: m(np.ones((5, 2, 3)), (np.zeros((1, 2, 4)), np.zeros((1, 3, 4)))),
            ShapeError,
            r"LSTM: state: got shape \(1, 3, 4\), wanted \(1, 2, 4\)",
        ),
        (
            lambda m: m(np.ones((5, 3)), (np.zeros((1, 4)), np.zeros((1, 1, 4)))),
            ShapeError,
            r"LSTM: state: got shape \(1, 1, 4\), wanted \(1, 4\)",
        ),
        (
            lambda m: m(np.ones((5, 2, 3)), (tr.zeros((1, 2, 4)), tr.zeros((1, 2, 4), "float64"))),
            DTypeError,
            r"LSTM: state: got a float64 tensor, wanted float32",
        ),
        (
            lambda m: m(np.ones((5, 3)), lengths=[3]),
            ShapeError,
            r"LSTM: lengths: got shape \(1,\), wanted one number, as input has no batch",
        ),
        (
            lambda m: m(np.ones((5, 3)), mask=np.ones((5, 1), bool)),
            ShapeError,
            r"LSTM: mask: got shape \(5, 1\), wanted \(5,\), as input has no batch",
        ),
        (
            lambda m: m(np.ones((5, 3)), resets=np.ones(4, bool)),
            ShapeError,
            r"LSTM: resets: got shape \(4,\), wanted \(5,\), as input has no batch",
        ),
        (lambda m: m([[[1.0]], [[1.0], [2.0]]]), DTypeError, r"LSTM: input: got nested sequences of unequal lengths"),
        (lambda m: m(np.ones((5, 3)), lengths=2.0), DTypeError, r"LSTM: lengths: got float.*, wanted integers"),
        (
            lambda m: m(np.ones((5, 3)), lengths=[[1], [2, 3]]),
            DTypeError,
            r"LSTM: lengths: got nested sequences of une",
        ),
    ],
)
def test_bad_calls_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call(LSTM(3, 4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: GRU(3, 4, num_layers=0),
            ValueError,
            r"GRU: num_layers: got 0, wanted a positive integer",
        ),
        (
            lambda: LSTM(3, 4, foo=1),
            TypeError,
            r"LSTM: got an unknown option, foo, wanted some of num_layers, bias, .*proj_size, .*, zoneout$",
        ),
        (lambda: nn.RNN(3, 4, proj_size=2), TypeError, r"RNN: got an unknown option, proj_size, wanted .*nonlinearity"),
        (lambda: GRU(3, 4, 2, dropout=1.5), ValueError, r"GRU: dropout: got 1\.5, wanted a probability"),
        (
            lambda: GRU(3, 4, mode="fast"),
            ValueError,
            r"mode: got 'fast', wanted 'auto', 'compiled' or 'eager'",
        ),
        (lambda: GRU(3, 4, dtype="int64"), DTypeError, r"dtype: got int64, wanted float32 or float64"),
        (
            lambda: Recurrent(nn.Linear(3, 4)),
            TypeError,
            r"Recurrent: cell: got Linear, wanted an nn\.Cell",
        ),
        (lambda: Bidirectional(None, None), TypeError, r"Bidirectional: cell: got NoneType"),
        (
            lambda: Bidirectional(nn.GRUCell(1, 1), nn.GRUCell(1, 1), merge="max"),
            ValueError,
            r"merge: got 'max', wanted one of concat, sum, mean",
        ),
        (
            lambda: Bidirectional(nn.GRUCell(1, 1), nn.GRUCell(1, 1))(np.ones((2, 1, 1)), np.ones(3)),
            ShapeError,
            r"Bidirectional: state: wanted the pair",
        ),
        (
            lambda: Recurrent(nn.GRUCell(3, 4), batch_first=True)(np.ones(3)),
            ShapeError,
            r"GRUCell: xs: got shape \(3,\), wanted \(B, T, 3\)",
        ),
    ],
)
def test_bad_settings_are_explained(make, error, message):
    with pytest.raises(error, match=message):
        make()
