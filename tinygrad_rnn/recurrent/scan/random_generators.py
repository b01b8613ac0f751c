"""Random generators that a step may draw from: how their states are read and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Generator = tuple[Callable[[], Any], Callable[[Any], None]]  # getter and setter of a state


def has_generators() -> bool:
    """Whether an object can be a random generator of NumPy or PyTorch: their modules are there."""
    return "numpy.random" in sys.modules or "torch" in sys.modules


def generator_of(value: Any) -> Generator | None:
    """Getter and setter of the state of a random generator; None if `value` is none."""
    kind = type(value)
    if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
        return value.getstate, value.setstate
    if (torch := sys.modules.get("torch")) is not None and issubclass(kind, torch.Generator):
        return _of_torch(torch, value.get_state, value.set_state)
    if "numpy.random" not in sys.modules:
        return None
    if issubclass(kind, np.random.Generator):
        bits = value.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if issubclass(kind, np.random.RandomState):
        return value.get_state, value.set_state
    return None


def shared_generators() -> list[Generator]:
    """Getters and setters of the states of Python's, NumPy's, PyTorch's and Numba's own generators."""
    found: list[Generator] = [(random.getstate, random.setstate)]
    if "numpy.random" in sys.modules:
        found.append((np.random.get_state, np.random.set_state))
    if (torch := sys.modules.get("torch")) is not None:
        found.append(_of_torch(torch, torch.get_rng_state, torch.set_rng_state))
    if (numba := sys.modules.get("numba._helperlib")) is not None:  # of jitted functions, two in each thread
        for which in (numba.rnd_get_np_state_ptr, numba.rnd_get_py_state_ptr):
            found.append(_of_numba(numba, which()))
    return found


def _of_torch(torch: Any, get: Callable, put: Callable) -> Generator:
    return (
        lambda: get().numpy().tobytes(),
        lambda state: put(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    )


def _of_numba(numba: Any, address: int) -> Generator:
    def get() -> tuple:
        index, values = numba.rnd_get_state(address)
        return index, np.array(values, np.uint32)  # small, as one is kept for each checkpoint

    return get, lambda state: numba.rnd_set_state(address, (state[0], state[1].tolist()))
