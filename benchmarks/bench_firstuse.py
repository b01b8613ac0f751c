"""What the first training step on a machine takes, and the first of a later process, by kernel.

A new process takes one training step of an LSTM in float32, with an empty cache, then with what that one has left
there. `cpu` is the processor time of the whole process beyond importing the package, of both cores together; on a busy
machine it says more than the time that passes. `import numba`, which is part of both, has a line of its own. Python's
bytecode is there in every one, as it is where pip has installed a package.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import harness

INPUT, HIDDEN = 8, 32
FOLDER = Path(__file__).absolute().parents[1]
KINDS = ("import numba", "empty", "warm")


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=3)
    parser.add_argument("--child", choices=KINDS, help="measure in this process, print numbers")
    args = harness.parse(parser, argv)
    if args.child:
        print(json.dumps(child(args.child)))
        return 0
    print(f"first training step of LSTM({INPUT}, {HIDDEN}), float32, in a new process\n")
    rows = measure(1 if args.quick else args.repeats)
    if args.json:
        content = {"title": "first use", "machine": harness.machine(), "rows": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def measure(repeats: int) -> list[dict[str, Any]]:
    """A row for each kind of process, and one for each piece of code of one with an empty cache; prints them."""
    samples: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    compileall.compile_dir(FOLDER / "tinygrad_rnn", quiet=1)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for kind in KINDS:
                samples[kind].append(run(kind, Path(folder, "cache")))
    rows = []
    print(f"{'':<44} {'passed':>8} {'cpu':>8}")
    for kind in KINDS:
        seconds, cpu = (statistics.median(s[key] for s in samples[kind]) for key in ("seconds", "cpu"))
        rows.append({"case": kind, "seconds": seconds, "cpu": cpu})
        print(f"{kind:<44} {seconds:6.2f} s {cpu:6.2f} s")
    rows[-1]["more"] = rows[-1]["cpu"] - rows[0]["cpu"]
    print("\nof it, with an empty cache:")
    for i, piece in enumerate(samples["empty"][0]["pieces"]):
        seconds, cpu = (statistics.median(s["pieces"][i][key] for s in samples["empty"]) for key in ("seconds", "cpu"))
        rows.append({"case": piece["name"], "kind": "piece", "seconds": seconds, "cpu": cpu})
        print(f"{piece['name'].rpartition('step_')[2]:<44} {seconds:6.2f} s {cpu:6.2f} s")
    return rows


def run(kind: str, cache: Path) -> dict[str, Any]:
    """What a new process takes with this cache folder."""
    command = [sys.executable, "-m", "benchmarks", "firstuse", "--child", kind]
    env = os.environ | {"TINYGRAD_RNN_CACHE": str(cache)}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=FOLDER, env=env).stdout)


def child(kind: str) -> dict[str, Any]:
    """Seconds and processor seconds of importing Numba or of a training step, and of each piece of code for it."""
    import numpy as np

    from tinygrad_rnn import nn

    start, cpu = time.perf_counter(), time.process_time()
    pieces: list[dict[str, Any]] = []
    if kind == "import numba":
        import numba  # noqa: F401
    else:
        y, _ = nn.LSTM(INPUT, HIDDEN)(np.ones((12, 4, INPUT), np.float32))
        y.sum().backward()
        from tinygrad_rnn.kernels.build.compile_times import made

        pieces = [piece._asdict() for piece in made]
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "pieces": pieces}
