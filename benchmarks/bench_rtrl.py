"""Learning forward in time: an observed step of one stream with its gradients, compiled and on NumPy.

"ours" is ``nn.RTRL(cell)``: a step, and ``accumulate`` with the gradient of a loss by its output, both from Python.
"eager" is the same with ``mode="eager"``, "step" the step of a stepper, without gradients. Sizes are inputs and units;
a stack has three layers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import harness

CELLS: dict[str, Callable[[], nn.Cell]] = {
    "lru 1x32": lambda: nn.LRUCell(1, 32),
    "lru 32x32": lambda: nn.LRUCell(32, 32),
    "indrnn 32x32": lambda: nn.IndRNNCell(32, 32),
    "mingru 32x32": lambda: nn.MinGRUCell(32, 32),
    "minlstm 32x32": lambda: nn.MinLSTMCell(32, 32),
    "lru stack 1x32x32x32": lambda: nn.Stacked([nn.LRUCell(1, 32), nn.LRUCell(32, 32), nn.LRUCell(32, 32)]),
}


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=31)
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS), metavar="CELL")
    args = harness.parse(parser, argv)
    with harness.threads(args.threads):
        report = harness.Report("learning forward in time, one stream, float32", args, width=22)
        for name in args.cells:
            functions = _functions(CELLS[name])
            report.add(name, harness.measure(functions, args.repeats), cell=name)
        report.finish()
    return 0


def _functions(make: Callable[[], nn.Cell]) -> dict[str, Callable[[], object]]:
    cells = []
    for _ in range(2):
        tr.seed(0)
        cells.append(make())
    x = np.random.default_rng(1).standard_normal((1, cells[0].input_size)).astype(np.float32)
    ours, eager = nn.RTRL(cells[0]), nn.RTRL(cells[1], mode="eager")
    dy = np.ones_like(ours.step(x).numpy())
    eager.step(x)
    stepper = nn.Recurrent(cells[0]).stepper(1)

    def learn(learner: nn.RTRL) -> Callable[[], object]:
        def once() -> None:
            learner.step(x)
            learner.accumulate(dy)

        return once

    found = {"ours": learn(ours), "eager": learn(eager), "step": lambda: stepper(x)}
    for function in (found["ours"], found["eager"]):
        function()
        function()
    for p, q in zip(cells[0].parameters(), cells[1].parameters()):  # they learn the same
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=1e-4)
    return found
