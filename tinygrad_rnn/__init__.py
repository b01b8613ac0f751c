"""tinygrad_rnn: recurrent networks on the CPU, from an autodiff tape on NumPy."""

import importlib

from . import distributions, errors, foreign_names, nn, ops
from .config import (
    VERSION,
    enable_grad,
    get_default_dtype,
    get_num_threads,
    is_grad_enabled,
    no_grad,
    seed,
    set_default_dtype,
    set_grad_enabled,
    set_num_threads,
)
from .core import OUT, Lowering, Op, Reduction, Tensor, as_tensor, detect_anomaly, grad, primitive, tensor
from .kernels.build import uninterrupted as _uninterrupted  # noqa: F401  forks have to wait for it from the start
from .ops import *  # noqa: F403
from .programs import compile

__version__ = VERSION
_ROOMS = (
    "compiler", "data", "decoding", "estimators", "export", "io", "modules", "optim", "programs", "recurrent",
    "testing", "train", "viz",
)  # fmt: skip

__all__ = [
    "OUT",
    "Lowering",
    "Op",
    "Reduction",
    "Tensor",
    "as_tensor",
    "compile",
    "detect_anomaly",
    "distributions",
    "enable_grad",
    "errors",
    "get_default_dtype",
    "get_num_threads",
    "grad",
    "is_grad_enabled",
    "nn",
    "no_grad",
    "primitive",
    "seed",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "tensor",
]
__all__ += ops.__all__


def __getattr__(name: str):
    """The other rooms, imported at first use."""
    if name == "random":
        return importlib.import_module(f"{__name__}.ops.draws")
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    names = {**foreign_names.TENSOR, **foreign_names.PACKAGE}  # most methods of PyTorch's tensors are functions too
    if name not in names and (answer := foreign_names.function_of_numpy(name)) is not None:
        names[name] = answer
    raise foreign_names.missing("tinygrad_rnn", name, names)
