"""The goals in numbers, and whether a set of results reaches them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import geometric_mean
from typing import Any, NamedTuple

from .harness import duration, times

Row = dict[str, Any]
NOISE = 0.03
NAMES = {"torch": "PyTorch", "jax": "JAX's jitted step", "jax scan": "JAX's scanned epoch", "loop": "the loop by hand"}
WIDE = 128  # hidden units from which on the products decide


class Verdict(NamedTuple):
    """One goal.

    Attributes
    ----------
    goal, wanted, measured : str
    reached : bool
    short : list of str
        What falls short, line by line.
    """

    goal: str
    wanted: str
    measured: str
    reached: bool
    short: list[str]


def check(runs: dict[str, Any]) -> list[Verdict]:
    """All goals for which there are numbers; those of several runs of one benchmark are taken together."""
    rows: dict[str, list[Row]] = {}
    for name, run in runs.items():
        benchmark, _, variant = name.partition(", ")
        for row in run.get("rows", []):
            where = row["case"] + (f" ({variant})" if variant else "")
            rows.setdefault(benchmark, []).append({**row, "where": where, "variant": variant})
    return [v for goal in GOALS for v in [goal(rows)] if v]


def _least(
    goal: str, rows: list[Row], value: Callable[[Row], float | None], bound: float, why: Callable[[Row], str], unit="x"
) -> Verdict | None:
    """Every row has to have at least `bound`."""
    known = [(x, row) for row in rows if (x := value(row)) is not None]
    if not known:
        return None
    below = sorted(((x, row) for x, row in known if x < bound), key=lambda pair: pair[0])
    show = (lambda x: f"{x:.0%}") if unit == "%" else (lambda x: f"{times(x)}{unit}")
    measured = f"lowest {show(min(x for x, _ in known))}; {len(known) - len(below)} of {len(known)}"
    short = [f"{goal}: {row['where']}: {show(x)}{why(row)}" for x, row in below]
    return Verdict(goal, f"at least {show(bound)}", measured, not below, short)


def _most(goal: str, rows: list[Row], value: Callable[[Row], float | None], bound: float, show) -> Verdict | None:
    """No row may have more than `bound`."""
    known = [(x, row) for row in rows if (x := value(row)) is not None]
    if not known:
        return None
    above = sorted(((x, row) for x, row in known if x > bound), key=lambda pair: -pair[0])
    measured = f"highest {show(max(x for x, _ in known))}; {len(known) - len(above)} of {len(known)}"
    short = [f"{goal}: {row['where']}: {show(x)}" for x, row in above]
    return Verdict(goal, f"at most {show(bound)}", measured, not above, short)


def _mean(goal: str, rows: list[Row], other: str, bound: float, note: str = "") -> Verdict | None:
    ratios = [row["ratio"][other] for row in rows if other in row["ratio"]]
    if not ratios:
        return None
    mean = geometric_mean(ratios)
    short = [f"{goal}: {mean:.2f}x{note}"]
    return Verdict(goal, f"at least {bound:.2f}x", f"{mean:.2f}x", mean >= bound, short)


def _to(other: str) -> Callable[[Row], float | None]:
    return lambda row: row["ratio"].get(other)


def _why(row: Row) -> str:
    torch = row["gflops"]["torch"] / row["sgemm"]
    return f", at {row['share']:.0%} of sgemm, PyTorch at {torch:.0%}; {_at_floor(row):.2f}x at the floor"


def _shares(row: Row) -> str:
    """Shares of sgemm of all sides; the products alone cannot be faster than all of it."""
    shares = [f"{side} {row['share'] * row['seconds']['ours'] / s:.0%}" for side, s in row["seconds"].items()]
    return f"; of sgemm: {', '.join(shares)}"


def _at_floor(row: Row) -> float:
    """The ratio to PyTorch if our time were products at sgemm's rate, and gates."""
    return row["seconds"]["torch"] / row["floor"]


def _wide(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["shape"][3] >= WIDE]


