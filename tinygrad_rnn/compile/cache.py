"""The disk cache: generated source becomes a real file, which is imported and jitted like any module.

The file's name is a hash over its text and the fingerprint of the kernels that it calls, so that neither Numba's own
cache, which is kept beside the file, nor a file left by another version can be stale.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_loaded: dict[str, Any] = {}


def directory() -> Path:
    """Where generated files live: ``TINYGRAD_RNN_CACHE``, or the user's cache directory; made if need be."""
    given = os.environ.get("TINYGRAD_RNN_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            return base
    except OSError:  # a read-only home: a place of this process's own
        fallback = Path(tempfile.gettempdir()) / f"tinygrad_rnn-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        fallback.mkdir(mode=0o700, exist_ok=True)
        return fallback


def store(text: str) -> Path:
    """The file of the module `text`, written if it is not there yet."""
    from ..kernels.fingerprint import fingerprint

    digest = hashlib.sha256(f"{fingerprint()}\n{text}".encode()).hexdigest()[:20]
    path = directory() / f"tinygrad_rnn_step_{digest}.py"
    if not path.exists():
        _write(path, text)
    return path


def load(text: str, name: str) -> Any:
    """What is called `name` in the module `text`, which compiles it.

    Parameters
    ----------
    text : str
        Source of a module; it jits the function itself.
    name : str
        The function.
    """
    with _lock:
        path = store(text)
        if path.stem not in _loaded:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module  # before jitting: Numba looks the module up by name
            spec.loader.exec_module(module)
            _loaded[path.stem] = getattr(module, name)
        return _loaded[path.stem]


def _write(path: Path, text: str) -> None:
    """Write under another name, then rename: two processes may do this at once."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(temporary, path)
