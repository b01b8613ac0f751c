"""Whole training steps beside PyTorch (fused Adam) and JAX: a jitted step, and a jitted scan over an epoch.

A step is everything from a batch in memory to new parameters: embedding, LSTM, linear layer, loss, backward pass,
clipping by the global norm, and Adam. A language model is (vocabulary, embedding, hidden, T, B); the airline trains an
LSTM of four units at batch size 1, digits one of 30 units on 28 rows, 128 at once. All sides start from the same
weights, and have to come to the same losses and weights in one pass over the batches before they are timed. Times are
those of one step, means over that pass. "ours" is a step called from Python, "tape" the loop over layers, loss and
optimiser, "run" many steps in one call, "loop" the airline's training written by hand under Numba. Sides that do many
steps in one call make several passes in it where a step takes microseconds. The last row trains the airline from
scratch with a trainer.
"""

from __future__ import annotations

from . import bench_airline, harness, training_sides
from .bench_recurrent import add_against, load
from .tasks import QUICK, TASKS

LIMIT = 20.0  # seconds for a row, after which three samples are enough
EPOCHS, QUICK_EPOCHS = 100, 2


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    names = [*TASKS, "epochs"]
    parser.add_argument("--tasks", nargs="+", choices=names, metavar="TASK", help=", ".join(names))
    add_against(parser)
    args = harness.parse(parser, argv)
    chosen = args.tasks or ([*QUICK, "epochs"] if args.quick else names)
    jax, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report("whole training steps, float32", args, width=24)
        for name in chosen:
            if name == "epochs":
                epochs(report, args, torch, jax)
            else:
                compare(report, name, args, torch, jax)
        report.finish()
    return 0


def compare(report: harness.Report, name: str, args, torch, jax) -> None:
    """One row: a step on all sides."""
    task = TASKS[name]()
    sides = training_sides.candidates(task, torch, jax)
    training_sides.agree(sides)
    pause = 0.03 if args.threads > 1 else 0.0
    taken = harness.measure({side: s.passes or s.epoch for side, s in sides.items()}, args.repeats, pause, LIMIT)
    steps = {side: task.steps * (task.passes if s.passes else 1) for side, s in sides.items()}
    timings = {side: harness.Timing([s / steps[side] for s in t.samples]) for side, t in taken.items()}
    report.add(task.name, timings, task=name, steps=task.steps, passes=task.passes)


def epochs(report: harness.Report, args, torch, jax) -> None:
    """One row: training the airline from scratch."""
    n = QUICK_EPOCHS if args.quick else EPOCHS
    functions = bench_airline.functions(n, torch, jax)
    if torch:
        functions["torch"] = functions.pop("torch, fused Adam")
    report.add(f"airline, {n} epochs", harness.measure(functions, args.repeats, limit=LIMIT), task="epochs", epochs=n)