def _builtin_mean(rows: dict[str, list[Row]]) -> Verdict | None:
    mine = rows.get("recurrent", [])
    best = [_at_floor(row) for row in mine if "torch" in row["ratio"]]
    note = f"; {geometric_mean(best):.2f}x at the floor" if best else ""
    return _mean("built-in layers and PyTorch, geometric mean", mine, "torch", 3.0, note)


def _long(rows: list[Row]) -> list[Row]:
    """Without those that torch.compile was measured at."""
    return [row for row in rows if "torch_compile_seconds" not in row]


def _compiled(kinds: tuple[str, ...]) -> Callable[[Row], float | None]:
    return lambda row: row["seconds"] if row.get("kind") in kinds else None


def _seconds(side: str) -> Callable[[Row], float | None]:
    return lambda row: row["seconds"].get(side)


STEPS = {  # of bench_training: how many times as long as a step of ours, called from Python, the others have to take
    "letters": {"jax": 4.0, "torch": 10.0},
    "characters": {"jax": 2.0, "torch": 3.0},
    "text": {"torch": 1.3, "jax": 1.6},
    "words": {"torch": 1.4, "jax": 1.3},
    "digits": {"torch": 2.0, "jax": 1.5},
    "epochs": {"torch": 100.0},
}
RUN = {"jax scan": 1.0, "loop": 1 / 3}  # the same of the airline, for many steps in one call


def _steps(rows: dict[str, list[Row]], task: str) -> list[Row]:
    """Whole training steps of a task, on one thread."""
    return [row for row in rows.get("training", []) if row["task"] == task and not row["variant"]]


def _of_task(task: str, other: str, bound: float) -> Callable[[dict[str, list[Row]]], Verdict | None]:
    def goal(rows: dict[str, list[Row]]) -> Verdict | None:
        found = _steps(rows, task)
        title = f"training, {found[0]['case'] if found else task}, and {NAMES[other]}"
        return _least(title, found, _to(other), bound, lambda row: "")

    return goal


HEADS = {"torch": 5.0, "jax": 1.3}  # cells with heads, in training


def _of_heads(other: str, bound: float) -> Callable[[dict[str, list[Row]]], Verdict | None]:
    return lambda rows: _least(
        f"cells with heads, training, and {'PyTorch' if other == 'torch' else 'JAX'}",
        [row for row in rows.get("heads", []) if row["task"] == "train"], _to(other), bound, lambda row: "",
    )  # fmt: skip


DECODING = {"torch": 20.0, "steps": 1 / 1.3}  # symbols from an LSTM, one row


def _of_decoding(other: str, bound: float) -> Callable[[dict[str, list[Row]]], Verdict | None]:
    return lambda rows: _least(
        f"writing symbols from an LSTM, and {'PyTorch' if other == 'torch' else 'the steps of a stepper'}",
        [row for row in rows.get("decoding", []) if row["rows"] == 1], _to(other), bound, lambda row: "",
    )  # fmt: skip


def _of_run(other: str, bound: float) -> Callable[[dict[str, list[Row]]], Verdict | None]:
    """What runs many steps in one call, or else a step called from Python."""
    return lambda rows: _least(
        f"the airline's steps in one call, and {NAMES[other]}", _steps(rows, "airline"),
        lambda row: row["ratio"][other] / row["ratio"].get("run", 1.0) if other in row["ratio"] else None,
        bound, lambda row: "",
    )  # fmt: skip


