"""Every function with every argument odd: a result, or an error of ours that says what was got."""

import inspect
import re
import traceback
import warnings
from pathlib import Path

import numpy as np

from tinygrad_rnn import atomic, checks, data
from tinygrad_rnn.errors import TinygradError

# with what writes its files, and the checks of the whole package
ROOM = str(Path(data.__file__).parent), str(atomic.__file__), str(checks.__file__)
RAGGED = [[1, 2], [3]]
ODD = {
    "None": None,
    "a string": "odd",
    "no string": "",
    "bytes": b"odd",
    "0": 0,
    "-1": -1,
    "a large integer": 2**70,
    "a float": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "a complex number": 1j,
    "True": True,
    "nothing": [],
    "an empty array": np.zeros((0, 3)),
    "a 0-d array": np.array(2.0),
    "strings": ["a", "b"],
    "Nones": [None, None],
    "nans": [np.nan, 1.0],
    "objects": np.array([1, "a", None], object),
    "a ragged list": RAGGED,
    "a ragged array": np.array([np.ones(2), np.ones(3)], object),
    "a dict": {"a": 1},
    "a set": {1, 2},
    "a tuple": (1, 2),
    "a function": len,
    "a class": int,
    "an object": object(),
    "an iterator": iter([1, 2]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "complex numbers": np.array([1j]),
    "bools": np.array([True, False]),
    "negative integers": np.array([-1, -2]),
    "a deep list": [[[[1]]]],
}


class Unfriendly:
    """Refuses everything."""

    def __array__(self, *_, **__):
        raise TypeError("no array")

    def __len__(self):
        raise TypeError("no length")


ODD["an unfriendly object"] = Unfriendly()
series = np.arange(12.0)
FILES = {
    "numbers.csv": b"a,b\n1,2\n3,4\n",
    "pairs.tsv": b"a\tb\nc\td\n",
    "x.conll": b"a X\n\nb Y\n",
    "x.idx": b"\0\0\x08\1\0\0\0\1\7",
    "class/x.txt": b"text",
}


def these(**given):
    return given


def good(folder):
    """For each function, arguments that it takes."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    data.write_wav(folder / "x.wav", np.sin(series), 8000)
    data.write_midi(folder / "x.mid", [data.Note(0, 1, 60)])
    last = lambda window: window[:, -1]
    vocabulary = data.Vocabulary(["ab"])
    vocabulary.save(folder / "v.json")
    scaler = data.StandardScaler().fit(np.ones((3, 2)))
    model = data.NGramModel([0, 1, 0, 2], 2, 3)
    loader = data.DataLoader(series, 2, shuffle=True, seed=1)
    return {
        data.DataLoader: these(
            data=list(series), batch_size=2, shuffle=True, drop_last=False, seed=1, lengths=np.arange(12), bucket=3,
            collate=None, batch_axis=0,
        ),
        data.MinMaxScaler: these(feature_range=(0, 1)),
        data.NGramModel: these(ids=[0, 1, 0, 2], order=2, size=3),
        data.Vocabulary: these(
            sequences=["ab"], min_count=1, max_size=9, pad="<pad>", unk="<unk>", sos="<sos>", eos="<eos>"
        ),
        data.collate_sequences: these(examples=[([1, 2], 0), ([3], 1)], value=0, ignore_index=-1),
        data.contiguous_batches: these(stream=series, batch_size=2, seq_len=3),
        data.download: these(
            url=(folder / "x.idx").as_uri(), path=folder / "new.idx", sha256="00", timeout=1.0
        ),
        data.find_period: these(series=series, longest=4),
        data.log_mel: these(samples=series, rate=8000, bands=2, window=0.025, hop=0.01),
        data.one_hot: these(indices=[0, 1], depth=3, dtype="float32"),
        data.pad_sequences: these(
            sequences=[[1, 2], [3]], value=0, max_length=2, padding="post", time_major=False, dtype=None
        ),
        data.persistence: these(past=series, steps=2),
        data.read_class_folders: these(path=folder, suffix=".txt", encoding="utf-8"),
        data.read_column: these(path=folder / "numbers.csv", column="a", dtype=None, delimiter=",", encoding="utf-8"),
        data.read_conll: these(path=folder / "x.conll", token=0, tag=1, encoding="utf-8"),
        data.read_csv_columns: these(
            path=folder / "numbers.csv", columns=["a"], dtype=None, delimiter=",", encoding="utf-8"
        ),
        data.read_idx: these(path=folder / "x.idx"),
        data.read_midi: these(path=folder / "x.mid"),
        data.read_pairs: these(path=folder / "pairs.tsv", names=("x", "y"), delimiter="\t", encoding="utf-8"),
        data.read_text: these(path=folder / "pairs.tsv", encoding="utf-8"),
        data.read_wav: these(path=folder / "x.wav"),
        data.roll_forward: these(predict=last, window=np.ones((1, 2, 1)), steps=2),
        data.seasonal_naive: these(past=series, period=2, steps=3),
        data.stack_examples: these(examples=[[1, 2], [3, 4]]),
        data.tokenize: these(text="a b", level="word", lowercase=False),
        data.train_test_split: these(test_size=None, train_size=3),
        data.walk_forward: these(length=9, first=2, horizon=2, stride=1),
        data.windows: these(series=series, look_back=2, horizon=1, stride=1),
        data.write_midi: these(path=folder / "y.mid", notes=[data.Note(0, 1, 60)], tempo=120, program=0),
        data.write_wav: these(path=folder / "y.wav", samples=series, rate=8000),
        scaler.fit: these(x=np.ones((3, 2))),
        scaler.transform: these(x=np.ones((3, 2)), columns=None),
        scaler.inverse_transform: these(x=np.ones((3, 2)), columns=[0, 1]),
        scaler.load_state_dict: these(state=scaler.state_dict()),
        vocabulary.encode: these(tokens=["a"], add_sos=True, add_eos=True),
        vocabulary.decode: these(ids=[0, 1], skip_specials=False),
        vocabulary.save: these(path=folder / "w.json"),
        data.Vocabulary.load: these(path=folder / "v.json"),
        model.probabilities: these(context=[0]),
        model.cross_entropy: these(ids=[0, 1]),
        loader.load_state_dict: these(state=loader.state_dict()),
    }  # fmt: skip


def call(function, given):
    """Call a function, and use its result up."""
    if function is data.train_test_split:
        return function(series, **given)
    found = function(**given)
    if function in (data.DataLoader, data.walk_forward):
        return list(found)
    return found


def test_all_functions_are_here(tmp_path):
    named = {function for function in good(tmp_path) if not inspect.ismethod(function)}
    assert {getattr(data, name) for name in data.__all__} - named == {
        data.Note,
        data.StandardScaler,
        data.FrameWindows,  # made by `windows`
        data.read_audio,  # needs a library: test_libraries.py
    }


def test_good_arguments(tmp_path):
    for function, given in good(tmp_path).items():
        if function is not data.download:
            call(function, given)


def test_odd_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where files with odd names go
    wrong = []
    for function, given in good(tmp_path).items():
        for argument in given:
            for name, odd in ODD.items():
                if argument in ("predict", "collate") and name in ("a class", "a function"):
                    continue  # functions that fail on their own
                if name == "an iterator":
                    odd = iter([1, 2])
                said = fault(function, {**given, argument: odd})
                if said:
                    wrong.append(f"{function.__qualname__}({argument}={name}): {said}")
    assert not wrong, "\n".join(["", *wrong])


def fault(function, given):
    """What is wrong with the error that a call raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            call(function, given)
        except OSError:
            return None
        except (TinygradError, TypeError, ValueError, OverflowError) as error:
            where = traceback.extract_tb(error.__traceback__)[-1].filename
            if not where.startswith(ROOM):
                return f"raised in {where}: {error!r}"
            if not re.match(
                r"[^:]*: (got|returned) |got \w+=|[^ ]+(, line \d+.*|, encoding|, samples\[\d+\])?: (got|holds)",
                str(error),
            ):
                return f"says {error!r}"
        except BaseException as error:
            return f"raised {error!r}"
    return None
