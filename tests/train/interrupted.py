"""A process that trains until a signal ends it: ``python -m tests.train.interrupted PATH [EPOCHS]``."""

import random
import sys
import time

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.train import SaveCheckpoint, Trainer

EPOCHS = 6


class Noisy(nn.Module):
    """A layer with dropout, and noise from a generator of its own."""

    def __init__(self):
        self.layer, self.drop, self.out = nn.GRU(2, 5), nn.Dropout(0.2), nn.Linear(5, 1)
        self.rng = np.random.default_rng(5)

    def forward(self, x):
        y, _ = self.layer(x + 0.1 * self.rng.normal(size=x.shape).astype(np.float32))
        return self.out(self.drop(y))[-1]


def trainer(*callbacks, seed=1):
    tr.seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    model = Noisy()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.LinearWarmup(optimizer, 9, after=optim.CosineAnnealingLR(optimizer, 40))
    return Trainer(
        model, optimizer, nn.mse_loss, step_schedule=schedule, clip_norm=1.0, callbacks=callbacks, progress=False
    )


def loader():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 40, 2)), rng.normal(size=(40, 1))
    return DataLoader((x, y), 5, shuffle=True, seed=3, batch_axis=(1, 0))


class Wait:
    """Says where the training stands, and leaves a signal the time to come."""

    def on_step_end(self, trainer):
        print(trainer.steps, flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    run = trainer(SaveCheckpoint(sys.argv[1], seconds=1e6), Wait())
    run.fit(loader(), epochs=int(sys.argv[2]) if len(sys.argv) > 2 else EPOCHS)
