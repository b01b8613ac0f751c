"""Printer of programs, in a form that people read.

Names of leaves come in as ``names`` (uid -> name); without one, a leaf is called as in the generated source. With
``sizes=False`` nothing is printed that differs between two layers of one kind, so that it may stand in that source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import CompileError
from .heads import Heads, heads_of
from .lane_language import Apply, Input, elementwise_code
from .program_ops import GETITEM, MATMUL, NEGATIVE, PICK, RESHAPE_ROW, SLICE, ZERO
from .symbol import Symbol
from .walk import reachable
from .weight_slices import WeightSlice, resolve_slice


class Printer:
    """Spells out symbols.

    Parameters
    ----------
    names : mapping
        uid of a leaf -> its name.
    sizes : bool
        Whether column ranges are printed.
    """

    def __init__(self, names: Mapping[int, str] | None = None, sizes: bool = True):
        self.names = names or {}
        self.sizes = sizes

    def name(self, s: Any) -> str:
        """Text of an operand: a name, a number, or a part of a parameter."""
        if not isinstance(s, Symbol):
            return f"{s:g}" if self.sizes else "a number"
        if s.uid in self.names:
            return self.names[s.uid]
        if s.varying:
            return s.name
        heads = heads_of(s)
        return self.view(resolve_slice(s)) if heads is None else self.heads(heads)

    def heads(self, heads: Heads) -> str:
        """A matrix for each head, such as ``heads(weight_hh[0:8].T)``."""
        axes = [heads.view(0).axes, heads.view(heads.matrices - 1).axes]
        first, last = (a[1] if heads.transposed else a[0] for a in axes)
        view, down = heads.view(0), (0, first[1], last[2])
        across = view.axes[0] if heads.transposed else view.axes[1]
        return f"heads({self.view(view._replace(axes=(across, down) if heads.transposed else (down, across)))})"

    def view(self, view: WeightSlice) -> str:
        """A rectangle of a parameter, such as ``weight_ih[0:8].T``."""
        base, ranges = view.base, {axis: (start, stop) for axis, start, stop in view.axes}
        index = []
        for axis, n in enumerate(base.shape):
            start, stop = ranges.get(axis, (0, n))
            index.append(":" if (start, stop) == (0, n) else f"{start}:{stop}" if self.sizes else "...")
        while index and index[-1] == ":":
            index.pop()
        part = f"[{', '.join(index)}]" if index else ""
        name = self.names.get(base.uid, base.name)
        return f"{name}{part}{'.T' if view.transposed else ''}"

    def expression(self, s: Symbol) -> str:
        """Text of the expression that computes `s`."""
        args = [self.name(a) for a in s.args]
        op = s.op
        if op is None:
            return s.name
        sign = _sign(s)
        if sign and len(args) == 2:
            return f"{args[0]} {sign} {args[1]}"
        if op is NEGATIVE:
            return f"-{args[0]}"
        if op is SLICE:
            return f"{args[0]}[:, {s.static['start']}:{s.static['stop']}]"
        if op is RESHAPE_ROW:
            return f"{args[0]}[:, 0]" if s.ndim == 1 else f"{args[0]}[:, None]"
        if op is PICK:  # of an operation with several results
            return f"{args[0]}[{s.static['index']}]"
        if op is ZERO:
            return "0"
        if op is GETITEM:
            return self.view(resolve_slice(s)) if resolve_slice(s).base is not s else f"{args[0]}[{s.static['index']}]"
        if is_reduction(s) and s.varying:
            return f"{op.name}({', '.join(args)})"  # along features
        static = [f"{k}={v}" for k, v in s.static.items() if k not in ("rank", "shape")]
        return f"{op.name}({', '.join(args + static)})"

    def line(self, s: Symbol) -> str:
        """``name = expression``, with shape and kind."""
        shape = ["B", *map(str, s.shape[1:])] if s.varying else [repr(n) for n in s.shape]
        kind = " bool" if s.dtype.kind == "b" else ""
        return f"{s.name:<5}= {self.expression(s):<44} # ({', '.join(shape)}{',' if len(shape) == 1 else ''}){kind}"

    def listing(self, roots: Iterable[Symbol], given: Iterable[int] = ()) -> list[str]:
        """A line for each value that `roots` need, in order of computation, but for those in `given`."""
        return [self.line(s) for s in computed(roots, given) if not self._is_part(s)]

    def _is_part(self, s: Symbol) -> bool:
        """Whether `s` is printed as a part of a parameter where it is used."""
        return not s.varying and (resolve_slice(s).base is not s or heads_of(s) is not None)


def computed(roots: Iterable[Symbol], given: Iterable[int] = ()) -> list[Symbol]:
    """Values that `roots` need and that are neither leaves nor in `given`, in order of computation."""
    stop = set(given)
    found = reachable(roots, lambda s: [] if s.uid in stop else s.operands)
    return sorted((s for s in found if s.leaf is None and s.uid not in stop), key=lambda s: s.uid)


def is_reduction(s: Symbol) -> bool:
    return s.op is not None and s.op.lowering is not None and s.op.lowering.kind == "reduce"


def _sign(s: Symbol) -> str:
    """The infix operator of an operation; empty if it has none."""
    if s.op is MATMUL:
        return "@"
    if s.op is None or s.op.lowering is None or s.op.lowering.kind != "elementwise":
        return ""
    try:
        tree = elementwise_code(s.op, len(s.args), s.static).tree
    except CompileError:  # of parameters alone, which the tape computes
        return ""
    plain = isinstance(tree, Apply) and tree.args == (Input(0), Input(1))
    return tree.function if isinstance(tree, Apply) and plain and not tree.function.isidentifier() else ""
