"""How long it takes to compile forward and backward loops: with nothing cached, with the library, from the disk.

Times are those of the first training step, without what a second one takes, in new processes with cache folders
of their own. Importing Numba has a line of its own. So has the library of kernels, which all cells share and
which is compiled once for a machine and version: it is what the first cell takes longer than in a process that
finds the library on the disk. "cold": the cell is new, the library is there; "cached": both are there. The first
cell of a process also pays for Numba's start and for loading the library; one that comes later does not.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import harness
from .cases import BUILTIN, CELLS, Shape
from .head_cells import HEAD_CELLS

FIRST = "rnn"  # meets the library
TIMES = (10, 100, 1000)
BATCH, INPUT, HIDDEN = 4, 16, 32
HEADS, SIZE = 4, 16  # of cells with heads


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=1)
    names = [*BUILTIN, *CELLS, *HEAD_CELLS]
    parser.add_argument("--cells", nargs="+", choices=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--times", type=int, nargs="+", metavar="T", help=f"default: {TIMES}, with --quick 10")
    parser.add_argument("--child", action="store_true", help="measure in this process, print seconds")
    args = harness.parse(parser, argv)
    cells = args.cells or (["lstm"] if args.quick else ["lstm", "gru", "peephole", "layernorm", "mlstm"])
    times = args.times or (TIMES[:1] if args.quick else TIMES)
    if args.child:
        print(json.dumps(child(cells, times[0])))
        return 0
    print(f"seconds to compile forward and backward, float32, BxIxH {BATCH}x{INPUT}x{HIDDEN}")
    rows = list(measure(cells, times, args.repeats))
    if args.json:
        content = {"title": "time to compile", "machine": harness.machine(), "rows": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def measure(cells: list[str], times, repeats: int):
    """Yield a row for each line, printing it."""

    def row(case: str, samples: list[float], **extra) -> dict:
        seconds = statistics.median(samples)
        print(f"{case:<52} {seconds:7.3f} s", flush=True)
        return {"case": case, "seconds": seconds, "samples": samples, **extra}

    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder, "nothing")

        def pair(name: str, *run_cells: str, T: int) -> list[dict[str, list[float]]]:
            """Seconds with an empty folder, and with what was left there: the library is on the disk in both."""
            found: list[dict[str, list[float]]] = [{}, {}]
            for i in range(repeats):
                cache = Path(folder, "-".join([name, *run_cells, str(T), str(i)]))
                shutil.copytree(nothing, cache, ignore=shutil.ignore_patterns("tinygrad_rnn_step_*"))
                for result in found:
                    for key, value in run(run_cells, T, cache).items():
                        result.setdefault(key, []).append(value)
            return found

        bare = run([FIRST], times[0], nothing)
        first = pair("first", FIRST, T=times[0])
        library = bare[FIRST] - statistics.median(first[0][FIRST])
        yield row("library, once for a machine and version", [library], kind="library")
        yield row("import numba", [s for r in first for s in r["import numba"]], kind="import numba")
        for name in cells:
            for T in times if name == cells[0] else times[:1]:
                for kind, result in zip(("cold", "cached"), pair("alone", name, T=T)):
                    yield row(f"{name} T={T}, {kind}, first of its process", result[name], kind=kind, cell=name, T=T)
        for kind, result in zip(("cold", "cached"), pair("later", FIRST, *cells, T=times[0])):
            for name in cells:
                case = f"{name} T={times[0]}, {kind}, after another cell"
                yield row(case, result[name], kind=f"{kind} later", cell=name, T=times[0])


def run(cells: Sequence[str], T: int, cache: Path) -> dict[str, float]:
    """What a new process takes with this cache folder."""
    command = [sys.executable, "-m", "benchmarks", "compile", "--child", "--times", str(T), "--cells", *cells]
    env = os.environ | {"TINYGRAD_RNN_CACHE": str(cache)}
    folder = Path(__file__).absolute().parents[1]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=env).stdout)


def child(cells: Sequence[str], T: int) -> dict[str, float]:
    """Seconds by cell, and for importing Numba."""
    start = time.perf_counter()
    import numba  # noqa: F401

    seconds = {"import numba": time.perf_counter() - start}
    from . import bench_heads, sides

    sides.tr.set_num_threads(1)
    for name in cells:
        if name in HEAD_CELLS:
            side = bench_heads.our_side(name, bench_heads.Heads(T, BATCH, HEADS, SIZE))
        else:
            side = sides.ours(name, Shape(T, BATCH, INPUT, HIDDEN))
        first, second = (_time(side.train) for _ in range(2))
        seconds[name] = first - second
    return seconds


def _time(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
