"""The door: compiled functions, which run as programs where they can, and on the tape otherwise."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from html import escape
from typing import Any, TypeVar, overload

from ..checks import one_of
from ..config import grad_mode
from ..errors import CompileError
from ..modules.module import Module
from ..recurrent.scan.kinds import Opaque, Wrapper

F = TypeVar("F", bound=Callable)


@overload
def compile(function: None = None, *, fallback: str = "warn") -> Callable[[F], CompiledFunction]: ...
@overload
def compile(function: Callable[..., Any], *, fallback: str = "warn") -> CompiledFunction: ...
def compile(function: Any = None, *, fallback: str = "warn") -> Any:
    """Run a function of tensors as one program, with one node of the tape for its gradient.

    At the first call with arguments of these shapes and dtypes the function is traced: it runs on symbols, and what it
    does to them becomes a program, in which a recurrent layer is one fused loop. Later calls run the program. Results,
    gradients, higher derivatives and random draws are those of the function itself.

    Parameters
    ----------
    function : callable
        A module, or any function of tensors, arrays, numbers and nests of these, that returns such.
    fallback : {"warn", "error"}
        What to do where no program can be made, as the function looks at the value of a tensor, for instance: run it on
        the tape, with one warning that names operation, file and line; or raise.

    Returns
    -------
    CompiledFunction
        Called as `function` is. Without `function`: a decorator.

    Raises
    ------
    CompileError
        At a call, with ``fallback="error"``, if no program can be made.

    Notes
    -----
    Whatever a program has frozen is compared at each call: attributes of modules, their mode, globals, closures,
    numbers among the arguments. If something has changed, the function is traced again. Parameters are looked up at
    each call. There is a program for each combination of shapes and numbers: make what changes from call to call a
    tensor or an array. Results are arrays of their own, also where those of the function are views of one another.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> layer, head = nn.LSTM(3, 8), nn.Linear(8, 2)
    >>> @tr.compile
    ... def loss(x, target):
    ...     return nn.mse_loss(head(layer(x)[0]), target)
    >>> x, target = np.ones((5, 4, 3), np.float32), np.zeros((5, 4, 2), np.float32)
    >>> loss(x, target).backward()
    >>> head.weight.grad.shape
    (2, 8)
    """
    if function is None:
        return functools.partial(compile, fallback=fallback)
    return CompiledFunction(function, fallback)


class CompiledFunction(Wrapper):
    """A function that runs as a program; made by :func:`compile`.

    Attributes
    ----------
    function : callable
        As it was given.
    fallback : str
    """

    def __init__(self, function: Callable[..., Any], fallback: str = "warn"):
        if isinstance(function, type) or not callable(function):
            kind = f"the class {function.__name__}" if isinstance(function, type) else type(function).__name__
            raise TypeError(f"function: got {kind}, wanted a module or a function")
        self.function = function
        self.fallback = one_of("fallback", fallback, ("warn", "error"))
        self._known = _Known()
        if not isinstance(function, Module):
            functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if grad_mode.tracer is not None:  # part of what is being traced
            return self.function(*args, **kwargs)
        from .operation import run  # at first use, as importing the compiler takes a while

        found = self._find(args, kwargs)
        if not isinstance(found, str):
            return run(found)
        if found and self.fallback == "error":
            self._known.programs.reject(args, kwargs)
            raise CompileError(f"{self._title}: {found}")
        result = self.function(*args, **kwargs)
        self._known.programs.warn(found, 2)
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The function as a method: bound to the object, with programs of its own for each."""
        if instance is None:
            return self
        key = id(instance)  # an object may define what equal ones are
        known = self._known.methods.get(key)
        if known is None or known[0]() is not instance:
            reference = weakref.ref(instance, lambda gone: self._known.methods.pop(key, None))
            known = self._known.methods[key] = (
                reference,
                CompiledFunction(_Method(self.function, instance), self.fallback),
            )
        return known[1]

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """Report the program for these arguments, what it runs as and what that costs; or why there is none.

        Returns
        -------
        Report
            Its text shows all of it. ``compiled``, or the ``reason`` why not; ``native``, whether the forward and the
            backward pass are one native call each, or ``why`` not; and for each of these ``parts`` its groups of
            operations, their FLOPs and the bytes that they move, and its memory.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tr
        >>> from tinygrad_rnn import nn
        >>> head = nn.Linear(3, 2)
        >>> report = tr.compile(lambda x: tr.tanh(head(x))).explain(np.ones((4, 3), np.float32))
        >>> report.native, [part.title for part in report.parts]
        (True, ['forward', 'backward'])
        >>> print(*report.parts[0].lines(), sep="\\n")
        forward: one native call
          loop over 4 rows (matmul, add, tanh): 64 FLOPs (48 in products), 112 bytes moved
        """
        from .report import report

        return report(self._title, self._find(args, kwargs))

    @property
    def _title(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def _find(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        from .cache import Programs, Rejected
        from .operation import operation_of
        from .reach import Root

        if self._known.programs is None:
            bound = isinstance(self.function, _Method)
            reached = (self.function.instance, self.function.function) if bound else (self.function,)
            self._known.programs = Programs(self.function, Root(*reached), self._title, operation_of)
        try:
            return self._known.programs.find(args, kwargs)
        except Rejected:
            return ""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": _Known()}  # a copy finds out for itself

    def __repr__(self) -> str:
        return f"compile({self.function!r})"

    def _repr_html_(self) -> str:
        """How many programs there are for its calls, and why others have none, for notebooks."""
        programs = self._known.programs
        made = [entry.made for entries in programs.entries.values() for entry in entries] if programs else []
        reasons = dict.fromkeys(reason for reason in made if isinstance(reason, str))
        count = sum(not isinstance(one, str) for one in made)
        told = f"{count} program{'' if count == 1 else 's'} for calls so far; explain(...) tells of one"
        lines = "".join(f"<li>on the tape: {escape(reason)}</li>" for reason in reasons)
        return f"<p><b>compile({escape(self._title)})</b> {told}</p>" + (f"<ul>{lines}</ul>" if lines else "")


class _Known(Opaque):
    """State of a compiled function: its programs, and its bound methods by the id of the object."""

    def __init__(self) -> None:
        self.programs: Any = None
        self.methods: dict[int, tuple[weakref.ref, CompiledFunction]] = {}


class _Method(Wrapper):
    """A function bound to an object that it does not keep alive."""

    def __init__(self, function: Callable[..., Any], instance: Any):
        self.function, self.instance = function, weakref.ref(instance)
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.instance(), *args, **kwargs)
