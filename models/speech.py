"""Speech: a network hears spoken digits and writes them out, letter by letter, without being told when each was said.

The CTC loss needs to know only what was said. The default recordings are synthesised: glottal pulses and noise
go through the formants of each sound of the ten digits, for speakers of different voice, tempo and vocal
tract, over noise. Held-out recordings are of other speakers. With --data it learns from a folder of WAV
files, each NAME.wav with its words in NAME.txt, or all of them in transcripts.tsv (file, text).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import (
    DataLoader,
    Vocabulary,
    log_mel,
    pad_sequences,
    read_pairs,
    read_text,
    read_wav,
    write_wav,
)
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer, error_rate

from . import _command, _export, _pictures

HELD_OUT = 0.2
BATCH_SIZE = 16
RATE = 8000  # samples per second
FRAME = RATE // 100  # samples: what a voice does changes every 10 ms
BANDS = 24
STEP = 2  # frames that are read at a time

# voice and noise (loudness), three formants in Hz, length in ms; vowels after Peterson and Barney (1952)
SOUNDS = {
    "ah": (1.0, 0.0, (640, 1190, 2390), 110),
    "ao": (1.0, 0.0, (570, 840, 2410), 130),
    "ay": (1.0, 0.0, (730, 1090, 2440), 100),
    "eh": (1.0, 0.0, (530, 1840, 2480), 100),
    "ey": (1.0, 0.0, (480, 2000, 2600), 90),
    "ih": (1.0, 0.0, (390, 1990, 2550), 80),
    "iy": (1.0, 0.0, (270, 2290, 3010), 110),
    "ow": (1.0, 0.0, (480, 900, 2400), 120),
    "uw": (1.0, 0.0, (300, 870, 2240), 130),
    "w": (0.7, 0.0, (300, 610, 2200), 60),
    "r": (0.7, 0.0, (310, 1060, 1380), 60),
    "n": (0.5, 0.0, (250, 1400, 2200), 80),
    "v": (0.3, 0.1, (250, 1100, 2200), 60),
    "z": (0.2, 0.3, (300, 2900, 3600), 80),
    "s": (0.0, 0.4, (2600, 3300, 3800), 100),
    "f": (0.0, 0.2, (1000, 2000, 3500), 90),
    "th": (0.0, 0.15, (1400, 2300, 3000), 80),
    "t": (0.0, 0.5, (1800, 2700, 3600), 25),
    "k": (0.0, 0.5, (1300, 1900, 2600), 30),
    "-": (0.0, 0.0, (500, 1500, 2500), 45),  # the mouth is shut before a burst
}
DIGITS = {
    "zero": "z iy r ow", "one": "w ah n", "two": "- t uw", "three": "th r iy", "four": "f ao r", "five": "f ay iy v",
    "six": "s ih - k s", "seven": "s eh v ah n", "eight": "ey ih - t", "nine": "n ay iy n",
}  # fmt: skip


# ---- 1. Data: recordings, as spectrograms (T, BANDS), and what was said


class Recording(NamedTuple):
    """What was recorded, and what was said; `name` tells where it is from."""

    name: str
    samples: np.ndarray
    rate: int
    text: str


def speak(words: list[str], rng: np.random.Generator) -> np.ndarray:
    """A recording of digits by a voice of its own, over noise."""
    pitch, tract, tempo = rng.uniform(85, 230), rng.uniform(0.85, 1.18), rng.uniform(0.75, 1.35)
    voice, noise, formants = [np.zeros(8)], [np.zeros(8)], [np.full((8, 3), (500.0, 1500, 2500))]
    for word in words:
        for sound in [*DIGITS[word].split(), "-"]:
            loud, hiss, peaks, length = SOUNDS[sound]
            frames = max(2, round(length / 10 / tempo * rng.uniform(0.8, 1.25)))
            if sound == "-":
                frames += rng.integers(0, 8)  # a pause, or hardly one
            voice.append(np.full(frames, loud))
            noise.append(np.full(frames, hiss))
            formants.append(np.tile(peaks, (frames, 1)) * tract * rng.normal(1, 0.03, 3))
    voice, noise = smooth(np.concatenate(voice), 3), smooth(np.concatenate(noise), 1)
    envelopes = filters(smooth(np.concatenate(formants), 4))  # the mouth moves from sound to sound
    steps = len(voice)
    time = np.arange(steps * FRAME) / FRAME
    falling = pitch * (1.1 - 0.2 * np.arange(time.size) / time.size) * (1 + 0.03 * np.sin(time / rng.uniform(6, 12)))
    turns = np.cumsum(falling) / RATE
    pulses = np.diff(np.floor(turns), prepend=0) * np.sqrt(RATE / pitch)  # one in each period
    source = pulses * np.interp(time, np.arange(steps), voice)
    source += rng.standard_normal(time.size) * np.interp(time, np.arange(steps), noise)
    # each frame and the next, under a Hann window, filtered and added up where they overlap
    pieces = np.stack([source[i * FRAME : (i + 2) * FRAME] for i in range(steps - 1)]) * np.hanning(2 * FRAME)
    pieces = np.fft.irfft(np.fft.rfft(pieces, 4 * FRAME) * envelopes[:-1], 4 * FRAME)
    sound = np.zeros((steps + 2) * FRAME)
    for i, piece in enumerate(pieces):
        sound[i * FRAME : (i + 4) * FRAME] += piece
    sound *= 10 ** rng.uniform(-1.4, -0.9) / sound.std()
    hum = np.convolve(rng.standard_normal(sound.size), [0.5, 0.3, 0.2], mode="same")
    return (sound + hum * sound.std() * 10 ** rng.uniform(-1.5, -0.6)).astype(np.float32)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running means over 2 width + 1 frames."""
    padded = np.pad(values, [(width, width)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1, axis=0).mean(-1)


def filters(formants: np.ndarray) -> np.ndarray:
    """How much of each frequency the mouth lets through: (frames, 3) to (frames, frequencies)."""
    frequencies = np.fft.rfftfreq(4 * FRAME, 1 / RATE)
    widths = 50 + 0.05 * formants[:, :, None]
    peaks = 1 / (1 + ((frequencies - formants[:, :, None]) / widths) ** 2)
    return (np.sqrt(peaks) * np.array([1.0, 0.6, 0.4])[:, None]).sum(1)


def synthesise(count: int, seed: int) -> list[Recording]:
    """Recordings of one to five digits each."""
    rng = np.random.default_rng(seed)
    said = [list(rng.choice(list(DIGITS), rng.integers(1, 6))) for _ in range(count)]
    return [Recording(f"recording {i}", speak(words, rng), RATE, " ".join(words)) for i, words in enumerate(said)]


def read(folder: Path) -> list[Recording]:
    """Recordings of the user's own."""
    table = _command.folder(folder, "WAV files") / "transcripts.tsv"
    if table.is_file():
        texts = {folder / name: text for name, text in zip(*read_pairs(table, ("file", "text")))}
    else:
        texts = {path: read_text(path.with_suffix(".txt")) for path in sorted(folder.glob("*.wav"))}
    if len(texts) < 2:
        raise DataError(f"{folder}: holds {len(texts)} recordings, wanted two or more, each a .wav and a .txt file")
    found = [Recording(str(path), *read_wav(path), " ".join(text.lower().split())) for path, text in texts.items()]
    for r in found:
        if r.rate != found[0].rate:
            raise DataError(f"{r.name}: got a rate of {r.rate} Hz, wanted {found[0].rate} Hz as {found[0].name}")
    return found


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """What the network reads of a recording, (T, BANDS): each band with mean zero and variance one."""
    frames = log_mel(samples, rate, BANDS)
    return (frames - frames.mean(0)) / (frames.std(0) + 1e-3)


class Examples:
    """Spectrograms, and texts as numbers; no label is the blank, number 0.

    Raises
    ------
    DataError
        If a recording is too short for its text: each letter takes a step, and one more between equal ones.
    """

    def __init__(self, recordings: list[Recording], alphabet: Vocabulary):
        self.spectrograms = [spectrogram(r.samples, r.rate) for r in recordings]
        self.texts = [r.text for r in recordings]
        self.labels = [alphabet.encode(text) for text in self.texts]
        for r, frames, labels in zip(recordings, self.spectrograms, self.labels):
            wanted = len(labels) + int((labels[1:] == labels[:-1]).sum())
            if steps_of(len(frames)) < wanted:
                raise DataError(
                    f"{r.name}: got a recording of {len(r.samples) / r.rate:.2f} s, too short to say {r.text!r}: "
                    f"{steps_of(len(frames))} steps, wanted at least {wanted}"
                )

    def loader(self, batch_size: int, shuffle: bool = False) -> DataLoader:
        """Batches ((spectrograms, lengths), (labels, lengths)) of recordings of similar length."""
        pairs = list(zip(self.spectrograms, self.labels))
        lengths = [len(frames) for frames in self.spectrograms] if shuffle else None
        bucket = None if lengths is None else 100
        collate = lambda some: tuple(pad_sequences(part) for part in zip(*some))
        return DataLoader(pairs, batch_size, shuffle=shuffle, lengths=lengths, bucket=bucket, collate=collate)


def steps_of(frames):
    return -(-frames // STEP)


# ---- 2. Model: a recurrence in both directions, and the letters at each step


class Listener(nn.Module):
    """Spectrograms (N, T, BANDS) and lengths (N,) to log-probabilities (steps, N, letters) and lengths (N,)."""

    def __init__(self, letters: int, hidden_size: int, cell: str = "gru"):
        kind = nn.cell_by_name(cell)
        self.rnn = nn.Bidirectional(kind(STEP * BANDS, hidden_size), kind(STEP * BANDS, hidden_size), batch_first=True)
        self.head = nn.Linear(2 * hidden_size, letters)

    def forward(self, frames, lengths):
        batch, time, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, -time % STEP), (0, 0)))
        lengths = steps_of(lengths)
        outputs, _ = self.rnn(frames.reshape(batch, -1, STEP * BANDS), lengths=lengths)
        return tr.log_softmax(self.head(outputs), -1).swapaxes(0, 1), lengths


