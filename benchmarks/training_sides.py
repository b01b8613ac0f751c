"""Whole training steps of one task on many sides: the tape, ``TrainStep``, PyTorch, JAX, and a loop by hand.

A side starts from the task's weights. Each call of `epoch` makes one update for every batch, in the task's order, and
returns the losses; all sides clip and update by the same formulas, so that their losses and weights agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import nn, optim, train

from . import airline_loop
from .tasks import Task

BETAS = (0.9, 0.999)
SAME = 1e-3  # how far the weights of two sides may be from each other, as a share of how far they have moved


class Side(NamedTuple):
    """One side of a task.

    Attributes
    ----------
    epoch : callable
        Makes one pass.
    weights : callable
        Gives the weights by name.
    passes : callable, optional
        Makes the task's number of passes in one call.
    """

    epoch: Callable[[], Any]
    weights: Callable[[], dict[str, np.ndarray]]
    passes: Callable[[], Any] | None = None


# ---- ours


def _ours(task: Task):
    model = task.build()
    params = [p for p in model.parameters() if p.requires_grad]
    return model, params, optim.Adam(params, lr=task.lr, betas=BETAS, eps=task.eps), getattr(nn, task.loss)


def _values(model: nn.Module) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: {name: p.numpy().copy() for name, p in model.named_parameters() if p.requires_grad}


def tape(task: Task) -> Side:
    """The loop that one writes without a trainer."""
    model, params, optimizer, loss_of = _ours(task)
    batches = list(task.loader)

    def step(x, y) -> float:
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if task.clip is not None:
            optim.clip_grad_norm_(params, task.clip)
        optimizer.step()
        return loss.item()

    return Side(lambda: [step(x, y) for x, y in batches], _values(model))


def compiled() -> dict[str, Callable[[Task], Side]]:
    """The whole step as one native call, and many of them as one; nothing where the package has neither."""
    if not hasattr(train, "TrainStep"):
        return {}
    return {"step": _step, "run": _run} if hasattr(train.TrainStep, "run") else {"step": _step}


def _train_step(task: Task):
    model, _, optimizer, loss_of = _ours(task)
    return model, train.TrainStep(model, optimizer, loss_of, clip_norm=task.clip)


def _step(task: Task) -> Side:
    model, step = _train_step(task)
    batches = list(task.loader)
    return Side(lambda: [float(step(x, y)) for x, y in batches], _values(model))


def _run(task: Task) -> Side:
    model, step = _train_step(task)
    loader, n = task.loader, task.steps
    return Side(lambda: step.run(loader, n), _values(model), lambda: step.run(loader, n * task.passes))


# ---- theirs


def torch_side(torch, task: Task) -> Side:
    """PyTorch's layers, its fused Adam, and batches that are tensors before."""
    ours = task.build()
    arrays = {key: torch.from_numpy(array) for key, array in ours.state_dict().items()}
    batches = [tuple(map(torch.from_numpy, batch)) for batch in task.loader]

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            I, (outputs, H) = arrays["rnn.weight_ih_l0"].shape[1], arrays["head.weight"].shape
            self.embedding = torch.nn.Embedding(outputs, I) if ours.embedding is not None else None
            self.rnn = torch.nn.LSTM(I, H, batch_first=self.embedding is None)
            self.head = torch.nn.Linear(H, outputs)

        def forward(self, x):
            if self.embedding is None:
                return self.head(self.rnn(x)[0][:, -1])
            return self.head(self.rnn(self.embedding(x))[0]).flatten(0, 1)

    model = Model().to(arrays["head.weight"].dtype)
    model.load_state_dict(arrays)
    for (_, mine), theirs in zip(ours.named_parameters(), model.parameters(), strict=True):
        theirs.requires_grad_(mine.requires_grad)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    params = list(named.values())
    optimizer = torch.optim.Adam(params, lr=task.lr, betas=BETAS, eps=task.eps, fused=True)
    loss_of = getattr(torch.nn.functional, task.loss)
    if task.loss == "cross_entropy":
        batches = [(x, y.flatten()) for x, y in batches]

    def step(x, y) -> float:
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if task.clip is not None:
            torch.nn.utils.clip_grad_norm_(params, task.clip)
        optimizer.step()
        return loss.item()

    weights = lambda: {name: p.detach().numpy().copy() for name, p in named.items()}
    return Side(lambda: [step(x, y) for x, y in batches], weights)


