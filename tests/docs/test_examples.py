"""The examples of the pages run, in order, as a reader would type them; and notebooks are those of the pages."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_rnn.core import registration

from .page import ROOT, blocks, carry_out, read

SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)
OWN_TESTS = {"extending", "weights"}  # pages whose code is tested elsewhere
WITH_CODE = sorted(
    path.stem for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text() and path.stem not in OWN_TESTS
)
NEEDS = {"machines": "joblib", "forecasting": "pandas", "cell": "hypothesis"}
# by single blocks, which are left out without
NEEDED = {"Ranks()": "mpi4py.MPI", "import gymnasium": "gymnasium", "import pandas": "pandas"}
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def params():
    """Pages; those that are notebooks too, which the continuous integration runs, are slow."""
    return [pytest.param(page, marks=pytest.mark.slow if page in notebooks.PAGES else ()) for page in WITH_CODE]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("page", params())
def test_examples_run(page, monkeypatch, tmp_path):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)  # they write files
    monkeypatch.setattr(registration, "registry", dict(registration.registry))  # forgets operations that they add
    namespace: dict = {"__name__": "page"}
    for block in blocks(read(f"{page}.md")):
        if all(is_there(library) for words, library in NEEDED.items() if words in block.text):
            exec(compile(block.text, f"{page}.md", "exec"), namespace)


def is_there(library):
    try:
        importlib.import_module(library)
    except (ImportError, RuntimeError):  # mpi4py without a runtime
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(MPIEXEC is None or not importlib.util.find_spec("mpi4py"), reason="needs MPI")
def test_the_script_for_many_machines(tmp_path):
    """It says the same of one process and of two, and goes on with another number of them."""
    (script,) = (block for block in blocks(read("machines.md")) if block.path == "train.py")
    said = []
    for size in (1, 2):
        carry_out(script, folder := tmp_path / str(size))
        for epochs in ("epochs=5", "epochs=6"):
            text = (folder / script.path).read_text(encoding="utf-8").replace("epochs=5", epochs)
            (folder / script.path).write_text(text, encoding="utf-8")
            command = [MPIEXEC, "-n", str(size), sys.executable, script.path]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
            assert ran.returncode == 0, ran.stderr
            said.append(ran.stdout)
            size = 3 - size
    assert re.fullmatch(r"loss 0\.\d+ after 20 updates of 1 processes\n", said[0])
    assert said[2] == said[0].replace("of 1", "of 2")
    assert re.fullmatch(r"loss 0\.\d+ after 24 updates of 2 processes\n", said[1])
    assert said[3] == said[1].replace("of 2", "of 1")


@pytest.mark.parametrize("page", notebooks.PAGES)
def test_notebooks_are_those_of_the_pages(page):
    text = (ROOT / "docs" / "notebooks" / f"{Path(page).name}.ipynb").read_text(encoding="utf-8")
    assert text == notebooks.notebook(read(f"{page}.md")), "run python docs/notebooks.py"
    cells = json.loads(text)["cells"]
    assert sum(cell["cell_type"] == "code" for cell in cells) == len(blocks(read(f"{page}.md")))
    words = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    for target in re.findall(r"\]\(([^)#\s]+)", words):
        assert target.startswith("http") or (ROOT / "docs" / "notebooks" / target).exists(), target


def test_every_notebook_has_a_page():
    there = {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    names = [Path(page).name for page in notebooks.PAGES]
    assert there == {*names}
    listed = re.findall(r"docs/notebooks/([\w-]+)\.ipynb", read("notebooks.md"))
    assert listed == names
