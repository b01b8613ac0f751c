"""A loss and its gradients as one program: what a training step runs before its update."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import compiler
from ..compiler.model.adjoint import differentiate
from ..compiler.model.runner import Runner
from ..core import Tensor
from ..core.tree import LEAF
from ..errors import CompileError
from ..recurrent.scan.guards import guards_of
from .cache import Found
from .capture import Capture


class Gradients:
    """The program of a loss, its first result, and of the gradients by all leaves that it depends on.

    Parameters
    ----------
    capture : Capture
    at_once : bool
        See :class:`~tinygrad_rnn.compiler.model.runner.Runner`.
    alone : bool
        Whether the loss is all that the function returns; else it is the first item of a tuple.

    Raises
    ------
    CompileError
        If the first result is no tensor with one element that depends on a parameter, or a derivative rule cannot be
        traced.
    """

    def __init__(self, capture: Capture, at_once: bool = False, alone: bool = True):
        self.capture, trace = capture, capture.trace
        structure = capture.structure if alone else capture.structure[2][0]
        loss = capture.leaves[0] if structure is LEAF else None
        if not isinstance(loss, compiler.Symbol) or not trace.needing(loss) or loss.size != 1 or trace.is_array(loss):
            raise CompileError("loss: wanted a tensor with one element that depends on a parameter")
        symbols = [*capture.inputs, *[s for s, _ in capture.sources]]
        self.wanted = [i for i, s in enumerate(symbols) if trace.needing(s)]
        codes: dict = {}
        with compiler.watching(trace, codes):
            seed = Tensor(np.ones(loss.shape, loss.dtype))
            found = differentiate(trace, [loss], [trace.lift(seed)], [symbols[i] for i in self.wanted])
        trace.guards.append(guards_of(None, codes, ()))
        self.wanted = [i for i, g in zip(self.wanted, found) if g is not None]
        outputs = (*capture.results, *[g for g in found if g is not None])
        self.runner = Runner(capture.program_for(outputs), at_once)


class Run:
    """Results of a loss for one batch.

    Attributes
    ----------
    loss : float
    results : list of ndarray
        All results of the function, the loss first.
    """

    def __init__(self, found: Found):
        gradients: Gradients = found.capture.operation
        values = gradients.runner.run(found.arguments.arrays, found.capture.captured(found.tensors))
        n = len(found.capture.results)
        self.found, self.results, self.grads = found, values[:n], values[n:]
        self.loss = float(values[0].item())

    def nest(self) -> Any:
        """The result of the function as the tape has it, but without a graph."""
        capture, found = self.found.capture, self.found
        values = [capture.wrapped(s, a) for s, a in zip(capture.results, self.results)]
        return capture.nest(values, found.arguments.values, found.tensors)

    def deposit(self) -> None:
        """Add the gradients to those of the leaves, as a backward walk of the tape does."""
        leaves = [*self.found.arguments.values, *self.found.tensors]
        for i, g in zip(self.found.capture.operation.wanted, self.grads):
            leaf = leaves[i]
            leaf.grad = Tensor(np.array(g) if leaf.grad is None else np.asarray(leaf.grad._array + g))


def has_hooks(found: Found) -> bool:
    """Whether a leaf wants to see its gradient during the walk."""
    return any(isinstance(t, Tensor) and t._hooks for t in (*found.arguments.values, *found.tensors))
