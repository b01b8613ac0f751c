"""In-place writes: an error where the graph still needs the old values, and only there."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.errors import GraphError, ShapeError


def leaf(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64), requires_grad=True)


def constant(values) -> tr.Tensor:
    return tr.tensor(np.asarray(values, np.float64))


WRITES = {
    "setitem": lambda t: t.__setitem__(0, 9.0),
    "slice": lambda t: t.__setitem__(slice(None), 9.0),
    "copy_": lambda t: t.copy_(np.full(t.shape, 9.0)),
    "fill_": lambda t: t.fill_(9.0),
    "zero_": lambda t: t.zero_(),
}
by_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@by_write
def test_overwritten_input(write):
    x, c = leaf([1.0, 2.0]), constant([3.0, 4.0])
    y = (x * c).sum()
    write(c)
    with pytest.raises(GraphError, match=r"a value that multiply \(shape \(2,\)\) saved was overwritten in place"):
        y.backward()


@by_write
def test_overwritten_leaf(write):
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    with tr.no_grad():
        write(x)
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()


@by_write
def test_overwritten_result(write):
    x = leaf([1.0, 2.0])
    h = tr.exp(x)
    y = h.sum()
    with tr.no_grad():
        write(h)
    with pytest.raises(GraphError, match="exp"):
        y.backward()


VIEWS = {
    "detach": lambda t: t.detach(),
    "slice": lambda t: t.detach()[1:],
    "transpose": lambda t: t.detach().T,
    "reshape": lambda t: t.detach().reshape(-1),
    "expand_dims": lambda t: tr.expand_dims(t.detach(), 0),
    "flip": lambda t: tr.flip(t.detach()),
    "unstack": lambda t: tr.unstack(t.detach())[0],
    "split": lambda t: tr.split(t.detach(), 2)[1],
    "iteration": lambda t: next(iter(t.detach())),
    "view of a view": lambda t: t.detach()[1:].T[0:1],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("computed", [False, True])
def test_write_through_a_view(view, computed):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    h = x * 1.0 if computed else x
    y = (h * h).sum()
    view(h).fill_(9.0)
    assert 9.0 in h.numpy()
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_write_to_the_base_of_a_saved_view(view):
    x, base = leaf(2.0), constant([[1.0, 2.0], [3.0, 4.0]])
    y = (x * view(base)).sum()
    base.zero_()
    with pytest.raises(GraphError, match="overwritten in place"):
        y.backward()


def test_write_through_tracked_views():
    """Views made on the tape share memory too."""
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    h = x * 1.0
    for part in (h[0], tr.unstack(h)[1], tr.split(h, 2)[0], h.T):
        y = (h * h).sum()
        with tr.no_grad():
            part.fill_(5.0)
        with pytest.raises(GraphError, match="overwritten in place"):
            y.backward()


def test_write_seen_by_second_gradients():
    x, c = leaf([1.0, 2.0]), constant([3.0, 4.0])
    h = tr.tanh(x)
    (g,) = tr.grad((h * h * c).sum(), x, create_graph=True)
    tr.grad(g.sum(), x, retain_graph=True)
    with tr.no_grad():
        h.zero_()
    with pytest.raises(GraphError, match="overwritten in place"):
        tr.grad(g.sum(), x)

    (g,) = tr.grad(tr.tanh(x * c).sum(), x, create_graph=True)
    c.zero_()
    with pytest.raises(GraphError, match="overwritten in place"):
        tr.grad(g.sum(), x)


def test_what_was_overwritten_is_named():
    x, c = leaf([1.0, 2.0]), constant([3.0, 4.0])
    y = (x * c).sum()
    c.zero_()
    with pytest.raises(GraphError, match=r"multiply \(shape \(2,\)\) .* \(its input 1, of shape \(2,\)\)"):
        y.backward()

    @tr.primitive(joint_vjp=lambda g, y, a, needs: (a * 0,), saves=(0,))
    def _two_results(a):
        return a * 1, a * 2

    a, _ = _two_results(x)
    with tr.no_grad():
        x.zero_()
    with pytest.raises(GraphError, match=r"a value that two_results saved was overwritten in place \(its input 0, of"):
        a.sum().backward()


# ---- writes that harm nobody


@by_write
def test_values_that_no_rule_reads(write):
    x, c = leaf([1.0, 2.0]), constant([3.0, 4.0])
    y = (x + c).sum()
    write(c)
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


@by_write
def test_writes_before_the_value_is_used(write):
    x, c = leaf([1.0, 2.0]), constant([3.0, 4.0])
    write(c)
    (x * c).sum().backward()
    assert x.grad.tolist() == c.tolist()


def test_copies_are_independent():
    x, base = leaf([1.0, 2.0]), constant([3.0, 4.0])
    copies = [
        lambda: base[[0, 1]],
        lambda: base[base > 0],
        lambda: tr.tensor(base),
        lambda: tr.concat([base]),
        lambda: tr.einsum("i->i", base),
    ]
    for copy in copies:
        y = (x * copy()).sum()
        base[0] = base[0] + 1.0
        y.backward()
    assert x.grad.tolist() == [3.0 + 4.0 + 5.0 + 6.0 + 7.0, 20.0]


def test_indices_may_be_reused():
    table, ids = leaf([[1.0], [2.0], [3.0]]), np.array([0, 2])
    as_tensor = tr.tensor(ids)
    for read in (lambda: tr.embedding(table, ids), lambda: table[ids], lambda: tr.take(table, ids, 0)):
        y = read().sum()
        ids[:] = 1
        y.backward()
        ids[:] = [0, 2]
    y = table[as_tensor].sum()
    as_tensor.fill_(1)
    y.backward()
    assert table.grad.tolist() == [[4.0], [0.0], [4.0]]


def test_parameters_may_be_updated_after_each_walk():
    w = leaf([1.0, 2.0])
    for _ in range(3):
        (w * w).sum().backward()
        with tr.no_grad():
            w.copy_(w - 0.1 * w.grad)
        w.grad = None
    np.testing.assert_allclose(w.numpy(), np.array([1.0, 2.0]) * 0.8**3)


# ---- writes that are refused at once


def test_writing_to_the_graph_itself():
    x, c = leaf([1.0, 2.0]), constant([1.0, 2.0])
    for t in (x, x * 2):
        with pytest.raises(GraphError, match=r"t\[index\] = value: this tensor is part of the graph"):
            t[0] = 1.0
        with pytest.raises(GraphError, match="fill_"):
            t.fill_(1.0)
    with pytest.raises(GraphError, match="the value requires gradients, which an in-place write loses"):
        c[0] = x[1]
    with pytest.raises(GraphError, match="copy_: the value requires gradients"):
        c.copy_(x)


def test_setitem_takes_tensors_and_arrays():
    t = constant(np.zeros((2, 3)))
    t[0] = np.arange(3)
    t[1, tr.tensor([0, 2])] = tr.tensor(np.array([5.0, 6.0]))
    t[t == 0] = -1
    assert t.tolist() == [[-1.0, 1.0, 2.0], [5.0, -1.0, 6.0]]


def test_copy_wants_the_same_shape():
    with pytest.raises(ShapeError, match=r"copy_: got shape \(2,\), wanted \(3,\)"):
        constant(np.zeros(3)).copy_(np.zeros(2))
