"""Melody: from one thing, a style or a first note, to a whole tune, written as a MIDI file.

The network reads the style once; from then on it hears only itself, until it ends the tune. The default tunes
are composed by a few rules of tonal music: marches, waltzes and jigs in major and minor, eight bars each, a
question that ends on the dominant, and an answer that begins as the question did and comes home after eight
bars. To end a tune there, the network must have counted the bars since its beginning, which no model of a few
notes in a row can. With --data it learns from MIDI files of yours, in a folder for each style.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, NGramModel, Note, Vocabulary, pad_sequences, read_midi, write_midi
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures, _text

HELD_OUT = 0.1
BATCH_SIZE = 32
EMBEDDING = 64
LONGEST = 16  # sixteenths, of a note
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # semitones above the keynote
NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]

Tune = list[tuple[int, int]]  # notes: semitones above the first one, and length in sixteenths


# ---- 1. Data: tunes composed by rules

BARS = {"march": 16, "waltz": 12, "jig": 12}  # sixteenths
RHYTHMS = {
    "march": [(4, 4, 4, 4), (4, 4, 8), (6, 2, 4, 4), (4, 2, 2, 4, 4), (6, 2, 6, 2), (2, 2, 4, 4, 4)],
    "waltz": [(4, 4, 4), (8, 4), (6, 2, 4), (4, 2, 2, 4), (4, 4, 2, 2)],
    "jig": [(2, 2, 2, 2, 2, 2), (4, 2, 4, 2), (4, 2, 2, 2, 2), (2, 2, 2, 4, 2), (6, 4, 2)],
}
STRONG = {"march": 8, "waltz": 12, "jig": 6}  # every so many sixteenths, a note of the chord
CHORDS = {"I": (0, 2, 4), "ii": (1, 3, 5), "IV": (3, 5, 0), "V": (4, 6, 1), "vi": (5, 0, 2)}  # steps of the scale
QUESTIONS = ["I I IV V", "I IV I V", "I vi ii V", "I V I V", "I vi IV V"]
ANSWERS = ["IV V I", "ii V I", "V V I", "I V I"]  # a chord for each half of bar 7, and for bar 8
STYLES = [f"{dance}-{mode}" for dance in BARS for mode in SCALES]


def compose(style: str, rng: np.random.Generator) -> Tune:
    """A tune of eight bars: bar 5 is bar 1, and bar 6 has the rhythm of bar 2."""
    dance, mode = style.split("-")
    size = BARS[dance]
    question = rng.choice(QUESTIONS).split()
    middle, dominant, home = rng.choice(ANSWERS).split()
    bars: list[Tune] = []
    step = int(rng.choice([0, 2, 4]))  # of the scale, counted from the keynote
    for bar, chord in enumerate([*question, *question[:2], middle, home]):
        if bar == 4:
            bars.append(bars[0])
            step = bars[0][-1][0]
            continue
        rhythm = RHYTHMS[dance][rng.integers(len(RHYTHMS[dance]))]
        if bar in (3, 7):  # the ends of question and answer
            rhythm = (size // 2, size // 2) if bar == 3 else (size,)
        elif bar == 5:
            rhythm = tuple(length for _, length in bars[1])
        notes, at = [], 0
        for length in rhythm:
            sounding = CHORDS[dominant if bar == 6 and 2 * at >= size else chord]
            if bar == 7:
                step = 7 if step > 3 else 0  # home
            elif (bar or at) and at % STRONG[dance] == 0:
                step = leap(step, sounding, rng)
            elif bar or at:
                step += int(rng.choice([-1, 1, 2, -2], p=[0.42, 0.42, 0.08, 0.08]))
            step = min(max(step, -3), 9)
            notes.append((step, length))
            at += length
        bars.append(notes)
    # in minor, the seventh step leads to the keynote where it is part of the dominant
    semitones = lambda s: SCALES[mode][s % 7] + 12 * (s // 7) + (mode == "minor" and s % 7 == 6)
    pitches = [(semitones(s), length) for notes in bars for s, length in notes]
    return [(pitch - pitches[0][0], length) for pitch, length in pitches]


def leap(step: int, chord: tuple[int, ...], rng: np.random.Generator) -> int:
    """A note of the chord, likely one that is near."""
    near = [s for s in range(-3, 10) if s % 7 in chord and s != step]
    weights = np.array([math.exp(-abs(s - step) / 1.5) for s in near])
    return int(rng.choice(near, p=weights / weights.sum()))


def composed(count: int, seed: int) -> tuple[list[str], list[Tune]]:
    """Styles, each as often, and a tune of each."""
    rng = np.random.default_rng(seed)
    styles = [STYLES[i % len(STYLES)] for i in range(count)]
    return styles, [compose(style, rng) for style in styles]


def read(folder: Path) -> tuple[list[str], list[Tune]]:
    """Tunes of the user's own; their style is the name of the folder they are in."""
    paths = sorted(
        p
        for p in _command.folder(folder, "MIDI files").rglob("*")
        if p.suffix.lower() in (".mid", ".midi") and p.is_file()
    )
    if len(paths) < 2:
        raise DataError(f"{folder}: holds {len(paths)} MIDI files, wanted two or more")
    styles = [path.parent.relative_to(folder).as_posix().replace(".", folder.name) for path in paths]
    return styles, [melody(read_midi(path), path) for path in paths]


