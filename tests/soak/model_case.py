"""One case: a random model, as a compiled function and as training steps, held against the tape and differences."""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import DTypeError, GraphError
from tinygrad_rnn.train import TrainStep

from .case import Coverage
from .checks import IllConditioned, Mismatch, require_close
from .models import draw_model
from .steps import draw_loss

OPTIMIZERS = {
    "SGD": lambda ps, rng: optim.SGD(ps, lr=0.05, momentum=float(rng.choice([0.0, 0.9])), weight_decay=0.01),
    "Nesterov": lambda ps, rng: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda ps, rng: optim.Adam(ps, lr=0.02, amsgrad=bool(rng.random() < 0.5), eps=1e-4),
    "AdamW": lambda ps, rng: optim.AdamW(ps, lr=0.02, eps=1e-4),
    "RMSprop": lambda ps, rng: optim.RMSprop(ps, lr=0.02, momentum=0.5, eps=1e-3),
    "Adagrad": lambda ps, rng: optim.Adagrad(ps, lr=0.05, lr_decay=0.01, eps=1e-4),
}


FLOOR = 0.1  # gradients behind a saturated function are rounding errors of its result


class Case:
    """A random model with its loss and data, drawn from a seed and a number.

    Attributes
    ----------
    model : RandomModel
    loss : LossOf
    inputs : list of arrays
    targets : array
    """

    def __init__(self, rng: np.random.Generator):
        self.dtype = "float32" if rng.random() < 0.35 else "float64"
        tr.seed(int(rng.integers(1000)))
        self.model, self.inputs = draw_model(rng, self.dtype)
        with tr.no_grad():
            y = self.model(*map(tr.tensor, self.inputs)).data
        self.loss, self.targets = draw_loss(rng, y)
        self.names = {id(p): n for n, p in self.model.named_parameters()}

    def again(self, scale: float = 1.0) -> list[np.ndarray]:
        """Inputs of the same shapes; floats are scaled."""
        return [a * np.asarray(scale, a.dtype) if a.dtype.kind == "f" else a for a in self.inputs]


def run_model_case(seed: int, number: int, coverage: Coverage, log=None) -> None:
    """Draw case `number` of a seed and run it.

    Raises
    ------
    Mismatch
        If two results that ought to agree do not; any other error is one of the library.
    """
    rng = np.random.default_rng([seed, number, 77])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "a program runs without machine code")
        try:
            case = Case(rng)
            tr.set_default_dtype(str(rng.choice(["float32", "float64", case.dtype])))
            if log is not None:
                log(f"{case.dtype}, inputs {[(a.dtype.name, a.shape) for a in case.inputs]}\n{case.model.describe()}")
                log(f"  {case.loss.loss!r}")
            for step in case.model.steps:
                coverage.add("steps", getattr(getattr(step, "function", None), "__name__", type(step).__name__))
            coverage.add("losses", type(case.loss.loss).__name__)
            coverage.add("dtypes", case.dtype)
            function_agrees(case, rng, coverage)
            training_agrees(case, rng, coverage)
            many_steps_agree(case, rng, coverage)
        finally:
            tr.set_default_dtype("float32")


def value_of(case: Case) -> Any:
    """The function that is compiled: loss, prediction and values on the way."""
    model, loss = case.model, case.loss

    def function(inputs, target):
        results = model.results(*inputs)
        return {"loss": loss(results[0], target), "results": results}

    return function


