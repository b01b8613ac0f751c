"""Lengths, masks and resets as one would run them by hand: row after row, step after step."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree


def scan_by_hand(cell, xs, state, lengths=None, mask=None, resets=None, reset_state=None, reverse=False):
    """What :func:`tinygrad_rnn.recurrent.scan` computes, time first, without its driver."""
    leaves, structure = tree.flatten(xs)
    T, B = leaves[0].shape[:2]
    lengths = [T] * B if lengths is None else lengths
    mask = np.ones((T, B), bool) if mask is None else mask
    resets = np.zeros((T, B), bool) if resets is None else resets
    carried = cell.initial_state(B) if state is None else state
    reset_state = cell.initial_state(B) if reset_state is None else reset_state
    cell.begin_sequence(1)
    ends, rows = [], []
    for b in range(B):
        row = lambda s, b=b: s[b : b + 1]
        now, order, ys = tree.map(row, carried), list(range(T)), {}
        for t in reversed(order) if reverse else order:
            border = t + 1 if reverse else t  # what a reset there parts
            if border < lengths[b] and border in order and resets[border, b]:
                now = tree.map(row, reset_state)
            if t < lengths[b] and mask[t, b]:
                ys[t], now = cell.step(tree.unflatten(structure, [x[t, b : b + 1] for x in leaves]), now)
        ends.append(now)
        rows.append(ys)
    example = next((y for ys in rows for y in ys.values()), None)
    if example is None:
        example, _ = cell.step(
            tree.unflatten(structure, [x[0, :1] for x in leaves]), tree.map(lambda s: s[:1], carried)
        )
    nothing = tree.map(lambda y: tr.zeros(y.shape, y.dtype), example)
    steps = [tree.map(lambda *y: tr.concat(y), *[ys.get(t, nothing) for ys in rows]) for t in range(T)]
    return tree.map(lambda *y: tr.stack(y), *steps), tree.map(lambda *s: tr.concat(s), *ends)


def some_steps(T, B, seed=0):
    """Lengths, masks and resets, alone and together, with what is rare among them: by name."""
    rng = np.random.default_rng(seed)
    lengths, short = rng.integers(0, T + 1, B), np.zeros(B, int)
    lengths[0], lengths[-1] = T, 0
    short[B // 2] = 1
    mask, resets = rng.random((T, B)) < 0.6, rng.random((T, B)) < 0.3
    mask[:, -1] = False
    often = np.ones((T, B), bool)
    return {
        "lengths": {"lengths": lengths},
        "short": {"lengths": short},
        "nothing": {"lengths": np.zeros(B, int)},
        "mask": {"mask": mask},
        "resets": {"resets": resets},
        "resets at every step": {"resets": often},
        "lengths and resets": {"lengths": lengths, "resets": resets},
        "all": {"lengths": lengths, "mask": mask, "resets": resets},
    }
