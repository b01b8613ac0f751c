"""Adjoint of a step: its reverse program, from the derivative rules of the tape, run on symbols."""

from __future__ import annotations

import heapq
import itertools
from typing import Any

from ...core.backward import unbroadcast
from ..frontend.trace import Trace
from ..ir import verify
from ..ir.printer import is_reduction
from ..ir.program_ops import BROADCAST_ROW, CAST, CONCAT, EXPAND, GATHER, JOIN, LOOKUP, RESHAPE_ROW, SLICE, SUM
from ..ir.rearranged import Table, readers, sums_of
from ..ir.symbol import Symbol
from ..ir.walk import fold
from .reverse_step import Adjoint, MatrixProduct, Reduction, ScatterAdd
from .verify import verify_adjoint


def adjoint(
    trace: Trace, outputs, new_states, inputs, states, wanted_inputs, wanted_invariants, dense: bool = False
) -> Adjoint:
    """Differentiate a traced step.

    Parameters
    ----------
    outputs, new_states, inputs, states : lists of Symbol
        What the step gave and took.
    wanted_inputs : sequence of bool
        Which inputs need gradients.
    wanted_invariants : set of Symbol uids
        Which invariants need gradients.
    dense : bool
        Whether the gradient of a look-up is a product, with rows that are 1 where the table was read.
    """
    needed = _Needed(inputs, wanted_inputs, wanted_invariants)
    walk = _Reverse(trace, needed, dense)
    for kind, results in (("cotangent", outputs), ("carry", new_states)):
        for i, result in enumerate(results):
            seed = trace.leaf(kind, i, result.shape, trace.dtype, True)
            if result.varying:
                walk.add(result, seed)
    walk.run()
    found = Adjoint(
        [walk.leaf_cotangent(s) for s in states],
        [walk.leaf_cotangent(x) if want else None for x, want in zip(inputs, wanted_inputs)],
        walk.products,
        walk.reductions,
        walk.scatters,
    )
    if verify.enabled:
        wanted = wanted_inputs, wanted_invariants
        verify_adjoint(trace, found, (outputs, new_states), (inputs, states), wanted)
    return found


class _Needed:
    """Predicate: whether a gradient has to pass through a symbol."""

    def __init__(self, inputs, wanted_inputs, wanted_invariants):
        self.known: dict[int, bool] = {x.uid: bool(w) for x, w in zip(inputs, wanted_inputs)}
        self.invariants = wanted_invariants

    def __call__(self, s: Any) -> bool:
        return isinstance(s, Symbol) and fold(s, self.known, self._operands, self._judge)

    def _operands(self, s: Symbol) -> list[Symbol]:
        return [] if s.leaf is not None or not s.varying else differentiable_arguments(s)

    def _judge(self, s: Symbol, of_operands: list[bool]) -> bool:
        if s.leaf is not None or not s.varying:
            return s.dtype.kind == "f" and (s.varying or s.uid in self.invariants)
        return s.dtype.kind == "f" and any(of_operands)


def differentiable_arguments(s: Symbol) -> list[Symbol]:
    """Operands of `s` for which its operation has a derivative rule."""
    rules: tuple = (True,) * len(s.args)
    if s.op is not None and s.op.vjps is not None:
        rules = tuple(s.op.vjps) * (len(s.args) if is_reduction(s) else 1)  # of pieces of a row: one rule for all
    return [a for a, rule in zip(s.args, rules) if isinstance(a, Symbol) and rule is not None]


