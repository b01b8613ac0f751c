"""Where the nodes of a graph lie: layers by longest path, few crossings, short arrows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

GAP, RISE = 18.0, 30.0  # between two neighbours, and between two layers
SWEEPS = 8  # up and down, for the order in each layer and then for the places
Name = Any  # that can be the key of a dict
Pair = tuple[Name, Name]


class Layout(NamedTuple):
    """Centres of nodes, and the points that arrows pass; y grows upwards, as the computation does.

    Attributes
    ----------
    centres : dict
        Node to (x, y).
    ways : list
        For each arrow, the points from its start to its end.
    width, height : float
    """

    centres: dict[Name, tuple[float, float]]
    ways: list[list[tuple[float, float]]]
    width: float
    height: float


def layered(widths: Mapping[Name, float], edges: Sequence[Pair], height: float) -> Layout:
    """Lay out a graph without circles, first operations at the bottom (Sugiyama, Tagawa and Toda 1981).

    Parameters
    ----------
    widths : mapping
        Node to its width; the order is the order of the drawing where nothing else decides.
    edges : sequence of pairs of nodes
    height : float
        Of every node.
    """
    rank = _ranks(list(widths), edges, min)
    chains: list[list[Name]] = []
    ranks, wide = dict(rank), dict(widths)
    for i, (a, b) in enumerate(edges):  # an arrow over several layers passes a place in each of them
        between: list[Name] = [("way", i, r) for r in range(rank[a] + 1, rank[b])]
        ranks.update({d: rank[a] + 1 + k for k, d in enumerate(between)})
        wide.update(dict.fromkeys(between, 2.0))
        chains.append([a, *between, b])
    below: dict[Name, list[Name]] = {n: [] for n in wide}
    above: dict[Name, list[Name]] = {n: [] for n in wide}
    for chain in chains:
        for a, b in itertools.pairwise(chain):
            above[a].append(b)
            below[b].append(a)
    layers: list[list[Name]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for n in wide:
        layers[ranks[n]].append(n)
    _order(layers, below, above)
    xs = _places(layers, below, above, wide)
    left = min((xs[n] - wide[n] / 2 for n in wide), default=0.0)
    right = max((xs[n] + wide[n] / 2 for n in wide), default=0.0)
    at = {n: (xs[n] - left, ranks[n] * (height + RISE) + height / 2) for n in wide}
    total = len(layers) * (height + RISE) - RISE
    return Layout({n: at[n] for n in widths}, [[at[n] for n in chain] for chain in chains], right - left, total)


def latest(nodes: Sequence[Name], edges: Sequence[Pair], count: int) -> set[Name]:
    """So many of the nodes that come last in the computation; leaves come with their last reader."""
    rank = _ranks(nodes, edges, max)
    return set(sorted(nodes, key=rank.__getitem__, reverse=True)[:count])


def _ranks(nodes: Sequence[Name], edges: Sequence[Pair], choose: Callable) -> dict[Name, int]:
    """The length of the longest way to each node; a leaf lies just below the reader to `choose`."""
    after: dict[Name, list[Name]] = {n: [] for n in nodes}
    waits = dict.fromkeys(nodes, 0)
    for a, b in edges:
        after[a].append(b)
        waits[b] += 1
    sources = [n for n in nodes if not waits[n]]
    rank, ready = dict.fromkeys(nodes, 0), list(sources)
    while ready:
        a = ready.pop()
        for b in after[a]:
            rank[b] = max(rank[b], rank[a] + 1)
            waits[b] -= 1
            if not waits[b]:
                ready.append(b)
    for n in sources:
        if after[n]:
            rank[n] = choose(rank[b] for b in after[n]) - 1
    return rank


def _order(layers: list[list[Name]], below: dict[Name, list[Name]], above: dict[Name, list[Name]]) -> None:
    """Sort each layer by the mean place of the neighbours, up and down in turn."""
    place = {n: i / len(layer) for layer in layers for i, n in enumerate(layer)}
    for sweep in range(SWEEPS):
        near, order = (above, layers[::-1]) if sweep % 2 else (below, layers)
        for layer in order:
            wanted = {n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n] for n in layer}
            layer.sort(key=wanted.__getitem__)
            place.update({n: i / len(layer) for i, n in enumerate(layer)})


def _places(
    layers: list[list[Name]], below: dict[Name, list[Name]], above: dict[Name, list[Name]], widths: Mapping[Name, float]
) -> dict[Name, float]:
    """Abscissas: near those of the neighbours, in the order of the layers and without overlaps."""
    xs: dict[Name, float] = {}
    for layer in layers:
        _spread(layer, dict.fromkeys(layer, 0.0), widths, xs)
    for sweep in range(SWEEPS):
        near, order = (below, layers) if sweep % 2 else (above, layers[::-1])
        for layer in order:
            wanted = {n: sum(xs[m] for m in near[n]) / len(near[n]) if near[n] else xs[n] for n in layer}
            _spread(layer, wanted, widths, xs)
    return xs


def _spread(layer: list[Name], wanted: Mapping[Name, float], widths: Mapping[Name, float], xs: dict) -> None:
    """The places of least squares from those wanted: neighbours that push each other become a block."""
    offset, offsets = 0.0, []
    for a, b in zip(layer, [*layer[1:], None]):
        offsets.append(offset)
        offset += (widths[a] + (widths[b] if b is not None else 0.0)) / 2 + GAP
    blocks: list[tuple[float, int]] = []  # mean place of the first node, and how many nodes
    for n, shift in zip(layer, offsets):
        mean, count = wanted[n] - shift, 1
        while blocks and blocks[-1][0] >= mean:
            other, others = blocks.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        blocks.append((mean, count))
    firsts = [mean for mean, count in blocks for _ in range(count)]
    xs.update({n: first + shift for n, first, shift in zip(layer, firsts, offsets)})
