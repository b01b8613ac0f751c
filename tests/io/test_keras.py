"""Files that Keras 3 writes: the same outputs here, weights into modules of ours, and what is refused."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
h5py = pytest.importorskip("h5py")

import tinygrad_rnn as tr  # noqa: E402
from tinygrad_rnn import nn  # noqa: E402
from tinygrad_rnn.errors import CheckpointError  # noqa: E402

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("torch")
    return pytest.importorskip("keras")


def randomised(model):
    """Weights that are nowhere zero."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) * rng.choice([-1, 1]) for w in model.get_weights()])
    return model


def compare(model, tmp_path, *inputs, atol=1e-6):
    """Save it, make it anew here, and compare the outputs."""
    randomised(model).save(tmp_path / "m.keras")
    ours = tr.io.from_keras(tmp_path / "m.keras", mode="eager")
    want = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    got = ours(*inputs)
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    for a, b in pairs:
        b = b.detach().numpy()
        assert a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=atol)
    return ours


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


CASES = {
    "lstm": lambda L: L.LSTM(4, return_sequences=True, name="net"),
    "gru": lambda L: L.GRU(4),
    "old_gru": lambda L: L.GRU(4, reset_after=False, return_sequences=True),
    "no_bias": lambda L: L.GRU(4, use_bias=False, return_sequences=True),
    "relu": lambda L: L.SimpleRNN(4, activation="relu", return_sequences=True),
    "backwards": lambda L: L.LSTM(4, go_backwards=True, return_sequences=True),
    "both": lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True)),
    "both_last": lambda L: L.Bidirectional(L.GRU(4), merge_mode="sum"),
    "both_mean": lambda L: L.Bidirectional(L.SimpleRNN(4, return_sequences=True), merge_mode="ave"),
    "conv": lambda L: L.Conv1D(4, 2, padding="causal", dilation_rate=2, activation="relu"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 3)])
def test_layers(name, shape, keras, tmp_path):
    if name == "conv" and shape[1] == 1:
        pytest.skip("a convolution of Keras needs steps")
    model = keras.Sequential([keras.Input((None, 3)), CASES[name](keras.layers), keras.layers.Dense(2, "tanh")])
    ours = compare(model, tmp_path, floats(*shape))
    assert not ours.training


def test_a_model_of_words(keras, tmp_path):
    """Padding is masked: states are carried through, and outputs stay as they are."""
    L = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Embedding(9, 5, mask_zero=True),
            L.GRU(4, return_sequences=True),
            L.GRU(4, return_sequences=True, go_backwards=True),
            L.LayerNormalization(),
            L.Dropout(0.5),
            L.Bidirectional(L.LSTM(3)),
            L.Dense(3, activation="softmax"),
        ]
    )
    ids = np.array([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 1, 2], [0, 0, 0, 0, 0, 0], [0, 3, 0, 4, 0, 0]])
    ours = compare(model, tmp_path, ids)
    (ours(ids) ** 2).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_a_graph(keras, tmp_path):
    """Two inputs, states that go from layer to layer, a layer called twice, a model inside."""
    L = keras.layers
    a, b = keras.Input((5, 3), name="a"), keras.Input((4, 3), name="b")
    shared = L.Dense(3, activation="relu", name="shared")
    inner_in = keras.Input((5, 6))
    inner = keras.Model(inner_in, L.TimeDistributed(L.Dense(4))(L.BatchNormalization()(inner_in)), name="inner")
    y, h, c = L.LSTM(4, return_state=True, name="encoder")(inner(L.Concatenate()([a, shared(a)])))
    z = L.LSTM(4, return_sequences=True)(shared(b), initial_state=[h, c])
    pooled = L.GlobalAveragePooling1D()(z)
    model = keras.Model([a, b], [L.Add()([y, pooled]), z])
    ours = compare(model, tmp_path, floats(2, 5, 3), floats(2, 4, 3))
    assert {name.partition(".")[0] for name, _ in ours.named_parameters()} >= {"shared", "inner", "encoder"}


def test_float64(keras, tmp_path):
    model = keras.Sequential([keras.Input((4, 3), dtype="float64"), keras.layers.LSTM(3, dtype="float64")])
    ours = compare(model, tmp_path, RNG.normal(size=(2, 4, 3)), atol=1e-12)
    assert next(ours.parameters()).dtype == np.float64


def stack(keras):
    L = keras.layers
    return randomised(
        keras.Sequential(
            [
                keras.Input((None,)),
                L.Embedding(7, 3),
                L.LSTM(4, return_sequences=True),
                L.GRU(4),
                L.Dense(2, name="top"),
            ]
        )
    )


class Ours(nn.Module):
    def __init__(self):
        self.table, self.lstm, self.gru = nn.Embedding(7, 3), nn.LSTM(3, 4, mode="eager"), nn.GRU(4, 4, mode="eager")
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(self.gru(self.lstm(self.table(ids))[0])[0][-1])


def plain_names(keras_model):
    return {keras_model.layers[0].name: "table", keras_model.layers[1].name: "lstm", keras_model.layers[2].name: "gru"}


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_into_a_module(suffix, keras, tmp_path):
    model = stack(keras)
    path = tmp_path / f"m{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    names = {**plain_names(model), "top": "head"}
    ours = tr.io.from_keras(path, into=Ours(), names=names)
    ids = np.array([[1, 2, 6], [0, 4, 5]])
    np.testing.assert_allclose(ours(ids.T).numpy(), model(ids).detach().numpy(), atol=1e-6)
    before = ours.state_dict()
    with pytest.raises(CheckpointError) as caught:
        tr.io.from_keras(path, into=ours, names=plain_names(model))
    assert "  head.bias: not in the file, wanted float32 (2,)" in str(caught.value).splitlines()
    assert "  top.bias: got float32 (2,), not in the model" in str(caught.value).splitlines()
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    arrays = tr.io.from_keras(path, names=names) if suffix != ".keras" else None
    assert arrays is None or arrays.keys() == before.keys()