def results_of(function: Any, case: Case, inputs: list, tensors: bool, second: bool = False) -> dict[str, np.ndarray]:
    """Results of a call, its gradients, and with `second` those of the norm of its gradients."""
    given = [tr.tensor(a, requires_grad=a.dtype.kind == "f") if tensors else a for a in inputs]
    case.model.zero_grad()
    tr.seed(11)
    found = function(given, case.targets)
    out = {"loss": found["loss"].data, **{f"result {i}": _array(r) for i, r in enumerate(found["results"])}}
    total = found["loss"]
    for r in found["results"]:
        total = total + (r * np.cos(np.arange(r.size)).reshape(r.shape).astype(r.dtype)).mean()
    leaves = {f"parameter {n}": p for n, p in case.model.named_parameters()}
    leaves |= {f"input {i}": t for i, t in enumerate(given) if isinstance(t, tr.Tensor) and t.requires_grad}
    grads = tr.grad(total, list(leaves.values()), create_graph=second, allow_unused=True)
    out |= {f"gradient of {n}": g.data for n, g in zip(leaves, grads) if g is not None}
    linked = [g for g in grads if g is not None and g.requires_grad] if second else []
    if linked:
        norm = sum(((g * g).sum() for g in linked[1:]), start=(linked[0] * linked[0]).sum())
        more = tr.grad(norm, list(leaves.values()), allow_unused=True)
        out |= {f"gradient of the gradient of {n}": g.data for n, g in zip(leaves, more) if g is not None}
    return out


def _array(value: Any) -> np.ndarray:
    """What is computed of arrays alone is an array."""
    return value.data if isinstance(value, tr.Tensor) else np.asarray(value)


def tame(results: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(a).all() and np.abs(a).max(initial=0.0) < 1e5 for a in results.values())


def noisy_runs(function: Any, case: Case, inputs: list, tensors: bool, second: bool = False):
    """Results where all arguments and parameters are off by some rounding errors."""
    eps, rng = 8 * np.finfo(case.dtype).eps, np.random.default_rng(0)
    kept = [(p, p.data.copy()) for p in case.model.parameters()]
    found = []
    for _ in range(2):
        off = [a * (1 + eps * rng.normal(size=a.shape)).astype(a.dtype) if a.dtype.kind == "f" else a for a in inputs]
        try:
            for p, data in kept:
                p.data = data * (1 + eps * rng.normal(size=data.shape)).astype(data.dtype)
            found.append(results_of(function, case, off, tensors, second))
        finally:
            for p, data in kept:
                p.data = data
    return found


def function_agrees(case: Case, rng: np.random.Generator, coverage: Coverage) -> None:
    function = value_of(case)
    compiled, dtype = tr.compile(function, fallback="error"), np.dtype(case.dtype)
    tensors, second = bool(rng.random() < 0.6), bool(rng.random() < 0.25) and dtype == np.float64
    for call, scale in enumerate((1.0, 1.0, 0.7)):
        inputs = case.again(scale)
        wanted = results_of(function, case, inputs, tensors, second)
        if not tame(wanted):
            coverage.add("checks", "wild")
            return
        got = results_of(compiled, case, inputs, tensors, second)
        noisy = functools.partial(noisy_runs, function, case, inputs, tensors, second)
        try:
            require_close(got, wanted, f"call {call} of the compiled function and the tape", dtype, noisy, FLOOR)
            coverage.add("checks", "second derivatives" if second else "compiled function and tape")
        except IllConditioned:
            coverage.add("checks", "ill-conditioned")
    if dtype == np.float64:
        slopes_agree(case, function, rng, coverage)
    report = compiled.explain(case.inputs, case.targets)
    coverage.add("compiled functions", "native" if getattr(report, "native", True) else "in Python")


def slopes_agree(case: Case, function: Any, rng: np.random.Generator, coverage: Coverage) -> None:
    """The derivative of the loss along one direction of all parameters, and a difference."""
    if any("detach" in repr(step) or getattr(step, "padding_idx", None) is not None for step in case.model.steps):
        return  # there, gradients are zero on purpose
    kept = [(p, p.data.copy(), rng.normal(size=p.shape)) for p in case.model.parameters()]

    def loss(h):
        for p, data, way in kept:
            p.data = data + h * way
        tr.seed(11)
        with tr.no_grad():
            return float(function(case.inputs, case.targets)["loss"])

    try:
        near, far = ((loss(h) - loss(-h)) / (2 * h) for h in (1e-5, 3e-5))
        bend = (loss(1e-5) - 2 * loss(0.0) + loss(-1e-5)) / 1e-5  # as of relu(0), where both sides differ by it
    finally:
        for p, data, _ in kept:
            p.data = data
    case.model.zero_grad()
    tr.seed(11)
    with contextlib.suppress(GraphError):  # no parameter counts: slopes are zero
        function(case.inputs, case.targets)["loss"].backward()
    slope = sum(float((p.grad.data * way).sum()) for p, _, way in kept if p.grad is not None)
    scale = 1e-3 + sum(float(np.abs(p.grad.data * way).sum()) for p, _, way in kept if p.grad is not None)
    if abs(near - far) > 1e-5 * scale or abs(bend) > 1e-3 * scale:  # a kink, or a jump
        coverage.add("checks", "kinks")
        return
    coverage.add("checks", "gradients and differences")
    if abs(slope - near) > 1e-4 * scale:
        raise Mismatch(f"gradients and finite differences: the slope of the loss: got {slope:.9g}, wanted {near:.9g}")


