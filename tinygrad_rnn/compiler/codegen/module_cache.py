"""Cache of generated modules: their text and their machine code are kept on the disk.

What is run is the text at hand, never what a file holds: the file is there for whoever wants to read or debug it. Its
name is a hash over its text and the fingerprint of the kernels that it calls, so that machine code from another version
is not found.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import types
import weakref
from pathlib import Path
from typing import Any

from ...kernels.build.disk_cache import directory, keep_text
from ...kernels.build.uninterrupted import making

__all__ = ["directory", "load", "store"]

_loaded: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()  # loops that somebody has


def store(text: str) -> Path:
    """Path of the module `text`, written if need be; where nothing can be written, a name alone."""
    from ...kernels.build import fingerprint

    digest = hashlib.sha256(f"{fingerprint.fingerprint()}\n{text}".encode()).hexdigest()[:20]
    name = f"tinygrad_rnn_step_{digest}.py"
    folder = directory()
    if folder is None:
        return Path(name)
    keep_text(name, text)
    return folder / name


def load(text: str, name: str) -> Any:
    """The compiled function `name` of the module `text`, shared as long as somebody holds it.

    Parameters
    ----------
    text : str
        Source of a module; it compiles the function itself.
    name : str
        The function.
    """
    with making:
        path = store(text)
        loop = _loaded.get(path.stem)
        if loop is None:
            loop = _loaded[path.stem] = _run(text, path, name)
        return loop


def _run(text: str, path: Path, name: str) -> Any:
    """The compiled function of a module, which is run for it and then dropped."""
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    lines = text.splitlines(keepends=True)
    linecache.cache[str(path)] = len(text), None, lines, str(path)  # whatever the file holds
    sys.modules[path.stem] = module  # who compiles it looks it up by name
    try:
        exec(compile(text, path, "exec"), module.__dict__)
        return getattr(module, name)
    finally:
        sys.modules.pop(path.stem, None)
        linecache.cache.pop(str(path), None)
