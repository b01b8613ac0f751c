"""Functions of Python whose code is at an address, and which take arrays.

Numba's dispatchers compile, for each signature, code that takes arrays out of Python objects, and look for the
signature at each call. Here :mod:`..loops.arguments` does that, for any number of arrays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

FASTCALL = 0x0080  # METH_FASTCALL: a pointer to the arguments, and their number


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


_make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.POINTER(_Definition), ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def python_function(module: str, name: str, address: int, owner: object) -> Callable[..., int]:
    """A function of Python of the C function ``f(type of arrays, arguments, how many)`` at an address.

    Parameters
    ----------
    owner : object
        Holds the code; the function keeps it alive.
    """
    definition = _Definition(name.encode(), address, FASTCALL, None)
    function = _make(ctypes.byref(definition), np.ndarray, module)
    _definitions.append((definition, owner))
    return function


_definitions: list[tuple] = []  # the kernels of two dtypes at most: they are never freed
