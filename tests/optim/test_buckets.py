"""Flat buffers: parameters that are replaced, cast, copied, tied; and what is refused."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.errors import CheckpointError, DTypeError, GraphError, ShapeError
from tinygrad_rnn.optim.buckets import LARGE

SHAPES = [(2, 3), (3,), (), (0, 4)]


def parameters(shapes=SHAPES, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [tr.tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in shapes]


def pull(params, target=1.0):
    """Gradients towards `target`."""
    for p in params:
        p.grad = tr.tensor(p.data - np.asarray(target, p.dtype))


def steps(optimizer, params, n=3):
    for _ in range(n):
        pull(params)
        optimizer.step()
    return [p.data.copy() for p in params]


def test_parameters_are_views_of_one_buffer():
    params = parameters()
    optimizer = optim.Adam(params)
    steps(optimizer, params, 1)
    bases = {id(p.data.base) for p in params}
    assert len(bases) == 1
    addresses = [p.data for p in params]
    steps(optimizer, params, 2)
    assert all(a is p.data for a, p in zip(addresses, params))


def test_two_dtypes_in_one_group():
    params = [*parameters([(3,), (2, 2)]), *parameters([(3,), (2, 2)], np.float32)]
    optimizer = optim.Adam(params, lr=0.1)
    expected = steps(optim.Adam(twin := parameters([(3,), (2, 2)]), lr=0.1), twin)
    out = steps(optimizer, params)
    assert [p.dtype for p in params] == [np.float64, np.float64, np.float32, np.float32]
    for i in range(2):
        np.testing.assert_array_equal(out[i], expected[i])
        np.testing.assert_allclose(out[i + 2], expected[i], rtol=1e-5)


@pytest.mark.parametrize("shapes", [SHAPES, [(LARGE,), (3,)]])
def test_replaced_values_are_taken_over(shapes):
    params, twins = parameters(shapes), parameters(shapes)
    optimizer, other = optim.Adam(params, lr=0.1), optim.Adam(twins, lr=0.1)
    steps(optimizer, params)
    steps(other, twins)
    for p, q in zip(params, twins):
        new = np.random.default_rng(5).normal(size=p.shape)
        p.data = new.copy()  # another array
        with tr.no_grad():
            q.copy_(new)  # in place
    for a, b in zip(steps(optimizer, params), steps(other, twins)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shapes", [SHAPES, [(LARGE,), (3,)]])
def test_a_cast_keeps_the_state(shapes):
    params, twins = parameters(shapes, np.float32), parameters(shapes, np.float64)
    optimizer, other = optim.Adam(params, lr=0.1), optim.Adam(twins, lr=0.1)
    steps(optimizer, params)
    for p in params:
        p.data = p.data.astype(np.float64)
        p.grad = None
    steps(other, twins)
    for a, b in zip(steps(optimizer, params), steps(other, twins)):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert {s["step"] for s in optimizer.state_dict()["state"].values()} == {6}


def test_a_new_shape_is_refused_once_there_is_a_state():
    params = parameters()
    optimizer = optim.Adam(params)
    params[0].data = np.zeros((4, 4))
    steps(optimizer, params)  # before the first step it is fine
    params[0].data = np.zeros((5, 4))
    pull(params)
    with pytest.raises(ShapeError, match=r"params\[0\].*\(5, 4\).*\(4, 4\)"):
        optimizer.step()


def test_a_gradient_that_does_not_fit_updates_nothing():
    params = parameters()
    optimizer = optim.SGD([{"params": params[:2]}, {"params": params[2:]}], lr=0.1)
    steps(optimizer, params, 1)
    before = [p.data.copy() for p in params]
    pull(params)
    params[2].grad = tr.tensor(np.zeros(2))
    with pytest.raises(ShapeError, match=r"params\[0\] of group 1.grad: got shape \(2,\), wanted \(\)"):
        optimizer.step()
    pull(params)
    params[1].grad = tr.tensor(np.zeros(3, np.float32))
    with pytest.raises(DTypeError, match=r"params\[1\].grad: got float32, wanted float64"):
        optimizer.step()
    for p, b in zip(params, before):
        np.testing.assert_array_equal(p.data, b)


def test_large_parameters_refuse_gradients_that_do_not_fit():
    (p,) = parameters([(LARGE, 1)])
    optimizer = optim.SGD([p])
    p.grad = tr.tensor(np.zeros((1, LARGE)))
    with pytest.raises(ShapeError, match="grad: got shape"):
        optimizer.step()
    p.grad = tr.tensor(np.zeros((LARGE, 1), np.float32))
    with pytest.raises(DTypeError, match="got float32"):
        optimizer.step()


@pytest.mark.parametrize("shape", [(6, 4), (LARGE // 4, 8)])
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2], "read-only"])
def test_gradients_of_any_layout(shape, layout):
    (p,), (q,) = parameters([shape]), parameters([shape])
    gradient = np.random.default_rng(1).normal(size=shape)
    q.grad = tr.tensor(gradient)
    if layout == "read-only":
        gradient.flags.writeable = False
        p.grad = tr.as_tensor(gradient)
    else:
        p.grad = tr.tensor(gradient)
        p.grad.data = layout(gradient)
    for t in (p, q):
        optim.Adam([t]).step()
    np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("shape", [(6, 4), (LARGE // 4, 8)])
def test_parameters_of_any_layout(shape):
    (p,), (q,) = parameters([shape]), parameters([shape])
    p.data = np.asfortranarray(p.data)
    q.data.flags.writeable = False
    for t in (p, q):
        optimizer = optim.Adam([t])
        steps(optimizer, [t])
    np.testing.assert_array_equal(p.data, q.data)


def test_two_optimizers_on_the_same_parameters():
    params, twins = parameters(), parameters()
    pair = optim.Adam(params, lr=0.1), optim.Adam(params, lr=0.1)
    one = optim.Adam(twins, lr=0.1)
    for optimizer in pair * 3:
        steps(optimizer, params, 1)
    assert np.isfinite(params[0].data).all()
    # each has seen every other step
    assert {s["step"] for o in pair for s in o.state_dict()["state"].values()} == {3}
    steps(one, twins, 1)
    fresh = parameters()
    steps(optim.Adam(fresh, lr=0.1), fresh, 1)
    np.testing.assert_array_equal(fresh[0].data, twins[0].data)


def test_an_update_between_forward_and_backward_is_noticed():
    w = tr.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    y = (w * w).sum()
    w.grad = tr.tensor([1.0, 1.0])
    optimizer.step()
    with pytest.raises(GraphError, match="in place"):
        y.backward()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("shapes", [SHAPES, [(LARGE,), (3,)]])
def test_copies_live_on_their_own(duplicate, shapes):
    params = parameters(shapes)
    optimizer = optim.Adam(params, lr=0.1)
    steps(optimizer, params)
    twins, other = duplicate((params, optimizer))
    assert all(a is b for a, b in zip(twins, other.param_groups[0]["params"]))
    before = [p.data.copy() for p in params]
    out = steps(other, twins)
    for p, b in zip(params, before):
        np.testing.assert_array_equal(p.data, b)
    for a, b in zip(out, steps(optimizer, params)):
        np.testing.assert_array_equal(a, b)


def test_frozen_parameters_are_left_alone():
    params = parameters()
    params[1].requires_grad_(False)
    optimizer = optim.AdamW(params, lr=0.1)
    before = params[1].data.copy()
    optimizer.zero_grad()
    sum((p * p).sum() for p in params).backward()
    optimizer.step()
    np.testing.assert_array_equal(params[1].data, before)
    assert sorted(optimizer.state_dict()["state"]) == [0, 2, 3]


def test_zero_grad():
    params = parameters()
    optimizer = optim.SGD(params)
    pull(params[:2])
    optimizer.zero_grad(set_to_none=False)
    assert [None if p.grad is None else p.grad.data.any() for p in params] == [False, False, None, None]
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_state_dict_is_a_copy():
    params = parameters()
    optimizer = optim.Adam(params)
    steps(optimizer, params)
    state = optimizer.state_dict()
    kept = state["state"][0]["exp_avg"].copy()
    steps(optimizer, params)
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], kept)
    optimizer.load_state_dict(state)
    state["state"][0]["exp_avg"][:] = 7
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["exp_avg"], kept)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("state"), "wanted 'state'"),
        (lambda s: s["param_groups"][0]["params"].pop(), r"got groups of \[3\] parameters, wanted \[4\]"),
        (lambda s: s["state"].update({9: s["state"][0]}), "for parameter 9, wanted 0 to 3"),
        (lambda s: s["state"][0].update(exp_avg=np.zeros(2)), r"exp_avg of parameter 0: got shape \(2,\)"),
    ],
)
def test_state_dicts_that_do_not_fit_change_nothing(change, words):
    params = parameters()
    optimizer = optim.Adam(params)
    steps(optimizer, params)
    before = optimizer.state_dict()
    state = optimizer.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=words):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    np.testing.assert_array_equal(after["state"][0]["exp_avg"], before["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: optim.SGD([]), ValueError, "params: got no parameters"),
        (lambda p: optim.SGD(iter(())), ValueError, "params: got no parameters"),
        (lambda p: optim.SGD(p[0]), TypeError, "params: got Tensor, wanted an iterable"),
        (lambda p: optim.SGD(set(p)), TypeError, "params: got a set"),
        (lambda p: optim.SGD([p[0].data]), TypeError, r"params\[0\]: got ndarray, wanted a Tensor"),
        (
            lambda p: optim.SGD([p[0], p[1] * 2]),
            GraphError,
            r"params\[1\]: got a tensor computed by the graph",
        ),
        (lambda p: optim.SGD([tr.tensor([1])]), DTypeError, r"params\[0\]: got int64"),
        (lambda p: optim.SGD([p[0], p[0]]), ValueError, r"params\[1\]: got a parameter that is already here"),
        (
            lambda p: optim.SGD([{"params": p}, {"params": [p[1]]}]),
            ValueError,
            r"params\[0\] of group 1: got a parameter that is already here",
        ),
        (lambda p: optim.SGD([{"params": p}, p[0]]), TypeError, r"params\[1\]: got Tensor among groups"),
        (lambda p: optim.SGD([{"lr": 0.1}]), ValueError, "wanted 'params' among them"),
        (lambda p: optim.SGD([{"params": p, "rate": 0.1}]), ValueError, "got the option 'rate'"),
        (lambda p: optim.SGD(p, lr=-0.1), ValueError, "lr: got -0.1, wanted at least 0"),
        (lambda p: optim.SGD(p, lr=math.nan), ValueError, "lr: got nan"),
        (lambda p: optim.SGD([{"params": p, "lr": -1}]), ValueError, "lr: got -1"),
        (lambda p: optim.SGD(p, momentum=-1), ValueError, "momentum: got -1"),
        (lambda p: optim.SGD(p, nesterov=True), ValueError, "nesterov: got momentum=0"),
        (lambda p: optim.SGD(p, nesterov=True, momentum=0.9, dampening=0.1), ValueError, "no dampening"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), ValueError, r"betas: got \(0.9, 1.0\).*below 1"),
        (lambda p: optim.Adam(p, betas=(0.9,)), ValueError, "betas: got .* wanted two numbers"),
        (lambda p: optim.AdamW(p, eps=-1), ValueError, "eps: got -1"),
        (lambda p: optim.RMSprop(p, alpha=-1), ValueError, "alpha: got -1"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), ValueError, "lr_decay: got -1"),
        (lambda p: optim.clip_grad_norm_(p, -1.0), ValueError, "max_norm: got -1.0"),
        (lambda p: optim.clip_grad_norm_(p, 1.0, 0.0), ValueError, "norm_type: got 0.0"),
        (lambda p: optim.clip_grad_value_(p, -1.0), ValueError, "clip_value: got -1.0"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make(parameters())


def test_parameters_that_share_memory_are_refused():
    (p,) = parameters([(4, 6)])
    q = tr.tensor(np.zeros((6, 4)), requires_grad=True)
    q.data = p.data.T
    optimizer = optim.SGD([p, q])
    pull([p, q])
    with pytest.raises(ValueError, match="share memory"):
        optimizer.step()
    q.data = p.data[:, 3:]
    p.data = p.data[:, :3]  # neighbours in one array, but apart
    pull([p, q])
    optimizer.step()


def test_clip_grad_norm_where_squares_overflow_or_underflow():
    for size in (1e30, 1e-30):
        p = tr.tensor(np.zeros(4, np.float32), requires_grad=True)
        p.grad = tr.tensor(np.full(4, size, np.float32))
        assert optim.clip_grad_norm_([p], 1.0) == pytest.approx(2 * size, rel=1e-6)
        assert np.linalg.norm(p.grad.data.astype(float)) == pytest.approx(min(1.0, 2 * size), rel=1e-5)


def test_clip_grad_norm_raises_before_it_writes():
    params = parameters()
    pull(params)
    params[0].grad.data[0, 0] = np.nan
    before = [p.grad.data.copy() for p in params]
    with pytest.raises(FloatingPointError, match="got a norm of nan"):
        optim.clip_grad_norm_(params, 0.1, error_if_nonfinite=True)
    for p, b in zip(params, before):
        np.testing.assert_array_equal(p.grad.data, b)


def test_clip_without_gradients():
    assert optim.clip_grad_norm_(parameters(), 1.0) == 0.0
    optim.clip_grad_value_(parameters()[0], 1.0)


@pytest.mark.slow
def test_numba_is_imported_at_the_first_step():
    code = (
        "import sys, tinygrad_rnn as tr; from tinygrad_rnn import optim, train\n"
        "w = tr.tensor([1.0], requires_grad=True); o = optim.Adam([w]); (w * w).sum().backward()\n"
        "assert 'numba' not in sys.modules; o.step(); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def take_out(optimizer, p):
    optimizer.param_groups[0]["params"].remove(p)


def another_group(optimizer, p):
    take_out(optimizer, p)
    optimizer.add_param_group({"params": [p], "lr": 0.5})


def another_list(optimizer, p):
    optimizer.param_groups[0]["params"] = (p,)


def drop_group(optimizer, p):
    optimizer.param_groups[:] = [{**optimizer.param_groups[0], "params": [p]}]


@pytest.mark.parametrize("change", [take_out, another_group, another_list, drop_group])
@pytest.mark.parametrize("size", [3, LARGE])
def test_lists_of_groups_may_be_written_to(change, size):
    torch = pytest.importorskip("torch")
    start = np.random.default_rng(0).normal(size=(2, size))
    ours = [tr.tensor(a, requires_grad=True) for a in start]
    theirs = [torch.tensor(a, requires_grad=True) for a in start]
    one, other = optim.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for k in range(6):
        for p, q in zip(ours, theirs):
            p.grad, q.grad = tr.tensor(np.full(size, k + 0.5)), torch.full((size,), k + 0.5, dtype=torch.float64)
        if k in (2, 4):
            which = 0 if k == 2 else -1
            change(one, one.param_groups[0]["params"][which]), change(other, other.param_groups[0]["params"][which])
        if k == 5:
            one.add_param_group({"params": [tr.tensor(np.ones(2), requires_grad=True)]})
        one.step(), other.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)
    updated = sum(len(group["params"]) for group in one.param_groups) - 1  # the last one has no gradient
    assert len(one.state_dict()["state"]) == updated


def test_groups_that_are_written_to_are_checked():
    p, q = (tr.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = tr.tensor(np.ones(2))
    optimizer.step()
    optimizer.param_groups.append({"params": [q]})
    with pytest.raises(ValueError, match=r"param_groups\[1\]: got no 'lr', wanted all options; add_param_group"):
        optimizer.step()
    optimizer.param_groups[1:] = [{**optimizer.param_groups[0]}]
    with pytest.raises(ValueError, match=r"params\[0\] of group 1: got a parameter that is already here"):
        optimizer.step()


def test_repr():
    text = repr(optim.SGD(parameters(), lr=0.1))
    assert text.startswith("SGD (\n  group 0: 4 parameters, lr=0.1, momentum=0.0")