GOALS: tuple[Callable[[dict[str, list[Row]]], Verdict | None], ...] = (
    lambda rows: _least(
        "built-in layers, never slower than PyTorch (but for noise)",
        rows.get("recurrent", []), _to("torch"), 1 - NOISE, _why,
    ),
    _builtin_mean,
    lambda rows: _least(
        f"built-in layers at H >= {WIDE}, share of sgemm",
        _wide(rows.get("recurrent", [])), lambda row: row["share"], 0.9,
        lambda row: f", {row['floor'] / row['seconds']['ours']:.0%} of the floor", "%",
    ),
    lambda rows: _least(
        "custom cells, training, and PyTorch's eager mode",
        [r for r in rows.get("cells", []) if r["task"] == "train" and r in _long(rows["cells"])],
        _to("torch"), 3.0, _shares,
    ),
    lambda rows: _least(
        "custom cells, training, and JAX",
        [r for r in rows.get("cells", []) if r["task"] == "train"],
        _to("jax"), 1.3, _shares,
    ),
    *(_of_heads(other, bound) for other, bound in HEADS.items()),
    lambda rows: _least(
        "a recurrent policy acts and learns, and PyTorch", rows.get("policy", []), _to("torch"), 3.0, lambda row: "",
    ),
    lambda rows: _least(
        "a recurrent policy acts and learns, and sb3-contrib", rows.get("policy", []), _to("sb3"), 3.0, lambda row: "",
    ),
    *(_of_decoding(other, bound) for other, bound in DECODING.items()),
    lambda rows: _least(
        "charlm with two processes, and with one", rows.get("ranks", []), lambda row: row["speed"], 1.7, lambda row: "",
    ),
    lambda rows: _most(
        f"custom cells at H >= {WIDE}, training, time per FLOP and that of the built-in LSTM",
        [r for r in _wide(rows.get("cells", [])) if r["task"] == "train"],
        lambda row: row.get("per_flop"), 1.15, lambda x: f"{x:.2f}x",
    ),
    lambda rows: _least(
        "as many threads as a call takes by itself, and one thread", rows.get("threads", []), _to("1"), 0.95,
        lambda row: "",
    ),
    lambda rows: _least(
        f"all processors at H >= {WIDE}, and PyTorch", rows.get("threads", []), _to("torch"), 1.0, lambda row: "",
    ),
    lambda rows: _least(
        "results with any number of threads, to the bit", rows.get("threads", []),
        lambda row: float(row["same_bits"]), 1.0, lambda row: "",
    ),
    lambda rows: _most(
        "lengths from 0.9 T to T, and the padded batch without lengths",
        rows.get("lengths", []), _to("nearly"), 1.1, lambda x: f"{x:.2f}x",
    ),
    lambda rows: _most(
        "compile a cell, cold", rows.get("compile", []), _compiled(("cold", "cold later")), 3.0, lambda x: f"{x:.2f} s",
    ),
    lambda rows: _most(
        "load a compiled cell from the disk", rows.get("compile", []), _compiled(("cached", "cached later")), 0.1,
        lambda x: f"{x:.2f} s",
    ),
    lambda rows: _most(
        "first training step on an empty machine, processor time",
        [row for row in rows.get("firstuse", []) if row["case"] == "empty"], lambda row: row["cpu"], 4.0,
        lambda x: f"{x:.2f} s",
    ),
    lambda rows: _most(
        "first training step of a later process, more than importing Numba",
        rows.get("firstuse", []), lambda row: row.get("more"), 0.3, lambda x: f"{x:.2f} s",
    ),
    lambda rows: _most("a streamed step, kernel", rows.get("stepper", []), _seconds("kernel"), 5e-6, duration),
    lambda rows: _most("a streamed step, API", rows.get("stepper", []), _seconds("api"), 15e-6, duration),
    lambda rows: _least(
        "peak memory of a training step, PyTorch's",
        rows.get("memory", []), lambda row: row.get("ratio", {}).get("torch"), 1.0, lambda row: "",
    ),
    *(_of_run(other, bound) for other, bound in RUN.items()),
    lambda rows: _most(
        "the airline's step, called from Python", _steps(rows, "airline"), _seconds("ours"), 30e-6, duration,
    ),
    *(_of_task(task, other, bound) for task, bounds in STEPS.items() for other, bound in bounds.items()),
    lambda rows: _least("the tape alone and PyTorch", rows.get("eager", []), _to("torch"), 0.5, lambda row: ""),
)  # fmt: skip
