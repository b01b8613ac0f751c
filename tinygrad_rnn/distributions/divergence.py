"""Divergences of two distributions."""

from __future__ import annotations

from .. import ops
from ..core import Tensor
from ..errors import ShapeError
from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution, weighted
from .normal import Normal


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The Kullback-Leibler divergence of `q` from `p`, the mean of ``log(p / q)`` under `p`.

    Parameters
    ----------
    p, q : Distribution
        Of one kind, with batches that broadcast.

    Examples
    --------
    >>> from tinygrad_rnn.distributions import Normal, kl_divergence
    >>> round(kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0)).item(), 6)
    0.5
    """
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        shift = ((p.loc - q.loc) / q.scale) ** 2
        return 0.5 * (ratio + shift - 1 - ops.log(ratio))
    if isinstance(p, Bernoulli) and isinstance(q, Bernoulli):
        yes, no = weighted(p.probs, p._yes - q._yes), weighted(1 - p.probs, p._no - q._no)
        return yes + no
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        if p.classes != q.classes:
            raise ShapeError(f"kl_divergence: got {p.classes} and {q.classes} classes, wanted as many in both")
        return weighted(p.probs, p.logits - q.logits).sum(-1)
    kinds = type(p).__name__, type(q).__name__
    raise TypeError(f"kl_divergence: got {kinds[0]} and {kinds[1]}, wanted two distributions of one kind")
