"""Peak memory of one training step, beside PyTorch's layers.

Each case is a process of its own. It trains on two time steps first, so that libraries, code and thread pools are
there, and then measures how far its resident memory rises above that during one training step: what the step
saves, its outputs, and the gradients of the weights. Inputs and weights are there before. Needs Linux.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from . import harness
from .cases import BUILTIN, CELLS, SHAPES, Shape

LARGE = tuple(s for s in SHAPES if s.T * s.B * s.H > 100_000)
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=1)
    names = [*BUILTIN, *CELLS]
    parser.add_argument("--cells", nargs="+", choices=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--shape", type=int, nargs=4, metavar=("T", "B", "I", "H"), help="only this one")
    parser.add_argument("--side", choices=("ours", "torch"), help="measure in this process, print bytes")
    args = harness.parse(parser, argv)
    if not CLEAR.exists():
        print("skipped: this system does not tell the peak of a process's memory")
        return 0
    shapes = [Shape(*args.shape)] if args.shape else LARGE[:1] if args.quick else LARGE
    cells = args.cells or (["lstm"] if args.quick else ["lstm", "gru", "peephole"])
    if args.side:
        print(step_bytes(args.side, cells[0], shapes[0], args.threads))
        return 0
    rows = []
    print(f"peak memory of a training step, float32, shapes TxBxIxH; medians of {args.repeats} processes")
    there = ["ours", "torch"] if harness.torch() else ["ours"]
    for name in cells:
        peak("ours", name, shapes[0], args)  # compiles it
        for shape in shapes:
            peaks = {side: peak(side, name, shape, args) for side in there}
            row = {"case": f"{name} {shape}", "cell": name, "shape": list(shape), "bytes": peaks}
            text = "   ".join(f"{side} {size / 2**20:8.1f} MiB" for side, size in peaks.items())
            if "torch" in peaks:
                row["ratio"] = {"torch": peaks["torch"] / max(1, peaks["ours"])}
                text += f"   {row['ratio']['torch']:.2f}x"
            rows.append(row)
            print(f"{row['case']:<24} {text}", flush=True)
    if args.json:
        content = {"title": "peak memory of a training step", "machine": harness.machine(), "rows": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def peak(side: str, name: str, shape: Shape, args) -> float:
    """Median bytes over processes."""
    command = [sys.executable, "-m", "benchmarks", "memory", "--side", side, "--cells", name]
    command += ["--threads", str(args.threads), "--shape", *map(str, shape)]
    folder = Path(__file__).absolute().parents[1]
    runs = [
        int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout)
        for _ in range(args.repeats)
    ]
    return statistics.median(runs)


def step_bytes(side: str, name: str, shape: Shape, threads: int) -> int:
    """Bytes by which one training step raises the peak of this process's resident memory."""
    from . import sides

    if side == "ours":
        layer = sides.our_layer(name, shape)
        library = sides.tr
        wrap = library.as_tensor
    else:
        library = harness.torch()
        layer = sides.torch_layer(library, name, shape)
        wrap = library.from_numpy
    library.set_num_threads(threads)
    x, g = (wrap(a) for a in sides.data(shape))

    def train(steps: int) -> None:
        y, _ = layer(x[:steps])
        y.backward(g[:steps])

    train(2)
    for w in layer.parameters():
        w.grad = None
    before = status("VmRSS")
    CLEAR.write_text("5")  # sets the peak to what is resident now
    train(shape.T)
    return status("VmHWM") - before


def status(key: str) -> int:
    """A size from the kernel's account of this process, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
