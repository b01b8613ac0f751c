"""From a batch to its loss and the gradients of the parameters, on the tape or by a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core import Tensor
from ..errors import CompileError, NonFiniteError
from ..optim import Optimizer
from .batches import number_of, read_pair, tensor_maker
from .resume import parameters

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
    """Losses and gradients of pairs ``(inputs, targets)`` by programs, one for each signature.

    Parameters
    ----------
    model, loss : callable
    optimizer : Optimizer
    watch : bool
        Raise FloatingPointError if the loss is not finite, before any gradient is touched.
    fallback : {"warn", "error"}
        Where no program can be made: use the tape, with one warning, or raise.
    title : str
        What messages call it.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        loss: Callable[..., Tensor],
        optimizer: Optimizer,
        watch: bool,
        fallback: str,
        title: str,
    ):
        from ..programs.cache import Programs  # at first use, as importing the compiler takes a while
        from ..programs.gradients import Gradients
        from ..programs.reach import Root

        self.optimizer, self.watch, self.fallback, self.title = optimizer, watch, fallback, title

        def loss_of(inputs: tuple, targets: Any) -> Any:
            return loss(model(*inputs), targets)

        self.loss_of = loss_of
        self.programs = Programs(loss_of, Root(model, loss), title, Gradients)

    def __call__(self, batch: Any) -> float:
        from ..programs.gradients import Run

        arguments = self.arguments(batch)
        found = self.find(arguments)
        if isinstance(found, str):
            return self._on_the_tape(arguments, found)
        run = Run(found)
        check_loss(run.loss, self.watch)
        self.optimizer.zero_grad()
        run.deposit()
        return run.loss

    def arguments(self, batch: Any) -> tuple[tuple, Any]:
        """The inputs and the targets of a batch, as tensors."""
        inputs, targets = read_pair(batch)
        tensor = tensor_maker(parameters(self.optimizer)[0].dtype)
        several = inputs if type(inputs) is tuple else (inputs,)
        return tuple([tensor(x, "inputs") for x in several]), tensor(targets, "targets")

    def find(self, arguments: tuple[tuple, Any]) -> Any:
        """The program for a batch, or the reason why there is none."""
        from ..programs.cache import Rejected
        from ..programs.gradients import has_hooks

        try:
            found = self.programs.find(arguments, {})
        except Rejected:
            return ""
        if not isinstance(found, str) and has_hooks(found):
            return "a hook of a parameter wants to see its gradient, which a program does not show"
        return found

    def _on_the_tape(self, arguments: tuple[tuple, Any], reason: str) -> float:
        if reason and self.fallback == "error":
            number_of(self.programs.reject(arguments, {}))
            raise CompileError(f"{self.title}: {reason}")
        loss = self.loss_of(*arguments)
        value = number_of(loss)
        check_loss(value, self.watch)
        self.programs.warn(reason, 4)
        self.optimizer.zero_grad()
        loss.backward()
        return value
