"""A decoder: a recurrent network that goes on by itself, many steps in one native call."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .. import config
from ..checks import is_number, probability, shown, whole_number
from ..core import Tensor, as_tensor
from ..errors import DataError, DTypeError, ShapeError
from ..modules.module import Module
from ..ops import concat, zeros
from ..recurrent.as_tensors import as_input
from ..recurrent.cell import Cell, check_cell_type
from ..recurrent.layers.multilayer import RNNBase
from ..recurrent.layers.wrappers import Recurrent
from ..recurrent.scan.driver import check_mode, scan
from ..recurrent.scan.dry_run import dry_run
from .feedback import COLD, Layers, SymbolFeedback, ValueFeedback
from .search import _ids, _symbols

FIRST, CHUNK = 8, 64  # steps in one call, where rows may end: in the first one, and at most


class Decoder(Module):
    """A cell that reads its own outputs: symbols that it draws from its logits, or values as they are.

    Many steps are one call of the compiled loop, in which symbols are drawn, looked up and read.

    Parameters
    ----------
    cell : Cell, or layer that runs forwards in time
        Its parameters are shared; between the layers of a layer is its dropout.
    embedding : Module, optional
        From symbols (B,) to inputs of the cell; default: ones where the symbol is, else zeros. Not for values.
    head : Module, optional
        From outputs of the cell (B, F), and from what is given as `context`, to logits (B, V), or to values that are
        what is read next. It may draw (:mod:`tinygrad_rnn.random`): then rows that are given twice are two samples.
    mode : {"auto", "compiled", "eager"}

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> tr.seed(0)
    >>> decoder = nn.Decoder(nn.LSTMCell(4, 8), nn.Embedding(5, 4), nn.Linear(8, 5))
    >>> [len(row) for row in decoder.generate([[0, 1], [2, 3]], 6)]
    [6, 6]
    >>> wave = nn.Decoder(nn.GRUCell(1, 8), head=nn.Linear(8, 1))
    >>> values, state = wave.run(np.ones((3, 2, 1)), 5)
    >>> values.shape
    (5, 2, 1)
    """

    def __init__(self, cell: Any, embedding: Module | None = None, head: Module | None = None, mode: str = "auto"):
        self.cell = _cell_of(cell)
        # whose cell it is, if that is so; in a tuple, as it is no module of this one, which has the cells
        self._layers = ((cell, self.cell),) if isinstance(cell, RNNBase) else ()
        self.embedding, self.head, self.mode = embedding, head, check_mode(mode)
        self._symbols: tuple[SymbolFeedback, ...] = ()
        self._values: tuple[ValueFeedback, ...] = ()

    # ---- symbols

    def generate(
        self,
        prefix: Any,
        length: int,
        state: Any = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: int | Collection[int] | None = (),
        never: Collection[int] = (),
        rng: np.random.Generator | None = None,
        context: Sequence[Any] = (),
    ) -> list[list[int]]:
        """Read `prefix`, then write symbol after symbol.

        Parameters
        ----------
        prefix : array_like of int, (B, P)
            What each row begins with; P is at least one.
        length : int
            Symbols to write at most.
        state : nest of tensors, optional
            The state of the cell before the prefix.
        temperature : float
            Below one likely symbols become likelier, above one all become more alike; 0 always takes the likeliest.
        top_k : int, optional
            Draw among the `top_k` likeliest only.
        top_p : float, optional
            Draw among as few of the likeliest as have this share of the probability (Holtzman et al. 2020); the
            likeliest itself always counts.
        stop : int or collection of int
            Symbols that end a row; they are not part of the result. None, or -1, is no symbol.
        never : collection of int
            Symbols that are not written.
        rng : numpy Generator, optional
            Default: the package's own, see :func:`tinygrad_rnn.seed`.
        context : sequence of tensors (B, ...)
            What the head reads besides, the same at all steps, such as the outputs of an encoder.

        Returns
        -------
        list of B lists of int
            What follows each prefix; the same as that of :func:`~tinygrad_rnn.nn.sample`.

        Raises
        ------
        ShapeError, DTypeError, ValueError, IndexError
            If an argument is not as described.
        DataError
            If logits are NaN, or leave no symbol possible.
        """
        prefix, ends, barred = _ids("prefix", prefix, 2), _symbols(stop), _barred(never)
        length = whole_number("length", length)
        feedback = self._of_symbols(_context(context, len(prefix)))
        if not is_number(temperature) or not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: got {shown(temperature)}, wanted a number, at least 0")
        feedback.temperature, feedback.gives_logits = float(temperature), False
        feedback.top_k = None if top_k is None else whole_number("top_k", top_k, 1)
        # above zero, so that the likeliest counts, before which there is none
        feedback.top_p = None if top_p is None else max(probability("top_p", top_p), COLD)
        for name, found in (("prefix", prefix), ("stop", ends), ("never", barred)):
            if found.size and not 0 <= found.min() <= found.max() < feedback.symbols:
                worst = found.min() if found.min() < 0 else found.max()
                raise IndexError(f"{name}: got {worst}, wanted symbols from 0 to {feedback.symbols - 1}")
        if barred.size == feedback.symbols:
            raise ValueError(f"never: got all {feedback.symbols} symbols, wanted one that may be written")
        feedback.bar(barred)
        state = self._begun(np.zeros(len(prefix), np.int64), state)
        rng = config.generator() if rng is None else rng
        if not hasattr(rng, "gumbel"):
            raise TypeError(f"rng: got {shown(rng)}, wanted a NumPy generator, as of np.random.default_rng()")
        written = np.zeros((len(prefix), 0), np.int64)
        chunk = FIRST if ends.size else max(length, 1)
        while written.shape[1] < length:
            n = min(chunk, length - written.shape[1])
            before = prefix if not written.size else written[:, :0]
            ids, state = self._write(feedback, before, n, state, rng)
            written = np.concatenate([written, ids], axis=1)
            if ends.size and np.isin(written, ends).any(axis=1).all():
                break
            chunk = min(2 * chunk, CHUNK)
        return [_until(row, ends) for row in written]

    def _write(
        self, feedback: SymbolFeedback, prefix: np.ndarray, n: int, state: Any, rng: np.random.Generator
    ) -> tuple[np.ndarray, Any]:
        """The next `n` symbols (B, n) after a prefix (B, P), or after the last symbol of the state."""
        batch, read = len(prefix), prefix.shape[1]
        time = n + max(read - 1, 0)
        given, symbol = np.zeros((time, batch), bool), np.zeros((time, batch), np.int64)
        given[:read], symbol[:read] = True, prefix.T
        xs: dict[str, Any] = {"given": given, "symbol": symbol}
        if feedback.temperature:
            noise = np.zeros((time, batch, feedback.symbols), feedback.dtype)
            noise[time - n :] = rng.gumbel(size=(n, batch, feedback.symbols))
            xs["noise"] = noise
        with config.no_grad():
            (ids, best), state = scan(feedback, xs, state, mode=self.mode)
        found, finite = ids.numpy()[time - n :].T, np.isfinite(best.numpy()[time - n :].T)
        if not finite.all():
            row, step = np.argwhere(~finite)[0]
            got = best.numpy()[time - n + step, row]
            what = "no possible symbol" if got == -np.inf else f"a logit of {got}"
            raise DataError(f"Decoder: got {what} in row {row}, {step} symbols after the prefix")
        return found, state

    def _begun(self, last: np.ndarray, state: Any) -> Any:
        """The state of a feedback cell, of the cell's or the layer's."""
        if state is None:
            return None
        for layer, cell in self._layers:
            if cell is not self.cell:  # another one has been set since
                break
            found = layer._split_state(state, len(last), True)
            return last, found[0] if len(found) == 1 else tuple(found)
        return last, state

    def forward(
        self, symbols: Any, state: Any = None, own: float = 0.0, context: Sequence[Any] = ()
    ) -> tuple[Tensor, Any]:
        """Logits of what comes after each of `symbols`, for training.

        Parameters
        ----------
        symbols : integers (T, B)
        state : nest of tensors, optional
            The state of the cell before.
        own : float
            The probability that a step reads a symbol that the network has drawn itself after the step before, instead
            of the given one (scheduled sampling, Bengio et al. 2015).
        context : sequence of tensors (B, ...)
            As of :meth:`generate`; gradients flow through it.

        Returns
        -------
        logits : Tensor, (T, B, V)
        state : nest of tensors
            That of the cell after the last step.
        """
        ids, own = _ids("symbols", symbols, 2), probability("own", own)
        feedback, rng = self._of_symbols(_context(context, ids.shape[1])), config.generator()
        feedback.temperature, feedback.gives_logits, feedback.top_k, feedback.top_p = 1.0, True, None, None
        feedback.bar(())
        xs: dict[str, Any] = {"given": np.ones(ids.shape, bool), "symbol": ids}
        if own:
            xs["given"] = rng.random(ids.shape) >= own
            xs["given"][0] = True
            xs["noise"] = rng.gumbel(size=(*ids.shape, feedback.symbols)).astype(feedback.dtype)
        begun = self._begun(np.zeros(ids.shape[1], np.int64), state)
        logits, (_, state) = scan(feedback, xs, begun, mode=self.mode)
        return logits, state

    def _of_symbols(self, context: tuple[Tensor, ...]) -> SymbolFeedback:
        cell = check_cell_type(self.cell, "Decoder", "cell")
        if not self._symbols or not self._symbols[0].runs(cell, self.head, self.embedding):
            width = _width_of(self.head, cell, context)
            read = width if self.embedding is None else getattr(self.embedding, "embedding_dim", None)
            if read is not None and cell.input_size not in (None, read):
                what = f"none for {width} symbols" if self.embedding is None else f"one of {read} features"
                raise ShapeError(f"Decoder: embedding: got {what}, wanted input_size={cell.input_size} of the cell")
            self._symbols = (SymbolFeedback(cell, self.embedding, self.head, width),)
        self._symbols[0].context = context
        return self._symbols[0]

    # ---- values

    def run(
        self, values: Any, length: int, state: Any = None, *, known: Any = None, context: Sequence[Any] = ()
    ) -> tuple[Tensor, Any]:
        """Read `values`, then go on with what the network says itself; gradients flow through all of it.

        Parameters
        ----------
        values : array_like (P, B, F)
            The first inputs, at least one.
        length : int
            Outputs to give.
        state : nest of tensors, optional
            The state of the cell before.
        known : array_like (P + length - 1, B, K), optional
            What is known of all steps, such as the days of a week: the cell reads it behind the values.
        context : sequence of tensors (B, ...)
            As of :meth:`generate`; gradients flow through it.

        Returns
        -------
        outputs : Tensor, (length, B, F)
            The first is what follows the last of `values`.
        state : nest of tensors
            That of the cell after the last step.
        """
        length = whole_number("length", length, 1)
        given = as_input(values, self.cell.dtype, "values").astype(self.cell.dtype)  # of integers too
        if given.ndim != 3 or not given.shape[0]:
            raise ShapeError(f"values: got shape {given.shape}, wanted (P, B, F) with at least one step")
        read, batch, width = given.shape
        cell = check_cell_type(self.cell, "Decoder", "cell")
        written = (
            cell.output_size or cell.hidden_size if self.head is None else getattr(self.head, "out_features", None)
        )
        if written not in (None, width):
            raise ShapeError(f"values: got {width} features, wanted {written}, as many as are read after them")
        if not self._values or self._values[0].width != width or not self._values[0].runs(cell, self.head):
            self._values = (ValueFeedback(cell, self.head, width),)
        time = read + length - 1
        marks = np.zeros((time, batch), bool)
        marks[:read] = True
        rest = np.zeros((length - 1, batch, width), given.dtype)
        xs: dict[str, Any] = {"given": marks, "value": concat([given, Tensor(rest)]) if length > 1 else given}
        if known is not None:
            xs["known"] = as_input(known, self.cell.dtype, "known")
            if xs["known"].ndim != 3 or xs["known"].shape[:2] != (time, batch):
                raise ShapeError(f"known: got shape {xs['known'].shape}, wanted ({time}, {batch}, K)")
        features = width + (xs["known"].shape[2] if known is not None else 0)
        if cell.input_size not in (None, features):
            got = f"{features} features" + ("" if known is None else f", with those of known={features - width}")
            raise ShapeError(f"values: got {got}, wanted input_size={cell.input_size} of the cell")
        self._values[0].context = _context(context, batch)
        begun = self._begun(np.zeros((batch, width), given.dtype), state)
        outputs, (_, state) = scan(self._values[0], xs, begun, mode=self.mode)
        return outputs[read - 1 :], state


# ---- small parts


def _cell_of(cell: Any) -> Cell:
    """The cell that a layer runs step by step, or the cell."""
    if isinstance(cell, RNNBase) and not cell.bidirectional and not cell.reverse:
        return cell._cells[0] if len(cell._cells) == 1 else Layers(cell)
    if isinstance(cell, Recurrent) and not cell.reverse:
        return cell.cell
    if isinstance(cell, Module) and not isinstance(cell, Cell):
        raise TypeError(
            f"Decoder: cell: got {type(cell).__name__}, wanted a cell, or a layer that runs forwards in time"
        )
    return check_cell_type(cell, "Decoder", "cell")


def _barred(never: Collection[int]) -> np.ndarray:
    """Symbols that are not written, each once."""
    try:
        array = np.asarray([*never])
    except TypeError:
        raise TypeError(f"never: got {shown(never)}, wanted several symbols, such as [0]") from None
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise DTypeError(f"never: got {shown(never)}, wanted symbols, which are integers")
    return np.unique(array.astype(np.int64))


def _context(given: Sequence[Any], batch: int) -> tuple[Tensor, ...]:
    """What the head reads besides, as tensors with a row for each row of the batch."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"context: got {type(given).__name__}, wanted a tuple or a list of tensors (B, ...)")
    found = tuple([a if isinstance(a, Tensor) else as_tensor(a) for a in given])
    for i, a in enumerate(found):
        if a.shape[:1] != (batch,):
            raise ShapeError(f"context[{i}]: got shape {a.shape}, wanted ({batch}, ...), a row for each of the batch")
    return found


def _width_of(head: Module | None, cell: Cell, context: tuple[Tensor, ...]) -> int:
    """Features of what comes out of the head."""
    width = cell.output_size or cell.hidden_size or 1
    if head is None:
        return width
    found = getattr(head, "out_features", None)
    if found is None:
        with config.no_grad(), dry_run(head):  # which may draw
            found = head(zeros((1, width), cell.dtype), *[a[:1] for a in context]).shape[-1]
    return int(found)


def _until(row: np.ndarray, ends: np.ndarray) -> list[int]:
    """The symbols before the first that ends a row."""
    stops = np.flatnonzero(np.isin(row, ends))
    return row[: stops[0] if stops.size else None].tolist()
