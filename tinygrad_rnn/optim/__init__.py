"""Optimisers, schedules and gradient clipping, with PyTorch's names, defaults and semantics.

Files, in reading order: `optimizer` (the base), `members` (what may be a parameter), `buckets` (parameters side by side
in flat buffers), `states` (state dicts); one file for each optimiser, `sgd`, `adam`, `nadam`, `rmsprop`, `adagrad` and
`lbfgs` (with its `line_search`); `schedule` (the base), `schedules`, `cycles`, `compositions`, `plateau`; `clipping`;
`checks`.

Optimisers take parameters and know nothing of modules. Numba is imported at the first step.
"""

from .. import foreign_names
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .clipping import clip_grad_norm_, clip_grad_value_
from .compositions import LambdaLR, SequentialLR
from .cycles import CosineAnnealingWarmRestarts, OneCycleLR
from .lbfgs import LBFGS
from .nadam import NAdam
from .optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .rmsprop import RMSprop
from .schedule import Schedule
from .schedules import CosineAnnealingLR, ExponentialLR, LinearWarmup, MultiStepLR, StepLR
from .sgd import SGD

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearWarmup",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]


def __getattr__(name: str):  # called for what is not found
    raise foreign_names.missing("tinygrad_rnn.optim", name, foreign_names.OPTIM)
