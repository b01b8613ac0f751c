"""The command: ``python -m tests.soak --minutes 60 --seed 1``, or ``--case 17`` to run one case again.

With ``--models`` cases are whole models, as compiled functions and as training steps, and not layers; with
``--cells`` cells that are written at random, of values of any rank, integers, look-ups and inner loops.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from pathlib import Path

from .case import Coverage, run_case, run_cell_case
from .model_case import run_model_case

MOST = 50  # mismatches that are told


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    parser.add_argument("--start", type=int, default=0, help="the number of the first case (default: 0)")
    parser.add_argument("--case", type=int, help="run this case alone, and say what it does")
    parser.add_argument("--models", action="store_const", dest="what", const="models", help="random models by programs")
    parser.add_argument("--cells", action="store_const", dest="what", const="cells", help="cells written at random")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="how many to run at most")
    given = parser.parse_args(arguments)
    coverage, wrong, what = Coverage(), 0, given.what or "layers"
    if given.case is not None:
        return _report(given.seed, given.case, coverage, what, print)
    began, said, number = time.monotonic(), 0.0, given.start
    while (passed := time.monotonic() - began) < 60 * given.minutes and number < given.start + given.cases:
        wrong += _report(given.seed, number, coverage, what)
        number += 1
        if passed - said > (1 if sys.stderr.isatty() else 30):
            said = passed
            print(_line(passed, number - given.start, coverage, what, wrong),
                  end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)  # fmt: skip
        if wrong >= MOST:
            print(f"stopped after {MOST} cases with mismatches")
            break
    print(_line(time.monotonic() - began, number - given.start, coverage, what, wrong))
    print(coverage)
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")
    return min(wrong, 1)


def _line(seconds: float, cases: int, coverage: Coverage, what: str, wrong: int) -> str:
    of = "compiled function and tape" if what == "models" else "eager and compiled"
    compared, slopes = (coverage.of("checks", name) for name in (of, "gradients and differences"))
    if what == "models":
        more = f"{coverage.of('checks', 'training and tape'):,} trained both ways"
    else:
        more = f"{sum(coverage.counts.get('noise', {}).values()):,} calls"
    return (
        f"{int(seconds) // 60}:{int(seconds) % 60:02d}  {cases:,} cases, {more}, {compared:,} compared on "
        f"both roads, {slopes:,} with finite differences, {wrong} mismatches"
    )


def _report(seed: int, number: int, coverage: Coverage, what: str = "layers", log=None) -> int:
    """Run a case; 1 if something differed."""
    try:
        run = {"layers": run_case, "models": run_model_case, "cells": run_cell_case}[what]
        run(seed, number, coverage, log)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, AssertionError) else f" ({Path(place.filename).name}:{place.lineno})"
        print(
            f"python -m tests.soak{'' if what == 'layers' else f' --{what}'} --seed {seed} --case {number}\n"
            f"    {type(error).__name__}: {error}{where}",
            flush=True,
        )
        if log is not None:
            traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
