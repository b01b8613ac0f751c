"""The examples of the pages run, in order, as a reader would type them; and notebooks are those of the pages."""

import importlib.util
import json
import re

import pytest

from tinygrad_rnn.core import registration

from .page import ROOT, blocks, read

SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)
OWN_TESTS = {"extending", "weights"}  # pages whose code is tested elsewhere
WITH_CODE = sorted(
    path.stem for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text() and path.stem not in OWN_TESTS
)
NEEDS = {"machines": "joblib", "forecasting": "pandas", "cell": "hypothesis"}


def params():
    """Pages; those that are notebooks too, which the continuous integration runs, are slow."""
    return [pytest.param(page, marks=pytest.mark.slow if page in notebooks.PAGES else ()) for page in WITH_CODE]


@pytest.mark.parametrize("page", params())
def test_examples_run(page, monkeypatch, tmp_path):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)  # they write files
    monkeypatch.setattr(registration, "registry", dict(registration.registry))  # forgets operations that they add
    namespace: dict = {"__name__": "page"}
    for block in blocks(read(f"{page}.md")):
        exec(compile(block.text, f"{page}.md", "exec"), namespace)


@pytest.mark.parametrize("page", notebooks.PAGES)
def test_notebooks_are_those_of_the_pages(page):
    text = (ROOT / "docs" / "notebooks" / f"{page}.ipynb").read_text(encoding="utf-8")
    assert text == notebooks.notebook(read(f"{page}.md")), "run python docs/notebooks.py"
    cells = json.loads(text)["cells"]
    assert sum(cell["cell_type"] == "code" for cell in cells) == len(blocks(read(f"{page}.md")))
    words = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    for target in re.findall(r"\]\(([^)#\s]+)", words):
        assert target.startswith("http") or (ROOT / "docs" / "notebooks" / target).exists(), target


def test_every_notebook_has_a_page():
    there = {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert there == {*notebooks.PAGES}
    listed = re.findall(r"docs/notebooks/([\w-]+)\.ipynb", read("notebooks.md"))
    assert listed == [*notebooks.PAGES]
