"""The command: ``python -m tests.fuzz --seconds 60``, ``--reader wav``, or ``--input FILE`` to run one again."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

MOST = 5  # findings of a reader, after which the next one gets its turn
COVERED = ["tinygrad_rnn.data", "tinygrad_rnn.storage", "tinygrad_rnn.io", "tinygrad_rnn.train", "models", "gzip"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--reader", nargs="+", metavar="NAME", help="default: all in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="run the reader on this file alone")
    parser.add_argument("--out", type=Path, default=Path("out", "fuzz"), help="where inputs that break it are kept")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps the inputs which reached new code")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    args = parser.parse_args(arguments)
    plain = args.plain or args.input is not None or importlib.util.find_spec("atheris") is None
    with instrumented(plain), contextlib.redirect_stderr(io.StringIO()):  # which files these are is no news
        from .readers import READERS
    names = args.reader or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"--reader: got {', '.join(sorted(unknown))}, wanted some of {', '.join(READERS)}")
    if args.input is not None:
        return again(names, args.input)
    tool = "a plain mutator" if plain else "atheris"
    print(f"{tool}, {args.seconds / len(names):.1f} s for each of {len(names)} readers", flush=True)
    found = 0
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            corpus = (args.corpus or Path(scratch)) / name
            corpus.mkdir(parents=True, exist_ok=True)
            found += fuzz(name, args.seconds / len(names), args.seed, corpus, args.out, plain)
    print(f"{found} findings" + (f", in {args.out}" if found else ""))
    return 1 if found else 0


def instrumented(plain: bool):
    """While the readers are imported, to see later which places of them an input reaches."""
    if plain:
        return contextlib.nullcontext()
    import atheris

    return atheris.instrument_imports(include=COVERED, enable_loader_override=False)


def again(names: list[str], path: Path) -> int:
    """Run readers on one file."""
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
    began, runs, cover = time.monotonic(), 0, ""
    findings: list[Path] = []
    left = seconds
    while left > 0 and len(findings) < MOST:
        before = set(out.iterdir())
        code, said = in_child(name, left, seed, corpus, out, plain)
        counts = re.findall(r"^#(\d+)\s(?:.*?cov: (\d+) ft: (\d+))?", said, re.MULTILINE)
        runs += int(counts[-1][0]) if counts else 1
        cover = f", {counts[-1][1]} places and {counts[-1][2]} features covered" if counts and counts[-1][1] else cover
        new = sorted(set(out.iterdir()) - before)
        if code:
            print("\n".join(line for line in said.splitlines() if not line.startswith(("#", "INFO")))[-3000:])
        for path in new:
            print(f"  again: python -m tests.fuzz --reader {name} --input {path}", flush=True)
        findings += new
        if not code or not new:
            break
        seed, left = seed + 1, seconds - (time.monotonic() - began)
    broken = max(len(findings), code != 0)
    passed = time.monotonic() - began
    print(f"{name:<11}{runs:>10,} inputs in {passed:.0f} s{cover}, {broken} findings", flush=True)
    return broken


def in_child(name: str, seconds: float, seed: int, corpus: Path, out: Path, plain: bool) -> tuple[int, str]:
    """Fuzz in a fork of this process, which libFuzzer ends: how it ended, and what it said."""
    from . import child

    sys.stdout.flush()
    with tempfile.TemporaryFile() as said:
        process = os.fork()
        if not process:
            code = 1
            try:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                child.main(name, seconds, seed, corpus, out, plain)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said.seek(0)
        return code, said.read().decode(errors="replace")


if __name__ == "__main__":
    raise SystemExit(main())
