"""Stages of machine code that a program is bound to, by what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import CompileError
from ...kernels.gemm import gemm  # by way of the room, which Ctrl-C cannot leave halfway
from ...kernels.loops import launches
from ...kernels.loops.task_codes import (
    COLUMNS,
    KINDS,
    Clear,
    Launch,
    Matrix,
    Pack,
    Product,
    Span,
    SumRows,
    Task,
    TransposedProduct,
    Vector,
    integers_of,
    with_arrays,
)
from ...kernels.stages.stage_codes import (
    AXES,
    AdagradStage,
    AdamStage,
    ClipNormStage,
    ClipValueStage,
    CopyMode,
    CopyStage,
    CtcStage,
    DivideStage,
    FeedIntegersStage,
    FeedStage,
    FillStage,
    FiniteStage,
    GatherStage,
    IntegerOp,
    IntegerStage,
    LaunchStage,
    NoteStage,
    OptionsStage,
    RecordStage,
    RmspropStage,
    ScatterStage,
    SegmentsStage,
    SgdStage,
    StepsStage,
    ToFloatsStage,
    ToIntegersStage,
    When,
)
from ..runtime.launch import ALL_ROWS, LaunchPlan
from ..runtime.pieces import Sizes
from ..runtime.sharing import share
from .stage_list import StageList


def span(array: np.ndarray) -> Span:
    """Address and number of elements of an array, of which at least the rows are contiguous."""
    if array.flags.c_contiguous:
        return Span(array.ctypes.data, array.size)
    return Span(array.ctypes.data, (array.shape[0] - 1) * row_stride(array) + array.shape[1])


def row_stride(matrix: np.ndarray) -> int:
    """Elements from one row to the next of a matrix whose rows are contiguous."""
    return matrix.shape[1] if len(matrix) == 1 else matrix.strides[0] // matrix.itemsize


class Stages(StageList):
    """The stages of a bound program, by what they do."""

    # ---- copies, loops and tasks

    def copy(self, source: np.ndarray, target: np.ndarray, mode: CopyMode = CopyMode.COPY) -> None:
        """Copy `source` to `target`, or add it; both are of one shape, with any strides."""
        if not source.size:
            return
        shape, strides = _joined(source, target)
        # of more axes than a stage has, each turn of the outer ones is a stage
        outer = len(shape) - AXES
        for index in np.ndindex(*shape[:outer]) if outer > 0 else [()]:
            at = [sum(i * s[k] for i, s in zip(index, strides)) for k in (0, 1)]
            low = [sum(min(0, (n - 1) * s[k]) for n, s in zip(shape, strides)) for k in (0, 1)]
            inner, steps = shape[max(outer, 0) :], strides[max(outer, 0) :]
            pad = AXES - len(inner)
            sizes = [1] * pad + list(inner)
            a, b = ([0] * pad + [s[k] for s in steps] for k in (0, 1))
            item = self.dtype.itemsize
            x = Span(source.ctypes.data + low[0] * item, source.size)  # from the lowest address on
            y = Span(target.ctypes.data + low[1] * item, target.size)
            record = CopyStage(x, y, at[0] - low[0], at[1] - low[1], mode, *sizes, *a, *b)
            self.add(record, source, target)

    def collect(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy `source` to `target` in the first step of a group, and add it in later ones."""
        with self.only(When.FIRST):
            self.copy(source, target)
        with self.only(When.LATER):
            self.copy(source, target, CopyMode.ADD)

    def clear(self, target: np.ndarray) -> None:
        """Set a contiguous array to zero."""
        self.add(FillStage(span(target)), target)

    def launch(
        self,
        plan: LaunchPlan,
        arrays: Sequence[np.ndarray],
        dims: np.ndarray | None = None,
        row_table: np.ndarray = ALL_ROWS,
        lengths: np.ndarray | None = None,
    ) -> None:
        """Launch a loop with its tasks; its integers and row table may be written to between two runs."""
        launch, addresses = plan.bound_tables(arrays, dims, row_table, lengths)
        stage = LaunchStage(span(arrays[0]), span(launch), span(addresses))
        self.add(stage, plan, arrays, launch, addresses, dims, row_table, lengths)

    def tasks(
        self, phases: Sequence[Sequence[Task]], arrays: Sequence[np.ndarray], row_table: np.ndarray = ALL_ROWS
    ) -> None:
        """Execute tasks whose operands are numbers of `arrays`, which are contiguous or have contiguous rows.

        Threads may share the tasks of a phase.
        """
        rows = [task for phase in phases for task in phase]
        panel, last = gemm.panel_width(self.dtype), len(rows)
        sizes = Sizes(gemm.lanes_of(self.dtype), panel, self.dtype.itemsize)
        sharing = share(phases[:-1], None, phases[-1], [], last, sizes)
        rows += [] if sharing is None else sharing.tasks
        table = np.zeros((len(rows), COLUMNS), np.int64)
        for row, task in zip(table, rows):
            record = integers_of(with_arrays(task, lambda array, at: (array, at)))
            row[: 1 + len(record)] = KINDS[type(task)], *record
        addresses = np.array([span(a) for a in arrays], np.int64)
        nothing = Span(0, 0)
        launch = Launch(
            first=0,
            middle=last,
            last=last,
            panel=panel,
            loop=0,
            begin=0,
            end=0,
            arrays=len(arrays),
            dims=nothing,
            tasks=span(table),
            addresses=span(addresses),
            row_table=span(row_table),
        )
        if sharing is not None:
            launch = launch._replace(**sharing.fields(launches.calls(self.dtype).part))
        launch_table = np.array(integers_of(launch), np.int64)
        stage = LaunchStage(span(arrays[0]), span(launch_table), span(addresses))
        self.add(stage, table, addresses, launch_table, row_table, sharing, *arrays)

    def product(self, a: np.ndarray, b: np.ndarray, out: np.ndarray, packed: np.ndarray | None) -> None:
        """``out = a @ b`` of matrices with contiguous rows, or of the transpose of such an `a`.

        Parameters
        ----------
        packed : array
            Memory for `b`, of :func:`packed_elements`; None if `a` is transposed.
        """
        (m, k), n = a.shape, b.shape[1]
        if packed is None:
            left, right = Matrix(0, 0, row_stride(a.T)), Matrix(1, 0, row_stride(b))
            task = TransposedProduct(left, right, Matrix(2, 0, n), k, m, n, False)
            self.tasks([[task]], [a.T, b, out])
            return
        width = gemm.panel_width(self.dtype)
        columns = -(-n // width) * width
        clear = Clear(Vector(3, 0), columns * k)
        pack = Pack(Matrix(1, 0, row_stride(b)), Vector(3, 0), False, k, n, k, 0, 0)
        product = Product(Matrix(0, 0, row_stride(a)), Vector(3, 0), Matrix(2, 0, n), m, k, n, False)
        self.tasks([[clear], [pack], [product]], [a, b, out, packed])

    def products(
        self, a: np.ndarray, a_turned: bool, b: np.ndarray, b_turned: bool, out: np.ndarray, packed: np.ndarray
    ) -> None:
        """``out = a @ b`` of matrices side by side, (..., m, k) and (..., k, n); all are contiguous.

        Parameters
        ----------
        a_turned, b_turned : bool
            The matrices are given as their transposes.
        packed : array
            Memory for one of `b`, of :func:`packed_elements`.
        """
        m, n = out.shape[-2:]
        k = a.shape[-2] if a_turned else a.shape[-1]
        width = gemm.panel_width(self.dtype)
        tasks: list[Task] = []
        for i in range(out.size // (m * n)):
            left, right, target = Matrix(0, i * m * k, m if a_turned else k), i * k * n, Matrix(2, i * m * n, n)
            if a_turned and not b_turned:
                tasks.append(TransposedProduct(left, Matrix(1, right, n), target, k, m, n, False))
                continue
            source = Matrix(1, right, k if b_turned else n)
            tasks += [
                Clear(Vector(3, 0), -(-n // width) * width * k),
                Pack(source, Vector(3, 0), b_turned, k, n, k, 0, 0),
                Product(left, Vector(3, 0), target, m, k, n, False),
            ]
        self.tasks([[task] for task in tasks], [a, b, out, packed])

    def sum_rows(self, x: np.ndarray, out: np.ndarray) -> None:
        """``out = x.sum(axis=0)`` of a matrix with contiguous rows."""
        rows, columns = x.shape
        matrix = Matrix(0, 0, row_stride(x))
        self.tasks([[Clear(Vector(1, 0), columns)], [SumRows(matrix, Vector(1, 0), rows, columns)]], [x, out])

    # ---- sequences whose steps do not all count

    def segments(self, record: SegmentsStage, *keep: np.ndarray) -> None:
        """Find segments; `keep` are the arrays that the record tells of."""
        self.add(record, *keep)

    def steps(self, table: np.ndarray, dims: np.ndarray, head: int) -> None:
        """Write the rows before each step of a row table to the integers of a loop, behind `head` others."""
        self.add(StepsStage(span(table), span(dims), head), table, dims)

    # ---- integers

    def integers(self, op: IntegerOp, operands: Sequence[np.ndarray], out: np.ndarray, kind: np.dtype) -> None:
        """Compute integers of operands that broadcast to the shape of `out`; all are int64.

        Parameters
        ----------
        kind : dtype
            Of the results on the tape, whose range they are brought into.

        Raises
        ------
        CompileError
            If there are too many axes.
        """
        if not out.size:
            return
        operands = [*operands, *[operands[0]] * (3 - len(operands))]
        arrays = [np.broadcast_to(a, out.shape) for a in operands] + [out]
        shape, strides = _joined(*arrays)
        pad = AXES - len(shape)
        if pad < 0:
            raise CompileError(f"integers of {len(shape)} axes")
        lowest = [sum(min(0, (n - 1) * s[k]) for n, s in zip(shape, strides)) for k in range(4)]
        spans = []
        for a, low, k in zip(arrays, lowest, range(4)):
            most = sum(max(0, (n - 1) * s[k]) for n, s in zip(shape, strides))
            spans.append(Span(a.ctypes.data + low * a.itemsize, most - low + 1))
        flat = [[0] * pad + [s[k] for s in strides] for k in range(4)]
        shift = 64 - 8 * kind.itemsize if kind.kind in "iu" else 0
        firsts = [-low for low in lowest]
        sizes = [1] * pad + shape
        numbers: list[Any] = [*spans, op, shift, kind.kind == "i", *firsts, *sizes, *[n for s in flat for n in s]]
        self.add(IntegerStage._make(numbers), *operands, out)

    def copy_integers(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy integers between arrays of one shape, with any strides."""
        self.integers(IntegerOp.COPY, [source], target, target.dtype)

    def to_floats(self, source: np.ndarray, target: np.ndarray) -> None:
        """Make floats of contiguous integers."""
        self.add(ToFloatsStage(span(target), span(source)), source, target)

    def to_integers(self, source: np.ndarray, target: np.ndarray) -> None:
        """Make integers of contiguous floats that are whole."""
        self.add(ToIntegersStage(span(source), span(target)), source, target)

    # ---- look-ups

    def gather(self, table: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
        """``out = table[indices]`` of contiguous arrays; the indices are in range."""
        stage = GatherStage(span(table), span(out), span(indices), table.shape[-1])
        self.add(stage, table, indices, out)

    def scatter(self, rows: np.ndarray, indices: np.ndarray, padding: int, table: np.ndarray) -> None:
        """``table[indices] += rows`` of zeros, one row after the other, but for indices that are `padding`."""
        stage = ScatterStage(span(rows), span(table), span(indices), table.shape[-1], padding)
        self.add(stage, table, indices, rows)

    # ---- label sequences

    def ctc(self, record: CtcStage, *keep: np.ndarray) -> None:
        """Find losses of label sequences, or their gradient; `keep` are the arrays that the record tells of."""
        self.add(record, *keep)

    # ---- steps over a data set

    def feed(self, data: np.ndarray, out: np.ndarray, order: np.ndarray, step: np.ndarray) -> None:
        """Copy the next rows of `data`, in `order`, to `out`, contiguous or with time first."""
        rows, item = out.shape[0], out.itemsize
        pieces = (1, out.size // rows, out.size // rows, 0)
        if not out.flags.c_contiguous:
            times = out.shape[1]
            pieces = (times, out.size // (rows * times), out.strides[0] // item, out.strides[1] // item)
        target = Span(out.ctypes.data, out.size)
        record = (span(data), target, span(order), span(step), rows, *pieces)
        if data.dtype == self.dtype:
            self.add(FeedStage(*record), data, out, order, step)
        else:
            self.add(FeedIntegersStage(span(data), *record), data, out, order, step)

    def finite(self, array: np.ndarray, status: np.ndarray) -> None:
        """Set `status` if an array holds NaN or infinity."""
        self.add(FiniteStage(span(array), span(status)), array, status)

    def note(self, numbers: np.ndarray, norms: np.ndarray, step: np.ndarray) -> None:
        """Write the norm that :meth:`clip_norm` has found to the place of the step in `norms`."""
        nothing = Span(0, 0)
        self.add(NoteStage(nothing, span(numbers), span(norms), span(step)), numbers, norms, step)

    def options(self, table: np.ndarray, numbers: np.ndarray, step: np.ndarray) -> None:
        """Copy the row of the step in `table` to the `numbers` of an :meth:`update`; both are float64."""
        self.add(OptionsStage(Span(0, 0), span(table), span(numbers), span(step)), table, numbers, step)

    def record(self, loss: np.ndarray, losses: np.ndarray, step: np.ndarray) -> None:
        """Write a loss to the place of its step in `losses`, and count the step."""
        self.add(RecordStage(span(loss), span(losses), span(step)), loss, losses, step)

    # ---- updates of parameters

    def divide(self, array: np.ndarray, divisor: float) -> None:
        """Divide a contiguous array by a number, in place."""
        numbers = np.array([float(divisor)])
        self.add(DivideStage(span(array), span(numbers)), numbers, array)

    def clip_norm(self, arrays: Sequence[np.ndarray], largest: float) -> np.ndarray:
        """Scale contiguous arrays in place, so that their norm together is at most `largest`.

        Returns
        -------
        ndarray
            Its second number is, after each run, the norm before.
        """
        numbers = np.array([largest, 0.0])
        table = np.array([span(a) for a in arrays], np.int64).reshape(-1)
        self.add(ClipNormStage(span(arrays[0]), span(table), span(numbers)), table, numbers, *arrays)
        return numbers

    def clip_value(self, array: np.ndarray, largest: float) -> None:
        """Bring the elements of a contiguous array into a range around zero, in place."""
        numbers = np.array([float(largest)])
        self.add(ClipValueStage(span(array), span(numbers)), numbers, array)

    def update(self, kernel: str, arrays: Sequence[np.ndarray], numbers: np.ndarray, step: np.ndarray) -> None:
        """Update flat parameters by the kernel of an optimiser.

        Parameters
        ----------
        kernel : {"sgd", "adam", "rmsprop", "adagrad"}
        arrays : values, gradients and states
            As the kernel takes them.
        numbers : float64 array
            Its other arguments but for the number of the update; they may be written to between two runs.
        step : int64 array of one number
            How many updates there have been; each run counts.
        """
        kinds: dict[str, Any] = {"sgd": SgdStage, "adam": AdamStage, "rmsprop": RmspropStage, "adagrad": AdagradStage}
        spans = [span(a) for a in arrays]
        spans += [Span(0, 0)] * (5 - len(spans))
        self.add(kinds[kernel](*spans, span(numbers), span(step)), numbers, step, *arrays)


def packed_elements(k: int, n: int, dtype: np.dtype) -> int:
    """Elements of a packed matrix (k, n), with room for what is read beyond its end."""
    return gemm.packed_size(k, n, dtype) + gemm.panel_width(dtype)


def _joined(*arrays: np.ndarray) -> tuple[list[int], list[tuple[int, ...]]]:
    """The axes of arrays of one shape, joined where all are contiguous across them; strides in elements."""
    item = arrays[0].itemsize
    shape: list[int] = []
    strides: list[tuple[int, ...]] = []
    for n, *steps in zip(arrays[0].shape, *[a.strides for a in arrays]):
        each = tuple([s // item for s in steps])
        if n == 1:
            continue
        if shape and strides[-1] == tuple([n * s for s in each]):
            shape[-1], strides[-1] = shape[-1] * n, each
        else:
            shape.append(n)
            strides.append(each)
    return shape or [1], strides or [(1,) * len(arrays)]
