"""The readers, what good files of theirs look like, and the errors that they document."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import struct
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from PIL import Image

from models import _command, _options, _python, _weights, digits, sine
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.errors import CheckpointError, DataError
from tinygrad_rnn.storage import checkpoint
from tinygrad_rnn.storage.weights import read_weights as read_weight_files
from tinygrad_rnn.storage.weights import write_weights
from tinygrad_rnn.train import Trainer

from .importers import IMPORTERS

TEXT = (
    b"a,b\n",
    b"\t",
    b'"',
    b"\r\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"nan",
    b"1e999",
    b"9" * 400,
    b"\xed\xa0\x80",
    b"# ",
)
JSON = b"{", b"[" * 2000, b"null", b"NaN", b"1e999", b"1" * 5000, b'"\\ud800"', b"true", b'""', b"-1", b"[]", b"{}"
NUMBERS = b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\xf0\xff\x7f", b"\x01", b"\xff"
ENCODINGS = "utf-8", "utf-16", "utf-32", "utf-7", "utf-8-sig", "latin-1", "idna", "punycode", "shift_jis", "undefined"


class Reader(NamedTuple):
    """A reader of files.

    ``read(path)`` reads one, and checks the result; ``seeds()`` are good contents; `words` stand in such files.
    """

    read: Callable[[Path], Any]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]
    name: str = "input"  # of the file
    errors: tuple[type[Exception], ...] = (DataError,)
    memory: int = 100 << 10  # KiB that one file of some 100 KiB may take


def contents(write: Callable[[Path], Any]) -> bytes:
    """What a writer of ours writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed")
        write(path)
        return path.read_bytes()


# ---- text


def read_csv(path: Path) -> None:
    table = data.read_csv_columns(path, ["a", "b"])
    assert table.ndim == 2
    assert np.isfinite(table).all()


def csv_seeds() -> list[bytes]:
    return [b"a,b\n1,2\n3,-4.5e3\n", b'\xef\xbb\xbfb,c,"a"\r\n1,x,2\r\n', b"a, b\n 1 ,2\n\n", b'a,b\n"1",2\n']


def read_pairs(path: Path, delimiter: str) -> None:
    first, second = data.read_pairs(path, ("label", "text"), delimiter)
    assert len(first) == len(second) > 0
    assert all(first)
    assert all(second)


def pairs_seeds() -> list[bytes]:
    return [b'label,text\ngood,"short, and ""sweet"""\r\nbad,long\n', b"a,b\n"]


def text_seeds() -> list[bytes]:
    return ["Äpfel und\nBirnen".encode(), "a\u0301b".encode("utf-16")]


def read_text(path: Path) -> None:
    """As text of several encodings, and as the file of a class."""
    for encoding in ENCODINGS:
        with contextlib.suppress(DataError):
            text = data.read_text(path, encoding)
            assert text.strip()
            data.Vocabulary([data.tokenize(text)])
    labels, texts = data.read_class_folders(path.parent.parent)
    assert len(labels) == len(texts) == 1


def read_conll(path: Path) -> None:
    for tokens, tags in data.read_conll(path):
        assert len(tokens) == len(tags) > 0


def conll_seeds() -> list[bytes]:
    row = lambda number, form, pos: "\t".join([number, form, "_", pos, *"______"])
    universal = ["# sent_id = 1", row("1-2", "vámonos", "_"), row("1", "vamos", "VERB"), row("2", "nos", "PRON")]
    return [
        b"-DOCSTART- -X- O\n\nEU NNP B-ORG\n# # I-ORG\n\n# remark\nNo DT O\n",
        "\n".join(universal).encode(),
        b"a\tX\n#\tY\n",
    ]


def read_python(path: Path) -> None:
    for tokens, tags in _python.sentences(data.read_text(path), path):
        assert len(tokens) == len(tags) > 0


