"""The autodiff core: tensors, the tape of their operations, and its backward walk.

Files, in reading order: `node` (the record of an operation, and what one application of it leaves on the tape),
`registration` (makes that record of a function), `lowering` (what the operation is in a compiled loop), `dtype`,
`tensor`, `backward` (the walk), `walk_errors`, `construct` (tensors from data; `grad`), `functions` (the table of
operations by name), `operators` (``+`` and the methods of tensors and symbols), `conversion`, `html`, `inplace`,
`numpy_protocol` and `numpy_functions` (NumPy's own functions on tensors), `anomaly` and `finding` (where NaN and
infinity come from), `tree` (tuples, lists and dicts of tensors), `symbolic_number` (numbers that traces take as
inputs), `aliases` and `signatures` (types).

It knows of no operation: those of `ops` register themselves, and fill the table in `functions`. Nor does it know
Numba.
"""

from .anomaly import counting_from, detect_anomaly, listening
from .backward import sum_rows
from .construct import as_tensor, grad, partial_grad, tensor, vjp_by_replay
from .dtype import as_array, check_dtype, is_float
from .functions import functions
from .lowering import Lowering, Reduction
from .node import OUT, Aval, Op, Traceable, apply
from .operators import Operators
from .registration import primitive, registry
from .tensor import Tensor, producer, version_counter

__all__ = [
    "OUT",
    "Aval",
    "Lowering",
    "Op",
    "Operators",
    "Reduction",
    "Tensor",
    "Traceable",
    "apply",
    "as_array",
    "as_tensor",
    "check_dtype",
    "counting_from",
    "detect_anomaly",
    "functions",
    "grad",
    "is_float",
    "listening",
    "partial_grad",
    "primitive",
    "producer",
    "registry",
    "sum_rows",
    "tensor",
    "version_counter",
    "vjp_by_replay",
]
