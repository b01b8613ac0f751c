"""Truncated backpropagation through time over long streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..checks import whole_number
from ..core import Tensor, counting_from, tree
from ..errors import CheckpointError, DTypeError, ShapeError
from ..ops import concat


class Window(NamedTuple):
    """The steps of one update: run from `start`, keep the state at `carry`, loss from `first` to `stop`."""

    start: int
    carry: int
    first: int
    stop: int

    def pieces(self) -> list[tuple[int, int]]:
        """The steps that run in one go, from each first one to the one after the last."""
        return list(pairwise(sorted({*self})))


class Piece(NamedTuple):
    """Steps of a window that run in one go.

    Attributes
    ----------
    begin : int
        The first one, from that of the window on.
    carries : bool
        Whether the state before it is that of the next window.
    counts : bool
        Whether its outputs are part of the loss.
    inputs : Any
        As the model takes them.
    resets : ndarray or None
    """

    begin: int
    carries: bool
    counts: bool
    inputs: Any
    resets: Any


def run_window(
    model: Callable, loss: Callable, state: Any, pieces: Sequence[Piece], targets: Any, start: int = 0
) -> tuple[Tensor, Any]:
    """The loss of a window that begins at step `start`, and the state of the next one, off the graph."""
    outputs, carried = [], []
    for piece in pieces:
        if piece.carries:
            carried.append(tree.detach_state(state))
        more = {} if piece.resets is None else {"resets": piece.resets}
        with counting_from(start + piece.begin):
            result = model(piece.inputs, state, **more)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(f"model: got {type(result).__name__} as its result, wanted (predictions, state)")
        output, state = result
        if piece.counts:
            outputs.append(output)
    if not carried:
        carried.append(tree.detach_state(state))
    prediction = outputs[0] if len(outputs) == 1 else concat(outputs, axis=0)
    return loss(prediction, targets), carried[0]


class TruncatedBPTT:
    """Truncated BPTT over parallel streams: the state is carried along, gradients go back k2 steps.

    After every `k1` time steps there is one update. Its loss is that of these `k1` steps, so each step
    counts once per epoch; its gradient goes back through `k2` steps. With ``k1 == k2`` the stream is cut
    into chunks, and the state at the end of a chunk, cut off from the graph, is where the next begins. With
    ``k2 > k1`` the model runs again, with its present parameters, over the ``k2 - k1`` steps before.

    Pass it to :meth:`Trainer.fit` in place of a loader. The model takes ``model(inputs, state)``, with the
    state None at the beginning of the stream, and returns ``(predictions, state)``; the state is a tensor
    or any nest of tuples, lists and dicts of them.

    Parameters
    ----------
    inputs, targets : ndarray, shape (T, B, ...)
        B parallel streams of T time steps, time first.
    k1 : int
        Time steps from one update to the next.
    k2 : int, optional
        Time steps that gradients go back, at least `k1`. Default: `k1`.
    resets : bool ndarray, shape (T, B), optional
        Steps before which a stream is reset, as where a document or an episode begins; the model then takes
        ``model(inputs, state, resets=...)``, as every recurrent layer does.

    Raises
    ------
    ShapeError, DTypeError
        If the streams are empty or disagree in T, or `resets` does not fit them.
    ValueError
        If `k1` is no whole number from 1 on, or `k2` none from `k1` on.

    Notes
    -----
    An epoch runs the model over about ``T * k2 / k1`` time steps, forwards and backwards, and keeps the graph of `k2`.
    What :func:`~tinygrad_rnn.detect_anomaly` finds is told with its time step in the stream.

    References
    ----------
    Williams, Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", 1990: there BPTT(h; h') with h = k2 and h' = k1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.train import TruncatedBPTT
    >>> stream = np.zeros((10, 2, 1), np.float32)
    >>> for window in TruncatedBPTT(stream, stream, k1=4, k2=6):
    ...     print(window)
    Window(start=0, carry=2, first=0, stop=4)
    Window(start=2, carry=6, first=4, stop=8)
    Window(start=6, carry=10, first=8, stop=10)

    Without a trainer:

    >>> from tinygrad_rnn import nn, optim
    >>> import tinygrad_rnn as tr
    >>> layer = nn.GRU(1, 1)
    >>> optimizer, data = optim.Adam(layer.parameters()), TruncatedBPTT(stream, stream, k1=4, k2=6)
    >>> for window in data:
    ...     optimizer.zero_grad()
    ...     data.loss(layer, nn.mse_loss, window, tr.tensor).backward()
    ...     optimizer.step()
    """

    def __init__(self, inputs: Any, targets: Any, k1: int, k2: int | None = None, resets: Any = None):
        self.inputs, self.targets = np.asarray(inputs), np.asarray(targets)
        self.k1 = whole_number("k1", k1)
        self.k2 = self.k1 if k2 is None else whole_number("k2", k2)
        if self.k2 < self.k1:
            raise ValueError(f"k2: got {k2}, wanted at least k1 = {k1}")
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            if array.ndim < 2 or array.size == 0:
                raise ShapeError(f"{name}: got shape {array.shape}, wanted (T, B, ...) with T and B at least 1")
        if self.inputs.shape[0] != self.targets.shape[0]:
            raise ShapeError(f"targets: got {len(self.targets)} time steps, wanted {len(self.inputs)} as the inputs")
        self.resets = None if resets is None else np.asarray(resets)
        if self.resets is not None:
            if self.resets.shape != self.inputs.shape[:2]:
                raise ShapeError(f"resets: got shape {self.resets.shape}, wanted {self.inputs.shape[:2]} as the inputs")
            if self.resets.dtype.kind != "b":
                raise DTypeError(f"resets: got {self.resets.dtype}, wanted bool")
        self._state: Any = None  # at the start of the next window, off the graph
        self._before: Any = None  # at the start of the last one
        self._position = 0  # of the next window
        self._resumed = False

    def __len__(self) -> int:
        """Updates per epoch."""
        return -(-len(self.inputs) // self.k1)

    def __iter__(self) -> Iterator[Window]:
        if not self._resumed:
            self._state, self._position = None, 0
        self._resumed = False
        for i in range(self._position, len(self)):
            self._position = i + 1
            yield self._window(i)

    def _window(self, i: int) -> Window:
        steps, k1, k2 = len(self.inputs), self.k1, self.k2
        stop = min((i + 1) * k1, steps)
        start = max(0, (i + 1) * k1 - k2)
        return Window(start, min(max(0, (i + 2) * k1 - k2), stop), i * k1, stop)

    def loss(self, model: Callable, loss: Callable, window: Window, tensor: Callable[[Any], Any]) -> Tensor:
        """The loss of one window; the state of the next one is kept.

        Parameters
        ----------
        model, loss : callable
        window : Window
            The windows of one epoch in order.
        tensor : callable
            Makes what the model and the loss take out of an array.
        """
        self._before = self._state
        value, self._state = run_window(model, loss, *self.pieces(window, tensor), window.start)
        return value

    def pieces(self, window: Window, tensor: Callable[[Any], Any]) -> tuple[Any, tuple[Piece, ...], Any]:
        """The state before a window, its pieces, and the targets: what :func:`run_window` takes."""
        start, carry, first, stop = window
        pieces = []
        for begin, end in window.pieces():
            resets = None if self.resets is None else self.resets[begin:end]
            pieces.append(Piece(begin - start, begin == carry, begin >= first, tensor(self.inputs[begin:end]), resets))
        return self._state, tuple(pieces), tensor(self.targets[first:stop])

    @property
    def state(self) -> Any:
        """The state before the next window, off the graph; None at the beginning."""
        return self._state

    def unread(self, count: int) -> None:
        """Note that the last `count` windows of an iteration were not used yet; if negative, that they were."""
        self._position -= count

    def accept(self, state: Any) -> None:
        """Go on from a state to which a window has led that was run elsewhere."""
        self._before, self._state = self._state, state

    def discard(self) -> None:
        """Undo the last window: the next one starts from the state before it."""
        self._state = self._before

    def evaluate(self, model: Callable, loss: Callable, tensor: Callable[[Any], Any]) -> float:
        """The mean loss over the stream, every time step weighing the same, in chunks of `k1` steps."""
        kept = self._state
        self._state, total = None, 0.0
        try:
            with config.no_grad():
                for i in range(len(self)):
                    first, stop = i * self.k1, min((i + 1) * self.k1, len(self.inputs))
                    value = self.loss(model, loss, Window(first, stop, first, stop), tensor)
                    total += value.item() * (stop - first)
        finally:
            self._state = kept
        return total / len(self.inputs)

    def state_dict(self) -> dict[str, Any]:
        """The next window and the state carried to it, as numbers and arrays."""
        state, position = self._state, self._position
        if position == len(self):
            state, position = None, 0
        leaves, _ = tree.flatten(state)
        arrays = tree.map(lambda t: t.data.copy(), state) if leaves else None
        return {
            "position": position,
            "steps": len(self.inputs),
            "k1": self.k1,
            "k2": self.k2,
            "state": arrays,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken: the next iteration begins there."""
        own = {"steps": len(self.inputs), "k1": self.k1, "k2": self.k2}
        for name, value in own.items():
            if state_dict.get(name) != value:
                raise CheckpointError(f"state_dict: got {name}={state_dict.get(name)}, wanted {value} as here")
        self._position = state_dict["position"]
        state = state_dict["state"]
        self._state = None if state is None else tree.map(lambda a: Tensor(np.array(a)), state)
        self._resumed = True
