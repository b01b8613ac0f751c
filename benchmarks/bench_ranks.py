"""One training that two processes share: updates of ``models charlm --distributed``, beside one process.

``one``: a process of one thread trains with whole batches, while the other sleeps. ``shared``: both train with their
parts of each batch, and add up their gradients. ``apart``: both at once train with batches of half the size, each its
own model, so that what they take longer than half of ``one`` is the machine's, and what ``shared`` takes longer than
they is for sums, and for waiting until both are there. A time is that of an update: 64 steps of 32 streams, LSTM(256).

Needs mpi4py and mpiexec, as in ``pip install mpi4py mpich``, and starts itself with that.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from models import _text, charlm
from tinygrad_rnn.train import Ranks, TruncatedBPTT

from . import harness

PROCESSES, STREAMS, STEPS, SYMBOLS, HIDDEN = 2, charlm.STREAMS, charlm.STEPS, 98, 256
UPDATES, EPOCHS = 10, 3  # of which the first, which compiles, does not count
INSIDE = "--inside"
TITLE = "updates of charlm, one process and two that share its batches"


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = harness.options(__name__, __doc__, repeats=7)
    parser.add_argument(INSIDE, action="store_true", help="this is one of the processes of mpiexec already")
    args = harness.parse(parser, argv)
    if args.inside:
        return measure(args)
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        print('skipped: this needs mpi4py and mpiexec: pip install "tinygrad_rnn[mpi]" mpich')
        harness.Report(TITLE, args).finish()
        return 0
    command = [mpiexec, "-n", str(PROCESSES), sys.executable, "-m", "benchmarks", "ranks", INSIDE, *argv]
    return subprocess.run(command, check=False).returncode


def measure(args: Any) -> int:
    """What each of the processes does."""
    from mpi4py import MPI

    world, alone = MPI.COMM_WORLD, Ranks(MPI.COMM_SELF)
    first = world.Get_rank() == 0
    tr.set_num_threads(args.threads)
    sides: dict[str, Callable[[], list[float]]] = {
        "one": training(alone, STREAMS) if first else list,
        "shared": training(Ranks(), STREAMS),
        "apart": training(alone, STREAMS // PROCESSES),
    }
    tr.set_num_threads(args.threads)  # of which processes with others on a machine have their share
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, side in sides.items():
            meet(world)
            times = world.allgather(statistics.median(side() or [0.0]))
            meet(world)
            samples[name].append(max(times))
    if first:
        report = harness.Report(TITLE, args, width=28)
        timings = {name: harness.Timing(values) for name, values in samples.items()}
        speed = harness.ratio(timings["one"], timings["shared"])
        row = f"{HIDDEN} units {STEPS}x{STREAMS}"
        report.add(row, timings, f"shared {harness.times(speed)} times as fast", speed=speed)
        report.finish()
    return 0


def training(ranks: Ranks, streams: int) -> Callable[[], list[float]]:
    """Train for some epochs; seconds for an update of each but the first."""
    tr.seed(0)
    ids = np.random.default_rng(0).integers(0, SYMBOLS, (STEPS * UPDATES + 1, streams))
    model = _text.LanguageModel(SYMBOLS, charlm.EMBEDDING, HIDDEN, "lstm")
    trainer, stamps = charlm.trainer(model), Stamps()
    trainer.ranks, trainer.callbacks = ranks, [stamps]
    trainer.progress, trainer.compile = False, "always"
    data = TruncatedBPTT(ids[:-1], ids[1:], STEPS)

    def run() -> list[float]:
        stamps.times.clear()
        trainer.fit(data, epochs=trainer.epoch + EPOCHS)
        return [seconds / UPDATES for seconds in np.diff(stamps.times)]

    return run


class Stamps:
    """Notes when epochs end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_epoch_end(self, trainer: Any) -> None:
        self.times.append(time.perf_counter())


def meet(world: Any) -> None:
    """Wait for all processes asleep, where MPI would take a processor from those that work."""
    request = world.Ibarrier()
    while not request.Test():
        time.sleep(1e-3)


if __name__ == "__main__":
    raise SystemExit(main())
