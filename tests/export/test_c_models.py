"""Models in C: those of the zoo, layers both ways, heads and tables, equal to Python's, step by step where they can."""

import ctypes
import re
import subprocess

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import examples as on
from .c_library import COMPILER, compiled, needs_compiler

pytestmark = needs_compiler


class Normed(nn.Module):
    """A model with most operations that stand around a loop."""

    def __init__(self):
        self.embed, self.norm = nn.Embedding(7, 4), nn.LayerNorm(4)
        self.layer, self.head = nn.LSTM(4, 6, num_layers=2), nn.Linear(3, 5)

    def forward(self, ids):
        x = self.norm(self.embed(ids))
        y, _ = self.layer(tr.concat([x[..., 2:], tr.softplus(x[..., :2])], axis=-1))
        left, right = tr.split(y, 2, axis=-1)
        z = self.head(tr.stack([left, right], axis=2).max(axis=2))
        return tr.softmax(z, axis=-1), tr.logsumexp(z, axis=-1), (z > 0).all(axis=-1)


class Backwards(nn.Module):
    """A model that reads a sequence from its end, and averages over time."""

    def __init__(self):
        self.layer = nn.GRU(3, 4, batch_first=True)
        self.scale = nn.Parameter(np.float32([1.5]))

    def forward(self, x):
        y, _ = self.layer(tr.flip(x, axis=1))
        steps = tr.arange(x.shape[1])[:, None] * self.scale
        return (y * steps).mean(axis=1), y[:, -2:].reshape((-1, 8)), tr.pad(y, ((0, 0), (1, 2), (0, 0)))


class Strided(nn.Module):
    """A model that halves the time before its layer, and looks across the rows of the batch behind it."""

    def __init__(self):
        self.conv, self.rows = nn.Conv1d(3, 6, 3, stride=2), nn.Conv1d(5, 2, 3)
        self.layer = nn.GRU(6, 5)

    def forward(self, x):
        return self.rows(tr.swapaxes(self.layer(self.conv(x))[0], 0, 1))


class Gated(nn.Cell):
    """A cell whose input is a nest: features, and pairs that open it."""

    dtype, hidden_size = np.dtype("float32"), 4

    def __init__(self):
        self.features, self.gates = nn.Linear(3, 4), nn.Linear(2, 4)

    def step(self, x, h):
        features, (gates,) = x["features"], x["gates"]
        h = h + tr.sigmoid(self.gates(gates)) * tr.tanh(self.features(features) - h)
        return h, h


class Nested(nn.Module):
    """A model around it, with a head; some of the sequences are computed."""

    def __init__(self):
        self.layer, self.head = nn.Recurrent(Gated(), batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer({"features": tr.sin(x), "gates": [x[..., 1:] * 2]})[0])


def floats(*shape):
    return lambda rng, t, b: (rng.standard_normal([{"T": t, "B": b}.get(n, n) for n in shape]).astype(np.float32),)


OWN = [
    on.Example("normed", Normed, lambda rng, t, b: (rng.integers(0, 7, (t, b)),)),
    on.Example("backwards", Backwards, floats("B", "T", 3)),
    on.Example("strided", Strided, floats("T", "B", 3)),
    on.Example("nested", Nested, floats("B", "T", 3)),
    on.Example("both", lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), floats("T", "B", 3)),
    on.Example("merged", lambda: nn.Bidirectional(nn.GRUCell(3, 4), nn.MGUCell(3, 4), "sum"), floats("T", "B", 3)),
    on.Example("reversed", lambda: nn.Recurrent(nn.GRUCell(3, 4), reverse=True), floats("T", "B", 3)),
]
STREAMED = {"airline", "policy", "digits", "memory", "roommate", "sine", "charlm", "melody", "normed", "nested"}


def exported(example, folder, dtype="float32", **options):
    model = on.model_of(example)
    arguments = example.inputs(np.random.default_rng(0), 5, 3)
    return model, tr.export.to_c(
        model, folder / f"m_{example.name}.h".replace("-", "_"), dtype, example=arguments, **options
    )


def call(library, file, arguments, outputs, sizes, dtype):
    """The outputs of NAME_run for a batch of one."""
    text = file.path.read_text()
    kind = lambda a: np.dtype(dtype if a.dtype.kind == "f" else np.int32)
    ins = [np.ascontiguousarray(a, kind(a)) for a in arguments]
    outs = [np.full(y.shape, -7, kind(y)) for y in outputs]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*ins, *outs)]
    if f"{file.name}_init" in text:
        state = np.full(max(1, file.state_bytes), 255, np.uint8)
        pointers.insert(0, ctypes.c_void_p(state.ctypes.data))
        getattr(library, f"{file.name}_init")(pointers[0])
    longs = [ctypes.c_long(n) for n in sizes]
    work = []
    if f"{file.name}_work" in text:
        count = getattr(library, f"{file.name}_work")
        count.restype = ctypes.c_long
        room = np.full(count(*longs) + 1, np.nan, dtype)
        room[-1] = 42.0
        work = [ctypes.c_void_p(room.ctypes.data)]
    getattr(library, f"{file.name}_run")(*pointers, *longs, *work)
    assert not work or room[-1] == 42.0
    return outs


