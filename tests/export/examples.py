"""Models and inputs that the tests of exports have in common: every cell of the table, and the models of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import (
    _text,
    airline,
    digits,
    forecast,
    memory,
    policy,
    roommate,
    sentiment,
    sine,
    speech,
    tagger,
    transliterate,
)
from tinygrad_rnn import nn
from tinygrad_rnn.testing.cell_table import CELLS, CellRow

HIDDEN = 5
CELL_NAMES = [row.name for row in CELLS]


def layer_of(row: CellRow, dtype: Any = None, seed: int = 0, **options: Any) -> nn.Recurrent:
    """A layer of a cell of the table, with features 3 and units 4."""
    tr.seed(seed)
    return nn.Recurrent(row.make(3, 4, dtype), **options)


def sequence_of(row: CellRow, time: int, batch: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """Random inputs for it."""
    rng, shapes = np.random.default_rng(seed), row.shapes(time, batch, 3, 4)
    draw = lambda shape: rng.standard_normal(shape).astype(dtype)
    return {k: draw(s) for k, s in shapes.items()} if isinstance(shapes, dict) else draw(shapes)


class Example(NamedTuple):
    """A model of the zoo, small and untrained.

    Attributes
    ----------
    name : str
    make : callable
        The model.
    inputs : callable
        ``inputs(rng, time, batch)``: its arguments.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[np.random.Generator, int, int], tuple]


def _floats(*axes: Any) -> Callable:
    return lambda rng, t, b: (rng.standard_normal([{"T": t, "B": b}.get(n, n) for n in axes]).astype(np.float32),)


def _lengths(rng: np.random.Generator, t: int, b: int) -> np.ndarray:
    return rng.integers(1, t + 1, b)


def _texts(rng, t, b):
    return rng.integers(0, 9, (b, t)), _lengths(rng, t, b)


MODELS = [
    Example("airline", lambda: airline.Forecaster(4), _floats("B", "T", 1)),
    Example("digits", lambda: digits.Classifier(8, 10, HIDDEN), _floats("B", "T", 8)),
    Example("forecast", lambda: forecast.Forecaster(3, HIDDEN), _floats("B", "T", 1)),
    Example("memory", lambda: memory.Memory("adding", HIDDEN, "lstm"), _floats("T", "B", 2)),
    Example("policy", lambda: policy.Policy(3, 3, HIDDEN, "lstm"), _floats("T", "B", 3)),
    Example("roommate", lambda: roommate.Learner(5, 3, HIDDEN), _floats("B", "T", 5)),
    Example("roommate-by-hand", lambda: nn.Recurrent(roommate.ByHand(), batch_first=True), _floats("B", "T", 2)),
    Example("sine", lambda: sine.Predictor(HIDDEN), _floats("B", "T", 1)),
    Example(
        "charlm", lambda: _text.LanguageModel(9, 4, HIDDEN, "lstm"), lambda rng, t, b: (rng.integers(0, 9, (t, b)),)
    ),
    Example(
        "wordlm",
        lambda: _text.LanguageModel(9, 4, HIDDEN, "lstm"),
        lambda rng, t, b: (
            rng.integers(0, 9, (t, b)),
            tuple(rng.standard_normal((2, b, HIDDEN)).astype(np.float32)),
        ),
    ),
    Example(
        "melody", lambda: _text.LanguageModel(9, 4, HIDDEN, "gru"), lambda rng, t, b: (rng.integers(0, 9, (t, b)),)
    ),
    Example("sentiment", lambda: sentiment.Classifier(9, 2, HIDDEN), _texts),
    Example("tagger", lambda: tagger.Tagger(9, 4, HIDDEN), _texts),
    Example(
        "speech",
        lambda: speech.Listener(5, HIDDEN),
        lambda rng, t, b: (*_floats("B", "T", speech.BANDS)(rng, t, b), _lengths(rng, t, b)),
    ),
    Example(
        "transliterate",
        lambda: transliterate.EncoderDecoder(9, 8, HIDDEN, True),
        lambda rng, t, b: (*_texts(rng, t, b), rng.integers(0, 8, (b, t + 1))),
    ),
]


def mostly_slow(values: list, *few: str) -> list:
    """Parameters of a test, all but a few of them slow."""
    names = [v if isinstance(v, str) else v.name for v in values]
    marks = [() if name in few else (pytest.mark.slow,) for name in names]
    return [pytest.param(v, id=name, marks=m) for v, name, m in zip(values, names, marks)]


def model_of(example: Example) -> nn.Module:
    """The model, with weights that a seed decides."""
    tr.seed(1)
    model = example.make()
    model.eval()
    return model


def leaves(nest: Any) -> Iterator[np.ndarray]:
    """The arrays in a nest of tensors and arrays."""
    if isinstance(nest, tr.Tensor | np.ndarray | np.generic):
        yield np.asarray(nest.numpy() if isinstance(nest, tr.Tensor) else nest)
    elif nest is not None:
        for item in [nest[k] for k in nest] if isinstance(nest, dict) else nest:
            yield from leaves(item)


def on_tape(model: nn.Module, *args: Any) -> list[np.ndarray]:
    """What the model gives, its layers run on the tape."""
    from tinygrad_rnn.export.tracing import evaluating

    with evaluating(model), tr.no_grad():
        return list(leaves(model(*args)))
