"""What pages say about models: their list in the README, and docs/gallery.md with their results."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import _command

BUSY = 2.5  # load beyond which times say little on two cores

GALLERY = """# Gallery

What the models draw, each after one training with its defaults and seed 0. They train on data that need no download, or
with `--data` on yours. This page is written by `python -m models report`, which trains all of them with several seeds.

"""


def forms(commands: dict[str, _command.Command]) -> str:
    """Models by form, as Markdown for the README."""
    lines = []
    for form, words in _command.FORMS.items():
        members = (name for name, command in commands.items() if command.card.form == form)
        lines.append(f"- **{form}**, {words}: {', '.join(f'[`{name}`](models/{name}.py)' for name in members)}")
    return "\n".join(lines) + "\n"


def table(commands: dict[str, _command.Command], results: dict[str, dict]) -> str:
    """A row for each model that has results, as Markdown."""
    rows = [
        "| model | task | data | measured | result | baseline | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, command in commands.items():
        if name not in results:
            continue
        card, result = command.card, results[name]
        cells = (
            f"[`{name}`](#{name})",
            f"{task(command.doc)} *({card.form})*",
            card.data,
            card.metric,
            spread(result["score"], card.style),
            f"{card.baseline}: {sum(result['baseline']) / len(result['baseline']):{card.style}}",
            duration(sum(result["seconds"]) / len(result["seconds"])),
        )
        rows.append(f"| {' | '.join(cells)} |")
    note = f"Means over {seeds_in_words(results)}, with the least and the greatest; training time includes compiling."
    slow = [name for name in commands if name in results and any(load > BUSY for load in results[name]["load"])]
    if slow:
        note += f" The machine was busy with other work during {', '.join(slow)}: these times are too long."
    return "\n".join([*rows, "", note]) + "\n"


def seeds_in_words(results: dict[str, dict]) -> str:
    """How many seeds there were, and where there were others than most."""
    counts = {name: len(result["seed"]) for name, result in results.items()}
    usual = max(sorted(set(counts.values())), key=list(counts.values()).count, default=0)
    others = [f"{name} {count}" for name, count in sorted(counts.items()) if count != usual]
    return f"{usual} seeds" + (f" ({', '.join(others)})" if others else "")


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


def gallery(commands: dict[str, _command.Command], results: dict[str, dict]) -> str:
    """The models that have results: the table, then by form pictures and what they are about, as Markdown."""
    parts = [GALLERY + table(commands, results)]
    for form, words in _command.FORMS.items():
        members = [name for name, command in commands.items() if command.card.form == form and name in results]
        if members:
            parts.append(f"## {form[:1].upper()}{form[1:]}\n\nFrom {words}.".replace("From something", "Something"))
        parts += [entry(name, commands[name], results[name]) for name in members]
    return "\n".join(parts)


def entry(name: str, command: _command.Command, result: dict) -> str:
    """A model: its picture, and what it is."""
    card = command.card
    paragraph = re.sub(r"(--[a-z-]+)", r"`\1`", " ".join(command.doc.split("\n\n")[1].split()))
    baseline = sum(result["baseline"]) / len(result["baseline"])
    score = f"{card.metric}: {spread(result['score'], card.style)}; {card.baseline}: {baseline:{card.style}}."
    return f"""
### {name}

{task(command.doc)}.

[![{name}](models/{name}.png)](models/{name}.png)

{score[:1].upper()}{score[1:]} {paragraph}

    python -m models {name}
"""
