"""docs/extending.md: its package works from outside, and its recipes need the files that it names."""

import importlib
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from benchmarks import __main__ as benchmarks
from models import __main__ as models
from tinygrad_rnn import nn
from tinygrad_rnn.core import registration
from tinygrad_rnn.recurrent.cells import registry
from tinygrad_rnn.testing import CELL_CHECKS, check_cell, gradcheck, gradgradcheck

from .page import ROOT, Block, blocks, carry_out, read

PAGE = read("extending.md")
BLOCKS = blocks(PAGE)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


# ---- from outside


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The package of the page, in a folder of its own; what it registers is forgotten afterwards."""
    folder = tmp_path_factory.mktemp("outside")
    for block in BLOCKS:
        if block.path.startswith("gallery/"):
            carry_out(block, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(registration, "registry", dict(registration.registry))
        patch.setattr(registry, "_cells", dict(registry._cells))
        yield importlib.import_module("gallery.cells")
        for name in [name for name in sys.modules if name.partition(".")[0] == "gallery"]:
            del sys.modules[name]


def test_the_package_uses_public_names_only():
    code = "".join(block.text for block in BLOCKS if block.path.startswith("gallery/"))
    named = set(re.findall(r"\btr\.(\w+)", code))
    assert named <= {*tr.__all__}
    assert {"primitive", "Lowering", "Reduction", "OUT"} <= named
    assert set(re.findall(r"\bnn\.(\w+)", code)) <= {*nn.__all__}
    ours = re.findall(r"^(?:from|import) (tinygrad_rnn[.\w]*).*", code, re.MULTILINE)
    assert set(ours) == {"tinygrad_rnn"}


@pytest.mark.slow
def test_what_is_only_run_runs(gallery):
    namespace: dict = {"__name__": "extending"}
    for block in BLOCKS:
        if not block.path:
            exec(compile(block.text, "extending.md", "exec"), namespace)


@DTYPES
@pytest.mark.parametrize("name", ["softsign", "smooth_length"])
def test_operations_on_the_tape(gallery, name, dtype, rng):
    operation = getattr(gallery, name)
    formula = {
        "softsign": lambda x: x / (1 + np.abs(x)),
        "smooth_length": lambda x: np.sqrt(1 + (x * x).sum(-1, keepdims=True)),
    }[name]
    for shape in ((3,), (1, 3), (4, 5), (2, 3, 4), (0, 3)):
        x = rng.standard_normal(shape)
        y = operation(tr.tensor(x.astype(dtype)))
        assert y.dtype == dtype
        np.testing.assert_allclose(y.numpy(), formula(x), rtol=1e-5 if dtype == "float32" else 1e-13)
        np.testing.assert_array_equal(operation(x.astype(dtype)), y.numpy())  # arrays in, arrays out
        if dtype == "float64":
            x = tr.tensor(x, requires_grad=True)
            assert gradcheck(operation, [x])
            assert gradgradcheck(operation, [x])


class Alone(nn.Cell):
    """One operation on the sum of input and state."""

    input_size = hidden_size = 3

    def __init__(self, operation):
        self.operation = operation

    def step(self, x, h):
        h = 0.5 * self.operation(x + h) + 0.1 * h
        return h, h


def outcome(cell, mode, x, h, second):
    """Output, final state, first gradients of x and h, and those of a norm of them if `second`."""
    x, h = (tr.tensor(a, requires_grad=True) for a in (x, h))
    y, final = nn.Recurrent(cell, mode=mode)(x, h)
    parameters = list(cell.parameters())
    gradients = tr.grad((y * y).sum() + final.sum(), [x, h, *parameters], create_graph=second)
    more = tr.grad(sum((g * g).sum() for g in gradients), [x, h, *parameters]) if second else []
    return [a.numpy() for a in (y, final, *gradients, *more)]


@pytest.mark.sampled(12)
@DTYPES
@pytest.mark.parametrize("batch", [1, 2, 7, 40])
@pytest.mark.parametrize("name", ["softsign", "smooth_length", "SettledCell"])
def test_eager_and_compiled_agree(gallery, name, batch, dtype, rng):
    tr.set_default_dtype(dtype)
    part = getattr(gallery, name)
    for second in (False, True):
        cell = part(3, 3, dtype=dtype) if name == "SettledCell" else Alone(part)
        x, h = (rng.standard_normal(s).astype(dtype) for s in ((6, batch, 3), (batch, 3)))
        eager, compiled = (outcome(cell, mode, x, h, second) for mode in ("eager", "compiled"))
        for a, b in zip(eager, compiled, strict=True):
            assert a.dtype == b.dtype == dtype
            scale = max(1.0, float(np.abs(a).max()))
            np.testing.assert_allclose(b, a, rtol=0, atol=scale * (2e-5 if dtype == "float32" else 1e-12))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_gradients_of_the_layer(gallery, mode, rng):
    layer = nn.Recurrent(gallery.SettledCell(2, 3, dtype="float64"), mode=mode)
    x, h = (tr.tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 2, 2), (2, 3)))
    assert gradcheck(lambda x, h, *_: layer(x, h)[0], [x, h, *layer.parameters()])
    assert gradgradcheck(lambda x, h, *_: layer(x, h)[0], [x, h, *layer.parameters()])


def test_check_cell(gallery):
    assert check_cell(gallery.SettledCell, max_examples=4).passed == CELL_CHECKS


def test_without_a_lowering_a_step_runs_eagerly(gallery):
    @tr.primitive(vjps=gallery.softsign.op.vjps, saves=(tr.OUT,))
    def softsign_without(x):
        return x / (1 + np.abs(x))

    x = np.ones((3, 2, 3))
    with pytest.warns(RuntimeWarning, match="softsign_without"):
        y, _ = nn.Recurrent(Alone(softsign_without))(x)
    np.testing.assert_allclose(y.numpy(), nn.Recurrent(Alone(gallery.softsign))(x)[0].numpy(), rtol=1e-5)


def test_the_optimiser(gallery):
    """As PyTorch's, and with what the base gives: groups, states, a schedule."""
    torch = pytest.importorskip("torch")
    Adadelta = importlib.import_module("gallery.optimisers").Adadelta
    start = np.random.default_rng(0).standard_normal((4, 3))
    ours, theirs = tr.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    optimizer, other = Adadelta([ours]), torch.optim.Adadelta([theirs])
    for i in range(30):
        if i == 15:  # goes on from its state
            state = optimizer.state_dict()
            optimizer = Adadelta([ours])
            optimizer.load_state_dict(state)
        ours.grad, theirs.grad = None, None
        ((ours - 1) ** 2).sum().backward()
        ((theirs - 1) ** 2).sum().backward()
        optimizer.step()
        other.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12)


