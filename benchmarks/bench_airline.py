"""Training of models/airline, batch size 1: beside the same loop in PyTorch, and part by part.

At batch size 1 and four hidden units hardly anything is computed: what counts is what a framework itself
costs per training step. All sides draw the same windows in a new order each epoch and run Adam on an LSTM
with one linear layer. PyTorch indexes prepared tensors, without its slower DataLoader, and runs with its
default Adam and with its fused one. JAX runs each epoch as one jitted scan; "loop" is the same epoch written
by hand, as a plain loop under Numba.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from models import airline
from tinygrad_rnn import nn
from tinygrad_rnn.data import read_column

from . import harness, tasks, training_sides
from .bench_recurrent import add_against, load

LOOK_BACK, HIDDEN = 1, 4


def data() -> airline.Windows:
    return airline.Windows(read_column(airline.PASSENGERS, "passengers"), LOOK_BACK)


def ours(epochs: int) -> Callable[[], float]:
    """A function that trains from scratch, as the model does; returns the last loss."""
    windows = data()

    def run() -> float:
        tr.seed(0)
        trainer = airline.trainer(airline.Forecaster(HIDDEN), progress=False)
        return trainer.fit(airline.batches(windows), epochs=epochs)["loss"][-1]

    return run


def torch_model(torch, fused: bool):
    class Forecaster(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(1, HIDDEN, batch_first=True)
            self.head = torch.nn.Linear(HIDDEN, 1)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model = Forecaster()
    source = {
        key.replace("rnn.cell.", "lstm.") + ("_l0" if "cell" in key else ""): torch.from_numpy(array)
        for key, array in airline.Forecaster(HIDDEN).state_dict().items()
    }
    model.load_state_dict(source)
    model.lstm.bias_hh_l0.requires_grad_(False)
    trainable = [p for p in model.parameters() if p.requires_grad]
    return model, torch.optim.Adam(trainable, lr=1e-3, eps=1e-7, fused=fused)


def theirs(torch, epochs: int, fused: bool) -> Callable[[], float]:
    """The same loop in PyTorch."""
    inputs, targets = (torch.from_numpy(a) for a in data().train)

    def run() -> float:
        tr.seed(0)
        torch.manual_seed(0)
        model, optimizer = torch_model(torch, fused)
        mse_loss = torch.nn.functional.mse_loss
        for _ in range(epochs):
            total = 0.0
            for i in torch.randperm(len(inputs)).tolist():
                loss = mse_loss(model(inputs[i : i + 1]), targets[i : i + 1])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
        return total / len(inputs)

    return run


def jax_epochs(jax, epochs: int) -> Callable[[], float]:
    """One jitted scan over the windows for each epoch."""
    task = tasks.airline_task(LOOK_BACK, HIDDEN)
    update, begin = training_sides.jax_update(jax, task)
    x, y = (jax.numpy.asarray(a)[:, None] for a in (task.inputs, task.targets))
    epoch = jax.jit(
        lambda state, order: jax.lax.scan(lambda s, i: update(s, x[i], y[i]), state, order), donate_argnums=0
    )

    def run() -> float:
        rng, state = np.random.default_rng(0), begin()
        for _ in range(epochs):
            state, losses = epoch(state, rng.permutation(task.steps))
            loss = float(losses.mean())
        return loss

    return run


def loop_epochs(epochs: int) -> Callable[[], float]:
    """The loop by hand, called once for each epoch."""
    task = tasks.airline_task(LOOK_BACK, HIDDEN)

    def run() -> float:
        rng, epoch = np.random.default_rng(0), training_sides.loop(task)[0]
        for _ in range(epochs):
            loss = float(epoch(rng.permutation(task.steps)).mean())
        return loss

    return run


def functions(epochs: int, torch: Any, jax: Any) -> dict[str, Callable[[], float]]:
    """What trains for so many epochs and returns the last one's loss, by side."""
    found = {"ours": ours(epochs)}
    if torch:
        found["torch"] = theirs(torch, epochs, fused=False)
        found["torch, fused Adam"] = theirs(torch, epochs, fused=True)
    if jax:
        found["jax scan"] = jax_epochs(jax, epochs)
    return {**found, "loop": loop_epochs(epochs)}


# ---- part by part

PARTS = ("batch", "forward", "loss", "item", "zero_grad", "backward", "optimizer")


def step_times(model, optimizer, batches: Iterable, mse_loss, wrap) -> Iterator[list[float]]:
    """Train on every batch; for each the seconds that the parts of the step took."""
    clock = time.perf_counter
    loader = iter(batches)
    while True:
        t = [clock()]
        batch = next(loader, None)
        if batch is None:
            return
        x, y = map(wrap, batch)
        t.append(clock())
        prediction = model(x)
        t.append(clock())
        loss = mse_loss(prediction, y)
        t.append(clock())
        loss.item()
        t.append(clock())
        optimizer.zero_grad()
        t.append(clock())
        loss.backward()
        t.append(clock())
        optimizer.step()
        t.append(clock())
        yield [b - a for a, b in pairwise(t)]


def print_profile(epochs: int) -> None:
    """Microseconds per training step, by part; both sides take turns, epoch by epoch."""
    windows = data()
    model = airline.Forecaster(HIDDEN)
    optimizer = airline.trainer(model).optimizer
    loader = airline.batches(windows, seed=0)
    sides = {"ours": lambda: step_times(model, optimizer, loader, nn.mse_loss, tr.as_tensor)}
    torch = harness.torch()
    if torch:
        inputs, targets = (torch.from_numpy(a) for a in windows.train)
        other = torch_model(torch, fused=False)

        def pairs():
            for i in torch.randperm(len(inputs)).tolist():
                yield inputs[i : i + 1], targets[i : i + 1]

        sides["torch"] = lambda: step_times(*other, pairs(), torch.nn.functional.mse_loss, lambda x: x)
    samples: dict[str, list[list[float]]] = {name: [] for name in sides}
    for epoch in range(1 + epochs):
        for name, side in sides.items():
            times = list(side())
            samples[name] += times if epoch else []  # the first one warms up
    print(f"microseconds per training step, medians of {len(samples['ours'])} steps")
    columns = {name: np.median(times, axis=0) * 1e6 for name, times in samples.items()}
    print(" " * 12 + "".join(f"{name:>10}" for name in columns))
    for i, part in enumerate(PARTS):
        print(f"{part:<12}" + "".join(f"{column[i]:10.1f}" for column in columns.values()))
    print(f"{'sum':<12}" + "".join(f"{column.sum():10.1f}" for column in columns.values()))


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=5)
    parser.add_argument("--epochs", type=int, default=100, help="of one sample; default: 100, with --quick 3")
    parser.add_argument("--profile", action="store_true", help="time the parts of a training step instead")
    add_against(parser)
    args = harness.parse(parser, argv)
    if args.quick:
        args.epochs = min(args.epochs, 3)
    with harness.threads(args.threads):
        if args.profile:
            print_profile(5 if args.quick else 50)
            return 0
        jax, torch = load(args)
        report = harness.Report("airline, training from scratch at batch size 1", args)
        report.add(f"{args.epochs} epochs", harness.measure(functions(args.epochs, torch, jax), args.repeats))
        report.finish()
    return 0