def python_seeds() -> list[bytes]:
    source = "import os.path as p\nfrom . import a\nclass C(B):\n    def f(self, *, x=1, **k):\n"
    source += "        return self.g(x, y=lambda: 's')\n"
    return [source.encode(), "async def ä(): await b\nx[0]: int = f'{1!r:>{2}}' # c\n".encode(), b"def f():\n\tpass\n"]


# ---- arrays, sound, notes


def read_idx(path: Path) -> None:
    assert isinstance(data.read_idx(path), np.ndarray)


def idx_seeds() -> list[bytes]:
    seeds = [b"\0\0\x08\1\0\0\0\3\7\2\1", b"\0\0\x0d\2\0\0\0\1\0\0\0\2" + struct.pack(">2f", 1, 2), b"\0\0\x0b\0\1\2"]
    return [
        *seeds,
        *(gzip.compress(seed, mtime=0) for seed in seeds),
        gzip.compress(b"\0\0\x08\1\0\0\0\3" + bytes(1 << 22), mtime=0),
    ]


def read_wav(path: Path) -> None:
    samples, rate = data.read_wav(path)
    assert samples.dtype == np.float32
    assert samples.size
    assert np.isfinite(samples).all()
    assert rate > 0


def wav_seeds() -> list[bytes]:
    one = contents(lambda path: data.write_wav(path, np.sin(np.arange(20)), 8000))
    form = struct.pack("<HHIIHHHHIH", 0xFFFE, 2, 8000, 48000, 6, 24, 22, 24, 3, 1) + one[:0] + data.wav.SUBFORMAT
    many = (
        b"RIFF\xff\xff\xff\xffWAVELIST\2\0\0\0ab"
        + b"fmt \x28\0\0\0"
        + form
        + b"data\xff\xff\xff\xff"
        + bytes(range(60))
    )
    form = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
    real = b"RIFF\x30\0\0\0WAVEfmt \x10\0\0\0" + form + b"data\x0c\0\0\0" + np.array([0, 0.5, -1], "<f4").tobytes()
    return [one, many, real]


def read_midi(path: Path) -> None:
    notes = data.read_midi(path)
    assert notes == sorted(notes)
    assert all(note.start >= 0 and note.length > 0 and 0 <= note.pitch < 128 for note in notes)


def midi_seeds() -> list[bytes]:
    one = contents(lambda path: data.write_midi(path, [data.Note(0, 1, 60), data.Note(1, 0.5, 64)]))
    track = b"\0\xff\x03\x04name\0\xf0\x02\x01\xf7\0\x90\x3c\x50\x60\x3c\0\0\x99\x23\x7f\x30\x90\x3e\1\0\xff\x2f\0"
    return [one, b"MThd\0\0\0\x06\0\1\0\2\0\x60" + 2 * (b"MTrk" + struct.pack(">I", len(track)) + track)]


def read_picture(path: Path) -> None:
    grey = digits.as_grey(digits.read_picture(path), path)
    assert grey.ndim == 2
    assert np.isfinite(grey).all()


def picture_seeds() -> list[bytes]:
    seeds = []
    for mode, form in (("L", "PNG"), ("RGBA", "PNG"), ("1", "BMP"), ("P", "GIF"), ("RGB", "JPEG"), ("F", "TIFF")):
        with io.BytesIO() as file:
            Image.new(mode, (9, 8), 1).save(file, form)
            seeds.append(file.getvalue())
    return seeds


# ---- vocabularies and states


def read_vocabulary(path: Path) -> None:
    vocabulary = data.Vocabulary.load(path)
    assert vocabulary.decode(np.arange(len(vocabulary))) == list(vocabulary.tokens)
    assert all(vocabulary.token_to_id(token) == i for i, token in enumerate(vocabulary.tokens))


def vocabulary_seeds() -> list[bytes]:
    whole, bare = (
        data.Vocabulary(["abca", "ä\ud800"]),
        data.Vocabulary([["x", "y"]], pad=None, unk=None, sos=None, eos=None),
    )
    return [contents(whole.save), contents(bare.save)]


