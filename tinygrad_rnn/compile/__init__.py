"""The compiler: a step in plain tensor maths becomes one fused loop, forward and backward through time.

The road: `trace` (run the step on symbols) -> normal form -> `adjoint` -> `schedule` -> `emit` -> `cache` -> `runtime`.
This room is handed callables and shapes; it knows nothing of cells and modules.
"""

from ..kernels.uninterrupted import making
from .plan import Plan, Traced, bases, leaves, row_constants, trace_step
from .ragged import Ragged
from .ragged_loop import RaggedExecutable
from .replay import evaluate, replay, replay_ragged
from .runtime import Executable, check_available
from .stepper import Stepper
from .symbol import BATCH, Symbol, raised_at

__all__ = [
    "BATCH",
    "Executable",
    "Plan",
    "Ragged",
    "RaggedExecutable",
    "Stepper",
    "Symbol",
    "Traced",
    "bases",
    "check_available",
    "evaluate",
    "leaves",
    "making",
    "raised_at",
    "replay",
    "replay_ragged",
    "row_constants",
    "trace_step",
]  # fmt: skip
