"""RESULTS.md from the numbers of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import geometric_mean
from typing import Any

from . import goals
from .harness import duration, times

Row = dict[str, Any]
Runs = dict[str, Any]
BUSY = 0.5  # load from which on the reader is warned

SECTIONS = {
    "recurrent": (
        "Built-in layers",
        "Training is forward and backward with gradients of all weights, not of the inputs; inference records "
        "nothing; `onnx` is onnxruntime, which has inference only. `x` is how many times as long the other side takes. "
        "FLOPs are those of the matrix products; the share is of the rate of a large product in NumPy that takes turns "
        "with the layers. `floor` is what the products take at that rate, and the same layer without them, which is "
        "its gates and the call itself; its share of our time says how close a row is to what the machine allows. "
        "`x at floor` is how many times as long PyTorch takes as that.",
    ),
    "cells": (
        "Custom cells",
        "The same step function runs on every side: compiled here, in an eager loop in PyTorch, under `lax.scan` in "
        "JAX. `per FLOP` is the time for an operation as a multiple of that of the built-in LSTM of the same shape; "
        "elementwise operations are counted here, tanh and sigmoid as 20.",
    ),
    "heads": (
        "Cells with heads, and matrices as states",
        "The same maths on every side, heads of 16 and of 64 features; training with gradients of all weights.",
    ),
    "threads": (
        "Threads",
        "Built-in layers with as many threads as a call takes by itself (`default`), where all processors may be used, "
        "and with at most so many; PyTorch's with all processors. Results have to be the same bits each time.",
    ),
    "states": (
        "A cell of 60 scalar states over 614 steps",
        "Nonlinear reservoirs in a row, batch size 1: hardly any arithmetic, but 60 arrays of one number each that "
        "every step reads and writes.",
    ),
    "lengths": (
        "Sequences of different lengths",
        "`all` is the padded batch without lengths, the others how many times as long: all lengths T, from 0.9 T to T, "
        "from 1 to T, from 1 to T / 4; whole rows cut in ten by resets; and PyTorch's packed sequences, from 1 to T.",
    ),
    "stepper": (
        "Streaming, batch size 1",
        "`api` is `layer.stepper(1)` called with an array, `kernel` the compiled loop alone.",
    ),
    "rtrl": (
        "Learning forward in time, batch size 1",
        "A step with its gradients, called from Python: `ours` is `nn.RTRL(cell)`, `eager` the same on NumPy; `step` "
        "is a step of a stepper, without gradients.",
    ),
    "decoding": (
        "A network that reads what it writes",
        "200 symbols of 65 from an LSTM(128), one text unless said. `ours` is `nn.Decoder.generate`; `steps` are as "
        "many calls of the layer's stepper, without embedding, logits and draws; PyTorch runs a loop in Python.",
    ),
    "export": (
        "Exported C, batch size 1",
        "A thousand steps: `c` is the header of `tr.export.to_c`, compiled with `-O3 -march=native`, `kernel` our own "
        "compiled loop, called from Python. The object file has the weights, a step and a loop over steps.",
    ),
    "memory": (
        "Peak memory of a training step",
        "How far resident memory rises during one step; inputs and weights are there before.",
    ),
    "compile": (
        "Time to compile",
        "Forward and backward loops, in new processes with cache folders of their own. The library of kernels is "
        "shared by all cells. `cold`: the cell is new, the library is on the disk; `cached`: both are.",
    ),
    "firstuse": (
        "First use",
        "One training step of an LSTM(8, 32) in a new process, with an empty cache and with what that left there: time "
        "that passes, and processor time, beyond importing the package. Below, each piece of code that is compiled.",
    ),
    "training": (
        "Whole training steps",
        "From a batch in memory to new parameters: embedding, LSTM, linear layer, loss, backward pass, clipping by the "
        "global norm, Adam. A language model is (vocabulary, embedding, hidden, T, B); digits are 28 rows, 30 units, "
        "128 at once, 10 classes; the airline is an LSTM of four units at batch size 1. `ours` is a step called from "
        "Python, `run` many of them in one call (of the airline and the smallest model: a hundred passes), `tape` the "
        "loop over layers, loss and optimiser; `torch` has its fused Adam, `jax` a jitted step, `jax scan` a jitted "
        "scan over as many, `loop` is the airline by hand under Numba. In the last row a trainer trains the airline "
        "from scratch.",
    ),
    "eager": ("The tape alone", "An unrolled GRU in eager mode, forward and backward."),
    "policy": (
        "A recurrent policy that acts and learns",
        "A rollout of 64 steps in 32 T-mazes and four passes of proximal policy optimisation over it, LSTM(32), with "
        "resets inside the streams; in PyTorch an LSTMCell step by step; `sb3` is RecurrentPPO of sb3-contrib.",
    ),
    "ranks": (
        "One training, two processes",
        "An update of `models charlm`, 64 steps of 32 streams, LSTM(256): by one process, `shared` by two "
        "over MPI, and by two `apart`, each with half the streams and a model of its own: what the machine allows.",
    ),
}


def document(content: dict[str, Any], plots: dict[str, str], limits: str = "") -> str:
    """The whole file.

    Parameters
    ----------
    content : dict
        ``machine`` and ``runs``: the JSON of each run by name, with its ``date``, and the ``load`` before the first
        of those that were made with it.
    plots : dict
        File names by run.
    limits : str
        Prose on what bounds the numbers that fall short.
    """
    runs = content["runs"]
    days = sorted({run["date"] for run in runs.values()})
    parts = ["# Results", "", f"Made by `python -m benchmarks results` on {', '.join(days)}."]
    parts += ["All sides take turns in one process; times are medians of samples, ± half the distance between the"]
    parts += ["quartiles, and a ratio is the median of the ratios within turns.", ""]
    machine = {key: value for key, value in content["machine"].items() if value}
    parts += table(("machine", ""), [(k, ", ".join(v) if isinstance(v, list) else v) for k, v in machine.items()])
    parts += ["", "## Goals", ""]
    verdicts = goals.check(runs)
    parts += table(
        ("goal", "wanted", "measured", "reached"),
        [(v.goal, v.wanted, v.measured, "yes" if v.reached else "**no**") for v in verdicts],
    )
    short = [line for v in verdicts if not v.reached for line in v.short]
    if short:
        parts += ["", "### What falls short", "", *(f"- {line}" for line in short)]
    if limits.strip():
        parts += ["", limits.strip()]
    for name, run in runs.items():
        benchmark, _, variant = name.partition(", ")
        title, text = SECTIONS[benchmark]
        parts += ["", f"## {title}" + (f": {variant}" if variant else ""), ""]
        parts += [text] if not variant else []
        parts += _made(run, days)
        if name in plots:
            parts += ["", f"![Speed-ups]({plots[name]})"]
        parts += ["", *body(benchmark, run)]
    return "\n".join(parts) + "\n"


def _made(run: Runs, days: list[str]) -> list[str]:
    """When a run was made, if others were on other days; and whether something else ran beside it."""
    lines = ["", f"Made on {run['date']}."] if len(days) > 1 else []
    if (run["load"] or 0.0) > BUSY:
        lines += ["", f"**The machine was busy (a load of {run['load']:.1f} before): do not rely on these numbers.**"]
    return lines


def body(benchmark: str, run: Runs) -> list[str]:
    if "rows" not in run:
        return [f"Not measured: {run.get('skipped') or run.get('error')}"]
    return RENDER[benchmark](run["rows"])


def table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
    """A Markdown table; all columns but the first are aligned to the right."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _times(row: Row, name: str) -> str:
    if name not in row["seconds"]:
        return ""
    return f"{duration(row['seconds'][name])} ±{row['spread'][name]:.0%}"


