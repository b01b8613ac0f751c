"""Checkpoints that are damaged, hostile or of something else: refused with a CheckpointError, nothing is changed."""

import contextlib
import copy
import hashlib
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError
from tinygrad_rnn.storage.checkpoint import HASH, KEY, read, write
from tinygrad_rnn.train import Trainer

from .models import batches, data


def trainer(
    optimizer=lambda p: optim.Adam(p, lr=0.01), schedule=None, step_schedule=None, model=None, loss=nn.mse_loss
):
    tr.seed(4)
    model = model or nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.2), nn.Linear(3, 1))
    own = optimizer(model.parameters())
    return Trainer(
        model,
        own,
        loss,
        schedule=schedule and schedule(own),
        step_schedule=step_schedule and step_schedule(own),
        progress=False,
    )


def trained(**options):
    out = trainer(**options)
    out.fit(batches(*data()), epochs=2, max_steps=7, restore_best=True)
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "good"
    trained().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def target():
    """A trainer that refuses everything here: it stays as it is."""
    return trained()


def everything(run):
    """All that a trainer is, as text."""
    state = run.state_dict()
    state["training"].update(seconds=0, seconds_before=0)
    state["training"]["history"]["seconds"] = []

    def plain(x):
        return {"dtype": str(x.dtype), "values": x.tolist()} if isinstance(x, np.ndarray) else repr(x)

    def keyed(x):
        if isinstance(x, dict):
            return {str(k): keyed(v) for k, v in x.items()}
        return [keyed(v) for v in x] if isinstance(x, list | tuple) else x

    return json.dumps(keyed(state), default=plain)


def refused(run, path, words=None):
    before = everything(run)
    with pytest.raises(CheckpointError, match=words) as error:
        run.load(path)
    assert str(path) in str(error.value)
    assert everything(run) == before


def test_good(checkpoint, target, tmp_path):
    (tmp_path / "a").write_bytes(checkpoint)
    other = trainer()
    other.load(tmp_path / "a")
    assert everything(other) == everything(target)


def flips(content, positions, path, run):
    found = 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            run.load(path)
        except CheckpointError:
            found += 1
    return found


def test_flipped_bits_are_found(checkpoint, target, tmp_path):
    rng = np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(checkpoint[:8], "little"))
    positions = [
        *range(64),
        *rng.choice(header, 400, replace=False),
        *rng.choice(np.arange(header, 8 * len(checkpoint)), 400, replace=False),
    ]
    before = everything(target)
    assert flips(checkpoint, positions, tmp_path / "a", target) == len(positions)
    assert everything(target) == before


@pytest.mark.slow
def test_many_flipped_bits_are_found(checkpoint, target, tmp_path):
    positions = range(0, 8 * len(checkpoint), 13)  # all eight bits in turn
    assert flips(checkpoint, positions, tmp_path / "a", target) == len(positions)


