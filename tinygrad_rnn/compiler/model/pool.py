"""Native programs of one program: as many as there are threads that run it at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CompileError, VerificationError
from ...kernels.build.uninterrupted import making
from ..ir import verify
from ..ir.symbol import raised_at
from .native import NativeProgram
from .one_dtype import float_dtypes, with_one_dtype
from .program import LOOP, ModelProgram

MOVES = 2  # how often parameters may move to other arrays, before their values are copied at each run instead


def attempt(make: Callable[[], Any]) -> Any:
    """What `make` binds to machine code, or the reason why it cannot be: a text.

    A fault of ours is said in a warning, as what was to be bound runs without machine code then.
    """
    try:
        return make()
    except VerificationError:
        raise
    except CompileError as error:
        return str(error)
    except Exception as error:
        if verify.enabled:
            raise
        why = f"{type(error).__name__}: {error}, at {raised_at(error)}"
        warnings.warn(f"a program runs without machine code: {why}", RuntimeWarning, stacklevel=5)
        return why


class Pool:
    """Runs a program by native calls.

    Parameters
    ----------
    program : ModelProgram
    first : int
        See :class:`~.native.NativeProgram`.

    Raises
    ------
    CompileError
        If stages cannot compute it: its floats are of two dtypes, or an output is no array.
    """

    def __init__(self, program: ModelProgram, first: int = 0):
        self.program, self.first = with_one_dtype(program), first
        self.dtype = dtype_of(self.program)
        if any(s.op is LOOP for s in program.outputs):
            raise CompileError("an output is what the gradient of a loop needs, which is no array")
        self._dtypes = [s.dtype for s in program.outputs]
        self._free: list[NativeProgram] = []
        self._moves = 0
        self.made = 0  # native programs so far

    def has_free(self) -> bool:
        """Whether one was given back that nobody has taken again."""
        return bool(self._free)

    def run(self, native: NativeProgram, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs, in arrays of the caller's own, by what :meth:`take` gave; it is given back."""
        found = [np.array(a, dtype) for a, dtype in zip(native.run(inputs), self._dtypes)]
        self.give(native)
        return found

    def give(self, native: NativeProgram) -> None:
        """Give back what :meth:`take` gave."""
        self._free.append(native)

    def take(self, captured: Mapping[int, np.ndarray]) -> NativeProgram:
        """A native program that reads these arrays, and that nobody else runs."""
        while True:
            try:
                # not after a look at the list: another thread may be faster
                native = self._free.pop()
            except IndexError:
                break
            if native.reads(captured):
                return native
            self._moves += 1
        with making:
            self.made += 1
            return NativeProgram(self.program, captured, self.dtype, self._moves > MOVES, self.first)


def dtype_of(program: ModelProgram) -> np.dtype:
    """The dtype of all floats in a program."""
    dtypes = float_dtypes(program)
    if len(dtypes) != 1:
        raise CompileError(f"floats: got {', '.join(sorted(map(str, dtypes))) or 'none'}, wanted one dtype")
    return dtypes.pop()
