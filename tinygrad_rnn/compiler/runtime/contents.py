"""What objects hold, compared by identity in machine code with what they held before."""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import numpy as np

from ...errors import CompileError
from .executable import check_available

# only here is an object where its id says, and nobody changes a dict while it is read
FIT = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


def unchanged(
    dicts: Iterable[tuple[dict, list, list]],
    values: Iterable[tuple[dict, str, Any]],
    lists: Iterable[tuple[list, list]],
    kinds: Iterable[tuple[Any, type]],
) -> Callable[[], int] | None:
    """A function that compares what is here with what is there then; None if nothing can be compiled.

    It returns 0, too, where the name of an attribute is an equal string that is another object.

    Parameters
    ----------
    dicts : iterable of (dict, names, values)
        With all that it holds, in order.
    values : iterable of (dict, name, value)
        With one of its values.
    lists : iterable of (list, items)
    kinds : iterable of (object, type)
        The caller keeps all of these objects alive.
    """
    if not FIT:
        return None
    try:
        check_available()
    except CompileError:
        return None
    from ...kernels.loops import contents  # imports numba
    from ...kernels.simd.types import BOUNDSCHECK

    if BOUNDSCHECK:  # whose errors do not pass a C function
        return None
    held, row_of = contents.Held, contents.row_of
    rows = [row_of(held.ENTRIES, d, [*chain(*zip(names, found))]) for d, names, found in dicts]
    rows += [row_of(held.VALUE, d, [name, value]) for d, name, value in values]
    rows += [row_of(held.ITEMS, items, before) for items, before in lists]
    rows += [row_of(held.TYPE, thing, [kind]) for thing, kind in kinds]
    return functools.partial(contents.unchanged(), np.array([*chain(*rows)], np.int64))
