"""Training: a loop that stops, saves and goes on to the last bit, with metrics and truncated BPTT.

Files, in reading order: `trainer` (what a user asks for), `loop` (epochs), `batches`, `gradients` and `updates` (one
batch); by programs: `program_updates`, `native_step` (all in one native call), `known_numbers` (options of updates),
`left_gradients` (in the parameters), `accumulation` (of several batches), `fast_path` (with few guards), `many_steps`,
`many_batches` and `row_sources` (many of them in one call, on rows of what), `tiers` (when), `train_step` (without a
loop); by several processes: `ranks`, `shares` (of a batch), `sums` (of gradients), `alone` (one that shares nothing);
`sweep`; `evaluation` (and prediction), `metrics`, `measuring` (while training); `callbacks`, `loggers`, `stopping`,
`progress`, `signals`, `modes`, `parts` (what helpers take); what is saved: `state`, `history`, `position`,
`randomness`, `resume` (all of it as one nest, which `storage` writes to a file); `tbptt`; `rollout` (of a recurrent
policy), `surroundings` (its environments); `checks`.

A trainer knows a model as a module that gives something to a loss; it knows nothing of recurrence and compiled loops.
"""

from .callbacks import PrintEpochs, SaveCheckpoint
from .loggers import CSVLogger, TensorBoardLogger
from .metrics import confusion_matrix, edit_distance, error_rate, f1_scores
from .ranks import Ranks
from .rollout import Experience, RecurrentRollout
from .stopping import Best
from .sweep import grid, sweep
from .tbptt import TruncatedBPTT, Window
from .train_step import TrainStep
from .trainer import Trainer

__all__ = [
    "Best",
    "CSVLogger",
    "Experience",
    "PrintEpochs",
    "Ranks",
    "RecurrentRollout",
    "SaveCheckpoint",
    "TensorBoardLogger",
    "TrainStep",
    "Trainer",
    "TruncatedBPTT",
    "Window",
    "confusion_matrix",
    "edit_distance",
    "error_rate",
    "f1_scores",
    "grid",
    "sweep",
]
