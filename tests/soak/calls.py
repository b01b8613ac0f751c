"""Random calls of a layer, and what they give: outputs, states and gradients as arrays, time first."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import recurrent
from tinygrad_rnn.core import tree
from tinygrad_rnn.testing.cell_case import named

from .layers import Subject

Results = dict[str, np.ndarray]
TIMES = [1, 2, 3, 4, 5, 7, 9, 12]
BATCHES = [1, 1, 2, 3, 4, 5, 8, 9]
FORMS = {  # how inputs are given, and how often
    "array": 2,
    "tensor": 2,
    "strided": 1,
    "Fortran": 1,
    "read-only": 1,
    "backwards": 1,
    "other dtype": 1,
    "list": 0.3,
}
LEAVES = {"leaf": 4, "strided leaf": 1, "computed": 1}
READS = ("all", "all", "all", "outputs", "states", "last output")


class Call:
    """One call of a layer: sequences, states, which steps count, and what a loss reads of the results.

    Attributes
    ----------
    xs, state : nest of arrays
        Time first; state is None for the layer's own.
    steps : dict
        ``lengths``, ``mask`` and ``resets``, time first.
    form, state_form : str
        How inputs and states are given.
    """

    def __init__(self, subject: Subject, rng: np.random.Generator, time: int, batch: int):
        maybe = lambda p: bool(rng.random() < p)
        self.time, self.batch, self.seed = time, batch, int(rng.integers(2**31))
        self.xs = subject.inputs(rng, time, batch)
        self.state = subject.states(rng, batch) if maybe(0.4) else None
        inputs, states = subject.needs[int(rng.integers(len(subject.needs)))]
        self.form = _one_of(rng, LEAVES if inputs else FORMS)
        self.form = "array" if self.form == "list" and not subject.layered else self.form  # where lists are nests
        self.state_form = str(rng.choice(["leaf", "computed"] if states else ["array", "tensor"]))
        self.steps: dict[str, np.ndarray] = {}
        if maybe(0.3):
            self.steps["lengths"] = rng.integers(0, time + 1, batch)
            if maybe(0.5):
                self.steps["lengths"][rng.integers(batch)] = time
        if maybe(0.15):
            self.steps["mask"] = rng.random((time, batch)) < rng.choice([0.3, 0.7, 0.95])
        if maybe(0.15):
            self.steps["resets"] = rng.random((time, batch)) < rng.choice([0.1, 0.5])
        self.scan = maybe(0.1) and not subject.layered and not subject.two_ways
        self.reset_state = subject.states(rng, batch) if self.scan and "resets" in self.steps and maybe(0.7) else None
        self.all_states = subject.all_states and maybe(0.3) and not self.scan
        self.return_outputs = maybe(0.93)
        self.gradients = maybe(0.85)
        self.backward = maybe(0.3)
        self.reads = str(rng.choice(READS))
        self.unbatched = subject.layered and batch == 1 and maybe(0.3)
        self.as_lists = maybe(0.2)
        self.poison = maybe(0.5) and self.form != "list"
        self._weights: dict[str, np.ndarray] = {}

    @property
    def valid(self) -> np.ndarray:
        """Which steps count, (T, B)."""
        within = np.arange(self.time)[:, None] < self.steps.get("lengths", np.full(self.batch, self.time))
        return within & self.steps.get("mask", np.ones((self.time, self.batch), bool))

    def features(self) -> list[str]:
        """What is special about it, for the report."""
        found = [*self.steps, f"inputs: {self.form}"]
        found += [f"state: {self.state_form}"] if self.state is not None else []
        for name in ("scan", "all_states", "unbatched", "backward"):
            found += [name] if getattr(self, name) else []
        found += [] if self.return_outputs else ["return_outputs=False"]
        found += ["reset_state"] if self.reset_state is not None else []
        found += ["NaN in padding"] if self.poison and not self.valid.all() else []
        return [*found, f"loss reads {self.reads}" if self.gradients else "no_grad"]

    def weights(self, name: str, shape: tuple, rows: slice, axis: int) -> np.ndarray:
        """Random weights of a loss; of a few rows, those that they have among all."""
        if name not in self._weights:
            rng = np.random.default_rng([zlib.crc32(name.encode()), self.seed])
            self._weights[name] = rng.uniform(0.3, 1, shape) * rng.choice([-1.0, 1.0], shape)
        return self._weights[name][(slice(None),) * axis + (rows,)]


def _one_of(rng: np.random.Generator, weights: dict[str, float]) -> str:
    return str(rng.choice([*weights], p=np.array([*weights.values()]) / sum(weights.values())))


def run(subject: Subject, call: Call, mode: str, rows: slice = slice(None), xs: Any = None, state: Any = None,
        plain: bool = False) -> Results:  # fmt: skip
    """Outputs, states and gradients, by name.

    Parameters
    ----------
    rows : slice
        Only these rows of the batch.
    xs, state : nest of arrays, optional
        In the place of the call's.
    plain : bool
        Inputs and states as they lie, without gradients.
    """
    results, loss, leaves = forward(subject, call, mode, rows, xs, state, plain)
    found = {name: y.data.copy() for name, y in results}
    wanted = [(n, t) for n, t, _ in leaves] + [*subject.layer.named_parameters()]
    wanted = [(n, t) for n, t in wanted if t.requires_grad]
    if plain or not isinstance(loss, tr.Tensor) or not loss.requires_grad or not wanted:
        return found | ({"loss": np.asarray(float(loss))} if plain else {})
    tensors = [t for _, t in wanted]
    if call.backward:
        for t in tensors:
            t.grad = None
        loss.backward()
        grads: list = [t.grad for t in tensors]
        for t in tensors:
            t.grad = None
    else:
        grads = list(tr.grad(loss, tensors, allow_unused=True))
    turn = {n: back for n, _, back in leaves}
    for (name, t), g in zip(wanted, grads):
        g = np.zeros(t.shape, t.dtype) if g is None else g.data.copy()
        found[f"gradient of {name}"] = turn.get(name, lambda a: a)(g)
    return found


def forward(subject: Subject, call: Call, mode: str, rows: slice = slice(None), xs: Any = None, state: Any = None,
            plain: bool = False) -> tuple[list, Any, list]:  # fmt: skip
    """Results by name as tensors, a loss, and (name, leaf, how its gradient lies time first)."""
    layer, states_axis = subject.layer, 1 if subject.layered else 0
    layer.mode = mode if subject.compiles or mode == "eager" else "auto"
    tr.seed(call.seed)
    batch_first = bool(layer.batch_first) and not call.unbatched
    leaves: list = []
    xs = call.xs if xs is None else xs
    state = call.state if state is None else state
    form, state_form = ("array", "array") if plain else (call.form, call.state_form)

    def sequence(name, x):
        x = x[:, rows]
        if call.poison and x.dtype.kind == "f":
            x = np.where(call.valid[:, rows].reshape(x.shape[:2] + (1,) * (x.ndim - 2)), x, np.nan).astype(x.dtype)
        x = x[:, 0] if call.unbatched else x.swapaxes(0, 1) if batch_first else x
        back = (lambda g: g[:, None]) if call.unbatched else (lambda g: g.swapaxes(0, 1)) if batch_first else None
        return _given(name, x, form, leaves, back or (lambda g: g), subject.dtype)

    def state_of(name, s):
        s = s[(slice(None),) * states_axis + (rows,)]
        s = s[:, 0] if call.unbatched else s
        back = (lambda g: g[:, None]) if call.unbatched else (lambda g: g)
        return _given(name, s, state_form, leaves, back, subject.dtype)

    xs = _named_map(sequence, xs, "input")
    state = None if state is None else _named_map(state_of, state, "initial state")
    reset_state = None if call.reset_state is None else _named_map(state_of, call.reset_state, "reset state")
    steps = {k: v[rows] if k == "lengths" else v[:, rows] for k, v in call.steps.items()}
    if batch_first:
        steps = {k: v if k == "lengths" else v.T for k, v in steps.items()}
    if call.unbatched:
        steps = {k: v[..., 0] for k, v in steps.items()}
    if call.as_lists:
        steps = {k: v.tolist() for k, v in steps.items()}
    with tr.set_grad_enabled(call.gradients and not plain):
        if call.scan:
            ys, final = recurrent.scan(
                layer.cell, xs, state, layer.mode, layer.reverse, batch_first, **steps, reset_state=reset_state,
                checkpoint_every=layer.checkpoint_every, return_outputs=call.return_outputs,
            )  # fmt: skip
        else:
            every = "all" if call.all_states else "final"
            ys, final = layer(xs, state, **steps, return_states=every, return_outputs=call.return_outputs)
        results = []
        time_axis = 1 if subject.layered else 0
        for name, y in [*named(ys, "output"), *named(final, "state")]:
            axis = 1
            if name.startswith("output"):
                y = tr.expand_dims(y, 1) if call.unbatched else y.swapaxes(0, 1) if batch_first else y
            elif call.all_states:
                y = tr.expand_dims(y, 2) if call.unbatched else y
                y = y.swapaxes(time_axis, time_axis + 1) if batch_first else y
                axis = time_axis + 1
            else:
                y = tr.expand_dims(y, 1) if call.unbatched else y
                axis = states_axis
            results.append((name, y, axis))
        loss: Any = 0.0
        for name, y, axis in results:
            if y.dtype.kind == "f" and _is_read(name, call.reads):
                w = call.weights(name, y.shape, rows, axis).astype(y.dtype)
                if call.reads == "last output":
                    y, w = y[-1], w[-1]
                loss = loss + (y * w).sum()
    return [(name, y) for name, y, _ in results], loss, leaves


def _is_read(name: str, reads: str) -> bool:
    return reads == "all" or name.startswith("output" if reads in ("outputs", "last output") else "state")


def _named_map(f, values: Any, name: str) -> Any:
    """``tree.map`` with the name of each leaf."""
    leaves, structure = tree.flatten(values)
    names = [n for n, _ in named(values, name)]
    assert len(names) == len(leaves)
    return tree.unflatten(structure, [f(n, leaf) for n, leaf in zip(names, leaves)])


def _given(name: str, a: np.ndarray, form: str, leaves: list, back, dtype: np.dtype) -> Any:
    """An array as a user may have it; leaves that need gradients are noted."""
    a = np.ascontiguousarray(a)
    if a.dtype.kind != "f" and form in ("leaf", "strided leaf", "computed", "list", "other dtype"):
        form = "array"
    if form == "strided" or form == "strided leaf":
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1] + 1), 7, a.dtype)
        wide[..., 1::2] = a
        a = wide[..., 1::2]
    elif form == "Fortran":
        a = np.asfortranarray(a)
    elif form == "read-only":
        a = a.copy()
        a.flags.writeable = False
    elif form == "backwards":
        a = a[::-1].copy()[::-1]
    elif form == "other dtype":
        a = a.astype(np.float32).astype(np.float64 if dtype == np.float32 else np.float32)
    elif form == "list":
        return a.tolist()
    if form in ("leaf", "strided leaf", "computed"):
        leaf = tr.Tensor(a, True)
        leaves.append((name, leaf, back))
        return leaf * 1.0 if form == "computed" else leaf
    return tr.Tensor(a) if form == "tensor" else a
