"""Training: the loop, stopping, checkpoints, truncated backpropagation through time."""

from .stopping import Best
from .tbptt import TruncatedBPTT, Window
from .trainer import Trainer

__all__ = ["Best", "Trainer", "TruncatedBPTT", "Window"]
