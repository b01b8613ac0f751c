"""What happens to a layer between two calls: modes, updates, replaced parameters, copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim

from .layers import Subject

Change = Callable[[Subject, np.random.Generator], None]
CHANGES: dict[str, Change] = {}


def change(f: Change) -> Change:
    CHANGES[f.__name__.replace("_", " ")] = f
    return f


def _near(p: tr.Tensor, rng) -> np.ndarray:
    """Values like those of a parameter."""
    return np.asarray(p.data * rng.uniform(0.7, 1.3, p.shape) + rng.uniform(-0.05, 0.05, p.shape), p.dtype)


def _some(subject: Subject, rng) -> tuple[str, nn.Parameter] | None:
    found = list(subject.layer.named_parameters())
    return found[int(rng.integers(len(found)))] if found else None


@change
def train_or_eval(subject: Subject, rng) -> None:
    subject.layer.train(not subject.layer.training)


@change
def one_cell_to_eval(subject: Subject, rng) -> None:
    subject.cells[int(rng.integers(len(subject.cells)))].eval()


@change
def update_by_optimizer(subject: Subject, rng) -> None:
    """A few steps on made-up gradients; the optimiser may lay parameters into one buffer."""
    parameters = [p for p in subject.layer.parameters() if p.requires_grad]
    if not parameters:
        return
    kinds = [lambda p: optim.SGD(p, lr=0.05), lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
             lambda p: optim.Adam(p, lr=0.02), lambda p: optim.RMSprop(p, lr=0.01)]  # fmt: skip
    optimizer = kinds[int(rng.integers(len(kinds)))](parameters)
    for _ in range(int(rng.integers(1, 3))):
        for p in parameters:
            p.grad = tr.Tensor(rng.uniform(-0.5, 0.5, p.shape).astype(p.dtype))
        optimizer.step()
    optimizer.zero_grad()


@change
def load_state_dict(subject: Subject, rng) -> None:
    state = {k: np.asarray(v) for k, v in subject.layer.state_dict().items()}
    subject.layer.load_state_dict({k: v * 0.9 if v.dtype.kind == "f" else v for k, v in state.items()})


@change
def write_into_data(subject: Subject, rng) -> None:
    """Behind the library's back, without touch()."""
    if found := _some(subject, rng):
        found[1].data[...] = _near(found[1], rng)


@change
def copy_(subject: Subject, rng) -> None:
    if found := _some(subject, rng):
        with tr.no_grad():
            found[1].copy_(_near(found[1], rng))


@change
def new_data(subject: Subject, rng) -> None:
    """Another array in the place of a parameter's, of an order of its own."""
    if found := _some(subject, rng):
        values = _near(found[1], rng)
        # without an axis it would get one
        found[1].data = np.asfortranarray(values) if rng.random() < 0.3 and values.ndim else values


@change
def replace_parameter(subject: Subject, rng) -> None:
    if found := _some(subject, rng):
        path, _, name = found[0].rpartition(".")
        owner = dict(subject.layer.named_modules())[path]
        setattr(owner, name, nn.Parameter(_near(found[1], rng)))


@change
def freeze_or_thaw(subject: Subject, rng) -> None:
    """Always the same parameter, as each choice is a loop to compile."""
    if found := list(subject.layer.parameters()):
        p = found[subject.frozen % len(found)]
        p.requires_grad_(not p.requires_grad)


@change
def deep_copy(subject: Subject, rng) -> None:
    subject.layer = copy.deepcopy(subject.layer)


@change
def pickle_and_back(subject: Subject, rng) -> None:
    try:
        text = pickle.dumps(subject.layer)
    except (AttributeError, TypeError, pickle.PicklingError):  # a step of the tests' tables is a lambda
        return
    subject.layer = pickle.loads(text)


@change
def reset_parameters(subject: Subject, rng) -> None:
    if hasattr(subject.layer, "reset_parameters"):
        subject.layer.reset_parameters()


@change
def checkpoint_every(subject: Subject, rng) -> None:
    subject.layer.checkpoint_every = None if subject.layer.checkpoint_every else int(rng.integers(1, 5))


@change
def batch_first(subject: Subject, rng) -> None:
    subject.layer.batch_first = not subject.layer.batch_first


@change
def dtype_and_back(subject: Subject, rng) -> None:
    dtype = subject.dtype.name
    subject.layer.to("float32" if dtype == "float64" else "float64")
    subject.layer.to(dtype)
