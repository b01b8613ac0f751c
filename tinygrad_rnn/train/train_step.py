"""Training steps: forward, loss and gradients as one program, then clipping and the update."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..checks import one_of, whole_number
from ..core import Tensor
from ..data import DataLoader
from ..errors import DataError
from ..optim import Optimizer
from .batches import check_batches
from .checks import check_parts, check_positive
from .fast_path import MOST, FastPath, signature
from .gradients import ByProgram, of_pairs
from .updates import applier

CHUNK = 0.05  # seconds after which many steps come back to Python


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
    ):
        check_parts(model, optimizer, loss, None)
        if model is None:
            raise TypeError("model: got None, wanted a module or a function")
        check_positive("clip_norm", clip_norm)
        check_positive("clip_value", clip_value)
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.fallback = one_of("fallback", fallback, ("warn", "error"))
        self._gradients: ByProgram | None = None
        self._parts: tuple = ()  # model, loss and optimiser, as they were when it was made
        self._paths: dict[tuple | None, Any] = {}  # by the signature of a batch
        self._steps: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # by the program

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
        loader : iterable of pairs ``(inputs, targets)``
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
        n = whole_number("n", n, 0)
        losses: list[float] = []
        many = None
        if isinstance(loader, DataLoader) and loader.sliced is not None:
            many = ManyBatches(self, loader)
        while len(losses) < n:
            before = len(losses)
            if many is not None:
                for some in many.epoch(n - before):
                    losses += some
            else:
                losses += map(self.update, itertools.islice(loader, n - before))
            if len(losses) == before:
                raise DataError("loader: got no batches, wanted at least one")
        return np.array(losses, np.float64)

    def explain(self, inputs: Any, targets: Any) -> Any:
        """Report the program for such a batch, or why there is none.

        Returns
        -------
        Report
            ``compiled``, ``reason`` and, as text, the program.
        """
        from ..programs.report import report

        gradients = self._by_program()
        return report(gradients.title, gradients.find(gradients.arguments((inputs, targets))))

    def update(self, batch: Any) -> float:
        """Update the parameters with a batch, the pair of inputs and targets; the loss before."""
        gradients, key = self._by_program(), signature(batch)
        path = self._paths.get(key)
        if path is not None and path.native.clipping == (self.clip_norm, self.clip_value) and path.holds():
            return path.run(batch)
        arguments = gradients.arguments(batch)
        found = gradients.find(arguments)
        if not isinstance(found, str) and (native := self._native_step(found)) is not None:
            if key is not None and FastPath.takes(batch, found):
                self._paths[key] = FastPath(gradients.programs, found, native)
                if len(self._paths) > MOST:
                    self._paths.pop(next(iter(self._paths)))
            found.capture.operation.runner.check(found.arguments.arrays, native.native.given)
            return native(found.arguments.arrays)
        value = gradients.run(batch, arguments, found)
        applier(self.optimizer, self.clip_norm, self.clip_value, False)()
        return value

    def _native_step(self, found: Any) -> Any:
        """The native call for a program that was found, or None if part of the step runs in Python."""
        from ..compiler.model.pool import attempt  # at first use, as importing the compiler takes a while
        from .native_step import NativeStep

        step = self._steps.get(found.capture, self)
        clipping = self.clip_norm, self.clip_value
        if step is not None and (step is self or step.clipping != clipping or not step.fits(found)):
            made = attempt(lambda: NativeStep(found, self.optimizer, self.clip_norm, self.clip_value))
            step = self._steps[found.capture] = None if isinstance(made, str) else made
        return step

    def _by_program(self) -> ByProgram:
        parts = self.model, self.loss, self.optimizer
        if self._gradients is None or any(a is not b for a, b in zip(parts, self._parts)):
            self._parts = parts
            self._steps.clear()
            self._paths.clear()
            title = f"TrainStep of {getattr(self.model, '__qualname__', type(self.model).__name__)}"
            self._gradients = of_pairs(self.model, self.loss, self.optimizer, False, self.fallback, title)
        return self._gradients

    def program_of(self, batch: Any) -> tuple[Any, Any]:
        """The program for a batch, or why there is none; and the native call of the step, or None."""
        gradients = self._by_program()
        found = gradients.find(gradients.arguments(batch))
        return found, None if isinstance(found, str) else self._native_step(found)


class ManyBatches:
    """Steps over the rows of a loader's arrays: many in one native call where they can be.

    Parameters
    ----------
    step : TrainStep
    loader : DataLoader
        Whose batches are rows of arrays.
    """

    def __init__(self, step: TrainStep, loader: DataLoader):
        self.step, self.loader = step, loader
        self.rows = np.arange(loader.size)
        self.native: Any = None  # a ManySteps, once there is one; False if there is none
        self.most = 1  # steps of one call, so that it takes no longer than CHUNK

    def epoch(self, n: int) -> Iterator[list[float]]:
        """Update with the batches of an epoch, at most `n`; some of the losses at a time."""
        batches = self.loader.rows()
        while n > 0 and (taken := list(itertools.islice(batches, min(self.most, n)))):
            n -= len(taken)
            while taken:
                order = self._alike(taken)
                if order:
                    yield self._run(order)
                    taken = taken[len(order) :]
                else:
                    yield [self.step.update(self.loader.batch(taken[0]))]
                    self._prepare(taken.pop(0))

    def _alike(self, taken: list) -> list[np.ndarray]:
        """The rows of the next batches that one native call can do."""
        if not self.native:
            return []
        order, size = [self.rows[r] for r in taken], self.native.rows
        sizes = [r.size for r in order]
        if sizes.count(size) < len(sizes):
            order = order[: next(i for i, n in enumerate(sizes) if n != size)]
        if order and self.step.program_of(self.loader.batch(taken[0]))[1] is not self.native.step:
            return []
        return order

    def _run(self, order: list[np.ndarray]) -> list[float]:
        started = time.perf_counter()
        losses = self.native.run(order)
        seconds = (time.perf_counter() - started) / len(order)
        self.most = int(min(max(CHUNK / seconds, 1), self.native.most))
        return losses.tolist()

    def _prepare(self, rows: Any) -> None:
        """Make the native call of many steps, after a first one of their kind."""
        if self.native is not None and (self.native is False or self.native.rows == self.rows[rows].size):
            return
        found, native = self.step.program_of(self.loader.batch(rows))
        arrays = self.loader.sliced or []
        made = None if native is None else native.feeds_from(arrays, self.rows[rows].size)
        if made is not None:
            try:
                found.capture.operation.runner.check(made.data, native.native.given)
            except (IndexError, ValueError):  # the step that meets it says where
                made = None
        if made is None:
            self.native = self.native or False
        elif self.native is None:
            self.native, self.most = made, 2
