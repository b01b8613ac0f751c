"""Loops keep to their buffers, whatever lies beside them, who calls them and with how many threads."""

import threading

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.compiler.runtime import buffer_pool, executable, launch, sharing, trials
from tinygrad_rnn.errors import DTypeError, ShapeError
from tinygrad_rnn.kernels.threads.job_codes import GROUPS
from tinygrad_rnn.recurrent import scan

from ..recurrent.by_hand import some_steps
from .agreement import agree, leaves_of, loss_of, run
from .corner_cells import BY_NAME, CASES

LSTM = BY_NAME["peephole_lstm"]


class Poison:
    """NumPy, but fresh memory holds NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype=float):
        return np.full(shape, np.nan, dtype) if np.dtype(dtype).kind == "f" else np.empty(shape, dtype)


@pytest.fixture
def poisoned(monkeypatch):
    monkeypatch.setattr(buffer_pool, "np", Poison())
    monkeypatch.setattr(executable, "np", Poison())
    monkeypatch.setattr(buffer_pool, "KEPT", 0)  # nothing is used again


@pytest.mark.sampled(27)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_poisoned_memory(case, poisoned):
    """What nobody has written is never read, in padding nor anywhere else."""
    agree(case.cell(), case.sequences(3, 2), case.states(2))
    agree(case.cell(), case.sequences(2, 7), case.states(7))
    agree(case.cell(), case.sequences(5, 6), case.states(6), **some_steps(5, 6)["all"])
    agree(case.cell(), case.sequences(5, 6), case.states(6), reverse=True, **some_steps(5, 6)["lengths"])


@pytest.mark.sampled(12)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_used_memory(case):
    """Buffers of the call before, of other values, do not show."""
    cell = case.cell()
    first = run(cell, case.sequences(3, 2), case.states(2), "compiled")
    run(cell, case.sequences(3, 2, seed=7), case.states(2, seed=8), "compiled")
    again = run(cell, case.sequences(3, 2), case.states(2), "compiled")
    for a, b in zip([*first[0], *first[1]], [*again[0], *again[1]]):
        if a is not None:
            np.testing.assert_array_equal(a, b)


def test_results_are_not_overwritten():
    """Outputs, states and gradients that are still held survive later calls."""
    cell = LSTM.cell()
    held = run(cell, LSTM.sequences(3, 2), LSTM.states(2), "compiled")
    before = [a.copy() for a in (*held[0], *held[1])]
    for seed in range(5, 12):
        run(cell, LSTM.sequences(3, 2, seed=seed), LSTM.states(2, seed=seed), "compiled")
        run(cell, LSTM.sequences(3, 2, seed=seed), LSTM.states(2, seed=seed), "compiled", lengths=[2, 3])
    for a, b in zip((*held[0], *held[1]), before):
        np.testing.assert_array_equal(a, b)
    held = run(cell, LSTM.sequences(3, 2), LSTM.states(2), "compiled", lengths=[2, 3])
    before = [a.copy() for a in (*held[0], *held[1])]
    for seed in range(5, 12):
        run(cell, LSTM.sequences(3, 2, seed=seed), LSTM.states(2, seed=seed), "compiled", lengths=[3, 1])
    for a, b in zip((*held[0], *held[1]), before):
        np.testing.assert_array_equal(a, b)


def test_inputs_that_are_not_contiguous():
    cell = LSTM.cell()
    rng = np.random.default_rng(0)
    data, state = rng.uniform(-1, 1, (3, 8, 6)), rng.uniform(-1, 1, (10, 6))
    views = data[:, ::2, ::2].transpose(1, 0, 2), data[::-1, :4, 1:4].transpose(1, 0, 2)
    for view in views:
        xs = tr.tensor(np.zeros(1))
        xs.data = view  # as slicing a tensor gives it
        h, c = tr.tensor(state[:5].T[:3].copy()), tr.tensor(np.zeros((3, 5)))
        h.data, c.data = state[:6:2, :5], np.broadcast_to(state[0, :5], (3, 5))
        agree(cell, xs, (h, c))


def test_arrays_and_other_dtypes_are_cast_as_on_the_tape():
    cell = BY_NAME["ugrnn"].cell(dtype="float32")
    xs = np.random.default_rng(0).uniform(-1, 1, (4, 3, 3))
    ys = [scan(cell, xs, mode=mode)[0] for mode in ("compiled", "eager")]
    assert ys[0].dtype == ys[1].dtype == np.float32
    np.testing.assert_allclose(ys[0].numpy(), ys[1].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["peephole_lstm", "indrnn", "extrema", "softmax_inside", "masked_counter"])
def test_nan_and_infinities_flow_as_on_the_tape(name, value):
    case = BY_NAME[name]
    xs = case.sequences(4, 3)
    leaves_of(xs)[0].data[1, 2, 0] = value
    found = []
    with np.errstate(all="ignore"):
        for mode in ("compiled", "eager"):
            results, grads = run(case.cell(), xs, case.states(3), mode)
            found.append([*results, *grads])
    for a, b in zip(*found):
        if a is not None and b is not None:
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    clean = [r for r in found[0][: len(leaves_of(*scan(case.cell(), xs, case.states(3))))] if r.ndim > 1]
    assert all(np.isfinite(r[..., :2, :]).all() for r in clean if r.ndim == 3), "other rows are not touched"


@pytest.mark.sampled(6)
@pytest.mark.parametrize("batch", [7, 37])  # each row has sums of its own, or a few share them
@pytest.mark.parametrize("name", ["peephole_lstm", "row_statistics", "variational_dropout", "two_rnns", "scalars"])
def test_bits_do_not_depend_on_threads(name, batch, shared):
    case, found = BY_NAME[name], []
    for n in (1, 2, 3):
        tr.set_num_threads(n)
        results, grads = run(case.cell(), case.sequences(5, batch), case.states(batch), "compiled")
        found.append([*results, *grads])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)
    results, grads = run(case.cell(), case.sequences(5, batch), case.states(batch), "eager")
    for a, b in zip(found[0], [*results, *grads]):
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("name", [*BY_NAME])
def test_what_threads_share_may_be_done_in_any_order(name, monkeypatch, threads_as_before):
    """Piece by piece from the last to the first, over more rows than one piece has."""

    def backwards(*args):
        found = sharing.share(*args)
        if found is None:  # one thread checks
            return None
        groups = found.groups.reshape(-1, 2)
        for kind, first, last in found.phases.reshape(-1, 3):
            if kind == GROUPS:
                groups[first:last] = groups[first:last][::-1].copy()
        return found

    monkeypatch.setattr(sharing, "WORTH", 0.0)
    monkeypatch.setattr(sharing, "_choices", lambda *_: [2, 2, 4])
    monkeypatch.setattr(launch, "share", backwards)
    monkeypatch.setattr(trials.Trials, "next_is_shared", lambda self: True)
    tr.set_num_threads(2)
    case, found = BY_NAME[name], []
    for mode in ("compiled", "eager"):
        results, grads = run(case.cell(), case.sequences(13, 40), case.states(40), mode)
        found.append([*results, *grads])
    for a, b in zip(*found):
        if a is not None and b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_several_threads_call_one_cell():
    """From the first call on: tracing, compiling and running at once."""
    case = BY_NAME["two_lstms"]
    cell = case.cell()
    batches = (2, 3, 2, 5)
    wanted = [run(cell, case.sequences(3, n, seed=s), case.states(n, seed=s), "eager") for s, n in enumerate(batches)]
    found, errors = {}, []

    def work(i):
        try:
            for _ in range(5):
                xs, state = case.sequences(3, batches[i], seed=i), case.states(batches[i], seed=i)
                results = leaves_of(*scan(cell, xs, state, mode="compiled"))
                grads = tr.grad(loss_of(results), [xs, *leaves_of(state), *cell.parameters()])
                found[i] = [r.numpy() for r in results], [g.numpy() for g in grads]
        except Exception as error:  # reported below, in the main thread
            errors.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not errors, errors
    for i in range(4):
        for mine, theirs in zip(found[i], wanted[i]):
            for a, b in zip(mine, theirs):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


BAD = [
    ("features", lambda: (np.zeros((4, 3, 2)), None), ShapeError),
    ("rank", lambda: (np.zeros((4, 3)), None), ShapeError),
    ("no time", lambda: (np.zeros((0, 3, 3)), None), ShapeError),
    ("no rows", lambda: (np.zeros((4, 0, 3)), None), ShapeError),
    ("state rows", lambda: (np.zeros((4, 3, 3)), (np.zeros((2, 5)), np.zeros((3, 5)))), ShapeError),
    ("state width", lambda: (np.zeros((4, 3, 3)), (np.zeros((3, 5)), np.zeros((3, 6)))), ShapeError),
    ("state structure", lambda: (np.zeros((4, 3, 3)), np.zeros((3, 5))), ShapeError),
    ("dtype", lambda: (tr.tensor(np.zeros((4, 3, 3)), dtype="float32"), None), DTypeError),
]


@pytest.mark.parametrize(("arguments", "error"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_arguments_are_rejected_as_on_the_tape(arguments, error):
    messages = []
    for mode in ("compiled", "auto", "eager"):
        with pytest.raises(error) as caught:
            scan(LSTM.cell(), *arguments(), mode=mode)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1


def test_tracing_leaves_the_draws_of_other_threads_alone():
    """It neither rewinds the common generator nor takes their numbers for the cell's own."""
    tr.seed(0)
    wanted = [float(tr.randn(()).numpy()) for _ in range(3000)]
    tr.seed(0)
    found, done = [], threading.Event()

    def draw():
        while not done.is_set() or len(found) < 3000:
            found.append(float(tr.randn(()).numpy()))

    other = threading.Thread(target=draw)
    other.start()
    for seed in range(5):
        for name in ("peephole_lstm", "ugrnn"):
            case = BY_NAME[name]
            scan(case.cell(seed=seed), case.sequences(2, 2), case.states(2), mode="compiled")
    done.set()
    other.join()
    assert found[:3000] == wanted
