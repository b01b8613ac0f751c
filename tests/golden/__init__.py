"""Generated sources of five cells and five programs as they should be; ``python -m tests.golden`` writes them again.

Of a program of a whole function these are its plan, the loops over rows of its regions, and the operations between.

A source holds no sizes and no addresses. What differs from machine to machine, the lanes of a register, is left out, as
is the head of the file, which is the same for all.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import Symbol
from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.compiler.model.region_loop import RegionLoop
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.programs.gradients import Gradients
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


def _native(loss, *inputs: np.ndarray) -> str:
    """The sources of a loss with its gradients: one program."""
    found = tr.compile(loss, fallback="error")._find(inputs, {})
    if isinstance(found, str):
        raise CompileError(found)
    capture = found.capture
    gradients = Gradients(capture)
    tensors = capture.tensors()
    native = gradients.runner.bound(capture.captured(tensors))
    return program_text(native)


def _head() -> str:
    head = nn.Linear(3, 4)
    return _native(lambda x, t: nn.cross_entropy(head(x), t), numbers(5, 3), classes(5))


def _smooth() -> str:
    head, loss = nn.Linear(3, 4), nn.CrossEntropyLoss(np.ones(4, np.float32), 1, "sum", 0.1)
    return _native(lambda x, t: loss(tr.tanh(head(x)), t), numbers(2, 3, 3), classes(2, 3))


def _norms() -> str:
    first, norm, last, drop = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1), nn.Dropout(0.5)
    return _native(lambda x, t: nn.huber_loss(last(drop(tr.gelu(norm(first(x))))), t), numbers(5, 3), numbers(5, 1))


def _words() -> str:
    table, layer = nn.Embedding(7, 3, padding_idx=0), nn.LSTM(3, 4)
    return _native(lambda i: (layer(table(i))[0][-1] @ table.weight[:4]).sum(), classes(6, 2))


def _attention() -> str:
    query, key = nn.Linear(3, 3), nn.Parameter(numbers(3, 3))

    def loss(x, t):
        q = query(x)
        shares = tr.softmax(q @ (x @ key).swapaxes(1, 2), -1)
        return nn.mse_loss(tr.concat([q, x * shares.mean()], axis=-1)[:, 1:], t)

    return _native(loss, numbers(2, 4, 3), numbers(2, 3, 6))


PROGRAMS = {
    "program_head": _head,
    "program_smooth_loss": _smooth,
    "program_norms": _norms,
    "program_words": _words,
    "program_attention": _attention,
}
ALL = {**CELLS, **PROGRAMS}


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def classes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, shape)


def program_text(native: NativeProgram) -> str:
    """The plan of a bound program, and the sources of its regions."""
    lines, sources = [], []
    for part, stages, hosts in native.bound:
        if isinstance(part, RegionLoop):
            sources.append(source_of(part.executable.inference[0]))
            inputs, bases, outputs = (", ".join(s.name for s in v) for v in (part.inputs, part.bases, part.outputs))
            lines.append(f"{outputs} = region {len(sources)} of {part.region.rows} rows ({inputs}; {bases})")
        else:
            operands = ", ".join(a.name if isinstance(a, Symbol) else repr(a) for a in part.args)
            how = "in Python" if hosts else f"{stages} stages" if stages else "a view"
            lines.append(f"{part.name} = {part.operation}({operands}): {how}")
    names: dict[str, str] = {}  # new ones, as numbers of values depend on how many there were before
    text = "\n".join(lines) + "\n\n\n" + "\n\n".join(sources)
    return re.sub(r"\bv\d+\b", lambda found: names.setdefault(found[0], f"v{len(names)}"), text)


def source_of(loop) -> str:
    """The body of a generated source, with its first line as a title."""
    title, _, body = loop.source.partition("@translated\n")
    return f"# {title.splitlines()[0].strip(chr(34))}\n\n{body.rstrip()}\n"


def path(name: str) -> Path:
    """The file of the sources of one cell or program."""
    return FOLDER / f"{name}.txt"


def generate(name: str) -> str:
    """The sources of a cell, inference, forward and backward with the gradients of inputs; or those of a program."""
    tr.seed(0)
    if name in PROGRAMS:
        return PROGRAMS[name]()
    step = explain(CELLS[name](), tr.tensor(np.zeros((5, 2, 3), np.float32), requires_grad=True)).cells[0].step
    return "\n\n".join([source_of(loop) for loop in step.loops])


def difference(wanted: str, got: str, name: str) -> str:
    """A readable difference between two sources, and what to do about it; "" if there is none."""
    lines = difflib.unified_diff(wanted.splitlines(), got.splitlines(), path(name).name, "generated", lineterm="", n=2)
    text = "\n".join(lines)
    return text and f"{text}\n\nIf this is meant: {COMMAND}"
