"""Gradient flow against sequences taken apart by hand, and what it is for: finding vanishing gradients."""

import struct

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, viz
from tinygrad_rnn.errors import GraphError


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def last(ys):
    return (ys[-1] ** 2).sum()


def flow_of(layer, x, loss=last, **options):
    return viz.gradient_flow(layer, x, loss, **options)


def norms_by_hand(cell, x, state, loss):
    """Norms of the gradients by the state before each step: the rest of the sequence runs from there."""
    found = []
    leaves, make = tr.core.tree.flatten, tr.core.tree.unflatten
    for t in range(len(x)):
        parts, structure = leaves(state)
        parts = [s.detach().requires_grad_() for s in parts]
        ys, _ = nn.Recurrent(cell, mode="eager")(x[t:], make(structure, parts))
        gradients = tr.grad(loss(ys), parts, allow_unused=True)
        found.append([np.zeros(len(x[0])) if g is None else np.linalg.norm(g.numpy(), axis=1) for g in gradients])
        with tr.no_grad():
            _, state = cell.step(tr.tensor(x[t]), state)
    return np.array(found)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LRUCell, nn.MinGRUCell])
def test_gradients_by_every_state(kind):
    cell, x = kind(3, 4, dtype="float64"), draw(6, 2, 3)
    flow = flow_of(nn.Recurrent(cell), x)
    expected = norms_by_hand(cell, x, cell.initial_state(2), last)
    assert len(flow.gradients) == expected.shape[1]
    for name, column in zip(flow.gradients, expected.swapaxes(0, 1)):
        assert flow.gradients[name].shape == (7, 2)
        np.testing.assert_allclose(flow.gradients[name][:-1], column, rtol=1e-10, atol=1e-14)
    with tr.no_grad():
        ys, _ = nn.Recurrent(cell)(x)
    assert flow.loss == pytest.approx(float(last(ys)), rel=1e-10)
    if kind in (nn.RNNCell, nn.GRUCell, nn.MinGRUCell):  # the output is the state
        final = flow.gradients[f"{kind.__name__} state"][-1]
        np.testing.assert_allclose(final, np.linalg.norm(2 * ys[-1].numpy(), axis=1), rtol=1e-10)


def test_gradients_by_the_cell_state_include_the_way_through_h():
    class Disturbed(nn.LSTMCell):
        """Adds something to h and c; gradients by that are gradients by h and c."""

        def step(self, x, state):
            x, dh, dc = x
            gates = x @ self.weight_ih.T + self.bias_ih + state[0] @ self.weight_hh.T
            i, f, g, o = tr.split(gates, 4, axis=-1)
            c = tr.sigmoid(f) * state[1] + tr.sigmoid(i) * tr.tanh(g) + dc
            h = tr.sigmoid(o) * tr.tanh(c) + dh
            return h, (h, c)

    cell, x = nn.LSTMCell(3, 4, dtype="float64"), draw(6, 2, 3)
    disturbed = Disturbed(3, 4, dtype="float64")
    disturbed.load_state_dict(cell.state_dict())
    bias = cell.bias_ih + (0 if cell.bias_hh is None else cell.bias_hh)
    del disturbed.bias_ih
    disturbed.bias_ih, disturbed.input_size = bias, None
    nothing = [tr.zeros((6, 2, 4), "float64").requires_grad_() for _ in range(2)]
    ys, _ = nn.Recurrent(disturbed, mode="eager")((tr.tensor(x), *nothing))
    expected = tr.grad(last(ys), nothing)
    flow = flow_of(nn.Recurrent(cell), x)
    for name, g in zip(("LSTMCell state[0]", "LSTMCell state[1]"), expected):
        np.testing.assert_allclose(flow.gradients[name][1:], np.linalg.norm(g.numpy(), axis=2), rtol=1e-10)


