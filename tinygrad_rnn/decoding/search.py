"""Generation of sequences by a trained network: sampling, greedy and beam search.

All of them take a function ``step(ids, state) -> (logits, state)`` that reads one symbol of each row, ids (B,),
and returns the logits (B, V) of the next; the state is any nest of tensors with B rows each, None if the network
begins by itself. What it returns depends on nothing else: at the beginning it is called once more, to see that no row
depends on another, as they would if a model of (T, B) took the rows of ids for steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..checks import MOST_ELEMENTS, is_number, is_whole, shown, whole_number
from ..core import Tensor
from ..errors import DataError, DTypeError, ShapeError
from ..recurrent.rows import take_rows
from .rows import check_rows_apart, row_axes

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
    """Read `prefix`, then draw symbol after symbol from the predicted distributions.

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
        Below one likely symbols become likelier, above one all become more alike; 0 always takes the likeliest.
    top_k : int, optional
        Draw among the `top_k` likeliest only; 1 always takes the likeliest.
    stop : int or collection of int
        Symbols that end a row; they are not part of the result. None, or -1, is no symbol.
    rng : numpy Generator, optional
        Default: the package's own, see :func:`tinygrad_rnn.seed`.

    Returns
    -------
    list of B lists of int
        What follows each prefix.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        If an argument is not as described, or `step` lets rows depend on each other.
    DataError
        If logits are NaN, or leave no symbol possible.

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
    _check_counts(length=length, top_k=1 if top_k is None else top_k)
    if not is_number(temperature) or not temperature >= 0:
        raise ValueError(f"temperature: got {shown(temperature)}, wanted a number, at least 0")
    rng = config.generator() if rng is None else rng
    read = _Reader("sample", step, stop)
    rows: list[list[int]] = [[] for _ in prefix]
    running = np.ones(len(prefix), bool)
    with config.no_grad():
        for ids in prefix.T[:-1]:
            _, state = read.step(ids, state)
        ids = prefix[:, -1]
        for _ in range(length):
            logits, state = read(ids, state, running)
            scores = _log_softmax(_at_temperature(logits, temperature))
            if top_k is not None and top_k < scores.shape[1]:
                kth = np.partition(scores, -top_k, axis=-1)[:, -top_k, None]
                scores = np.where(scores >= kth, scores, -np.inf)
            # the largest of the scores, each with Gumbel noise, is a draw from their distribution
            ids = (scores + rng.gumbel(size=scores.shape)).argmax(-1) if temperature else logits.argmax(-1)
            running &= ~np.isin(ids, read.ends)
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
        Symbols that end a row; they are not part of the result. None, or -1, is no symbol.
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
    _check_counts(max_length=max_length)
    read = _Reader("greedy_search", step, stop)
    rows: list[list[int]] = [[] for _ in ids]
    running = np.ones(len(ids), bool)
    with config.no_grad():
        for _ in range(max_length):
            logits, state = read(ids, state, running)
            ids = logits.argmax(-1)
            running &= ~np.isin(ids, read.ends)
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
    batch_axis: int | None = None,
) -> list[list[Hypothesis]]:
    """The likeliest sequences that a beam of `beam_size` finds.

    Parameters
    ----------
    step : callable
        See the module; it is called with ``B * beam_size`` rows.
    first : array_like of int, (B,)
        The symbol that starts each row.
    state : nest of tensors, optional
        The state before it, with B rows.
    stop : int or collection of int
        Symbols that end a sequence. Several count as one event, whose probability is their sum. None, or -1, is no
        symbol.
    max_length : int
        Symbols at most. What has not ended there is given only where nothing has.
    beam_size : int
    length_penalty : float
        Sequences are ranked by ``log_prob / ((5 + length) / 6)**length_penalty``, where the length includes
        the end (Wu et al. 2016, equation 14).
    batch_axis : int, optional
        The axis of rows in all tensors of the state: 0 for cells, 1 for layers, whose states have the layers first.
        Default: the axis that is as long as there are rows; where several are, `step` is tried with other rows.

    Returns
    -------
    list of B lists of Hypothesis
        At most `beam_size` each, best first.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        If an argument is not as described, the logits are not (B * beam_size, V), or the axis of rows in the state
        cannot be told.
    DataError
        If logits are NaN, or leave no symbol possible.

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
    _check_counts(max_length=max_length)
    beam_size = whole_number("beam_size", beam_size, 1, MOST_ELEMENTS)
    if not is_number(length_penalty) or not length_penalty >= 0:
        raise ValueError(f"length_penalty: got {shown(length_penalty)}, wanted at least 0")
    if batch_axis is not None:
        batch_axis = whole_number("batch_axis", batch_axis, 0, wanted="None or the number of an axis, from 0 on")
    read = _Reader("beam_search", step, stop)
    batch, k = len(ids), beam_size
    rank = lambda log_prob, length: log_prob * ((5 + length) / 6) ** -length_penalty
    everyone = np.repeat(np.arange(batch), k)
    with config.no_grad():
        axes = row_axes(step, ids, state, batch, batch_axis)
        state, ids = take_rows(state, everyone, axes), ids[everyone]
    scores = np.full((batch, k), -np.inf)
    scores[:, 0] = 0.0  # all beams of a row begin alike
    texts: list[list[list[int]]] = [[[] for _ in range(k)] for _ in range(batch)]
    done: list[list[Hypothesis]] = [[] for _ in range(batch)]
    ranks: list[list[float]] = [[] for _ in range(batch)]
    with config.no_grad():
        for length in range(1, max_length + 2):  # with the end
            logits, state = read(ids, state, scores.reshape(-1) > -np.inf)
            logp = _log_softmax(logits).reshape(batch, k, -1)
            ending = scores + np.logaddexp.reduce(logp[:, :, read.ends], axis=-1)
            for b, j in np.argwhere(ending > -np.inf).tolist():
                place = np.searchsorted(np.negative(ranks[b]), -rank(ending[b, j], length))
                done[b].insert(place, Hypothesis(texts[b][j], float(ending[b, j])))
                ranks[b].insert(place, rank(ending[b, j], length))
                del done[b][k:], ranks[b][k:]
            if length > max_length:
                break
            logp[:, :, read.ends] = -np.inf
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
            axes = row_axes(step, ids, state, batch * k, batch_axis, axes)
            state = take_rows(state, (np.arange(batch)[:, None] * k + parents).reshape(-1), axes)
    return [found or [Hypothesis(rows[0], float(row[0]))] for found, rows, row in zip(done, texts, scores)]


# ---- small parts


class _Reader:
    """Calls the step with a symbol of each row, and checks its logits and state.

    Attributes
    ----------
    ends : int64 array
        The symbols that end a row.
    """

    def __init__(self, name: str, step: Step, stop: int | Collection[int] | None):
        self.name, self._step, self.ends, self.time = name, step, _symbols(stop), 0

    def step(self, ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        result = self._step(ids, state)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ShapeError(f"{self.name}: step: returned {type(result).__name__}, wanted the pair (logits, state)")
        if self.time == 0 and state is None and len(ids) > 1:
            check_rows_apart(self.name, self._step, ids, *result)
        self.time += 1
        return result

    def __call__(self, ids: np.ndarray, state: Any, counts: np.ndarray) -> tuple[np.ndarray, Any]:
        """Logits (rows, V) in double precision, and the state; `counts` says which rows still matter."""
        logits, state = self.step(ids, state)
        array = np.asarray(logits.data if isinstance(logits, Tensor) else logits, np.float64)
        if array.ndim != 2 or len(array) != len(ids) or not array.shape[1]:
            raise ShapeError(f"{self.name}: step: returned logits of shape {array.shape}, wanted ({len(ids)}, V)")
        if self.ends.size and self.ends[-1] >= array.shape[1]:
            raise ValueError(f"stop: got {self.ends[-1]}, wanted symbols from 0 to {array.shape[1] - 1}")
        top = array.max(-1)
        for row in np.flatnonzero(counts & ~np.isfinite(top)):
            what = "no possible symbol" if top[row] == -np.inf else f"a logit of {top[row]}"
            raise DataError(f"{self.name}: step: got {what} in row {row} at step {self.time - 1}")
        return array, state


def _ids(name: str, values: Any, ndim: int) -> np.ndarray:
    try:
        array = values.data if isinstance(values, Tensor) else np.asarray(values)
    except ValueError:
        raise ShapeError(f"{name}: got rows of unequal lengths, wanted a rectangular array") from None
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: got {array.dtype}, wanted integers")
    if array.ndim != ndim or not array.size:
        wanted = "(B,) with at least one row" if ndim == 1 else "(B, P) with at least one symbol in each row"
        raise ShapeError(f"{name}: got shape {array.shape}, wanted {wanted}")
    return array.astype(np.int64)


def _symbols(stop: int | Collection[int] | None) -> np.ndarray:
    """The symbols that end a row, each once, in order."""
    given = [] if stop is None else [stop] if is_whole(stop) else stop
    array = np.asarray(sorted(given) if isinstance(given, set | frozenset) else given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DTypeError(f"stop: got {shown(stop)}, wanted a symbol or several, which are integers")
    if array.size and array.min() < -1:
        raise ValueError(f"stop: got {array.min()}, wanted symbols from 0 on, or -1 for none")
    found = np.unique(array.astype(np.int64))
    return found[found >= 0]


def _check_counts(**numbers: Any) -> None:
    for name, value in numbers.items():
        whole_number(name, value)


def _at_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Scores whose largest is 0, which neither a small temperature nor an infinite one makes NaN."""
    below = logits - logits.max(-1, keepdims=True)
    if not temperature:
        return below
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isneginf(below), below, below / temperature)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # of rows that do not matter any more
        shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
