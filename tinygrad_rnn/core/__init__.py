"""The autodiff core: operation records, the tape, the backward walk."""

from .anomaly import counting_from, detect_anomaly, listening
from .backward import sum_rows
from .construct import as_tensor, grad, partial_grad, pull_back, tensor
from .dtype import as_array, check_dtype, is_float
from .lowering import Lowering, Reduction
from .node import OUT, Aval, Carrier, Op, apply, primitive, registry
from .operators import Operators, functions
from .tensor import Tensor, producer, version_counter

__all__ = [
    "OUT",
    "Aval",
    "Carrier",
    "Lowering",
    "Op",
    "Operators",
    "Reduction",
    "Tensor",
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
    "pull_back",
    "registry",
    "sum_rows",
    "tensor",
    "version_counter",
]