def melody(notes: list[Note], path: Path) -> Tune:
    """The highest notes of a file: each lasts until the next, so that rests are part of the note before."""
    highest = {round(4 * note.start): note for note in notes}  # sorted by pitch: the last one is the highest
    starts = [*highest, round(4 * (notes[-1].start + notes[-1].length))]
    tune = [
        (note.pitch, min(max(after - start, 1), LONGEST)) for (start, note), after in zip(highest.items(), starts[1:])
    ]
    if len(tune) < 2:
        raise DataError(f"{path}: got {len(tune)} note, wanted two or more")
    return [(pitch - tune[0][0], length) for pitch, length in tune]


def symbols(style: str, tune: Tune) -> list[str]:
    """What the network reads and writes: the style, then a symbol for each note."""
    return [f"<{style}>", *(f"{interval:+}:{length}" for interval, length in tune)]


def notes_of(written: list[str]) -> Tune:
    """The notes of symbols."""
    return [tuple(map(int, symbol.split(":"))) for symbol in written]


# ---- 2. Model: embedding, recurrence, and a linear layer to all notes: see _text.LanguageModel


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the cross-entropy, with a learning rate that falls by 15 % every epoch."""

    def step(batch):
        ids, _ = batch
        inputs = np.where(ids[:-1] < 0, 0, ids[:-1])  # what stands behind the end counts for nothing
        return nn.cross_entropy(model(inputs)[0], ids[1:])

    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    return Trainer(model, optimizer, step=step, schedule=optim.ExponentialLR(optimizer, 0.85), clip_norm=1.0)


def collate(tunes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Tunes as ids (T, B), filled up with what losses leave out, and their lengths."""
    return pad_sequences(tunes, value=-100, time_major=True)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    styles, tunes = composed(args.tunes, args.seed) if args.data is None else read(args.data)
    texts = [symbols(style, tune) for style, tune in zip(styles, tunes)]
    order = np.random.default_rng(args.seed).permutation(len(texts))
    cut = min(len(texts) - 1, round((1 - HELD_OUT) * len(texts)))
    vocabulary = Vocabulary(texts, pad=None, sos=None)
    ids = [vocabulary.encode(texts[i], add_eos=True) for i in order]
    known, new = ids[:cut], ids[cut:]
    print(f"{len(known)} tunes to train on, {len(new)} held out, {sum(map(len, tunes)):,} notes; ", end="")
    print(f"{len(vocabulary)} symbols; styles: {', '.join(sorted(set(styles)))}")
    model, settings = _text.create(vocabulary, EMBEDDING, args)
    print(model)
    lengths = [len(tune) for tune in known]
    loader = DataLoader(known, BATCH_SIZE, shuffle=True, lengths=lengths, bucket=10, collate=collate)
    learner = trainer(model)
    run.fit(learner, loader, DataLoader(new, 200, collate=collate))

    model.eval()
    trigram = NGramModel(np.concatenate(known), 3, len(vocabulary))
    drawn = [styles[i % len(styles)] for i in range(120)]
    written = write(model, vocabulary, drawn)
    chained = [chain(trigram, vocabulary, style) for style in drawn]
    metrics = {
        "bits": bits(learner, new),
        "trigram_bits": sum(cost(trigram, tune) for tune in new) / sum(len(tune) - 1 for tune in new),
        "in_key": float(np.mean([in_key(tune) for tune in written])),
        "trigram_in_key": float(np.mean([in_key(tune) for tune in chained])),
    }
    print(f"{'':<24}{'bits per note':>14}{'in one key':>14}", end="")
    if args.data is None:
        metrics["eight_bars"] = float(np.mean([closes(s, tune) for s, tune in zip(drawn, written)]))
        metrics["trigram_eight_bars"] = float(np.mean([closes(s, tune) for s, tune in zip(drawn, chained)]))
        print(f"{'of eight bars':>16}", end="")
    print()
    for label, key in ((args.cell.upper(), ""), ("three notes in a row", "trigram_")):
        line = f"{label:<24}{metrics[key + 'bits']:14.2f}{metrics[key + 'in_key']:14.1%}"
        print(line + (f"{metrics[key + 'eight_bars']:16.1%}" if args.data is None else ""))
    examples = dict(zip(drawn, written))
    for style, tune in examples.items():
        save(run.path(f"{style.replace('/', '-')}.mid"), tune, 67)
    draw(run, examples)
    run.save(model, settings, styles=sorted(set(styles)))
    vocabulary.save(run.path("vocabulary.json"))
    return metrics


