"""Probability distributions with parameters that are trained: draws, log-probabilities, entropies.

Files, in reading order: `distribution` (the base), `categorical`, `bernoulli`, `normal`, `divergence`.

Names, parameters and shapes are those of ``torch.distributions``. Draws come from the package's generator
(:func:`tinygrad_rnn.seed`). Gradients flow through log-probabilities, entropies and :meth:`Normal.rsample`.
"""

from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution
from .divergence import kl_divergence
from .normal import Normal

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "kl_divergence"]
