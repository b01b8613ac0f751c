"""Cells that read what they have written: their own last symbol or value, or one that is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Tensor, tensor
from ..modules.dropout import drop
from ..modules.module import Module
from ..ops import argmax, concat, max, one_hot, softmax, take, where, zeros
from ..recurrent.cell import Cell, forwards_to, of_parameters
from ..recurrent.layers.multilayer import RNNBase
from ..recurrent.layers.wrappers import Stacked

COLD, HOT = 1e-30, 1e30  # temperatures below which only the likeliest counts, and beyond which all are alike


class Layers(Stacked):
    """The cells of a layer as one, with its dropout between them where they are in training."""

    def __init__(self, layer: RNNBase):
        super().__init__(layer._cells)
        self._layer = (layer,)  # no module of this one: it has the cells, too

    def step(self, x, state):
        p, states = self._layer[0].dropout, []
        for i, (cell, s) in enumerate(zip(self.cells, state)):
            if i and p and cell.training:
                x = drop(x, p)
            x, s = cell.step(x, s)
            states.append(s)
        return x, tuple(states)


class FeedbackCell(Cell):
    """Base of cells around a cell whose input may be their own last output.

    The state is the last output and that of the cell.

    Parameters
    ----------
    inner : Cell
    head : Module, optional
        What becomes of its outputs, (B, F), and of `context`.

    Attributes
    ----------
    context : tuple of Tensor, (B, ...)
        What stays the same at all steps.
    """

    def __init__(self, inner: Cell, head: Module | None):
        self.inner, self.head = inner, head
        self.hidden_size = inner.hidden_size
        self.context: tuple[Tensor, ...] = ()
        self._context: tuple[Tensor, ...] = ()  # of as many rows as a sequence has that is only tried

    def runs(self, inner: Cell, head: Module | None) -> bool:
        """Whether it is around these."""
        return self.inner is inner and self.head is head

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.inner.dtype

    @forwards_to(lambda cell: [cell.inner])
    def begin_sequence(self, batch_size: int) -> None:
        self.inner.begin_sequence(batch_size)
        rows = lambda a: a if len(a) == batch_size else take(a, np.arange(batch_size) % len(a), axis=0)
        self._context = tuple([rows(a) for a in self.context])

    def output(self, x: Any, state: Any) -> tuple[Any, Any]:
        y, state = self.inner.step(x, state)
        return (y if self.head is None else self.head(y, *self._context)), state


class ValueFeedback(FeedbackCell):
    """A cell whose outputs are its next inputs.

    An input is a dict of `given` (B,), `value` (B, F), and perhaps `known` (B, K), which is joined behind the value.
    """

    def __init__(self, inner: Cell, head: Module | None, width: int):
        super().__init__(inner, head)
        self.width = width

    def initial_state(self, batch_size: int):
        return zeros((batch_size, self.width), self.dtype), self.inner.initial_state(batch_size)

    def step(self, x, state):
        last, inner = state
        read = where(x["given"][:, None], x["value"], last)
        y, inner = self.output(concat([read, x["known"]], axis=1) if "known" in x else read, inner)
        return y, (y, inner)


class SymbolFeedback(FeedbackCell):
    """A cell that draws the next symbol from its outputs, which are logits.

    An input is a dict of `given` (B,), `symbol` (B,), and `noise` (B, V): Gumbel noise, which makes the symbol with the
    largest sum a draw. Without it the likeliest symbol is taken.

    Attributes
    ----------
    temperature : float
        0: the likeliest symbol is taken.
    top_k, top_p : int and float, or None
        Symbols that count: so many of the likeliest, and as many as have this share of the probability.
    barred : Tensor, (V,)
        Minus infinity for symbols that are not written, else zero.
    gives_logits : bool
        Whether the output is the logits; else it is the symbol and its score, which is finite if all is well.
    """

    def __init__(self, inner: Cell, embedding: Module | None, head: Module | None, symbols: int):
        super().__init__(inner, head)
        self.embedding, self.symbols = embedding, symbols
        self.temperature, self.gives_logits = 1.0, False
        self.top_k: int | None = None
        self.top_p: float | None = None
        self.bar(())

    def runs(self, inner: Cell, head: Module | None, embedding: Module | None = None) -> bool:
        return super().runs(inner, head) and self.embedding is embedding

    def bar(self, never: Any) -> None:
        """Let symbols be such that are not written."""
        barred = np.zeros(self.symbols, self.dtype)
        barred[list(never)] = -np.inf
        self.barred = tensor(barred)

    def initial_state(self, batch_size: int):
        return zeros((batch_size,), "int64"), self.inner.initial_state(batch_size)

    def step(self, x, state):
        last, inner = state
        symbol = where(x["given"], x["symbol"], last)
        read = one_hot(symbol, self.symbols, self.dtype) if self.embedding is None else self.embedding(symbol)
        logits, inner = self.output(read, inner)
        scores = self.scores(logits, x.get("noise"))
        chosen = argmax(scores, axis=-1)
        return (logits if self.gives_logits else (chosen, max(scores, axis=-1))), (chosen, inner)

    def scores(self, logits: Any, noise: Any) -> Any:
        """Numbers (B, V) of which the largest is that of the next symbol."""
        scores = logits.detach() + self.barred
        if noise is None or self.temperature == 0:
            return scores
        scores = scores - max(scores, axis=-1, keepdims=True)
        if self.temperature < COLD:  # what is divided by it would overflow
            scores = where(scores < 0.0, -np.inf, scores)
        else:
            scores = scores / min(self.temperature, HOT)
        if self.top_k is not None or self.top_p is not None:
            likelier = scores[:, None, :] > scores[:, :, None]  # (B, V, V): whether the second is, than the first
            if self.top_k is not None:
                scores = where(likelier.astype(self.dtype).sum(axis=-1) < self.top_k, scores, -np.inf)
            if self.top_p is not None:
                before = where(likelier, softmax(scores, axis=-1)[:, None, :], 0.0).sum(axis=-1)
                scores = where(before < self.top_p, scores, -np.inf)
        return scores + noise
