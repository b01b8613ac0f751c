"""The compiler: a step in plain tensor maths becomes one fused loop, forward and backward through time.

The road: `trace` (run the step on symbols) -> normal form -> `adjoint` -> `schedule` -> `emit` -> `cache` -> `runtime`.
This room is handed callables and shapes; it knows nothing of cells and modules.
"""

from .plan import Plan, bases, trace_step
from .replay import evaluate, replay
from .runtime import Executable, check_available
from .symbol import Symbol
from .threads import get_num_threads, set_num_threads
from .trace import BATCH

__all__ = [
    "BATCH", "Executable", "Plan", "Symbol", "bases", "check_available", "evaluate", "get_num_threads", "replay",
    "set_num_threads", "trace_step",
]  # fmt: skip
