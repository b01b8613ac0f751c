"""Decoding: from scores to sequences, by greedy and beam search, by sampling, and from CTC's outputs.

Files, in reading order: `search`, `rows` (where the rows of a batch lie in a state), `ctc`; `decoder`, which runs a
cell on its own outputs in a compiled loop, and `feedback`, the cells for that.

A search knows a step as a function from symbols and state to scores; whether cells, layers or anything else are behind
it, it does not know. A decoder has a cell.
"""

from .ctc import ctc_beam_search, ctc_greedy_decode
from .decoder import Decoder
from .search import Hypothesis, beam_search, greedy_search, sample

__all__ = [
    "Decoder",
    "Hypothesis",
    "beam_search",
    "ctc_beam_search",
    "ctc_greedy_decode",
    "greedy_search",
    "sample",
]
