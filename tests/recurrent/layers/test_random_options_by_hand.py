"""Options of layers and of calls in random combinations: the tape and the loops against cells run by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent.layers.cell_wrapper import WithStates
from tinygrad_rnn.recurrent.layers.wrappers import MERGES

from ...differences import project
from ..by_hand import scan_by_hand
from ..sequences import draw, leaves

I, H = 3, 4
PROBABILITY = st.sampled_from([0.0, 0.3])


@st.composite
def layers(draw, kinds=(nn.RNN, nn.LSTM), noise=()):
    """A layer with random options, and learned initial states that are not zero."""
    kind = draw(st.sampled_from(kinds))
    options = {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans())}
    options["batch_first"], options["learn_initial_state"] = draw(st.booleans()), draw(st.booleans())
    if options["bidirectional"]:
        options["merge"] = draw(st.sampled_from(sorted(MERGES)))
    else:
        options["reverse"] = draw(st.booleans())
    options["checkpoint_every"] = draw(st.none() | st.integers(1, 3))
    if kind is nn.LSTM and draw(st.booleans()):
        options["proj_size"] = 2
    for name in noise:
        if name != "dropout" or options["num_layers"] > 1:
            options[name] = draw(PROBABILITY)
    tr.seed(0)
    layer = kind(I, H, dtype="float64", **options)
    rng = np.random.default_rng(0)
    for name, p in layer.named_parameters():
        if "initial_state" in name:
            nn.init.set_to(p, rng.standard_normal(p.shape))
    return layer


@st.composite
def calls(draw):
    """T, B, and what a call may say about steps: time first."""
    T, B = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    options = {}
    if draw(st.booleans()):
        options["lengths"] = rng.integers(0, T + 1, B)
    if draw(st.booleans()):
        options["mask"] = rng.random((T, B)) < 0.7
    if draw(st.booleans()):
        options["resets"] = rng.random((T, B)) < 0.3
    return (T, B), options, draw(st.sampled_from(["final", "all"])), draw(st.booleans())


def run(layer, mode, x, state, options, return_states):
    layer.mode = mode
    if layer.batch_first:
        x = x.swapaxes(0, 1)
        options = {k: v if k == "lengths" else v.T for k, v in options.items()}
    y, states = layer(x, state, **options, return_states=return_states)
    turn = lambda a: a.swapaxes(-3, -2) if layer.batch_first else a
    return [turn(y), *(turn(s) if return_states == "all" else s for s in leaves(states))]


def run_by_hand(layer, x, state, options, return_states):
    ends, directions = [], 1 + layer.bidirectional
    starts = leaves(state) if state is not None else []
    for first in range(0, len(layer._cells), directions):
        runs = []
        for i in range(first, first + directions):
            start = tuple(s[i] for s in starts)
            start = None if not start else start if len(start) > 1 else start[0]
            backwards = layer.reverse or i > first
            (y, every), final = scan_by_hand(WithStates(layer._cells[i]), x, start, reverse=backwards, **options)
            runs.append(y)
            ends.append(leaves(every if return_states == "all" else final))
        x = runs[0] if directions == 1 else MERGES[layer.merge](*runs)
    return [x, *(tr.stack(column) for column in zip(*ends))]


def with_gradients(results, wanted):
    loss = project(results)
    grads = tr.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
    return [r.numpy() for r in results] + [np.zeros(w.shape) if g is None else g.numpy() for g, w in zip(grads, wanted)]


def start_of(layer, B, given):
    if not given:
        return None
    template = leaves(layer._cells[0].initial_state(1))
    states = tuple(draw((len(layer._cells), B, *s.shape[1:]), seed=4 + i) for i, s in enumerate(template))
    return states if len(states) > 1 else states[0]


# few kinds of noise and examples, as each combination of those that a step sees is a program to compile
@pytest.mark.slow
@settings(max_examples=12)
@given(layers(noise=("recurrent_dropout", "weight_dropout", "dropout")), calls())
def test_evaluation_is_as_by_hand(layer, call):
    (T, B), options, return_states, given_state = call
    layer.eval()
    x, state = draw((T, B, I)), start_of(layer, B, given_state)
    wanted = [x, *leaves(state), *layer.parameters()] if given_state else [x, *layer.parameters()]
    expected = with_gradients(run_by_hand(layer, x, state, options, return_states), wanted)
    for mode in ("eager", "compiled"):
        found = with_gradients(run(layer, mode, x, state, options, return_states), wanted)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@given(layers(kinds=(nn.RNN,), noise=("recurrent_dropout", "weight_dropout", "zoneout", "dropout")), calls())
def test_loops_train_as_the_tape(layer, call):
    (T, B), options, return_states, given_state = call
    x, state = draw((T, B, I)), start_of(layer, B, given_state)
    found = []
    for mode in ("eager", "compiled"):
        tr.seed(1)
        found.append(with_gradients(run(layer, mode, x, state, options, return_states), [x, *layer.parameters()]))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)
