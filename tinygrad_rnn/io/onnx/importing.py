"""`from_onnx`: a file of ONNX as a module."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from ...data._files import content
from ...errors import CheckpointError
from ...recurrent.scan.driver import check_mode
from ...storage.weights import reading
from .graph import decode, unsupported
from .onnx_module import OnnxModule
from .operators import OPERATORS, REFUSALS
from .operators.loops import NODES
from .operators.recurrent import CELLS
from .reading import check_versions, check_whole, read

KNOWN = {**OPERATORS, **dict.fromkeys((*CELLS, *NODES))}
MOST_LINES = 50  # of an error


def from_onnx(path: str | PathLike[str], *, mode: str = "auto") -> OnnxModule:
    """Make a module of a model of ONNX; needs the library ``onnx``: ``pip install "tinygrad_rnn[onnx]"``.

    Parameters
    ----------
    path : path
        A file of opset 7 to 28. Arrays that it keeps in other files are read if these lie in its folder. No code in it
        is run: nodes are looked up in a table.
    mode : {"auto", "compiled", "eager"}
        How recurrent nodes run, as :class:`~tinygrad_rnn.nn.Recurrent` has it.

    Returns
    -------
    OnnxModule
        Called with the inputs of the graph, in its order or by name; returns its output, or a tuple of its outputs.
        Initializers of floats are its parameters, but for single numbers and for settings such as running averages:
        it can be trained on. Weights of RNN, LSTM and GRU are those of the layers in it, which run as compiled loops
        as all others do, with gates in ONNX's order. ``tr.compile`` takes it like any module.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another opset, no valid model, keeps arrays outside its folder, or has operators
        that are not there: all of these are listed, with the names of their nodes.
    OSError, DataError
        If there is no such file, or it is larger than the memory.

    Notes
    -----
    RNN, LSTM (with peepholes, and coupled gates) and GRU (in both forms) of one and two directions, with lengths and
    initial states, but without clipping; Scan, Loop and If; and most operators of elementwise maths, activations,
    reductions, products, shapes and look-ups, in floating point of 32 and 64 bits. An error at a call names the node.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> module = tr.io.from_onnx("tagger.onnx")  # doctest: +SKIP
    >>> outputs, state = module(np.zeros((5, 2, 3), np.float32))  # doctest: +SKIP
    >>> fast = tr.compile(module)  # doctest: +SKIP
    """
    check_mode(mode)
    with content(path) as data, reading(path, "a model of ONNX"):
        proto = read(data, Path(os.path.abspath(path)).parent)
        opset = check_versions(proto)
        graph = decode(proto.graph, opset)
        lines = unsupported(graph, KNOWN, REFUSALS)
        if lines:
            more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
            raise CheckpointError("has nodes that cannot be run here:\n  " + "\n  ".join([*lines[:MOST_LINES], *more]))
        check_whole(proto)
        return OnnxModule(graph, mode)
