"""Sentiment: an LSTM reads a review of any length, word by word, and says whether it praises or not.

Each review stands between <sos> and <eos>; the shorter ones of a batch are filled up with <pad>, and lengths
say where each ends. The default reviews come from a small grammar in which single words say little: what
counts is who is negated ("not at all dull") and which half of a contrast wins ("the plot is dull, but ...").
A model that only counts words can therefore not do well, and stands beside it. With --data it learns from a
CSV or TSV file of labels and texts, or from a folder with a folder of .txt files for each class.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import (
    DataLoader,
    Vocabulary,
    collate_sequences,
    read_class_folders,
    read_pairs,
    tokenize,
    train_test_split,
)
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer, confusion_matrix

from . import _command, _export, _pictures

HELD_OUT = 0.2
BATCH_SIZE = 32
EMBEDDING = 32


# ---- 1. Data: reviews and their labels

THINGS = [
    "acting", "plot", "music", "ending", "dialogue", "camera", "humour", "hero", "story", "pace", "script",
    "mood", "cast", "editing", "sound",
]  # fmt: skip
PRAISE = [
    "brilliant", "moving", "clever", "charming", "funny", "fresh", "honest", "gripping", "elegant", "warm",
    "subtle", "bold", "witty", "lovely", "rich",
]  # fmt: skip
BLAME = [
    "dull", "tedious", "clumsy", "lazy", "boring", "stale", "hollow", "shallow", "messy", "cold", "awkward",
    "weak", "silly", "ugly", "tiresome",
]  # fmt: skip
DEGREES = ["", "", "very ", "really ", "quite ", "rather "]
PLAIN = ["the {thing} is {degree}{word}", "i found the {thing} {degree}{word}", "a {degree}{word} {thing}"]
NEGATED = [
    "the {thing} is not {degree}{word}",
    "the {thing} is not at all {word}",
    "nobody could call the {thing} {word}",
    "the {thing} is anything but {word}",
    "i never found the {thing} {word}",
    "a {thing} that is far from {word}",
]
FIRST_WINS = ["{a} , although {b}", "{a} , even if {b}", "{a} , no matter that {b}"]
SECOND_WINS = ["{a} , but {b}", "although {a} , {b}", "{a} , and yet {b}", "even if {a} , {b}"]


def clause(rng: random.Random, good: bool) -> str:
    """A statement that praises or blames, negated or not."""
    negated = rng.random() < 0.3
    template = rng.choice(NEGATED if negated else PLAIN)
    words = PRAISE if good != negated else BLAME
    return template.format(thing=rng.choice(THINGS), degree=rng.choice(DEGREES), word=rng.choice(words))


def review(rng: random.Random, good: bool) -> str:
    """One statement, or a contrast of two of which one wins."""
    if rng.random() < 0.5:
        return clause(rng, good)
    if rng.random() < 0.5:
        return rng.choice(FIRST_WINS).format(a=clause(rng, good), b=clause(rng, not good))
    return rng.choice(SECOND_WINS).format(a=clause(rng, not good), b=clause(rng, good))


def reviews(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Labels and as many different texts, half of them good."""
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    while len(texts) < count:
        good = len(texts) % 2 == 0
        texts.setdefault(review(rng, good), "good" if good else "bad")
    return list(texts.values()), list(texts)


def read(path: Path) -> tuple[list[str], list[str]]:
    """Labels and texts of the user's own."""
    labels, texts = read_class_folders(path) if path.is_dir() else read_pairs(path, ("label", "text"))
    for label in sorted(set(labels)):
        if labels.count(label) < 2:
            raise DataError(f"{path}: got the label {label!r} once, wanted every label twice or more")
    if len(set(labels)) < 2:
        raise DataError(f"{path}: got the one label {labels[0]!r} only, wanted several to tell apart")
    return labels, texts


def words(text: str) -> list[str]:
    return tokenize(text, lowercase=True)


# ---- 2. Model: embedding, recurrence, and a linear layer on what it knows at <eos>