# ---- training


def exactly(run: Any) -> list[dict[str, np.ndarray]]:
    """What a training is in float64: where gradients are nothing but rounding errors, optimisers divide by these."""
    try:
        return [run(dtype="float64")]
    except DTypeError:  # a step has constants of its own
        return []


def cast(arrays: Any, dtype: str | None) -> Any:
    """Arrays, or arrays in tuples, with floats of a dtype."""
    if isinstance(arrays, list | tuple):
        return type(arrays)([cast(a, dtype) for a in arrays])
    return arrays.astype(dtype) if dtype is not None and arrays.dtype.kind == "f" else arrays


def on_the_tape(model: Any, optimizer: Any, loss: Any, inputs: list, target: np.ndarray, clip: dict) -> float:
    value = loss(model(*map(tr.tensor, inputs)), tr.tensor(target))
    optimizer.zero_grad()
    value.backward()
    params = [p for g in optimizer.param_groups for p in g["params"]]
    if "clip_value" in clip:
        optim.clip_grad_value_(params, clip["clip_value"])
    if "clip_norm" in clip:
        optim.clip_grad_norm_(params, clip["clip_norm"])
    optimizer.step()
    return value.item()


def training_agrees(case: Case, rng: np.random.Generator, coverage: Coverage) -> None:
    """Some steps with a random optimiser, with changes between them, on the tape and by programs."""
    name = str(rng.choice([*OPTIMIZERS]))
    coverage.add("optimisers", name)
    clip = [{}, {"clip_norm": 0.5}, {"clip_value": 0.05}, {"clip_norm": 0.5, "clip_value": 0.1}][int(rng.integers(4))]
    changes = [str(rng.choice(["none", "none", "lr", "data", "freeze", "eval", "inputs"])) for _ in range(5)]
    seed = int(rng.integers(1000))
    wanted = train(case, name, clip, changes, seed, "tape")
    if not tame(wanted):
        coverage.add("checks", "wild")
        return
    got = train(case, name, clip, changes, seed, "program", coverage)
    coverage.add("changes", *changes)
    again = functools.partial(train, case, name, clip, changes, seed, "tape")
    noisy = lambda: [again(noise=1), again(noise=2), *exactly(again)]
    try:
        require_close(
            got, wanted, f"training by {name}, {clip}, {changes} and the tape", np.dtype(case.dtype), noisy, FLOOR
        )
        coverage.add("checks", "training and tape")
    except IllConditioned:
        coverage.add("checks", "ill-conditioned training")


