"""Tagger: a GRU that reads both ways says of each word which part it plays.

By default the words are the names in Python sources and the parts keyword, definition, parameter, argument,
attribute, method, call, builtin, module and variable: the labels come from Python's own parser, the modules
from the standard library on your machine, some of which are held out. Strings, numbers and signs are read but
not tagged. With --data it learns from a file with a token and a tag in each line and a blank line after each
sentence (CoNLL), such as parts of speech or named entities. Rare words are read as their shape: Ab, A0, _a.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import numpy as np

from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, Vocabulary, collate_sequences, read_conll, read_text, tokenize
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer, confusion_matrix, f1_scores

from . import _command, _export, _pictures, _python, _text

HELD_OUT = 0.1
BATCH_SIZE = 32
EMBEDDING = 48
IGNORED = -100


# ---- 1. Data: sentences of tokens and tags; None where there is nothing to say


def python_sentences(characters: int, seed: int) -> tuple[list, list]:
    """The logical lines of modules to train on, and of modules that are held out."""
    texts = [read_text(path) for path in _text.sources()]
    texts = [text for text in texts if len(text) <= HELD_OUT * characters]  # more would fill a part alone
    parts = _text.split(texts, HELD_OUT, seed, characters, whole=True)
    train, held_out = ([_python.sentences(text, "a module of Python") for text in part] for part in parts)
    return list(chain(*train)), list(chain(*held_out))


def conll_sentences(path: Path, held_out: Path | None, seed: int) -> tuple[list, list]:
    """The sentences of a file, split unless there is a second one to hold out."""
    found = read_conll(path)
    if len({tag for _, tags in found for tag in tags}) < 2:
        raise DataError(f"{path}: got the one tag {found[0][1][0]!r} only, wanted several to tell apart")
    if held_out is not None:
        return found, read_conll(held_out)
    if len(found) < 2:
        raise DataError(f"{path}: got one sentence, wanted some to train on and some to hold out")
    order = np.random.default_rng(seed).permutation(len(found))
    cut = max(1, round(HELD_OUT * len(found)))
    return [found[i] for i in order[cut:]], [found[i] for i in order[:cut]]


def shape(token: str) -> str:
    """What a rare word looks like: ``<Ab>`` for Capital, ``<_a>`` for _private, ``<A0>`` for UTF8."""
    kinds = re.sub(r"[^\W\d_]", lambda c: "A" if c[0].isupper() else "a", re.sub(r"\d", "0", token))
    once = re.sub(r"(.)\1+", r"\1", kinds)
    return f"<{once[:6]}>"


def ids_of(vocabulary: Vocabulary, tokens: list[str]) -> np.ndarray:
    """Ids of tokens; of unknown ones that of their shape."""
    return vocabulary.encode([token if token in vocabulary else shape(token) for token in tokens])


# ---- 2. Model: embedding, recurrence both ways, and a linear layer at each step


class Tagger(nn.Module):
    """Ids (N, T) and lengths (N,) to logits (N, T, tags)."""

    def __init__(self, words: int, tags: int, hidden_size: int, cell: str = "gru"):
        self.embedding = nn.Embedding(words, EMBEDDING, padding_idx=0)
        self.rnn = _command.layer(cell, EMBEDDING, hidden_size, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(2 * hidden_size, tags)

    def forward(self, ids, lengths):
        outputs, _ = self.rnn(self.dropout(self.embedding(ids)), lengths=lengths)
        return self.head(self.dropout(outputs))


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the cross-entropy of all tags, with a learning rate that falls to 0.7 of itself every epoch."""
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.ExponentialLR(optimizer, 0.7)
    return Trainer(model, optimizer, nn.cross_entropy, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict:
    args = run.args
    if args.data is None:
        sentences, held_out = python_sentences(args.characters, args.seed)
    else:
        sentences, held_out = conll_sentences(args.data, args.held_out, args.seed)
    tags = sorted({tag for _, marks in sentences for tag in marks if tag is not None})
    vocabulary = Vocabulary(
        [tokens for tokens, _ in sentences] + [map(shape, tokens) for tokens, _ in sentences],
        min_count=args.min_count,
        sos=None,
        eos=None,
    )
    examples, held_out_examples = (
        [
            (ids_of(vocabulary, tokens), [tags.index(t) if t in tags else IGNORED for t in marks])
            for tokens, marks in part
        ]
        for part in (sentences, held_out)
    )
    total = sum(len(tokens) for tokens, _ in sentences)
    print(
        f"{total:,} tokens in {len(sentences):,} sentences to train on, {len(held_out):,} sentences held out; "
        f"{len(vocabulary)} words"
    )
    settings = {"words": len(vocabulary), "tags": len(tags), "hidden_size": args.hidden_size, "cell": args.cell}
    model = Tagger(**settings)
    print(model)
    loader = DataLoader(
        examples,
        BATCH_SIZE,
        shuffle=True,
        lengths=[len(ids) for ids, _ in examples],
        bucket=8,
        collate=collate_sequences,
    )
    run.fit(trainer(model), loader, DataLoader(held_out_examples, 200, collate=collate_sequences))

    model.eval()
    truth = np.concatenate([targets for _, targets in held_out_examples])
    guesses = np.concatenate([best(model, ids) for ids, _ in held_out_examples])
    known = truth != IGNORED
    baseline = most_frequent(sentences, held_out, tags)
    confusion = confusion_matrix(truth[known], guesses[known], len(tags))
    metrics = {
        "accuracy": float((guesses == truth)[known].mean()),
        "most_frequent_accuracy": float((baseline == truth)[known].mean()),
        "f1": dict(zip(tags, f1_scores(confusion))),
    }
    print("of the held-out tokens that have a tag, right are:")
    print(f"{args.cell.upper():<24}{metrics['accuracy']:8.1%}")
    print(f"{'most frequent tag':<24}{metrics['most_frequent_accuracy']:8.1%}")
    print("F1: " + ", ".join(f"{tag} {score:.3f}" for tag, score in metrics["f1"].items()))
    draw(
        run,
        confusion,
        metrics["f1"],
        [(tokens, tags_of(model, vocabulary, tags, tokens)) for tokens, _ in held_out[:60]],
    )
    run.save(model, settings, tags=tags, python=args.data is None)
    vocabulary.save(run.path("vocabulary.json"))
    return metrics


# ---- 4. Result: accuracy beside that of the most frequent tag, F1 of each tag, and a page in colours


def best(model: Tagger, ids: np.ndarray) -> np.ndarray:
    """The likeliest tag of each token of a sentence."""
    return _command.predict(model, ids[None], np.array([len(ids)]))[0].argmax(-1)


def tags_of(model: Tagger, vocabulary: Vocabulary, tags: list[str], tokens: list[str]) -> list[str]:
    return [tags[i] for i in best(model, ids_of(vocabulary, tokens))]


def most_frequent(sentences: list, held_out: list, tags: list[str]) -> np.ndarray:
    """The baseline: for each token the tag that it has most often, for new ones that which is most frequent of all."""
    counts: dict[str, np.ndarray] = {}
    for token, tag in ((t, m) for tokens, marks in sentences for t, m in zip(tokens, marks) if m is not None):
        counts.setdefault(token, np.zeros(len(tags), int))[tags.index(tag)] += 1
    anything = sum(counts.values())
    return np.array([counts.get(token, anything).argmax() for tokens, _ in held_out for token in tokens])


def draw(run: _command.Run, confusion: np.ndarray, f1: dict, tagged: list) -> None:
    """Who is taken for what, F1, and some held-out sentences in the colours of their tags."""
    figure, (ax, bars, page) = _pictures.picture(widths=(4.6, 3, 7))
    names = list(f1)
    _pictures.draw_confusion(ax, confusion, names)
    colors = {name: _pictures.COLORS[i % len(_pictures.COLORS)] for i, name in enumerate(names)}
    scores = [0 if np.isnan(score) else score for score in f1.values()]
    bars.barh(range(len(names)), scores, color="#d5d5d5")
    bars.set_yticks(range(len(names)), names)
    for i, (label, score) in enumerate(zip(bars.get_yticklabels(), scores)):
        bars.text(0.02, i, f"{score:.3f}", va="center")
        label.set_color(colors[label.get_text()])
    bars.set(title="F1, and the colours of the tags", xlim=(0, 1))
    bars.invert_yaxis()
    bars.grid(False)
    page.axis("off")
    columns, rows = 92, 22
    y = -1
    for tokens, tags in tagged:
        x, y = 0, y + 1
        for token, tag in zip(tokens, tags):
            if x + len(token) > columns:  # goes on in the next line, indented
                x, y = 4, y + 1
            if y >= rows:
                break
            color = colors[tag] if re.match(r"\w", token) and token != "0" else _pictures.GREY
            page.text(x, y, token, family="monospace", fontsize=7.5, color=color)
            x += len(token) + 1
    page.set(xlim=(0, columns), ylim=(rows, -1), title="Held-out sentences, as it tags them")
    run.picture(figure, "tags.png")


# ---- 5. Use: new text


def tag(args) -> list[tuple[str, str]]:
    """Tag a file: a Python module, or text with a sentence in each line, as what it was trained on."""
    model, facts = _command.load(args, "tagger", Tagger)
    vocabulary = Vocabulary.load(args.out / "vocabulary.json")
    text = read_text(args.file)
    if facts["python"]:
        sentences = [tokens for tokens, _ in _python.sentences(text, args.file)]
    else:
        sentences = [tokenize(line) for line in text.split("\n") if line.strip()]
    found = []
    for tokens in sentences:
        found += zip(tokens, tags_of(model, vocabulary, facts["tags"], tokens))
    for token, mark in found:
        if not facts["python"] or token.isidentifier():
            print(f"{token}\t{mark}")
    return found


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="CONLL", help="a token and a tag in each line")
    parser.add_argument("--held-out", type=Path, metavar="CONLL", help="to test on; default: a tenth of --data")
    _command.count(parser, "--characters", 800_000, "of Python to use at most", least=10_000)
    _command.count(parser, "--min-count", 4, "how often a word has to occur")
    _command.count(parser, "--hidden-size", 64)


def tag_options(parser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a Python module, or text")


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=5,
    cell="gru",
    card=_command.Card(
        form="many to many",
        data="names in Python's standard library, tagged by its parser",
        metric="accuracy on held-out modules",
        score="accuracy",
        baseline="most frequent tag",
        baseline_score="most_frequent_accuracy",
        style=".1%",
        picture="tags.png",
    ),
    tag=_command.Use(tag, tag_options, "a module, or text"),
    export=_export.use("tagger", Tagger, _export.texts),
)
