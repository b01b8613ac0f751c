"""Generated sources of five cells as they should be; ``python -m tests.golden`` writes them again.

A source holds no sizes and no addresses. What differs from machine to machine, the lanes of a register, is left out, as
is the head of the file, which is the same for all.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent.explain import explain

FOLDER = Path(__file__).parent
COMMAND = "python -m tests.golden"


class OddCell(nn.Cell):
    """Slices, a concatenation, reductions along features, a computed matrix, a comparison and numbers of its own."""

    input_size, hidden_size = 3, 4

    def __init__(self):
        self.inner = nn.Linear(3, 8)
        self.w = nn.Parameter(np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(4, 4))
        self.scale = nn.Parameter(np.ones(4, np.float32))

    def step(self, x, h):
        z = self.inner(x)
        a = tr.tanh(z[:, :4] + h @ (self.w - self.w.T)) * self.scale
        joined = tr.concat([a, tr.sigmoid(z[:, 4:])], axis=-1)
        weight = tr.exp(joined - joined.max(axis=-1, keepdims=True))
        weight = weight / weight.sum(axis=-1, keepdims=True)
        h = 0.3 * h + weight[:, 1:5] * tr.where(a > 0, a, 0.1 * z[:, 4:])
        return h - h.mean(axis=-1, keepdims=True), h


CELLS = {
    "rnn": lambda: nn.RNNCell(3, 4),
    "lstm": lambda: nn.LSTMCell(3, 4),
    "gru": lambda: nn.GRUCell(3, 4),
    "layer_norm_lstm": lambda: nn.LayerNormLSTMCell(3, 4),
    "odd": OddCell,
}


def path(name: str) -> Path:
    """The file of the sources of one cell."""
    return FOLDER / f"{name}.txt"


def generate(name: str) -> str:
    """The sources of a cell: inference, forward and backward with the gradients of inputs."""
    tr.seed(0)
    step = explain(CELLS[name](), tr.tensor(np.zeros((5, 2, 3), np.float32), requires_grad=True)).cells[0].step
    parts = []
    for loop in step.loops:
        title, _, body = loop.source.partition("@translated\n")
        parts.append(f"# {title.splitlines()[0].strip(chr(34))}\n\n{body.rstrip()}\n")
    return "\n\n".join(parts)


def difference(wanted: str, got: str, name: str) -> str:
    """A readable difference between two sources, and what to do about it; "" if there is none."""
    lines = difflib.unified_diff(wanted.splitlines(), got.splitlines(), path(name).name, "generated", lineterm="", n=2)
    text = "\n".join(lines)
    return text and f"{text}\n\nIf this is meant: {COMMAND}"
