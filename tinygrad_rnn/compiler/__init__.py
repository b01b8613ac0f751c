"""The compiler: a step in plain tensor maths becomes one fused loop, forward and backward in time.

The phases, in the order in which a step passes them, each knowing only those before it: `ir` (programs), `frontend` (a
step becomes a program in normal form), `autodiff` (a program becomes its reverse), `schedule` (loops and buffers),
`codegen` (Numba source), `runtime` (arrays, arguments, the call); `model` (whole functions of tensors, in which steps
are loops); and `explain`, which reports on them.

This room is handed callables and shapes; it knows nothing of cells, modules and layers. The names below are its door.
"""

from ..kernels.build.uninterrupted import making
from .autodiff.diagonal import DiagonalStep
from .autodiff.influence import Influence
from .autodiff.influence_programs import InfluencePrograms
from .frontend.trace_step import trace_step
from .frontend.watch import Codes, tells_stand_ins, watching
from .ir.canonical import Line, canonical, difference, listing
from .ir.interpret import compute, evaluate, order, replay, replay_checked
from .ir.program import Check, StepProgram, bases, leaves, row_constants
from .ir.symbol import BATCH, Symbol, location, raised_at
from .runtime.executable import Executable, check_available
from .runtime.interpret_segments import replay_segments
from .runtime.learning import InfluenceKernel
from .runtime.memory import check_memory, format_bytes, out_of_memory
from .runtime.segments import Segments
from .runtime.streaming import CHANGED, SUSPECT, StepKernel
from .schedule.plan import Plan

__all__ = [
    "BATCH",
    "CHANGED",
    "SUSPECT",
    "Check",
    "Codes",
    "DiagonalStep",
    "Executable",
    "Influence",
    "InfluenceKernel",
    "InfluencePrograms",
    "Line",
    "Plan",
    "Segments",
    "StepKernel",
    "StepProgram",
    "Symbol",
    "bases",
    "canonical",
    "check_available",
    "check_memory",
    "compute",
    "difference",
    "evaluate",
    "format_bytes",
    "leaves",
    "listing",
    "location",
    "making",
    "order",
    "out_of_memory",
    "raised_at",
    "replay",
    "replay_checked",
    "replay_segments",
    "row_constants",
    "tells_stand_ins",
    "trace_step",
    "watching",
]  # fmt: skip
