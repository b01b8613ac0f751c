"""Influence of parameters on the state of a diagonal recurrence, in numbers, carried forward in time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.weight_slices import WeightSlice

Array = np.ndarray


class ParameterSlice(NamedTuple):
    """A part of a parameter; each entry reaches one unit of the state, a single number reaches all.

    Attributes
    ----------
    view : WeightSlice
        Which part of which base.
    lead : tuple of int
        Axes of its sensitivity before the units: ``(m,)`` of a matrix (m, n), otherwise none.
    size : int
        Elements.
    """

    view: WeightSlice
    lead: tuple[int, ...]
    size: int

    @property
    def key(self) -> tuple:
        return self.view.base.uid, self.view.axes


class Linearization(NamedTuple):
    """Values and derivatives of one step, at one time.

    Attributes
    ----------
    outputs, new_states : lists of arrays
    jacobians : list of lists of arrays, (B, n)
        ``[k][l]``: the derivative of tensor k of the new state by tensor l of the old one, unit by unit.
    direct : list of lists
        For tensor k of the new state: a part of a parameter, and the factors of the derivative by it with the old
        state held: (B, n), or of a matrix (B, m) and (B, n).
    values : dict
        All values of the program by uid.
    """

    outputs: list[Array]
    new_states: list[Array]
    jacobians: list[list[Array]]
    direct: list[list[tuple]]
    values: dict[int, Any]


class Influence:
    """The derivative of a state by parameters, and by the first state; carried forward in time.

    Attributes
    ----------
    by_part : dict of arrays, (K, B, ..., n)
        For each part of a parameter, (..., n), the derivatives of the K tensors of the state.
    by_first : array, (K, K, B, n)
        ``[k, l]``: of tensor k by tensor l of the first state.
    """

    def __init__(self, parts: list[ParameterSlice], count: int, batch: int, units: int, dtype: Any):
        self.batch = batch
        self.by_part = {p.key: np.zeros((count, batch, *p.lead, units), dtype) for p in parts}
        self.by_first = np.zeros((count, count, batch, units), dtype)
        # before the first step each tensor of the state is the first one itself
        self.by_first[range(count), range(count)] = 1.0

    def advance(self, linearization: Linearization) -> None:
        """Carry the derivatives over one step: multiply by its Jacobian, add its direct terms."""
        self.by_first = _propagate(linearization.jacobians, self.by_first)
        # (B, 1, n), to multiply derivatives by matrices, (B, m, n)
        matrices = [[a[:, None] for a in row] for row in linearization.jacobians]
        for key, old in self.by_part.items():
            self.by_part[key] = _propagate(matrices if old.ndim == 4 else linearization.jacobians, old)
        for k, terms in enumerate(linearization.direct):
            for part, *factors in terms:
                target = self.by_part[part.key][k]
                # of ``left @ W``, entry (i, j) of W reaches unit j through column i of `left`
                target += factors[0] if len(factors) == 1 else factors[0][:, :, None] * factors[1][:, None, :]

    def vjp(self, part: ParameterSlice, cotangents: list[Array]) -> Array:
        """Gradient by a part, of cotangents of the state."""
        total: Any = 0.0
        for g, s in zip(cotangents, self.by_part[part.key]):
            total = total + (np.einsum("bn,bmn->mn", g, s) if part.lead else np.einsum("bn,bn->n", g, s))
        # a single number has reached all units
        return total if part.lead or part.size != 1 else total.sum()

    def first_state(self, cotangents: list[Array]) -> list[Array]:
        """Gradients by the tensors of the first state, (B, n), of cotangents of the state."""
        return [sum(g * s for g, s in zip(cotangents, column)) for column in self.by_first.swapaxes(0, 1)]

    @property
    def nbytes(self) -> int:
        return self.by_first.nbytes + sum(s.nbytes for s in self.by_part.values())


def _propagate(jacobians: list[list[Array]], old: Array) -> Array:
    """``new[k] = sum over l of jacobians[k][l] * old[l]``."""
    new = np.zeros_like(old)
    for target, row in zip(new, jacobians):
        for a, s in zip(row, old):
            target += a * s
    return new