def test_singular_values_of_a_plain_rnn():
    cell, x = nn.RNNCell(3, 4, dtype="float64"), draw(5, 3, 3)
    values = flow_of(nn.Recurrent(cell), x, rows=2).singular_values["RNNCell"]
    assert values.shape == (5, 2, 4)
    ys = nn.Recurrent(cell, mode="eager")(x)[0].numpy()
    slopes = (1 - ys**2)[:, :2, :, None] * cell.weight_hh.numpy()
    np.testing.assert_allclose(values, np.linalg.svd(slopes, compute_uv=False), rtol=1e-10)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_singular_values_are_those_of_finite_differences(kind):
    cell, x = kind(2, 3, dtype="float64"), draw(4, 2, 2)
    values = flow_of(nn.Recurrent(cell), x).singular_values[kind.__name__]
    nest, step = tr.core.tree, 1e-6
    state = nest.map(lambda s: s.detach(), cell.initial_state(2))
    for t in range(4):
        parts, structure = nest.flatten(state)
        flat = np.concatenate([s.numpy()[0] for s in parts])
        columns = []
        for k in range(flat.size):
            sides = []
            for sign in (1, -1):
                moved = flat + sign * step * (np.arange(flat.size) == k)
                pieces = [tr.tensor(p[None]) for p in np.split(moved, len(parts))]
                new = cell.step(tr.tensor(x[t, :1]), nest.unflatten(structure, pieces))[1]
                sides.append(np.concatenate([s.numpy()[0] for s in nest.flatten(new)[0]]))
            columns.append((sides[0] - sides[1]) / (2 * step))
        np.testing.assert_allclose(values[t, 0], np.linalg.svd(np.array(columns).T, compute_uv=False), atol=1e-8)
        state = nest.map(lambda s: s.detach(), cell.step(tr.tensor(x[t]), state)[1])


def test_saturated_gates():
    layer, x = nn.LSTM(2, 5, dtype="float64"), 3 * draw(4, 3, 2)
    with tr.no_grad():
        layer.weight_ih_l0.copy_(layer.weight_ih_l0.numpy() * 3)
    gates = flow_of(layer, x).gates
    names = "sigmoid(f)", "sigmoid(i)", "tanh(g)", "sigmoid(o)", "tanh(c)"
    assert [g.name for g in gates] == [f"LSTMCell {name}" for name in names]
    assert gates[0].source == "c = sigmoid(f) * c + sigmoid(i) * tanh(g)"
    assert gates[0].where.rpartition(":")[0].endswith("lstm.py")
    w_i, w_h, b = (getattr(layer, f"{n}_l0").numpy() for n in ("weight_ih", "weight_hh", "bias_ih"))
    h = c = np.zeros((3, 5))
    for t in range(4):
        i, f, g, o = np.split(x[t] @ w_i.T + h @ w_h.T + b, 4, axis=1)
        i, f, o, g = *(1 / (1 + np.exp(-a)) for a in (i, f, o)), np.tanh(g)
        c = f * c + i * g
        h = o * np.tanh(c)
        for gate, y in zip(gates, (f, i, (g + 1) / 2, o, (np.tanh(c) + 1) / 2)):
            assert gate.saturation[t] == pytest.approx(np.mean((y < 0.05) | (y > 0.95)))
    assert 0 < np.mean([g.saturation for g in gates]) < 1


def test_a_plain_rnn_forgets_or_explodes_where_an_lstm_does_not():
    x = draw(100, 4, 3).astype(np.float32)
    plain, wild, lstm = nn.RNN(3, 16, init="torch"), nn.RNN(3, 16), nn.LSTM(3, 16)
    with tr.no_grad():
        wild.weight_hh_l0.copy_(3 * wild.weight_hh_l0.numpy())
        lstm.bias_ih_l0[16:32] = 4.0  # of the forget gate
    flows = [flow_of(layer, x, rows=1) for layer in (plain, wild, lstm)]
    names = [list(f.gradients)[-1] for f in flows]  # of the LSTM, the cell state
    norms = [np.linalg.norm(f.gradients[name], axis=1) for f, name in zip(flows, names)]
    assert norms[0][0] < 1e-15 * norms[0][-1]
    assert norms[1][0] > 1e6 * norms[1][-1]
    assert 1e-2 < norms[2][0] / norms[2][-1] < 1e2
    rates = [f.rate(name) for f, name in zip(flows, names)]
    assert rates[0] < 0.8
    assert rates[1] > 1.1
    assert 0.95 < rates[2] < 1.05
    assert flows[0].singular_values["RNNCell"].max() < 1.2 < flows[1].singular_values["RNNCell"].max()


