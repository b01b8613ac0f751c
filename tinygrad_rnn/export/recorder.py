"""The recorder of a model to be exported, in which layers have the operations of their steps."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import ops
from ..compiler import Symbol, location
from ..compiler.model.program import ASTYPE
from ..compiler.model.trace import ModelTrace
from ..config import functional
from ..core import tree
from ..errors import ShapeError
from ..recurrent.as_tensors import kind_of
from ..recurrent.cell import Cell, check_state, title_of
from ..recurrent.scan.arguments import check_inputs
from ..recurrent.scan.axis_layout import SequenceLayout
from ..recurrent.scan.dry_run import CellSnapshot
from ..recurrent.scan.traced_scan import stand_in
from .graph import SCAN


class RecordedScan(NamedTuple):
    """A layer in a trace: its cell, how its inputs are nested, what counts, and the values of one step."""

    cell: Cell
    structure: tree.Structure
    layout: SequenceLayout
    steps: tuple[str, ...]
    step_inputs: tuple[Symbol, ...]
    step_states: tuple[Symbol, ...]
    step_outputs: tuple[Symbol, ...]
    new_states: tuple[Symbol, ...]
    reset_states: int


class ExportTrace(ModelTrace):
    """A trace in which a layer's step is recorded too, and each value with the module that made it.

    Parameters
    ----------
    modules : mapping of int to str
        The paths of the model's modules, by their ids.

    Attributes
    ----------
    module_of : dict
        By the uid of a value: the path of the module whose code made it.
    symbols : dict
        The values that were computed, by their uids, in the order in which they were.
    leads : set of int
        Uids of the values that stand for the several results of an operation.
    """

    def __init__(self, modules: Mapping[int, str]):
        super().__init__()
        self.module_of: dict[int, str] = {}
        self.symbols: dict[int, Symbol] = {}
        self.leads: set[int] = set()
        self._modules = modules
        self._steps = 0
        self._within: list[str] = []
        self.scan = self._record_scan

    def make(self, op: Any, args: tuple, static: dict, shape: Any, dtype: Any, needs: bool) -> Symbol:
        found = super().make(op, args, static, shape, dtype, needs)
        if found.uid not in self.module_of:
            self.symbols[found.uid] = found
            self.module_of[found.uid] = self._module()
        return found

    def between(self, x: Any, low: float, high: float, message: str, nan: bool) -> Any:
        """`x`: what was exported does not look at numbers."""
        return x

    def lift(self, value: Any) -> Any:
        found = super().lift(value)
        if isinstance(found, Symbol) and not found.where and found.leaf is not None and found.leaf[0] == "captured":
            found.where = location()
        return found

    def picks(self, lead: Symbol, results: list, needs: bool) -> tuple[Symbol, ...]:
        self.leads.add(lead.uid)
        return super().picks(lead, results, needs)

    # ---- indices, which need not be known before a run

    def check(self, symbols: Sequence[Symbol], test: Any) -> None:
        """Nothing: what is exported tests no argument."""

    def is_index(self, value: Any) -> bool:
        return isinstance(value, Symbol) and value.dtype.kind in "iu"

    def in_range(self, index: Any, low: int, high: int, what: str) -> Any:
        """The index as it is."""
        return index

    def range_of(self, index: Any) -> tuple[float, float]:
        """Any number: nothing is known of an index."""
        return -math.inf, math.inf

    # ---- modules and layers

    def _module(self) -> str:
        """The path of the innermost module of the model whose code runs."""
        frame: Any = sys._getframe(2)
        while frame is not None:
            names = frame.f_code.co_varnames
            if names and names[0] == "self" and frame.f_code.co_argcount:
                path = self._modules.get(id(frame.f_locals.get("self")))
                if path is not None:
                    return path
            frame = frame.f_back
        return ""

    def _record_scan(
        self,
        cell: Cell,
        xs: Any,
        state: Any,
        layout: SequenceLayout,
        steps: Any,
        reset_state: Any,
        return_outputs: bool,
    ) -> tuple[Any, Any]:
        """Record a layer as one operation; arguments and results as those of :func:`.scan.driver.scan`."""
        title = title_of(cell)
        if self._within:
            self.refuse_for(f"{title}: a layer inside of the step of {self._within[-1]}: make it a cell of that step")
        leaves, structure = ([xs], tree.LEAF) if tree.holds_numbers(xs) else tree.flatten(xs)
        inputs = [self.lift(x) for x in leaves]
        if steps is not None and not hasattr(steps, "reader"):
            steps = steps.read(cell, inputs[0], layout)
        first = None if state is None else tree.map(self.lift, state)
        other = None if reset_state is None else tree.map(self.lift, reset_state)
        with self.suspended():
            checked, _ = check_inputs(cell, tree.unflatten(structure, [stand_in(self, x) for x in inputs]))
            for given, argument in ((first, "state"), (other, "reset_state")):
                if given is not None:
                    likes = tree.map(lambda s: stand_in(self, s), given)
                    check_state(cell, likes, inputs[0].shape[layout.batch_axis], argument)
        inputs = [self._cast(x, c.dtype) for x, c in zip(inputs, checked)]
        batch = inputs[0].shape[layout.batch_axis]
        begun = cell.initial_state(batch)
        template, state_structure = tree.flatten(begun)
        before: list[Any] = template if first is None else tree.leaves_like(state_structure, first) or []
        states = [self._cast(self.lift(s), t.dtype) for s, t in zip(before, template)]
        resets: list[Any] = []
        if steps is not None and "resets" in steps.reader.names and not (state is None and reset_state is None):
            resets = [self.lift(s) for s in tree.flatten(begun if other is None else other)[0]]
        step_inputs = tuple(self._leaf((batch, *x.shape[2:]), x.dtype) for x in inputs)
        step_states = tuple(self._leaf(s.shape, s.dtype) for s in states)
        x, h = tree.unflatten(structure, step_inputs), tree.unflatten(state_structure, step_states)
        ys, new = self._run_step(cell, batch, x, h)
        ys, output_structure = tree.flatten(ys)
        outputs = [self._checked(title, "output", y, batch) for y in ys]
        news = tree.leaves_like(state_structure, new)
        if news is None:
            raise ShapeError(
                f"{title}.step: next_state: got {tree.in_words(tree.flatten(new)[1])}, "
                f"wanted {tree.in_words(state_structure)}"
            )
        news = [self._checked(title, "next_state", s, batch, old) for s, old in zip(news, step_states)]
        names = () if steps is None else steps.reader.names
        ends = step_inputs, step_states, tuple(outputs), tuple(news)
        recorded = RecordedScan(cell, structure, layout, names, *ends, len(resets))
        last = () if steps is None else tuple(self.lift(v) for v in steps.values)
        lead = self.make(SCAN, (*inputs, *states, *resets, *last), {"scan": recorded}, (), float, False)
        first_two = inputs[0].shape[:2]
        kinds = [((*first_two, *y.shape[1:]), y.dtype) for y in outputs]
        kinds += [(s.shape, s.dtype) for s in step_states]
        found = self.picks(lead, kinds, False)
        finals = list(found[len(outputs) :])
        if layout.layer_axis:
            finals = [self.lift(ops.expand_dims(s, 0)) for s in finals]
        sequence = tree.unflatten(output_structure, list(found[: len(outputs)])) if return_outputs else None
        return sequence, tree.unflatten(state_structure, finals)

    def _run_step(self, cell: Cell, batch: int, x: Any, state: Any) -> tuple[Any, Any]:
        before = CellSnapshot(cell, shared=False)
        self._within.append(title_of(cell))
        try:
            cell.begin_sequence(batch)
            with functional():
                result = cell.step(x, state)
        finally:
            self._within.pop()
            before.restore()
        if type(result) is not tuple or len(result) != 2:
            raise ShapeError(f"{title_of(cell)}.step: returned {kind_of(result)}, wanted the pair (output, next_state)")
        return result

    def _leaf(self, shape: Sequence[int], dtype: Any) -> Symbol:
        self._steps += 1
        return self.leaf("step", self._steps, shape, dtype)

    def _cast(self, x: Symbol, dtype: Any) -> Symbol:
        return x if x.dtype == dtype else self.make(ASTYPE, (x,), {"dtype": dtype}, x.shape, dtype, False)

    def _checked(self, title: str, what: str, value: Any, batch: int, old: Symbol | None = None) -> Symbol:
        """A result of a step, which has a row for each row of the batch."""
        found = self.lift(value)
        wanted = f"a tensor ({batch}, ...)" if old is None else f"{old.dtype}{list(old.shape)}"
        if not isinstance(found, Symbol) or not found.shape or found.shape[0] != batch:
            raise ShapeError(f"{title}.step: {what}: got {kind_of(value)}, wanted {wanted}")
        if old is not None and (found.shape != old.shape or found.dtype != old.dtype):
            raise ShapeError(f"{title}.step: {what}: got {found.dtype}{list(found.shape)}, wanted {wanted}")
        return found
