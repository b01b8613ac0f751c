"""One reader, fuzzed in a process of its own."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .guard import guarded, keep, limit_memory, timed
from .mutate import mutants
from .readers import READERS

LONGEST = 1 << 16  # bytes of an input


def main(name: str, seconds: float, seed: int, corpus: Path, out: Path, plain: bool) -> None:
    """Fuzz, and raise what breaks; the input that did so is kept in `out`."""
    limit_memory()
    reader = READERS[name]
    with guarded(reader) as guard:
        for i, content in enumerate(reader.seeds()):
            (corpus / f"seed-{i}").write_bytes(content)

        def one(content: bytes) -> None:
            try:
                with timed():
                    guard.run(content)
            except BaseException:
                print(f"{name} breaks at {keep(name, content, out)}", file=sys.stderr)
                raise

        if plain:
            run_plain(one, [path.read_bytes() for path in sorted(corpus.iterdir())], reader.words, seconds, seed)
        else:
            run_atheris(one, corpus, reader.words, seconds, seed)


def run_atheris(one: Callable[[bytes], None], corpus: Path, words: Sequence[bytes], seconds: float, seed: int) -> None:
    """Let libFuzzer look for inputs that reach new code. It ends this process."""
    import atheris

    dictionary = corpus.parent / f"{corpus.name}.words"
    quoted = ("".join(f"\\x{byte:02x}" for byte in word[:60]) for word in words)
    dictionary.write_text("".join(f'"{word}"\n' for word in quoted))
    options = [f"-max_total_time={math.ceil(seconds)}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={dictionary}"]
    options += ["-timeout=30", "-rss_limit_mb=3000", f"-artifact_prefix={corpus.parent}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def run_plain(
    one: Callable[[bytes], None], seeds: Sequence[bytes], words: Sequence[bytes], seconds: float, seed: int
) -> None:
    """Run changed seeds for some seconds."""
    stop, runs = time.monotonic() + seconds, 0
    for content in mutants(seeds, words, np.random.default_rng(seed)):
        one(content)
        runs += 1
        if time.monotonic() > stop:
            break
    print(f"#{runs} DONE", file=sys.stderr)
