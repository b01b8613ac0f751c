"""Anomaly detection: finds the operation or derivative rule where NaN or infinity first appears.

Off, it costs nothing: :class:`detect_anomaly` replaces the tape's recorder, and the backward walk reads one flag.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..config import grad_mode
from .finding import NOWHERE, Finding, Place, Unrolled, all_finite, error_at, new_entries, spot, values_of
from .node import Node, Op
from .tensor import Tensor

ndarray = np.ndarray
_PACKAGE = str(Path(__file__).parents[1])
_INNER = tuple(str(Path(_PACKAGE, room)) for room in ("core", "ops", "modules", "nn", "compiler", "foreign_names.py"))


class detect_anomaly(ContextDecorator):
    """Raise an error where NaN or infinity first appears, inside a ``with`` block or a decorated function.

    The error says which operation made it, forward or backward, in which line of your code, and in recurrent layers
    at which time step and in which row of the batch. Compiled layers run as they do, and look at what comes out of
    their loops; only if that is not finite, the sequence is run once more on the tape, with the same random masks, to
    find the place. Both passes have to be inside for all of it: what was computed outside has no line.

    Parameters
    ----------
    enabled : bool
        False: look for nothing inside.

    Raises
    ------
    AnomalyError
        Inside the block, where a value is not finite although all that it was computed from is (of NaN: is no NaN).

    Notes
    -----
    Infinity that you have put in yourself, such as -inf for what a softmax leaves out, is none: what stays infinite
    because an operand was is passed over. In recurrent layers, eager or compiled, what counts is what comes out of
    them: outputs and states at steps that count, and gradients. What a step computes and leaves out by
    :func:`~tinygrad_rnn.where` is no anomaly there. Elsewhere an operation is reported at once.

    NumPy's own warnings of such values are switched off inside. An eager step takes up to twice as long.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> x = tr.tensor([1.0, 0.0])
    >>> with tr.detect_anomaly():
    ...     y = tr.log(x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_rnn.errors.AnomalyError: log: gives -inf at entry (1,), in ...: its input is finite (0.0)
    """

    def __init__(self, enabled: bool = True) -> None:
        if not isinstance(enabled, bool | np.bool_):
            raise TypeError(f"detect_anomaly: enabled: got {type(enabled).__name__}, wanted a bool")
        self.enabled = bool(enabled)
        self.before: list[tuple] = []

    def _recreate_cm(self) -> detect_anomaly:
        return detect_anomaly(self.enabled)  # one for each call: calls may overlap

    def __enter__(self) -> None:
        errors = np.errstate(all="ignore" if self.enabled else None)
        errors.__enter__()
        self.before.append((grad_mode.anomaly, errors))
        if not self.enabled:
            grad_mode.anomaly = None
            return
        if grad_mode.anomaly is None:
            grad_mode.anomaly = Watch()
        _listen(1)

    def __exit__(self, *exc: Any) -> None:
        grad_mode.anomaly, errors = self.before.pop()
        errors.__exit__(*exc)
        if self.enabled:
            _listen(-1)


# ---- the seam to the tape

_plain: Callable = Tensor._record
_blocks = 0
_lock = threading.Lock()


def _listen(more: int) -> None:
    """Count active blocks of all threads; while there are any, :func:`_watched` is the tape's recorder."""
    global _blocks
    with _lock:
        _blocks += more
        # replaced, as a flag would be read by every operation of those who look for nothing
        Tensor._record = staticmethod(_watched if _blocks else _plain)  # type: ignore[method-assign]


@contextmanager
def listening(listener: Callable) -> Iterator[None]:
    """Call ``listener(op, args, static, out)`` after each operation of this thread; a context manager.

    Compiled loops are one operation; run a layer in eager mode to hear of those in its steps.
    """
    before, grad_mode.listener = grad_mode.listener, listener
    _listen(1)
    try:
        yield
    finally:
        grad_mode.listener = before
        _listen(-1)


@contextmanager
def counting_from(step: int) -> Iterator[None]:
    """Let anomaly detection number the time steps of sequences from `step` on; a context manager."""
    watch = grad_mode.anomaly
    if watch is None:
        yield
        return
    with watch.shifted(step):
        yield


def _watched(op: Op, args: tuple, static: dict) -> Any:
    """The tape's recorder, which then passes the result to the listener and to anomaly detection."""
    out = _plain(op, args, static)
    if grad_mode.tracer is not None:
        return out
    if grad_mode.listener is not None:
        grad_mode.listener(op, args, static, out)
    watch = grad_mode.anomaly
    if watch is None:
        return out
    looking = not watch.quiet and watch.within is None  # else what the loop gives, or the rule, is looked at
    if type(out) is not tuple:
        node, a = out._node, out._array
        if looking and a.dtype.kind == "f" and not all_finite(a):
            watch.suspect(op, args, static, out)
    else:
        node = out[0]._node
        node = node.parents[0] if node is not None and node.parents else None
        for o in out if looking else ():
            if o.data.dtype.kind == "f" and not all_finite(o.data):
                watch.suspect(op, args, static, o)
    if node is not None:
        watch.mark(node)
    return out


class Watch:
    """The state of anomaly detection in one thread.

    Attributes
    ----------
    sequence : Unrolled or None
        The sequence that runs on the tape right now.
    base : int
        The time step of the caller at which the sequences that run now begin.
    within : Place or None
        While derivative rules are recorded: where the operation was that they belong to.
    quiet : bool
        Results of operations are not looked at: a compiled loop runs.
    """

    def __init__(self) -> None:
        self.sequence: Unrolled | None = None
        self.base = 0
        self.within: Any = None
        self.quiet = False

    @contextmanager
    def inside(self, sequence: Unrolled) -> Iterator[None]:
        """Collect findings while `sequence` runs, until its results tell which of them count."""
        before, self.sequence = self.sequence, sequence
        try:
            yield
        finally:
            self.sequence = before

    @contextmanager
    def shifted(self, base: int) -> Iterator[None]:
        """Number the time steps of sequences from `base` on."""
        before, self.base = self.base, base
        try:
            yield
        finally:
            self.base = before

    @contextmanager
    def loud(self) -> Iterator[None]:
        """Check the results of operations again, inside of a place that is `quiet` or a rule."""
        before, self.quiet, within, self.within = self.quiet, False, self.within, None
        try:
            yield
        finally:
            self.quiet, self.within = before, within

    def here(self) -> Place:
        """The place in the user's code, or in the step of a cell, that called the current operation."""
        sequence: Any = self.sequence
        own: Any = None
        frame: Any = sys._getframe(2)
        driver = "" if sequence is None else sequence.driver
        while frame is not None:
            path = frame.f_code.co_filename
            if not path.startswith(_PACKAGE):
                break
            if path == driver:
                frame = own
                break
            if own is None and not path.startswith(_INNER):
                own = frame
            frame = frame.f_back
        frame = frame or own
        path, line = ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        if sequence is None:
            return Place(path, line, None, None, None)
        return Place(path, line, sequence, sequence.time, sequence.valid)

    def enter_rule(self, node: Node) -> None:
        """Attribute the operations recorded from here on to the derivative rule of `node`."""
        place = getattr(node, "place", NOWHERE)
        self.within = place if isinstance(place, Place) else place.place

    def mark(self, node: Node) -> None:
        """Keep at a node the place where it was recorded."""
        node.place = self.within or self.here()

    # ---- forward

    def suspect(self, op: Op, args: tuple, static: dict, out: Tensor) -> None:
        """Report a result that is not finite though its operands are, or track which finding it comes from."""
        operands = [a.data if isinstance(a, Tensor) else a for a in args]
        place, sequence = self.here(), self.sequence
        bad = place.counting(new_entries(op, operands, static, out.data))
        if sequence is None:
            if bad.any():
                raise Finding(op.name, bad, out.data, operands, place).error()
            return
        from_ = frozenset().union(*(sequence.tainted[id(a)][1] for a in args if id(a) in sequence.tainted))
        if bad.any():
            from_ |= {len(sequence.findings)}
            sequence.findings.append(Finding(op.name, bad, out.data, operands, place))
        sequence.tainted[id(out)] = out, from_

    # ---- backward

    def gradient(self, node: Node, parent: Any, g: Any, new: Any) -> None:
        """Check the cotangent `new` that a rule of `node` computed from `g` for one of its parents."""
        if all_finite(new) or not all(map(all_finite, g.values() if isinstance(g, dict) else [g])):
            return
        place, name = getattr(node, "place", NOWHERE), node.op.name
        if not isinstance(place, Place):
            place.backward(g)  # a compiled loop, which knows how to find out
            place = place.place
        index = next(i for i, p in enumerate(node.parents) if p is parent)
        new = values_of(new)
        bad = ~np.isfinite(new)
        if place.counting(bad).any():
            bad = place.counting(bad)
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        row = place.row(new.shape, at)
        text = f"gradient of {name} by its input {index}: is {float(new[at])}{spot(place, row, at)}, "
        text += f"in {place.where}" if place.where else "in a forward pass outside of detect_anomaly()"
        text += ": the gradient that it got is finite"
        if not isinstance(g, dict) and g.shape == new.shape:
            text += f" ({values_of(g)[at]!s})"
        if isinstance(node.out, ndarray) and node.out.shape == new.shape and not np.isfinite(node.out[at]):
            text += f", its result is {node.out[at]!s}"
        argument = (node.args or ())[index : index + 1]
        if argument and isinstance(argument[0], ndarray) and argument[0].shape == new.shape:
            text += f", input {index} is {argument[0][at]!s}"
        error = error_at(text, name, "backward", place, row)
        error.input = index
        raise error

    def total(self, node: Node, before: Any, new: Any) -> None:
        """Check the sum of two cotangents of one value; `node` gave the second."""
        if all_finite(before) and all_finite(new) and not all_finite(before + new):
            place = getattr(node, "place", NOWHERE)
            place = place if isinstance(place, Place) else place.place
            text = "sum of the gradients of a value: is not finite though all of them are"
            text += f"; {node.op.name} gave one of them" + (f", in {place.where}" if place.where else "")
            raise error_at(text, node.op.name, "backward", place, None)