def test_everything_is_left_as_it_was():
    layer = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    layer.train()
    before = [(m, dict(vars(m))) for m in (layer, *layer._cells)]
    mode = tr.get_default_dtype(), tr.config.generator().bit_generator.state
    flow_of(layer, draw(4, 2, 2))
    assert all(vars(m) == old for m, old in before)
    assert (tr.get_default_dtype(), tr.config.generator().bit_generator.state) == mode
    assert all(p.grad is None for p in layer.parameters())
    assert layer.mode == "auto"
    with pytest.raises(ZeroDivisionError):
        flow_of(layer, draw(4, 2, 2), lambda ys: 1 / 0)
    assert all(vars(m) == old for m, old in before)


class Model(nn.Module):
    """A layer inside of a model, and a state in a dict."""

    class Inner(nn.Cell):
        input_size, hidden_size = 2, 3

        def __init__(self):
            self.weight = nn.Linear(5, 3)

        def initial_state(self, batch_size):
            zeros = {"h": tr.zeros((batch_size, 3)), "unused": tr.zeros((batch_size, 1))}
            return zeros | {"count": tr.zeros((batch_size, 1), "int64")}

        def step(self, x, state):
            h = tr.tanh(self.weight(tr.concat([x, state["h"]], axis=-1)))
            return h, {"h": h, "unused": state["unused"], "count": state["count"] + 1}

    def __init__(self):
        self.layer = nn.Recurrent(self.Inner())
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.layer(x)[0][-1])


def test_a_model_with_a_layer_inside():
    flow = flow_of(Model(), draw(5, 2, 2), lambda y: (y * y).sum())
    assert list(flow.gradients) == ["Inner state['h']", "Inner state['unused']"]
    assert flow.gradients["Inner state['h']"].all()
    assert not flow.gradients["Inner state['unused']"].any()
    assert flow.singular_values["Inner"].shape == (5, 1, 4)
    assert np.isnan(flow.rate("Inner state['unused']"))
    assert [g.name for g in flow.gates] == ["Inner h = tanh"]


def test_layers_of_several_cells():
    x = draw(5, 2, 3)
    stacked = flow_of(nn.Recurrent(nn.Stacked([nn.GRUCell(3, 4), nn.LSTMCell(4, 2)])), x)
    assert list(stacked.gradients) == ["Stacked state[0]", "Stacked state[1][0]", "Stacked state[1][1]"]
    assert stacked.singular_values["Stacked"].shape == (5, 1, 8)
    both = flow_of(nn.Bidirectional(nn.GRUCell(3, 4), nn.RNNCell(3, 4)), x)
    assert list(both.gradients) == ["cell_fw GRUCell state", "cell_bw RNNCell state"]
    deep = flow_of(nn.GRU(3, 4, num_layers=2), x)
    assert list(deep.gradients) == ["[0] GRUCell state", "[1] GRUCell state"]


def test_batch_first_given_state_and_losses_of_the_state():
    layer, x = nn.GRU(3, 4, batch_first=True, dtype="float64"), draw(2, 5, 3)
    h = tr.tensor(draw(1, 2, 4))
    flow = flow_of(layer, x, lambda ys, state: (state**2).sum(), state=h)
    other = flow_of(nn.Recurrent(layer._cells[0]), x.swapaxes(0, 1), state=h[0])
    for name, norms in other.gradients.items():
        np.testing.assert_allclose(flow.gradients[name], norms, rtol=1e-12)
    assert flow_of(layer, x, lambda ys: ys.sum(), rows=0).singular_values == {}
    assert flow_of(layer, x, lambda ys: ys.sum(), rows=9).singular_values["GRUCell"].shape == (5, 2, 4)


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("make", [lambda **o: nn.GRU(2, 3, **o), lambda **o: nn.Recurrent(nn.GRUCell(2, 3), **o)])
def test_checkpoints_and_all_states_make_no_difference(make):
    layer, x = make(checkpoint_every=2), np.random.default_rng(0).standard_normal((5, 2, 2)).astype(np.float32)

    def flow():
        return viz.gradient_flow(layer, x, lambda ys: (ys[-1] ** 2).sum())

    found = flow()
    assert layer.checkpoint_every == 2
    layer.checkpoint_every = None
    expected = flow()
    layer(x, return_states="all")
    for other in (found, flow()):
        assert list(other.gradients) == list(expected.gradients) == ["GRUCell state"]
        np.testing.assert_array_equal(other.gradients["GRUCell state"], expected.gradients["GRUCell state"])