def test_cut_files(checkpoint, target, tmp_path):
    path = tmp_path / "a"
    lengths = [*range(40), *np.linspace(40, len(checkpoint) - 1, 200).astype(int)]
    before = everything(target)
    for length in lengths:
        path.write_bytes(checkpoint[:length])
        with pytest.raises(CheckpointError, match="cannot be read"):
            target.load(path)
    path.write_bytes(checkpoint + b"x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        target.load(path)
    assert everything(target) == before


def of_text(path, text, arrays=()):
    path.write_bytes(save(dict(arrays), {KEY: text, HASH: hashlib.sha256(text.encode()).hexdigest()}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "3",
        "[]",
        "{}",
        "[" * 1000 + "]" * 1000,
        "[" * 100000,
        '{"state": ' + '{"tuple": [' * 1000 + "1" + "]}" * 1000 + ', "sha256": {}}',
        '{"state": ' + '{"dict": [["a", ' * 5000 + "1" + "]]}" * 5000 + ', "sha256": {}}',
        '{"state": 3, "sha256": {}}',
        '{"state": {"dict": 3}, "sha256": {}}',
        '{"state": {"dict": [3]}, "sha256": {}}',
        '{"state": {"dict": [[[1], 3]]}, "sha256": {}}',
        '{"state": {"dict": [], "tuple": []}, "sha256": {}}',
        '{"state": {}, "sha256": {}}',
        '{"state": {"what": []}, "sha256": {}}',
        '{"state": {"array": "x"}, "sha256": {}}',
        '{"state": {"array": []}, "sha256": {}}',
        '{"state": {"dict": []}, "sha256": {}}',
        '{"state": {"dict": []}, "sha256": []}',
        '{"state": {"dict": []}, "sha256": {"x": "y"}}',
        '{"state": {"dict": []}}',
        '{"state": 1' + "0" * 5000 + ', "sha256": {}}',
        "\ud7ff\u0000",
    ],
    ids=lambda text: text[:30] or "empty",
)
def test_texts_that_are_no_state(target, tmp_path, text):
    of_text(tmp_path / "a", text)
    refused(target, tmp_path / "a")


def test_other_files(target, tmp_path, checkpoint):
    (tmp_path / "folder").mkdir()
    refused(target, tmp_path / "folder", "which is a folder or device")
    refused(target, "/dev/null", "which is a folder or device")
    (tmp_path / "empty").write_bytes(b"")
    refused(target, tmp_path / "empty", "cannot be read")
    save_file({"x": np.zeros(3)}, tmp_path / "weights")
    refused(target, tmp_path / "weights", "without a trainer's state")
    save_file({"x": np.zeros(3)}, tmp_path / "old", {KEY: "{}"})
    refused(target, tmp_path / "old", "damaged, or of another version")
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(target, tmp_path / "array.npy", "cannot be read")
    with pytest.raises(FileNotFoundError, match="nothing"):
        target.load(tmp_path / "nothing")
    (tmp_path / "a.1.b").write_bytes(checkpoint)
    (tmp_path / "a.b").write_bytes(checkpoint[:50])
    refused(target, tmp_path / "a.b", "the one before it is .*a.1.b")


def places(tree, path=()):
    """The paths of all entries of a nest."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree, path, change):
    """A copy of a nest with one entry changed."""
    if not path:
        return change(tree)
    if isinstance(tree, dict):
        return {k: changed(v, path[1:], change) if k == path[0] else v for k, v in tree.items()}
    return type(tree)(changed(v, path[1:], change) if i == path[0] else v for i, v in enumerate(tree))


def without(tree, path):
    """A copy of a nest that lacks one entry of a dict."""
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    if not isinstance(parent, dict):
        return None
    return changed(tree, path[:-1], lambda d: {k: v for k, v in d.items() if k != path[-1]})


VALUES = [
    None,
    True,
    -1,
    1.5,
    10**400,
    float("nan"),
    "text",
    [],
    (),
    {},
    [1, "a"],
    {"a": 1},
    np.zeros(3),
    np.zeros((0, 2)),
]


def sound(state):
    """What may be there and differ: numbers of the right kind are."""
    run = trainer()
    try:
        run.load_state_dict(state)
    except CheckpointError:
        return False
    with contextlib.suppress(CheckpointError):  # of what belongs to the loader, which comes now
        run.fit(batches(*data()), epochs=3)
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_states_with_another_value_are_refused_or_run(target, tmp_path, data):
    state = target.state_dict()
    path = data.draw(st.sampled_from(sorted(places(state), key=repr)))
    value = data.draw(st.sampled_from(VALUES))
    damaged = changed(state, path, lambda _: value)
    if data.draw(st.booleans()):
        damaged = without(state, path) or damaged
    try:
        write(tmp_path / "a", damaged)
        damaged = read(tmp_path / "a")
    except TypeError:
        return
    if not sound(damaged):
        refused(target, tmp_path / "a")


# ---- what does not fit

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
}
SCHEDULES = {
    "StepLR": lambda o: optim.StepLR(o, 3),
    "ExponentialLR": lambda o: optim.ExponentialLR(o, 0.9),
    "ReduceLROnPlateau": lambda o: optim.ReduceLROnPlateau(o, patience=0),
    "LinearWarmup": lambda o: optim.LinearWarmup(o, 4),
}


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(OPTIMIZERS, 2)))
def test_another_optimizer_is_refused(one, other, tmp_path):
    trained(optimizer=OPTIMIZERS[one]).save(tmp_path / "a")
    words = rf"optimizer: got {one} in the file, wanted {other} as in this trainer"
    refused(trained(optimizer=OPTIMIZERS[other]), tmp_path / "a", words)


@pytest.mark.parametrize("which", ["schedule", "step_schedule"])
@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(SCHEDULES, 2)))
def test_another_schedule_is_refused(one, other, which, tmp_path):
    if which == "step_schedule" and "ReduceLROnPlateau" in (one, other):
        return
    trained(**{which: SCHEDULES[one]}).save(tmp_path / "a")
    words = rf"{which}: got {one} in the file, wanted {other} as in this trainer"
    refused(trained(**{which: SCHEDULES[other]}), tmp_path / "a", words)
    refused(trained(), tmp_path / "a", f"{which}: got one in the file, wanted none")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1)), r"0.weight float32\(3, 2\), wanted"),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)),
            "no 1.weight; no 1.bias; 2.weight, which",
        ),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).to("float64"), "0.weight float32"),
    ],
)
def test_another_model_is_refused(model, words, tmp_path):
    if words.startswith("0.weight float32") and not hasattr(nn, "Tanh"):
        pytest.skip("no nn.Tanh")
    trained().save(tmp_path / "a")
    refused(trained(model=model()), tmp_path / "a", f"model: got in the file: .*{words}")


def test_other_groups_are_refused(tmp_path):
    def groups(split):
        def make(params):
            params = list(params)
            return optim.Adam([{"params": params[:split]}, {"params": params[split:], "lr": 0.1}])

        return make

    trained(optimizer=groups(2)).save(tmp_path / "a")
    words = r"optimizer: got groups of \[2, 2\] parameters in the file, wanted \[4\]"
    refused(trained(), tmp_path / "a", words)
    refused(trained(optimizer=groups(1)), tmp_path / "a", r"wanted \[1, 3\]")
    backwards = trained(optimizer=lambda p: optim.Adam(list(p)[::-1]))
    trained().save(tmp_path / "b")
    refused(backwards, tmp_path / "b", "optimizer: got the parameter .*0.weight.* in the file, wanted .*2.bias")


def test_a_part_that_refuses_late_leaves_nothing_behind(tmp_path):
    """Also parts of the user's own, which look at their state when all others have taken theirs up."""

    class Own(optim.StepLR):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            if refuse:
                raise RuntimeError("changed my mind")

    def make():
        return trained(step_schedule=lambda o: Own(o, 3))

    refuse = False
    make().save(tmp_path / "a")
    other = make()
    other.fit(batches(*data()), epochs=4)
    before, refuse = everything(other), True
    copied = copy.deepcopy([p.data.copy() for p in other.model.parameters()])
    with pytest.raises(RuntimeError, match="changed my mind"):
        other.load(tmp_path / "a")
    refuse = False
    assert everything(other) == before
    for p, value in zip(other.model.parameters(), copied):
        np.testing.assert_array_equal(p.data, value)


# ---- generators of one's own


class Drawing(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 1)
        self.rng, self.old, self.python = np.random.default_rng(1), np.random.RandomState(2), random.Random(3)
        self.more = {"a": [np.random.Generator(np.random.MT19937(4))]}

    def forward(self, x):
        scale = 1 + 0.1 * (self.rng.normal() + self.old.normal() + self.python.random() + self.more["a"][0].random())
        return self.layer(x * np.float32(scale + 0.1 * random.random() + 0.1 * np.random.rand()))  # noqa: NPY002


class Shuffled:
    """A loader without a state, which shuffles with a generator of its own, and draws for each batch."""

    def __init__(self):
        self.rng = np.random.default_rng(7)

    def __iter__(self):
        for i in self.rng.permutation(5):
            x, y = batches(*data())[i]
            yield x + 0.1 * self.rng.normal() + 0.1 * tr.config.generator().normal(), y


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_generators_found_on_model_and_loader_go_on(steps, tmp_path):
    noise = np.random.default_rng(6)

    def loss(y, t):
        return nn.mse_loss(y, t) * (1 + 0.1 * float(noise.random()))

    def run(start, limit=None, load=False):
        noise.bit_generator.state = np.random.default_rng(6).bit_generator.state
        tr.seed(4)
        out = trainer(model=Drawing(), loss=loss)
        random.seed(start)
        np.random.seed(start)  # noqa: NPY002
        tr.seed(start)
        loader = Shuffled()
        if load:
            loader.rng = np.random.default_rng(start)
            out.model.rng = np.random.default_rng(start)
            noise.bit_generator.state = np.random.default_rng(start).bit_generator.state
            out.load(tmp_path / "a")
        out.fit(loader, epochs=3, max_steps=limit)
        return out

    whole = run(1)
    run(1, steps).save(tmp_path / "a")
    resumed = run(2, load=True)
    assert resumed.history["loss"] == whole.history["loss"]
    for p, q in zip(whole.model.parameters(), resumed.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


def test_other_generators_are_refused(tmp_path):
    trained(model=Drawing()).save(tmp_path / "a")
    other = Drawing()
    other.rng = np.random.Generator(np.random.MT19937(1))
    refused(trained(model=other), tmp_path / "a", "generators: model.rng: got PCG64 in the file, wanted MT19937")
    del other.rng
    other.rng2 = np.random.default_rng(1)
    other.forward = lambda x: other.layer(x)
    refused(trained(model=other), tmp_path / "a", "generators: got .*model.rng'.* wanted .*model.rng2")


def test_a_generator_without_a_state_is_named(tmp_path):
    run = trained()
    run.model.source = random.SystemRandom()
    with pytest.warns(RuntimeWarning, match=r"not in the checkpoint.*model.source \(SystemRandom\)"):
        run.save(tmp_path / "a")
    run.load(tmp_path / "a")
