"""Word-level language model: a simple RNN reads words, and says with which probability each word comes next.

The parts are those of the classical tutorials: a vocabulary with <unk> for rare words, an embedding of 100
dimensions, a tanh RNN, softmax cross-entropy, truncated backpropagation through time, clipped gradients, and
SGD with a learning rate that falls in steps. The default text are the documentation strings of Python's own
standard library on your machine; --data reads texts of yours. It reports perplexity, the number of words among
which it could as well have guessed, beside that of counting words and pairs of words.
"""

from __future__ import annotations

import ast
import math
import warnings
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import NGramModel, Vocabulary, read_text, tokenize
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures, _text

HELD_OUT = 0.1
STREAMS, STEPS = 20, 20  # parallel streams, and how far gradients go back
EMBEDDING = 100
SUFFIXES = (".txt", ".md")


# ---- 1. Data: texts as words, each text between <sos> and <eos>


def docstrings(paths: list[Path]) -> list[str]:
    """All documentation strings in Python sources, in the order in which they stand there."""
    found = []
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in old sources
            tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    found.append(text)
    return list(dict.fromkeys(found))  # what is said twice would stand in both parts


def words(text: str) -> list[str]:
    return tokenize(text, lowercase=True)


def encode(vocabulary: Vocabulary, texts: list[str]) -> np.ndarray:
    """The texts one after the other, as ids."""
    return np.concatenate([vocabulary.encode(words(text), add_sos=True, add_eos=True) for text in texts])


# ---- 2. Model: embedding, recurrence, and a linear layer to all words: see _text.LanguageModel


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """SGD on the cross-entropy; after every second epoch the learning rate falls to a half."""
    optimizer = optim.SGD(model.parameters(), lr=2.0)
    schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    return Trainer(model, optimizer, nn.cross_entropy, schedule=schedule, clip_norm=0.5)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    if args.data is None:
        texts = docstrings(_text.sources(packages=True))
    else:
        texts = [read_text(path) for path in _text.files(args.data, SUFFIXES)]
    texts, held_out = _text.split(texts, HELD_OUT, args.seed, args.characters)
    vocabulary = Vocabulary(map(words, texts), min_count=args.min_count, max_size=args.vocabulary, pad=None)
    ids, held_out_ids = encode(vocabulary, texts), encode(vocabulary, held_out)
    if len(held_out_ids) < 2 * STEPS:
        raise DataError(f"--data: got {len(ids) + len(held_out_ids)} words in all, wanted some hundreds")
    unknown = (held_out_ids == vocabulary.unk_id).mean()
    print(f"{len(ids):,} words to train on, {len(held_out_ids):,} held out; {len(vocabulary):,} different ones")
    print(f"{unknown:.1%} of the held-out words are not among them, and stand as <unk>")
    model, settings = _text.create(vocabulary, EMBEDDING, args)
    print(model)
    validation = _text.streams(held_out_ids, STREAMS, STEPS)
    learner = trainer(model)
    history = run.fit(learner, _text.streams(ids, STREAMS, STEPS), validation)

    size = len(vocabulary)
    perplexity = {
        "perplexity": math.exp(learner.evaluate(validation)),
        "bigram_perplexity": math.exp(NGramModel(ids, 2, size).cross_entropy(held_out_ids)),
        "unigram_perplexity": math.exp(NGramModel(ids, 1, size).cross_entropy(held_out_ids)),
    }
    print("perplexity of the held-out texts:")
    labels = args.cell.upper(), "pairs of words", "single words"
    for label, value in zip(labels, perplexity.values()):
        print(f"{label:<24}{value:8.1f}")
    draw(run, model, vocabulary, perplexity, labels, history)
    run.save(model, settings)
    vocabulary.save(run.path("vocabulary.json"))
    return perplexity


# ---- 4. Result: perplexity, and what it would say next


