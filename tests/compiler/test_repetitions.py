"""Steps that do something n times: one copy in the source, and the same numbers as n copies and as the tape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.codegen.addresses import AddressBook
from tinygrad_rnn.compiler.codegen.numba_loop import NumbaWriter
from tinygrad_rnn.compiler.codegen.repetitions import Least, Repetitions
from tinygrad_rnn.recurrent.explain import explain

from .agreement import agree

CELLS = {}  # name -> a step, the shapes of its states and of its parameters


def repeats(*states, **shapes):
    def add(step):
        CELLS[step.__name__] = step, states, shapes
        return step

    return add


class Repeating(nn.Cell):
    """Runs one of these steps, with `n` repetitions."""

    input_size = 4

    def __init__(self, name, n):
        rng = np.random.default_rng(0)
        self.name, self.n = name, n
        for key, shape in CELLS[name][2].items():
            setattr(self, key, nn.Parameter(rng.normal(size=shape) * 0.3))

    def initial_state(self, batch_size):
        return [tr.zeros((batch_size, *row), "float64") for row in CELLS[self.name][1]]

    def step(self, x, state):
        return CELLS[self.name][0](self, x, *state)


@repeats((5,), u=(4, 5), w=(5, 5), b=(5,), tau=(5,))
def equation(c, x, h):
    """A captured value of the step, a matrix, a bias and a vector, of which all get gradients."""
    u = x @ c.u
    h = tr.repeat(c.n, lambda s: s + 0.1 * (tr.tanh(u + s @ c.w + c.b) - s * c.tau), h)
    return h, [h]


@repeats((5,), (5,), u=(4, 5), w=(5, 5))
def of_a_pair(c, x, h, v):
    u = x @ c.u
    h, v = tr.repeat(c.n, lambda s: (s[0] + 0.1 * s[1], s[1] + 0.1 * (tr.sin(s[0]) @ c.w - s[1] * u)), (h, v))
    return h + v, [h, v]


@repeats((5,), u=(4, 5), b=(5,), tau=(5,))
def without_products(c, x, h):
    u = x @ c.u
    h = tr.repeat(c.n, lambda s: s + 0.1 * (tr.tanh(u + s * c.b) - s * c.tau), h)
    return h, [h]


@repeats((5,), u=(4, 5), w=(5, 5))
def normalised(c, x, h):
    def f(s):
        z = tr.tanh(s @ c.w + x @ c.u)
        return (z - z.mean(-1, keepdims=True)) / tr.sqrt(z.var(-1, keepdims=True) + 0.1)

    h = tr.repeat(c.n, f, h)
    return h, [h]


@repeats((5,), u=(4, 5), k=(4, 15))
def attention(c, x, h):
    keys, u = (x @ c.k).reshape((-1, 3, 5)), x @ c.u

    def f(q):
        shares = tr.softmax((keys * q[:, None, :]).sum(2), -1)
        return (shares[:, :, None] * keys).sum(1) + 0.5 * tr.tanh(q + u)

    h = tr.repeat(c.n, f, h)
    return h, [h]


@repeats((5,), u=(4, 5), w=(5, 5))
def shares(c, x, h):
    """Exponentials and their sums are kept for the backward loop, which divides."""
    u = x @ c.u
    h = tr.repeat(c.n, lambda s: 0.5 * s + tr.softmax(s @ c.w + u, -1), h)
    return h, [h]


@repeats((3, 3), u=(4, 3), w=(3, 3))
def of_a_matrix(c, x, m):
    k = x @ c.u

    def f(m):
        e = tr.einsum("bij,bi->bj", m, k)
        return tr.tanh(m - 0.2 * k[:, :, None] * e[:, None, :] + 0.1 * tr.einsum("bij,jk->bik", m, c.w))

    m = tr.repeat(c.n, f, m)
    return m.sum(1), [m]


@repeats((5,), u=(4, 5), w=(5, 5), v=(5, 5))
def nested(c, x, h):
    u = x @ c.u

    def outer(s):
        z = s @ c.v
        return tr.repeat(c.n - 3, lambda t: tr.tanh(t @ c.w + z) + 0.1 * u, s)

    h = tr.repeat(c.n - 2, outer, h)
    return h, [h]


@repeats((5,), u=(4, 5), w=(5, 5))
def a_loop_of_python(c, x, h):
    for _ in range(c.n):
        h = tr.tanh(h @ c.w + x @ c.u)
    return h, [h]


def arguments(name, batch=3, time=3):
    rng = np.random.default_rng(1)
    draw = lambda *shape: tr.tensor(rng.normal(size=shape), requires_grad=True)
    return draw(time, batch, 4), [draw(batch, *row) for row in CELLS[name][1]]


def sources(cell):
    """Generated sources without their heads."""
    loops = explain(cell).cells[0].step.loops
    return [loop.source.partition("@translated\n")[2] for loop in loops]


CHEAP = ("equation", "nested", "without_products")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("n", [6, pytest.param(8, marks=pytest.mark.slow), pytest.param(17, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(k, marks=() if k in CHEAP else pytest.mark.slow) for k in CELLS])
def test_as_on_the_tape(name, n):
    agree(Repeating(name, n), *arguments(name), tol=1e-11)


HOW = [
    {"lengths": [2, 0, 3]},
    {"resets": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], bool)},
    {"mask": np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)},
    {"checkpoint_every": 2},
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("name", "how"),
    [pytest.param(k, how, marks=() if k == "equation" else pytest.mark.slow) for k in CELLS for how in HOW],
)
def test_of_rows_that_end_early(name, how):
    agree(Repeating(name, 6), *arguments(name), tol=1e-11, **how)


def test_threads_give_the_same():
    x, state = arguments("equation", 40)
    before = tr.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            tr.set_num_threads(threads)
            found.append(agree(Repeating("equation", 6), x, state, tol=1e-11))
    finally:
        tr.set_num_threads(before)
    for one, two in zip(*(results + grads for results, grads in found)):
        np.testing.assert_array_equal(one, two)


def test_a_stepper():
    cell = Repeating("equation", 6)
    x, _ = arguments("equation")
    layer = nn.Recurrent(cell)
    ys, _ = layer(x)
    stepper = layer.stepper(batch_size=3)
    for t in range(3):
        np.testing.assert_allclose(stepper(x[t].numpy()), ys[t].numpy(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", ["equation", "normalised", "of_a_matrix", "a_loop_of_python", "shares"])
def test_sources_do_not_grow(name):
    few, more = ([text.count("\n") for text in sources(Repeating(name, n))] for n in (16, 28))
    assert few == pytest.approx(more, abs=3)  # all but the integers that a first or a last repetition takes
    once = [text.count("\n") for text in sources(Repeating(name, 2))]
    assert sum(more) < 4 * sum(once)


def test_nested_repetitions_are_loops_in_a_loop():
    for text in sources(Repeating("nested", 9)):
        depths = [len(line) - len(line.lstrip()) for line in text.splitlines() if line.lstrip().startswith("for turn")]
        assert len(set(depths)) > 1


@pytest.mark.slow
def test_matrices_are_packed_once(monkeypatch):
    from tinygrad_rnn.compiler.codegen.layout import Layout

    sizes = []
    load = Layout.load
    monkeypatch.setattr(Layout, "load", lambda self: sizes.append((self.name, self.packing.size)) or load(self))
    for n in (6, 7):
        nn.Recurrent(Repeating("equation", n))(*arguments("equation"))[0].sum().backward()
    found = sorted(set(sizes))
    assert len(found) == len({name for name, _ in found}), found


# ---- the text alone: rolled text does what the text did


def fake_book():
    """An address book without a schedule, with integers ``at_0``, ``at_1``, ..."""
    book = AddressBook.__new__(AddressBook)
    book.ints, book.int_names, book.keys, book.counts = [], {}, {}, {}
    book.starts, book.row_codes, book.named, book.assigned = {}, {}, set(), {}
    book.repeated, book.repeated_at = [], []
    book.named_buffers = set()
    return book


def run_text(lines, book, values):
    """What these lines store, as Python runs them; integers are those of the book."""
    where = {
        key: 100 + 7 * i for i, key in enumerate(dict.fromkeys(k for k in book.ints if k[0] == "size" and len(k) == 3))
    }

    def integer_of(key):
        if key[0] == "repeats":
            return book.repeated_at[key[1]]
        return key[1] if key[2] == "repeats" else where[key]

    dims = [integer_of(key) for key in book.ints]
    stored = []
    names = {
        "integer": lambda dims, i: dims[i],
        "dims": dims,
        "store": lambda at, x: stored.append((at, x)),
        **{name: integer_of(key) for key, name in book.int_names.items()},
        **values,
    }
    exec("\n".join(lines), names)
    return stored


@st.composite
def repetitions(draw):
    """Lines that repeat each other, or nearly so, with others around; and whether they surely are repetitions."""
    times = draw(st.integers(2, 7))
    size = draw(st.integers(1, 5))
    sure = draw(st.booleans())
    template = []
    for i in range(size):
        kinds = ["before", "outside", *(["own"] if i else [])]
        operands = [
            (kind, draw(st.integers(0, i - 1 if kind == "own" else size - 1)))
            for kind in (draw(st.sampled_from(kinds)) for _ in range(2))
        ]
        template.append((operands, draw(st.sampled_from(["", "same", "each"]))))
    last = draw(st.integers(0, size - 1))
    return times, template, last, sure, draw(st.randoms(use_true_random=False))


@settings(max_examples=150, deadline=None)
@given(repetitions())
def test_rolled_text_does_the_same(case):
    times, template, last, sure, rng = case
    book, writer = fake_book(), NumbaWriter(4)
    outside = {f"c{i}": rng.uniform(-1, 1) for i in range(len(template))}
    before = [book.unique(f"first{i}") for i in range(len(template))]
    lines = [f"{name} = {rng.uniform(-1, 1)}" for name in before]
    everything = [before]
    for k in range(times):
        own = []
        for i, (operands, stores) in enumerate(template):
            names = []
            for kind, j in operands:
                if not sure and k and rng.random() < 0.05:  # something else, from anywhere
                    names.append(rng.choice(rng.choice(everything)))
                else:
                    names.append({"own": own, "before": everything[-1], "outside": list(outside)}[kind][j])
            own.append(book.unique(f"v{k}_{i}"))
            lines.append(f"{own[-1]} = 0.5 * {names[0]} - {names[1]} * 0.25")
            if stores:
                number = k if stores == "each" else 0
                at = book.int("size", number, f"of {i if sure or rng.random() < 0.9 else -1}")
                lines.append(f"store({at}, {own[-1]})")
        everything.append(own)
    lines.append(f"store(1, {everything[-1][last] if sure else rng.choice(rng.choice(everything))})")
    keys = list(book.ints)
    wanted = run_text(lines, book, outside)
    assert book.ints == keys
    parts = Repetitions(book, writer).roll([[line] for line in lines], Least(3, 4))
    rolled = [line for part in parts for line in part]
    for table in book.repeated:
        book.repeated_at.append(len(book.ints))
        book.ints += table
    assert run_text(rolled, book, outside) == wanted
    if sure and times > 5:
        assert any(line.startswith("for turn") for line in rolled)


def test_what_is_not_the_same_stays():
    book, writer = fake_book(), NumbaWriter(4)
    names = [book.unique(f"v{i}") for i in range(20)]
    parts = [[f"{names[i]} = {names[i - 1]} + {names[i // 2]}"] for i in range(2, 20)]  # from ever further before
    assert Repetitions(book, writer).roll(parts, Least(3, 1)) == parts
    parts = [[f"store({name}, 1)", f"store({other}, 2)"] for name, other in zip(names, "abcdefghi")]
    assert Repetitions(book, writer).roll(parts, Least(3, 1)) == parts