# ---- 3. Training


def trainer(model: Listener) -> Trainer:
    """Adam on the CTC loss, with a learning rate that falls by a tenth every epoch."""

    def step(batch):
        (frames, lengths), (labels, counts) = batch
        log_probs, lengths = model(frames, lengths)
        return nn.ctc_loss(log_probs, labels, lengths, counts)

    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    return Trainer(model, optimizer, step=step, schedule=optim.ExponentialLR(optimizer, 0.9), clip_norm=5.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    recordings = synthesise(args.recordings, args.seed) if args.data is None else read(args.data)
    order = np.random.default_rng(args.seed).permutation(len(recordings))
    cut = max(1, round((1 - HELD_OUT) * len(order)))
    known, new = [recordings[i] for i in order[:cut]], [recordings[i] for i in order[cut:]]
    alphabet = Vocabulary((r.text for r in recordings), pad="<blank>", unk=None, sos=None, eos=None)
    data, held_out = Examples(known, alphabet), Examples(new, alphabet)
    seconds = sum(len(r.samples) / r.rate for r in recordings)
    counts = f"{len(known)} recordings to train on, {len(new)} held out"
    print(f"{seconds / 60:.1f} minutes: {counts}; {len(alphabet) - 1} letters")
    settings = {"letters": len(alphabet), "hidden_size": args.hidden_size, "cell": args.cell}
    model = Listener(**settings)
    print(model)
    run.fit(trainer(model), data.loader(BATCH_SIZE, shuffle=True), held_out.loader(100))

    model.eval()
    heard = [text for batch in held_out.loader(100) for text in transcripts(model, alphabet, *batch[0])]
    beams = [text for batch in held_out.loader(100) for text in transcripts(model, alphabet, *batch[0], beam_width=8)]
    metrics = {
        "cer": error_rate(held_out.texts, heard),
        "beam_cer": error_rate(held_out.texts, beams),
        "sentences": float(np.mean([a == b for a, b in zip(held_out.texts, heard)])),
        "nearest_cer": error_rate(held_out.texts, nearest(data, held_out)),
    }
    print("wrong letters in held-out recordings:")
    print(f"{args.cell.upper():<24}{metrics['cer']:8.1%}   ({metrics['sentences']:.1%} without any mistake)")
    print(f"{'with a beam of 8':<24}{metrics['beam_cer']:8.1%}")
    print(f"{'most similar recording':<24}{metrics['nearest_cer']:8.1%}")
    example = max(new, key=lambda r: len(set(r.text.split())))
    write_wav(run.path("example.wav"), example.samples, example.rate)
    draw(run, model, alphabet, example, f"{metrics['cer']:.1%} wrong letters in held-out recordings")
    run.save(model, settings, rate=recordings[0].rate)
    alphabet.save(run.path("vocabulary.json"))
    return metrics


# ---- 4. Result: wrong letters, beside taking the words of the most similar recording


def transcripts(model: Listener, alphabet: Vocabulary, frames, lengths, beam_width: int = 1) -> list[str]:
    """What is said in a batch of spectrograms: of the likeliest alignment, or by beam search."""
    with tr.no_grad():
        log_probs, lengths = model(frames, lengths)
    if beam_width == 1:
        found = nn.ctc_greedy_decode(log_probs, lengths)
    else:
        found = [best for best, *_ in nn.ctc_beam_search(log_probs, lengths, beam_width=beam_width)]
    return ["".join(alphabet.decode(labels)) for labels, _ in found]


def nearest(data: Examples, others: Examples, steps: int = 50) -> list[str]:
    """The baseline: the text of the training recording whose spectrogram, stretched to one length, is nearest."""

    def stretched(examples):
        places = [np.linspace(0, len(frames) - 1, steps).round().astype(int) for frames in examples.spectrograms]
        return np.stack([frames[i].reshape(-1) for frames, i in zip(examples.spectrograms, places)])

    known, new = stretched(data), stretched(others)
    distances = (known**2).sum(1) - 2 * new @ known.T
    return [data.texts[i] for i in distances.argmin(1)]


def draw(run: _command.Run, model: Listener, alphabet: Vocabulary, example: Recording, title: str) -> None:
    """A spectrogram, and when which letter was heard."""
    frames = spectrogram(example.samples, example.rate)
    with tr.no_grad():
        log_probs, _ = model(frames[None], np.array([len(frames)]))
    chances = np.exp(log_probs.numpy()[:, 0])
    figure = _pictures.Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    end = len(frames) / 100
    above.imshow(frames.T, aspect="auto", origin="lower", cmap="magma", extent=(0, end, 0, BANDS))
    above.set(title=f"{title}: “{example.text}”", ylabel="mel band", yticks=[])
    time = (np.arange(len(chances)) + 0.5) * STEP / 100
    below.fill_between(time, chances[:, 0], color=_pictures.GREY, alpha=0.25, linewidth=0)
    for letter in range(1, len(alphabet)):
        color = _pictures.COLORS[letter % len(_pictures.COLORS)]
        below.plot(time, chances[:, letter], color=color, linewidth=1.2)
    best = chances.argmax(1)
    for t in np.flatnonzero((best != 0) & (best != np.append(-1, best[:-1]))):
        below.text(time[t], 1.03, alphabet.tokens[best[t]].replace(" ", "␣"), ha="center")
    below.set(xlabel="seconds", ylabel="probability\n(grey: no letter)", ylim=(0, 1.25), xlim=(0, end))
    below.spines[["top", "right"]].set_visible(False)
    run.picture(figure, "letters.png")


# ---- 5. Use: the words of WAV files


def transcribe(args) -> list[str]:
    """Write out what is said in WAV files."""
    model, facts = _command.load(args, "speech", Listener)
    alphabet = Vocabulary.load(args.out / "vocabulary.json")
    heard = []
    for path in args.files or [args.out / "example.wav"]:
        samples, rate = read_wav(path)
        if rate != facts["rate"]:
            raise DataError(f"{path}: got a rate of {rate} Hz, wanted {facts['rate']} Hz as in training")
        frames = spectrogram(samples, rate)
        heard += transcripts(model, alphabet, frames[None], np.array([len(frames)]), args.beam)
        print(f"{path}: {heard[-1]}")
    return heard


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of NAME.wav and NAME.txt, or with transcripts.tsv")
    _command.count(parser, "--recordings", 1500, "to synthesise", least=10)
    _command.count(parser, "--hidden-size", 64)


def transcribe_options(parser) -> None:
    parser.add_argument("files", type=Path, nargs="*", metavar="WAV", help="default: the example in that folder")
    _command.count(parser, "--beam", 8, "texts to follow at a time")


def spectrograms(model) -> tuple:
    """An example of what it listens to, of which the axes matter."""
    return np.zeros((_export.BATCH, _export.TIME, BANDS), np.float32), np.arange(_export.BATCH) + 1


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=10,
    cell="gru",
    card=_command.Card(
        form="many to many, unequal",
        data="synthesised recordings of one to five digits",
        metric="character error rate, held-out speakers",
        score="cer",
        baseline="most similar recording",
        baseline_score="nearest_cer",
        style=".1%",
        picture="letters.png",
    ),
    transcribe=_command.Use(transcribe, transcribe_options, "the words of WAV files"),
    export=_export.use("speech", Listener, spectrograms),
)