def next_words(model: nn.Module, vocabulary: Vocabulary, text: str, count: int) -> list[tuple[str, float]]:
    """The likeliest words after a text, and their probabilities."""
    ids = vocabulary.encode(words(text), add_sos=True)
    with tr.no_grad():
        logits, _ = model(ids[:, None])
        chances = tr.softmax(logits[-1, 0]).numpy()
    best = [i for i in np.argsort(-chances) if i not in (vocabulary.unk_id, vocabulary.sos_id)][:count]
    return [(vocabulary.id_to_token(i), float(chances[i])) for i in best]


EXAMPLES = "return the", "a list of", "if the file", "raises an"


def draw(run: _command.Run, model, vocabulary, perplexity: dict, labels, history: dict) -> None:
    """The next words for some beginnings; the perplexities over the epochs."""
    figure, axes = _pictures.picture(widths=(2.6, 2.6, 2.6, 2.6, 4))
    for ax, text in zip(axes, EXAMPLES):
        following = next_words(model, vocabulary, text, 8)[::-1]
        ax.barh([word for word, _ in following], [chance for _, chance in following], color=_pictures.BLUE)
        ax.set(title=f"{text} …", xlabel="probability")
        ax.grid(False)
    ax = axes[-1]
    for key, label, color in (("loss", "training", _pictures.BLUE), ("val_loss", "held out", _pictures.ORANGE)):
        ax.plot(range(1, len(history[key]) + 1), np.exp(history[key]), ".-", color=color, label=label)
    for value, label in list(zip(perplexity.values(), labels))[1:]:
        ax.axhline(value, color=_pictures.GREY, linestyle=":")
        ax.text(len(history["loss"]), value, label, ha="right", va="bottom", color=_pictures.GREY)
    ax.set(title="Perplexity", xlabel="epoch", yscale="log")
    ax.yaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_minor_formatter("{x:.0f}")
    _pictures.whole_numbers(ax.xaxis)
    ax.legend(frameon=False)
    run.picture(figure, "words.png")


# ---- 5. Use: the next word


def suggest(args) -> list[tuple[str, float]]:
    """Suggest the next word after some words, with probabilities."""
    model, vocabulary = _text.load(args, "wordlm")
    found = next_words(model, vocabulary, args.text, args.count)
    for word, chance in found:
        print(f"{chance:6.1%}  {word}")
    return found


def write(args) -> str:
    """Write words that follow some words, until the text ends."""
    model, vocabulary = _text.load(args, "wordlm")
    tr.seed(args.seed)
    start, never = vocabulary.encode(words(args.text), add_sos=True), [vocabulary.unk_id, vocabulary.sos_id]
    options = {"temperature": args.temperature, "top_k": args.top_k, "never": never, "stop": vocabulary.eos_id}
    (ids,) = _text.decoder(model).generate(start[None], args.length, **options)
    text = " ".join([args.text, *vocabulary.decode(ids)])
    print(text)
    return text


def options(parser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", metavar="PATH", help="texts, or folders of .txt, .md")
    _command.count(parser, "--characters", None, "of the text to use at most", least=1000)
    _command.count(parser, "--vocabulary", 3000, "words to know at most", least=10)
    _command.count(parser, "--min-count", 4, "how often a word has to occur")
    _command.count(parser, "--hidden-size", 200)


def suggest_options(parser) -> None:
    parser.add_argument("text", metavar="WORDS", help="such as 'return the'")
    _command.count(parser, "--count", 8, "words")


def write_options(parser) -> None:
    parser.add_argument("text", metavar="WORDS", help="such as 'return the'")
    _command.count(parser, "--length", 30, "words at most")
    _command.number(parser, "--temperature", 0.7, "below 1 safer, above 1 wilder")
    _command.count(parser, "--top-k", None, "draw among the likeliest only")
    _command.count(parser, "--seed", 0, least=0)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=6,
    cell="rnn",
    card=_command.Card(
        form="many to many",
        data="documentation strings of Python's standard library",
        metric="perplexity, held-out texts",
        score="perplexity",
        baseline="counting pairs of words",
        baseline_score="bigram_perplexity",
        style=".0f",
        picture="words.png",
        seeds=5,
    ),
    suggest=_command.Use(suggest, suggest_options, "the next word"),
    write=_command.Use(write, write_options, "words that follow"),
    export=_export.use("wordlm", _text.LanguageModel, _export.ids),
)
