"""``python -m models report``: train the models with several seeds, and write the table of the README.

Every training is a process of its own, with the defaults of its model. Results are kept in models/results.json,
so that a part of the models can be run anew; pictures (of the first seed) go to docs/models. A training that fails
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

from . import _command
from ._parser import Parser

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "models" / "results.json"
PICTURES = ROOT / "docs" / "models"
README = ROOT / "README.md"
BEGIN, END = "<!-- written by python -m models report -->\n", "<!-- end -->\n"
TAIL = 15  # lines of a training that failed
BUSY = 2.5  # load beyond which times say little on two cores


def main(argv: list[str], commands: dict[str, _command.Command]) -> int:
    """Train, collect, write; `commands` are those of all models."""
    parser = Parser("python -m models report", inspect.cleandoc(__doc__ or ""))
    parser.add_argument("models", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--seeds", nargs="+", type=_command.at_least(0), default=[0, 1, 2], metavar="N")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep what the trainings write")
    parser.add_argument("--table", action="store_true", help="train nothing: write the table from what is there")
    args = parser.parse_args(argv)
    unknown = set(args.models) - set(commands)
    if unknown:
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(commands)}")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    failures: list[str] = []
    if not args.table:
        with tempfile.TemporaryDirectory() as scratch:
            for name in args.models or commands:
                found, failed = measure(name, commands[name].card, args.seeds, args.out or Path(scratch))
                failures += failed
                if found["score"]:
                    results[name] = found
                    text = json.dumps(dict(sorted(results.items())), indent=1)
                    RESULTS.write_text(text + "\n", encoding="utf-8")
    write_table(README, table(commands, results))
    print(f"wrote:\n  {RESULTS}\n  {README}\n  {PICTURES}")
    print(*failures, sep="\n", end="", file=sys.stderr)
    return 1 if failures else 0


def measure(name: str, card: _command.Card, seeds: Sequence[int], out: Path) -> tuple[dict, list[str]]:
    """Train a model with each seed: its scores, those of the baseline, and seconds; and what is to be said of failures.

    What a training prints goes to a file beside its folder.
    """
    columns: dict[str, list[float]] = {"score": [], "baseline": [], "seconds": [], "load": []}
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
        row = metrics[card.score], metrics[card.baseline_score], metrics["seconds"], os.getloadavg()[1]
        for column, value in zip(columns.values(), row):
            column.append(value)
        print(f"  {row[0]:{card.style}}, {card.baseline} {row[1]:{card.style}}, {row[2]:.0f} s", flush=True)
        if len(columns["score"]) == 1:
            PICTURES.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / card.picture, PICTURES / f"{name}.png")
    return columns, failures


def table(commands: dict[str, _command.Command], results: dict[str, dict]) -> str:
    """Models by form, and the table, as Markdown: a row for each model that has results."""
    forms = []
    for form, words in _command.FORMS.items():
        links = ", ".join(link(name) for name, command in commands.items() if command.card.form == form)
        forms.append(f"- **{form}**, {words}: {links}")
    rows = [
        "| model | task | data | measured | result | baseline | training | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, command in commands.items():
        if name not in results:
            continue
        card, result = command.card, results[name]
        picture = f'<a href="docs/models/{name}.png"><img src="docs/models/{name}.png" width="200" alt="{name}"></a>'
        cells = (
            link(name),
            f"{task(command.doc)} *({card.form})*",
            card.data,
            card.metric,
            spread(result["score"], card.style),
            f"{card.baseline}: {sum(result['baseline']) / len(result['baseline']):{card.style}}",
            duration(sum(result["seconds"]) / len(result["seconds"])),
            picture,
        )
        rows.append(f"| {' | '.join(cells)} |")
    seeds = {len(result["score"]) for result in results.values()}
    words = f"{seeds.pop()} seeds" if len(seeds) == 1 else "several seeds"
    note = f"Means over {words}, with the least and the greatest; training time includes compiling."
    slow = [name for name in commands if name in results and any(load > BUSY for load in results[name]["load"])]
    if slow:
        note += f" The machine was busy with other work during {', '.join(slow)}: these times are too long."
    return "\n".join([*forms, "", *rows, "", note]) + "\n"


def link(name: str) -> str:
    return f"[`{name}`](models/{name}.py)"


def task(doc: str) -> str:
    """The first sentence of a model's documentation, without its name."""
    text = doc.split("\n")[0].partition(": ")[2].strip().rstrip(".").replace("|", "/")
    return text[:1].upper() + text[1:]


def spread(values: Sequence[float], style: str) -> str:
    """The mean, and from where to where."""
    texts = [f"{value:{style}}" for value in (sum(values) / len(values), min(values), max(values))]
    return texts[0] if texts[1] == texts[2] else f"**{texts[0]}** ({texts[1]} to {texts[2]})"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def write_table(path: Path, text: str) -> None:
    """Put the table between its marks."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path}: holds no place for the table, wanted {BEGIN.strip()} and {END.strip()}")
    path.write_text(before + BEGIN + "\n" + text + "\n" + END + after, encoding="utf-8")