# ---- files that need no other


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Makes a module of the page one of models or benchmarks, though it lies elsewhere."""

    def make(path: str, command):
        (block,) = (block for block in BLOCKS if block.path == path)
        carry_out(block, tmp_path)
        folder = str((tmp_path / path).parent)
        command.FOLDER.append(folder)
        return folder

    added = []
    yield lambda path, command: added.append((command, make(path, command)))
    for command, folder in added:
        command.FOLDER.remove(folder)
    for name in ("models.echo", "benchmarks.bench_softsign"):
        sys.modules.pop(name, None)


def test_a_file_is_a_model(beside, tmp_path, capsys):
    beside("models/echo.py", models)
    assert "echo" in models.names()
    out = ["--out", str(tmp_path / "out")]
    assert models.main(["echo", "--epochs", "2", "--sequences", "40", *out]) == 0
    assert models.main(["echo", "--resume", "--epochs", "3", *out]) == 0
    assert models.main(["echo", "repeat", *out]) == 0
    text = capsys.readouterr().out
    assert "going on after epoch 2" in text
    assert re.search(r"^said:( -?\d\.\d\d){20}$", text, re.MULTILINE)


def test_a_file_is_a_benchmark(beside, capsys):
    beside("benchmarks/bench_softsign.py", benchmarks)
    assert "softsign" in benchmarks.names()
    assert benchmarks.main(["softsign", "--quick"]) == 0
    assert "1000 numbers" in capsys.readouterr().out


# ---- in the package

RECIPES = {  # section, and which tests a reader would run
    "An operation or a reduction in the package": "tests/ops -k softsign or every",
    "A cell in the package": "tests/testing/test_cell_table.py tests/recurrent/cells -k janet or every or name",
    "An optimiser in the package": "tests/optim -k adadelta or covers",
    "A kernel": "tests/kernels/test_average.py tests/ops tests/test_import.py -k averages or every or twin or import",
    "A model": "tests/models/test_every.py -k echo or every",
    "A benchmark": "tests/benchmarks/test_benchmarks.py -k softsign or list",
    "A data reader": "tests/data/test_matrices.py tests/data/test_arguments.py tests/fuzz/test_fuzz.py "
    "-k matri or arguments or functions",
}


def steps(section: str) -> list[Block]:
    return [block for block in BLOCKS if block.section == section and block.path]


def listed(section: str) -> set[str]:
    """The files that the table at the top of the page names for a section."""
    anchor = re.sub(r"\W+", "-", section.lower())
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| [") and f"(#{anchor})" in line)
    paths = re.findall(r"`([\w/]+\.py)`", row)
    whole = ("tests/", "models/", "benchmarks/", "tinygrad_rnn/")
    return {path if path.startswith(whole) else f"tinygrad_rnn/{path}" for path in paths}


@pytest.mark.parametrize("section", RECIPES)
def test_recipes_change_the_files_of_the_table(section):
    changed = {block.path for block in steps(section)}
    patterns = [re.sub("NAME|FAMILY", r"[a-z]\\w*", path) for path in listed(section)]
    assert len(changed) == len(patterns)
    for pattern in patterns:
        assert any(re.fullmatch(pattern, path) for path in changed), pattern
    for path in changed:
        assert any(re.fullmatch(pattern, path) for pattern in patterns), path


def test_all_files_that_are_named_are_there():
    new = {block.path for block in BLOCKS if not block.how}
    for path in set(re.findall(r"`((?:tinygrad_rnn|tests|models|benchmarks|docs)/[\w/.]+\.\w+)`", PAGE)) - new:
        if "NAME" not in path and "FAMILY" not in path and path != "docs/models/echo.png":
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("section", RECIPES)
def test_recipes_give_files_of_python(section, tmp_path):
    for block in steps(section):
        file = tmp_path / block.path
        if block.how and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / block.path, file)
        carry_out(block, tmp_path)
        compile(file.read_text(encoding="utf-8"), str(file), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("section", RECIPES)
def test_recipes_in_a_copy(section, tmp_path):
    for folder in ("tinygrad_rnn", "tests", "models", "benchmarks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "CHANGELOG.md", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    for block in steps(section):
        carry_out(block, tmp_path)
    files, _, words = RECIPES[section].partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files.split(), "-k", words]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    if shutil.which("lint-imports"):
        done = subprocess.run(
            ["lint-imports", "--no-logo"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