def _ratio(row: Row, name: str) -> str:
    return times(row["ratio"][name]) if name in row["ratio"] else ""


def _others(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["ratio"]))


def comparison(rows: list[Row], more: dict[str, Callable[[Row], str]], first: str = "ours") -> list[str]:
    """A table of times and ratios, with further columns, and the geometric means of the ratios."""
    others = _others(rows)
    head = ["", first, *(cell for name in others for cell in (name, "x")), *more]
    lines = []
    for row in rows:
        cells = [cell for name in others for cell in (_times(row, name), _ratio(row, name))]
        lines.append([row["case"], _times(row, first), *cells, *(text(row) for text in more.values())])
    result = table(head, lines)
    means = [
        f"{name} {times(geometric_mean(ratios))} (lowest {times(min(ratios))})"
        for name in others
        if len(ratios := [row["ratio"][name] for row in rows if name in row["ratio"]]) > 1
    ]
    return [*result, "", f"Geometric means: {', '.join(means)}."] if means else result


def _recurrent(rows: list[Row]) -> list[str]:
    more = {
        "GFLOP/s": lambda r: f"{r['gflops']['ours']:.1f}",
        "of sgemm": lambda r: f"{r['share']:.0%}",
        "torch of sgemm": lambda r: f"{r['gflops']['torch'] / r['sgemm']:.0%}" if "torch" in r["gflops"] else "",
        "floor": lambda r: f"{r['floor'] / r['seconds']['ours']:.0%}",
        "x at floor": lambda r: f"{r['seconds']['torch'] / r['floor']:.2f}" if "torch" in r["seconds"] else "",
    }
    return comparison(rows, more)


