"""Damaged weights and options of runs: one line that names the file, never a traceback."""

import json
import re
from argparse import Namespace

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from models import __main__ as command
from models import _command, _python, _weights, sine
from tinygrad_rnn.data import MinMaxScaler
from tinygrad_rnn.errors import DataError


def folder_of(tmp_path, text=None, arrays=None):
    """A folder with the weights of a small network; `text` instead of what is said of them."""
    settings = {"hidden_size": 2, "cell": "rnn"}
    facts = {"scaler": MinMaxScaler().fit([1, 2]).state_dict(), "last": None, "steps": 25}
    path = _command.Run("sine", Namespace(out=tmp_path)).save(sine.Predictor(**settings), settings, **facts)
    if text is not None or arrays is not None:
        with safe_open(path, "numpy") as file:
            text = file.metadata()[_weights.KEY] if text is None else text
        arrays = load_file(path) if arrays is None else arrays
        save_file(arrays, path, _weights.sealed(text, arrays))
    return path


ABOUT = {"model": "sine", "settings": {"hidden_size": 2, "cell": "rnn"}, "facts": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as weights"),
        ("[" * 100_000, "cannot be read as weights"),
        ("1" * 5000, "cannot be read as weights"),
        ("[]", "got weights of no model, wanted those of sine"),
        ({**ABOUT, "model": ["sine"]}, r"got weights of \['sine'\], wanted"),
        ({"model": "sine"}, "got weights without settings and facts"),
        ({**ABOUT, "settings": [2]}, "got weights without settings and facts"),
        ({**ABOUT, "settings": {"hidden": 2}}, "got weights that do not fit their settings"),
        ({**ABOUT, "settings": {"hidden_size": "2", "cell": "rnn"}}, "got weights that do not fit their settings"),
        ({**ABOUT, "settings": {"hidden_size": 2, "cell": "rnm"}}, "got weights that do not fit their settings"),
        ({**ABOUT, "settings": {"hidden_size": 3, "cell": "rnn"}}, "got weights that do not fit their settings"),
        ({**ABOUT, "settings": {"hidden_size": 10**9, "cell": "rnn"}}, "got hidden_size = 1000000000 for 13 weights"),
        (ABOUT, "got no 'scaler' with the weights"),
    ],
)
def test_damaged_weights(tmp_path, text, message, capsys):
    path = folder_of(tmp_path, text if isinstance(text, str) else json.dumps(text))
    assert command.main(["sine", "predict", "--out", str(tmp_path)]) == 1
    assert re.match(rf"models sine: {path}: {message}", capsys.readouterr().err)


def test_weights_of_other_kinds(tmp_path, capsys):
    path = folder_of(tmp_path)
    whole = path.read_bytes()
    contents = [whole[:-1], whole[:9], b"", b"\xff" * 20, whole.replace(b'"F32"', b'"F16"', 1)]
    for content in contents:
        path.write_bytes(content)
        assert command.main(["sine", "predict", "--out", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith(f"models sine: {path}: ")


def test_flipped_bits(tmp_path, capsys):
    """Of what the weights are said to be, and of the weights themselves."""
    path = folder_of(tmp_path)
    whole = path.read_bytes()
    places = [whole.index(b'\\"rnn') + 2, whole.index(b'\\"steps\\": 25') + 12, *range(len(whole) - 52, len(whole), 7)]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert command.main(["sine", "predict", "--out", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith(f"models sine: {path}: got damaged weights")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as the options of a run"),
        ("[" * 100_000, "cannot be read as the options of a run"),
        ("{}", "cannot be read as the options of a run"),
        ({"nothing": 1}, "got the option 'nothing', wanted some of epochs, seed"),
        ({"epochs": {"a": 1}}, "got an option that cannot be one: epochs is {'a': 1}, wanted a number or a string"),
        ({"epochs": "many"}, "got an option that cannot be one: got 'many', wanted an integer"),
        ({"epochs": -3}, "got an option that cannot be one: got '-3', wanted an integer of at least 1"),
        ({"epochs": None}, "got an option that cannot be one: epochs is None, wanted a number or a string"),
        ({"seed": True}, "got an option that cannot be one: seed is True"),
        ({"cell": "rnm"}, "got an option that cannot be one: cell is 'rnm', wanted one of"),
    ],
)
def test_damaged_options(tmp_path, text, message, capsys):
    path = tmp_path / "options.json"
    path.write_text(text if isinstance(text, str) else json.dumps({"model": "sine", "options": text}))
    assert command.main(["sine", "--resume", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"models sine: {path}: {message}")


@pytest.mark.parametrize("source", ["(" * 5000, "-" * 50_000 + "1", "[" * 5000 + "]" * 5000, "\0", "x = '\ud800'"])
def test_python_nested_deep(source):
    with pytest.raises(DataError, match=r"x\.py, line \d+: got no Python source \(.+\), wanted some"):
        _python.sentences(source, "x.py")
