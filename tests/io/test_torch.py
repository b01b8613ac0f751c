"""Weights from PyTorch and for it: the same outputs, the same bits on the way back, and what does not fit."""

import builtins

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError

torch = pytest.importorskip("torch")
KINDS = ["RNN", "RNN relu", "LSTM", "LSTM proj", "GRU"]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
MODE = {"mode": "eager"}  # which compiled loops agree with, is tested elsewhere


def pair(kind, dtype="float32", **options):
    """A layer of PyTorch, and one of ours with its weights."""
    torch.manual_seed(3)
    name = kind.split()[0]
    options |= {"RNN relu": {"nonlinearity": "relu"}, "LSTM proj": {"proj_size": 2}}.get(kind, {})
    theirs = getattr(torch.nn, name)(3, 5, dtype=getattr(torch, dtype), **options)
    ours = getattr(nn, name)(3, 5, dtype=dtype, **MODE, **options)
    return theirs, tr.io.from_torch(theirs.state_dict(), into=ours)


def states_of(result):
    output, state = result
    return [output, *(state if isinstance(state, tuple) else [state])]


def same_bits(ours, theirs):
    back = tr.io.to_torch(ours)
    assert back.keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str)
@pytest.mark.parametrize("shape", [(6, 2), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recurrent_layers(kind, options, shape, dtype):
    theirs, ours = pair(kind, dtype, **options)
    x = np.random.default_rng(0).normal(size=(*shape, 3)).astype(dtype)
    with torch.no_grad():
        wanted = states_of(theirs(torch.from_numpy(x)))
    for got, want in zip(states_of(ours(x)), wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)
    same_bits(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    theirs, ours = pair(kind, "float64")
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    theirs(torch.from_numpy(x))[0].square().sum().backward()
    (ours(x)[0] ** 2).sum().backward()
    for (name, got), (_, want) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(got.grad.numpy(), want.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_lengths_with_none():
    """A row of no steps; PyTorch packs rows with steps only."""
    theirs, ours = pair("LSTM")
    x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype("float32")
    output, (h, _) = ours(x, lengths=[4, 0, 2])
    with torch.no_grad():
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x[:, [0, 2]]), [4, 2])
        wanted, (want_h, _) = theirs(packed)
    wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(wanted)
    np.testing.assert_allclose(output.numpy()[:, [0, 2]], wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(h.numpy()[:, [0, 2]], want_h.numpy(), atol=1e-6)
    assert not output.numpy()[:, 1].any()
    assert not h.numpy()[:, 1].any()


def test_modules_made_anew():
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Embedding(7, 4, padding_idx=0),
        torch.nn.LayerNorm(4),
        torch.nn.Linear(4, 6, bias=False),
        torch.nn.GELU(approximate="tanh"),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(6, 3),
        torch.nn.LogSoftmax(dim=-1),
    ).eval()
    theirs[2].requires_grad_(False)
    ours = tr.io.from_torch(theirs)
    ids = np.array([[1, 0, 6], [2, 3, 5]])
    with torch.no_grad():
        np.testing.assert_allclose(ours(ids).numpy(), theirs(torch.from_numpy(ids)).numpy(), atol=1e-6)
    same_bits(ours, theirs)
    assert ours[0].padding_idx == 0
    assert not ours[4].training
    assert [name for name, p in ours.named_parameters() if not p.requires_grad] == ["2.weight"]


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_layers_made_anew(name):
    theirs = getattr(torch.nn, name)(3, 4, 2, batch_first=True, dropout=0.25, bidirectional=True, dtype=torch.float64)
    ours = tr.io.from_torch(theirs)
    assert (ours.num_layers, ours.batch_first, ours.dropout, ours.bidirectional) == (2, True, 0.25, True)
    assert ours.training
    same_bits(ours, theirs)


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.LSTM(2, 3)
        self.pool = torch.nn.AdaptiveAvgPool1d(2)
        self.conv = torch.nn.Conv1d(2, 3, 2)


def test_parts_without_an_equal():
    with pytest.raises(CheckpointError) as caught:
        tr.io.from_torch(Own())
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[1:]] == ["itself", "pool", "conv"]
    tied = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(CheckpointError, match="parameters are shared"):
        tr.io.from_torch(tied)
    with pytest.raises(CheckpointError, match="float16"):
        tr.io.from_torch(torch.nn.Linear(2, 2, dtype=torch.float16))


def tagger(state=None):
    class Tagger(nn.Module):
        def __init__(self):
            self.rnn, self.head = nn.GRU(3, 4), nn.Linear(4, 2)

    return Tagger()


STATE = {
    "module.encoder.weight_ih_l0": torch.ones(12, 3),
    "module.encoder.weight_hh_l0": torch.ones(12, 4),
    "module.encoder.bias_ih_l0": torch.ones(12),
    "module.encoder.bias_hh_l0": torch.ones(12),
    "module.fc.weight": torch.full((2, 4), 2.0, dtype=torch.bfloat16),
    "module.fc.bias": torch.ones(2, requires_grad=True),
    "module.loss.weight": torch.ones(2),
}
NAMES = {"module.encoder": "rnn", "module.fc": "head", "module.loss": None}


@pytest.mark.parametrize("suffix", [None, ".pt", ".safetensors"])
def test_names(tmp_path, suffix):
    source = STATE
    if suffix == ".pt":
        source = tmp_path / "w.pt"
        torch.save({"epoch": 3, "state_dict": STATE}, source)
    elif suffix:
        from safetensors.torch import save_file

        source = str(tmp_path / "w.safetensors")
        save_file(STATE, source)
    model = tagger()
    assert tr.io.from_torch(source, into=model, names=NAMES) is model
    assert model.head.weight.numpy().tolist() == [[2] * 4] * 2
    assert tr.io.from_torch(source, names={"module": ""}).keys() == {name[7:] for name in STATE}
    back = tr.io.to_torch(model, names={"rnn": "module.encoder", "head.weight": "W", "head": None})
    assert back.keys() == {*[name for name in STATE if "encoder" in name], "W"}


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (
            {"module.encoder": "rnn", "module.fc": "head"},
            CheckpointError,
            "loss.weight: got float32 .2,., not in",
        ),
        (None, CheckpointError, "head.bias: not in the file, wanted float32"),
        ({"encoder": "rnn"}, CheckpointError, "names: got 'encoder', wanted a name, or the beginning of one"),
        ({"module.encoder": "rnn", "module.fc.weight": "x", "module.fc.bias": "x"}, CheckpointError, "got 'x' for"),
        ({"module": 3}, TypeError, "names: got 'module': 3"),
        (["module"], TypeError, "names: got"),
    ],
)
def test_names_that_do_not_fit(names, error, words):
    model = tagger()
    before = model.state_dict()
    with pytest.raises(error, match=words):
        tr.io.from_torch(STATE, into=model, names=names)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_beginning_of_all_names():
    """The error says how to take it away, with an option that there is."""
    state = {f"module.{name}": torch.from_numpy(array) for name, array in tagger().state_dict().items()}
    with pytest.raises(CheckpointError, match=r"all names begin with 'module\.': pass names=\{'module': ''\}"):
        tr.io.from_torch(state, into=tagger())
    tr.io.from_torch(state, into=tagger(), names={"module": ""})


