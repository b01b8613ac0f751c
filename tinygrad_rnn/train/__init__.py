"""Training: the loop, stopping, checkpoints, truncated backpropagation through time."""

from .callbacks import PrintEpochs, SaveCheckpoint
from .stopping import Best
from .tbptt import TruncatedBPTT, Window
from .trainer import Trainer

__all__ = ["Best", "PrintEpochs", "SaveCheckpoint", "Trainer", "TruncatedBPTT", "Window"]
