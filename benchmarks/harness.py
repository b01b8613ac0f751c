"""What the benchmarks share: fair timing, tables, JSON, and a description of the machine.

Candidates take turns, so that a change in the machine's speed hits all of them. A time is the median of the
samples, its spread half the distance between the quartiles; a ratio is the median of the ratios within turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import tinygrad_rnn as tr

LEAST = 0.02  # seconds that a sample lasts: short functions are called many times, as caches are cold after other sides


class Timing(NamedTuple):
    """Seconds per call, one sample for each turn."""

    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.samples) < 2:
            return math.nan
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def __str__(self) -> str:
        return f"{duration(self.median)} ±{self.spread:.0%}"


def duration(seconds: float) -> str:
    """Three digits and a unit.

    Examples
    --------
    >>> duration(0.00123), duration(45.6e-6), duration(12.3)
    ('1.23 ms', '45.6 us', '12.3 s')
    """
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("us", 1e-6)
    value = seconds / size
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def times(x: float) -> str:
    """A ratio with two decimals, or two digits where it is small.

    Examples
    --------
    >>> times(12.345), times(0.0034567)
    ('12.35', '0.0035')
    """
    return f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def measure(
    functions: Mapping[str, Callable[[], Any]], repeats: int, pause: float = 0.0, limit: float = math.inf
) -> dict[str, Timing]:
    """Time functions in turn, `repeats` times each, after a call to warm up.

    Between them it sleeps for `pause` seconds, in which another library's waiting threads fall asleep too, which
    otherwise take a processor from whoever comes next. After `limit` seconds three turns are enough.
    """
    start = time.perf_counter()
    calls = {}
    for name, function in functions.items():
        function()
        calls[name] = max(1, math.ceil(LEAST / max(_time(function, 1), 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - start > limit:
            break
        for name, function in functions.items():
            if pause:
                time.sleep(pause)
                function()  # warms the cache again
            samples[name].append(_time(function, calls[name]))
    return {name: Timing(s) for name, s in samples.items()}


def _time(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def ratio(of: Timing, to: Timing) -> float:
    """How many times as long `of` takes as `to`."""
    return statistics.median(a / b for a, b in zip(of.samples, to.samples))


def torch():
    """PyTorch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Everything that computes uses at most `n` threads."""
    from threadpoolctl import threadpool_limits

    libraries = [library for library in (tr, torch()) if library]
    before = [library.get_num_threads() for library in libraries]
    with threadpool_limits(n):
        for library in libraries:
            library.set_num_threads(n)
        try:
            yield
        finally:
            for library, threads in zip(libraries, before):
                library.set_num_threads(threads)


def machine() -> dict[str, Any]:
    """The machine and the versions that the numbers hold for."""
    from threadpoolctl import threadpool_info

    versions = {}
    for package in ("numpy", "numba", "torch", "jax", "onnxruntime", "tinygrad_rnn"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": sorted({f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"}),
        **versions,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def options(module: str, doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: --quick, --repeats, --threads and --json."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {module.rpartition('.bench_')[2]}",
        description=inspect.cleandoc(doc or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases and samples: a smoke test")
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N", help=f"samples; default: {repeats}")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to this file")
    return parser


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """The options, checked; --quick allows three samples at most."""
    args = parser.parse_args(argv)
    for name in ("repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"argument --{name}: got {getattr(args, name)}, wanted at least 1")
    if args.quick:
        args.repeats = min(args.repeats, 3)
    return args


class Report:
    """Prints a row as soon as it is measured, and writes all of them to JSON at the end.

    Parameters
    ----------
    title : str
    args : Namespace
        Of :func:`options`.
    width : int
        Of the first column.
    """

    def __init__(self, title: str, args: argparse.Namespace, width: int = 24):
        self.title, self.args, self.width = title, args, width
        self.rows: list[dict[str, Any]] = []
        self.machine = machine()
        print(title)
        print(", ".join(f"{key} {value}" for key, value in self.machine.items() if value))
        print(
            f"threads {args.threads}; medians of {args.repeats} samples ± half the quartile distance; "
            "2x: takes twice as long as the first",
            flush=True,
        )

    def add(self, case: str, timings: Mapping[str, Timing], note: str = "", **extra) -> dict[str, Any]:
        """A row: times of all candidates; of all but the first also how many times as long they take.

        Parameters
        ----------
        case : str
        timings : mapping
            By candidate; the first is what the others are compared with.
        note : str
            Printed at the end of the row.
        **extra
            Goes to the JSON file.
        """
        (first, reference), *others = timings.items()
        row = {
            "case": case,
            **extra,
            "seconds": {name: t.median for name, t in timings.items()},
            "spread": {name: t.spread for name, t in timings.items()},
            "ratio": {name: ratio(t, reference) for name, t in others},
        }
        self.rows.append(row)
        cells = [f"{case:<{self.width}} {first} {reference!s:<14}"]
        cells += [f"{name} {t!s:<14} {times(row['ratio'][name]):>5}x" for name, t in others]
        print("   ".join([*cells, note] if note else cells).rstrip(), flush=True)
        return row

    def finish(self) -> None:
        """Print the geometric means of the ratios; write the file that was asked for."""
        names = dict.fromkeys(name for row in self.rows for name in row["ratio"])
        for name in names:
            ratios = [row["ratio"][name] for row in self.rows if name in row["ratio"]]
            if len(ratios) > 1:
                print(f"geometric mean: {name} takes {times(statistics.geometric_mean(ratios))}x as long")
        if self.args.json:
            settings = {k: v for k, v in vars(self.args).items() if k != "json"}
            content = {"title": self.title, "machine": self.machine, "options": settings, "rows": self.rows}
            self.args.json.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
            print(f"wrote {self.args.json}")
