"""Estimators: scikit-learn's contract over recurrent networks, for pipelines, searches and scores.

Files, in reading order: `classifier`, `regressor` and `forecaster` are what a user makes; `base` fits and predicts for
all of them; `sequences` and `dates` read what users hold, `network` is the model, `settings` checks the parameters.

Fitted estimators hold arrays and settings, and make the network from these when they are asked for predictions.
"""

from ..checks import missing as _missing

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError:
    raise _missing("tinygrad_rnn.estimators", "scikit-learn", "sklearn") from None

from .base import SequenceEstimator
from .classifier import SequenceClassifier
from .forecaster import Forecaster
from .regressor import SequenceRegressor

__all__ = ["Forecaster", "SequenceClassifier", "SequenceEstimator", "SequenceRegressor"]
