"""``python -m models report``: train the models with several seeds, and write the gallery of their results.

Every training is a process of its own, with the defaults of its model. Results are kept in models/results.json,
so that a part of the models can be run anew, or with --more for other seeds; pictures (of the first seed) go to
docs/models, and docs/gallery.md shows them under a table. The README lists the models by form. A training that fails
is named at the end; what the others measured is kept.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import _command, _pages
from ._parser import Parser

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "models" / "results.json"
PICTURES = ROOT / "docs" / "models"
README, GALLERY = ROOT / "README.md", ROOT / "docs" / "gallery.md"
BEGIN, END = "<!-- written by python -m models report -->\n", "<!-- end -->\n"
TAIL = 15  # lines of a training that failed


def main(argv: list[str], commands: dict[str, _command.Command]) -> int:
    """Train, collect, write; `commands` are those of all models."""
    parser = Parser("python -m models report", inspect.cleandoc(__doc__ or ""))
    parser.add_argument("models", nargs="*", metavar="NAME", help="default: all")
    text = "default: 0, 1 and 2; where the result hangs on the seed, 3 and 4 too"
    parser.add_argument("--seeds", nargs="+", type=_command.at_least(0), metavar="N", help=text)
    parser.add_argument("--more", action="store_true", help="keep what there is of other seeds")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep what the trainings write")
    parser.add_argument("--table", action="store_true", help="train nothing: write the pages from what is there")
    args = parser.parse_args(argv)
    unknown = set(args.models) - set(commands)
    if unknown:
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(commands)}")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    failures: list[str] = []
    if not args.table:
        with tempfile.TemporaryDirectory() as scratch:
            for name in args.models or commands:
                card = commands[name].card
                found, failed = measure(name, card, args.seeds or range(card.seeds), args.out or Path(scratch))
                failures += failed
                if found["score"]:
                    results[name] = joined(results.get(name), found) if args.more else found
                    text = json.dumps(dict(sorted(results.items())), indent=1)
                    RESULTS.write_text(text + "\n", encoding="utf-8")
    write_list(README, _pages.forms(commands))
    GALLERY.write_text(_pages.gallery(commands, results), encoding="utf-8")
    print(f"wrote:\n  {RESULTS}\n  {README}\n  {GALLERY}\n  {PICTURES}")
    print(*failures, sep="\n", end="", file=sys.stderr)
    return 1 if failures else 0


def measure(name: str, card: _command.Card, seeds: Sequence[int], out: Path) -> tuple[dict, list[str]]:
    """Train a model with each seed: its scores, those of the baseline, and seconds; and what is to be said of failures.

    What a training prints goes to a file beside its folder.
    """
    columns: dict[str, list[float]] = {"seed": [], "score": [], "baseline": [], "seconds": [], "load": []}
    failures = []
    for seed in seeds:
        folder, log = out / f"{name}-{seed}", out / f"{name}-{seed}.log"
        arguments = ["-m", "models", name, "--seed", str(seed), "--out", str(folder), "--force"]
        line = " ".join(["python", *arguments])
        print(line, flush=True)
        out.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            code = subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, check=False, stdout=file, stderr=subprocess.STDOUT
            ).returncode
        if code:
            end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            failures.append("\n".join([f"{name}, seed {seed}: failed with exit code {code}: {line}", *end, ""]))
            print("  failed", flush=True)
            continue
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        row = seed, metrics[card.score], metrics[card.baseline_score], metrics["seconds"], os.getloadavg()[1]
        for column, value in zip(columns.values(), row):
            column.append(value)
        print(f"  {row[1]:{card.style}}, {card.baseline} {row[2]:{card.style}}, {row[3]:.0f} s", flush=True)
        if seed == min(seeds):
            PICTURES.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / card.picture, PICTURES / f"{name}.png")
    return columns, failures


def joined(old: dict | None, new: dict) -> dict:
    """The columns of `new`, and those of `old` for other seeds, by seed."""
    rows = {}
    for columns in (old, new):
        if columns is not None:
            rows |= {row[0]: row for row in zip(*(columns[key] for key in new))}
    return {key: list(column) for key, column in zip(new, zip(*(rows[seed] for seed in sorted(rows))))}


def write_list(path: Path, text: str) -> None:
    """Put the list of models between its marks."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path}: holds no place for the models, wanted {BEGIN.strip()} and {END.strip()}")
    path.write_text(before + BEGIN + "\n" + text + "\n" + END + after, encoding="utf-8")
