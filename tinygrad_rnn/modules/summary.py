"""``nn.summary``: what a model is made of, with shapes and counts, without changing it."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from .. import config
from ..checks import is_whole, shown
from ..core import tree
from ..ops import zeros
from .module import Module, own_tensors
from .parameter import Parameter

HEADINGS = ("name", "kind", "output", "parameters")


@dataclass(frozen=True)
class Row:
    """A module in a :class:`Summary`.

    Attributes
    ----------
    name : str
        Its dotted name; "" is the model itself.
    kind : str
        Its class.
    inputs, output : nest of shapes, or None
        Of its first call; of a cell, of one time step. None if it was not called, or there was no input.
    calls : int
    parameters, trainable, buffers : int
        Elements that are its own, not those of modules in it; what is shared counts where it comes first.
    """

    name: str
    kind: str
    inputs: Any
    output: Any
    calls: int
    parameters: int
    trainable: int
    buffers: int


@dataclass(frozen=True, repr=False)
class Summary:
    """Shapes and counts of a model, by module; ``str`` and notebooks show it as a table.

    Attributes
    ----------
    rows : tuple of Row
        The model, and all modules in it, in order.
    parameters, trainable, buffers : int
        Elements of all of it.
    bytes : int
        Of parameters and buffers.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    bytes: int

    def _cells(self) -> Iterator[tuple[str, str, str, str]]:
        yield HEADINGS
        for row in self.rows:
            indent = "  " * (row.name.count(".") + bool(row.name))
            output = "" if row.output is None else in_words(row.output)
            counts = f"{row.parameters:,}" if row.parameters else ""
            yield indent + (row.name.rpartition(".")[2] or "model"), row.kind, output, counts

    def _total(self) -> str:
        text = f"{self.parameters:,} parameters"
        text += f", {self.trainable:,} of them trained" if self.trainable != self.parameters else ""
        text += f", {self.buffers:,} in buffers" if self.buffers else ""
        return f"{text}; {self.bytes:,} bytes"

    def __str__(self) -> str:
        table = list(self._cells())
        widths = [max(len(line[i]) for line in table) for i in range(len(HEADINGS))]
        lines = []
        for *words, count in table:
            cells = [f"{cell:<{width}}" for cell, width in zip(words, widths)]
            lines.append("  ".join([*cells, f"{count:>{widths[-1]}}"]).rstrip())
        return "\n".join([*lines, self._total()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        head, *rest = self._cells()
        lines = ["".join(f"<th>{escape(c)}</th>" for c in head)]
        for name, *cells in rest:
            name = escape(name).replace("  ", "&emsp;")
            lines.append("".join([f"<td>{name}</td>", *(f"<td>{escape(c)}</td>" for c in cells)]))
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table>{body}</table><p>{escape(self._total())}</p>"


def summary(model: Module, input: Any = None) -> Summary:
    """Shapes and numbers of parameters, module by module; the model stays as it is.

    Parameters
    ----------
    model : Module
    input : array, tuple, dict, or shape; optional
        What the model takes: an array or tensor; a tuple of several arguments; a dict of keyword arguments; or a shape,
        a tuple of integers, for zeros. A copy of the model is run on it, on the tape and in evaluation mode; random
        generators go back to where they were. Without it, there are counts and no shapes.

    Returns
    -------
    Summary
        Its ``rows`` have the numbers; ``print`` shows a table.

    Raises
    ------
    TypeError
        If `model` is no module, or cannot be copied.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> print(nn.summary(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), [[1, 2, 3]]))
    name   kind        output     parameters
    model  Sequential  (1, 3, 2)
      0    Embedding   (1, 3, 4)          36
      1    Linear      (1, 3, 2)          10
    46 parameters; 184 bytes
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: got {shown(model)}, wanted an nn.Module")
    calls = {} if input is None else _run(model, input)
    rows: list[Row] = []
    seen: set[int] = set()
    size = 0
    for name, module in model.named_modules():
        counts = {"parameters": 0, "trainable": 0, "buffers": 0}
        for _, value in own_tensors(module):
            if id(value) not in seen:
                seen.add(id(value))
                of = "parameters" if isinstance(value, Parameter) else "buffers"
                counts[of] += value.size
                counts["trainable"] += value.size if of == "parameters" and value.requires_grad else 0
                size += value.data.nbytes
        inputs, output, times = calls.get(name, (None, None, 0))
        rows.append(Row(name, type(module).__name__, inputs, output, times, **counts))
    total = {key: sum(getattr(row, key) for row in rows) for key in ("parameters", "trainable", "buffers")}
    return Summary(tuple(rows), **total, bytes=size)


def _run(model: Module, input: Any) -> dict[str, tuple[Any, Any, int]]:
    """Shapes in and out of each module's first call, and the number of its calls, by name."""
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise TypeError(
            f"model: {type(model).__name__} cannot be copied ({error}); without an input, its parameters are counted"
        ) from error
    calls: dict[str, tuple[Any, Any, int]] = {}
    for name, module in twin.named_modules():
        if getattr(module, "mode", None) in ("auto", "compiled"):
            module.mode = "eager"  # so that all parts are called, and nothing is compiled
        is_cell = hasattr(module, "step") and hasattr(module, "initial_state")  # which layers call by their step
        _watch(module, "step" if is_cell else "forward", name, calls)
    args: tuple = (input,)
    kwargs: Mapping[str, Any] = {}
    if isinstance(input, Mapping):
        args, kwargs = (), input
    elif isinstance(input, tuple) and input and all(map(is_whole, input)):
        args = (zeros(input, next((p.dtype for p in twin.parameters()), None)),)
    elif isinstance(input, tuple):
        args = input
    twin.eval()
    with config.no_grad(), _generators_kept():
        twin(*args, **kwargs)
    return calls


def _watch(module: Module, method: str, name: str, calls: dict[str, tuple[Any, Any, int]]) -> None:
    """Let a method of one module note the shapes of its calls."""
    original = getattr(module, method)

    def watched(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        given = [*args, *kwargs.values()]
        inputs, first, times = calls.get(name, (None, None, 0))
        if not times:
            inputs, first = shapes(given[0] if len(given) == 1 else tuple(given)), shapes(output)
        calls[name] = inputs, first, times + 1
        return output

    object.__setattr__(module, method, watched)


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Context after which this package's generator, NumPy's and Python's are where they were before it."""
    before, numpy, python = config.grad_mode.generator, np.random.get_state(), random.getstate()  # noqa: NPY002
    config.grad_mode.generator = copy.deepcopy(config.generator())
    try:
        yield
    finally:
        config.grad_mode.generator = before
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)


def shapes(nest: Any) -> Any:
    """A nest of tensors and arrays with their shapes in their places, and None in that of all else."""
    if isinstance(nest, Mapping):
        return {key: shapes(value) for key, value in nest.items()}
    if isinstance(nest, list) and tree.holds_numbers(nest):
        return np.shape(nest)
    if isinstance(nest, tuple | list):
        return [shapes(value) for value in nest]
    shape = getattr(nest, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) else None


def in_words(nest: Any) -> str:
    """The shapes of a nest as a text."""
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key}: {in_words(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, list):
        return "[" + ", ".join(map(in_words, nest)) + "]"
    return "-" if nest is None else str(nest)
