"""Verifier of the tasks after a backward loop: runs them on numbers, and compares with the adjoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...kernels.loops.task_codes import (
    AddColumns,
    AddRows,
    AddVector,
    Matrix,
    Pack,
    Product,
    ScatterRows,
    SumRows,
    Task,
    TransposedProduct,
)
from ..codegen.array_names import GRADS, INPUT_PACKED, PRODUCTS, Role
from ..ir.heads import heads_of
from ..ir.symbol import BATCH
from ..ir.verify import fault
from ..ir.weight_slices import resolve_slice
from ..schedule.buffers import Buffer
from .column_numbers import PHASE, ColumnNumbers, Rows, rectangle
from .epilogue import Epilogue, moved

Array = np.ndarray


def verify_epilogue(
    epilogue: Epilogue,
    phases: Sequence[Sequence[Task]],
    offsets: dict[Buffer, int],
    forward: dict[Buffer, int],
    time: int,
    batch: int,
    segmented: bool = False,
) -> None:
    """Check the tasks after a backward loop, for one T and one batch.

    Parameters
    ----------
    phases : lists of tasks
        As :meth:`.Epilogue.bind` gives them: threads share the first.
    offsets, forward : dict
        Where the buffers of the backward loop are in its arena, and those of the forward loop in the other.
    segmented : bool
        Whether states of next steps are read from copies.

    Raises
    ------
    VerificationError
        If a task reads or writes outside of its array, or what is not there; if two tasks that threads share write to
        the same element; or if a gradient is not the sum that the adjoint wants.
    """
    values = ColumnNumbers(epilogue, batch)
    run = _Run(epilogue, values, values.lay_out(offsets, forward, time, batch, segmented), time, batch)
    for i, tasks in enumerate(phases):
        run.phase(tasks, shared=i == 0)
    run.compare()


class _Run:
    """The arrays that tasks write, while they are run one by one."""

    def __init__(self, epilogue: Epilogue, values: ColumnNumbers, held: dict[str, list[Rows]], time: int, batch: int):
        self.epilogue, self.plan, self.values, self.held = epilogue, epilogue.plan, values, held
        self.steps, self.batch = time * batch, batch
        self.grads, self.touched = np.zeros(epilogue.grads_size), np.zeros(epilogue.grads_size, bool)
        self.products = np.full(epilogue.temp_size, np.nan)
        self.inputs: dict[str, dict[int, tuple[int, Array]]] = {}  # pieces: first row -> how many, one of them
        self.packed = np.zeros(epilogue.packing.size)
        self.depths: dict[int, int] = {}  # of packed matrices, by where they begin
        for task in epilogue.packing.tasks:
            self._pack(task)

    def phase(self, tasks: Iterable[Task], shared: bool) -> None:
        """Run tasks; those that threads share may not meet."""
        taken, before = np.zeros(self.grads.size, bool), None
        for task in tasks:
            where = self._run(task, before)
            if shared and where is not None:
                if taken[where].any():
                    fault(PHASE, f"{task}: it writes to what another task writes at the same time")
                taken[where] = True
            before = task

    def compare(self) -> None:
        """Compare what the tasks have made with what the adjoint says."""
        plan, values, expected = self.plan, self.values, {}
        for uid, shape in self.epilogue.shapes.items():
            expected[uid] = np.zeros([self.batch if n is BATCH else n for n in shape])
        for p in plan.adjoint.products:
            block, heads = np.outer(values.of(p.a), values.of(p.g)), heads_of(p.w)
            blocks = [(resolve_slice(p.w), block)]
            if heads is not None:
                parts = block.reshape(heads.heads, heads.rows, heads.heads, heads.columns)
                blocks = [(heads.view(number), parts[head, :, head]) for head, number in enumerate(heads.numbers)]
            for view, part in blocks:
                rectangle(expected[view.base.uid], view)[...] += part.T if view.transposed else part
        for table, index, g, padding in plan.adjoint.scatters:
            for number, part in zip(values.of(index), np.split(values.of(g), index.width)):
                if int(number) % table.shape[0] != padding:
                    expected[table.uid][int(number) % table.shape[0]] += part
        for r in plan.adjoint.reductions:
            view, row = resolve_slice(r.v), values.of(r.g)
            part = rectangle(expected[view.base.uid], view)
            part += row if part.ndim else row[0]
        for uid, wanted in expected.items():
            # exactly: all are sums of products of whole numbers
            found = self.grads[self.epilogue.grad_at[uid] :][: wanted.size].reshape(wanted.shape)
            if (found != wanted).any():
                at = tuple(int(i) for i in np.argwhere(found != wanted)[0])
                got = "something else" if found[at] else "nothing"
                fault(PHASE, f"the gradient of b{uid}{list(at)}: got {got}, wanted the sum of the adjoint's terms")
        for i, terms in plan.deferred.items():
            row = sum(values.of(g) @ values.of_matrix(w) for g, w in terms)
            end = 0
            for begin, (n, numbers) in sorted(self.inputs.get(Role.INPUT_GRAD.of(i), {}).items()):
                if begin != end or (numbers[: plan.traced.inputs[i].width] != row).any():
                    fault(PHASE, f"the gradient of input {i}, rows {end} to {begin + n}: got another sum of products")
                end = begin + n
            if end != self.steps:
                fault(PHASE, f"the gradient of input {i}: got {end} rows, wanted {self.steps}")

    # ---- tasks

    def _run(self, task: Task, before: Task | None) -> Array | None:
        """Run a task; the elements of the gradients that it writes, if it does."""
        if isinstance(task, TransposedProduct):
            left = self._read(task, task.source, self.steps, task.rows)
            block = np.outer(left, self._read(task, task.right, self.steps, task.columns))
            if task.depth != self.steps:
                fault(PHASE, f"{task}: it adds up {task.depth} rows, wanted all {self.steps}")
            return self._write(task, task.target, block, bool(task.accumulate))
        if isinstance(task, SumRows):
            numbers = self._read(task, task.source, task.rows, task.columns, whole=True)
            return self._write(task, Matrix(*task.target, 0), numbers[None], True)
        if isinstance(task, ScatterRows):
            return self._scatter(task)
        if isinstance(task, AddRows | AddColumns):
            return self._write(task, task.target, self._block(task), True)
        if isinstance(task, AddVector):
            source = self._indices(task, Matrix(*task.source, 0), 1, task.size, self.grads.size)
            if task.source.array != GRADS or not self.touched[source].all():
                fault(PHASE, f"{task}: it reads gradients that nobody has written")
            return self._write(task, Matrix(*task.target, 0), self.grads[source], True)
        if not isinstance(task, Product):
            fault(PHASE, f"{task}: wanted a product or a sum")
        self._input_gradient(task, before)
        return None

    def _scatter(self, task: ScatterRows) -> Array:
        """Add parts of rows to rows of a table, whichever they are; gives the elements of the whole table."""
        parts = [
            self._read(task, moved(task.source, i * task.stride), task.rows, task.columns, whole=True)
            for i in range(task.parts)
        ]
        for number, part in zip(self._read(task, task.numbers, task.rows, task.parts, whole=True), parts):
            row = int(number) % task.table_rows
            if row != task.padding:
                self._write(task, moved(task.target, row * task.target.ld), part[None], True)
        return self._indices(task, task.target, task.table_rows, task.columns, self.grads.size)

    def _block(self, task: AddRows | AddColumns) -> Array:
        """The rows that a task adds: of a product, or of a sum that has a row for each row of the batch."""
        rows, columns = task.rows, task.columns
        if task.source.array != PRODUCTS:
            return np.tile(self._read(task, task.source, rows, columns, whole=True), (rows, 1))
        across = isinstance(task, AddColumns)
        shape = (columns, rows) if across else (rows, columns)
        block = self.products[self._indices(task, task.source, *shape, self.products.size)]
        return block.T if across else block

    def _input_gradient(self, task: Product, before: Task | None) -> None:
        """A product of some rows of a cotangent with a packed matrix."""
        i = next((i for i in self.plan.deferred if Role.INPUT_GRAD.of(i) == task.target.array), None)
        ld = 0 if i is None else self.epilogue.sizes.row([self.plan.traced.inputs[i].width])
        first, column = divmod(task.target.at, task.target.ld)
        if not ld == task.target.ld == task.columns or column or first < 0 or first + task.rows > self.steps:
            fault(PHASE, f"{task}: it writes to parts of rows or leaves its array, of {self.steps} rows of {ld}")
        panel = self.epilogue.sizes.panel
        end = task.packed.at + task.depth * task.columns
        if task.packed.array != INPUT_PACKED or self.depths.get(task.packed.at) != task.depth or end > self.packed.size:
            fault(PHASE, f"{task}: it reads no matrix that was packed")
        n = np.arange(task.columns)
        # panel by panel, as packing lays them out
        at = task.packed.at + n // panel * task.depth * panel + n % panel
        matrix = self.packed[at + panel * np.arange(task.depth)[:, None]]
        cotangent = self._read(task, task.source, task.rows, task.depth, first, padded=True)
        row = cotangent @ matrix
        if np.isnan(row).any():
            fault(PHASE, f"{task}: it reads what nobody has written")
        if matrix[cotangent == 0].any():  # no value is zero
            fault(PHASE, f"{task}: parameters are where its matrix meets padding, wanted zeros")
        pieces = self.inputs.setdefault(task.target.array, {})
        if task.accumulate:
            same = isinstance(before, Product) and (before.target, before.rows) == (task.target, task.rows)
            if first not in pieces or not same:
                fault(PHASE, f"{task}: wanted it after the task to whose result it adds")
            row = pieces[first][1] + row
        elif first in pieces:
            fault(PHASE, f"{task}: it writes over the result of another")
        pieces[first] = task.rows, row

    def _pack(self, task: Task) -> None:
        """Copy a rectangle of a parameter to a packed matrix."""
        if not isinstance(task, Pack):
            fault(PHASE, f"{task}: wanted a task that packs")
        bases = {Role.CAPTURE.of(uid): base for uid, base in self.epilogue.packing.bases.items()}
        base = self.values.of_base(bases[task.source.array]).ravel()
        shape = (task.columns, task.rows) if task.transposed else (task.rows, task.columns)
        block = base[self._indices(task, task.source, *shape, base.size)]
        n, panel = task.column + np.arange(task.columns), self.epilogue.sizes.panel
        rows = task.row + np.arange(task.rows)[:, None]
        at = task.target.at + n // panel * task.depth * panel + n % panel + rows * panel
        if task.target.array != INPUT_PACKED or task.row + task.rows > task.depth or at.max() >= self.packed.size:
            fault(PHASE, f"{task}: it writes outside of its array, of {self.packed.size} elements")
        if self.packed[at].any() or self.depths.setdefault(task.target.at, task.depth) != task.depth:
            fault(PHASE, f"{task}: it writes over another part of a matrix, or to one of another depth")
        self.packed[at] = block.T if task.transposed else block

    # ---- operands

    def _read(
        self,
        task: Task,
        operand: Matrix,
        rows: int,
        columns: int,
        first: int = 0,
        whole: bool = False,
        padded: bool = False,
    ) -> Array:
        """The numbers in each of the rows that a task reads, from row `first` of a buffer on.

        With `whole` it has to read all rows; `padded`: it may read the zeros behind a part.
        """
        there = [r for r in self.held.get(operand.array, ()) if (operand.at - r.at) // r.ld == first]
        held = next((r for r in there if r.ld == operand.ld), None)
        if held is None:
            fault(PHASE, f"{task}: it reads what nobody has written")
        column = (operand.at - held.at) % held.ld
        if first + rows > held.rows or column + columns > held.ld:
            fault(PHASE, f"{task}: it reads outside of {held.name}, of {held.rows} rows of {held.ld}")
        if whole and rows != held.rows:
            fault(PHASE, f"{task}: it adds up {rows} rows of {held.name}, wanted all {held.rows}")
        numbers = np.where(held.padding, 0, held.numbers) if padded else held.numbers
        return numbers[column : column + columns]

    def _write(self, task: Task, operand: Matrix, block: Array, add: bool) -> Array | None:
        """Write a block; the elements, if they are gradients."""
        to_grads = operand.array == GRADS
        array = self.grads if to_grads else self.products
        if operand.array not in (GRADS, PRODUCTS) or (add and not to_grads):
            fault(PHASE, f"{task}: wanted it to write to {GRADS}")
        rows, columns = block.shape
        at = self._indices(task, operand, rows, columns, array.size)
        if to_grads and np.isnan(block).any():
            fault(PHASE, f"{task}: it reads what nobody has written")
        if not add and (self.touched[at].any() if to_grads else not np.isnan(array[at]).all()):
            fault(PHASE, f"{task}: it writes over what another has written")
        array[at] = array[at] + block if add else block
        if to_grads:
            self.touched[at] = True
        return at if to_grads else None

    def _indices(self, task: Task, operand: Matrix, rows: int, columns: int, size: int) -> Array:
        """The elements of rows of an array of `size` elements."""
        at = operand.at + np.arange(rows)[:, None] * operand.ld + np.arange(columns)
        if at.size and (at.min() < 0 or at.max() >= size or (rows > 1 and columns > operand.ld)):
            fault(PHASE, f"{task}: it leaves {operand.array}, of {size} elements")
        return at
