"""Watches a step while it is traced: the code it runs, and reads that a trace would freeze."""

from __future__ import annotations

import dis
import gc
import itertools
import os
import sys
import threading
import types
from typing import Any

import numpy as np

from ...config import grad_mode
from ...core import Tensor
from ..ir.symbol import _COMPILER, _PACKAGE, BATCH, Symbol, asked_by, location
from .trace import recording

IMPURE = {
    "time": "reads the clock",
    "posix": "asks the operating system",
    "nt": "asks the operating system",
    "_io": "reads or writes a file",
    "io": "reads or writes a file",
    "random": "draws random numbers",
    "_random": "draws random numbers",
    "_socket": "reads or writes a file",
}
_LAYERS = tuple(os.path.join(_PACKAGE, room) + os.sep for room in ("recurrent", "decoding"))
THREADS = ("get_ident", "get_native_id")
NOW = ("now", "utcnow", "today")  # methods of datetime's classes that read the clock
Codes = dict[types.CodeType, dict]

_slots: dict[str, Any] = {name: Tensor.__dict__[name] for name in ("data", "grad", "requires_grad")}
_described: dict[str, Any] = {name: Tensor.__dict__[name] for name in ("shape", "dtype", "ndim", "size")}
_lock = threading.RLock()
_watchers = 0


class watching(recording):
    """Context in which operations are recorded, and the step is watched.

    Parameters
    ----------
    trace : Trace or ModelTrace
    codes : dict
        Filled with the code that runs in this thread, each with its globals.
    """

    def __init__(self, trace: Any, codes: Codes):
        super().__init__(trace)
        self.codes = codes
        self.calling: Any = None
        numba: Any = sys.modules.get("numba")
        self.numba = os.path.dirname(numba.__file__) + os.sep if numba is not None else _COMPILER
        self.rooms: dict[str, str] = {}  # whose code is in a file
        self.compiling: types.FrameType | None = None  # Numba, a user's function: what it runs is not the step's
        trace.makes_array = lambda: self.calling is np.zeros

    def __enter__(self):
        super().__enter__()
        _install()
        self.collects = gc.isenabled()
        gc.disable()  # what it calls back to is not the step's
        # a profiler, unlike a tracer, is told of calls of functions in C too, such as time.time()
        self.before: Any = sys.getprofile()
        self.trace.note = self._note
        sys.setprofile(self._note)

    def __exit__(self, *exc):
        self.trace.note = None
        # a profiler in C hooks in by itself; `sys.setprofile` would call the object as a function
        if hasattr(self.before, "enable"):  # cProfile
            sys.setprofile(None)
            self.before.enable()
        else:
            sys.setprofile(self.before)
        if self.collects:
            gc.enable()
        _remove()
        super().__exit__(*exc)

    def _note(self, frame: types.FrameType, event: str, function: Any) -> None:
        if self.compiling is not None:
            if event == "return" and frame is self.compiling:
                self.compiling = None
            return
        if event == "return":
            return
        file = frame.f_code.co_filename
        room = self.rooms.get(file)
        if room is None:  # it is asked for thousands of times
            room = self.rooms[file] = self._room(file)
        if room == "compiler":
            return
        if event == "call":
            if room == "numba":
                self.compiling = frame
            else:
                self.codes[frame.f_code] = frame.f_globals
        elif event == "c_call":
            self.calling = function
            what = _impurity(function) if room != "package" else None
            if what is not None:
                self.trace.give_up(self.trace.IMPURE.format(what=what, where=location()))
        else:
            self.calling = None

    def _room(self, file: str) -> str:
        rooms = ("compiler", _COMPILER), ("numba", self.numba), ("package", _PACKAGE)
        return next((room for room, folder in rooms if file.startswith(folder)), "elsewhere")


def tells_stand_ins(codes: Codes) -> bool:
    """Whether code that is not our own can tell a stand-in for a number from a number, unnoticed.

    A stand-in answers for all but ``type(x)``, ``id(x)`` and ``x is y``.
    """
    return any(not code.co_filename.startswith(_PACKAGE) and _tells(code) for code in codes)