@pytest.mark.slow
def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    flows = {"RNN": flow_of(nn.RNN(2, 3), draw(5, 2, 2)), "LSTM": flow_of(nn.LSTM(2, 3), draw(5, 2, 2))}
    flows["LSTM"].plot(tmp_path / "one.png")
    viz.plot_gradient_flows(flows, str(tmp_path / "both.png"))
    assert png_size(tmp_path / "one.png") == png_size(tmp_path / "both.png") == (1200, 1200)
    viz.plot_gradient_flows(flows, tmp_path / "both.svg")
    text = (tmp_path / "both.svg").read_text()
    for label in ("RNN: state", "LSTM: state[1]", "LSTM: sigmoid(o)", "RNN, largest"):
        assert f"<!-- {label} -->" in text
    none = flow_of(nn.RNN(2, 3), draw(5, 2, 2), lambda ys: (0 * ys).sum(), rows=0)  # nothing on logarithmic axes
    none.plot(tmp_path / "none.png")
    linear = flow_of(nn.Recurrent(nn.IndRNNCell(2, 3)), draw(5, 2, 2))  # has no gates, and so no third panel
    linear.plot(tmp_path / "linear.png")
    assert png_size(tmp_path / "linear.png") == (1200, 816)
    assert png_size(tmp_path / "none.png") == (1200, 1200)


def test_in_words():
    text = str(flow_of(nn.LSTM(2, 3), draw(5, 2, 2)))
    assert "gradient by LSTMCell state[1]: " in text
    assert "with each step back" in text
    assert "singular values of LSTMCell's step: " in text
    assert "% saturated" in text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flow_of(nn.Linear(2, 3), draw(5, 2, 2)), ValueError, "layer: no recurrent cell of Linear has run"),
        (
            lambda: viz.gradient_flow(lambda x: x, draw(5, 2, 2), lambda ys: ys),
            TypeError,
            "layer: got function, wanted a recurrent layer, or a module that calls some",
        ),
        (
            lambda: viz.gradient_flow(nn.GRUCell(2, 3), draw(5, 2, 2), lambda ys: ys),
            TypeError,
            r"layer: got a cell, GRUCell; make it a layer with nn\.Recurrent\(cell\)",
        ),
        (
            lambda: flow_of(nn.RNN(2, 3), draw(5, 2, 2), 3.0),
            TypeError,
            r"loss: got 3\.0, wanted a function of the outp",
        ),
        (lambda: flow_of(nn.RNN(2, 3), draw(5, 2, 2), lambda ys: ys), GraphError, "loss: returned .*one element"),
        (lambda: flow_of(nn.RNN(2, 3), draw(5, 2, 2), lambda ys: 1.0), GraphError, r"loss: returned 1\.0, wanted"),
        (lambda: flow_of(nn.RNN(2, 3), draw(5, 2, 2), lambda ys: tr.ones(1)), GraphError, "loss: depends on no state"),
    ],
)
def test_misuse_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_notebooks_show_tables():
    flow = viz.gradient_flow(nn.LSTM(2, 3), np.ones((4, 1, 2), np.float32), lambda y: y.sum())
    html = flow._repr_html_()
    assert html.count("<tr>") == 2 + len(flow.gradients) + len(flow.gates)
    assert "LSTMCell state[1]" in html
