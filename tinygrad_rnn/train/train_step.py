"""Training steps: forward, loss and gradients as one program, then clipping and the update."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..checks import one_of, whole_number
from ..core import Tensor
from ..errors import DataError
from ..optim import Optimizer
from .accumulation import Accumulation
from .batches import check_batches
from .checks import check_accumulate, check_parts, check_positive
from .gradients import of_pairs, of_windows
from .many_batches import ManyBatches
from .program_updates import ProgramUpdates
from .tbptt import TruncatedBPTT


class TrainStep:
    """A training step: ``step(inputs, targets)`` updates with one batch, and returns its loss.

    The model, the loss and the gradients run as one program, as :func:`tinygrad_rnn.compile` makes it; then gradients
    are clipped, and the optimiser updates. Parameters, states of the optimiser and losses are those of the same step on
    the tape, and one seed gives the same random masks.

    Parameters
    ----------
    model : callable
        ``model(inputs) -> predictions``; inputs that are a tuple are several arguments.
    optimizer : Optimizer
        Its groups, and their options, may be changed between steps.
    loss : callable
        ``loss(predictions, targets)``, a tensor with one element.
    clip_norm, clip_value : float, optional
        Clip gradients by their norm together, or by value.
    accumulate : int
        Update after so many batches, by the mean of their gradients, as with one batch of all their rows. Those that
        have no update yet when :meth:`run` ends count for the next one; their sum is in the parameters' gradients.
    fallback : {"warn", "error"}
        Where no program can be made: run on the tape, with one warning that names operation, file and line; or raise.

    Raises
    ------
    CompileError
        At a step, with ``fallback="error"``.

    Notes
    -----
    After a step the gradients are in the parameters, as after one on the tape; those of the step before are forgotten
    first. There is a program for each shape of a batch. Switch the model to training yourself, with ``model.train()``.
    Threads that call one step take turns.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn, optim
    >>> from tinygrad_rnn.train import TrainStep
    >>> tr.seed(0)
    >>> model = nn.Linear(1, 1)
    >>> step = TrainStep(model, optim.SGD(model.parameters(), lr=0.5), nn.mse_loss)
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> losses = [step(x, 3 * x) for _ in range(100)]
    >>> losses[-1] < 1e-6, round(model.weight.item(), 2)
    (True, 3.0)
    """

    def __init__(
        self,
        model: Callable[..., Any],
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
        clip_norm: float | None = None,
        clip_value: float | None = None,
        fallback: str = "warn",
        accumulate: int = 1,
    ):
        check_parts(model, optimizer, loss, None)
        if model is None:
            raise TypeError("model: got None, wanted a module or a function")
        check_positive("clip_norm", clip_norm)
        check_positive("clip_value", clip_value)
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.fallback = one_of("fallback", fallback, ("warn", "error"))
        self.accumulate = check_accumulate(accumulate, optimizer)
        self._accumulation = Accumulation(self.accumulate)
        self._updates: dict[bool, ProgramUpdates] = {}  # of pairs, and of the last stream
        self._many: ManyBatches | None = None  # over the rows of the last loader
        self._parts: dict[bool, tuple] = {}  # model, loss, optimiser and stream, as they were when these were made
        self._lock = threading.RLock()  # threads take turns: a program has one memory, and the parameters one value

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_updates": {}, "_many": None, "_parts": {}}  # copies make their own programs
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __call__(self, inputs: Any, targets: Any) -> float:
        """Update the parameters with one batch.

        Parameters
        ----------
        inputs : array or Tensor, or a tuple of such
            Arrays of floats take the dtype of the parameters.
        targets : array or Tensor

        Returns
        -------
        float
            The loss, before the update.

        Raises
        ------
        ShapeError, DTypeError, IndexError, ...
            As the tape does, if the batch does not fit the model; nothing is changed then.
        """
        return self.update((inputs, targets))

    def run(self, loader: Iterable[Any], n: int) -> np.ndarray:
        """Update with `n` batches of a loader, which is begun anew as often as it ends.

        Parameters
        ----------
        loader : iterable of pairs ``(inputs, targets)``, or TruncatedBPTT
            A stream's windows are its batches; the model and its state are then as :class:`TruncatedBPTT` says.
            Batches that are rows of a DataLoader's arrays, and windows, go many in one native call, which returns after
            50 ms at most.
        n : int

        Returns
        -------
        ndarray of float64, (n,)
            The losses.

        Raises
        ------
        DataError
            If the loader has no batches.
        """
        check_batches("loader", loader, True)
        with self._lock:
            return np.array(self._run(loader, whole_number("n", n, 0)), np.float64)

    def _run(self, loader: Iterable[Any], n: int) -> list[float]:
        losses: list[float] = []
        left = lambda: n - len(losses)
        stream = loader if isinstance(loader, TruncatedBPTT) else None
        updates = functools.partial(self.updates, stream)
        update = lambda batch: updates()(batch)
        many = None
        if ManyBatches.fits(loader):
            if self._many is None or self._many.loader is not loader:
                self._many = ManyBatches(loader, updates, update)
            many = self._many
        while left() > 0:
            before = len(losses)
            if many is not None:
                for found in many.epoch(many.begin(left()), left):
                    losses += found.losses
                    if found.error is not None:
                        raise found.error
            else:
                losses += [update(batch)[0] for batch in itertools.islice(loader, left())]
            if len(losses) == before:
                raise DataError("loader: got no batches, wanted at least one")
        return losses

    def explain(self, inputs: Any, targets: Any) -> Any:
        """Report the program for such a batch, what it runs as and what that costs; or why there is none.

        Returns
        -------
        Report
            Its text shows all of it. ``compiled``, or the ``reason`` why not; ``native``, whether the step with its
            update is one native call, or ``why`` not; and one of ``parts``, with its groups of operations, their FLOPs
            and the bytes that they move, and its memory.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tr
        >>> from tinygrad_rnn import nn, optim
        >>> from tinygrad_rnn.train import TrainStep
        >>> model = nn.Linear(3, 1)
        >>> step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, clip_norm=1.0)
        >>> report = step.explain(np.ones((4, 3)), np.zeros((4, 1)))
        >>> report.native, report.parts[0].groups[-1].text
        (True, 'update by SGD of 4 numbers')
        """
        from ..programs.report import report

        with self._lock:
            updates = self.updates()
            gradients = updates.gradients
            return report(gradients.title, gradients.find(gradients.arguments((inputs, targets))), updates)

    def update(self, batch: Any) -> float:
        """Update the parameters with a batch, the pair of inputs and targets; the loss before."""
        with self._lock:
            return self.updates()(batch)[0]

    def updates(self, stream: TruncatedBPTT | None = None) -> ProgramUpdates:
        """What updates by programs with pairs, or a stream's windows; with parts and clipping as set now."""
        kind = stream is None
        updates, before = self._updates.get(kind), self._parts.get(kind, (None,) * 4)
        if not (
            updates is not None
            and before[0] is self.model
            and before[1] is self.loss
            and before[2] is self.optimizer
            and before[3] is stream
        ):
            title = f"TrainStep of {getattr(self.model, '__qualname__', type(self.model).__name__)}"
            how: Any = (self.model, self.loss, self.optimizer, False, self.fallback, title)
            gradients = of_pairs(*how) if stream is None else of_windows(stream, *how)
            updates = self._updates[kind] = ProgramUpdates(gradients, None, None, self._accumulation)
            self._parts[kind] = self.model, self.loss, self.optimizer, stream
        updates.clip_norm, updates.clip_value = self.clip_norm, self.clip_value
        self._accumulation.every = self.accumulate
        return updates
