"""One case: a layer, and some calls with changes between them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from collections import Counter

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.compiler.ir.interpret import order
from tinygrad_rnn.core import tree
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from .calls import BATCHES, TIMES, Call
from .changes import CHANGES
from .checks import IllConditioned, roads_agree, rows_agree, slopes_agree, streams_agree, threads_agree
from .layers import Subject, draw_cell, draw_subject

CALLS = 30
KINDS = "ranked", "integers", "ranked", "rows"  # of cells that are written at random, in turn


class Coverage:
    """How often what was run: a counter for each question."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter] = {}

    def add(self, what: str, *names: object) -> None:
        self.counts.setdefault(what, Counter()).update(map(str, names))

    def merge(self, other: Coverage) -> None:
        for what, counter in other.counts.items():
            self.counts.setdefault(what, Counter()).update(counter)

    def of(self, what: str, name: str) -> int:
        return self.counts.get(what, Counter())[name]

    def __str__(self) -> str:
        lines = []
        for what, counter in self.counts.items():
            names = [f"{name} {n:,}" for name, n in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]
            lines.append(f"{what}: {', '.join(names)}")
        return "\n".join(lines)


def run_case(seed: int, number: int, coverage: Coverage, log=None, calls: int = CALLS) -> None:
    """Draw case `number` of a seed and run it.

    Raises
    ------
    Mismatch
        If two results that ought to agree do not; any other error is one of the library.
    """
    rng = np.random.default_rng([seed, number])
    with _put_back():
        _run(rng, seed, coverage, log or (lambda *_: None), calls)


def run_cell_case(seed: int, number: int, coverage: Coverage, log=None, calls: int = 3) -> None:
    """Draw case `number` of a seed, a cell that was written at random, and run it in a few ways.

    Raises
    ------
    Mismatch
        If two results that ought to agree do not; any other error is one of the library.
    """
    rng, log = np.random.default_rng([seed, number, 78]), log or (lambda *_: None)
    with _put_back():
        subject = draw_cell(rng, KINDS[number % len(KINDS)])
        coverage.add("kinds", subject.kind)
        log(f"{subject.options}\n{subject.layer!r}")
        for _ in range(calls):
            subject.layer.checkpoint_every = int(rng.integers(1, 4)) if rng.random() < 0.2 else None
            call = Call(subject, rng, int(rng.choice(TIMES)), int(rng.choice(BATCHES)))
            log(f"  call T={call.time}, B={call.batch}: {', '.join(call.features())}")
            _call(subject, call, rng, coverage, slopes=0.5)
        coverage.add("ops", *_operations(subject))


@contextlib.contextmanager
def _put_back():
    """No warnings, and the settings of before behind it."""
    threads = tr.get_num_threads()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            tr.set_num_threads(threads)
            tr.set_default_dtype("float32")


def _run(rng: np.random.Generator, seed: int, coverage: Coverage, log, calls: int) -> None:
    subject = draw_subject(rng, seed)
    coverage.add("cells", subject.kind)
    coverage.add("layers", type(subject.layer).__name__)
    coverage.add("dtypes", subject.dtype)
    coverage.add("options", *(_option(k, v) for k, v in subject.options.items() if k != "dtype"))
    log(f"{subject.kind}, {subject.options}\n{subject.layer!r}")
    shapes = [(int(rng.choice(TIMES)), int(rng.choice(BATCHES))) for _ in range(3)]
    if rng.random() < 0.05:
        shapes[0] = (40, 3) if rng.random() < 0.5 else (3, 33)
    last: Call | None = None
    for _ in range(calls):
        while rng.random() < 0.5:
            name = str(rng.choice(list(CHANGES)))
            coverage.add("changes", name)
            log(f"  {name}")
            CHANGES[name](subject, rng)
        if last is None or rng.random() < 0.7:
            last = Call(subject, rng, *shapes[int(rng.integers(len(shapes)))])
        else:
            coverage.add("calls", "as the one before")
        log(f"  call T={last.time}, B={last.batch}: {', '.join(last.features())}")
        _call(subject, last, rng, coverage)
    coverage.add("ops", *_operations(subject))


def _option(name: str, value: object) -> str:
    return name if isinstance(value, bool | float) else f"{name}={value}" if isinstance(value, str | int) else name


def _call(subject: Subject, call: Call, rng: np.random.Generator, coverage: Coverage, slopes: float = 0.2) -> None:
    coverage.add("calls", *call.features())
    coverage.add("shapes", *_shape(call))
    noise = subject.noisy and any(m.training for m in subject.layer.modules())
    coverage.add("noise", "drawn" if noise else "none")
    check = functools.partial(coverage.add, "checks")
    try:
        found = roads_agree(subject, call)
        if found is None:
            check("too large to compare")
            return
        check("eager and compiled")
        got, wanted = found
        whole = {"compiled": got, "eager": wanted}
        if rng.random() < 0.2:
            threads_agree(subject, call, got)
            check("one thread and two")
        if not noise and subject.rows_alike and call.batch > 1 and rng.random() < 0.25:
            rows_agree(subject, call, whole, rng)
            check("rows alone and among all")
        if not noise and _streams(subject, call) and rng.random() < 0.3:
            streams_agree(
                subject, call, wanted, str(rng.choice(["compiled", "eager"] if subject.compiles else ["auto"]))
            )
            check("streams and sequences")
        gradients = any(name.startswith("gradient") for name in wanted)
        if gradients and subject.dtype == np.float64 and subject.differentiable and rng.random() < slopes:
            check("gradients and differences" if slopes_agree(subject, call, whole, rng) else "next to a kink")
    except IllConditioned:
        check("ill-conditioned")


def _streams(subject: Subject, call: Call) -> bool:
    """Whether a stepper can run it."""
    drawn = not subject.rows_alike and subject.kind != "random"  # in evaluation too
    plain = not (drawn or subject.two_ways or subject.layer.reverse or call.unbatched or call.all_states)
    return plain and call.steps.keys() <= {"resets"} and call.reset_state is None and call.form != "other dtype"


def _shape(call: Call) -> list[str]:
    found = [name for name, n in (("T = 1", call.time), ("B = 1", call.batch)) if n == 1]
    found += [f"{axis} >= {n}" for axis, size, n in (("T", call.time, 9), ("B", call.batch, 8)) if size >= n]
    found += [f"width {x.shape[-1]}" for x in tree.flatten(call.xs)[0] if x.ndim > 2]
    found += ["a length of 0"] if "lengths" in call.steps and not call.steps["lengths"].all() else []
    return found + (["no step counts"] if not call.valid.any() else [])


def _operations(subject: Subject) -> set[str]:
    """The operations of the programs that were traced."""
    names: set[str] = set()
    for cell in subject.cells:
        for program in itertools.chain.from_iterable(cache_of(cell).programs.values()):
            if hasattr(program, "traced"):
                traced = program.traced
                names |= {s.op.name for s in order([*traced.outputs, *traced.new_states], ()) if s.op is not None}
    return names
