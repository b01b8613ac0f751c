"""The metadata is true: what the code imports is declared, and the version is one."""

import ast
import configparser
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
OURS = {"tinygrad_rnn", "models", "benchmarks", "tests"}
# what results are compared with, and what fuzzes
OPTIONAL = {"torch", "keras", "mido", "jax", "onnx", "onnxruntime", "atheris", "sb3_contrib", "stable_baselines3"}
EXTRAS = {  # that a room may import, at first use
    "train": ["tensorboard", "mpi", "sweep"],
    "data": ["pandas", "audio"],
    "estimators": ["sklearn", "pandas"],
    "io": ["onnx", "keras"],
}
NAMES = {"llvmlite": "numba", "sklearn": "scikit-learn", "PIL": "pillow"}  # comes with; is called


def declared(*extras: str) -> set[str]:
    """Distributions that an installation with `extras` brings."""
    text = SETUP["options"]["install_requires"]
    text += "".join(SETUP["options.extras_require"][extra] for extra in extras)
    return {re.match(r"[\w-]+", line)[0] for line in text.split("\n") if line}


@functools.cache
def imported(folder: Path) -> set[str]:
    """Top-level names of other packages that the files below `folder` import, anywhere."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return {NAMES.get(name, name) for name in found - OURS - OPTIONAL - set(sys.stdlib_module_names)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("tinygrad_rnn", [*SETUP["options.extras_require"]]),
        ("models", ["models", "gym"]),
        ("benchmarks", ["bench", "gym", "mpi"]),
        ("tests", [*SETUP["options.extras_require"]]),
    ],
)
def test_imports_are_declared(folder, extras):
    assert imported(ROOT / folder) <= declared(*extras)


@pytest.mark.slow
def test_the_core_needs_no_extra():
    """Only random checks, pictures, loggers and the command line may need more than the core dependencies."""
    for path in (ROOT / "tinygrad_rnn").iterdir():
        if path.is_dir() and path.name not in ("cli", "testing", "viz"):
            assert imported(path) <= declared(*EXTRAS.get(path.name, []))


def test_extras_are_imported_at_first_use():
    imports = "import sys, tinygrad_rnn.testing, tinygrad_rnn.viz"
    code = f"{imports}; print({{'hypothesis', 'matplotlib'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_every_core_dependency_is_used():
    assert declared() <= imported(ROOT / "tinygrad_rnn") | imported(ROOT / "models") | imported(ROOT / "benchmarks")


def test_one_version():
    assert SETUP["metadata"]["version"] == tinygrad_rnn.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {tinygrad_rnn.__version__}" in changelog


def test_data_and_marker_files_exist():
    assert (ROOT / "tinygrad_rnn" / "py.typed").exists()
    assert (ROOT / SETUP["metadata"]["license_files"]).exists()
    assert (ROOT / "models" / "data" / "airline.csv").exists()


def test_every_room_is_a_package():
    for path in (ROOT / "tinygrad_rnn").rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path
