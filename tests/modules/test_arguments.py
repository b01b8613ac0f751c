"""What modules are made of is looked at when they are made: each message names the argument, what it got and wanted."""

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, ShapeError

ROWS = np.zeros((3, 2, 4))


@pytest.mark.parametrize("bad", ["a", 2.5, -1, True, None])
def test_sizes(bad):
    for call, words in (
        (lambda: nn.Linear(bad, 1), "Linear: in_features"),
        (lambda: nn.Linear(1, bad), "Linear: out_features"),
        (lambda: nn.Embedding(bad, 1), "Embedding: num_embeddings"),
        (lambda: nn.Embedding(1, bad), "Embedding: embedding_dim"),
        (lambda: nn.LuongAttention(bad, 1), "LuongAttention: query_size"),
        (lambda: nn.LuongAttention(1, bad), "LuongAttention: memory_size"),
        (lambda: nn.GRU(bad, 1), "GRU: input_size"),
        (lambda: nn.GRU(1, bad), "GRU: hidden_size"),
    ):
        with pytest.raises(ValueError, match=f"{words}: got {bad!r}, wanted a"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Embedding(3, 2, padding_idx="a"), TypeError, "padding_idx: got 'a', wanted an id"),
        (lambda: nn.ModuleList(3), TypeError, "ModuleList: got int, wanted an iterable of nn.Module"),
        (lambda: nn.ModuleList(nn.Linear), TypeError, "ModuleList: got type, wanted an iterable"),
        (lambda: nn.Sequential(nn.Linear(1, 1))["a"], TypeError, "Sequential: got the index 'a', wanted an integer"),
        (lambda: nn.ModuleDict([1]), TypeError, "ModuleDict: got list, wanted a mapping"),
        (lambda: nn.ModuleDict({1: nn.Linear(1, 1)}), TypeError, "ModuleDict: got the name 1, wanted a string"),
        (lambda: nn.ctc_beam_search(ROWS, language_model=3), TypeError, "language_model: got int, wanted a callable"),
        (lambda: nn.ctc_beam_search(ROWS, language_model=lambda p: "ab"), ShapeError, "language_model: returned str"),
        (
            lambda: nn.ctc_beam_search(ROWS, language_model=lambda p: [0, 0, np.nan, 0]),
            DataError,
            r"language_model: returned NaN for label 2 after the prefix \(\)",
        ),
    ],
)
def test_what_is_no_module_or_callable(call, error, words):
    with pytest.raises(error, match=words):
        call()