def train(
    case: Case,
    name: str,
    clip: dict,
    changes: list[str],
    seed: int,
    way: str,
    coverage=None,
    noise: int = 0,
    dtype=None,
) -> dict[str, np.ndarray]:
    """Losses of some steps, and the parameters after them."""
    model, loss = copy.deepcopy(case.model), copy.deepcopy(case.loss)
    rng = np.random.default_rng(seed)
    if noise:
        off = np.random.default_rng(noise)
        for p in model.parameters():
            p.data = p.data * (1 + 8 * np.finfo(case.dtype).eps * off.normal(size=p.shape)).astype(p.dtype)
    for p in model.parameters():
        p.data = cast(p.data, dtype)
    params = [*model.parameters()]
    groups = [params[::2], params[1::2]] if len(params) > 1 and rng.random() < 0.4 else [params]
    optimizer = OPTIMIZERS[name]([{"params": g} for g in groups], rng)
    step = TrainStep(model, optimizer, loss, fallback="error", **clip)
    losses, inputs, targets = [], cast(case.inputs, dtype), cast(case.targets, dtype)
    tr.seed(seed)
    for change in changes:
        p = params[int(rng.integers(len(params)))]
        if change == "lr":
            optimizer.param_groups[0]["lr"] *= 0.5
        elif change == "data":
            p.data = p.data * np.asarray(0.9, p.dtype)
        elif change == "freeze" and sum(q.requires_grad for q in params) > 1:
            p.requires_grad_(False)
            p.grad = None
        elif change == "eval":
            model.eval()
        elif change == "inputs":
            inputs = [a * np.asarray(0.8, a.dtype) if a.dtype.kind == "f" else a for a in inputs]
        try:
            if way == "tape":
                losses.append(on_the_tape(model, optimizer, loss, inputs, targets, clip))
            else:
                losses.append(step(tuple(inputs), case.targets))
                if coverage is not None:
                    _, native = step.updates().program_of((tuple(inputs), case.targets))
                    coverage.add("training", "native" if native is not None else "in Python")
        except GraphError:  # what was frozen was all that counted, or nothing counts: both ways say so
            break
    out = {"losses": np.array(losses)}
    return out | {f"parameter {n}": p.data for n, p in model.named_parameters()}


def many_steps_agree(case: Case, rng: np.random.Generator, coverage: Coverage) -> None:
    """Steps over rows of arrays, many in one native call, and one by one on the tape."""
    arrays = [*case.inputs, case.targets]
    if any(a.ndim == 0 or a.shape[0] != arrays[0].shape[0] for a in arrays):
        return
    scales = 1.0, 0.8, 0.9
    data = [np.concatenate([a * np.asarray(k, a.dtype) if a.dtype.kind == "f" else a for k in scales]) for a in arrays]
    name, seed, shuffle = str(rng.choice([*OPTIMIZERS])), int(rng.integers(1000)), bool(rng.random() < 0.5)
    clip = {"clip_norm": 0.5} if rng.random() < 0.5 else {}
    if len(data) > 2:
        tree = (tuple(data[:-1]), data[-1])
    else:
        tree = (data[0], data[1])

    def run(way: str, noise: int = 0, dtype: str | None = None) -> dict[str, np.ndarray]:
        model, loss, off = copy.deepcopy(case.model), copy.deepcopy(case.loss), np.random.default_rng(noise)
        if noise:
            for p in model.parameters():
                p.data = p.data * (1 + 8 * np.finfo(case.dtype).eps * off.normal(size=p.shape)).astype(p.dtype)
        for p in model.parameters():
            p.data = cast(p.data, dtype)
        optimizer = OPTIMIZERS[name]([*model.parameters()], np.random.default_rng(seed))
        loader = DataLoader(cast(tree, dtype), batch_size=arrays[0].shape[0], shuffle=shuffle, seed=seed)
        tr.seed(seed)
        if way == "many":
            losses = TrainStep(model, optimizer, loss, fallback="error", **clip).run(loader, 9)
        else:
            batches = [batch for _ in range(3) for batch in loader]
            inputs = [x if isinstance(x, tuple) else (x,) for x, _ in batches]
            losses = [on_the_tape(model, optimizer, loss, x, t, clip) for x, (_, t) in zip(inputs, batches)]
        return {"losses": np.array(losses), **{f"parameter {n}": p.data for n, p in model.named_parameters()}}

    try:
        wanted = run("tape")
    except GraphError:
        return
    if not tame(wanted):
        return
    try:
        require_close(
            run("many"),
            wanted,
            f"many steps by {name}, {clip}, and the tape",
            np.dtype(case.dtype),
            lambda: [run("tape", 1), run("tape", 2), *exactly(functools.partial(run, "tape"))],
            FLOOR,
        )
        coverage.add("checks", "many steps and tape")
    except IllConditioned:
        coverage.add("checks", "ill-conditioned training")
