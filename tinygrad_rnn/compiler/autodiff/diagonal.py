"""Forward sensitivities of diagonal recurrences: derivatives of the state, carried forward in time.

Unit i of a state is column i of each of its tensors. The recurrence is diagonal if unit i of the new state depends,
of the old state, on unit i only; then the Jacobian of a step is one small matrix for each unit. If besides each entry
of a parameter reaches one unit only, the derivative of the state by all parameters takes no more memory than the
parameters, for each row of the batch and each tensor of the state. Both are read off the program of the step and its
adjoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core import Tensor
from ...errors import GraphError
from ..frontend.trace import Trace, recording
from ..ir.heads import base_of, heads_of
from ..ir.interpret import compute, order
from ..ir.program import StepProgram, bases, leaves, wanted_invariants
from ..ir.program_ops import SUM
from ..ir.symbol import BATCH, Symbol
from ..ir.weight_slices import WeightSlice, resolve_slice
from .adjoint import Adjoint, adjoint
from .column_alignment import ColumnAlignment
from .influence import Influence, Linearization, ParameterSlice

Array = np.ndarray
WANTED = (
    "wanted a recurrence in which unit i of the new state depends on unit i of the old one only, as in IndRNN or LRU"
)


class DirectTerm(NamedTuple):
    """A path from a part to a tensor of the new state: its cotangent, and a matrix's left factor."""

    part: ParameterSlice
    left: list[Symbol]
    cotangent: Symbol