def as_json(path: Path) -> Any:
    """The JSON in a file; None if there is none."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(path.read_bytes())


def read_scaler(path: Path) -> None:
    state = as_json(path)
    for scaler in (data.MinMaxScaler(), data.StandardScaler()):
        with contextlib.suppress(CheckpointError):
            scaler.load_state_dict(state)
            assert (scaler.scale > 0).all()


def scaler_seeds() -> list[bytes]:
    states = [data.MinMaxScaler().fit([[1, 2], [3, 5]]).state_dict(), data.StandardScaler().fit([1, 2, 3]).state_dict()]
    return [json.dumps(state, default=_weights.listed).encode() for state in states]


def loader() -> data.DataLoader:
    return data.DataLoader(np.arange(9), 2, shuffle=True, seed=0)


def read_loader(path: Path) -> None:
    into = loader()
    into.load_state_dict(as_json(path))
    assert sum(map(len, into)) <= 9


def loader_seeds() -> list[bytes]:
    return [json.dumps(loader().state_dict()).encode()]


# ---- runs of models, and checkpoints


def read_options(path: Path) -> None:
    args = sine.main._parse(["--resume", "--out", str(path.parent)])
    assert args.epochs >= 1
    assert args.steps >= 1
    assert args.seed >= 0
    assert args.cell in nn.cell_names()


def options_seeds() -> list[bytes]:
    args = sine.main._parse(["--epochs", "3"])

    def write(path: Path) -> None:
        _options.write(Namespace(**{**vars(args), "out": path.parent}), "sine")
        (path.parent / "options.json").rename(path)

    return [contents(write)]


def read_weights(path: Path) -> None:
    model, facts = _command.load(Namespace(out=path.parent), "sine", sine.Predictor)
    assert isinstance(model, sine.Predictor)
    data.MinMaxScaler().load_state_dict(facts["scaler"])


def weights_seeds() -> list[bytes]:
    settings = {"hidden_size": 2, "cell": "rnn"}
    facts = {"scaler": data.MinMaxScaler().fit([1, 2]).state_dict(), "last": None, "steps": 25}

    def write(path: Path) -> None:
        run = _command.Run("sine", Namespace(out=path.parent))
        run.save(sine.Predictor(**settings), settings, **facts).rename(path)

    return [contents(write)]


@functools.cache
def trainer() -> Trainer:
    model = sine.Predictor(2, "rnn")
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    return Trainer(model, optimizer, nn.mse_loss, schedule=optim.ExponentialLR(optimizer, 0.9), progress=False)


def read_checkpoint(path: Path) -> None:
    into = trainer()
    before = [p.data.copy() for p in into.model.parameters()]
    try:
        into.load(path)
    except CheckpointError:  # nothing is taken over of what is refused
        assert all(np.array_equal(p.data, b, equal_nan=True) for p, b in zip(into.model.parameters(), before))
        raise


def read_arrays(path: Path) -> None:
    for name, array in read_weight_files(path).items():
        assert isinstance(name, str)
        assert array.dtype.kind in "biuf"


def arrays_seeds() -> list[bytes]:
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401 - what it runs while it is imported is none of the file's doing
    arrays = {"a.weight": np.ones((2, 3), np.float32), "n": np.array(1)}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"seed{suffix}") for suffix in (".npz", ".safetensors")]
        for path in paths:
            write_weights(path, arrays)
        return [path.read_bytes() for path in paths]


def checkpoint_seeds() -> list[bytes]:
    return [contents(lambda path: trainer().save(path))]


def hashed(text: str, _: dict) -> dict[str, str]:
    """What the metadata of a checkpoint hold, as if it had been written so."""
    return {checkpoint.KEY: text, checkpoint.HASH: hashlib.sha256(text.encode()).hexdigest()}


def inside(
    name: str,
    read: Callable,
    seeds: Callable,
    metadata: Callable[[str, dict], dict],
    errors: tuple[type[Exception], ...],
) -> Reader:
    """A reader of the JSON in the metadata of safetensors files that are good otherwise.

    ``metadata(text, arrays)`` puts it there, and the key that it has comes first.
    """
    arrays, texts = {}, []
    for seed in seeds():
        arrays = safetensors.numpy.load(seed)
        header = json.loads(seed[8 : 8 + int.from_bytes(seed[:8], "little")])
        texts.append(header["__metadata__"][next(iter(metadata("", {})))].encode())

    def read_metadata(path: Path) -> None:
        text = path.read_bytes().decode(errors="ignore")
        path.write_bytes(safetensors.numpy.save(arrays, metadata(text, arrays)))
        read(path)

    return Reader(read_metadata, lambda: texts, (*JSON, b'"dict"', b'"array"'), f"{name}.safetensors", errors)


RUNS = CheckpointError, DataError
LAYOUT = b"(" * 300, b"lambda:", b"\\\n", b"'''", b"f'{", b"-" * 3000, b":\n  "
READERS = {
    "csv": Reader(read_csv, csv_seeds, TEXT),
    "pairs": Reader(lambda path: read_pairs(path, ","), pairs_seeds, TEXT),
    "tabs": Reader(lambda path: read_pairs(path, "\t"), lambda: [b"a\tb\nc\td\n", b"Label\tText\nx\ty\n"], TEXT),
    "text": Reader(read_text, text_seeds, TEXT, "input.txt"),
    "conll": Reader(read_conll, conll_seeds, (*TEXT, b"\n# ", b"-DOCSTART-", b" O\n")),
    "python": Reader(read_python, python_seeds, (*TEXT, *LAYOUT)),
    "idx": Reader(read_idx, idx_seeds, (*NUMBERS, b"\x1f\x8b\x08", b"\0\0\x08\x41")),
    "wav": Reader(read_wav, wav_seeds, (*NUMBERS, b"fmt ", b"data", b"LIST", b"RIFF", b"\xfe\xff")),
    "midi": Reader(read_midi, midi_seeds, (*NUMBERS, b"MTrk", b"\xff\x2f\0", b"\x90\x3c\x50", b"\xf0", b"\xff\x7f")),
    "picture": Reader(read_picture, picture_seeds, NUMBERS, errors=(DataError, OSError), memory=600 << 10),
    "vocabulary": Reader(read_vocabulary, vocabulary_seeds, (*JSON, b'"specials"', b'"tokens"', b'"pad"')),
    "scaler": Reader(read_scaler, scaler_seeds, (*JSON, b'"shift"', b'"scale"'), errors=(CheckpointError,)),
    "loader": Reader(read_loader, loader_seeds, JSON, errors=(CheckpointError,)),
    "options": Reader(read_options, options_seeds, (*JSON, b'"epochs"', b'"cell"'), "options.json", RUNS),
    "weights": Reader(read_weights, weights_seeds, (*JSON, b'"BF16"', b'"F16"'), "weights.safetensors", RUNS),
    "arrays": Reader(read_arrays, arrays_seeds, (*JSON, *NUMBERS, b'"BF16"', b"PK\1\2", b"'descr'"), errors=RUNS),
    "settings": inside("weights", read_weights, weights_seeds, _weights.sealed, RUNS),
    "checkpoint": Reader(read_checkpoint, checkpoint_seeds, (*JSON, b'"dict"', b'"BF16"'), errors=(CheckpointError,)),
    "state": inside("checkpoint", read_checkpoint, checkpoint_seeds, hashed, (CheckpointError,)),
}
READERS |= {
    name: Reader(read, seeds, (*JSON, *NUMBERS, *words), file, RUNS)
    for name, (read, seeds, words, file) in IMPORTERS.items()
}
