"""Writing sequences symbol by symbol with a trained network: sampling, greedy and beam search.

All of them take a function ``step(ids, state) -> (logits, state)`` that reads one symbol of each row, ids (B,),
and returns the logits (B, V) of the next; the state is any nest of tensors with B rows each, None if the network
begins by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import DTypeError, ShapeError
from . import nest

Step = Callable[[np.ndarray, Any], tuple[Any, Any]]


class Hypothesis(NamedTuple):
    """A sequence that a search found: its symbols, without the end, and the logarithm of its probability."""

    ids: list[int]
    log_prob: float


def sample(
    step: Step,
    prefix,
    length: int,
    state: Any = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop: int | Collection[int] = (),
    rng: np.random.Generator | None = None,
) -> list[list[int]]:
    """Read `prefix`, then draw symbol after symbol from the network's own predictions.

    Parameters
    ----------
    step : callable
        See the module.
    prefix : array_like of int, (B, P)
        What each row begins with; P is at least one.
    length : int
        Symbols to draw at most.
    state : nest of tensors, optional
        The state before the prefix.
    temperature : float
        Below one likely symbols become likelier, above one all become more alike.
    top_k : int, optional
        Draw among the `top_k` likeliest only; 1 always takes the likeliest.
    stop : int or collection of int
        Symbols that end a row; they are not part of the result.
    rng : numpy Generator, optional
        Default: the package's own, see :func:`tinygrad_rnn.seed`.

    Returns
    -------
    list of B lists of int
        What follows each prefix.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> def count(ids, state):  # a network that is sure that symbol i + 1 follows i
    ...     return np.eye(5)[(ids + 1) % 5] * 100, state
    >>> nn.sample(count, [[0], [2]], length=4, stop=4)
    [[1, 2, 3], [3]]
    """
    prefix = _ids("prefix", prefix, 2)
    if not prefix.size:
        raise ShapeError(f"prefix: got shape {prefix.shape}, wanted (B, P) with at least one symbol in each row")
    _check_positive(length=length, temperature=temperature, top_k=1 if top_k is None else top_k)
    rng = config.generator() if rng is None else rng
    ends = _symbols(stop)
    rows: list[list[int]] = [[] for _ in prefix]
    running = np.ones(len(prefix), bool)
    with config.no_grad():
        for ids in prefix.T[:-1]:
            _, state = step(ids, state)
        ids = prefix[:, -1]
        for _ in range(length):
            logits, state = step(ids, state)
            scores = _log_softmax(_array(logits, len(prefix)) / temperature)
            if top_k is not None and top_k < scores.shape[1]:
                kth = np.partition(scores, -top_k, axis=-1)[:, -top_k, None]
                scores = np.where(scores >= kth, scores, -np.inf)
            # the largest of the scores, each with Gumbel noise, is a draw from their distribution
            ids = (scores + rng.gumbel(size=scores.shape)).argmax(-1)
            if ends.size:
                running &= ~np.isin(ids, ends)
            for row, symbol, on in zip(rows, ids.tolist(), running.tolist()):
                if on:
                    row.append(symbol)
            if not running.any():
                break
    return rows


def greedy_search(
    step: Step, first, state: Any = None, *, stop: int | Collection[int], max_length: int
) -> list[list[int]]:
    """The likeliest symbol at each step, until the end.

    Parameters
    ----------
    step : callable
        See the module.
    first : array_like of int, (B,)
        The symbol that starts each row.
    state : nest of tensors, optional
        The state before it.
    stop : int or collection of int
        Symbols that end a row; they are not part of the result.
    max_length : int
        Rows that do not end are cut there.

    Returns
    -------
    list of B lists of int

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> nn.greedy_search(lambda ids, state: (np.eye(5)[(ids + 1) % 5], state), [0, 2], stop=4, max_length=9)
    [[1, 2, 3], [3]]
    """
    ids = _ids("first", first, 1)
    _check_positive(max_length=max_length)
    ends = _symbols(stop)
    rows: list[list[int]] = [[] for _ in ids]
    running = np.ones(len(ids), bool)
    with config.no_grad():
        for _ in range(max_length):
            logits, state = step(ids, state)
            ids = _array(logits, len(ids)).argmax(-1)
            running &= ~np.isin(ids, ends)
            if not running.any():
                break
            for row, symbol, on in zip(rows, ids.tolist(), running.tolist()):
                if on:
                    row.append(symbol)
    return rows


def beam_search(
    step: Step,
    first,
    state: Any = None,
    *,
    stop: int | Collection[int],
    max_length: int,
    beam_size: int = 5,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """The likeliest sequences, as far as `beam_size` of them at a time can tell.

    Parameters
    ----------
    step : callable
        See the module; it is called with ``B * beam_size`` rows.
    first : array_like of int, (B,)
        The symbol that starts each row.
    state : nest of tensors, optional
        The state before it, with B rows.
    stop : int or collection of int
        Symbols that end a sequence. Several count as one event, whose probability is their sum.
    max_length : int
        Symbols at most. What has not ended there is given only where nothing has.
    beam_size : int
    length_penalty : float
        Sequences are ranked by ``log_prob / ((5 + length) / 6)**length_penalty``, where the length includes
        the end (Wu et al. 2016, equation 14).

    Returns
    -------
    list of B lists of Hypothesis
        At most `beam_size` each, best first.

    Raises
    ------
    ShapeError
        If the logits are not (B * beam_size, V).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> coin = np.log([[0.5, 0.3, 0.2]])  # symbol 2 is the end
    >>> (best,) = nn.beam_search(lambda ids, s: (np.repeat(coin, len(ids), 0), s), [0], stop=2, max_length=4)
    >>> [(h.ids, round(float(np.exp(h.log_prob)), 3)) for h in best[:3]]
    [([], 0.2), ([0], 0.1), ([1], 0.06)]
    """
    ids = _ids("first", first, 1)
    _check_positive(max_length=max_length, beam_size=beam_size)
    if not length_penalty >= 0:
        raise ValueError(f"length_penalty: got {length_penalty}, wanted at least 0")
    batch, k, ends = len(ids), beam_size, _symbols(stop)
    rank = lambda log_prob, length: log_prob / ((5 + length) / 6) ** length_penalty
    everyone = np.repeat(np.arange(batch), k)
    state, ids = _rows(state, everyone), ids[everyone]
    scores = np.full((batch, k), -np.inf)
    scores[:, 0] = 0.0  # all beams of a row begin alike
    texts: list[list[list[int]]] = [[[] for _ in range(k)] for _ in range(batch)]
    done: list[list[Hypothesis]] = [[] for _ in range(batch)]
    ranks: list[list[float]] = [[] for _ in range(batch)]
    with config.no_grad():
        for length in range(1, max_length + 2):  # with the end
            logits, state = step(ids, state)
            logp = _log_softmax(_array(logits, batch * k)).reshape(batch, k, -1)
            ending = scores + np.logaddexp.reduce(logp[:, :, ends], axis=-1)
            for b, j in np.argwhere(ending > -np.inf).tolist():
                place = np.searchsorted(np.negative(ranks[b]), -rank(ending[b, j], length))
                done[b].insert(place, Hypothesis(texts[b][j], float(ending[b, j])))
                ranks[b].insert(place, rank(ending[b, j], length))
                del done[b][k:], ranks[b][k:]
            if length > max_length:
                break
            logp[:, :, ends] = -np.inf
            total = (scores[:, :, None] + logp).reshape(batch, -1)
            best = np.argsort(-total, axis=-1)[:, :k]  # there are at least k, as each symbol makes k of them
            scores = np.take_along_axis(total, best, -1)
            parents, symbols = np.divmod(best, logp.shape[-1])
            # what is still running can only become less likely
            hopes = [rank(row.max(), max_length + 1) for row in scores]
            if all(h == -np.inf or (len(found) == k and found[-1] >= h) for found, h in zip(ranks, hopes)):
                break
            texts = [
                [[*rows[j], symbol] for j, symbol in zip(js, ss)]
                for rows, js, ss in zip(texts, parents.tolist(), symbols.tolist())
            ]
            ids = symbols.reshape(-1)
            state = _rows(state, (np.arange(batch)[:, None] * k + parents).reshape(-1))
    return [found or [Hypothesis(rows[0], float(row[0]))] for found, rows, row in zip(done, texts, scores)]


# ---- small parts


def _ids(name: str, values: Any, ndim: int) -> np.ndarray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: got {array.dtype}, wanted integers")
    if array.ndim != ndim:
        raise ShapeError(f"{name}: got shape {array.shape}, wanted {'(B,)' if ndim == 1 else '(B, P)'}")
    return array.astype(np.int64)


def _symbols(stop: int | Collection[int]) -> np.ndarray:
    return np.array([stop] if isinstance(stop, int | np.integer) else sorted(stop), dtype=np.int64)


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}: got {number}, wanted a positive number")


def _array(logits: Any, rows: int) -> np.ndarray:
    """Logits (rows, V) in double precision."""
    array = np.asarray(logits.data if isinstance(logits, Tensor) else logits, np.float64)
    if array.ndim != 2 or len(array) != rows:
        raise ShapeError(f"step: returned logits of shape {array.shape}, wanted ({rows}, V)")
    return array


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _rows(state: Any, index: np.ndarray) -> Any:
    """The rows `index` of every tensor in a state."""
    return nest.map(lambda t: Tensor(t.data[index]) if isinstance(t, Tensor) else np.asarray(t)[index], state)
