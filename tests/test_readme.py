"""The README: its commands stand near the top, and its examples run."""

import re
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from models import __main__ as models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    ['pip install -e ".[models]" && python -m models airline', 'pip install -e ".[test]" && pytest'],
)
def test_commands_near_the_top(command):
    assert f"    {command}" in README.splitlines()[:20]


def test_examples_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks
    namespace: dict = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


@pytest.mark.parametrize("kind", ["models", "benchmarks"])
def test_named_commands_exist(kind):
    known = {"models": [*models.names(), "report"], "benchmarks": [*benchmarks.names(), "results"]}[kind]
    named = re.findall(rf"python -m {kind} (\w+)", README)
    assert named
    assert set(named) <= set(known)


def test_it_stays_two_screens():
    assert len(README.splitlines()) <= 120


def test_what_the_promises_name_is_there():
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([a-z_]+/(?:\w+\.py)?)`", text)) - {"tests/"}
    modules = re.findall(r"python -m (tests[.\w]+)", text)
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / "tests" / path).exists(), path
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
