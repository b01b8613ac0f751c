"""Runs a program of a function on arrays, after the tests of their values that it asks for."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CompileError
from .interpret import evaluate
from .native import NativeProgram
from .pool import Pool, attempt
from .program import LOOP, Check, ModelProgram


class Runner:
    """Runs one program: by native calls where stages can compute it, and otherwise on NumPy.

    The first run is on NumPy, as many a program is run only once; but with `at_once`, which gives the same bits in
    every process.

    Parameters
    ----------
    program : ModelProgram
    at_once : bool

    Attributes
    ----------
    why : str
        Why it runs on NumPy; empty if native.
    """

    def __init__(self, program: ModelProgram, at_once: bool = False):
        self.program = program
        index = {s.uid: i for i, s in enumerate(program.inputs)}
        self.why = ""
        self._ran = at_once
        self._pool: Pool | None = None
        try:
            if any(s.op is LOOP for s in program.inputs):
                raise CompileError("an input is what the gradient of a loop needs, which is no array")
            self._pool = Pool(program)
        except CompileError as error:
            self.why = str(error)
        self._tests: list[tuple[list, Callable[..., Any]]] = []  # of arguments
        self._computed: list[Check] = []
        for check in program.checks:
            if all(s.leaf is not None for s in check.symbols):
                self._tests.append(([(index.get(s.uid), s.uid) for s in check.symbols], check.test))
            else:
                self._computed.append(check)
        wanted = tuple([s for check in self._computed for s in check.symbols])
        self._integers = dataclasses.replace(program, draws=(), checks=(), outputs=wanted)

    def run(self, inputs: Sequence[np.ndarray], captured: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """The outputs.

        Parameters
        ----------
        inputs : arrays
            Of the shapes and dtypes of the program's inputs.
        captured : dict
            Arrays of the captured tensors, by uid.

        Raises
        ------
        IndexError, ValueError
            As the tape does, where a value is out of range; nothing has been drawn then.
        """
        self.check(inputs, captured)
        first, self._ran = not self._ran, True
        native = None if first else self._take(captured)
        if native is not None and self._pool is not None:
            return self._pool.run(native, inputs)
        return evaluate(self.program, inputs, captured)

    def check(self, inputs: Sequence[np.ndarray], captured: Mapping[int, np.ndarray]) -> None:
        """Raise what the tape raises where a value is out of range."""
        for places, test in self._tests:
            test(*[captured[uid] if i is None else inputs[i] for i, uid in places])
        if self._computed:
            if any(a.shape != s.shape for a, s in zip(inputs, self.program.inputs)):
                raise ValueError("integers that are computed can be tested for single batches only")
            values = iter(evaluate(self._integers, inputs, captured))
            for check in self._computed:
                check.test(*itertools.islice(values, len(check.symbols)))

    def bound(self, captured: Mapping[int, np.ndarray]) -> NativeProgram | str:
        """The program bound to arrays, for a look at it; or the reason why it runs on NumPy."""
        native = self._take(captured)
        if native is not None and self._pool is not None:
            self._pool.give(native)
        return self.why if native is None else native

    def _take(self, captured: Mapping[int, np.ndarray]) -> NativeProgram | None:
        """A native program for these arrays; None, from now on, if there cannot be one."""
        if self._pool is None:
            return None
        found = attempt(functools.partial(self._pool.take, captured))
        if isinstance(found, str):
            self._pool, self.why = None, found
            return None
        return found