def _cells(rows: list[Row]) -> list[str]:
    more = {
        "per FLOP": lambda r: f"{r['per_flop']:.2f}",
        "of sgemm": lambda r: f"{r['share']:.0%}",
    }
    compiled = [row for row in rows if "torch_compile_seconds" in row]
    result = comparison([row for row in rows if row not in compiled], more)
    if compiled:
        note = {"torch.compile compiles for": lambda r: duration(r["torch_compile_seconds"])}
        result += ["", "With `torch.compile`, which unrolls the loop, at ten steps:", "", *comparison(compiled, note)]
    return result


def _lengths(rows: list[Row]) -> list[str]:
    others = _others(rows)
    lines = [[row["case"], _times(row, "all"), *(_ratio(row, name) for name in others)] for row in rows]
    return table(["", "all", *others], lines)


def _memory(rows: list[Row]) -> list[str]:
    sides = list(rows[0]["bytes"])
    lines = [
        [r["case"], *(f"{r['bytes'][s] / 2**20:.1f} MiB" for s in sides), *(f"{x:.2f}" for x in r["ratio"].values())]
        for r in rows
    ]
    return table(["", *sides, *(["x"] if "torch" in sides else [])], lines)


def _compile(rows: list[Row]) -> list[str]:
    return table(("", "seconds"), [(row["case"], f"{row['seconds']:.2f}") for row in rows])


def _first_use(rows: list[Row]) -> list[str]:
    lines = [(row["case"].rpartition("step_")[2], f"{row['seconds']:.2f}", f"{row['cpu']:.2f}") for row in rows]
    return table(("", "seconds", "processor seconds"), lines)


RENDER: dict[str, Callable[[list[Row]], list[str]]] = {
    "recurrent": _recurrent,
    "cells": _cells,
    "threads": lambda rows: comparison(rows, {"same bits": lambda r: "yes" if r["same_bits"] else "**no**"}, "default"),
    "heads": lambda rows: comparison(rows, {}),
    "states": lambda rows: comparison(rows, {}),
    "lengths": _lengths,
    "stepper": lambda rows: comparison(rows, {}, "api"),
    "rtrl": lambda rows: comparison(rows, {}),
    "decoding": lambda rows: comparison(rows, {}),
    "export": lambda rows: comparison(rows, {"object": lambda r: f"{r['bytes'] / 1024:.1f} KiB"}, "c"),
    "memory": _memory,
    "compile": _compile,
    "firstuse": _first_use,
    "training": lambda rows: comparison(rows, {}),
    "eager": lambda rows: comparison(rows, {}),
    "ranks": lambda rows: comparison(rows, {"times as fast": lambda r: f"{r['speed']:.2f}"}, "one"),
    "policy": lambda rows: comparison(rows, {"our steps per second": lambda r: f"{r['rates']['ours']:,}"}),
}
