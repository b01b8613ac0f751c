"""Layers with options drawn at random: both roads agree, whatever is combined."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree

from ..by_hand import some_steps
from ..sequences import leaves

I, H = 3, 4
LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "mgu": nn.MGUCell}


class Drawn(NamedTuple):
    """A layer, and how it is called."""

    make: Any  # mode -> layer
    shape: tuple  # of the input
    how: dict
    with_state: bool
    text: str

    def __repr__(self) -> str:
        return self.text


@st.composite
def layer_calls(draw):
    """RNN, LSTM or GRU, or a layer of cells, with options that go together, and arguments that fit."""
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    options: dict[str, Any] = {"batch_first": draw(st.booleans()), "learn_initial_state": draw(st.booleans())}
    options["checkpoint_every"] = draw(st.sampled_from([None, None, 1, 2, 4]))
    kind = draw(st.sampled_from(["layered", "layered", "recurrent", "bidirectional", "stacked"]))
    if kind == "layered":
        name = draw(st.sampled_from(sorted(LAYERS)))
        options |= {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans())}
        options |= {"merge": draw(st.sampled_from(["concat", "sum", "mean"]))} if options["bidirectional"] else {}
        options |= {} if options["bidirectional"] else {"reverse": draw(st.booleans())}
        options |= {"zoneout": 0.3} if draw(st.integers(0, 4)) == 0 else {}

        def make(mode):
            return LAYERS[name](I, H, dtype="float64", mode=mode, **options)
    else:
        name = draw(st.sampled_from(sorted(CELLS)))
        options |= {"reverse": draw(st.booleans())} if kind != "bidirectional" else {}

        def make(mode):
            one, other = CELLS[name](I, H, dtype="float64"), nn.GRUCell(H, H, dtype="float64")
            if kind == "bidirectional":
                return nn.Bidirectional(one, CELLS[name](I, H, dtype="float64"), mode=mode, **options)
            return nn.Recurrent(nn.Stacked([one, other]) if kind == "stacked" else one, mode=mode, **options)

    steps = some_steps(T, B, draw(st.integers(0, 3)))
    how = dict(draw(st.sampled_from([{}, *steps.values()])))
    if options["batch_first"]:
        how |= {name: mask.T for name, mask in how.items() if name != "lengths"}
    if draw(st.booleans()):
        how["return_states"] = "all"
    shape = (B, T, I) if options["batch_first"] else (T, B, I)
    text = f"{kind} {name} {options}, {shape}, {how}"
    return Drawn(make, shape, how, draw(st.booleans()), text)


def results_of(drawn: Drawn, mode: str) -> tuple[list, list]:
    """Outputs and states, and the gradients of everything that a loss over all of them reaches."""
    tr.seed(0)
    layer, rng = drawn.make(mode), np.random.default_rng(0)
    x, state = tr.tensor(rng.standard_normal(drawn.shape), requires_grad=True), None
    if drawn.with_state:
        with tr.no_grad():
            _, final = layer(np.zeros(drawn.shape))
        state = tree.map(lambda s: tr.tensor(rng.standard_normal(s.shape), requires_grad=True), final)
    tr.seed(1)
    results = leaves(*layer(x, state, **drawn.how))
    wanted = [x, *leaves(state), *layer.parameters()]
    weights = [rng.standard_normal(r.shape) for r in results]
    loss = sum((r * w).sum() for r, w in zip(results, weights))
    grads = tr.grad(loss, wanted, allow_unused=True)
    return [r.numpy() for r in results], [np.zeros(t.shape) if g is None else g.numpy() for g, t in zip(grads, wanted)]


def check(drawn: Drawn):
    (ours, our_grads), (wanted, grads) = (results_of(drawn, mode) for mode in ("compiled", "eager"))
    assert len(ours) == len(wanted)
    for a, b in zip([*ours, *our_grads], [*wanted, *grads]):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@settings(max_examples=8)
@given(layer_calls())
def test_both_roads_agree(drawn):
    check(drawn)


@pytest.mark.exhaustive
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(layer_calls())
def test_both_roads_agree_in_many_cases(drawn):
    check(drawn)
