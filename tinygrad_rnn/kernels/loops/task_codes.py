"""Records of the tables that Python fills and jitted code reads, field by name; without Numba.

A record is a NamedTuple of integers, or of records of integers. In a table of int64 its integers lie one after the
other in the order of its fields: :func:`integers_of` gives them, :func:`.records.record_at` reads them in jitted code.

One file for all tables, though it is long: whoever fills a table and whoever reads it look here, and nowhere else.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, get_type_hints

Array = Any  # its name (str) in a plan, its number (int) in a table

# ---- operands


class Span(NamedTuple):
    """An array by address and number of elements."""

    address: int
    size: int


NOTHING = Span(0, 0)


class Vector(NamedTuple):
    """Elements of an array from `at` on."""

    array: Array
    at: int


class Matrix(NamedTuple):
    """Rows of an array: the first begins at element `at`, the next ones `ld` elements later each."""

    array: Array
    at: int
    ld: int


# ---- tasks before and after a loop


class Pack(NamedTuple):
    """Copies a rectangle of a matrix to (`row`, `column`) of a packed one, which has `depth` rows."""

    source: Matrix
    target: Vector  # where the packed matrix begins
    transposed: bool
    rows: int  # of the packed rectangle
    columns: int
    depth: int
    row: int
    column: int


class AddVector(NamedTuple):
    """Adds `size` elements."""

    source: Vector
    target: Vector
    size: int


class AddNumber(NamedTuple):
    """Adds one element to `size` others."""

    source: Vector
    target: Vector
    size: int


class CopyRows(NamedTuple):
    """Copies rows; the rest of each row of the target becomes zero."""

    source: Matrix
    target: Matrix
    rows: int
    columns: int


class Product(NamedTuple):
    """``target = source @ packed``, or ``+=``; rows behind the last step of the loop are left out."""

    source: Matrix
    packed: Vector
    target: Matrix
    rows: int
    depth: int
    columns: int
    accumulate: bool


class TransposedProduct(NamedTuple):
    """``target = source.T @ right``, or ``+=``, over `depth` rows, as far as the loop has so many."""

    source: Matrix
    right: Matrix
    target: Matrix
    depth: int
    rows: int
    columns: int
    accumulate: bool


class ScatterRows(NamedTuple):
    """Adds parts of rows to the rows of a table that numbers name, one after the other.

    A row of the source is so many parts, `stride` elements apart. Rows behind the last step of the loop are left out,
    and so are `padding` and what is no row of the table.
    """

    source: Matrix
    target: Matrix  # the table
    numbers: Matrix  # whole ones, `parts` in each row
    rows: int
    parts: int
    stride: int
    columns: int  # of a part
    table_rows: int
    padding: int


class SumRows(NamedTuple):
    """Adds the sum of rows to a vector; rows behind the last step of the loop are left out."""

    source: Matrix
    target: Vector
    rows: int
    columns: int


class AddRows(NamedTuple):
    """Adds rows to rows."""

    source: Matrix
    target: Matrix
    rows: int
    columns: int


class AddColumns(NamedTuple):
    """Adds columns of the source to rows of the target."""

    source: Matrix
    target: Matrix
    rows: int  # of the target
    columns: int


class MoveRows(NamedTuple):
    """Copies the rows that one section of the row table lists to those that another one lists.

    A row that goes to -1 is left out; `missing` says what becomes of one that comes from -1.
    """

    source: Matrix
    target: Matrix
    origin: int  # Section, or IN_ORDER
    destination: int
    columns: int
    missing: int  # Missing


class Clear(NamedTuple):
    """Sets `size` elements to zero."""

    target: Vector
    size: int


Task = (
    Pack | AddVector | AddNumber | CopyRows | Product | TransposedProduct | SumRows | AddRows | AddColumns | MoveRows
    | Clear | ScatterRows
)  # fmt: skip


class TaskKind(enum.IntEnum):
    """The first integer of a row of the task table; what follows is the record."""

    PACK = 0
    ADD_VECTOR = 1
    ADD_NUMBER = 2
    COPY_ROWS = 3
    PRODUCT = 4
    TRANSPOSED_PRODUCT = 5
    SUM_ROWS = 6
    ADD_ROWS = 7
    ADD_COLUMNS = 8
    MOVE_ROWS = 9
    CLEAR = 10
    SCATTER_ROWS = 11


KINDS: dict[type, TaskKind] = {
    Pack: TaskKind.PACK,
    AddVector: TaskKind.ADD_VECTOR,
    AddNumber: TaskKind.ADD_NUMBER,
    CopyRows: TaskKind.COPY_ROWS,
    Product: TaskKind.PRODUCT,
    TransposedProduct: TaskKind.TRANSPOSED_PRODUCT,
    SumRows: TaskKind.SUM_ROWS,
    AddRows: TaskKind.ADD_ROWS,
    AddColumns: TaskKind.ADD_COLUMNS,
    MoveRows: TaskKind.MOVE_ROWS,
    Clear: TaskKind.CLEAR,
    ScatterRows: TaskKind.SCATTER_ROWS,
}


class Missing(enum.IntEnum):
    """What :class:`MoveRows` does with a row that comes from -1."""

    ZERO = 0  # it becomes zero
    KEEP = 1  # it stays as it is
    ADD = 2  # the same, and the other rows are added to what is there


# ---- the row table: where the steps of sequences of different lengths lie


class Section(enum.IntEnum):
    """Sections of the row table, by the position in its header that says where each begins.

    How long the section is stands behind it. The first element of the table is the number of rows of all steps. What
    the sections hold is told in :func:`.segments.find_segments`.
    """

    LENGTH = 1
    BATCH_ROW = 3
    FIRST_STATE = 5
    FIRST_GRAD = 7
    INITIAL_ROW = 9
    RESET_ROW = 11
    FINAL_ROW = 13
    LAST_SEGMENT = 15
    FINAL_SLOT = 17
    FINAL_STATE = 19
    OFFSETS = 21
    PADDED_ROW = 23
    PACKED_ROW = 25
    PACKED_STATE = 27
    NEXT_STATE = 29


IN_ORDER = -1  # in place of a section: row after row
HEADER = 1 + 2 * len(Section)  # elements before the first section

# ---- a launch: tasks, a loop, and tasks again

DIRECT_ARRAYS = 10  # arrays that a call gives one by one


class Launch(NamedTuple):
    """What one call does: tasks ``first .. middle - 1``, the loop, tasks ``middle .. last - 1``.

    Behind it in the table comes, for each array of the loop after its integers, a :class:`Vector`: which array it is
    part of, and from which element on.
    """

    first: int
    middle: int
    last: int
    panel: int  # columns of a panel of a packed matrix
    loop: int  # its address
    begin: int  # it takes the rows begin .. end - 1
    end: int
    arrays: int  # how many there are
    dims: Span  # the loop's integers
    tasks: Span  # the task table
    addresses: Span  # a Span for each array; the first DIRECT_ARRAYS do not matter
    row_table: Span  # how many rows all steps have, as products and sums go no further; its sections, for MoveRows
    # Of launches that may be shared by threads, with the records of `..threads.job_codes`:
    phases: Span = NOTHING  # a Phase for each part
    groups: Span = NOTHING  # for each group of tasks, the first one and the one behind the last
    choices: Span = (
        NOTHING  # for each number of free threads, twice as many as are worth it, + 1 if they share each step
    )
    lengths: Span = NOTHING  # steps of each row, if they are not alike
    group: int = 1  # rows of the loop that have to be in one thread
    patience: int = 0  # pauses that waiting for a thread is worth, where threads share each step
    part: int = 0  # address of the C function of a worker's part
    board: int = 0  # where workers look for work


# ---- a step that is run only while arrays are what they were


class GuardedStep(NamedTuple):
    """One step per call. Behind it in the table come its watched arrays, its results and its states."""

    loop: int  # its address
    addresses: int  # of the table of its arrays
    rows: int
    itemsize: int  # bytes of a float
    phase: int  # which of `every` lines of the watched arrays were compared last
    every: int
    watched: int  # how many of each there are
    results: int
    states: int
    late: int = 0  # 1: new states become the present ones at the next step, which so far finds both
    turns: Span = NOTHING  # a Turn for each address that is another one in every other late step


class Watched(NamedTuple):
    """An array and its copy, in words of four bytes."""

    array: Span
    copy: Span


class Result(NamedTuple):
    """Rows of an output or a new state."""

    span: Span
    ld: int
    columns: int


class State(NamedTuple):
    """Rows of a new state, and those of the present one."""

    new: Span
    present: Span
    ld: int
    present_ld: int
    columns: int


class Turn(NamedTuple):
    """A word of a table that alternates between two values."""

    word: int  # its address
    difference: int  # of their bits


# ---- gradients that a step gives for each row


class GradientStep(NamedTuple):
    """A step whose results add to gradients. Behind it in the table come its parts."""

    step: int  # address of the table of its GuardedStep
    runs: int  # 0: only add
    parts: int


class GradientPart(NamedTuple):
    """To a rectangle of a gradient adds ``left.T @ right``, or the sum of rows that hold it."""

    left: Span
    left_ld: int
    right: Span  # NOTHING: `left` holds the rectangle
    right_ld: int
    target: Span
    ld: int
    rows: int
    columns: int


# What a guarded step tells: a watched array is another, so it was not run; it was run; results hold NaN or infinity, so
# the present state was kept. No enum: comparing with one takes longer than some steps do.
CHANGED, DONE, SUSPECT = range(3)


# ---- records as integers


def integers_of(record: Any) -> list[int]:
    """The integers of a record in the order in which they lie in a table."""
    out: list[int] = []
    for value in record:
        if isinstance(value, tuple):
            out += integers_of(value)
        else:
            out.append(int(value))
    return out


@functools.cache
def fields_of(kind: type) -> tuple[type | None, ...]:
    """For each field of a record its type if it is a record, None if it is an integer."""
    hints = get_type_hints(kind)
    return tuple(
        t if isinstance(t, type) and issubclass(t, tuple) else None
        for t in (hints[name] for name in kind._fields)  # type: ignore[attr-defined]
    )


@functools.cache
def size_of(kind: type) -> int:
    """Number of integers of a record."""
    return sum(1 if inner is None else size_of(inner) for inner in fields_of(kind))


def positions_of(kind: Any, start: int = 0) -> Any:
    """A record of this kind that holds the position of each integer, if it begins at `start`."""
    values: list[Any] = []
    for inner in fields_of(kind):
        values.append(start if inner is None else positions_of(inner, start))
        start += 1 if inner is None else size_of(inner)
    return kind(*values)


LAUNCH_SIZE = size_of(Launch)
LAUNCH_AT: Launch = positions_of(Launch)
STEP_PHASE: int = positions_of(GuardedStep).phase
STEP_TURNS: Span = positions_of(GuardedStep).turns
COLUMNS = 1 + max(map(size_of, KINDS))  # of the task table: the kind, then the longest record


def operands_of(task: Task) -> list[Vector | Matrix]:
    """The parts of arrays that a task reads or writes."""
    return [value for value in task if isinstance(value, Vector | Matrix)]


def with_arrays(task: Task, place: Callable[[Array, int], tuple[Array, int]]) -> Task:
    """The task with `place(array, at)` for the array and the offset of each operand."""

    def moved(value: Any) -> Any:
        if not isinstance(value, Vector | Matrix):
            return value
        array, at = place(value.array, value.at)
        return value._replace(array=array, at=at)

    return type(task)(*map(moved, task))
