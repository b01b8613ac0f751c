"""Evaluation and prediction: a model over batches, in evaluation mode and without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import config
from ..checks import is_whole, shown, whole_number
from ..core import Tensor, tree
from ..data import DataLoader
from ..errors import DataError, ShapeError
from . import resume
from .batches import call, check_batches, number_of, pair_loss, read_pair, tensor_maker
from .measuring import Functions, Means, values
from .modes import Modes
from .parts import Parts
from .signals import Interruption
from .tbptt import TruncatedBPTT


class Evaluation(Parts):
    """Losses, metrics and predictions of the model of a :class:`Trainer`."""

    _modes: Modes
    _interruption: Interruption

    def evaluate(self, data: Iterable[Any]) -> float:
        """The mean loss over batches, in evaluation mode and without gradients.

        Parameters
        ----------
        data : iterable of batches, or TruncatedBPTT
            Each batch weighs the same; of a TruncatedBPTT each time step.

        Returns
        -------
        float
        """
        return self._measure(data, {})["loss"]

    def measure(self, data: Iterable[Any]) -> dict[str, float]:
        """The mean loss and metrics over batches, as :meth:`evaluate` takes them.

        Returns
        -------
        dict of float
            "loss", and the names of the trainer's `metrics`.
        """
        return self._measure(data, self.metrics)

    def _measure(self, data: Any, metrics: Functions) -> dict[str, float]:
        check_batches("data", data, self.loss_fn is not None)
        whole, data = data, self.ranks.part(data, self.model)
        before = self._modes.evaluation()
        try:
            with config.no_grad():
                if isinstance(data, TruncatedBPTT):
                    return self._measure_stream(data, metrics)
                return self._measure_batches(data, metrics, shared=data is not whole)
        except Exception:
            self.ranks.failed()
            raise
        finally:
            self._modes.restore(before)

    def _measure_batches(self, data: Iterable[Any], metrics: Functions, shared: bool) -> dict[str, float]:
        means, found, names = Means(), {}, ("loss", *metrics)

        def noted(predictions: Any, targets: Any) -> Tensor:
            assert self.loss_fn is not None
            value = self.loss_fn(predictions, targets)
            found.update(values(metrics, predictions, targets))
            return value

        loss_of = self._loss_function(data, noted if metrics else None)
        for batch in data:
            is_empty = batch is None and self.ranks.size > 1
            numbers = {} if is_empty else {"loss": number_of(loss_of(batch)), **found}
            means.add(self.ranks.weighed(names, numbers, data))
            if shared or self.ranks.size == 1:  # others may have fewer batches, or none
                self._check_signals()
        if not means.weight:
            raise DataError("validation: got no batches, wanted at least one")
        return means.result()

    def _measure_stream(self, data: TruncatedBPTT, metrics: Functions) -> dict[str, float]:
        if self.loss_fn is None:
            raise ValueError("data: got TruncatedBPTT, wanted a trainer with a loss, not with a step function")
        loss, means = self.loss_fn, Means()

        def noted(predictions: Any, targets: Any) -> Tensor:
            means.add(values(metrics, predictions, targets), len(targets))
            return loss(predictions, targets)

        value = data.evaluate(self.model, noted if metrics else loss, self._tensor())
        return self.ranks.weighed(("loss", *metrics), {"loss": value, **means.result()}, data)

    def predict(
        self, inputs: Any, batch_size: int | None = None, *, batch_axis: int = 0, output_axis: int | None = None
    ) -> Any:
        """What the model makes of inputs, in evaluation mode and without gradients, as arrays.

        Parameters
        ----------
        inputs : array_like, tuple of arrays, or iterable of batches
            A tuple is several inputs of the model. Of batches that are pairs ``(inputs, targets)``, such as those
            that :meth:`evaluate` takes, the targets are left aside.
        batch_size : int, optional
            Run so many examples at a time. Default: all at once.
        batch_axis : int
            The axis of the arrays along which examples lie; 1 for (T, B, features).
        output_axis : int, optional
            That of the predictions. Default: `batch_axis`.

        Returns
        -------
        ndarray
            Or a nest of arrays, if the model returns one.

        Raises
        ------
        ShapeError
            If predictions have not as many examples as their inputs along `output_axis`.
        ValueError
            If a DataLoader shuffles or sorts, as predictions would come in another order than the examples.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_rnn import nn, optim
        >>> from tinygrad_rnn.train import Trainer
        >>> model = nn.Linear(2, 1)
        >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
        >>> trainer.predict(np.ones((5, 2)), batch_size=2).shape
        (5, 1)
        """
        if self.model is None:
            raise TypeError("model: got None, wanted a trainer with a model to predict")
        if not is_whole(batch_axis) or not (output_axis is None or is_whole(output_axis)):
            raise TypeError(f"batch_axis, output_axis: got {batch_axis!r}, {output_axis!r}, wanted whole numbers")
        axis = batch_axis if output_axis is None else output_axis
        before = self._modes.evaluation()
        try:
            with config.no_grad():
                if _is_array(inputs):
                    batches = _cut(inputs, batch_size, batch_axis)
                else:
                    batches = _of_batches(inputs, batch_axis, batch_size)
                tensor, found = self._tensor(), []
                for part, rows in batches:
                    found.append(tree.map(_as_array, call(self.model, part, tensor)))
                    _check_rows(found[-1], rows, axis)
                    if self.ranks.size == 1:
                        self._check_signals()
        finally:
            self._modes.restore(before)
        if not found:
            raise DataError("inputs: got no batches, wanted at least one")
        return found[0] if len(found) == 1 else tree.map(lambda *arrays: np.concatenate(arrays, axis), *found)

    # ---- what evaluation and training share

    def _check_signals(self) -> None:
        """Raise what a signal asks for, between two updates."""
        self._interruption.signal = self.ranks.signal(self._interruption.signal)
        if self._interruption.signal is not None:
            state = self.state
            where = f"update {state.steps} ({state.step_in_epoch} of epoch {state.epoch + 1})"
            raise self._interruption.exception(f"training was interrupted after {where}")

    def _loss_function(self, data: Any, loss: Callable[..., Tensor] | None = None) -> Callable[[Any], Tensor]:
        """A function from a batch to its loss, which is that of the trainer unless another is given."""
        if self.loss_fn is None:
            assert self.step_fn is not None
            return self.step_fn
        model, loss, tensor = self.model, loss or self.loss_fn, self._tensor()
        if isinstance(data, TruncatedBPTT):
            return lambda window: data.loss(model, loss, window, tensor)
        return pair_loss(model, loss, tensor)

    def _tensor(self) -> Callable[..., Any]:
        return tensor_maker(resume.parameters(self.optimizer)[0].dtype)


def _is_array(inputs: Any) -> bool:
    """Whether it is an array or several, and no batches."""
    if isinstance(inputs, tuple | dict) or (hasattr(inputs, "__array__") and not isinstance(inputs, type)):
        return True
    return isinstance(inputs, list) and bool(inputs) and tree.holds_numbers(inputs)


def _cut(inputs: Any, size: int | None, axis: int) -> Iterator[tuple[Any, int | None]]:
    """Parts of arrays, and how many examples they have; all at once without a size."""
    if size is None:
        yield inputs, None
        return
    whole_number("batch_size", size)
    several = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    arrays = [a.data if isinstance(a, Tensor) else np.asarray(a) for a in several]
    for a in arrays:
        if not -a.ndim <= axis < a.ndim:
            raise ShapeError(f"inputs: got shape {a.shape}, wanted an axis {axis} (batch_axis)")
    counts = [a.shape[axis] for a in arrays]
    if len({*counts}) != 1:
        raise ShapeError(f"inputs: got {counts} examples along axis {axis}, wanted the same number of each")
    for first in range(0, max(counts[0], 1), size):
        parts = [a[(slice(None),) * (axis % a.ndim) + (slice(first, first + size),)] for a in arrays]
        rows = min(size, counts[0] - first)
        if isinstance(inputs, dict):
            yield dict(zip(inputs, parts)), rows
        else:
            yield tuple(parts) if isinstance(inputs, tuple) else parts[0], rows


def _of_batches(data: Any, axis: int, size: int | None) -> Iterator[tuple[Any, int | None]]:
    """The inputs of batches, and how many examples they have."""
    if isinstance(data, TruncatedBPTT):
        raise TypeError("inputs: got TruncatedBPTT, wanted arrays, or batches; call the model with its state")
    if size is not None:
        raise ValueError(f"batch_size: got {size} for batches, wanted None")
    if isinstance(data, DataLoader) and not data.in_order:
        raise ValueError("inputs: got a DataLoader that shuffles or sorts by length, wanted one in order")
    pairs = not isinstance(data, DataLoader) or not isinstance(data.data, np.ndarray)
    check_batches("inputs", data, pairs)
    for batch in data:
        inputs = read_pair(batch)[0] if pairs else batch
        one = inputs[0] if isinstance(inputs, tuple) and inputs else inputs
        shape = np.shape(one) if not isinstance(one, dict) else ()
        yield inputs, shape[axis] if -len(shape) <= axis < len(shape) else None


def _as_array(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor | np.ndarray):
        raise TypeError(f"model: got {shown(leaf)} among its predictions, wanted tensors")
    return leaf.data.copy() if isinstance(leaf, Tensor) else leaf


def _check_rows(nest: Any, rows: int | None, axis: int) -> None:
    """Raise ShapeError unless predictions have so many examples along an axis."""
    for array in tree.flatten(nest)[0]:
        if rows is not None and (not -array.ndim <= axis < array.ndim or array.shape[axis] != rows):
            raise ShapeError(
                f"predictions: got shape {array.shape}, wanted {rows} examples along axis {axis}; "
                "say where they are by output_axis"
            )
