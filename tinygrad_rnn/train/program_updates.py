"""Updates by programs: loss, gradients, clipping and update in one native call, where that can be."""

from __future__ import annotations

import weakref
from typing import Any

from ..core import Tensor
from .fast_path import MOST, FastPath, signature
from .gradients import ByProgram
from .resume import parameters
from .updates import applier, by_closure


class ProgramUpdates:
    """Updates the parameters with batches, each by the program of its signature.

    Parameters
    ----------
    gradients : ByProgram
        If it watches, nothing is updated where the loss or a gradient is not finite.
    clip_norm, clip_value : float or None

    Attributes
    ----------
    last : NativeStep or None
        What ran the last batch, if all of it was machine code.
    """

    def __init__(self, gradients: ByProgram, clip_norm: float | None, clip_value: float | None):
        self.gradients, self.clip_norm, self.clip_value = gradients, clip_norm, clip_value
        self.last: Any = None
        self._paths: dict[tuple | None, Any] = {}  # by the signature of a batch
        self._steps: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # by the program; or why not

    def __call__(self, batch: Any) -> tuple[float, float]:
        """Update the parameters with a batch; the loss before, and the norm of the gradients, if clipped.

        Raises
        ------
        FloatingPointError
            If it watches, and the loss or a gradient is not finite; nothing is updated then.
        """
        gradients, key = self.gradients, signature(batch)
        path = self._paths.get(key)
        if path is not None and path.native.clipping == (self.clip_norm, self.clip_value) and path.holds():
            native = self.last = path.native
            value = path.run(batch)
            native.check()
            return value, native.norm
        arguments = gradients.arguments(batch)
        found = gradients.find(arguments)
        if not isinstance(found, str) and (native := self._native_step(found)) is not None:
            if key is not None and gradients.pairs and FastPath.takes(batch, found):
                self._paths[key] = FastPath(gradients.programs, found, native)
                if len(self._paths) > MOST:
                    self._paths.pop(next(iter(self._paths)))
            found.capture.operation.runner.check(found.arguments.arrays, native.native.given)
            self.last = native
            value = native(found.arguments.arrays)
            if gradients.accept is not None:
                gradients.accept(native.nest(found)[1])
            native.check()
            return value, native.norm
        self.last = None
        if gradients.optimizer.needs_closure:
            how = self.clip_norm, self.clip_value, gradients.watch
            return by_closure(gradients.optimizer, lambda: gradients.run(arguments, found), *how), 0.0
        value = gradients.run(arguments, found)
        return value, applier(gradients.optimizer, self.clip_norm, self.clip_value, gradients.watch)()

    # ---- several batches for one update

    def add_gradients(self, batch: Any, add: bool) -> float:
        """The loss of a batch; its gradients are left in the parameters, with `add` added to those there."""
        arguments = self.gradients.arguments(batch)
        return self.gradients.run(arguments, self.gradients.find(arguments), add)

    def apply_mean(self, count: int) -> None:
        """Update with the sum of the gradients of `count` batches, divided by that."""
        optimizer = self.gradients.optimizer
        for p in parameters(optimizer):
            if p.grad is not None:
                p.grad = Tensor(p.grad.data / count)
        applier(optimizer, self.clip_norm, self.clip_value, self.gradients.watch)()

    # ---- the native call

    def program_of(self, batch: Any) -> tuple[Any, Any]:
        """The program for a batch, or why there is none; and the native call of the step, or None."""
        found = self.gradients.find(self.gradients.arguments(batch))
        return found, None if isinstance(found, str) else self._native_step(found)

    def _native_step(self, found: Any) -> Any:
        """The native call for a program that was found, or None if part of the step runs in Python."""
        step = self.native_step(found)
        return None if isinstance(step, str) else step

    def native_step(self, found: Any) -> Any:
        """The native call for a program that was found, or the reason why part of the step runs in Python."""
        from ..compiler.model.pool import attempt  # at first use, as importing the compiler takes a while
        from .native_step import NativeStep

        step = self._steps.get(found.capture)
        clipping = self.clip_norm, self.clip_value
        if step is None or (not isinstance(step, str) and (step.clipping != clipping or not step.fits(found))):
            gradients = self.gradients
            step = attempt(lambda: NativeStep(found, gradients.optimizer, *clipping, gradients.watch))
            self._steps[found.capture] = step
        return step
