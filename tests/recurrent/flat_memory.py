"""Train a small network for many steps while shapes, options and settings change, and print how memory grows.

python -m tests.recurrent.flat_memory --steps 20000
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import weakref
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim


def resident() -> int:
    """Bytes of this process that are in memory now, without those that the allocator of glibc keeps for later."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Leaky(nn.Cell):
    """A cell with a plain setting that changes while it trains."""

    def __init__(self, input_size: int, hidden_size: int):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.Linear(input_size + hidden_size, hidden_size)
        self.keep = 0.5

    def step(self, x, h):
        h = self.keep * h + (1 - self.keep) * tr.tanh(self.inner(tr.concat([x, h], axis=-1)))
        return h, h


def models() -> list[nn.Module]:
    return [
        nn.LSTM(3, 8, num_layers=2, dropout=0.1),
        nn.GRU(3, 8, bidirectional=True, recurrent_dropout=0.2),
        nn.Recurrent(nn.Zoneout(nn.LSTMCell(3, 8), p=0.1)),
        nn.Recurrent(Leaky(3, 8)),
    ]


def run(steps: int, warm_up: int, seed: int = 0) -> tuple[float, float, int]:
    """Bytes after the warm-up and at the end, and how many of the dropped layers are still alive."""
    tr.seed(seed)
    rng = np.random.default_rng(seed)
    layers = models()
    optimizers = [optim.Adam(layer.parameters(), lr=1e-3) for layer in layers]
    dropped: list[weakref.ref] = []
    readings: list[int] = []
    for step in range(warm_up + steps):
        if step >= warm_up and (step - warm_up) % max(steps // 50, 1) == 0:
            gc.collect()
            readings.append(resident())
        which = int(rng.integers(len(layers)))
        layer, optimizer = layers[which], optimizers[which]
        time, batch = int(rng.integers(1, 20)), int(rng.integers(1, 9))
        x = rng.standard_normal((time, batch, 3)).astype(np.float32)
        options: dict = {}
        if rng.random() < 0.3:
            options["lengths"] = rng.integers(0, time + 1, batch)
        if rng.random() < 0.2:
            options["resets"] = rng.random((time, batch)) < 0.2
        layer.train(rng.random() < 0.8)
        if isinstance(layer, nn.Recurrent) and isinstance(layer.cell, Leaky):
            layer.cell.keep = float(rng.integers(1, 9)) / 10
        y, _ = layer(x, **options)
        (y * y).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:  # a new layer in the place of one
            fresh = models()[which]
            dropped.append(weakref.ref(layer))
            layers[which], optimizers[which] = fresh, optim.Adam(fresh.parameters(), lr=1e-3)
    del layer, optimizer
    gc.collect()
    third = max(len(readings) // 5, 1)
    return (
        float(np.median(readings[:third])),
        float(np.median(readings[-third:])),
        sum(r() is not None for r in dropped),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=4_000)
    args = parser.parse_args()
    before, after, alive = run(args.steps, args.warm_up)
    print(
        f"{before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB: {after / before - 1:+.2%}; "
        f"{alive} dropped layers alive"
    )