def test_skip():
    model = tagger()
    bias = model.head.bias.numpy().copy()
    tr.io.from_torch(STATE, into=model, names=NAMES, skip="head.bias")
    np.testing.assert_array_equal(model.head.bias.numpy(), bias)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: nn.GRU(2, 3, reset_after=False), "itself: GRU with reset_after=False"),
        (lambda: nn.RNN(2, 3, nonlinearity="sigmoid"), "nonlinearity='sigmoid'"),
        (lambda: nn.Sequential(nn.LSTM(2, 3, reverse=True)), "0: LSTM with reverse=True"),
        (lambda: nn.LSTM(2, 3, bidirectional=True, merge="sum"), "merge='sum'"),
    ],
)
def test_what_pytorch_does_not_compute(module, words):
    with pytest.raises(ValueError, match=words):
        tr.io.to_torch(module())
    with pytest.raises(ValueError, match=words):
        tr.io.from_torch({}, into=module())


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (3, TypeError, "source: got 3, wanted a state dict"),
        ({"w": "text"}, CheckpointError, "source: holds w; wanted a state dict"),
        ({"w": torch.eye(2).to_sparse()}, CheckpointError, "source: holds w as torch.float32, torch.sparse_coo"),
        ({"w": np.array([None])}, CheckpointError, "source: holds w as object"),
        ("no such file.pt", FileNotFoundError, "no such file"),
    ],
)
def test_bad_sources(source, error, words):
    with pytest.raises(error, match=words):
        tr.io.from_torch(source)


def test_bad_targets():
    with pytest.raises(TypeError, match="into: got 3"):
        tr.io.from_torch(STATE, into=3)
    with pytest.raises(TypeError, match=r"module: got 3, wanted an nn\.Module"):
        tr.io.to_torch(3)


def test_without_pytorch(tmp_path, monkeypatch):
    """Files of safetensors need none; tensors do."""
    nn.save(nn.GRU(2, 3), tmp_path / "w.safetensors")
    original = builtins.__import__

    def without(name, *rest, **options):
        if name == "torch":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    model = tr.io.from_torch(tmp_path / "w.safetensors", into=nn.GRU(2, 3))
    with pytest.raises(CheckpointError, match="pip install torch"):
        tr.io.to_torch(model)
