"""A program and its gradient in one memory: there the one leaves what the other reads."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from ..compiler.model.native import NativeProgram
from ..compiler.model.pool import Pool, attempt
from ..compiler.model.program import ModelProgram

MOST = 8  # forward passes whose gradients are to come; those of more are run on NumPy
BUSY = "gradients of many calls are to come"


class Halves:
    """Runs a program by a native call, and its gradient by another one in the memory of the first.

    Parameters
    ----------
    program : ModelProgram
        Of results and gradients; cotangents are its last inputs.
    results : int
        How many of the outputs are results.
    indices : tuple of int
        Numbers of the results whose cotangents are inputs.

    Raises
    ------
    CompileError
        If stages cannot compute it.
    """

    def __init__(self, program: ModelProgram, results: int, indices: tuple[int, ...]):
        self.pool, self.results, self.indices = Pool(program, results), results, indices
        self.seeds = self.pool.program.inputs[-len(indices) :]
        self.dtypes = [s.dtype for s in program.outputs]

    def take(self, captured: Mapping[int, np.ndarray]) -> NativeProgram | str:
        """A native program of both that nobody else runs; or the reason why there is none.

        That is `BUSY` while gradients of many forward passes are still to come: each has memory of its own.
        """
        if self.pool.made >= MOST and not self.pool.has_free():
            return BUSY
        return attempt(functools.partial(self.pool.take, captured))


class Forward:
    """A forward pass, and the memory that its gradient reads; given back when nobody needs it any more.

    Parameters
    ----------
    halves : Halves
    native : NativeProgram
        That :meth:`Halves.take` gave, with all inputs but the cotangents loaded.
    """

    def __init__(self, halves: Halves, native: NativeProgram):
        self.halves, self.native = halves, native
        self._left = True  # whether the memory is as the forward pass has left it
        self._lock = threading.Lock()  # threads may take gradients of one graph that is retained
        native.stages.run(0, native.mark)

    def outputs(self) -> list[np.ndarray]:
        """The results, in arrays of the caller's own."""
        n = self.halves.results
        return [np.array(a, dtype) for a, dtype in zip(self.native.outputs[:n], self.halves.dtypes)]

    def gradients(self, cotangents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The gradients for cotangents of the results, in arrays of the caller's own."""
        native, halves, n = self.native, self.halves, self.halves.results
        with self._lock:
            if not self._left:
                native.stages.run(0, native.mark)
            self._left = False
            for s, g in zip(halves.seeds, cotangents):
                native.at[s.uid][...] = g
            native.stages.run(native.mark)
            return [np.array(a, dtype) for a, dtype in zip(native.outputs[n:], halves.dtypes[n:])]

    def masks(self) -> dict[int, np.ndarray]:
        """The random masks of this pass, by uid."""
        at = self.native.at
        return {s.uid: np.array(at[s.uid], s.dtype) for draw in self.native.program.draws for s in draw.symbols}

    def __del__(self) -> None:
        self.halves.pool.give(self.native)
