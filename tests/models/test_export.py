"""The use ``export`` of every model: the files that it writes run, and what it refuses."""

from __future__ import annotations

import importlib.util
from argparse import Namespace

import numpy as np
import pytest

from models import __main__ as command
from models import _command

from ..export import examples as on

SETTINGS = {
    "airline": {"hidden_size": 4},
    "charlm": {"symbols": 9, "embedding": 4, "hidden_size": 5, "cell": "lstm"},
    "digits": {"columns": 8, "classes": 10, "hidden_size": 5},
    "forecast": {"horizon": 3, "hidden_size": 5},
    "melody": {"symbols": 9, "embedding": 4, "hidden_size": 5, "cell": "gru"},
    "memory": {"task": "adding", "hidden_size": 5, "cell": "lstm"},
    "policy": {"features": 3, "actions": 3, "hidden_size": 5, "cell": "lstm"},
    "roommate": {"features": 5, "meals": 3, "hidden_size": 5},
    "sentiment": {"words": 9, "classes": 2, "hidden_size": 5},
    "sine": {"hidden_size": 5},
    "speech": {"letters": 5, "hidden_size": 5},
    "tagger": {"words": 9, "tags": 4, "hidden_size": 5},
    "transliterate": {"sources": 9, "targets": 8, "hidden_size": 5, "attention": True},
    "wordlm": {"symbols": 9, "embedding": 4, "hidden_size": 5, "cell": "lstm"},
}
KINDS = {
    "airline": "Forecaster", "digits": "Classifier", "forecast": "Forecaster", "memory": "Memory", "policy": "Policy",
    "roommate": "Learner", "sentiment": "Classifier", "sine": "Predictor", "speech": "Listener", "tagger": "Tagger",
    "transliterate": "EncoderDecoder",
}  # fmt: skip


def saved(name, folder):
    """The untrained model, whose weights are in a folder."""
    module = command.load(name)
    make = getattr(module, KINDS[name]) if name in KINDS else module._text.LanguageModel
    model = make(**SETTINGS[name])
    weights = {"memory": "weights-adding", "transliterate": "weights-forwards"}.get(name, "weights")
    _command.Run(name, Namespace(out=folder)).save(model, SETTINGS[name], weights)
    model.eval()
    return model


def test_there_is_one_for_each():
    assert SETTINGS.keys() == set(command.names())
    assert all("export" in command.load(name).main.uses for name in command.names())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", on.mostly_slow(sorted(SETTINGS), "memory", "transliterate", "sine"))
def test_numpy(name, tmp_path, capsys):
    model = saved(name, tmp_path)
    (path,) = command.load(name).main(["export", "--to", "numpy", "--out", str(tmp_path)])
    assert capsys.readouterr().out == f"wrote {path}\n"
    spec = importlib.util.spec_from_file_location(f"exported_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    example = next(e for e in on.MODELS if e.name == name)
    args = example.inputs(np.random.default_rng(0), 6, 3)
    args = args[:1] if name == "wordlm" else args
    for a, b in zip(on.leaves(module.forward(*args)), on.on_tape(model, *args), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", on.mostly_slow(sorted(SETTINGS), "memory", "charlm"))
def test_c_and_onnx(name, tmp_path):
    saved(name, tmp_path)
    (path,) = command.load(name).main(["export", "--to", "c", "--out", str(tmp_path)])
    assert path.suffix == ".h"
    pytest.importorskip("onnx")
    (path,) = command.load(name).main(["export", "--to", "onnx", "--out", str(tmp_path)])
    assert path.stat().st_size > 1000


def test_what_it_says_of_errors(tmp_path, capsys):
    assert command.main(["sine", "export", "--to", "c", "--out", str(tmp_path)]) == 1
    assert "there are no weights; train first: " in capsys.readouterr().err
    saved("sine", tmp_path)
    assert command.main(["sine", "export", "--to", "c", "--streaming", "--out", str(tmp_path)]) == 1
    assert "--streaming: got it with --to c, wanted it with --to onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["sine", "export", "--out", str(tmp_path)])
    assert "the following arguments are required: --to" in capsys.readouterr().err
    (tmp_path / "weights.safetensors").write_bytes(b"no")
    assert command.main(["sine", "export", "--to", "numpy", "--out", str(tmp_path)]) == 1
    assert "cannot be read as weights" in capsys.readouterr().err
