"""Stages of the CTC loss and of its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..fused import ctc
from ..loops.entry import array_like
from ..loops.records import float64_in, integers_in, record_at
from .stage_codes import CtcStage


@njit(error_model="numpy")
def _find_rows(counts: Any, stride: int, firsts: Any) -> None:
    """Where labels of each row begin: `stride` after those before, or behind them if negative."""
    at = 0
    for b in range(counts.size):
        firsts[b] = at
        at += counts[b] if stride < 0 else stride


def ctc_stage(table: int, like: Any) -> None:
    """Losses of label sequences, of a :class:`CtcStage` at an address."""
    s = record_at(table, 0, CtcStage)
    counts, firsts, losses = integers_in(s.counts), integers_in(s.firsts), float64_in(s.losses)
    log_probs = array_like(table, 0, like).reshape((s.steps, counts.size, s.classes))
    alphas = float64_in(s.alphas).reshape((counts.size, s.steps, s.width))
    _find_rows(counts, s.stride, firsts)
    ctc.forward(log_probs, integers_in(s.labels), firsts, counts, integers_in(s.lengths), s.blank, losses, alphas)
    out = array_like(table, 1, like)
    for b in range(counts.size):
        # any number gives a row without an alignment the gradient zero
        if s.zero_infinity != 0 and losses[b] == math.inf:
            losses[b] = 0.0
        out[b] = losses[b]


def ctc_gradient_stage(table: int, like: Any) -> None:
    """Gradients of label sequences, of a :class:`CtcStage` at an address, after their losses."""
    s = record_at(table, 0, CtcStage)
    counts, firsts, losses = integers_in(s.counts), integers_in(s.firsts), float64_in(s.losses)
    shape = s.steps, counts.size, s.classes
    log_probs, flat = array_like(table, 0, like).reshape(shape), array_like(table, 1, like)
    alphas = float64_in(s.alphas).reshape((counts.size, s.steps, s.width))
    g, given = np.empty(counts.size), array_like(table, 2, like)
    for b in range(g.size):
        g[b] = given[b]
    for i in range(flat.size):
        flat[i] = 0
    labels, lengths = integers_in(s.labels), integers_in(s.lengths)
    ctc.backward(g, losses, alphas, log_probs, labels, firsts, counts, lengths, s.blank, flat.reshape(shape))
