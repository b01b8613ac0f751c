"""A training that processes share: ``mpiexec -n N python -m tests.train.shared_training FOLDER CASE ...``."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.train import Ranks, SaveCheckpoint, Trainer, TruncatedBPTT
from tinygrad_rnn.train.sums import Sums

ROWS, STREAMS, EPOCHS = 23, 6, 3


class Model(nn.Module):
    """A layer with its head, and dropout between them if asked for."""

    def __init__(self, dropout=0.0):
        self.layer, self.drop, self.head = nn.LSTM(2, 5), nn.Dropout(dropout), nn.Linear(5, 1)

    def forward(self, x, state=None):
        y, state = self.layer(x, state)
        return self.head(self.drop(y)), state


class Last(Model):
    """The same for whole sequences: the last prediction of each."""

    def forward(self, x):
        return super().forward(x)[0][-1]


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape)


def pairs(rows=ROWS, shuffle=True):
    return DataLoader((draw(4, rows, 2), draw(rows, 1)), 5, shuffle=shuffle, seed=3, batch_axis=(1, 0))


def stream():
    return TruncatedBPTT(draw(19, STREAMS, 2), draw(19, STREAMS, 1), 4, 6)


def trainer(model, ranks, *callbacks, **options):
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    options = {"clip_norm": 1.0, "progress": False, **options}
    return Trainer(model, optimizer, nn.mse_loss, callbacks=callbacks, ranks=ranks, **options)


def results(run):
    history = {name: column for name, column in run.history.items() if name != "seconds"}
    return {**{name: np.array(column) for name, column in history.items()}, **run.model.state_dict()}


class Kill:
    """Kills the process after an update."""

    def on_step_end(self, trainer):
        if trainer.steps == 7:
            os.kill(os.getpid(), signal.SIGKILL)


class Stop:
    """Has enough after some updates."""

    def on_step_end(self, trainer):
        if trainer.steps == 3:
            trainer.stop("enough")


def run(case, folder):
    """Train as the words of `case` say, and write the results of each process."""
    ranks = Ranks()
    tr.seed(1)
    tr.set_default_dtype(np.float64)
    dropout = 0.3 if "dropout" in case else 0.0
    model = Model(dropout) if "stream" in case else Last(dropout)
    train, validation = (stream(), stream()) if "stream" in case else (pairs(), pairs(shuffle=False))
    path = folder / "run.safetensors"
    options = {"compile": "always" if "program" in case else "never"}
    if "metrics" in case:
        options["metrics"] = {"error": lambda predictions, targets: abs(predictions - targets).mean()}
    if "accumulate" in case:
        options["accumulate"] = 3
    if "nan" in case:
        train.data[0][:, -1] = np.nan
        options["nonfinite"] = "skip" if "skip" in case else "stop"
    if "other data" in case:
        train = pairs(ROWS + ranks.rank)
    if "few" in case:
        validation = TruncatedBPTT(draw(19, 1, 2), draw(19, 1, 1), 4)
    if "own validation" in case:
        validation = [*pairs(shuffle=False)][ranks.rank :]
    limits = {"epochs": EPOCHS, "max_steps": 8 if "half" in case else None}
    if "other" in case and ranks.rank == 1:
        limits["epochs"] += "other limits" in case
        options["clip_norm"] = 2.0 if "other clipping" in case else 1.0
    own = trainer(model, ranks, **options)
    if "other rate" in case:
        own.optimizer.param_groups[0]["lr"] *= 1 + ranks.rank
    if "plateau" in case:
        own.schedule = optim.ReduceLROnPlateau(own.optimizer, patience=0)
    if "stops" in case and ranks.rank == 1:
        own.callbacks.append(Stop())
    if "exits" in case and ranks.rank == 1:
        own.callbacks.append(lambda trainer: sys.exit())
    if "outside" in case and ranks.rank == 1:
        raise ZeroDivisionError
    if "half" in case or "killed" in case:
        own.callbacks.append(SaveCheckpoint(path, seconds=0))
    if "killed" in case and ranks.rank == ranks.size - 1:
        own.callbacks.append(Kill())
    if "raises" in case and ranks.rank == 1:
        own.callbacks.append(lambda trainer: 1 // 0)
    if "resume" in case:
        own.load(path)
    try:
        own.fit(train, validation, **limits)
    except Exception as error:
        print(f"process {ranks.rank}: {type(error).__name__}: {error}", flush=True)
        return
    np.savez(folder / f"{case.replace(' ', '-')}-{ranks.size}-{ranks.rank}.npz", **results(own))


def add_up():
    """Check sums of some sizes by messages and in shared memory: numbers that are added in the order of the ranks."""
    world = Ranks().world
    ways = Sums(world, one_machine=True), Sums(world, one_machine=False)
    for count in (1, 5, 0, 1000, 2, 100_000):
        for dtype in (np.float32, np.float64):
            arrays = [np.random.default_rng(rank).normal(size=count).astype(dtype) for rank in range(world.size)]
            wanted = arrays[0]
            for array in arrays[1:]:
                wanted = wanted + array
            for sums in ways:
                mine = sums.room(count, np.dtype(dtype))
                mine[:] = arrays[world.rank]
                total = sums.total(mine)
                np.testing.assert_array_equal(total, wanted, strict=True)
                total *= 2  # is nobody else's
    assert [sums.one_machine for sums in ways] == [True, False]
    print("the same", world.rank)


if __name__ == "__main__":
    out, *cases = sys.argv[1:]
    for each in cases:
        if each == "sums":
            add_up()
        else:
            run(each, Path(out))
        Ranks().world.Barrier()
