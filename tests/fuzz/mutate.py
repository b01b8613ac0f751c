"""A plain mutator: good files with some places changed, from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def mutants(seeds: Sequence[bytes], words: Sequence[bytes], rng: np.random.Generator) -> Iterator[bytes]:
    """Changed contents, without an end."""
    while True:
        content = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(1 + rng.geometric(0.4)):
            change(content, seeds, words, rng)
        yield bytes(content)


def change(content: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], rng: np.random.Generator) -> None:
    """Change one place of `content`."""
    at = int(rng.integers(len(content) + 1))
    stop = min(len(content), at + int(rng.geometric(0.1)))
    kind = rng.integers(8)
    if kind == 0 and at < len(content):
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        content[at:stop] = rng.bytes(stop - at)
    elif kind == 2:
        del content[at:stop]
    elif kind == 3:
        content[at:at] = content[at:stop] * int(rng.integers(1, 50))
    elif kind == 4:
        del content[at:]
    elif kind == 5:
        content[at:at] = words[rng.integers(len(words))]
    elif kind == 6:
        word = words[rng.integers(len(words))]
        content[at : at + len(word)] = word
    else:
        other = seeds[rng.integers(len(seeds))]
        content[at:] = other[int(rng.integers(len(other) + 1)) :]
