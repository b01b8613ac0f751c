"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import tinygrad_rnn
from tinygrad_rnn.core import registration


class Finder(doctest.DocTestFinder):
    """Also looks into decorated functions, such as the operations."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)


PACKAGES = pkgutil.walk_packages(tinygrad_rnn.__path__, "tinygrad_rnn.")
MODULES = ["tinygrad_rnn", *(m.name for m in PACKAGES if not m.name.endswith("__main__"))]  # that one runs
FINDER = Finder()


def examples(name: str) -> list[doctest.DocTest]:
    return [t for t in FINDER.find(importlib.import_module(name), name) if t.examples]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch):
    # forgets the operations that examples add
    monkeypatch.setattr(registration, "registry", dict(registration.registry))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        out: list[str] = []
        runner.run(test, out=out.append)
        assert not out, "".join(out)


def test_examples_are_found():
    assert all(examples(m) for m in ("tinygrad_rnn.config", "tinygrad_rnn.core.construct", "tinygrad_rnn.ops.shape"))
