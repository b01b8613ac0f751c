"""Roommate: what he cooks depends on what he cooked yesterday and on today's weather; a network finds out how.

The classic example, first with weights written by hand: on sunny days he is out and the meal is that of
yesterday, on rainy days he cooks the next on his list. Three small matrices and a ReLU are such a network. Then
the same from samples alone: a network sees the weather and the meals of some weeks, and cooks the same meals as
the matrices. The sixty-meal version needs a long memory: every day the television shows a meal; a guest, who
comes seldom, wishes for it, and he cooks it on every sunny day from then on, and the next on the list on every
rainy one, until another guest comes. A plain RNN forgets the wish over what is shown; an LSTM keeps it. With
--data it learns from your own diary, a CSV of weather and meal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, one_hot, read_pairs
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures

MEALS = ["apple pie", "burger", "chicken"]
WEATHER = ["sunny", "rainy"]
DAYS = 14  # of a sample
BATCH_SIZE = 32
LONG_DAYS = 60  # of a sample of the sixty-meal version
LATE = 20  # days after a guest
VISIT = 1 / 20  # the probability of a guest on a day


# ---- 1. Data: the weather of some days, one-hot, with the meal of the day before the first; and the meals


def cook(weather: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The rule: weather (N, T) and the meal before (N,) to meals (N, T)."""
    return (first[:, None] + np.cumsum(weather == 1, axis=1)) % len(MEALS)


def weeks(count: int, days: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the rule: inputs (count, days, 2 + 3) and meals (count, days)."""
    weather, first = rng.integers(0, 2, (count, days)), rng.integers(0, len(MEALS), count)
    return inputs_of(weather, first, 2, len(MEALS)), cook(weather, first)


def inputs_of(weather: np.ndarray, first: np.ndarray, kinds: int, meals: int) -> np.ndarray:
    """What the network reads, (N, T, kinds + meals): the weather, and on the first day the meal before."""
    told = np.zeros((*weather.shape, meals), np.float32)
    told[:, 0] = one_hot(first, meals)
    return np.concatenate([one_hot(weather, kinds), told], axis=-1)


def visits(count: int, days: int, meals: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Samples with guests: inputs (count, days, 3 + meals), meals (count, days), days since the guest."""
    weather = rng.integers(0, 2, (count, days))
    shown = rng.integers(0, meals, (count, days))
    guest = rng.random((count, days)) < VISIT
    guest[:, 0] = True
    last = np.maximum.accumulate(np.where(guest, np.arange(days), 0), axis=1)
    wish = np.take_along_axis(shown, last, axis=1)
    inputs = np.concatenate([one_hot(weather, 2), guest[..., None], one_hot(shown, meals)], axis=-1)
    return inputs.astype(np.float32), (wish + weather) % meals, np.arange(days) - last


def read(path: Path) -> tuple[list[str], list[str]]:
    """A diary: weather and meal of each day."""
    weather, meals = read_pairs(path, ("weather", "meal"))
    if len(meals) < 4 * DAYS:
        raise DataError(f"{path}: got {len(meals)} days, wanted {4 * DAYS} or more")
    if len(set(meals)) < 2:
        raise DataError(f"{path}: got the one meal {meals[0]!r} only, wanted several to tell apart")
    return weather, meals


# ---- 2. Model: by hand, and a recurrence with a linear layer to the meals


class ByHand(nn.Cell):
    """Yesterday's meal and today's weather to today's meal, by matrices that anyone can check.

    Each meal votes for itself and for the next one; the weather votes for the first half of these or for the
    second. Only what has both votes passes the ReLU, and both halves add up to the meal.
    """

    def __init__(self, meals: int = len(MEALS)):
        self.input_size, self.hidden_size = 2, meals
        same, after = np.eye(meals, dtype=np.float32), np.roll(np.eye(meals, dtype=np.float32), 1, axis=0)
        out, one = np.zeros((meals, 1), np.float32), np.ones((meals, 1), np.float32)
        self.meal = nn.Parameter(np.concatenate([same, after]))  # (2 meals, meals)
        self.weather = nn.Parameter(np.block([[one, out], [out, one]]))  # (2 meals, 2): sunny, rainy
        self.merge = nn.Parameter(np.concatenate([same, same], axis=1))  # (meals, 2 meals)

    def step(self, x, h):
        votes = x @ self.weather.T + h @ self.meal.T
        h = tr.relu(votes - 1) @ self.merge.T
        return h, h


class Learner(nn.Module):
    """Weather and what is told (N, T, features) to logits of the meals (N, T, meals)."""

    def __init__(self, features: int, meals: int, hidden_size: int, cell: str = "lstm"):
        self.rnn = _command.layer(cell, features, hidden_size)
        self.head = nn.Linear(hidden_size, meals)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs)