def _tells(code: types.CodeType) -> bool:
    if "type" in code.co_names or "id" in code.co_names:
        return True
    steps = itertools.pairwise(dis.get_instructions(code))
    behind = [before for before, step in steps if step.opname == "IS_OP"]  # what it compares with, if a constant
    return any(step.opname != "LOAD_CONST" or type(step.argval) not in (bool, type(None)) for step in behind)


def _impurity(function: Any) -> str | None:
    """What a function in C does that another call of it would do again."""
    owner = getattr(function, "__self__", None)
    of_owner = getattr(owner, "__module__", None) or type(owner).__module__  # as of an open file
    module = getattr(function, "__module__", None) or of_owner
    if module == "datetime" and function.__name__ in NOW:
        return IMPURE["time"]
    if module == "decimal" and function.__name__ in ("getcontext", "localcontext"):
        return "asks for the decimal context"
    if module == "_thread" and function.__name__ in THREADS:
        return "asks which thread runs it"
    return IMPURE.get(module) if isinstance(module, str) else None


# ---- what tensors tell meanwhile


def _install() -> None:
    """Replace attributes of `Tensor` by ones that ask who reads them; other threads see the same values."""
    global _watchers
    with _lock:
        _watchers += 1
        if _watchers == 1:
            for name, attribute in _watched.items():
                setattr(Tensor, name, attribute)


def _remove() -> None:
    global _watchers
    with _lock:
        _watchers -= 1
        if _watchers == 0:
            for name, attribute in (_slots | _described).items():
                setattr(Tensor, name, attribute)


def _tracer() -> Any:
    """This thread's trace, if what is traced, or what it calls, is asking."""
    tracer = grad_mode.tracer
    watched = tracer is not None and tracer.note is not None
    return tracer if watched and not asked_by(_COMPILER, skipping=__file__) else None


def _slot(name: str, refuse: Any) -> property:
    slot = _slots[name]

    def read(self: Tensor) -> Any:
        tracer = _tracer()
        if tracer is not None:
            refuse(tracer, self)
        return slot.__get__(self)

    return property(read, slot.__set__)


def _read_data(tracer: Any, tensor: Tensor) -> None:
    array = _slots["data"].__get__(tensor)
    if array.dtype.kind in "iub" and asked_by(_PACKAGE, skipping=__file__):
        tracer.read.append(tensor)  # whole numbers as an index: taken over
    elif not tracer.whole and asked_by(_LAYERS, skipping=__file__):
        tracer.refuse_for(
            f"a layer runs inside a step at {location()}: call its cell's step(), or run it in begin_sequence()"
        )
    else:
        tracer.refuse("an access to the data of a tensor")


def _read_gradient(tracer: Any, tensor: Tensor) -> None:
    if not asked_by(_PACKAGE, skipping=__file__):
        tracer.refuse("an access to the gradient of a tensor")


def _read_flag(tracer: Any, tensor: Tensor) -> None:
    if not asked_by(_PACKAGE, skipping=__file__):
        tracer.refuse("a look at whether a tensor requires gradients")


def _shape(self: Tensor) -> tuple:
    shape, tracer = _slots["data"].__get__(self).shape, _tracer()
    return shape if tracer is None else tracer.symbolic(shape)


def _size(self: Tensor) -> int:
    if BATCH in _shape(self)[:1] and not asked_by(_PACKAGE, skipping=__file__):
        return BATCH._refuse()
    return _slots["data"].__get__(self).size


_watched = {
    "data": _slot("data", _read_data),
    "grad": _slot("grad", _read_gradient),
    "requires_grad": _slot("requires_grad", _read_flag),
    "shape": property(_shape),
    "size": property(_size),
    "dtype": property(lambda self: _slots["data"].__get__(self).dtype),
    "ndim": property(lambda self: _slots["data"].__get__(self).ndim),
}
# what is watched of a tensor is also there of a symbol
assert all(name in vars(Symbol) or name in Symbol.__slots__ for name in _watched)