def sizes_of(file):
    """The names of the sizes that NAME_run takes."""
    return re.findall(r"long (\w)", re.search(rf"void {file.name}_run\((.*)\) {{", file.path.read_text())[1])


def require_equal(examples, folder, *options, dtype="float32", tolerance=1e-6):
    made = [(e, *exported(e, folder, dtype)) for e in examples]
    library = compiled(folder, [file for _, _, file in made], *options)
    for example, model, file in made:
        for time in (2, 7) if example.name == "backwards" else (1, 2, 7):
            arguments = example.inputs(np.random.default_rng(time), time, 1)
            wanted = on.on_tape(model, *arguments)
            sizes = {"T": time, "S": time + 1}
            found = call(library, file, list(on.leaves(arguments)), wanted, [sizes[n] for n in sizes_of(file)], dtype)
            for a, b in zip(found, wanted):
                scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
                np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=f"{example.name}, T={time}")


def streamed(folder):
    """The models that have a step."""
    files = folder.glob("m_*.h")
    return {p.stem.removeprefix("m_") for p in files if "_step(" in p.read_text().partition("*/")[2]}


@pytest.mark.slow
def test_models(tmp_path):
    require_equal([*[e for e in on.MODELS if e.name in ("forecast", "charlm", "tagger")], *OWN], tmp_path)
    assert streamed(tmp_path) == {"charlm", "normed", "nested"}


@pytest.mark.slow
def test_the_zoo(tmp_path):
    models = [e for e in on.MODELS if e.name != "roommate-by-hand"]  # it is a layer, as those of the other tests
    require_equal(models, tmp_path, "-O3")
    assert streamed(tmp_path) == STREAMED - {"normed", "nested"}


@pytest.mark.slow
def test_models_in_double(tmp_path):
    """And with names that C reserves, without time, and without a loop."""

    class Reserved(nn.Module):
        def __init__(self):
            self.float, self.body = nn.Parameter(np.arange(1.0, 4.0)), nn.Sequential(nn.Linear(3, 6), nn.Tanh())

        def forward(self, x):
            return self.body(x) * tr.concat([self.float, 1 / self.float])

    macros = {name: np.full(3, 1.5 + i) for i, name in enumerate(("NAN", "INFINITY", "M_PI", "linux", "bool"))}

    class Macros(nn.Module):
        def __init__(self):
            for name, array in macros.items():
                setattr(self, name, nn.Parameter(array))

        def forward(self, x):
            return sum((x * getattr(self, name) for name in macros), start=x)

    examples = [
        on.Example("macros", Macros, lambda rng, t, b: (rng.standard_normal((b, 3)),)),
        on.Example("reserved", Reserved, lambda rng, t, b: (rng.standard_normal((b, 3)),)),
        on.Example("both", OWN[4].make, lambda rng, t, b: (rng.standard_normal((t, b, 3)),)),
        on.Example("normed", Normed, OWN[0].inputs),
    ]
    doubles = [e._replace(make=lambda make=e.make: make().to("float64")) for e in examples]
    require_equal(doubles, tmp_path, dtype="float64", tolerance=1e-12)


def test_the_least_sizes(tmp_path):
    """A model that looks at several steps says how many it needs."""
    _, file = exported(OWN[1], tmp_path)
    assert " * Sequences have to have T at least 2.\n" in file.path.read_text()
    _, file = exported(OWN[2], tmp_path)
    assert "at least" not in file.path.read_text().partition("*/")[0]


def test_layers_both_ways_need_no_example(tmp_path):
    layers = [
        nn.GRU(3, 4, bidirectional=True, batch_first=True),
        nn.Bidirectional(nn.GRUCell(3, 4), nn.GRUCell(3, 4)),
        nn.Recurrent(nn.GRUCell(3, 4), reverse=True),
    ]
    for layer in layers:
        file = tr.export.to_c(layer, tmp_path / "layer.h")
        assert sizes_of(file) == ["T"]
        assert "runs backwards in time" in file.path.read_text()


def test_int8(tmp_path):
    model, small = exported(OWN[0], tmp_path, weights="int8")
    assert 0 < small.error < 0.05
    arguments = OWN[0].inputs(np.random.default_rng(7), 7, 1)
    wanted = on.on_tape(model, *arguments)
    found = call(compiled(tmp_path, [small]), small, list(on.leaves(arguments)), wanted, [7], "float32")
    np.testing.assert_allclose(found[0], wanted[0], atol=0.02)
    assert np.abs(found[0] - wanted[0]).max() > 1e-6


def test_the_object_is_small(tmp_path):
    file = tr.export.to_c(nn.LSTM(1, 16), tmp_path / "small.h")
    command = [COMPILER, "-O3", "-DSMALL_API=", "-x", "c", "-c", str(file.path), "-o", str(tmp_path / "small.o")]
    subprocess.run(command, check=True)
    assert (tmp_path / "small.o").stat().st_size < 20 * 1024
