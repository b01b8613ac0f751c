"""What has to agree: tape and loop, rows alone and among others, streams and sequences, slopes and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree
from tinygrad_rnn.testing.cell_case import named

from .calls import Call, Results, run
from .layers import Subject

TOLERANCE = {"float32": 3e-5, "float64": 1e-10}  # of the largest entry of an array
SPREAD = 30.0  # times what rounding errors of the arguments do: where more than that is off, it is a mistake


class Mismatch(AssertionError):
    """Two results that ought to agree do not."""


class IllConditioned(Exception):
    """Rounding errors of the arguments change the result by as much as two roads differ."""


def finite(results: Results, limit: float = 1e6) -> bool:
    return all(np.isfinite(a).all() and np.abs(a).max(initial=0.0) < limit for a in results.values())


def require_close(
    got: Results,
    wanted: Results,
    what: str,
    dtype: np.dtype,
    noisy: Callable[[], list[Results]] | None = None,
    floor: float = 1e-3,
) -> None:
    """Complain about the entry that is off by most.

    Parameters
    ----------
    noisy : callable, optional
        What ``wanted`` becomes when arguments are off by a few rounding errors; asked only if something differs.
    floor : float
        Arrays that are smaller than so much of the largest one are held to the precision of that.
    """
    got, wanted = _with_zeros(got, wanted), _with_zeros(wanted, got)
    if got.keys() != wanted.keys():
        raise Mismatch(f"{what}: got {sorted(got)}, wanted {sorted(wanted)}")
    largest = max((float(np.abs(a).max(initial=0.0)) for a in wanted.values() if a.dtype.kind == "f"), default=0.0)
    allowed = TOLERANCE[np.dtype(dtype).name]
    for name, want in wanted.items():
        value = got[name]
        if value.shape != want.shape or value.dtype != want.dtype:
            raise Mismatch(f"{what}: {name}: got {value.dtype}{value.shape}, wanted {want.dtype}{want.shape}")
        if want.dtype.kind != "f":
            wrong = value != want
            if wrong.any() and noisy is not None:
                wrong &= ~np.any([other[name] != want for other in noisy() if name in other], axis=0)
                if not wrong.any():  # each of them hangs on a rounding error
                    raise IllConditioned
            if wrong.any():
                raise Mismatch(f"{what}: {name}: got {value}, wanted {want}")
            continue
        scale = max(float(np.abs(want).max(initial=0.0)), floor * largest)
        off = np.where(np.isfinite(value), np.abs(value - want), np.inf)
        if off.max(initial=0.0) <= allowed * scale:
            continue
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
        if noisy is not None and np.isfinite(off[at]):
            spread = max(float(np.abs(other[name] - want).max()) for other in noisy() if name in other)
            if off[at] <= SPREAD * spread:
                raise IllConditioned
        raise Mismatch(
            f"{what}: {name} at {at}: got {value[at]:.9g}, wanted {want[at]:.9g} "
            f"({int((off > allowed * scale).sum())} of {off.size} entries differ)"
        )


def _with_zeros(results: Results, other: Results) -> Results:
    """The results, and zeros for gradients that only the other one has: one path may know that there is no gradient."""
    missing = {n: np.zeros_like(a) for n, a in other.items() if n not in results and n.startswith("gradient")}
    return results | missing


@contextmanager
def _moved(subject: Subject, change: Callable[[str, np.ndarray], np.ndarray]) -> Iterator[None]:
    """Parameters changed for a while, in place."""
    before = [(p, p.data.copy()) for p in subject.layer.parameters()]
    for name, p in subject.layer.named_parameters():
        p.data[...] = change(name, p.data)
        p.touch()
    try:
        yield
    finally:
        for p, values in before:
            p.data[...] = values
            p.touch()


def with_rounding_errors(subject: Subject, call: Call, rows: slice = slice(None)) -> list[Results]:
    """What the tape gives when all arguments are off by a few rounding errors."""
    found = []
    for i in range(6):
        rng = np.random.default_rng([call.seed, i])

        def off(a, rng=rng):
            if a.dtype.kind != "f":
                return a
            return a * (1 + 4 * np.finfo(a.dtype).eps * rng.choice([-1, 1], a.shape)).astype(a.dtype)

        xs, state = tree.map(off, call.xs), None if call.state is None else tree.map(off, call.state)
        with _moved(subject, lambda _, a, off=off: off(a)):
            found.append(run(subject, call, "eager", rows, xs, state))
    return found


def roads_agree(subject: Subject, call: Call) -> tuple[Results, Results] | None:
    """Outputs, states and gradients of the loop and the tape; None if they are too large to compare."""
    wanted = run(subject, call, "eager")
    if not finite(wanted):
        return None
    got = run(subject, call, "compiled")
    require_close(got, wanted, "compiled and eager", subject.dtype, lambda: with_rounding_errors(subject, call))
    return got, wanted


def threads_agree(subject: Subject, call: Call, got: Results) -> None:
    """One thread and two give the same bits."""
    for n in (1, 2):
        tr.set_num_threads(n)
        other = run(subject, call, "compiled")
        for name, values in got.items():
            if not np.array_equal(other[name], values):
                raise Mismatch(f"{n} threads and the default: {name} differs")


def rows_agree(subject: Subject, call: Call, whole: dict[str, Results], rng: np.random.Generator) -> None:
    """Some rows of the batch alone give what they give among all, on either path."""
    first = int(rng.integers(call.batch))
    rows = slice(first, int(rng.integers(first + 1, call.batch + 1)))
    for mode, among in whole.items():
        alone = run(subject, call, mode, rows)
        wanted = {}
        for name, values in among.items():
            if name.startswith(("output", "gradient of input")):
                axis = 1
            elif name.startswith(("state", "gradient of initial state", "gradient of reset state")):
                axis = 1 if subject.layered else 0
                axis += call.all_states and name.startswith("state")
            else:
                continue
            wanted[name] = values[(slice(None),) * axis + (rows,)]
        alone = {name: alone[name] for name in wanted if name in alone}
        what = f"rows {rows.start}:{rows.stop} alone and among all, {mode}"
        require_close(alone, wanted, what, subject.dtype, functools.partial(_of_rows, subject, call, wanted, rows))


def _of_rows(subject: Subject, call: Call, wanted: Results, rows: slice) -> list[Results]:
    base = run(subject, call, "eager", rows)
    others = with_rounding_errors(subject, call, rows)
    return [{name: wanted[name] + (other[name] - base[name]) for name in wanted if name in base} for other in others]


def streams_agree(subject: Subject, call: Call, wanted: Results, mode: str) -> None:
    """A stepper, one step per call, gives outputs and the final state of the whole sequence.

    One that was made before the layer changed has to take over what is new.
    """
    layer = subject.layer
    layer.mode = mode
    known = subject.steppers.get((mode, call.batch))
    if known is None or known[0] is not layer:
        first = tree.map(lambda x: x[0], call.xs)
        known = layer, layer.stepper(call.batch) if subject.layered else layer.stepper(call.batch, first)
        subject.steppers[mode, call.batch] = known
    step = known[1]
    step.reset(call.state)
    resets, steps = call.steps.get("resets"), []
    for t in range(call.time):
        more = {} if resets is None else {"resets": resets[t]}
        steps.append(step(tree.map(lambda x, t=t: x[t], call.xs), **more))
    got = dict(named(tree.map(lambda *ys: np.stack(ys), *steps), "output")) | dict(named(step.state, "state"))
    wanted = {k: v for k, v in wanted.items() if k in got}
    got = {k: v for k, v in got.items() if k in wanted}
    noisy = functools.partial(with_rounding_errors, subject, call)
    require_close(got, wanted, f"a stream and a sequence, {mode}", subject.dtype, noisy)


def slopes_agree(subject: Subject, call: Call, whole: dict[str, Results], rng: np.random.Generator) -> bool:
    """Gradients of both roads equal finite differences in a random direction; False next to a kink."""
    directions: dict[str, np.ndarray] = {}

    def direction(name: str, a: np.ndarray) -> np.ndarray:
        if name not in directions:
            d = rng.choice([-1.0, 1.0], a.shape) * rng.uniform(0.5, 1, a.shape)
            directions[name] = d if f"gradient of {name}" in whole["eager"] else np.zeros(a.shape)
        return directions[name]

    def loss(h: float, mode: str) -> float:
        def shifted(values: Any, name: str) -> Any:
            leaves, structure = tree.flatten(values)
            names = [n for n, _ in named(values, name)]
            moved = [a + h * direction(n, a) if a.dtype.kind == "f" else a for n, a in zip(names, leaves)]
            return tree.unflatten(structure, moved)

        xs = shifted(call.xs, "input")
        state = None if call.state is None else shifted(call.state, "initial state")
        with _moved(subject, lambda name, a: a + h * direction(name, a)):
            return float(run(subject, call, mode, xs=xs, state=state, plain=True)["loss"])

    mode = str(rng.choice(["eager", "compiled"]))
    here, steps = loss(0.0, mode), (2e-5, 1e-5)
    sides = [((loss(h, mode) - here) / h, (here - loss(-h, mode)) / h) for h in steps]
    slopes = [(after + before) / 2 for after, before in sides]
    slope = (4 * slopes[1] - slopes[0]) / 3
    sums = {}
    for path, results in whole.items():
        sums[path] = [float((results[f"gradient of {n}"] * d).sum())
                      for n, d in directions.items() if f"gradient of {n}" in results]  # fmt: skip
    scale = max(1.0, abs(slope), *(abs(s) for s in sums["eager"]))
    if not abs(slopes[0] - slopes[1]) <= 2e-6 * scale:
        return False
    far, near = (abs(after - before) for after, before in sides)  # in half the distance half as much, without a kink
    if near > 1e-5 * scale and near > 0.75 * far:
        return False
    for path, parts in sums.items():
        if not abs(sum(parts) - slope) <= 1e-5 * scale:
            raise Mismatch(
                f"gradients and finite differences: the slope of the loss is {sum(parts):.9g} by the gradients "
                f"({path}), {slope:.9g} by differences ({mode})"
            )
    return True
