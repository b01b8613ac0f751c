"""The tasks before and after a loop against their NumPy twins, and the records that tables hold."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import config

from tinygrad_rnn.kernels.loops import task_codes
from tinygrad_rnn.kernels.loops.task_codes import (
    HEADER,
    IN_ORDER,
    KINDS,
    LAUNCH_AT,
    LAUNCH_SIZE,
    AddColumns,
    AddNumber,
    AddRows,
    AddVector,
    Clear,
    CopyRows,
    Launch,
    Matrix,
    Missing,
    MoveRows,
    Pack,
    Product,
    ScatterRows,
    Section,
    Span,
    SumRows,
    TaskKind,
    TransposedProduct,
    Vector,
    integers_of,
    operands_of,
    positions_of,
    size_of,
    with_arrays,
)
from tinygrad_rnn.kernels.reference import tasks as reference

from .jit import dtypes, needs_jit

SIZE = 4000  # elements of each array
ALL = np.array([1 << 40])


def execute(task, arrays, row_table, first=0, last=1):
    """The jitted task, by a table of one row."""
    from tinygrad_rnn.kernels.gemm import extern
    from tinygrad_rnn.kernels.loops.launches import calls
    from tinygrad_rnn.kernels.simd.lanes import lanes_of

    dtype = arrays[0].dtype
    table = np.zeros((1, task_codes.COLUMNS), np.int64)
    record = integers_of(task)
    table[0, : 1 + len(record)] = KINDS[type(task)], *record
    span = lambda a: Span(a.ctypes.data, a.size)
    addresses = np.array([span(a) for a in arrays]).ravel()
    panel = extern.tile.PANEL_VECTORS * lanes_of(dtype)
    launch = Launch(first, last, last, panel, 0, 0, 0, 0, Span(0, 0), span(table), Span(0, 0), span(row_table))
    calls(dtype).execute(np.array(integers_of(launch)), addresses, arrays[0])
    return panel


small, offsets, gaps = st.integers(0, 9), st.integers(0, 7), st.integers(0, 3)
widths = st.integers(1, 40)
truth = st.booleans()


@st.composite
def vectors(draw, array):
    return Vector(array, draw(offsets))


@st.composite
def matrices(draw, array, columns):
    return Matrix(array, draw(offsets), columns + draw(gaps))


@st.composite
def added(draw, kind):
    return kind(draw(vectors(0)), draw(vectors(1)), draw(widths))


@st.composite
def row_by_row(draw, kind):
    rows, columns = draw(small), draw(widths)
    return kind(draw(matrices(0, columns)), draw(matrices(1, columns)), rows, columns)


@st.composite
def packed(draw):
    rows, columns, row, column, transposed = draw(small), draw(widths), draw(small), draw(widths), draw(truth)
    source = draw(matrices(0, rows if transposed else columns))
    return Pack(source, draw(vectors(1)), transposed, rows, columns, row + rows + draw(gaps), row, column)


@st.composite
def products(draw):
    rows, depth, columns = draw(small), draw(small), draw(widths)
    operands = draw(matrices(0, depth)), draw(vectors(2)), Matrix(1, 0, columns + draw(gaps))
    return Product(*operands, rows, depth, columns, draw(truth))


@st.composite
def transposed_products(draw):
    depth, rows, columns = draw(small), draw(small), draw(widths)
    operands = draw(matrices(0, rows)), draw(matrices(2, columns)), draw(matrices(1, columns))
    return TransposedProduct(*operands, depth, rows, columns, draw(truth))


@st.composite
def sums_of_rows(draw):
    columns = draw(widths)
    return SumRows(draw(matrices(0, columns)), draw(vectors(1)), draw(small), columns)


@st.composite
def scattered(draw):
    count, columns = draw(st.integers(1, 3)), draw(widths)
    source, index = draw(matrices(0, count * columns)), draw(matrices(2, count))
    # the numbers are from -5 to 5: some are outside of the table, and one is the padding
    sizes = draw(small), count, columns, columns, draw(st.integers(1, 6)), draw(st.integers(-1, 5))
    return ScatterRows(source, draw(matrices(1, columns)), index, *sizes)


@st.composite
def added_columns(draw):
    rows, columns = draw(small), draw(widths)
    return AddColumns(draw(matrices(0, rows)), draw(matrices(1, columns)), rows, columns)


TASKS = {
    Pack: packed(),
    AddVector: added(AddVector),
    AddNumber: added(AddNumber),
    CopyRows: row_by_row(CopyRows),
    Product: products(),
    TransposedProduct: transposed_products(),
    SumRows: sums_of_rows(),
    ScatterRows: scattered(),
    AddRows: row_by_row(AddRows),
    AddColumns: added_columns(),
    Clear: st.builds(Clear, vectors(1), widths),
}


@needs_jit
@pytest.mark.parametrize("kind", TASKS, ids=lambda kind: kind.__name__)
@given(dtypes, st.integers(0, 2**32 - 1), st.integers(0, 12) | st.just(1 << 40), st.data())
def test_twins_agree(kind, dtype, seed, limit, data):
    """On whole numbers, so that the order of additions does not matter: every element of every array is compared."""
    task = data.draw(TASKS[kind])
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(-5, 6, SIZE).astype(dtype) for _ in range(3)]
    mine, its = [[a.copy() for a in arrays] for _ in range(2)]
    panel = execute(task, mine, np.array([limit]))
    reference.execute(task, its, np.array([limit]), panel)
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_jit
@pytest.mark.parametrize("missing", Missing)
@given(dtypes, widths, st.integers(0, 6), truth, truth, st.integers(0, 2**32 - 1))
def test_moving_rows(missing, dtype, columns, n, from_some, to_some, seed):
    """Rows with padding, from a section to another; -1 is as `missing` says."""
    if not (from_some or to_some):
        return
    rng = np.random.default_rng(seed)
    origin, destination = rng.integers(-1, 6, n), rng.permutation(np.r_[np.arange(6), -1])[:n]
    if missing == Missing.ADD:
        destination = rng.integers(-1, 6, n)  # several may be added to one
    row_table = np.concatenate([np.zeros(HEADER, np.int64), origin, destination])
    row_table[[0, Section.PADDED_ROW, Section.PADDED_ROW + 1]] = n, HEADER, n
    row_table[[Section.FINAL_ROW, Section.FINAL_ROW + 1]] = HEADER + n, n
    source, target = Matrix(0, 5, columns + 3), Matrix(1, 7, columns + 2)
    where = (Section.PADDED_ROW if from_some else IN_ORDER, Section.FINAL_ROW if to_some else IN_ORDER)
    task = MoveRows(source, target, *where, columns, missing)
    arrays = [rng.standard_normal(SIZE).astype(dtype) for _ in range(2)]
    mine, its = [[a.copy() for a in arrays] for _ in range(2)]
    execute(task, mine, row_table)
    reference.execute(task, its, row_table, 0)
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- calls by Python


def test_resolved_addresses():
    from tinygrad_rnn.kernels.loops.launches import calls

    arrays = [np.zeros((i + 1, 2)) for i in range(12)]  # the first ten are given, the others those of the launch
    dims, span = np.arange(3), lambda a: (a.ctypes.data, a.size)
    known = np.array([*[(0, 0)] * 10, *map(span, arrays[10:]), (0, 0)])
    nothing = Span(0, 0)
    launch = Launch(0, 0, 0, 0, 0, 0, 0, 13, Span(*span(dims)), nothing, Span(*span(known)), nothing)
    own = [Vector(3, 5), Vector(11, 7)]
    table = np.array([*integers_of(launch), *integers_of(own)])
    found = calls(arrays[0].dtype).resolve_addresses(table, *arrays[:10]).reshape(-1, 2)
    parts = [(arrays[i].ctypes.data + 8 * at, arrays[i].size - at) for i, at in own]
    wanted = [*map(span, arrays), (0, 0), span(dims), *parts]
    np.testing.assert_array_equal(np.delete(found, 12, 0), np.delete(wanted, 12, 0))


class Derived(np.ndarray):
    """Arrays of another type."""


def test_spans_of_arrays():
    from tinygrad_rnn.kernels.loops.launches import calls

    for array in (np.ones(()), np.ones((0, 3)), np.ones((2, 3, 4)), np.ones(5).view(Derived)):
        table = np.zeros(5, np.int64)
        calls(np.dtype(np.float32)).set_span(table, 2, array)
        assert table.tolist() == [0, 0, array.ctypes.data, array.size, 0]


@needs_jit
@pytest.mark.skipif(bool(config.BOUNDSCHECK), reason="then Python does it")
def test_what_is_no_array_is_refused():
    from tinygrad_rnn.kernels.loops.launches import calls

    functions, table = calls(np.dtype(np.float32)), np.zeros(2, np.int64)
    count = sys.getrefcount(table)
    for arguments in (
        (),
        (table,),
        (table, table, table),
        (table, None),
        (table, [1.0]),
        (3, table),
        (table, np.ndarray),
    ):
        with pytest.raises(TypeError):
            functions.write_span(*arguments)
    del arguments
    assert sys.getrefcount(table) == count


# ---- records


def test_every_kind_of_task_has_a_number_and_a_twin():
    assert {*KINDS} == {*task_codes.Task.__args__}
    assert sorted(KINDS.values()) == sorted(TaskKind)
    names = ["".join(word.title() for word in kind.name.split("_")) for kind in KINDS.values()]
    assert names == [record.__name__ for record in KINDS]
    for record in KINDS:
        assert reference._execute.dispatch(record) is not reference._execute.dispatch(object)


@pytest.mark.parametrize("kind", [*KINDS, Launch, task_codes.GuardedStep, task_codes.Result, task_codes.State])
def test_records_are_integers_in_the_order_of_their_fields(kind):
    record = positions_of(kind, start=3)
    assert integers_of(record) == list(range(3, 3 + size_of(kind)))


def test_positions_of_a_launch():
    assert LAUNCH_AT.first == 0
    assert LAUNCH_AT.board == LAUNCH_SIZE - 1


def test_operands_are_placed():
    task = CopyRows(Matrix("a", 1, 2), Matrix("b", 3, 4), 5, 6)
    assert operands_of(task) == [task.source, task.target]
    moved = with_arrays(task, lambda array, at: ({"a": 7, "b": 8}[array], at + 10))
    assert moved == CopyRows(Matrix(7, 11, 2), Matrix(8, 13, 4), 5, 6)


def test_sections_follow_each_other_in_the_header():
    assert [section.value for section in Section] == list(range(1, HEADER, 2))


def test_records_are_there_without_numba():
    code = "import sys; from tinygrad_rnn.kernels.loops import task_codes; print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
