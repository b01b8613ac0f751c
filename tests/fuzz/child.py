"""One reader in this process: ``python -m tests.fuzz.child NAME SECONDS SEED CORPUS OUT [plain]``."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

LONGEST = 1 << 16  # bytes of an input
COVERED = ["tinygrad_rnn.data", "tinygrad_rnn.train.checkpoint", "models", "gzip"]


def main(name: str, seconds: int, seed: int, corpus: Path, out: Path, plain: bool) -> None:
    if plain:
        instrumented = contextlib.nullcontext()
    else:
        import atheris

        instrumented = atheris.instrument_imports(include=COVERED, enable_loader_override=False)
    with instrumented:
        from .guard import Broken, guarded, keep, limit_memory, timed
        from .readers import READERS
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
                path = keep(name, content, out)
                print(f"{name} breaks at {path}", file=sys.stderr)
                raise

        if plain:
            run_plain(one, [path.read_bytes() for path in sorted(corpus.iterdir())], reader.words, seconds, seed)
            return
        words = Path(tempfile.mkdtemp(), "words")
        quoted = ("".join(f"\\x{byte:02x}" for byte in word[:60]) for word in reader.words)
        words.write_text("".join(f'"{word}"\n' for word in quoted))
        options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={words}"]
        options += ["-timeout=30", "-rss_limit_mb=3000", f"-artifact_prefix={corpus.parent}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        with contextlib.suppress(Broken):
            atheris.Fuzz()


def run_plain(one, seeds: list[bytes], words: tuple[bytes, ...], seconds: int, seed: int) -> None:
    """Run mutants for some seconds."""
    import numpy as np

    from .mutate import mutants

    stop, runs = time.monotonic() + seconds, 0
    for content in mutants(seeds, words, np.random.default_rng(seed)):
        one(content)
        runs += 1
        if time.monotonic() > stop:
            break
    print(f"#{runs} DONE cov: 0 ft: 0", file=sys.stderr)


if __name__ == "__main__":
    _, given, limit, start, kept, broken, *rest = sys.argv
    main(given, int(limit), int(start), Path(kept), Path(broken), bool(rest))
