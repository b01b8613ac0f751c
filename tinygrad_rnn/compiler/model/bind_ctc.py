"""Rules for the CTC loss and its gradient, which reads what the loss has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.fused import ctc as kernels
from ...kernels.loops.task_codes import NOTHING
from ...kernels.stages.stage_codes import CtcGradientStage, CtcStage
from ..ir.symbol import Symbol
from .bind import span
from .binder import Binder


def bind_ctc(binder: Binder, s: Symbol) -> bool:
    """Bind losses of label sequences."""
    if not _fits(s.args):
        return False
    _losses(binder, s.args, s.static, binder.result(s))
    return True


def bind_ctc_gradient(binder: Binder, s: Symbol) -> bool:
    """Bind the gradient of such losses by the log-probabilities, for cotangents of the losses."""
    g, *args = s.args
    if not _fits(args):
        return False
    key = _key(args, s.static)
    if key not in binder.left:
        _losses(binder, args, s.static, binder.array((args[0].shape[1],), binder.step))
    record, kept = binder.left[key]
    log_probs, given = (binder.contiguous(binder.operand(a)) for a in (args[0], g))
    out = binder.result(s)
    found = record._replace(log_probs=span(log_probs), out=span(out), g=span(given))
    binder.stages.ctc(CtcGradientStage(*found), log_probs, out, given, *kept)
    return True


def _key(args: Sequence[Symbol], static: dict) -> tuple:
    return (*[a.uid for a in args], static["blank"], static["zero_infinity"])


def _fits(args: Sequence[Any]) -> bool:
    """Whether there is something to do, and integers have a sign, or fit."""
    return all(isinstance(a, Symbol) for a in args) and args[0].size > 0 and all(a.dtype != np.uint64 for a in args)


def _losses(binder: Binder, args: Sequence[Symbol], static: dict, out: np.ndarray) -> None:
    steps, batch, classes = args[0].shape
    log_probs = binder.contiguous(binder.operand(args[0]))
    labels, counts, lengths = [_integers(binder, a) for a in args[1:]]
    width = kernels.width_for(labels.shape[-1])
    firsts, losses, alphas = np.zeros(batch, np.int64), np.empty(batch), np.empty(batch * steps * width)
    record = CtcStage(
        log_probs=span(log_probs),
        out=span(out),
        g=NOTHING,
        labels=span(labels) if labels.size else NOTHING,
        counts=span(counts),
        lengths=span(lengths),
        firsts=span(firsts),
        losses=span(losses),
        alphas=span(alphas),
        stride=labels.shape[1] if labels.ndim == 2 else -1,
        steps=steps,
        classes=classes,
        width=width,
        blank=static["blank"],
        zero_infinity=int(static["zero_infinity"]),
    )
    kept = (labels, counts, lengths, firsts, losses, alphas)
    binder.stages.ctc(record, log_probs, out, *kept)
    binder.left[_key(args, static)] = record, kept


def _integers(binder: Binder, s: Symbol) -> np.ndarray:
    found = binder.integers(s)
    assert found is not None
    return found