# ---- 4. Result: bits per note, notes outside the key, and whether the tune ends when it should


def bits(learner: Trainer, tunes: list[np.ndarray]) -> float:
    """Bits per note, the end of a tune included."""
    by_length = sorted(tunes, key=len)
    losses = [learner.evaluate([collate([tune])]) * (len(tune) - 1) for tune in by_length]
    return sum(losses) / sum(len(tune) - 1 for tune in tunes) / math.log(2)


def cost(trigram: NGramModel, tune: np.ndarray) -> float:
    """Bits of all notes of a tune, given its style."""
    return (trigram.cross_entropy(tune) * len(tune) - trigram.cross_entropy(tune[:1])) / math.log(2)


def chain(trigram: NGramModel, vocabulary: Vocabulary, style: str) -> Tune:
    """A tune of the baseline, drawn note by note."""
    rng = np.random.default_rng(len(style))
    ids = [vocabulary.token_to_id(f"<{style}>")]
    never = [i for i, token in enumerate(vocabulary.tokens) if token[0] == "<" and i != vocabulary.eos_id]
    while len(ids) < 200:
        chances = trigram.probabilities(ids)
        chances[never] = 0
        ids.append(int(rng.choice(len(chances), p=chances / chances.sum())))
        if ids[-1] == vocabulary.eos_id:
            break
    return notes_of(vocabulary.decode(ids[1:], skip_specials=True))


def write(model, vocabulary: Vocabulary, styles: list[str], temperature: float = 1.0, rng=None) -> list[Tune]:
    """A tune of each style, by the network."""
    never = [i for i, token in enumerate(vocabulary.tokens) if token[0] == "<" and i != vocabulary.eos_id]
    first = [[vocabulary.token_to_id(f"<{style}>")] for style in styles]
    options = {"temperature": temperature, "stop": vocabulary.eos_id, "never": never, "rng": rng}
    ids = _text.decoder(model).generate(first, 200, **options)
    tunes = [notes_of(vocabulary.decode(row)) for row in ids]
    return [[(interval - tune[0][0], length) for interval, length in tune] for tune in tunes]


def in_key(tune: Tune) -> float:
    """The share of notes that are in the key that holds most of them; a minor key has both sevenths."""
    kinds = np.array([interval % 12 for interval, _ in tune])
    keys = [[(tonic + s) % 12 for s in (*scale, 11)] for scale in SCALES.values() for tonic in range(12)]
    return max(np.isin(kinds, key).mean() for key in keys) if len(kinds) else 0.0


def closes(style: str, tune: Tune) -> bool:
    """Whether a tune has eight bars, and a note fills the last one."""
    size = BARS[style.split("-")[0]]
    return sum(length for _, length in tune) == 8 * size and tune[-1][1] == size


