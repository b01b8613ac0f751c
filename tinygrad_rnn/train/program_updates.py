"""Updates by programs: loss, gradients, clipping and update in one native call, where that can be."""

from __future__ import annotations

import weakref
from typing import Any

from .accumulation import Accumulation
from .fast_path import MOST, FastPath, signature
from .gradients import ByProgram
from .updates import updater_of


class ProgramUpdates:
    """Updates the parameters with batches, each by the program of its signature.

    Parameters
    ----------
    gradients : ByProgram
        If it watches, nothing is updated where the loss or a gradient is not finite.
    clip_norm, clip_value : float or None
    accumulation : Accumulation, optional
        Batches that share an update. Default: each has its own.

    Attributes
    ----------
    last : NativeStep or None
        What ran the last batch, if all of it was machine code.
    """

    def __init__(
        self,
        gradients: ByProgram,
        clip_norm: float | None,
        clip_value: float | None,
        accumulation: Accumulation | None = None,
    ):
        self.gradients, self.clip_norm, self.clip_value = gradients, clip_norm, clip_value
        self.accumulation = Accumulation() if accumulation is None else accumulation
        self.last: Any = None
        self._paths: dict[tuple | None, FastPath] = {}  # by the signature of a batch
        self._path: FastPath | None = None  # the last one
        self._steps: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # by the program; or why not

    def __call__(self, batch: Any) -> tuple[float, float | None]:
        """Update the parameters with a batch; the loss before, and the norm of gradients, 0 if not clipped.

        Where several batches share an update, all but the last one of them leave their gradients in the parameters,
        and None in place of the norm.

        Raises
        ------
        FloatingPointError
            If it watches, and the loss or a gradient is not finite; nothing is updated then.
        """
        gradients, path = self.gradients, self._path
        if path is None or not path.is_for(batch):
            path = self._look_up(batch)
        if path is not None and self._is_made_so(path.native) and path.native.goes_on() and path.holds():
            native = self.last = path.native
            value = path.run(batch)
            native.check()
            return value, native.norm_of_last
        arguments = gradients.arguments(batch)
        found = gradients.find(arguments)
        native = None if isinstance(found, str) else self._native_step(found)
        if native is not None and native.goes_on():
            key = signature(batch)
            if key is not None and gradients.pairs and FastPath.takes(batch, found):
                self._path = None
                self._paths[key] = FastPath(gradients.programs, found, native)
                if len(self._paths) > MOST:
                    self._paths.pop(next(iter(self._paths)))
            found.capture.operation.runner.check(found.arguments.arrays, native.native.given)
            self.last = native
            value = native(found.arguments.arrays)
            if gradients.accept is not None:
                gradients.accept(native.nest(found)[1])
            native.check()
            return value, native.norm_of_last
        self.last = None
        how = self.clip_norm, self.clip_value, gradients.watch
        return updater_of(gradients.optimizer, self.accumulation, *how)(lambda: gradients.run(arguments, found))

    def _look_up(self, batch: Any) -> FastPath | None:
        """The short way for a batch, if there is one, which is the first that the next batch is tried with."""
        key = signature(batch)
        path = self._path = self._paths.get(key)
        if path is not None and key is not None:
            path.found_for(key)
        return path

    # ---- the native call

    def program_of(self, batch: Any) -> tuple[Any, Any]:
        """The program for a batch, or why there is none; and the native call of the step, or None."""
        found = self.gradients.find(self.gradients.arguments(batch))
        return found, None if isinstance(found, str) else self._native_step(found)

    def step_of(self, batch: Any) -> Any:
        """The native call of the step for a batch, or None."""
        path = self._paths.get(signature(batch))
        if path is not None and self._is_made_so(path.native) and path.holds():
            return path.native
        return self.program_of(batch)[1]

    def _native_step(self, found: Any) -> Any:
        """The native call for a program that was found, or None if part of the step runs in Python."""
        step = self.native_step(found)
        return None if isinstance(step, str) else step

    def _is_made_so(self, step: Any) -> bool:
        """Whether a native step clips and counts batches as is asked for now."""
        return step.clipping == (self.clip_norm, self.clip_value) and step.every == self.accumulation.every

    def native_step(self, found: Any) -> Any:
        """The native call for a program that was found, or the reason why part of the step runs in Python."""
        from ..compiler.model.pool import attempt  # at first use, as importing the compiler takes a while
        from .native_step import NativeStep

        step = self._steps.get(found.capture)
        if step is None or (not isinstance(step, str) and not (self._is_made_so(step) and step.fits(found))):
            gradients, clipping = self.gradients, (self.clip_norm, self.clip_value)
            step = attempt(
                lambda: NativeStep(found, gradients.optimizer, *clipping, gradients.watch, self.accumulation)
            )
            self._steps[found.capture] = step
        return step