class _Reverse:
    def __init__(self, trace: Trace, needed: _Needed, dense: bool):
        self.trace, self.needed, self.dense = trace, needed, dense
        self.cotangents: dict[int, Symbol] = {}
        self.symbols: dict[int, Symbol] = {}
        self.queue: list[int] = []
        self.leaf_slices: dict[int, list] = {}
        self.products: list[MatrixProduct] = []
        self.reductions: list[Reduction] = []
        self.scatters: list[ScatterAdd] = []

    def add(self, x: Symbol, g: Symbol) -> None:
        if not self.needed(x):
            return
        if x.uid in self.cotangents:
            self.cotangents[x.uid] = self.cotangents[x.uid] + g
            return
        self.cotangents[x.uid] = g
        self.symbols[x.uid] = x
        heapq.heappush(self.queue, -x.uid)

    def run(self) -> None:
        while self.queue:
            # the latest first: whatever reads a value has a greater uid, so the value's cotangent is complete by then
            x = self.symbols[-heapq.heappop(self.queue)]
            if x.leaf is None:
                self.propagate(x, self.cotangents[x.uid])

    def propagate(self, x: Symbol, g: Symbol) -> None:
        op: Any = x.op
        if op is CONCAT or op is JOIN:
            start = 0
            for part in x.args:
                self.add(part, self.trace.columns(g, start, start + part.width))
                start += part.width
        elif op is SLICE:
            (leaf,) = x.args
            if self.needed(leaf):
                # the normal form slices leaves only: their cotangents are put together at the end, without adding zeros
                self.leaf_slices.setdefault(leaf.uid, []).append((x.static["start"], x.static["stop"], g))
        elif op is CAST:
            self.add(x.args[0], g)
        elif op is RESHAPE_ROW:
            self.add(x.args[0], self.trace.reshape_row(g, x.args[0].shape))
        elif op is BROADCAST_ROW:
            self.add(x.args[0], g.sum(axis=1, keepdims=True))
        elif op is EXPAND:
            for along in sums_of(x.static["dims"]):
                g = self.trace.reduce_along(SUM, g, along)
            self.add(x.args[0], g)
        elif op is GATHER:
            self.add(x.args[0], self.cotangent_of_picked(x.static["table"], x.args[0].width, g))
        elif op is LOOKUP:
            table, width = x.args[0], x.args[0].shape[1]
            if self.needed(table) and not self.dense:
                self.scatters.append(ScatterAdd(table, self.trace.index_of(x), g, x.static["padding"]))
            elif self.needed(table):
                for i, rows in enumerate(self.trace.rows_read(x)):
                    part = self.trace.columns(g, i * width, (i + 1) * width)
                    self.products.append(MatrixProduct(table, rows, part))
        elif "along" in x.static:
            self.propagate_along(op, x, g)
        elif op.lowering.kind == "matmul":
            a, w = x.args
            if self.needed(w):
                # summed over rows and steps by one large product after the loop
                self.products.append(MatrixProduct(w, a, g))
            if self.needed(a):
                # the transpose is read off the parameter when it is packed, and computed nowhere
                self.add(a, g @ w.T)
        else:
            for a, ga in zip(x.args, self.cotangents_of(op, x, g)):
                if ga is None:
                    continue
                if a.varying:
                    self.add(a, unbroadcast(ga, a.shape))
                else:
                    # one number per row is all that is summed over rows and time later
                    if ga.ndim == 2 and ga.width > 1 and a.shape[-1:] in ((), (1,)):
                        ga = ga.sum(axis=1, keepdims=True)
                    self.reductions.append(Reduction(a, ga))

    def cotangent_of_picked(self, table: Table, width: int, g: Symbol) -> Symbol:
        """The cotangent of a row of which a table picks features: each gets what was made of it."""
        places = readers(table, width)
        picked = self.trace.gather(g, places)
        return picked if places.shape[1] == 1 else self.trace.reduce_along(SUM, picked, (*places.shape, 1))

    def propagate_along(self, op: Any, x: Symbol, g: Symbol) -> None:
        """The cotangent of what was reduced along one axis: the operation's rule sees that axis as any other."""
        (a,), (outer, length, inner) = x.args, x.static["along"]
        if op is SUM:
            self.add(a, self.trace.expand(g, ((outer, True), (length, False), (inner, True))))
            return
        if not self.needed(a):
            return
        shaped, static = self.trace.shaped, {"axis": (2,), "keepdims": True}
        total, whole = (outer, 1, inner), shaped(a, (outer, length, inner))
        seen = shaped(g, total), shaped(x, total), whole
        if op.joint_vjp is not None:
            (found,) = op.joint_vjp(*seen, needs=[True], **static)
        else:
            (rule,) = op.vjps or (None,)
            found = rule and rule(*seen, **static)
        if found is not None:
            self.add(a, self.trace.flat(unbroadcast(found, whole.shape)))

    def cotangents_of(self, op: Any, x: Symbol, g: Symbol) -> list:
        """Cotangents of the operands of an elementwise operation or a reduction; None where not needed."""
        if is_reduction(x) and len(x.args) > 1:
            return self.cotangents_of_pieces(op, x, g)
        needs = [self.needed(a) for a in x.args]
        if op.joint_vjp is not None:
            return [ga if n else None for ga, n in zip(op.joint_vjp(g, x, *x.args, needs=needs, **x.static), needs)]
        rules = op.vjps or (None,) * len(needs)
        return [rule(g, x, *x.args, **x.static) if n and rule else None for rule, n in zip(rules, needs)]

    def cotangents_of_pieces(self, op: Any, x: Symbol, g: Symbol) -> list:
        """Cotangents of the pieces of a row that a reduction takes as several operands."""
        # the rule of a user's reduction knows one operand, which is the whole row
        row = self.trace.concat(list(x.args))
        if op.joint_vjp is not None:
            (whole,) = op.joint_vjp(g, x, row, needs=[True], **x.static)
        else:
            (rule,) = op.vjps or (None,)
            whole = rule and rule(g, x, row, **x.static)
        found, start = [], 0
        for a in x.args:
            # a cotangent of width one is that of every feature, whatever piece it is in
            wide = whole is not None and whole.width > 1
            part = self.trace.columns(whole, start, start + a.width) if wide else whole
            found.append(part if self.needed(a) else None)
            start += a.width
        return found

    def leaf_cotangent(self, leaf: Symbol) -> Symbol:
        """The cotangent of a step's argument, put together from those of its column ranges."""
        whole = self.cotangents.get(leaf.uid)
        slices = self.leaf_slices.get(leaf.uid, [])
        if not slices:
            return self.trace.zero(leaf.shape) if whole is None else whole
        cuts = sorted({0, leaf.width}.union(*({a, b} for a, b, _ in slices)))
        pieces = []
        for start, stop in itertools.pairwise(cuts):
            total = None if whole is None else self.trace.columns(whole, start, stop)
            for a, b, g in slices:
                if a <= start and stop <= b:
                    part = self.trace.columns(g, start - a, stop - a)
                    total = part if total is None else total + part
            pieces.append(self.trace.zero((leaf.shape[0], stop - start)) if total is None else total)
        return self.trace.concat(pieces)
