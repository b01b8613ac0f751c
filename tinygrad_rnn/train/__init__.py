"""Training: the loop, stopping, checkpoints, truncated backpropagation through time, metrics."""

from .callbacks import PrintEpochs, SaveCheckpoint
from .metrics import confusion_matrix, edit_distance, error_rate, f1_scores
from .stopping import Best
from .tbptt import TruncatedBPTT, Window
from .trainer import Trainer

__all__ = [
    "Best",
    "PrintEpochs",
    "SaveCheckpoint",
    "Trainer",
    "TruncatedBPTT",
    "Window",
    "confusion_matrix",
    "edit_distance",
    "error_rate",
    "f1_scores",
]