# ---- 3. Training


def trainer(model: nn.Module, lr: float = 1e-2) -> Trainer:
    """Adam on the cross-entropy of each day's meal, with a learning rate that falls by 7 % every epoch."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    schedule = optim.ExponentialLR(optimizer, 0.93)
    return Trainer(model, optimizer, nn.cross_entropy, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    if run.args.data is not None:
        return train_diary(run)
    args = run.args
    rng = np.random.default_rng(args.seed)
    hand = nn.Recurrent(ByHand(), batch_first=True)
    print("today = merge @ relu(meal @ yesterday + weather @ sky - 1), with these matrices:")
    for name, matrix in hand.cell.named_parameters():
        print(f"{name}:\n{matrix.numpy().astype(int)}")

    model = learn(run, *weeks(args.samples, DAYS, rng), {"kinds": WEATHER, "meals": MEALS})
    weather, first = rng.integers(0, 2, (200, 2 * DAYS)), rng.integers(0, len(MEALS), 200)
    with tr.no_grad():
        by_hand = hand(one_hot(weather, 2), tr.tensor(one_hot(first, len(MEALS))))[0].numpy().argmax(-1)
    learnt = _command.predict(model, inputs_of(weather, first, 2, len(MEALS))).argmax(-1)
    metrics = {
        "by_hand_accuracy": float((by_hand == cook(weather, first)).mean()),
        "learnt_accuracy": float((learnt == by_hand).mean()),
    }
    print(f"over {2 * DAYS} days, by hand: {metrics['by_hand_accuracy']:.1%} right; ", end="")
    print(f"learnt: {metrics['learnt_accuracy']:.1%} the same meals")

    test, meals, waits = visits(200, LONG_DAYS, args.meals, rng)
    right = {}
    for cell in dict.fromkeys(("rnn", args.cell)):
        tr.seed(args.seed)
        long = Learner(3 + args.meals, args.meals, args.long_hidden_size, cell)
        print(f"{args.meals} meals, {cell.upper()}:")
        lr = 3e-3 if cell == "rnn" else 1e-2  # for each what suits it best
        data = visits(args.long_samples, LONG_DAYS, args.meals, np.random.default_rng([args.seed, 1]))[:2]
        run.fit(trainer(long, lr), DataLoader(data, BATCH_SIZE, shuffle=True), name=f"checkpoint-long-{cell}")
        right[cell] = _command.predict(long, test).argmax(-1) == meals
    for label, few, most in (("accuracy", 0, LONG_DAYS), ("late_accuracy", LATE, LONG_DAYS)):
        those = (waits >= few) & (waits < most)
        metrics |= {f"{label}_{cell}": float(hits[those].mean()) for cell, hits in right.items()}
    metrics["score"], metrics["rnn_score"] = metrics[f"late_accuracy_{args.cell}"], metrics["late_accuracy_rnn"]
    print(f"{args.meals} meals, right on:{'all days':>16}{f'{LATE} days or more after the guest':>36}")
    for cell in right:
        print(f"{cell.upper():<19}{metrics[f'accuracy_{cell}']:16.1%}{metrics[f'late_accuracy_{cell}']:36.1%}")
    draw(run, weather[0], by_hand[0], learnt[0], right, waits)
    return metrics


def train_diary(run: _command.Run) -> dict[str, float]:
    """The same from a diary; its last fifth is held out."""
    weather, meals = read(run.args.data)
    kinds, names = sorted(set(weather)), sorted(set(meals))
    sky, dishes = np.array([kinds.index(w) for w in weather]), np.array([names.index(m) for m in meals])
    spans = np.lib.stride_tricks.sliding_window_view(np.arange(1, len(meals)), DAYS)
    cut = int(0.8 * len(meals)) - DAYS
    parts = [
        (inputs_of(sky[days], dishes[days[:, 0] - 1], len(kinds), len(names)), dishes[days])
        for days in (spans[:cut], spans[cut + DAYS - 1 :])
    ]
    model = learn(run, *parts[0], {"kinds": kinds, "meals": names})
    right = _command.predict(model, parts[1][0]).argmax(-1) == parts[1][1]
    yesterday = dishes[1:][int(0.8 * len(meals)) :] == dishes[:-1][int(0.8 * len(meals)) :]
    metrics = {"score": float(right.mean()), "rnn_score": float(yesterday.mean())}
    print(f"right on held-out days: {metrics['score']:.1%}; the meal of yesterday: {metrics['rnn_score']:.1%}")
    figure, (ax,) = _pictures.picture(widths=(6,), height=3.5)
    ax.plot(range(1, DAYS + 1), right.mean(0), ".-", color=_pictures.BLUE)
    ax.axhline(metrics["rnn_score"], color=_pictures.GREY, linestyle=":", label="the meal of yesterday")
    ax.set(title="Meals that are right", xlabel="days after the meal that it was told", ylim=(0, 1.05))
    ax.legend(frameon=False)
    run.picture(figure, "meals.png")
    return metrics


def learn(run: _command.Run, inputs: np.ndarray, meals: np.ndarray, names: dict) -> Learner:
    """A network of the --cell, from samples; its weights are saved."""
    args = run.args
    settings = {"features": inputs.shape[2], "meals": len(names["meals"]), "hidden_size": args.hidden_size}
    model = Learner(**settings, cell=args.cell)
    print(f"{len(inputs)} samples of {inputs.shape[1]} days\n{model}")
    run.fit(trainer(model), DataLoader((inputs, meals), BATCH_SIZE, shuffle=True))
    run.save(model, {**settings, "cell": args.cell}, **names)
    return model


# ---- 4. Result: the same meals, and how long a wish is remembered


def draw(run: _command.Run, weather, by_hand, learnt, right: dict[str, np.ndarray], waits: np.ndarray) -> None:
    """The meals of some weeks, by hand and learnt; the share of right meals over the days since the guest."""
    figure, (ax, long) = _pictures.picture(widths=(6, 5), height=3.8)
    days = np.arange(len(weather))
    ax.plot(days, by_hand, "o", color=_pictures.BLUE, markersize=11, fillstyle="none", label="weights by hand")
    ax.plot(days, learnt, ".", color=_pictures.ORANGE, label="weights learnt")
    ax.bar(days[weather == 1], 3, bottom=-0.5, width=1, color="#dfe8f3", zorder=0, label="rain")
    ax.set_yticks(range(len(MEALS)), MEALS)
    ax.set(title="The same meals", xlabel="day", ylim=(-0.5, 3.6))
    ax.grid(False)
    ax.legend(frameon=False, loc="upper center", ncols=3)
    edges = np.arange(0, LONG_DAYS - 5, 5)
    for (cell, hits), color in zip(right.items(), (_pictures.ORANGE, _pictures.BLUE)):
        shares = [hits[(waits >= a) & (waits < a + 5)].mean() for a in edges]
        long.plot(edges + 2, shares, ".-", color=color, label=cell.upper())
    title = f"{run.args.meals} meals: how long the wish is kept"
    long.set(title=title, xlabel="days since the guest", ylabel="meals that are right", ylim=(0, 1.05))
    long.legend(frameon=False)
    run.picture(figure, "meals.png")


# ---- 5. Use: the meals of some days


def predict(args) -> list[str]:
    """Say the meals of days of this weather, after the meal of the day before."""
    model, facts = _command.load(args, "roommate", Learner)
    kinds, meals = facts["kinds"], facts["meals"]
    first = args.first or meals[0]
    for option, values, known in (("--first", [first], meals), ("WEATHER", args.weather, kinds)):
        for value in values:
            if value not in known:
                raise DataError(f"{option}: got {value!r}, wanted one of {', '.join(known)}")
    weather = np.array([[kinds.index(w) for w in args.weather]])
    inputs = inputs_of(weather, np.array([meals.index(first)]), len(kinds), len(meals))
    found = [meals[i] for i in _command.predict(model, inputs)[0].argmax(-1)]
    for sky, meal in zip(args.weather, found):
        print(f"{sky}: {meal}")
    return found


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="CSV", help="a diary: weather and meal of each day")
    _command.count(parser, "--samples", 1000, f"of {DAYS} days")
    _command.count(parser, "--hidden-size", 16)
    _command.count(parser, "--meals", 60, "of the version with guests", least=2)
    _command.count(parser, "--long-samples", 3000, f"of {LONG_DAYS} days with guests")
    _command.count(parser, "--long-hidden-size", 64)


def predict_options(parser) -> None:
    parser.add_argument("weather", nargs="+", metavar="WEATHER", help="such as sunny rainy rainy")
    parser.add_argument("--first", metavar="MEAL", help="of the day before")


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=20,
    cell="lstm",
    card=_command.Card(
        form="many to many",
        data="weather and the wishes of guests, sixty meals",
        metric="meals right, 20 days or more after the guest",
        score="score",
        baseline="plain RNN",
        baseline_score="rnn_score",
        style=".1%",
        picture="meals.png",
    ),
    predict=_command.Use(predict, predict_options, "the meals of some days"),
    export=_export.use("roommate", Learner, _export.features()),
)