class DiagonalStep:
    """A step with the derivatives that forward-in-time learning (RTRL) needs.

    Parameters
    ----------
    traced : StepProgram
    wanted : set of uids
        Bases that need gradients.
    name : callable
        What to call a base in errors.
    wanted_inputs : sequence of bool, optional
        Which inputs need gradients, those of one step alone. Default: none.

    Attributes
    ----------
    units : int
        n.
    parts : list of ParameterSlice
    trace : Trace
        The extension of the program that holds its adjoints.
    new, read : list of Adjoint, Adjoint
        Of each tensor of the new state, and of the outputs.
    seeds, cotangents : list of lists of Symbol or None, list of Symbol or None
        What these start from, a list for each of `new`; None for one that reaches nothing.
    direct : list of lists of DirectTerm
        How parameters reach each tensor of the new state.
    targets, sums : lists
        How they reach the outputs: parts of bases, with the factors of a product, or with what was used and its
        cotangent.

    Raises
    ------
    GraphError
        If the recurrence is not diagonal, or an entry of a parameter reaches several units.
    """

    def __init__(
        self,
        traced: StepProgram,
        wanted: set[int],
        name: Callable[[Symbol], str],
        wanted_inputs: Sequence[bool] = (),
    ):
        self.traced, self.name = traced, name
        self.units = self._check_diagonal()
        invariants = wanted_invariants(traced, wanted)
        none = (False,) * len(traced.inputs)
        # an adjoint for each tensor of the new state, as each has a row of the Jacobian of its own, and one for outputs
        arguments = traced.inputs, traced.states
        with recording(Trace.extending(traced)) as trace:
            self.new = [adjoint(trace, [], [s], *arguments, none, invariants, dense=True) for s in traced.new_states]
            inputs = (*wanted_inputs, *none)[: len(none)]
            self.read = adjoint(trace, traced.outputs, [], *arguments, inputs, invariants, dense=True)
        self.trace = trace
        self._added = {uid: tensor.data for uid, tensor in trace.added(traced).items()}
        self.seeds = [_seeds(a, 1) for a in self.new]
        self.cotangents = _seeds(self.read, len(traced.outputs))
        self.parts: list[ParameterSlice] = []
        self.direct: list[list[DirectTerm]] = []  # how parameters reach each tensor of the new state
        for adj, (seed,) in zip(self.new, self.seeds):
            self.direct.append(self._gather(adj, seed))
        self.targets = [(resolve_slice(p.w), p.a, p.g) for p in self.read.products]
        self.sums = [(resolve_slice(r.v), r.v, r.g) for r in self.read.reductions]
        self._find_order([s for seeds in self.seeds for s in seeds if s is not None])

    def _find_order(self, seeds: list[Symbol]) -> None:
        """Sort the program into values for each step, and values for when its outputs are read."""
        t = self.traced
        given = {s.uid for s in (*t.inputs, *t.states, *bases(t), *seeds)} | self._added.keys()
        roots = [*t.outputs, *t.new_states, *(s for adj in self.new for s in adj.states)]
        roots += [s for terms in self.direct for term in terms for s in (*term.left, term.cotangent)]
        self._ahead = order(roots, given)
        given |= {s.uid for s in self._ahead} | {s.uid for s in self.cotangents if s is not None}
        roots = [*self.read.states, *self._by_input(), *(r.g for r in self.read.reductions)]
        self._back = order([*roots, *(s for p in self.read.products for s in (p.a, p.g))], given)

    def _by_input(self) -> list[Symbol]:
        """The cotangents of the inputs that need gradients."""
        return [g for g in self.read.inputs if g is not None]

    # ---- the conditions

    def _check_diagonal(self) -> int:
        states, new = self.traced.states, self.traced.new_states
        if not states:
            raise GraphError(f"there is no state; {WANTED}")
        units = states[0].width
        for i, s in enumerate(states):
            if s.ndim != 2 or s.width != units:
                raise GraphError(f"tensor {i} of the state has {s.width} units and tensor 0 has {units}; {WANTED}")
        relation = ColumnAlignment({s.uid for s in states}, units, differentiable=True)
        for s in new:
            mixing = relation.find_mixing_op(s)
            if mixing is not None:
                raise GraphError(f"{mixing.operation} at {mixing.where} mixes the units of the state; {WANTED}")
        return units

    def _gather(self, adj: Adjoint, seed: Symbol | None) -> list[DirectTerm]:
        """All terms through which parameters reach one tensor of the new state."""
        if seed is None:  # it depends on nothing
            return []
        relation = ColumnAlignment({seed.uid}, self.units)
        found = []
        for w, a, g in adj.products:
            found.append(DirectTerm(self._part(w, (w.shape[0],), relation, g), [a], g))
        for v, g in adj.reductions:
            if v.size == 1 and g.width == 1 and g.op is SUM:
                g = g.args[0]  # a number for all units: each gets its own share
            found.append(DirectTerm(self._part(v, (), relation, g), [], g))
        return found

    def _written_at(self, derivative: Symbol) -> str:
        """ "file:line" of the forward operation that a derivative belongs to: one with the same parameters."""
        given = {s.uid for s in bases(self.traced)}
        read = {base_of(a).uid for a in derivative.operands} & given
        for s in order([*self.traced.outputs, *self.traced.new_states], given):
            if s.op is derivative.op and any(base_of(a).uid in read for a in s.operands):
                return s.where
        return derivative.where

    def _part(self, v: Symbol, lead: tuple[int, ...], relation: ColumnAlignment, g: Symbol) -> ParameterSlice:
        view, mixing = resolve_slice(v), relation.find_mixing_op(g)
        if mixing is not None or g.width != self.units:
            where = f" through {mixing.operation} at {self._written_at(mixing)}" if mixing is not None else ""
            raise GraphError(
                f"each entry of {self.name(base_of(v))} reaches several units of the state{where}; "
                "wanted parameters each entry of which reaches one unit, such as a matrix that multiplies the input"
            )
        if not lead and v.size not in (1, self.units):
            raise GraphError(f"{self.name(base_of(v))}: has a row for each row of the batch, wanted one for all rows")
        part = ParameterSlice(view, lead, v.size)
        if part.key not in [p.key for p in self.parts]:
            self.parts.append(part)
        return part

    # ---- numbers

    def run(
        self, inputs: Iterable[Array], states: Iterable[Array], known: dict[int, Array], batch: int
    ) -> Linearization:
        """Take one step, and return its values and derivatives; `known` holds the bases by uid."""
        t = self.traced
        values: dict[int, Any] = known | self._added
        values |= {x.uid: v for x, v in zip(t.inputs, inputs)}
        values |= {s.uid: v for s, v in zip(t.states, states)}
        # units do not mix, so a cotangent of ones gives the diagonal of the Jacobian, and with it all of it
        ones = np.ones((batch, self.units), t.dtype)
        values |= {s.uid: ones for seeds in self.seeds for s in seeds if s is not None}
        compute(self._ahead, values, batch)

        def get(symbols: Iterable[Symbol]) -> list[Array]:
            return [_array(values[s.uid]) for s in symbols]

        direct = [[(part, *get([*left, g])) for part, left, g in terms] for terms in self.direct]
        return Linearization(get(t.outputs), get(t.new_states), [get(adj.states) for adj in self.new], direct, values)

    def pull(
        self, linearization: Linearization, cotangents: Iterable[Array], influence: Influence
    ) -> tuple[dict[int, Array], list[Array], list[Array]]:
        """Gradients by the bases (by uid), the first state and the inputs, of what reads outputs.

        `influence` belongs to the state before the step.
        """
        values = dict(linearization.values)
        values |= {s.uid: g for s, g in zip(self.cotangents, cotangents) if s is not None}
        compute(self._back, values, influence.batch)
        by_state = [_array(values[s.uid]) for s in self.read.states]
        grads: dict[int, Array] = {}

        def add(view: WeightSlice, g: Array) -> None:
            base, heads = view.base.uid, heads_of(view.base)
            if heads is not None:  # whose matrices lie along the diagonal
                parts = g.reshape(heads.heads, heads.rows, heads.heads, heads.columns)
                for head, number in enumerate(heads.numbers):
                    add(heads.view(number), parts[head, :, head])
                return
            if base not in grads:
                grads[base] = np.zeros_like(linearization.values[base])
            # a view, so that several slices of a parameter add up in one array
            target = _at(grads[base], view)
            target += g.reshape(target.shape)

        for view, a, g in self.targets:
            add(view, _array(values[a.uid]).T @ _array(values[g.uid]))
        for view, v, g in self.sums:
            value = _array(values[g.uid])
            rows = v.ndim == 2 and v.shape[0] == BATCH
            add(view, value if rows else value.sum() if v.size == 1 else value.sum(axis=0))
        for part in self.parts:
            add(part.view, influence.vjp(part, by_state))
        return grads, influence.first_state(by_state), [_array(values[g.uid]) for g in self._by_input()]


def _array(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _at(array: Array, view: WeightSlice) -> Array:
    """The part of a base's array that a view is."""
    index: list[Any] = [slice(None)] * array.ndim
    for axis, start, stop in view.axes:
        if view.base.shape[axis] != BATCH:
            index[axis] = slice(start, stop)
    part = array[(*index, Ellipsis)]  # a view, of a number too
    return part.T if view.transposed else part


def _seeds(adj: Adjoint, count: int) -> list[Symbol | None]:
    """The symbols of the cotangents that an adjoint starts from; None for one that reaches nothing."""
    roots = [*adj.states, *(p.g for p in adj.products), *(r.g for r in adj.reductions)]
    found = {s.leaf[1]: s for s in leaves(roots) if s.leaf is not None and s.leaf[0] in ("cotangent", "carry")}
    return [found.get(i) for i in range(count)]
