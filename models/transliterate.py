"""Transliterate: an encoder reads a word in one script, a decoder writes it in another, letter by letter.

The default is Korean: the 11,172 Hangul syllables and their romanised names, both from Python's unicodedata, in
both directions, a tenth of them held out. While training, the decoder is told the true letters so far (teacher
forcing); afterwards it hears itself, greedily or by beam search. With attention it looks back at what the
encoder read; with --no-attention one state must hold it all. With --data it learns from a TSV file of pairs of
yours.
"""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, Vocabulary, pad_sequences, read_pairs
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer, error_rate

from . import _command, _export, _pictures

HELD_OUT = 0.1
BATCH_SIZE = 64
EMBEDDING = 32
LONGEST = 3  # times the longest target seen: where writing is cut
DIRECTIONS = "forwards", "backwards"


# ---- 1. Data: pairs of words


def hangul() -> list[tuple[str, str]]:
    """Every syllable and its name, such as 한 and "han"."""
    prefix = "HANGUL SYLLABLE "
    syllables = map(chr, range(0xAC00, 0xD7A4))
    return [(s, unicodedata.name(s).removeprefix(prefix).lower()) for s in syllables]


def read(path: Path) -> list[tuple[str, str]]:
    """Pairs of the user's own."""
    pairs = list(dict.fromkeys(zip(*read_pairs(path, ("source", "target")))))
    if len(pairs) < 10:
        raise DataError(f"{path}: got {len(pairs)} different pairs, wanted 10 or more")
    return pairs


def letters(text: str) -> str:
    """A text as the network reads and writes it: syllables in their letters, marks beside theirs."""
    return unicodedata.normalize("NFD", text)


def whole(text: list[str]) -> str:
    """A text as people read it."""
    return unicodedata.normalize("NFC", "".join(text))


class Pairs:
    """Pairs as numbers, with the vocabularies of both sides."""

    def __init__(self, pairs: list[tuple[str, str]], source: Vocabulary, target: Vocabulary):
        self.sources, self.targets = [a for a, _ in pairs], [whole([b]) for _, b in pairs]
        self.ids = [
            (source.encode(letters(a)), target.encode(letters(b), add_sos=True, add_eos=True)) for a, b in pairs
        ]

    def loader(self, batch_size: int, shuffle: bool = False) -> DataLoader:
        """Batches (sources, lengths), (before, next): (N, T), (N,) and, a letter and the one after it, (N, S) twice."""
        return DataLoader(self.ids, batch_size, shuffle=shuffle, collate=collate)


def collate(pairs):
    sources, targets = zip(*pairs)
    padded = pad_sequences(targets, value=-100)[0]  # what losses leave out
    return pad_sequences(sources), (np.maximum(padded[:, :-1], 0), padded[:, 1:])


# ---- 2. Model: the state after reading is the state before writing


class EncoderDecoder(nn.Module):
    """Sequences of unequal length to sequences (Sutskever, Vinyals and Le 2014)."""

    def __init__(self, sources: int, targets: int, hidden_size: int, attention: bool, cell: str = "gru"):
        self.source = nn.Embedding(sources, EMBEDDING, padding_idx=0)
        self.encoder = _command.layer(cell, EMBEDDING, hidden_size)
        self.target = nn.Embedding(targets, EMBEDDING, padding_idx=0)
        self.decoder = _command.layer(cell, EMBEDDING, hidden_size)
        self.attention = nn.LuongAttention(hidden_size, hidden_size) if attention else None
        self.head = nn.Linear(hidden_size, targets)
        self._writer = (nn.Decoder(self.decoder, self.target, Writer(self)),)  # no module of this one: it has all of it

    def forward(self, sources, lengths, before):
        """Letters to read, and those before each that is to be written, to logits of these (N, S, targets)."""
        return self.decode(before, self.encode(sources, lengths))[0]

    def encode(self, sources, lengths):
        """Read: ids (N, T) and lengths (N,) to what :meth:`decode` goes on from."""
        memory, state = self.encoder(self.source(sources), lengths=lengths)
        return state, memory, lengths

    def decode(self, targets, encoded):
        """Write: the letters before (N, S) to logits of the next (N, S, targets), what goes on, and where it looked."""
        state, memory, lengths = encoded
        outputs, state = self.decoder(self.target(targets), state)
        looked = None
        if self.attention is not None:
            outputs, looked = self.attention(outputs, memory, lengths)
        return self.head(outputs), (state, memory, lengths), looked

    def write(self, first, longest: int, encoded, stop: int) -> list[list[int]]:
        """The likeliest letter at each step, from `first` (N,) to `stop` or so many, in a few native calls."""
        state, memory, lengths = encoded
        looks = () if self.attention is None else self.attention.prepare(memory, lengths)
        options = {"temperature": 0, "stop": stop, "context": looks}
        return self._writer[0].generate(first[:, None], longest, state, **options)


class Writer(nn.Module):
    """Outputs of the decoder at one step, and what they look at, to logits of the next letter."""

    def __init__(self, model: EncoderDecoder):
        self.attention, self.head = model.attention, model.head

    def forward(self, outputs, *looks):
        return self.head(outputs if self.attention is None else self.attention.look(outputs, *looks))


