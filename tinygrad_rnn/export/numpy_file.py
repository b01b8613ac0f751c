"""Export to NumPy: one readable file, and the weights beside it."""

from __future__ import annotations

import io
import keyword
import os
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import atomic
from ..compiler.ir.program_ops import is_ours
from ..errors import ExportError, VerificationError
from ..programs.nests import flatten
from ..recurrent.scan.tracing import close
from .evaluate import evaluate
from .graph import Graph, Scan, Step
from .numpy_table import TABLE
from .numpy_writer import Writer
from .streaming import stream
from .tracing import trace

IMPORTED = ("numpy", "pathlib")  # by the file, which must not stand in their way


class NumpyFiles(NamedTuple):
    """What :func:`to_numpy` wrote.

    Attributes
    ----------
    code, weights : Path
        The .py file and the .npz file.
    streaming : str
        "" if the file has a function ``step``; else why it has none.
    """

    code: Path
    weights: Path
    streaming: str


def to_numpy(model: Any, example: Any, path: str | PathLike[str]) -> NumpyFiles:
    """Write a model as one Python file for NumPy alone, with its weights in an .npz file beside it.

    The file is meant to be read: values have the names that they have in the model's code, each recurrent layer is a
    function for one time step and a loop. It has a function ``forward``, which takes what the model does, arrays in a
    nest one by one, and returns what it does, for any batch and time; and where all but the recurrent layers works step
    by step, ``initial_state`` and ``step`` for streams.

    Parameters
    ----------
    model : Module, or a method of one
        A model, a layer or a cell; it is exported in evaluation mode.
    example : array or tensor, or a tuple of the model's arguments
        The first two axes of each may have other lengths later, where the model takes them. Axes that are as long as
        each other here may have to stay so: where batch and time are independent, give them different lengths.
    path : str or PathLike
        Of the .py file. Existing files are replaced.

    Returns
    -------
    NumpyFiles
        The paths, and why there is no ``step`` if there is none.

    Raises
    ------
    ExportError
        If the model cannot be traced, or has operations that cannot be exported: all are named, with their places.
    OSError
        If a file cannot be written. Neither is then changed.

    Examples
    --------
    >>> import importlib.util, os, tempfile
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> layer, x = nn.GRU(3, 4), np.ones((5, 2, 3), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = tr.export.to_numpy(layer, x, os.path.join(folder, "gru.py"))
    ...     spec = importlib.util.spec_from_file_location("gru", files.code)
    ...     gru = importlib.util.module_from_spec(spec)
    ...     spec.loader.exec_module(gru)
    >>> y, h = gru.forward(x)
    >>> np.allclose(y, layer(x)[0].numpy(), atol=1e-6)
    True
    """
    target = Path(os.fspath(atomic.checked(path)))
    if target.suffix != ".py":
        raise ExportError(f"path: got {os.fspath(path)!r}, wanted the name of a file that ends with .py")
    if not target.stem.isidentifier() or keyword.iskeyword(target.stem) or target.stem in IMPORTED:
        raise ExportError(f"path: got {os.fspath(path)!r}, wanted a name that Python can import, such as model.py")
    graph = trace(model, example)
    refuse(graph)
    made, why = None, ""
    try:
        made = stream(graph)
    except ExportError as error:
        why = str(error)
    writer = Writer(graph, target.stem)
    text = writer.text(made)
    weights, code = io.BytesIO(), text.encode()
    np.savez(weights, **{"none": np.zeros(0)} if not writer.arrays else writer.arrays)
    _compare(text, weights.getvalue(), graph)
    beside = target.with_suffix(".npz")
    with atomic.on_disk(beside, weights.getvalue()) as (part, place), atomic.on_disk(target, code) as (other, second):
        os.replace(part, place)
        os.replace(other, second)
        atomic.flush_folder(place.parent)
    return NumpyFiles(target, beside, why)


def _compare(text: str, weights: bytes, graph: Graph) -> None:
    """Run the file for the example, before it is written."""
    space: dict[str, Any] = {"weights_of_the_model": io.BytesIO(weights), "__name__": "exported"}
    code = text.replace('Path(__file__).with_suffix(".npz")', "weights_of_the_model")
    with np.errstate(all="ignore"):
        exec(compile(code, "exported.py", "exec"), space)  # our own text, of names that `clean` has made
        found: list = []
        flatten(space["forward"](*graph.example), found)
    for a, b in zip(found, evaluate(graph, graph.example)):
        if np.shape(a) != b.shape or not (
            close(np.asarray(a), b, 1e-6) if b.dtype.kind == "f" else np.array_equal(a, b)
        ):
            raise VerificationError(f"to_numpy: {graph.title}: the file does not compute what the model does")


def refuse(graph: Graph) -> None:
    """Raise an error with all operations that NumPy files cannot have."""
    found: dict[tuple[str, str], None] = {}
    for node in graph.all_nodes():
        if isinstance(node, Scan | Step):
            continue
        if node.op.name not in TABLE or not is_ours(node.op):
            found[node.op.name, node.where] = None
    if found:
        places = "; ".join(f"{name} at {where or 'the model'}" for name, where in found)
        raise ExportError(f"{graph.title}: got operations that cannot be exported to NumPy: {places}")