def test_layers_that_are_not_there(keras, tmp_path):
    L = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 3)),
            L.MaxPooling1D(name="pool"),
            L.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True, name="hard"),
            L.GRU(3, stateful=False, return_sequences=True, name="fine"),
            L.Bidirectional(L.GRU(3), merge_mode="mul", name="product"),
            L.Dense(2, name="half", dtype="float16"),
        ]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError) as caught:
        tr.io.from_keras(tmp_path / "m.keras")
    assert str(caught.value).splitlines()[1:] == [
        "  MaxPooling1D: layer pool: it is not known here",
        "  LSTM: layer hard: its recurrent_activation is hard_sigmoid, wanted sigmoid",
        "  Bidirectional: layer product: its merge_mode is mul, wanted one of concat, sum, ave",
        "  Dense: layer half: its dtype is float16, wanted float32 or float64",
    ]


# ---- files that were tampered with; they need no Keras


def weights_file(**changes):
    """A file of weights as Keras writes it, of one LSTM."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        shapes = {"0": (3, 16), "1": (4, 16), "2": (16,)} | changes
        for name, shape in shapes.items():
            group[name] = np.full(shape, float(name), np.float32)
    return buffer.getvalue()


def config(**changes):
    settings = {"name": "lstm", "units": 4} | changes
    layers = [{"class_name": "LSTM", "config": settings, "registered_name": None}]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}


def keras_file(path, settings, weights=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", settings if isinstance(settings, str) else json.dumps(settings))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", weights_file() if weights is None else weights)
    return path


def test_without_keras(tmp_path):
    model = tr.io.from_keras(keras_file(tmp_path / "m.keras", config(return_sequences=True)), mode="eager")
    assert model(floats(2, 5, 3)).shape == (2, 5, 4)
    assert model.lstm.bias_hh_l0.numpy().any() == np.False_
    turned = config(time_major=True, return_sequences=True)
    assert tr.io.from_keras(keras_file(tmp_path / "m.keras", turned)).lstm.batch_first is False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{", "cannot be read as a file of Keras"),
        ("[]", "holds a list, wanted one of Sequential"),
        ("null", r"has null as its config\.json; wanted the configuration of a model"),
        ({"class_name": "Evil", "config": {}}, "holds a Evil, wanted one of Sequential"),
        (config(units=5), "does not fit KerasModel"),
        (config(units="many"), "holds the layer lstm, which cannot be made: LSTM: hidden_size"),
        (config(activation={"class_name": "function"}), "its activation is a function of its own"),
        ({"class_name": "Sequential", "config": {"layers": 3}}, "without a list of layers"),
        ({"class_name": "Sequential", "config": {"layers": [3]}}, "cannot be read as a file of Keras"),
    ],
)
def test_bad_configurations(settings, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        tr.io.from_keras(keras_file(tmp_path / "m.keras", settings))


def test_layers_of_ones_own(tmp_path):
    settings = config()
    settings["config"]["layers"][0]["registered_name"] = "mine>LSTM"
    settings["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "f", "function": "os.system"}})
    with pytest.raises(CheckpointError) as caught:
        tr.io.from_keras(keras_file(tmp_path / "m.keras", settings))
    assert str(caught.value).splitlines()[1:] == [
        "  LSTM: layer lstm: a layer of one's own",
        "  Lambda: layer f: it is not known here",
    ]


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret.h5").write_bytes(weights_file())
    for link in (h5py.ExternalLink("secret.h5", "/layers"), h5py.SoftLink("/layers")):
        with h5py.File(tmp_path / "m.weights.h5", "w") as file:
            file["layers"] = link
        with pytest.raises(CheckpointError, match="holds layers as a link"):
            tr.io.from_keras(tmp_path / "m.weights.h5")
    (tmp_path / "raw").write_bytes(bytes(100))
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        space = [(str(tmp_path / "raw"), 0, 64)]
        file.create_group("layers/dense/vars").create_dataset("0", (4, 4), "f4", external=space)
    with pytest.raises(CheckpointError, match="layers/dense/vars/0 in another file"):
        tr.io.from_keras(tmp_path / "m.weights.h5")


@pytest.mark.parametrize("changes", [{"0": (3, 12)}, {"2": (4, 4)}, {"1": (4,)}])
def test_arrays_that_do_not_fit(changes, tmp_path):
    (tmp_path / "m.weights.h5").write_bytes(weights_file(**changes))
    with pytest.raises(CheckpointError, match="holds the layer lstm, whose arrays do not fit lstm"):
        tr.io.from_keras(tmp_path / "m.weights.h5")


def test_other_files(tmp_path):
    path = tmp_path / "m.keras"
    whole = keras_file(path, config()).read_bytes()
    for size in range(0, len(whole), len(whole) // 12):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="path: got"):
            tr.io.from_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(CheckpointError, match=r"zip file without model\.weights\.h5"):
        tr.io.from_keras(path)
    with pytest.raises(FileNotFoundError):
        tr.io.from_keras(tmp_path / "none.keras")
    with pytest.raises(TypeError, match="into: got 3"):
        tr.io.from_keras(path, into=3)


def test_without_h5py(tmp_path, monkeypatch):
    import sys

    path = keras_file(tmp_path / "m.keras", config())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r'pip install "tinygrad_rnn\[keras\]"'):
        tr.io.from_keras(path)
