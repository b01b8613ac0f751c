"""A network that reads what it writes: symbol after symbol from an LSTM, in one native call.

"ours" is ``nn.Decoder.generate``: symbols are drawn, looked up and read in the loop. "steps" is the layer's stepper,
called as often with inputs that are there: no embedding, no logits, no draws. PyTorch runs the loop that its tutorials
have, under inference_mode: embedding, LSTM, linear layer, and argmax or a draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import harness
from .bench_recurrent import add_against, load

SYMBOLS, EMBEDDING, HIDDEN = 65, 64, 128
LENGTH = 200


class Way(NamedTuple):
    """How a symbol is chosen, and how many texts are written side by side."""

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    rows: int = 1


WAYS = {
    "greedy": Way(0.0),
    "temperature": Way(0.8),
    "top-k": Way(0.8, top_k=10),
    "top-p": Way(0.8, top_p=0.9),
    "temperature, 16 rows": Way(0.8, rows=16),
}


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    add_against(parser)
    args = harness.parse(parser, argv)
    _, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report(f"{LENGTH} symbols of {SYMBOLS} from an LSTM({HIDDEN}), float32", args, width=22)
        for name in args.ways:
            functions = _functions(WAYS[name], torch)
            report.add(name, harness.measure(functions, args.repeats), rows=WAYS[name].rows)
        report.finish()
    return 0


def _functions(way: Way, torch: Any) -> dict[str, Callable[[], Any]]:
    tr.seed(0)
    lstm = nn.LSTM(EMBEDDING, HIDDEN)
    embedding, head = nn.Embedding(SYMBOLS, EMBEDDING), nn.Linear(HIDDEN, SYMBOLS)
    decoder, step = nn.Decoder(lstm, embedding, head), lstm.stepper(way.rows)
    begin = np.zeros((way.rows, 1), int)
    x = np.random.default_rng(1).standard_normal((way.rows, EMBEDDING)).astype(np.float32)

    def write() -> list[list[int]]:
        return decoder.generate(begin, LENGTH, temperature=way.temperature, top_k=way.top_k, top_p=way.top_p)

    def steps() -> None:
        for _ in range(LENGTH):
            step(x)

    found: dict[str, Callable[[], Any]] = {"ours": write, "steps": steps}
    if torch:
        theirs = _torch(torch, way, lstm, embedding, head)
        if not way.temperature:
            assert theirs() == write()
        found["torch"] = theirs
    return found


def _torch(torch: Any, way: Way, lstm: nn.LSTM, embedding: nn.Embedding, head: nn.Linear) -> Callable[[], Any]:
    look_up, layer = torch.nn.Embedding(SYMBOLS, EMBEDDING), torch.nn.LSTM(EMBEDDING, HIDDEN)
    linear = torch.nn.Linear(HIDDEN, SYMBOLS)
    for theirs, ours in ((look_up, embedding), (layer, lstm), (linear, head)):
        theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})

    def draw(logits: Any) -> Any:
        if not way.temperature:
            return logits.argmax(-1)
        logits = logits / way.temperature
        if way.top_k is not None:
            least = logits.topk(way.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if way.top_p is not None:
            best, places = logits.sort(-1, descending=True)
            p = best.softmax(-1)
            best = best.masked_fill(p.cumsum(-1) - p > way.top_p, -torch.inf)
            logits = torch.full_like(logits, -torch.inf).scatter(-1, places, best)
        return torch.multinomial(logits.softmax(-1), 1)[:, 0]

    def write() -> list[list[int]]:
        with torch.inference_mode():
            ids, state, written = torch.zeros(way.rows, dtype=torch.long), None, []
            for _ in range(LENGTH):
                y, state = layer(look_up(ids)[None], state)
                ids = draw(linear(y[0]))
                written.append(ids)
            return torch.stack(written, 1).tolist()

    return write
