"""Table of the public operations by name, for the rooms below theirs; :mod:`tinygrad_rnn.ops` fills it in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

functions: Any = SimpleNamespace()  # name -> public function
