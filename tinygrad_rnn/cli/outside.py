"""Models and benchmarks: what lies beside the package in a clone; models are installed with it, too."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .terminal import Fault

CLONE = Path(__file__).parents[2]
MODELS = "tinygrad_rnn.models"  # the name that they are installed under


def models() -> ModuleType:
    """The command line of the models, as installed or from the clone."""
    if importlib.util.find_spec(MODELS) is None:
        folder = CLONE / "models"
        if not (folder / "__main__.py").is_file():
            raise Fault("models: they are not installed; run: pip install tinygrad_rnn, or use a clone")
        locations = [str(folder)]
        spec = importlib.util.spec_from_file_location(
            MODELS, folder / "__init__.py", submodule_search_locations=locations
        )
        assert spec is not None
        assert spec.loader is not None
        package = sys.modules[MODELS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return importlib.import_module(f"{MODELS}.__main__")


def benchmarks() -> ModuleType:
    """The command line of the benchmarks, which are in a clone only."""
    if not (CLONE / "benchmarks" / "__main__.py").is_file():
        raise Fault("bench: the benchmarks are not installed; they are in a clone, as python -m benchmarks")
    if str(CLONE) not in sys.path:
        sys.path.insert(0, str(CLONE))
    return importlib.import_module("benchmarks.__main__")
