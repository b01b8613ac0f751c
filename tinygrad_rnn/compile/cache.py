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
from collections.abc import Callable
from pathlib import Path

_lock = threading.Lock()
_loaded: dict[str, Callable] = {}


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


def load(text: str, name: str) -> tuple[Callable, Path]:
    """The function `name` of the module `text`, and its file.

    Parameters
    ----------
    text : str
        Source of a module; it jits the function itself.
    name : str
        The function.
    """
    from ..kernels.fingerprint import fingerprint

    digest = hashlib.sha256(f"{fingerprint()}\n{text}".encode()).hexdigest()[:20]
    module_name = f"tinygrad_rnn_step_{digest}"
    with _lock:
        path = directory() / f"{module_name}.py"
        if module_name not in _loaded:
            if not path.exists():
                _write(path, text)
            spec = importlib.util.spec_from_file_location(module_name, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module  # before jitting: Numba looks the module up by name
            spec.loader.exec_module(module)
            _loaded[module_name] = getattr(module, name)
        return _loaded[module_name], path


def _write(path: Path, text: str) -> None:
    """Write under another name, then rename: two processes may do this at once."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(temporary, path)
