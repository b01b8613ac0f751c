"""Character-level language model: reads text, and says at each character what comes next.

It learns from the sources of Python's standard library on your machine (or with --data from texts of yours)
with truncated backpropagation through time: the text is cut into parallel streams, gradients go back through
64 characters, the state goes on. On modules that it has never seen it reports bits per character: the length
to which it could pack them, beside gzip's and that of a trigram model. Afterwards it writes text, or completes
words from their first letters as a telephone's keyboard does.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import NGramModel, Vocabulary, read_text
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures, _text

HELD_OUT = 0.05
STREAMS, STEPS = 32, 64  # parallel streams, and how far gradients go back
EMBEDDING = 32
SUFFIXES = (".txt", ".md", ".py")


# ---- 1. Data: one long text of ids


def texts(args) -> tuple[str, str]:
    """The text to train on, and the one that is held out."""
    paths = _text.sources() if args.data is None else _text.files(args.data, SUFFIXES)
    train, held_out = _text.split([read_text(path) for path in paths], HELD_OUT, args.seed, args.characters)
    return "".join(train), "".join(held_out)


# ---- 2. Model: embedding, recurrence, and a linear layer to all characters: see _text.LanguageModel


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the cross-entropy, with a learning rate that falls to a half every 700 updates."""
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.ExponentialLR(optimizer, 0.5 ** (1 / 700))
    return Trainer(model, optimizer, nn.cross_entropy, step_schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    text, held_out = texts(args)
    vocabulary = Vocabulary([text], min_count=3, pad=None, sos=None, eos=None)
    ids, held_out_ids = vocabulary.encode(text), vocabulary.encode(held_out)
    if len(held_out_ids) < 2 * STEPS:
        raise DataError(f"--data: got {len(text) + len(held_out)} characters in all, wanted some thousands")
    print(f"{len(text):,} characters to train on, {len(held_out):,} held out, {len(vocabulary)} different ones")
    model, settings = _text.create(vocabulary, EMBEDDING, args)
    print(model)
    validation = _text.streams(held_out_ids, STREAMS, STEPS)
    learner = trainer(model)
    history = run.fit(learner, _text.streams(ids, STREAMS, STEPS), validation)

    bits = {
        "bits": learner.evaluate(validation) / math.log(2),
        "trigram_bits": NGramModel(ids, 3, len(vocabulary)).cross_entropy(held_out_ids) / math.log(2),
        "gzip_bits": 8 * len(gzip.compress(held_out.encode("utf-8", "surrogatepass"), 9)) / len(held_out),
    }
    print("bits per character of the held-out text:")
    for label, key in ((args.cell.upper(), "bits"), ("trigram model", "trigram_bits"), ("gzip -9", "gzip_bits")):
        print(f"{label:<24}{bits[key]:8.3f}")
    print(
        "gzip has read nothing before, but repeats what came earlier in the held-out text, which the "
        f"{args.cell.upper()} forgets;\nthat has read {len(text):,} characters of training; with few, gzip wins."
    )
    draw(run, surprise(model, held_out_ids[:1200]), held_out, bits, history)
    run.save(model, settings)
    vocabulary.save(run.path("vocabulary.json"))
    return bits | {"best_baseline_bits": min(bits["trigram_bits"], bits["gzip_bits"])}


# ---- 4. Result: bits per character, and how surprised it was where


def surprise(model: nn.Module, ids: np.ndarray) -> np.ndarray:
    """Bits for each of `ids` but the first."""
    with tr.no_grad():
        logits, _ = model(ids[:-1, None])
        return nn.cross_entropy(logits[:, 0], ids[1:], reduction="none").numpy() / math.log(2)


def draw(run: _command.Run, bits: np.ndarray, text: str, scores: dict, history: dict) -> None:
    """The beginning of the held-out text, the darker the more surprising; the scores; the loss."""
    figure, (page, bars, loss) = _pictures.picture(widths=(8, 3, 3.5))
    page.axis("off")
    columns, rows = 76, 18
    colors = np.ones((rows, columns, 3))
    x = y = 0
    for character, surprise in zip(text[1:], bits):
        if character == "\n" or x == columns:
            x, y = 0, y + 1
        if y == rows:
            break
        if character != "\n":
            shade = min(1.0, surprise / 8)
            colors[y, x] = 1 - 0.4 * shade, 1 - 0.75 * shade, 1 - shade
            if character.isprintable() and character != " ":
                ink = "white" if shade > 0.6 else _pictures.INK
                where = {"ha": "center", "va": "center"}
                page.text(x + 0.5, y + 0.55, character, color=ink, family="monospace", fontsize=6.5, **where)
            x += 1
    page.imshow(colors, extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest")
    page.set_title("Held-out text: the darker, the more surprising")
    labels = {"bits": run.args.cell.upper(), "trigram_bits": "trigram", "gzip_bits": "gzip"}
    bars.bar([labels[key] for key in scores], scores.values(), color=[_pictures.ORANGE, *[_pictures.GREY] * 2])
    for i, value in enumerate(scores.values()):
        bars.text(i, value, f"{value:.2f}", ha="center", va="bottom")
    bars.set(title="Bits per character")
    _pictures.draw_loss(loss, history, "Loss, nats per character")
    run.picture(figure, "surprise.png")


# ---- 5. Use: text, and completed words


def generate(args) -> str:
    """Write text that begins with --start."""
    model, vocabulary = _text.load(args, "charlm")
    tr.seed(args.seed)
    start, never = vocabulary.encode(args.start or "\n"), [vocabulary.unk_id]
    options = {"temperature": args.temperature, "top_k": args.top_k, "never": never}
    (ids,) = _text.decoder(model).generate(start[None], args.length, **options)
    text = args.start + "".join(vocabulary.decode(ids))
    print(text)
    return text


def complete(args) -> list[tuple[str, float]]:
    """Complete the word at the end of a text: the likeliest completions and their probabilities."""
    model, vocabulary = _text.load(args, "charlm")
    step = _text.stepper(model, never=[vocabulary.unk_id])
    *before, last = vocabulary.encode("\n" + args.text)
    state = None
    with tr.no_grad():
        if before:
            _, state = model(np.array(before)[:, None])
    ends = [i for i, symbol in enumerate(vocabulary.tokens) if not (symbol.isalnum() or symbol == "_")]
    (found,) = nn.beam_search(
        step, [last], state, stop=ends, max_length=args.longest, beam_size=max(args.count, args.beam_size)
    )
    word = args.text.split()[-1] if args.text.split() else ""
    results = [(word + "".join(vocabulary.decode(h.ids)), math.exp(h.log_prob)) for h in found[: args.count]]
    for text, chance in results:
        print(f"{chance:6.1%}  {text}")
    return results


def options(parser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", metavar="PATH", help="texts, or folders of .txt, .md, .py")
    _command.count(parser, "--characters", 1_500_000, "of the text to use at most", least=1000)
    _command.count(parser, "--hidden-size", 256)


def generate_options(parser) -> None:
    parser.add_argument("--start", default="", metavar="TEXT", help="what the text begins with")
    _command.count(parser, "--length", 500, "characters")
    _command.number(parser, "--temperature", 0.7, "below 1 safer, above 1 wilder")
    _command.count(parser, "--top-k", None, "draw among the likeliest only")
    _command.count(parser, "--seed", 0, least=0)


def complete_options(parser) -> None:
    parser.add_argument("text", metavar="TEXT", help="such as 'import o'")
    _command.count(parser, "--count", 5, "completions")
    _command.count(parser, "--beam-size", 20)
    _command.count(parser, "--longest", 20, "characters to add")


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=2,
    cell="lstm",
    card=_command.Card(
        form="many to many",
        data="sources of Python's standard library",
        metric="bits per character, held-out modules",
        score="bits",
        baseline="the better of a trigram model and gzip",
        baseline_score="best_baseline_bits",
        style=".2f",
        picture="surprise.png",
    ),
    generate=_command.Use(generate, generate_options, "write text"),
    complete=_command.Use(complete, complete_options, "complete a word from its first letters"),
    export=_export.use("charlm", _text.LanguageModel, _export.ids),
)
