"""Contractions: sums of products over labelled axes, as matrix products or as elementwise maths.

Two values that vary in time are repeated to the axes of both, multiplied and summed, which the schedule fuses: nothing
of that size is stored. A value times an invariant is a product with a matrix; where both have axes and keep them
(heads), or the value alone has some, it is a product for each element of these axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ops import broadcast_to, reshape, transpose
from ...ops import sum as sum_of
from ..ir.program_ops import ADD, BLOCKS, MATMUL, MULTIPLY, SUM
from ..ir.symbol import BATCH, Symbol

NARROW = 4  # rows or columns of a matrix; of many smaller ones, elementwise maths is less work than products
MANY = 16
PIECES = 8  # values that a product for each head may become, where its result has other axes before those of heads
LABELS = 6  # whose orders are all tried


def contract(trace: Any, op: Any, args: Sequence[Any], terms: list[str], out: str) -> Any:
    """The sum of products of `args`, whose axes have these labels; the batch is the first axis.

    Parameters
    ----------
    trace : AnyRank
    op : Op
        Named in refusals.
    terms : list of str
        A letter for each axis, as those of ``einsum``.
    """
    want = "the batch as the first axis of the result and of what varies in time, and nowhere else: rows stay apart"
    operands: list[tuple[Any, str, tuple]] = []
    sizes: dict[str, int] = {}
    first = {labels[:1] for a, labels in zip(args, terms) if a.varying}
    batch = first.pop() if len(first) == 1 else ""
    if not batch or out[:1] != batch or out.count(batch) != 1:
        trace.fail(op, args, want)
    for i, (a, labels) in enumerate(zip(args, terms)):  # an invariant that each batch row has its own of
        if not a.varying and labels[:1] == batch and a.shape[0] is BATCH:
            args = [
                *args[:i],
                trace.record(ADD, (trace.shaped(trace.zero(_row_shape(a)), a.shape[1:]), a), {}),
                *args[i + 1 :],
            ]
    for i, (a, labels) in enumerate(zip(args, terms)):  # of one matrix that is broadcast to all rows
        if not a.varying and labels[:1] == batch and a.shape[0] == 1 and batch not in labels[1:]:
            args, terms = list(args), list(terms)
            args[i], terms[i] = reshape(a, a.shape[1:]), labels[1:]
    for a, labels in zip(args, terms):
        if labels.count(batch) != int(a.varying) or (a.varying and a.shape[0] is not BATCH) or BATCH in a.shape[1:]:
            trace.fail(op, args, want)
        if a.dtype != trace.dtype:
            trace.fail(op, args, f"{trace.dtype}; cast integers and bools to it with .astype()")
        own = labels[1:] if a.varying else labels
        shape = a.shape[1:] if a.varying else a.shape
        for label, n in zip(own, shape):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
        operands.append((a, own, shape))
    found: list[tuple[Symbol, str]] = []
    for a, own, shape in operands:  # an axis of length 1 that is broadcast is none
        kept = [i for i, label in enumerate(own) if shape[i] == sizes[label]]
        labels = "".join(own[i] for i in kept)
        value = trace.flat(a) if a.varying else a
        if not a.varying and len(labels) < len(own):
            value = reshape(a, tuple(shape[i] for i in kept))
        found.append((value, labels))
    # what varies in time comes first: an invariant is a matrix on its right
    found.sort(key=lambda pair: not pair[0].varying)
    work = _Contraction(trace, sizes, out[1:])
    row, labels = found.pop(0)
    while found:
        other, others = found.pop(0)
        later = set(out).union(*(labels for _, labels in found))
        row, labels = work.pair(row, labels, other, others, later)
    row, labels = work.summed(row, labels, set(out))
    row = work.ordered(row, labels, out[1:])
    return trace.shaped(row, tuple(sizes[label] for label in out[1:]))


def _row_shape(a: Symbol) -> tuple:
    """The shape of a row that holds the value of a batch row."""
    return BATCH, math.prod(a.shape[1:])


class _Contraction:
    """Products of rows whose features are labelled, with axes of `sizes`; `out` is the final order."""

    def __init__(self, trace: Any, sizes: dict[str, int], out: str):
        self.trace, self.sizes, self.out = trace, sizes, out

    def size(self, labels: str) -> int:
        return math.prod(self.sizes[label] for label in labels)

    def shape(self, labels: str) -> tuple[int, ...]:
        return tuple(self.sizes[label] for label in labels)

    def ordered(self, row: Symbol, labels: str, wanted: str) -> Symbol:
        """The row with its axes in another order."""
        numbers = np.arange(self.size(labels)).reshape(self.shape(labels))
        return self.trace.gather(row, numbers.transpose([labels.index(label) for label in wanted]))

    def summed(self, row: Symbol, labels: str, later: set[str]) -> tuple[Symbol, str]:
        """The row without the axes that nothing later has."""
        gone = tuple(i for i, label in enumerate(labels) if label not in later)
        if gone:
            row, _ = self.trace._reduced(SUM, row, list(self.shape(labels)), gone)
        return row, "".join(label for label in labels if label in later)

    def pair(self, a: Symbol, mine: str, b: Any, others: str, later: set[str]) -> tuple[Symbol, str]:
        """The product of two operands, summed over what nothing later has; `a` varies in time."""
        a, mine = self.summed(a, mine, later | set(others))
        if b.varying:
            b, others = self.summed(b, others, later | set(mine))
        else:
            gone = tuple(i for i, label in enumerate(others) if label not in later and label not in mine)
            b = sum_of(b, axis=gone) if gone else b
            others = "".join(label for label in others if label in later or label in mine)
            inner = [label for label in mine if label in others and label not in later]
            if inner and self._pays(mine, others, later):
                return self.product(a, mine, b, others, later)
        return self.multiplied(a, mine, b, others, later)

    def multiplied(self, a: Symbol, mine: str, b: Any, others: str, later: set[str]) -> tuple[Symbol, str]:
        """Elementwise product, summed."""
        domain = self.domain(mine, others)
        a = self.spread(a, mine, domain)
        if b.varying:
            b = self.spread(b, others, domain)
        elif others:
            order = [label for label in domain if label in others]
            b = transpose(b, [others.index(label) for label in order]) if order != list(others) else b
            if order != list(domain):
                b = reshape(b, tuple(self.sizes[label] if label in others else 1 for label in domain))
                b = broadcast_to(b, self.shape(domain))
            b = b if b.ndim == 1 else reshape(b, (self.size(domain),))
            a = a if a.width == self.size(domain) else self.trace.expand(a, [(self.size(domain), False)])
        row = self.trace._rule_elementwise(MULTIPLY, (a, b), {})
        if row.width != self.size(domain):
            row = self.trace.expand(row, [(self.size(domain), False)])
        return self.summed(row, domain, later)

    def spread(self, row: Symbol, labels: str, domain: str) -> Symbol:
        order = "".join(label for label in domain if label in labels)
        if row.width == 1:
            return row
        return self.trace.expand(
            self.ordered(row, labels, order), [(self.sizes[label], label in labels) for label in domain]
        )

    def domain(self, mine: str, others: str) -> str:
        """The axes of both, in an order in which the result and the larger operands need not be permuted."""
        both = mine + "".join(label for label in others if label not in mine)
        if len(both) > LABELS:
            return both

        def cost(order: tuple[str, ...]) -> int:
            left = "".join(label for label in self.out if label in both)
            return sum(
                self.size(labels)
                for labels in (mine, others, left)
                if [label for label in order if label in labels] != list(labels)
            )

        larger = max(mine, others, key=self.size)
        first = "".join(larger + "".join(label for label in both if label not in larger))
        return min([first, *map("".join, itertools.permutations(both))], key=lambda o: cost(tuple(o)))

    def _pays(self, mine: str, others: str, later: set[str]) -> bool:
        """Whether products with matrices are less work than elementwise maths."""
        heads = self.size("".join(label for label in mine if label not in others or label in later))
        columns = self.size("".join(label for label in others if label not in mine))
        rows = self.size("".join(label for label in mine if label in others and label not in later))
        if heads == 1:
            return True
        return columns > 1 and (heads <= MANY or min(rows, columns) >= NARROW)

    def product(self, a: Symbol, mine: str, w: Any, others: str, later: set[str]) -> tuple[Symbol, str]:
        """The product with an invariant, summed over what both have and nothing later has."""
        new = "".join(label for label in others if label not in mine)
        kept = "".join(label for label in mine if label not in others or label in later)
        if self.size(kept) > 1:
            return self.product_by_heads(a, mine, w, others, kept)
        # axes of length 1 need no heads
        columns = "".join(label for label in self.out if label in kept + new)  # in the order that is wanted in the end
        columns += "".join(label for label in kept + new if label not in columns)
        order = [label for label in dict.fromkeys(mine + columns) if label in others]
        w = transpose(w, [others.index(label) for label in order]) if order != list(others) else w
        shape = (self.size(mine), self.size(columns))
        return self.trace.record(MATMUL, (a, w if w.shape == shape else reshape(w, shape)), {}), columns

    def product_by_heads(self, a: Symbol, mine: str, w: Any, others: str, kept: str) -> tuple[Symbol, str]:
        """A product for each element of the axes `kept`, which the value has alone or with the invariant."""
        heads = "".join(label for label in kept if label in others)
        inner = "".join(label for label in mine if label not in kept)
        alone = "".join(label for label in kept if label not in heads)
        before, _, after = kept.partition(heads) if heads else ("", "", kept)
        if heads not in kept:
            before, after = "", alone
        kept = before + heads + after
        row = self.trace.joined(self.ordered(a, mine, kept + inner))
        new = "".join(label for label in self.out if label in others and label not in mine)
        new += "".join(label for label in others if label not in mine + new)
        # what stands before the heads in the result is other matrices: the gates of a cell, say
        lead = "".join(itertools.takewhile(lambda label: label not in kept, (c for c in self.out if c in kept + new)))
        lead = lead if self.size(lead) <= PIECES else ""
        tail = "".join(label for label in new if label not in lead)
        transposed = others == lead + heads + tail + inner
        order = lead + heads + (tail + inner if transposed else inner + tail)
        w = transpose(w, [others.index(label) for label in order]) if order != others else w
        down, across = (tail, inner) if transposed else (inner, tail)
        n = self.size(heads) * self.size(down)
        stack = reshape(w, (self.size(lead) * n, self.size(across)))
        static = dict(zip(("outer", "matrices", "repeat"), map(self.size, (before, heads, after))))
        static |= {"transposed": transposed}
        shape, pieces = (row.width, self.size(kept) * self.size(tail)), []
        for i in range(self.size(lead)):
            part = stack if self.size(lead) == 1 else stack[i * n : (i + 1) * n]
            matrix = self.trace.make(BLOCKS, (part,), static, shape, w.dtype, False)
            pieces.append(self.trace.make(MATMUL, (row, matrix), {}, (BATCH, shape[1]), self.trace.dtype))
        return self.trace.concat(pieces), lead + kept + tail