def jax_update(jax, task: Task) -> tuple[Callable[..., Any], Any]:
    """``update(state, x, y) -> (state, loss)`` for ``jit`` and ``scan``, and a function that makes the first state."""
    jnp, lax = jax.numpy, jax.lax
    beta1, beta2 = BETAS
    model = task.build()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    arrays = model.state_dict()
    frozen = {name: jnp.asarray(array) for name, array in arrays.items() if name not in trained}

    def logits(w, x):
        embedded = "embedding.weight" in w
        x = w["embedding.weight"][x] if embedded else x.swapaxes(0, 1)
        gates = x @ w["rnn.weight_ih_l0"].T + (w["rnn.bias_ih_l0"] + w["rnn.bias_hh_l0"])  # all steps at once
        recurrent = w["rnn.weight_hh_l0"].T

        def step(state, z):
            h, c = state
            i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h if embedded else None

        zeros = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)
        (last, _), outputs = lax.scan(step, (zeros, zeros), gates)
        return (outputs if embedded else last) @ w["head.weight"].T + w["head.bias"]

    def loss_of(w, x, y):
        out = logits({**w, **frozen}, x)
        if task.loss == "mse_loss":
            return ((out - y) ** 2).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(out), y[..., None], -1).mean()

    def update(state, x, y):
        w, m, v, t = state
        loss, grads = jax.value_and_grad(loss_of)(w, x, y)
        if task.clip is not None:
            norm = jnp.sqrt(sum((g * g).sum() for g in grads.values()))
            scale = jnp.minimum(1.0, task.clip / (norm + 1e-6))
            grads = {k: g * scale for k, g in grads.items()}
        t = t + 1
        m = {k: beta1 * m[k] + (1 - beta1) * g for k, g in grads.items()}
        v = {k: beta2 * v[k] + (1 - beta2) * g * g for k, g in grads.items()}
        rate, root = task.lr / (1 - beta1**t), jnp.sqrt(1 - beta2**t)
        w = {k: w[k] - rate * m[k] / (jnp.sqrt(v[k]) / root + task.eps) for k in w}
        return (w, m, v, t), loss

    def begin():
        w = {name: jnp.array(arrays[name]) for name in trained}
        return w, *({k: jnp.zeros_like(a) for k, a in w.items()} for _ in "mv"), jnp.zeros((), jnp.float32)

    return update, begin


def jax_side(jax, task: Task) -> Side:
    """One jitted call for each step, which overwrites weights and state; it waits for the last one only."""
    update, begin = jax_update(jax, task)
    step = jax.jit(update, donate_argnums=0)
    batches = [tuple(map(jax.numpy.asarray, batch)) for batch in task.loader]
    state = begin()

    def epoch():
        nonlocal state
        losses = []
        for x, y in batches:
            state, loss = step(state, x, y)
            losses.append(loss)
        return jax.block_until_ready(losses)

    return Side(epoch, lambda: {k: np.asarray(a) for k, a in state[0].items()})


def jax_scan_side(jax, task: Task) -> Side:
    """One jitted call for a pass, or for several, which scans over the batches."""
    update, begin = jax_update(jax, task)
    arrays = [np.stack(column) for column in zip(*task.loader)]
    run = jax.jit(lambda state, data: jax.lax.scan(lambda s, b: update(s, *b), state, data), donate_argnums=0)
    state = begin()

    def over(passes: int) -> Callable[[], Any]:
        data = tuple(jax.numpy.asarray(np.concatenate([a] * passes)) for a in arrays)

        def epochs():
            nonlocal state
            state, losses = run(state, data)
            return jax.block_until_ready(losses)

        return epochs

    return Side(over(1), lambda: {k: np.asarray(a) for k, a in state[0].items()}, over(task.passes))


def loop(task: Task) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[], dict[str, np.ndarray]]]:
    """The airline's loop by hand: a function that trains on examples in an order, and one that gives the weights."""
    weights = _values(task.build())()
    hidden = weights["rnn.weight_hh_l0"].shape[1]
    params = airline_loop.pack(weights)
    exp_avg, exp_avg_sq = np.zeros((2, params.size), params.dtype)
    inputs, targets = task.inputs[..., 0], task.targets[:, 0]
    done = 0

    def epoch(order: np.ndarray) -> np.ndarray:
        nonlocal done
        losses = airline_loop.train(
            order, inputs, targets, hidden, params, exp_avg, exp_avg_sq, done, task.lr, *BETAS, task.eps
        )
        done += len(order)
        return losses

    return epoch, lambda: airline_loop.unpack(params.copy(), hidden)


def loop_side(task: Task) -> Side:
    """The same, on the examples as they come."""
    epoch, weights = loop(task)
    order = np.arange(task.steps)
    orders = np.tile(order, task.passes)
    return Side(lambda: epoch(order), weights, lambda: epoch(orders))


# ---- all of them


def candidates(task: Task, torch: Any, jax: Any) -> dict[str, Side]:
    """Ours, and those of the libraries that are there; "ours" is the fastest way of ours to call a single step."""
    ways = {**compiled(), "tape": tape}
    first = next(iter(ways))
    found = {"ours": ways.pop(first)(task), **{name: make(task) for name, make in ways.items()}}
    if torch:
        found["torch"] = torch_side(torch, task)
    if jax:
        found |= {"jax": jax_side(jax, task), "jax scan": jax_scan_side(jax, task)}
    if task.name == "airline":
        found["loop"] = loop_side(task)
    return found


def agree(sides: Mapping[str, Side]) -> None:
    """Make a first pass on each side; raise unless all come to the losses and the weights of the first side.

    Losses may differ by SAME of their mean; the weights of all arrays together by SAME of how far they moved.
    """
    (first, mine), *others = sides.items()
    start = mine.weights()
    losses, weights = _pass(mine)
    moved = _distance(weights, start)
    for name, side in others:
        their_losses, their_weights = _pass(side)
        if losses.shape != their_losses.shape:
            raise AssertionError(f"{first} and {name} disagree: {len(losses)} losses and {len(their_losses)}")
        if not (off := np.abs(losses - their_losses).max() / losses.mean()) < SAME:
            raise AssertionError(f"{first} and {name} disagree: their losses are {off:.1%} of the mean apart")
        if not (off := _distance(weights, their_weights) / moved) < SAME:
            raise AssertionError(f"{first} and {name} disagree: their weights are {off:.1%} of their way apart")


def _pass(side: Side) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return np.array([float(loss) for loss in side.epoch()]), side.weights()


def _distance(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(a[name] - b[name]).sum() for name in a)))
