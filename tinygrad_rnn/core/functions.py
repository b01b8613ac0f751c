"""Table of the public operations by name; :mod:`tinygrad_rnn.ops`, which stands above, fills it in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

functions: Any = SimpleNamespace()  # name -> public function
