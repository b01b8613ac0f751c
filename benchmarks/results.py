"""Run everything that RESULTS.md is made of, and write it, with the numbers as JSON and plots beside it."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import harness, plot, tables

FOLDER = Path(__file__).absolute().parent
RUNS: dict[str, tuple[str, ...]] = {  # name of the run: benchmark and options
    "recurrent": ("recurrent", "--threads", "1"),
    "recurrent, 2 threads": ("recurrent", "--threads", "2"),
    "cells": ("cells", "--threads", "1"),
    "cells, 2 threads": ("cells", "--threads", "2", "--cells", "peephole", "mgu", "layernorm", "--torch-compile"),
    "heads": ("heads", "--threads", "1"),
    "threads": ("threads",),
    "states": ("states",),
    "lengths": ("lengths", "--cells", "lstm", "--repeats", "9"),
    "stepper": ("stepper",),
    "rtrl": ("rtrl",),
    "decoding": ("decoding", "--threads", "1"),
    "export": ("export",),
    "memory": ("memory",),
    "compile": ("compile",),
    "firstuse": ("firstuse",),
    "training": ("training", "--threads", "1"),
    "training, 2 threads": ("training", "--threads", "2"),
    "eager": ("eager",),
    "policy": ("policy",),
    "ranks": ("ranks",),
}
PLOTS = {"recurrent": "results_recurrent.png", "cells": "results_cells.png"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks results", description=inspect.cleandoc(__doc__ or ""))
    parser.add_argument("--quick", action="store_true", help="fewer cases and samples: a smoke test")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="default: the folder of benchmarks")
    parser.add_argument("--keep", action="store_true", help="keep the runs in DIR/results.json that are not made anew")
    parser.add_argument("--render", action="store_true", help="run nothing; write RESULTS.md from DIR/results.json")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    numbers = args.out / "results.json"
    content: dict[str, Any] = {"machine": harness.machine(), "runs": {}}
    if args.render or (args.keep and numbers.exists()):
        content = json.loads(numbers.read_text(encoding="utf-8"))
        content["runs"] = {name: made for name, made in content["runs"].items() if name in RUNS}
    if not args.render:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        for name in args.only or RUNS:
            content["runs"][name] = {"date": time.strftime("%Y-%m-%d"), "load": load, **run(name, args.quick, args.out)}
        content["runs"] = {name: content["runs"][name] for name in RUNS if name in content["runs"]}
        numbers.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    plots = {}
    for name, file in PLOTS.items():
        rows = [row for row in content["runs"].get(name, {}).get("rows", []) if "torch.compile" not in row["ratio"]]
        if any(row["ratio"] for row in rows):
            plot.speedups(rows, args.out / file)
            plots[name] = file
    limits = FOLDER / "limits.md"
    text = tables.document(content, plots, limits.read_text(encoding="utf-8") if limits.exists() else "")
    (args.out / "RESULTS.md").write_text(text, encoding="utf-8")
    print(f"wrote {args.out / 'RESULTS.md'}")
    return int(any("error" in r for r in content["runs"].values()))


def run(name: str, quick: bool, out: Path) -> dict[str, Any]:
    """The numbers of one run, made by a process of its own; if that fails, the end of what it said."""
    benchmark, *options = RUNS[name]
    threads = int(options[options.index("--threads") + 1]) if "--threads" in options else 1
    if threads > (os.cpu_count() or 1):
        return {"skipped": f"{threads} threads, and there is one processor"}
    file = out / f".{name.replace(', ', '-').replace(' ', '-')}.json"
    command = [sys.executable, "-m", "benchmarks", benchmark, *options, "--json", str(file.absolute())]
    print(f"\n==== {' '.join(command[2:-2])}", flush=True)
    start = time.perf_counter()
    process = subprocess.run(
        command + ["--quick"] * quick, cwd=FOLDER.parent, stderr=subprocess.PIPE, text=True, check=False
    )
    print(f"==== {time.perf_counter() - start:.0f} s", flush=True)
    try:
        if process.returncode:
            print(process.stderr, file=sys.stderr)
            return {"error": "\n".join(process.stderr.strip().splitlines()[-3:])}
        if not file.exists():
            return {"skipped": "this benchmark cannot run here"}
        return json.loads(file.read_text(encoding="utf-8"))
    finally:
        file.unlink(missing_ok=True)
