"""The CTC loss by its definition: a sum over every alignment there is."""

import itertools

import numpy as np


def collapse(alignment, blank):
    """The labels that an alignment stands for."""
    return tuple(c for c, _ in itertools.groupby(alignment) if c != blank)


def labellings(log_probs, blank):
    """Log-probability of every label sequence of one row, (T, C), and its best alignment's."""
    steps, classes = log_probs.shape
    total, best = {}, {}
    for alignment in itertools.product(range(classes), repeat=steps):
        labels = collapse(alignment, blank)
        score = sum(log_probs[t, c] for t, c in enumerate(alignment))
        total[labels] = np.logaddexp(total.get(labels, -np.inf), score)
        best[labels] = max(best.get(labels, -np.inf), score)
    return total, best


def losses_by_enumeration(log_probs, labels, offsets, lengths, blank):
    rows = range(log_probs.shape[1])
    wanted = [tuple(labels[offsets[b] : offsets[b + 1]].tolist()) for b in rows]
    return np.array([-labellings(log_probs[: lengths[b], b], blank)[0].get(wanted[b], -np.inf) for b in rows])


def torch_ctc(x, labels, offsets, lengths, blank):
    import torch

    arrays = (torch.from_numpy(np.array(a)) for a in (labels, lengths, np.diff(offsets)))
    return torch.nn.functional.ctc_loss(x.log_softmax(-1), *arrays, blank=blank, reduction="none")
