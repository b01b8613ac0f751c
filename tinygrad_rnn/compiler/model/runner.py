"""Runs a program of a function on arrays, after the tests of their values that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .interpret import evaluate
from .program import ModelProgram


class Runner:
    """Runs one program.

    Parameters
    ----------
    program : ModelProgram
    """

    def __init__(self, program: ModelProgram):
        self.program = program
        index = {s.uid: i for i, s in enumerate(program.inputs)}
        self._tests = [(index.get(check.symbol.uid), check.symbol.uid, check.test) for check in program.checks]

    def run(self, inputs: Sequence[np.ndarray], captured: dict[int, np.ndarray]) -> list[np.ndarray]:
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
        return evaluate(self.program, inputs, captured)
