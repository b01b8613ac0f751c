"""RNN, LSTM and GRU against torch.nn, with copied weights, in float64: outputs, states, gradients."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree

torch = pytest.importorskip("torch")

KINDS = {
    "rnn-tanh": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": 1}),
    "gru": ("GRU", {}),
}
T, B, I, H = 5, 3, 4, 2
MODES = ["eager", "compiled"]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # PyTorch's own


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def twins(kind, mode, dtype="float64", **options):
    name, more = KINDS[kind]
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(I, H, **more, **options, dtype=getattr(torch, dtype))
    ours = getattr(nn, name)(I, H, **more, **options, dtype=dtype, mode=mode)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def run_both(ours, theirs, x, states, tol):
    """Compare everything that comes out, and the gradient of everything that goes in."""
    mine = [tr.tensor(a, requires_grad=True) for a in (x, *states)]
    other = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    pack = lambda s: None if not s else s[0] if len(s) == 1 else tuple(s)
    y, final = ours(mine[0], pack(mine[1:]))
    ty, tfinal = theirs(other[0], pack(other[1:]))
    outputs = [y, *tree.flatten(final)[0]]
    toutputs = [ty, *tree.flatten(tfinal)[0]]
    rng = np.random.default_rng(5)
    for a, b in zip(outputs, toutputs, strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=tol, atol=tol)
        g = rng.standard_normal(a.shape).astype(a.dtype)
        a.backward(g, retain_graph=True)
        b.backward(torch.tensor(g), retain_graph=True)
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tol, atol=tol)
    reference = dict(theirs.named_parameters())
    assert [n for n, _ in ours.named_parameters()] == list(reference)
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), reference[name].grad.numpy(), rtol=tol, atol=tol, err_msg=name)


def draw_inputs(kind, layers, bidirectional, batch_first, with_state, batched=True, dtype="float64"):
    rng = np.random.default_rng(1)
    shape = ((B, T, I) if batch_first else (T, B, I)) if batched else (T, I)
    count = layers * (1 + bidirectional)
    widths = {"lstm": (H, H), "lstm-projected": (1, H)}.get(kind, (H,)) if with_state else ()
    states = [(count, B, n) if batched else (count, n) for n in widths]
    return rng.standard_normal(shape).astype(dtype), [rng.standard_normal(s).astype(dtype) for s in states]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "h0"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["uni", "bi"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_parity(kind, mode, layers, bidirectional, batch_first, bias, with_state):
    ours, theirs = twins(kind, mode, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first, bias=bias)
    x, states = draw_inputs(kind, layers, bidirectional, batch_first, with_state)
    run_both(ours, theirs, x, states, 1e-10)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "h0"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
@pytest.mark.parametrize("kind", KINDS)
def test_parity_without_a_batch(kind, mode, batch_first, with_state):
    ours, theirs = twins(kind, mode, num_layers=2, bidirectional=True, batch_first=batch_first)
    x, states = draw_inputs(kind, 2, True, batch_first, with_state, batched=False)
    run_both(ours, theirs, x, states, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_parity_in_float32(kind, mode):
    ours, theirs = twins(kind, mode, dtype="float32", num_layers=2)
    x, states = draw_inputs(kind, 2, False, False, True, dtype="float32")
    run_both(ours, theirs, x, states, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "bidirectional": True}, {"bias": False}], ids=str)
def test_state_dict_moves_across(kind, mode, options):
    ours, theirs = twins(kind, mode, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value.numpy())
        np.testing.assert_array_equal(getattr(ours, name).numpy(), value.numpy())
    back = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(back)


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
def test_cells_equal_torch_cells(kind):
    name = KINDS[kind][0] + "Cell"
    theirs = getattr(torch.nn, name)(I, H, dtype=torch.float64)
    ours = getattr(nn, name)(I, H, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    x, states = draw_inputs(kind, 1, False, False, True)
    state = [s[0] for s in states]
    pack = lambda s: s[0] if len(s) == 1 else tuple(s)
    _, final = ours(tr.tensor(x[0]), pack([tr.tensor(s) for s in state]))
    expected = theirs(torch.tensor(x[0]), pack([torch.tensor(s) for s in state]))
    for a, b in zip(tree.flatten(final)[0], tree.flatten(expected)[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-14)
