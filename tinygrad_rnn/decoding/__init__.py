"""From scores to sequences: greedy and beam search, sampling, and the labels behind CTC's outputs."""

from .ctc import ctc_beam_search, ctc_greedy_decode
from .search import Hypothesis, beam_search, greedy_search, sample

__all__ = [
    "Hypothesis",
    "beam_search",
    "ctc_beam_search",
    "ctc_greedy_decode",
    "greedy_search",
    "sample",
]