def draw(run: _command.Run, examples: dict[str, Tune]) -> None:
    """Piano rolls of a tune of each style; the note that it ends on stands out."""
    examples = dict(list(examples.items())[:6])
    rows = -(-len(examples) // 2)
    figure = _pictures.Figure(figsize=(12, 2.2 * rows), layout="constrained")
    for ax, (style, tune) in zip(figure.subplots(rows, 2, squeeze=False).flat, examples.items()):
        bar = BARS.get(style.split("-")[0], 16) if run.args.data is None else 16
        at = 0
        for pitch, length in tune:
            home = (tune[-1][0] - pitch) % 12 == 0
            color = _pictures.ORANGE if home else _pictures.BLUE
            ax.barh(pitch, length - 0.3, left=at, height=0.9, color=color)
            at += length
        for line in range(0, at + 1, bar):
            ax.axvline(line - 0.15, color="#d0d0d0", linewidth=0.8, zorder=0)
        ax.set(title=style, xticks=[], ylabel="semitones", xlim=(-1, at + 1))
        _pictures.whole_numbers(ax.yaxis)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
    figure.suptitle("Tunes by the network; orange: the note that it ends on")
    run.picture(figure, "melodies.png")


# ---- 5. Use: tunes as MIDI files


def save(path: Path, tune: Tune, start: int, tempo: float = 110.0) -> None:
    """A tune as a MIDI file that starts with the note `start`; octaves change where it would leave the keyboard."""
    at, notes = 0, []
    for interval, length in tune:
        pitch = start + interval
        notes.append(Note(at / 4, length / 4, pitch if 0 <= pitch < 128 else 60 + pitch % 12))
        at += length
    write_midi(path, notes, tempo)


def generate(args) -> list[Tune]:
    """Write tunes in a style, from a first note, as MIDI files."""
    model, facts = _command.load(args, "melody", _text.LanguageModel)
    vocabulary = Vocabulary.load(args.out / "vocabulary.json")
    style = args.style or facts["styles"][0]
    if style not in facts["styles"]:
        raise DataError(f"--style: got {style!r}, wanted one of {', '.join(facts['styles'])}")
    start = key(args.start)
    rng = np.random.default_rng(args.seed)
    tunes = write(model, vocabulary, [style] * args.count, args.temperature, rng)
    for number, tune in enumerate(tunes, start=1):
        path = args.out / f"new-{number}.mid"
        save(path, tune, start, args.tempo)
        print(f"{path}:", *(f"{NAMES[(start + i) % 12]}{(start + i) // 12 - 1}:{length}" for i, length in tune))
    return tunes


def key(text: str) -> int:
    """The key of a note such as 60, C4 or Bb3."""
    name, octave = text[:-1].capitalize(), text[-1:]
    sharps = {"Db": "C#", "D#": "Eb", "Gb": "F#", "G#": "Ab", "A#": "Bb"}
    if text.isdigit() and int(text) < 128:
        return int(text)
    if not octave.isdigit() or sharps.get(name, name) not in NAMES:
        raise DataError(f"--start: got {text!r}, wanted a note such as C4, F#5 or Bb3, or a key of MIDI from 0 to 127")
    return NAMES.index(sharps.get(name, name)) + 12 * (int(octave) + 1)


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of MIDI files, a folder within for each style")
    _command.count(parser, "--tunes", 6000, "to compose", least=20)
    _command.count(parser, "--hidden-size", 128)


def generate_options(parser) -> None:
    parser.add_argument("--style", help="such as waltz-minor")
    parser.add_argument("--start", default="G4", metavar="NOTE", help="the first note; default: G4")
    _command.count(parser, "--count", 1, "tunes to write")
    _command.number(parser, "--temperature", 0.8, "below 1 it dares less")
    _command.number(parser, "--tempo", 110, "quarter notes per minute", least=4)
    _command.count(parser, "--seed", 0, "of what is drawn", least=0)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=15,
    cell="lstm",
    card=_command.Card(
        form="one to many",
        data="tunes composed by rules of tonal music",
        metric="bits per note on held-out tunes",
        score="bits",
        baseline="trigram model",
        baseline_score="trigram_bits",
        style=".2f",
        picture="melodies.png",
    ),
    generate=_command.Use(generate, generate_options, "tunes as MIDI files"),
    export=_export.use("melody", _text.LanguageModel, _export.ids),
)