# ---- 3. Training


def trainer(model: EncoderDecoder) -> Trainer:
    """Adam on the cross-entropy of each next letter, with a learning rate that falls by a quarter every epoch."""

    def step(batch):
        (sources, lengths), (before, after) = batch
        return nn.cross_entropy(model(sources, lengths, before), after)

    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    return Trainer(model, optimizer, step=step, schedule=optim.ExponentialLR(optimizer, 0.75), clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    pairs = hangul() if args.data is None else read(args.data)
    order = np.random.default_rng(args.seed).permutation(len(pairs))
    pairs = [pairs[i] for i in order[: args.pairs]]
    held_out = max(1, round(HELD_OUT * len(pairs)))
    print(f"{len(pairs) - held_out} pairs to train on, {held_out} held out; such as {' - '.join(pairs[0])}")
    metrics: dict[str, float] = {}
    for direction in DIRECTIONS:
        if direction == "backwards":
            pairs = [(b, a) for a, b in pairs]
        metrics |= learn(run, direction, pairs[held_out:], pairs[:held_out])
    return metrics


def learn(run: _command.Run, direction: str, known: list, new: list) -> dict[str, float]:
    """Train on pairs in one direction, and try what was learnt on new ones."""
    args = run.args
    source = Vocabulary([letters(a) for a, _ in known], sos=None, eos=None)
    target = Vocabulary([letters(b) for _, b in known])
    data, held_out = Pairs(known, source, target), Pairs(new, source, target)
    settings = {
        "sources": len(source),
        "targets": len(target),
        "hidden_size": args.hidden_size,
        "attention": args.attention,
        "cell": args.cell,
    }
    model = EncoderDecoder(**settings)
    print(f"{direction}:", model)
    name = f"checkpoint-{direction}"
    run.fit(trainer(model), data.loader(BATCH_SIZE, shuffle=True), held_out.loader(500), name=name)

    model.eval()
    longest = LONGEST * max(len(ids) for _, ids in data.ids)
    greedy = translate(model, target, held_out, longest)
    beams = translate(model, target, held_out, longest, beam_size=args.beam)
    similar = nearest(data, held_out, len(source))
    right = lambda found: float(np.mean([a == b for a, b in zip(held_out.targets, found)]))
    metrics = {
        f"{direction}_exact": right(greedy),
        f"{direction}_beam_exact": right(beams),
        f"{direction}_cer": error_rate(held_out.targets, greedy),
        f"{direction}_nearest_exact": right(similar),
        f"{direction}_nearest_cer": error_rate(held_out.targets, similar),
    }
    print(f"of the held-out words, {direction}:{'right':>12}{'wrong letters':>16}")
    for label, words in (
        (args.cell.upper(), greedy),
        (f"with a beam of {args.beam}", beams),
        ("most similar", similar),
    ):
        print(f"{label:<28}{right(words):12.2%}{error_rate(held_out.targets, words):16.2%}")
    if args.attention:
        draw(run, model, source, target, held_out, direction)
    else:
        draw_lengths(run, held_out, greedy, direction)
    run.save(model, settings, name=f"weights-{direction}", longest=longest, syllables=args.data is None)
    source.save(run.path(f"source-{direction}.json"))
    target.save(run.path(f"target-{direction}.json"))
    return metrics


# ---- 4. Result: words that are right to the last letter


def step_of(model: EncoderDecoder):
    """What :func:`nn.beam_search` calls."""

    def step(ids, encoded):
        logits, encoded, _ = model.decode(ids[:, None], encoded)
        return logits[:, 0], encoded

    return step


def translate(model: EncoderDecoder, target: Vocabulary, pairs: Pairs, longest: int, beam_size: int = 1) -> list[str]:
    """The words that the network writes: greedily, or by beam search."""
    found: list[list[int]] = []
    for (sources, lengths), _ in pairs.loader(500):
        first = np.full(len(sources), target.sos_id)
        with tr.no_grad():
            encoded = model.encode(sources, lengths)
        if beam_size == 1:
            found += model.write(first, longest, encoded, target.eos_id)
        else:
            ends = {"stop": target.eos_id, "max_length": longest, "beam_size": beam_size}
            found += [h[0].ids for h in nn.beam_search(step_of(model), first, encoded, **ends)]
    return [whole(target.decode(ids, skip_specials=True)) for ids in found]


def nearest(data: Pairs, others: Pairs, size: int) -> list[str]:
    """The baseline: what belongs to the training word with the most similar letters and pairs of letters."""

    def counts(pairs):
        table = np.zeros((len(pairs.ids), 997 + size), np.float32)  # pairs of letters share 997 places
        for row, (ids, _) in zip(table, pairs.ids):
            np.add.at(row, ids, 1)
            np.add.at(row, size + (ids[:-1] * size + ids[1:]) % 997, 1)
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)

    similarity = counts(others) @ counts(data).T
    return [data.targets[i] for i in similarity.argmax(1)]


