"""nn.save and nn.load: what was saved comes back, and what does not fit is told."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError
from tinygrad_rnn.train import Trainer

SUFFIXES = [".safetensors", ".npz", ".pt"]


def tagger(classes=5, hidden=8):
    class Tagger(nn.Module):
        def __init__(self):
            self.embedding = nn.Embedding(9, 4)
            self.rnn = nn.LSTM(4, hidden, num_layers=2, bidirectional=True)
            self.head = nn.Linear(2 * hidden, classes)
            self.register_buffer("scale", np.ones(1, np.float32))
            self.tied = self.head

    return Tagger()


def same(a, b):
    one, other = a.state_dict(), b.state_dict()
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, strict=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_saved_comes_back(tmp_path, suffix):
    if suffix == ".pt":
        pytest.importorskip("torch")
    model, other = tagger(), tagger()
    model.scale.data[:] = 3
    nn.save(model, tmp_path / f"new/m{suffix}")
    assert nn.load(other, str(tmp_path / f"new/m{suffix}")) == ([], [])
    same(model, other)


@pytest.mark.parametrize("name", nn.cell_names())
def test_every_cell(tmp_path, name):
    cell, other = (nn.Recurrent(nn.cell_by_name(name)(3, 4)) for _ in range(2))
    nn.save(cell, tmp_path / "cell.npz")
    nn.load(other, tmp_path / "cell.npz")
    same(cell, other)


def test_from_pytorch_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    theirs, ours = (
        torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True),
        nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    )
    torch.save(theirs.state_dict(), tmp_path / "lstm.pt")
    nn.load(ours, tmp_path / "lstm.pt")
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(x)[0].numpy(), theirs(torch.from_numpy(x))[0].detach().numpy(), atol=1e-6)
    nn.save(nn.LSTM(3, 4, num_layers=2, bidirectional=True), tmp_path / "back.pt")
    theirs.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True))


def test_from_a_checkpoint(tmp_path):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    trainer = Trainer(model, optim.Adam(model.parameters()), nn.mse_loss, progress=False)
    trainer.fit([(np.ones((3, 2), np.float32), np.ones((3, 1), np.float32))], epochs=2)
    trainer.save(tmp_path / "run.safetensors")
    nn.load(other, tmp_path / "run.safetensors")
    same(model, other)
    whole = (tmp_path / "run.safetensors").read_bytes()
    (tmp_path / "run.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"run\.safetensors, which is damaged"):
        nn.load(other, tmp_path / "run.safetensors")


def test_precisions(tmp_path):
    tr.seed(0)
    model = nn.Linear(2, 3, dtype="float64")
    nn.save(model, tmp_path / "m.npz")
    other = nn.Linear(2, 3)
    nn.load(other, tmp_path / "m.npz")
    assert other.weight.dtype == np.float32
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy().astype(np.float32))


class Around(nn.Module):
    def __init__(self, model, extra=None):
        self.model = model
        if extra is not None:
            self.extra = extra


def test_a_common_prefix_is_named(tmp_path):
    model = tagger()
    nn.save(Around(model), tmp_path / "m.npz")
    other = tagger()
    with pytest.raises(CheckpointError, match=r"all names begin with 'model\.': pass prefix='model\.'"):
        nn.load(other, tmp_path / "m.npz")
    nn.load(other, tmp_path / "m.npz", prefix="model.")
    same(model, other)


def test_a_part_of_a_file(tmp_path):
    model = tagger()
    nn.save(Around(model, nn.Linear(1, 1)), tmp_path / "m.npz")
    other = tagger()
    with pytest.raises(CheckpointError, match=r"the names that it wants begin with 'model\.': pass prefix="):
        nn.load(other, tmp_path / "m.npz")
    nn.load(other, tmp_path / "m.npz", prefix="model.")
    same(model, other)
    with pytest.raises(CheckpointError, match=r"prefix: got 'modle\.', wanted the beginning of a name such as model\."):
        nn.load(other, tmp_path / "m.npz", prefix="modle.")


def test_all_that_differs_is_listed(tmp_path):
    nn.save(tagger(classes=7, hidden=6), tmp_path / "m.npz")
    other = tagger()
    before = other.state_dict()
    with pytest.raises(CheckpointError) as error:
        nn.load(other, tmp_path / "m.npz")
    text = str(error.value)
    assert f"{tmp_path / 'm.npz'}: does not fit Tagger:" in text
    assert "head.weight: got float32 (7, 12), wanted float32 (5, 16)" in text
    assert "rnn.weight_hh_l1_reverse: got float32 (24, 6), wanted float32 (32, 8)" in text
    assert "embedding.weight" not in text
    for name, array in before.items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_missing_and_unexpected_names(tmp_path):
    nn.save(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), tmp_path / "m.npz")
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.LayerNorm(3), nn.Linear(3, 1))
    with pytest.raises(CheckpointError) as error:
        nn.load(model, tmp_path / "m.npz")
    assert "2.weight: not in the file, wanted float32 (1, 3)" in str(error.value)
    assert "0.bias: got float32 (3,), not in the model" in str(error.value)
    assert "1.weight: got float32 (1, 3), wanted float32 (3,)" in str(error.value)
    with pytest.raises(CheckpointError, match=r"1\.weight: got float32 \(1, 3\)"):
        nn.load(model, tmp_path / "m.npz", strict=False)


def test_what_is_shared_is_needed_once(tmp_path):
    model = tagger()
    arrays = {name: array for name, array in model.state_dict().items() if not name.startswith("tied.")}
    tr.io.write_weights(tmp_path / "m.npz", arrays)
    other = tagger()
    nn.load(other, tmp_path / "m.npz")
    same(model, other)
    tr.io.write_weights(tmp_path / "m.npz", {**arrays, "more": np.ones(1)})
    with pytest.raises(CheckpointError) as error:
        nn.load(other, tmp_path / "m.npz")
    assert str(error.value).splitlines()[1:] == ["  more: got float64 (1,), not in the model"]


def test_not_strict(tmp_path):
    nn.save(nn.Linear(2, 3, bias=False), tmp_path / "m.npz")
    model = nn.Linear(2, 3)
    bias = model.bias.numpy().copy()
    assert nn.load(model, tmp_path / "m.npz", strict=False) == (["bias"], [])
    np.testing.assert_array_equal(model.bias.numpy(), bias)
    with pytest.raises(CheckpointError, match="weight: got"):  # nothing at all would be loaded
        nn.load(nn.Sequential(nn.LayerNorm(4)), tmp_path / "m.npz", strict=False)


def test_parts_that_keep_their_values(tmp_path):
    nn.save(tagger(classes=7), tmp_path / "m.npz")
    model = tagger()
    head = model.head.weight.numpy().copy()
    nn.load(model, tmp_path / "m.npz", skip=["head.*", "tied.*"])
    np.testing.assert_array_equal(model.head.weight.numpy(), head)
    assert nn.load(tagger(), tmp_path / "m.npz", strict=False, skip=["head.*", "tied.*"]) == ([], [])
    with pytest.raises(ValueError, match=r"skip: got 'haed\.\*', wanted a pattern of names such as"):
        nn.load(model, tmp_path / "m.npz", skip="haed.*")


@pytest.mark.parametrize("name", ["m", "m.txt", ""])
def test_unknown_formats(tmp_path, name):
    with pytest.raises(CheckpointError, match="wanted a name that ends in"):
        nn.save(nn.Linear(1, 1), tmp_path / name)


def test_other_arguments(tmp_path):
    model = nn.Linear(1, 1)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    for wrong in (trainer, "model.npz", model.state_dict()):
        with pytest.raises(TypeError, match=r"model: got .*, wanted an nn\.Module"):
            nn.save(wrong, tmp_path / "m.npz")
        with pytest.raises(TypeError, match=r"model: got .*, wanted an nn\.Module"):
            nn.load(wrong, tmp_path / "m.npz")
    with pytest.raises(TypeError, match="strict: got 'no'"):
        nn.load(model, tmp_path / "m.npz", strict="no")
    with pytest.raises(FileNotFoundError):
        nn.load(model, tmp_path / "m.npz")