class Classifier(nn.Module):
    """Ids (N, T) and lengths (N,) to logits (N, classes)."""

    def __init__(self, words: int, classes: int, hidden_size: int, cell: str = "lstm"):
        self.embedding = nn.Embedding(words, EMBEDDING, padding_idx=0)
        self.rnn = _command.layer(cell, EMBEDDING, hidden_size)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(hidden_size, classes)

    def forward(self, ids, lengths):
        outputs, _ = self.rnn(self.embedding(ids), lengths=lengths)
        batch, steps, features = outputs.shape
        last = tr.embedding(outputs.reshape(-1, features), lengths + (np.arange(batch) * steps - 1))
        return self.head(self.dropout(last))


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the cross-entropy, with a learning rate that falls by a fifth every epoch."""
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    schedule = optim.ExponentialLR(optimizer, 0.8)
    return Trainer(model, optimizer, nn.cross_entropy, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    labels, texts = reviews(args.reviews, args.seed) if args.data is None else read(args.data)
    order = np.random.default_rng(args.seed).permutation(len(texts))
    texts, labels = [texts[i] for i in order], [labels[i] for i in order]
    classes = sorted(set(labels))
    targets = np.array([classes.index(label) for label in labels])
    cut = len(train_test_split(targets, test_size=HELD_OUT)[0])
    vocabulary = Vocabulary(map(words, texts[:cut]), max_size=args.vocabulary)
    ids = [vocabulary.encode(words(text), add_sos=True, add_eos=True) for text in texts]
    examples = list(zip(ids, targets))
    print(f"{cut} texts to train on, {len(texts) - cut} held out; {len(vocabulary)} words; {', '.join(classes)}")
    settings = {
        "words": len(vocabulary),
        "classes": len(classes),
        "hidden_size": args.hidden_size,
        "cell": args.cell,
    }
    model = Classifier(**settings)
    print(model)
    lengths = [len(i) for i in ids[:cut]]
    loader = DataLoader(examples[:cut], BATCH_SIZE, shuffle=True, lengths=lengths, bucket=8, collate=collate_sequences)
    run.fit(trainer(model), loader, DataLoader(examples[cut:], 500, collate=collate_sequences))

    model.eval()
    guesses = np.concatenate(
        [
            _command.predict(model, *inputs).argmax(-1)
            for inputs, _ in DataLoader(examples[cut:], 500, collate=collate_sequences)
        ]
    )
    counting = bag_of_words(ids, targets, cut, len(vocabulary), len(classes))
    metrics = {
        "accuracy": float((guesses == targets[cut:]).mean()),
        "bag_of_words_accuracy": float((counting == targets[cut:]).mean()),
    }
    print("of the held-out texts, right are:")
    print(f"{args.cell.upper():<24}{metrics['accuracy']:8.1%}")
    print(f"{'bag of words':<24}{metrics['bag_of_words_accuracy']:8.1%}")
    draw(run, model, vocabulary, classes, texts[cut:], confusion_matrix(targets[cut:], guesses, len(classes)), metrics)
    run.save(model, settings, classes=classes)
    vocabulary.save(run.path("vocabulary.json"))
    return metrics


# ---- 4. Result: accuracy beside that of counting words, and how the opinion forms while reading


def bag_of_words(ids: list, targets: np.ndarray, cut: int, size: int, classes: int) -> np.ndarray:
    """The baseline: logistic regression on how often each word occurs."""
    counts = np.stack([np.bincount(i, minlength=size) for i in ids]).astype(np.float32)
    model = nn.Linear(size, classes)
    learner = Trainer(model, optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4), nn.cross_entropy)
    learner.fit(DataLoader((counts[:cut], targets[:cut]), 256, shuffle=True), epochs=60)
    return _command.predict(model, counts[cut:]).argmax(-1)


def opinions(model: Classifier, vocabulary: Vocabulary, text: str) -> tuple[list[str], np.ndarray]:
    """The words of a text, and the probabilities of the classes (words, classes) if it ended after each."""
    ids = vocabulary.encode(words(text), add_sos=True)
    prefixes = [np.append(ids[: n + 1], vocabulary.eos_id) for n in range(1, len(ids))]
    (padded, lengths), _ = collate_sequences([(prefix, 0) for prefix in prefixes])
    with tr.no_grad():
        return words(text), tr.softmax(model(padded, lengths), -1).numpy()


def draw(run, model, vocabulary, classes, texts, confusion: np.ndarray, metrics: dict) -> None:
    """Who is taken for what; the probability of the last class word by word, for some texts."""
    figure, (ax, *pages) = _pictures.picture(widths=(3.4, 4.6, 4.6), height=4.2)
    _pictures.draw_confusion(ax, confusion, classes)
    ax.set_title(
        f"{metrics['accuracy']:.1%} right (counting words: {metrics['bag_of_words_accuracy']:.1%})", fontsize=10
    )
    longest = sorted(texts[:200], key=lambda text: -len(words(text)))[: 2 * len(pages)]
    for page, text in zip(pages, longest[:: len(pages)]):
        tokens, chances = opinions(model, vocabulary, text)
        tokens, chances = tokens[:24], chances[:24]
        page.barh(range(len(tokens)), chances[:, -1] - 0.5, left=0.5, color=_pictures.BLUE)
        page.set(xlim=(0, 1), title=f"probability of “{classes[-1]}”, word by word")
        page.set_yticks(range(len(tokens)), tokens)
        page.invert_yaxis()
        page.grid(False)
        page.axvline(0.5, color=_pictures.GREY, linewidth=0.8)
    run.picture(figure, "opinions.png")


# ---- 5. Use: the class of new texts


def predict(args) -> list[str]:
    """Say to which class texts belong."""
    model, facts = _command.load(args, "sentiment", Classifier)
    vocabulary = Vocabulary.load(args.out / "vocabulary.json")
    found = []
    for text in args.texts:
        if not words(text):
            raise DataError(f"TEXT: got {text!r}, wanted some words")
        _, chances = opinions(model, vocabulary, text)
        found.append(facts["classes"][chances[-1].argmax()])
        print(f"{found[-1]} ({chances[-1].max():.1%}): {text}")
    return found


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="PATH", help="a .csv or .tsv file (label, text), or a folder")
    _command.count(parser, "--reviews", 4000, "to generate", least=20)
    _command.count(parser, "--vocabulary", 10_000, "words to know at most", least=10)
    _command.count(parser, "--hidden-size", 64)


def predict_options(parser) -> None:
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="such as 'the plot is not at all dull'")


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=12,
    cell="lstm",
    card=_command.Card(
        form="many to one",
        data="reviews from a grammar with negation and contrast",
        metric="accuracy on held-out reviews",
        score="accuracy",
        baseline="bag of words",
        baseline_score="bag_of_words_accuracy",
        style=".1%",
        picture="opinions.png",
    ),
    predict=_command.Use(predict, predict_options, "the class of new texts"),
    export=_export.use("sentiment", Classifier, _export.texts),
)