def draw(run: _command.Run, model, source, target, held_out: Pairs, direction: str) -> None:
    """Where the decoder looks when it writes each letter, for some of the longest words."""
    places = sorted(range(len(held_out.ids)), key=lambda i: -sum(map(len, held_out.ids[i])))[:6]
    figure, axes = _pictures.picture(widths=[2.3] * len(places), height=2.8)
    for ax, i in zip(axes, places):
        ids, targets = held_out.ids[i]
        with tr.no_grad():
            encoded = model.encode(ids[None], np.array([len(ids)]))
            _, _, looked = model.decode(targets[None, :-1], encoded)
        image = ax.imshow(looked.numpy()[0], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.set_xticks(range(len(ids)), shown(source.decode(ids)), fontsize=7)
        ax.set_yticks(range(len(targets) - 1), [*shown(target.decode(targets[1:-1])), "end"])
        ax.grid(False)
        first, second = shown([held_out.sources[i], held_out.targets[i]])
        ax.set_title(second if first.lower() == second.lower() else f"{first} - {second}", fontsize=10)
    axes[0].set(xlabel="looks at", ylabel="writes")
    figure.colorbar(image, ax=axes, label="share of attention", pad=0.01)
    run.picture(figure, f"attention-{direction}.png")


def draw_lengths(run: _command.Run, held_out: Pairs, found: list[str], direction: str) -> None:
    """How many words of each length are right."""
    lengths = np.array([len(letters(word)) for word in held_out.targets])
    right = np.array([a == b for a, b in zip(held_out.targets, found)])
    kinds = np.unique(lengths)
    figure, (ax,) = _pictures.picture(widths=(6,), height=3.5)
    ax.bar(kinds, [right[lengths == n].mean() for n in kinds], color=_pictures.BLUE)
    ax.set(title=f"{direction}: {right.mean():.1%} right", xlabel="letters to write", ylabel="share right", ylim=(0, 1))
    ax.set_xticks(kinds)
    run.picture(figure, f"lengths-{direction}.png")


def shown(parts: list[str]) -> list[str]:
    """Letters as a picture can show them: those of Hangul by the end of their names, as few fonts have them."""
    if all(ord(c) < 0x1100 for part in parts for c in part):
        return parts
    names = [[unicodedata.name(c, "?") if ord(c) >= 0x1100 else c for c in part] for part in parts]
    return ["".join(name.rsplit(" ", 1)[-1].title() if len(name) > 1 else name for name in part) for part in names]


# ---- 5. Use: new words


def translate_words(args) -> list[str]:
    """Write words in the other script; with --back in the first one.

    What has learnt the syllables of Hangul reads a word syllable by syllable; with --back, hyphens part them, as in
    han-gug.
    """
    direction = DIRECTIONS[args.back]
    model, facts = _command.load(args, "transliterate", EncoderDecoder, f"weights-{direction}")
    source = Vocabulary.load(args.out / f"source-{direction}.json")
    target = Vocabulary.load(args.out / f"target-{direction}.json")

    def parts_of(word: str) -> list[str]:
        if not facts["syllables"]:
            return [word]
        return word.split("-") if args.back else list(whole([word]))

    found = []
    for word in args.words:
        if not word.strip(" -"):
            raise DataError(f"WORD: got {word!r}, wanted some letters")
        unknown = sorted({c for part in parts_of(word) for c in letters(part) if c not in source})
        if unknown:
            raise DataError(f"WORD: got {word!r} with {', '.join(map(repr, unknown))}, which the training never showed")
        parts = Pairs([(part, "") for part in parts_of(word)], source, target)
        found.append("".join(translate(model, target, parts, facts["longest"], args.beam)))
        print(f"{word}: {found[-1]}")
    return found


def options(parser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="TSV", help="of pairs: a word, a tab, the same in the other script"
    )
    _command.count(parser, "--pairs", None, "to use at most", least=10)
    _command.count(parser, "--hidden-size", 96)
    _command.count(parser, "--beam", 4, "words to follow at a time when tried")
    text = "look back at what was read, or remember it; default: look"
    parser.add_argument("--attention", action=argparse.BooleanOptionalAction, default=True, help=text)


def translate_options(parser) -> None:
    parser.add_argument("words", nargs="+", metavar="WORD", help="such as 한국")
    parser.add_argument("--back", action="store_true", help="the other way round")
    _command.count(parser, "--beam", 4, "words to follow at a time; 1 is greedy")


def words(model) -> tuple:
    """An example of what it reads and writes, of which the axes matter."""
    return *_export.texts(model), np.zeros((_export.BATCH, 41), np.int64)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=8,
    cell="gru",
    card=_command.Card(
        form="many to many, unequal",
        data="Hangul syllables and their names, from unicodedata",
        metric="held-out syllables named right, to the last letter",
        score="forwards_exact",
        baseline="most similar syllable",
        baseline_score="forwards_nearest_exact",
        style=".1%",
        picture="attention-forwards.png",
    ),
    translate=_command.Use(translate_words, translate_options, "words in the other script"),
    export=_export.use("transliterate", EncoderDecoder, words),
)
