"""Programs bound to arrays give what the interpreter gives, run after run, whatever their memory held before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.model import bind_loops
from tinygrad_rnn.compiler.model.interpret import evaluate
from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.compiler.model.pool import Pool
from tinygrad_rnn.errors import CompileError

from .programs import numbers, program_of


@pytest.fixture(autouse=True, params=[pytest.param("float32", marks=pytest.mark.slow), "float64"])
def dtype(request):
    tr.seed(0)
    tr.set_default_dtype(request.param)
    yield np.dtype(request.param)
    tr.set_default_dtype("float32")


def agree(dtype, function, *arrays):
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    program, _ = program_of(function, *arrays)
    captured = {uid: t.data for uid, t in program.captured.items()}
    native = NativeProgram(program, captured, dtype)
    for seed in (3, 4):
        other = [a * 0.5 if seed == 4 and a.dtype.kind == "f" else a for a in arrays]
        tr.seed(seed)
        wanted = evaluate(program, other, captured)
        for array in native.memory.arrays():
            array.fill(np.nan)
        tr.seed(seed)
        found = native.run(other)
        tolerance = 1e-12 if dtype == np.float64 else 2e-5
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return native


@pytest.mark.sampled(3)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_layer_with_a_head_and_a_loss(dtype, layer, batch_first):
    rnn, head = layer(3, 4, num_layers=2, bidirectional=True, batch_first=batch_first), nn.Linear(8, 2)
    agree(dtype, lambda x, t: nn.mse_loss(head(rnn(x)[0]), t), numbers(5, 4, 3), numbers(5, 4, 2, seed=1))


def test_the_last_step_of_a_layer_and_its_state(dtype):
    rnn, head = nn.LSTM(3, 4), nn.Linear(12, 2)

    def loss(x):
        ys, (h, c) = rnn(x)
        return (head(tr.concat([ys[-1], h[0], c[0]], axis=-1)) ** 2).mean()

    agree(dtype, loss, numbers(5, 4, 3))


def test_random_masks_are_drawn_anew_at_each_run(dtype):
    cell = nn.Zoneout(nn.VariationalDropout(nn.WeightDrop(nn.LSTMCell(3, 4), 0.4), 0.3, 0.2), 0.2)
    layer, drop = nn.Recurrent(cell), nn.Dropout(0.4)
    agree(dtype, lambda x: (drop(layer(x)[0]) ** 2).sum(), numbers(5, 4, 3))


def test_a_layer_that_is_wide_enough_for_arrays_of_its_own(dtype):
    rnn = nn.GRU(40, 96)
    native = agree(dtype, lambda x: (rnn(x)[0] ** 2).mean(), numbers(20, 16, 40))
    assert native.memory.allocated < 4_000_000


@pytest.mark.slow
def test_memory_is_used_again(dtype):
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)

    def deep(x):
        for _ in range(10):
            x = tr.tanh(second(tr.tanh(first(x))))
        return x.sum()

    native = agree(dtype, deep, numbers(100, 64))
    assert native.memory.allocated < 150 * 6400  # forward and backward loops have buffers besides


def test_slices_transposes_and_joins(dtype):
    a, b = nn.Linear(6, 4), nn.Linear(4, 6)

    def function(x):
        y = a(x).reshape(2, 3, 4)
        z = tr.concat([y[:, 1:], y[:, :1] * 2.0], axis=1).transpose(1, 0, 2)
        left, right = tr.split(z, 2, axis=-1)
        return (b(tr.stack([left, right], axis=2).reshape(6, 4)) ** 2).sum() + tr.flip(z, 0)[0].mean()

    agree(dtype, function, numbers(6, 6))


@pytest.mark.sampled(8)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_classes(dtype, reduction, smoothing, weighted):
    head = nn.Linear(6, 7)
    weight = np.linspace(0.5, 2, 7).astype(dtype) if weighted else None
    targets = np.array([[0, 6, -100, 3], [2, -100, 1, 1]], np.int32)

    def loss(x, t):
        return nn.cross_entropy(head(x), t, weight=weight, reduction=reduction, label_smoothing=smoothing).sum() * 3.0

    native = agree(dtype, loss, numbers(2, 4, 6), targets)
    assert native.stages.host == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_cross_entropy_where_another_dtype_is_the_default(dtype, reduction):
    head, targets = nn.Linear(3, 4), np.array([0, 3, 1])
    tr.set_default_dtype("float32" if dtype == np.float64 else "float64")
    native = agree(dtype, lambda x, t: nn.cross_entropy(head(x), t, reduction=reduction).sum(), numbers(3, 3), targets)
    assert native.stages.host == []
    agree(dtype, lambda x: (tr.where((targets > 0)[:, None], head(x), 1.0)).sum(), numbers(3, 3))


def test_a_single_element_of_an_array(dtype):
    w = nn.Parameter(numbers(2, 3).astype(dtype))
    native = agree(dtype, lambda x: (x * w)[1, -1] * 2.0, numbers(2, 3))
    assert native.stages.host == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("padding", [None, 2])
def test_rows_of_a_table_but_those_of_padding(dtype, padding):
    table, ids = nn.Embedding(5, 3, padding_idx=padding), np.array([[0, 2, 2], [4, 0, 1]], np.int32)
    native = agree(dtype, lambda i: (table(i) ** 2).sum(), ids)
    assert native.stages.host == []
    agree(dtype, lambda x: (table(ids) * x[..., None]).sum(), numbers(2, 3))  # that the function holds


def test_parameters_may_move_to_other_arrays_and_threads_share_a_program(dtype):
    rnn, head = nn.GRU(3, 4), nn.Linear(4, 2)
    program, _ = program_of(lambda x: (head(rnn(x)[0]) ** 2).sum(), numbers(5, 4, 3).astype(dtype))
    pool = Pool(program)
    xs = [numbers(5, 4, 3, seed=seed).astype(dtype) for seed in range(6)]

    def check(x):
        captured = {uid: t.data for uid, t in program.captured.items()}
        for a, b in zip(pool.run(pool.take(captured), [x]), evaluate(program, [x], captured), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    for x in xs:
        check(x)
        head.weight.data = head.weight.data * 1.5
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(check, xs * 5))


def test_floats_of_two_dtypes_are_not_for_stages(dtype):
    other = np.float32 if dtype == np.float64 else np.float64
    layer = nn.Linear(3, 2)
    program, _ = program_of(lambda x: layer(x).astype(other).sum(), numbers(4, 3).astype(dtype))
    with pytest.raises(CompileError, match="wanted one dtype"):
        Pool(program)


@pytest.mark.parametrize("padding", [None, 1])
def test_a_model_of_words(dtype, padding):
    table, rnn, head = nn.Embedding(7, 5, padding_idx=padding), nn.LSTM(5, 6), nn.Linear(6, 7)
    rng = np.random.default_rng(0)
    words, targets = rng.integers(0, 7, (4, 3)), rng.integers(0, 7, (4, 3)).astype(np.int32)
    native = agree(dtype, lambda x, t: nn.cross_entropy(head(rnn(table(x))[0]), t), words, targets)
    assert native.stages.host == []


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(5, 7), (60,)])
def test_regions_of_wide_rows_take_some_of_them_at_a_time(dtype, monkeypatch, shape, threads):
    head, before = nn.Linear(6, 37), tr.get_num_threads()
    targets = np.random.default_rng(0).integers(0, 37, shape)
    loss = lambda x, t: nn.cross_entropy(head(x), t) + head(x).sigmoid().mean()
    memory, found, x = [], [], numbers(*shape, 6).astype(dtype)
    tr.set_num_threads(threads)
    try:
        for wide in (1, 1 << 40):
            monkeypatch.setattr(bind_loops, "WIDE", wide)
            monkeypatch.setattr(bind_loops, "BLOCK", 8)
            native = agree(dtype, loss, x, targets)
            memory.append(sum(a.nbytes for a in native.memory.arrays()))
            found.append([np.array(a) for a in native.run([x, targets])])
    finally:
        tr.set_num_threads(before)
    assert memory[0] < memory[1]
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_rows_at_once():
    found = [bind_loops.rows_at_once(700, 20_000, threads) for threads in (1, 2, 64)]
    assert found == [70, 175, 700]
    assert bind_loops.rows_at_once(701, 20_000, 1) == 701  # a prime
    assert bind_loops.rows_at_once(700, 40, 1) == 700


def test_sums_and_operands_along_a_middle_axis(dtype):
    layer, scale = nn.Linear(3, 4), nn.Parameter(numbers(4, 1, 5).astype(dtype))

    def function(x, q):
        y = tr.tanh(x * scale) + scale * 2.0 - x.mean(axis=1, keepdims=True)
        return (y**2).sum() + tr.where(q > 0.5, layer(numbers(2, 6, 3, seed=1).astype(dtype)), -2.0).sum()

    assert agree(dtype, function, numbers(4, 6, 5), numbers(2, 1, 4)).stages.host == []


def test_products_of_matrices_side_by_side_and_what_surrounds_them(dtype):
    layer = nn.Linear(3, 4)

    def function(q, m):
        a, b = layer(q), layer(m)
        c = tr.matmul(a, b.swapaxes(-1, -2)) @ b
        d = tr.pad(tr.stack([c, a], axis=1), ((0, 0), (1, 0), (0, 0), (0, 2), (0, 0)), constant_values=1.5)
        return (d**2).sum() + (tr.matmul(a.swapaxes(-1, -2), a) ** 2).sum()

    assert agree(dtype, function, numbers(2, 3, 6, 3), numbers(3, 5, 3)).stages.host == []


@pytest.mark.slow
def test_attention_with_lengths(dtype):
    attention = nn.LuongAttention(3, 3)
    function = lambda q, m, n: (attention(q, m, n)[0] ** 2).sum()
    native = agree(dtype, function, numbers(4, 6, 3), numbers(4, 5, 3, seed=1), np.array([1, 5, 3, 2]))
    assert native.stages.host == []


def test_integers_that_are_computed(dtype):
    table, head = nn.Embedding(4, 3), nn.Linear(3, 4)

    def function(ids, mask):
        known = tr.where((ids < 0) | ~mask, 0, ids)
        rows = tr.maximum(tr.minimum(known % 4, 3), abs(ids) // 100) + np.arange(3) // 2 - np.arange(3) // 2
        targets = tr.concat([rows[:, 1:], rows[:, :1]], axis=1)
        return nn.cross_entropy(head(table(rows)), targets)

    ids = np.array([[-1, 2, 3], [5, 100, -7]], np.int8)
    native = agree(dtype, function, ids, np.array([[True, True, False], [True, True, True]]))
    assert native.stages.host == []


@pytest.mark.slow
def test_extrema_softmaxes_and_known_places_along_any_axis(dtype):
    w, ids = nn.Parameter(numbers(5, 3).astype(dtype)), np.array([0, 2, -2])

    def function(x):
        y = tr.softmax(x * w[0], axis=1) + tr.log_softmax(x * w[1], axis=0)
        z = tr.max(x * w[1], axis=(0, 1)) * tr.min(x * w[0], axis=0, keepdims=True)
        y = y + tr.logsumexp(x * w[2], axis=0, keepdims=True) + z + tr.embedding(w, ids % 3)
        places = (y[:, np.array([0, 2, 2, -1])] ** 2).sum() + y[np.array([0, 1]), np.array([1, -2])].sum()
        return places + y[np.tril(np.ones((3, 3), bool))].sum() + (w[ids] ** 2).sum()

    assert agree(dtype, function, numbers(3, 3, 3)).stages.host == []
