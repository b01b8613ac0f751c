"""Runs a program of a function on arrays, after the tests of their values that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import CompileError
from .interpret import evaluate
from .pool import Pool
from .program import LOOP, ModelProgram


class Runner:
    """Runs one program: by native calls where stages can compute it, and otherwise on NumPy.

    Parameters
    ----------
    program : ModelProgram

    Attributes
    ----------
    why : str
        Why it runs on NumPy; empty if native.
    """

    def __init__(self, program: ModelProgram):
        self.program = program
        index = {s.uid: i for i, s in enumerate(program.inputs)}
        self.why = ""
        self._pool: Pool | None = None
        try:
            if any(s.op is LOOP for s in program.inputs):
                raise CompileError("an input is what the gradient of a loop needs, which is no array")
            self._pool = Pool(program)
        except CompileError as error:
            self.why = str(error)
        self._tests = [(index.get(check.symbol.uid), check.symbol.uid, check.test) for check in program.checks]

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
        for i, uid, test in self._tests:
            test(captured[uid] if i is None else inputs[i])
        if self._pool is not None:
            try:
                return self._pool.run(inputs, captured)
            except CompileError as error:  # before anything was drawn
                self._pool, self.why = None, str(error)
        return evaluate(self.program, inputs, captured)
