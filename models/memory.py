"""Memory: who still knows after 25, 50, 100, 200 steps? RNN against LSTM, GRU and newer cells.

Two tasks that need nothing but memory. The adding problem (Hochreiter and Schmidhuber 1997): a sequence of
random numbers, two of them marked, one in each half; at the end the network says their sum. The copy task:
five symbols, then nothing for a long time, then a signal, and the symbols have to be written again. Each cell
is trained at growing lengths until it fails at one. Gradients through time, before and after training, show
what it had to learn. With --cell only one cell is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.data import DataLoader, one_hot
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures

CELLS = ["rnn", "lstm", "gru", "mingru", "lru"]
BATCH_SIZE = 50
HELD_OUT = 1000  # sequences
COPIED, SYMBOLS = 5, 8


# ---- 1. Data: sequences that are drawn, time first


def adding(count: int, gap: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers between 0 and 1 and marks (gap, count, 2), and the sums of the two that are marked (count, 1)."""
    inputs = np.zeros((gap, count, 2), np.float32)
    inputs[:, :, 0] = rng.random((gap, count))
    rows = np.arange(count)
    marked = rng.integers(0, gap // 2, count), rng.integers(gap // 2, gap, count)
    for steps in marked:
        inputs[steps, rows, 1] = 1
    return inputs, sum(inputs[steps, rows, :1] for steps in marked)


def copying(count: int, gap: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Symbols, `gap` blanks, a signal and more blanks, one-hot; and the symbols (COPIED, count) to be written."""
    symbols = rng.integers(0, SYMBOLS, (COPIED, count))
    ids = np.full((COPIED + gap + COPIED, count), SYMBOLS)
    ids[:COPIED] = symbols
    ids[COPIED + gap] = SYMBOLS + 1  # now write
    return one_hot(ids, SYMBOLS + 2), symbols


def sum_error(outputs, sums):
    return nn.mse_loss(outputs[-1], sums)


def sum_score(outputs: np.ndarray, sums: np.ndarray) -> float:
    """The share of the variance that is explained: 0 for always saying the mean."""
    return float(1 - ((outputs[-1] - sums) ** 2).mean() / sums.var())


def copy_error(outputs, symbols):
    return nn.cross_entropy(outputs[-COPIED:], symbols)


def copy_score(outputs: np.ndarray, symbols: np.ndarray) -> float:
    """The share of symbols that are right."""
    return float((outputs[-COPIED:].argmax(-1) == symbols).mean())


@dataclass(frozen=True)
class Task:
    """What is drawn, what it costs to be wrong, and when it counts as solved."""

    draw: Callable[[int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    inputs: int
    outputs: int
    loss: Callable
    enough: float  # a loss below which training ends
    score: Callable[[np.ndarray, np.ndarray], float]
    solved: float
    title: str
    target_axis: int  # where the sequences of a batch lie


TASKS = {
    "adding": Task(adding, 2, 1, sum_error, 0.005, sum_score, 0.94, "Adding problem: variance explained", 0),
    "copy": Task(copying, SYMBOLS + 2, SYMBOLS, copy_error, 0.1, copy_score, 0.95, "Copy task: symbols recalled", 1),
}


# ---- 2. Model: one layer of a cell, and a linear layer on its outputs


class Memory(nn.Module):
    """(T, N, inputs) to (T, N, outputs)."""

    def __init__(self, task: str, hidden_size: int, cell: str):
        self.rnn = _command.layer(cell, TASKS[task].inputs, hidden_size, batch_first=False)
        self.head = nn.Linear(hidden_size, TASKS[task].outputs)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs)


# ---- 3. Training: each cell at growing gaps, as long as it solves them


def trainer(model: nn.Module, task: Task) -> Trainer:
    return Trainer(model, optim.Adam(model.parameters(), lr=3e-3), task.loss, clip_norm=1.0)


def learn(run: _command.Run, name: str, cell: str, gap: int) -> tuple[Memory, dict, float]:
    """One cell at one gap: the model, its settings, and its score on sequences that it has not seen."""
    args, task = run.args, TASKS[name]
    rng = np.random.default_rng([args.seed, gap])
    tr.seed(args.seed)
    settings = {"task": name, "hidden_size": args.hidden_size, "cell": cell}
    model = Memory(**settings)
    train, held_out = task.draw(args.sequences, gap, rng), task.draw(HELD_OUT, gap, rng)
    loader = DataLoader(train, BATCH_SIZE, shuffle=True, batch_axis=(1, task.target_axis))
    run.fit(trainer(model, task), loader, [held_out], f"checkpoint-{name}-{cell}-{gap}", below=task.enough, quiet=True)
    return model, settings, task.score(_command.predict(model, held_out[0]), held_out[1])


def train(run: _command.Run) -> dict[str, Any]:
    args = run.args
    cells = args.cells if args.cell is None else [args.cell]
    scores: dict[str, dict[str, dict[int, float]]] = {}
    metrics: dict[str, Any] = {}
    before, after = {cell: untrained_flow(args, cell) for cell in cells}, {}
    for name in args.tasks:
        task = TASKS[name]
        print(f"{task.title}")
        print(f"{'gap':<10}" + "".join(f"{gap:8d}" for gap in args.gaps))
        scores[name], best = {}, (-1, ())
        for cell in cells:
            row: dict[int, float] = {}
            able: tuple = ()  # the model of the longest gap that was solved, or of the first
            print(f"{cell:<10}", end="", flush=True)
            for gap in args.gaps:
                model, settings, row[gap] = learn(run, name, cell, gap)
                print(f"{row[gap]:8.2f}", end="", flush=True)
                if row[gap] >= task.solved or not able:
                    able = model, settings, gap
                if row[gap] < task.solved:
                    break
            print()
            scores[name][cell] = row
            if name == args.tasks[0]:
                after[cell] = flow(args, able[0])
            longest = max([gap for gap, score in row.items() if score >= task.solved], default=0)
            metrics[f"{name}_{cell}"] = longest
            if longest > best[0]:
                best = longest, able
        model, settings, gap = best[1]
        run.save(model, settings, name=f"weights-{name}", gap=gap)
    draw(run, scores, before, after)
    return metrics | {"scores": scores}


# ---- 4. Result: the scores over the gaps, and gradients through time


def untrained_flow(args, cell: str) -> np.ndarray:
    """What :func:`flow` gives for a cell that has learnt nothing."""
    tr.seed(args.seed)
    return flow(args, Memory(args.tasks[0], args.hidden_size, cell))


def flow(args, model: Memory) -> np.ndarray:
    """The norm of the gradient of the last output by the state before each step, as a share of that by the last."""
    gap = max(args.gaps)
    inputs, _ = TASKS[args.tasks[0]].draw(8, gap, np.random.default_rng(args.seed))
    found = viz.gradient_flow(model.rnn, inputs[:gap], lambda outputs: outputs[-1].sum(), rows=0)
    norms = np.sqrt(sum(norm.astype(np.float64) ** 2 for norm in found.gradients.values())).mean(1)
    return norms / norms[-1]


READING = (
    "How much the last output changes with the state so many steps before. Before training it tells what an error "
    "at the end reaches at first, not what a cell will learn: where it vanishes,\nlearning begins with what lies near, "
    "and may lengthen it. After training it tells that something is carried so far, not that it is the right thing, "
    "nor that more would be learnt."
)


def draw(run: _command.Run, scores: dict, before: dict, after: dict) -> None:
    """A panel for each task, and the gradients before and after training."""
    figure, axes = _pictures.picture(widths=[4.5] * (len(scores) + 2))
    colors = dict(zip(before, _pictures.COLORS))
    for ax, (name, rows) in zip(axes, scores.items()):
        solved = TASKS[name].solved
        for cell, row in rows.items():
            shown = {gap: max(score, 0.0) for gap, score in row.items()}  # worse than the mean is no better than it
            ax.plot(list(shown), list(shown.values()), "-", color=colors[cell])
            for gap, score in shown.items():
                ax.plot(gap, score, "o" if score >= solved else "X", color=colors[cell], markersize=7)
        ax.axhline(solved, color=_pictures.GREY, linestyle=":")
        ax.text(max(run.args.gaps), solved - 0.02, "solved above", ha="right", va="top", color=_pictures.GREY)
        ax.set(title=TASKS[name].title, xlabel="steps to remember; X: failed, and not tried at more")
        ax.set(xscale="log", ylim=(-0.05, 1.05), xlim=(min(run.args.gaps) / 1.2, max(run.args.gaps) * 1.2))
        ax.set_xticks(run.args.gaps, map(str, run.args.gaps))
        ax.xaxis.set_minor_locator(_pictures.no_ticks())
    lowest = max(1e-12, min(norms.min() for flows in (before, after) for norms in flows.values()) / 2)
    for ax, title, flows in zip(axes[-2:], ("before training", "after training"), (before, after)):
        for cell, norms in flows.items():
            ax.plot(np.arange(len(norms)) - len(norms) + 1, norms, color=colors[cell], label=cell)
        highest = max(norms.max() for found in (before, after) for norms in found.values())
        ax.set(title=f"Gradient through time, {title}", xlabel="steps back", yscale="log", ylim=(lowest, 3 * highest))
    figure.legend(*axes[-2].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.supxlabel(READING, fontsize=9, color=_pictures.INK)
    run.picture(figure, "memory.png")


# ---- 5. Use: new sequences


def recall(args) -> float:
    """Draw new sequences, of any length, and let the best of the networks answer."""
    model, facts = _command.load(args, "memory", Memory, f"weights-{args.task}")
    task, gap = TASKS[args.task], args.gap or facts["gap"]
    inputs, targets = task.draw(HELD_OUT, gap, np.random.default_rng(args.seed))
    outputs = _command.predict(model, inputs)
    for i in range(5):
        if args.task == "adding":
            numbers = inputs[inputs[:, i, 1] == 1, i, 0]
            print(f"{numbers[0]:.3f} + {numbers[1]:.3f} = {targets[i, 0]:.3f}; it says {outputs[-1, i, 0]:.3f}")
        else:
            said = outputs[-COPIED:, i].argmax(-1)
            print(f"{' '.join(map(str, targets[:, i]))}; it says {' '.join(map(str, said))}")
    score = task.score(outputs, targets)
    print(f"{task.title}: {score:.3f} over {gap} steps")
    return score


def options(parser) -> None:
    parser.set_defaults(cell=None)
    cells = nn.cell_names()
    parser.add_argument(
        "--cells", nargs="+", choices=cells, default=CELLS, metavar="CELL", help=f"default: {' '.join(CELLS)}"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=TASKS,
        default=list(TASKS),
        metavar="TASK",
        help="adding, copy or both; default: both",
    )
    text = "steps to remember, growing; default: 25 50 100 200"
    parser.add_argument(
        "--gaps", nargs="+", type=_command.at_least(2), default=[25, 50, 100, 200], metavar="N", help=text
    )
    _command.count(parser, "--sequences", 5000, "to train on")
    _command.count(parser, "--hidden-size", 64)


def recall_options(parser) -> None:
    parser.add_argument("--task", choices=TASKS, default="adding")
    _command.count(parser, "--gap", None, "steps to remember; default: the longest that was solved", least=2)
    _command.count(parser, "--seed", 1234, "of the new sequences", least=0)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=25,
    cell="all of --cells",
    card=_command.Card(
        form="many to one",
        data="generated: adding problem, copy task",
        metric="longest gap solved, adding problem, LSTM",
        score="adding_lstm",
        baseline="RNN",
        baseline_score="adding_rnn",
        style=".0f",
        picture="memory.png",
        seeds=5,
    ),
    recall=_command.Use(recall, recall_options, "new sequences"),
    export=_export.use("memory", Memory, _export.features(batch_first=False)),
)
