"""Programs of functions for tests, with their gradients by all parameters."""

import numpy as np

from tinygrad_rnn.compiler.frontend.trace import recording
from tinygrad_rnn.compiler.model.adjoint import differentiate
from tinygrad_rnn.compiler.model.program import ModelProgram
from tinygrad_rnn.compiler.model.trace import ModelTrace
from tinygrad_rnn.core import Tensor


def program_of(function, *arrays):
    """The program of a function's value and of its gradients by all parameters that it depends on, and these."""
    trace = ModelTrace()
    with recording(trace):
        inputs = [trace.leaf("input", i, a.shape, a.dtype) for i, a in enumerate(arrays)]
        loss = function(*inputs)
        symbols = [s for _, tensor, s in trace.captured.values() if tensor.requires_grad]
        found = differentiate(trace, [loss], [Tensor(np.ones(loss.shape, loss.dtype))], symbols)
    symbols, grads = [s for s, g in zip(symbols, found) if g is not None], [g for g in found if g is not None]
    captured = {s.uid: tensor for _, tensor, s in trace.captured.values()}
    program = ModelProgram(tuple(inputs), captured, tuple(trace.draws), tuple(trace.checks), (loss, *grads))
    return program, [captured[s.uid] for s in symbols]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)
