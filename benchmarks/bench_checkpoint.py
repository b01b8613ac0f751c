"""Gradient checkpointing in time: peak memory and time of a training step with a loss on the final state.

Each case is a process of its own, which trains on a short sequence first. Memory is its peak, all libraries included;
"rise" is what the training step on the long sequence adds. Outputs of all steps, which a layer returns unless it is
told not to (the last rows), take T * B * H * 4 bytes of it. Needs Linux.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr

from . import harness
from .bench_memory import CLEAR, status
from .cases import BUILTIN, CELLS

B, I, H = 8, 16, 128
GIB = 2**30


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=3)
    parser.add_argument("--cell", choices=[*BUILTIN, *CELLS], default="lstm", metavar="CELL")
    parser.add_argument("--steps", type=int, nargs="+", metavar="T", help="default: 1000, 10000 and 100000")
    parser.add_argument("--every", type=int, nargs="+", metavar="K", help="default: 0 (all is kept) and sqrt(T)")
    parser.add_argument("--no-outputs", action="store_true", help="with --here: states alone")
    parser.add_argument("--here", action="store_true", help="measure in this process, print JSON")
    args = harness.parse(parser, argv)
    if not CLEAR.exists():
        print("skipped: this system does not tell the peak of a process's memory")
        return 0
    if args.here:
        print(json.dumps(measure(args)))
        return 0
    rows = []
    print(f"{args.cell}, float32, B={B}, I={I}, H={H}, {args.threads} threads; best of {args.repeats} training steps")
    for T in args.steps or ([1000] if args.quick else [1000, 10_000, 100_000]):
        first = None
        near = round(math.sqrt(T))
        for every, outputs in (
            itertools.product(args.every, (True, False)) if args.every else ((0, True), (near, True), (near, False))
        ):
            if every == 0 and T * B * H * 4 * 6 > 2 * GIB:
                continue  # it would not fit
            case = f"T={T} every={every or T}{'' if outputs else ', no outputs'}"
            row = {"case": case, "T": T, "every": every, "outputs": outputs, **process(args, T, every, outputs)}
            first = first or row["seconds"]
            rows.append(row)
            print(
                f"{row['case']:<36} {harness.duration(row['seconds']):>8}  {row['seconds'] / first:5.2f}x   "
                f"peak {row['peak'] / 2**20:7.0f} MiB   rise {row['rise'] / 2**20:7.0f} MiB",
                flush=True,
            )
    if args.json:
        content = {"title": "gradient checkpointing in time", "machine": harness.machine(), "rows": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def process(args, T: int, every: int, outputs: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "checkpoint", "--here", "--cell", args.cell, "--steps", str(T)]
    command += ["--every", str(every), "--repeats", str(args.repeats), "--threads", str(args.threads)]
    command += [] if outputs else ["--no-outputs"]
    folder = Path(__file__).absolute().parents[1]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout)


def measure(args) -> dict[str, float]:
    """Seconds of the fastest training step, and bytes of the peak and of its rise above what was there before."""
    from . import sides
    from .cases import Shape

    T, every = args.steps[0], args.every[0]
    tr.set_num_threads(args.threads)
    layer = sides.our_layer(args.cell, Shape(T, B, I, H))
    layer.checkpoint_every = every or None
    x = np.random.default_rng(0).standard_normal((T, B, I), dtype=np.float32)

    def train(steps: int) -> float:
        start = time.perf_counter()
        _, state = layer(x[:steps], return_outputs=not args.no_outputs)
        h = state[0] if isinstance(state, tuple) else state
        (h * h).sum().backward()
        for w in layer.parameters():
            w.grad = None
        return time.perf_counter() - start

    train(max(2, 2 * every if 2 * every < T else 2))  # compiles
    before = status("VmRSS")
    CLEAR.write_text("5")  # sets the peak to what is resident now
    seconds = min(train(T) for _ in range(args.repeats))
    peak = status("VmHWM")
    return {"seconds": seconds, "peak": peak, "rise": peak - before}
