"""The command: ``python -m tests.fuzz --seconds 60``, ``--reader wav``, or ``--input FILE`` to run one again."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

MOST = 5  # findings of a reader, after which the next one gets its turn


def main(arguments: list[str] | None = None) -> int:
    from .readers import READERS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--reader", choices=READERS, nargs="+", metavar="NAME", help=f"default: all in turn: {', '.join(READERS)}"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="run the reader on this file alone")
    parser.add_argument("--out", type=Path, default=Path("out", "fuzz"), help="where inputs that break it are kept")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps the inputs which reached new code")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    args = parser.parse_args(arguments)
    names = args.reader or list(READERS)
    if args.input is not None:
        return again(names, args.input)
    plain = args.plain or importlib.util.find_spec("atheris") is None
    tool = "a plain mutator" if plain else "atheris"
    print(f"{tool}, {args.seconds / len(names):.1f} s for each of {len(names)} readers", flush=True)
    found = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            corpus = (args.corpus or Path(scratch)) / name
            found += fuzz(name, args.seconds / len(names), args.seed, corpus, args.out, plain)
    print(f"{found} findings" + (f", in {args.out}" if found else ""))
    return 1 if found else 0


def again(names: list[str], path: Path) -> int:
    """Run a reader on one file."""
    from .guard import guarded, timed
    from .readers import READERS

    for name in names:
        with guarded(READERS[name]) as guard:
            try:
                with timed():
                    print(f"{name}: {'read' if guard.run(path.read_bytes()) else 'refused'}")
            except BaseException:
                traceback.print_exc()
                print(f"{name}: broken")
                return 1
    return 0


def fuzz(name: str, seconds: float, seed: int, corpus: Path, out: Path, plain: bool) -> int:
    """Run a reader in processes of their own, as often as it breaks; the number of findings."""
    corpus.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    began, runs, cover, findings = time.monotonic(), 0, "", []
    while (len(findings) < MOST and (left := seconds - (time.monotonic() - began)) >= 1) or (not runs and not findings):
        before = set(out.iterdir())
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.child",
            name,
            str(max(1, round(left))),
            str(seed),
            str(corpus),
            str(out),
        ]
        done = subprocess.run(
            [*command, *["plain"] * plain], capture_output=True, text=True, errors="replace", check=False
        )
        counts = re.findall(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+)", done.stderr, re.MULTILINE)
        runs += int(counts[-1][0]) if counts else 1
        cover = f", {counts[-1][1]} places and {counts[-1][2]} features covered" if counts else cover
        seed += 1
        new = sorted(set(out.iterdir()) - before)
        findings += new
        if done.returncode and not new:
            print(done.stderr[-3000:])
            return 1
        for path in new:
            print("\n".join(line for line in done.stderr.splitlines() if not line.startswith(("#", "INFO")))[-3000:])
            print(f"  again: python -m tests.fuzz --reader {name} --input {path}", flush=True)
    passed = time.monotonic() - began
    print(f"{name:<11}{runs:>10,} inputs in {passed:.0f} s{cover}, {len(findings)} findings", flush=True)
    return len(findings)


if __name__ == "__main__":
    raise SystemExit(main())
