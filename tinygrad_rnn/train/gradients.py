"""From a batch to its loss and the gradients of the parameters, on the tape or by a program."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core import Tensor
from ..errors import CompileError, NonFiniteError
from ..optim import Optimizer
from .batches import number_of, read_pair, tensor_maker, tensors
from .measuring import Watch, detached
from .resume import parameters
from .tbptt import TruncatedBPTT, run_window

GradientsOf = Callable[[Any], float]  # from a batch to its loss; gradients are left in the parameters


def on_the_tape(loss_of: Callable[[Any], Tensor], optimizer: Optimizer, watch: bool) -> GradientsOf:
    """Losses and gradients by the tape.

    With `watch` they raise FloatingPointError if the loss is not finite, before any gradient is touched.
    """

    def gradients(batch: Any) -> float:
        loss = loss_of(batch)
        value = number_of(loss)
        check_loss(value, watch)
        optimizer.zero_grad()
        loss.backward()
        return value

    return gradients


def check_loss(value: float, watch: bool) -> None:
    """Raise unless the loss is finite, or nobody cares."""
    if watch and not math.isfinite(value):
        raise NonFiniteError(f"loss: got {value}")


class ByProgram:
    """Losses and gradients of batches by programs, one for each signature.

    Parameters
    ----------
    function : callable
        ``function(*arguments)`` is the loss, or a tuple of it and of something to go on from.
    reached : sequence
        Models, losses and other functions that `function` calls.
    arguments : callable
        ``arguments(batch)`` is the tuple of them, with tensors or arrays.
    on_the_tape : callable
        ``on_the_tape(*arguments)`` is the loss, where no program can be made.
    optimizer : Optimizer
    watch : bool
        Raise FloatingPointError if the loss is not finite, before any gradient is touched.
    fallback : {"warn", "error", "tape"}
        Where no program can be made: use the tape, with one warning or without, or raise.
    title : str
        What messages call it.
    accept : callable, optional
        Takes what the function returns beside the loss.
    at_once : bool
        Give the same bits in every process, from the first batch on.

    Attributes
    ----------
    pairs : bool
        Whether batches are pairs whose arrays are the arguments, but for their dtypes.
    """

    pairs = False

    def __init__(
        self,
        function: Callable[..., Any],
        reached: Sequence[Callable],
        arguments: Callable[[Any], tuple],
        on_the_tape: Callable[..., Any],
        optimizer: Optimizer,
        watch: bool,
        fallback: str,
        title: str,
        accept: Callable[[Any], None] | None = None,
        at_once: bool = False,
    ):
        from ..programs.cache import Programs  # at first use, as importing the compiler takes a while
        from ..programs.gradients import Gradients
        from ..programs.reach import Root

        self.arguments, self.on_the_tape, self.accept = arguments, on_the_tape, accept
        self.optimizer, self.watch, self.fallback, self.title = optimizer, watch, fallback, title
        finish = functools.partial(Gradients, at_once=at_once, alone=accept is None)
        self.programs = Programs(function, Root(*reached), title, finish, fallback == "tape")

    def __call__(self, batch: Any) -> float:
        arguments = self.arguments(batch)
        return self.run(arguments, self.find(arguments))

    def run(self, arguments: tuple, found: Any) -> float:
        """The loss for arguments, by what :meth:`find` has found; gradients are left in the parameters."""
        from ..programs.gradients import Run

        if isinstance(found, str):
            return self._on_the_tape(arguments, found)
        run = Run(found)
        if self.accept is not None:
            self.accept(run.nest()[1])
        check_loss(run.loss, self.watch)
        self.optimizer.zero_grad()
        run.deposit()
        return run.loss

    def find(self, arguments: tuple) -> Any:
        """The program for these arguments, or the reason why there is none."""
        from ..programs.cache import Rejected
        from ..programs.gradients import has_hooks

        try:
            found = self.programs.find(arguments, {})
        except Rejected:
            return ""
        if not isinstance(found, str) and has_hooks(found):
            return "a hook of a parameter wants to see its gradient, which a program does not show"
        return found

    def _on_the_tape(self, arguments: tuple, reason: str) -> float:
        if reason and self.fallback == "error":
            result = self.programs.reject(arguments, {})
            loss = result if self.accept is None or not isinstance(result, tuple) else result[0]
            number_of(loss)
            if not loss.requires_grad:
                loss.backward()  # raises
            raise CompileError(f"{self.title}: {reason}")
        from ..programs.cache import CHANGES

        loss = self.on_the_tape(*arguments)
        value = number_of(loss)
        check_loss(value, self.watch)
        if self.fallback == "warn" or reason == CHANGES:  # which another run may meet elsewhere
            self.programs.warn(reason, 4)
        self.optimizer.zero_grad()
        loss.backward()
        return value


def of_pairs(
    model: Callable[..., Any],
    loss: Callable[..., Any],
    optimizer: Optimizer,
    watch: bool,
    fallback: str,
    title: str,
    at_once: bool = False,
    metrics: Watch | None = None,
) -> ByProgram:
    """Losses and gradients of pairs ``(inputs, targets)``, as :class:`Trainer` takes them.

    With `metrics` a program returns its predictions as well, which are measured with the targets.
    """
    now: Any = None  # the targets at hand, for metrics

    def arguments(batch: Any) -> tuple:
        nonlocal now
        inputs, targets = read_pair(batch)
        tensor = tensor_maker(parameters(optimizer)[0].dtype)
        several = inputs if type(inputs) in (tuple, dict) else (inputs,)
        now = tensors(targets, "targets", tensor)
        return _several(several, tensor), now

    def predict(inputs: Any) -> Any:
        return model(**inputs) if type(inputs) is dict else model(*inputs)

    def function(inputs: Any, targets: Any) -> Any:
        return loss(predict(inputs), targets)

    def both(inputs: Any, targets: Any) -> Any:
        predictions = predict(inputs)
        return loss(predictions, targets), detached(predictions)

    if metrics is None:
        how: Any = (optimizer, watch, fallback, title, None, at_once)
        made = ByProgram(function, (model, loss), arguments, function, *how)
        made.pairs = True
        return made
    measured = metrics.noting(loss)

    def on_the_tape(inputs: Any, targets: Any) -> Any:
        return measured(predict(inputs), targets)

    how = optimizer, watch, fallback, title, lambda predictions: metrics.note(predictions, now), at_once
    return ByProgram(both, (model, loss), arguments, on_the_tape, *how)


def _several(inputs: Any, tensor: Callable[..., Any]) -> Any:
    """Several inputs as tensors."""
    if type(inputs) is dict:
        return tensors(inputs, "inputs", tensor)
    return tuple([tensor(x, f"inputs[{i}]" if len(inputs) > 1 else "inputs") for i, x in enumerate(inputs)])


def of_windows(
    data: TruncatedBPTT,
    model: Callable[..., Any],
    loss: Callable[..., Any],
    optimizer: Optimizer,
    watch: bool,
    fallback: str,
    title: str,
    at_once: bool = False,
    metrics: Watch | None = None,
) -> ByProgram:
    """Losses and gradients of the windows of a stream; with `metrics`, as :func:`of_pairs`."""

    start, now = 0, None  # of the window at hand: where it begins, for messages; the targets, for metrics
    on_tape = loss if metrics is None else metrics.noting(loss)

    def arguments(window: Any) -> tuple:
        nonlocal start, now
        start = window.start
        state, pieces, now = data.pieces(window, tensor_maker(parameters(optimizer)[0].dtype))
        return state, pieces, now

    def function(state: Any, pieces: tuple, targets: Any) -> Any:
        if metrics is None:
            return run_window(model, loss, state, pieces, targets)
        seen = []

        def noted(predictions: Any, targets: Any) -> Any:
            seen.append(detached(predictions))
            return loss(predictions, targets)

        value, carried = run_window(model, noted, state, pieces, targets)
        return value, (carried, seen[0])

    def accept(result: Any) -> None:
        if metrics is None:
            data.accept(result)
            return
        carried, predictions = result
        data.accept(carried)
        metrics.note(predictions, now)

    def on_the_tape(state: Any, pieces: tuple, targets: Any) -> Any:
        value, carried = run_window(model, on_tape, state, pieces, targets, start)
        data.accept(carried)
        return value

    how: Any = (optimizer, watch, fallback, title, accept, at_once)
    return ByProgram(function, (model, loss), arguments, on_the_tape, *how)


def of_steps(
    step: Callable[[Any], Any], optimizer: Optimizer, watch: bool, fallback: str, title: str, at_once: bool = False
) -> ByProgram:
    """Losses and gradients of a user's step function, which takes batches as they are."""
    how: Any = (optimizer, watch, fallback, title, None, at_once)
    return ByProgram(step, (step,), lambda batch: (batch,), step, *how)
