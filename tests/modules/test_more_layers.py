"""Activations, normalisation and convolution as modules: equal to PyTorch's, with its names."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError, ShapeError
from tinygrad_rnn.modules import activations

from ..train.models import updating

X = np.random.default_rng(0).normal(0, 3, (5, 3, 4))
ACTIVATIONS = {
    "ELU": {"alpha": 0.7},
    "Flatten": {},
    "GELU": {"approximate": "tanh"},
    "GLU": {},
    "Hardsigmoid": {},
    "Hardswish": {},
    "Hardtanh": {"min_val": -0.5, "max_val": 2.0},
    "Identity": {},
    "LeakyReLU": {"negative_slope": 0.2},
    "LogSigmoid": {},
    "LogSoftmax": {"dim": -1},
    "Mish": {},
    "PReLU": {},
    "ReLU": {},
    "ReLU6": {},
    "SELU": {},
    "SiLU": {},
    "Sigmoid": {},
    "Softmax": {"dim": 1},
    "Softplus": {"beta": 1.5},
    "Tanh": {},
}


def both(ours, theirs, x, to=lambda t: t, rtol=1e-9):
    """Outputs and gradients of a module here and in PyTorch, compared; `to` gives PyTorch's layout and takes it."""
    torch = pytest.importorskip("torch")
    a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), to(theirs(to(b)))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=rtol, atol=1e-10)
    weights = np.cos(np.arange(y.size)).reshape(y.shape)
    (y * weights).sum().backward()
    (z * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=1e-7)
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-9)


def turned(t):
    """From (T, B, 4) to PyTorch's (B, 4, T), and back."""
    return t.permute(1, 2, 0) if t.shape[-1] == 4 else t.permute(2, 0, 1)


def taken_over(ours, theirs):
    """The module here with the values of PyTorch's, whose names it has."""
    theirs = theirs.double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_every_activation_is_listed():
    found = {name for name, c in vars(activations).items() if isinstance(c, type) and issubclass(c, nn.Module)}
    assert {name for name in found if not name.startswith("_")} - {"Module"} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    torch = pytest.importorskip("torch")
    options = ACTIVATIONS[name]
    ours = getattr(nn, name)(**options, **({"dtype": "float64"} if name == "PReLU" else {}))
    both(*taken_over(ours, getattr(torch.nn, name)(**options)), X)
    assert name in repr(ours)
    assert nn.Sequential(nn.Linear(4, 6), getattr(nn, name)(**options))(X.astype(np.float32)).dtype == np.float32


def test_activations_are_never_in_place():
    with pytest.raises(TypeError, match="ReLU: got inplace, wanted no options; results are new, never in place"):
        nn.ReLU(inplace=True)


@pytest.mark.parametrize("options", [{}, {"eps": 0.1}, {"elementwise_affine": False}])
def test_rms_norm(options):
    torch = pytest.importorskip("torch")
    for shape in (4, (3, 4)):
        ours, theirs = nn.RMSNorm(shape, dtype="float64", **options), torch.nn.RMSNorm(shape, **options)
        both(*taken_over(ours, theirs), X)


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_batch_norm(options):
    torch = pytest.importorskip("torch")
    ours, theirs = taken_over(nn.BatchNorm1d(4, dtype="float64", **options), torch.nn.BatchNorm1d(4, **options))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(1, 3, (6, 2, 4))
        both(ours, theirs, x, turned)
        for p in (*ours.parameters(), *theirs.parameters()):
            p.grad = None
    for (name, a), (other, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other
        np.testing.assert_allclose(a, b, rtol=1e-9)
    ours.eval()
    theirs.eval()
    both(ours, theirs, X[:, 0])


def test_batch_norm_refuses():
    with pytest.raises(ShapeError, match="more than one row in training"):
        nn.BatchNorm1d(4)(np.ones((1, 4)))
    with pytest.raises(ShapeError, match=r"wanted \(\.\.\., B, 4\)"):
        nn.BatchNorm1d(4)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="momentum: got 2"):
        nn.BatchNorm1d(4, momentum=2.0)


def trained_both_ways(make, features):
    """The states of two equal models after three steps of training: by a training step, and on the tape."""
    x, y = np.random.default_rng(0).normal(size=(2, 8, features)).astype(np.float32)
    found = []
    for compiled in (True, False):
        tr.seed(0)
        model = make()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        run = updating(model, optimizer, compiled)
        for _ in range(3):
            run(x, y)
        found.append(model.state_dict())
    return found


@pytest.mark.filterwarnings("ignore:TrainStep")
def test_batch_norm_in_a_training_step():
    """Its averages are written at each step, which a program cannot do: the step runs on the tape."""
    found = trained_both_ways(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()), 4)
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, atol=1e-6)
    assert found[0]["1.num_batches_tracked"] == 3


CONVOLUTIONS = [
    {"padding": "valid"},
    {"padding": 2},
    {"padding": "same"},
    {"padding": 1, "stride": 2, "dilation": 2},
    {"padding": "valid", "groups": 2, "bias": False},
    {"padding": 1, "groups": 4},
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions(options):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(9, 3, 4))
    for kernel in (1, 3, 4):
        ours = nn.Conv1d(4, 4, kernel, dtype="float64", **options)
        theirs = torch.nn.Conv1d(4, 4, kernel, **options)
        ours, theirs = taken_over(ours, theirs)
        a, b = tr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = ours(a), theirs(b.permute(1, 2, 0)).permute(2, 0, 1)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-12)
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("options", [{}, {"dilation": 3}, {"groups": 4}, {"groups": 2}], ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
def test_causal_convolutions(kernel, options):
    """They see no later input; in a stream and in a loop they give the same."""
    conv = nn.Conv1d(4, 4, kernel, dtype="float64", **options)
    x = np.random.default_rng(0).normal(size=(9, 2, 4))
    y = conv(x)
    assert y.shape == (9, 2, 4)
    for t in (0, 4, 8):
        np.testing.assert_allclose(conv(x[: t + 1]).numpy(), y[: t + 1].numpy(), atol=1e-12)
    for mode in ("eager", "auto"):
        layer = nn.Recurrent(nn.Conv1dCell(conv), mode=mode)
        np.testing.assert_allclose(layer(x)[0].numpy(), y.numpy(), atol=1e-12)
        _, state = layer(x[:4])
        np.testing.assert_allclose(layer(x[4:], state)[0].numpy(), y[4:].numpy(), atol=1e-12)
        step = layer.stepper(2)
        np.testing.assert_allclose([step(row) for row in x], y.numpy(), atol=1e-12)
    assert nn.Recurrent(nn.Conv1dCell(conv)).explain((9, 2)).compiled


def test_a_convolution_in_front_of_a_loop_trains():
    tr.seed(0)
    conv, rnn = nn.Conv1d(3, 8, 4), nn.GRU(8, 5)
    x, target = np.random.default_rng(0).normal(size=(10, 2, 3)), np.zeros((10, 2, 5))
    losses = []
    optimizer = optim.Adam([*conv.parameters(), *rnn.parameters()], lr=0.05)
    for _ in range(20):
        loss = nn.mse_loss(rnn(conv(x.astype(np.float32)))[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_convolutions_refuse():
    with pytest.raises(ValueError, match="Conv1d: padding: got 'full'"):
        nn.Conv1d(1, 1, 2, padding="full")
    with pytest.raises(ValueError, match="Conv1d: groups: got 3 for 4 and 4 channels"):
        nn.Conv1d(4, 4, 2, groups=3)
    with pytest.raises(ValueError, match="Conv1d: kernel_size: got 0, wanted a whole number, at least 1"):
        nn.Conv1d(4, 4, 0)
    with pytest.raises(ShapeError, match=r"Conv1d: x: got shape \(5, 2, 3\), wanted \(T, B, 4\)"):
        nn.Conv1d(4, 4, 2)(np.ones((5, 2, 3)))
    with pytest.raises(ShapeError, match="Conv1d: x: got 1 steps with padding, wanted more than 1"):
        nn.Conv1d(4, 4, 2, padding="valid")(np.ones((1, 2, 4)))
    with pytest.raises(ValueError, match="Conv1dCell: conv: got padding='valid'"):
        nn.Conv1dCell(nn.Conv1d(4, 4, 2, padding="valid"))
    with pytest.raises(TypeError, match="Conv1dCell: conv: got Linear"):
        nn.Conv1dCell(nn.Linear(2, 2))


@pytest.mark.parametrize("make", [lambda: nn.RMSNorm(4), lambda: nn.BatchNorm1d(4), lambda: nn.Conv1d(4, 4, 2)])
def test_arrays_take_the_dtype_of_the_parameters(make):
    layer = make()
    for x in (X, X.astype(np.float32), X.astype(int), X.tolist()):
        assert layer(x).dtype == np.float32
        assert layer.to("float64")(x).dtype == np.float64
        layer.to("float32")
    assert nn.RMSNorm(4, elementwise_affine=False)(X).dtype == np.float64


def test_parameter_lists():
    class Weights(nn.Module):
        def __init__(self):
            self.all = nn.ParameterList([np.ones(2), nn.Parameter([3.0])])

    module = Weights()
    assert [name for name, _ in module.named_parameters()] == ["all.0", "all.1"]
    module.all.append([5.0])
    module.all[0] = np.zeros(2)
    assert len(module.all) == 3
    assert [p.shape for p in module.all[1:]] == [(1,), (1,)]
    assert module.all[-1].tolist() == [5.0]
    assert list(module.state_dict()) == ["all.0", "all.1", "all.2"]
    assert "(2,)" in repr(module)
    with pytest.raises(IndexError, match="got index 3, wanted one of 3 parameters"):
        module.all[3]
    with pytest.raises(TypeError, match="ParameterList: got int"):
        nn.ParameterList(3)
    with pytest.raises(CheckpointError, match="missing keys"):
        module.load_state_dict({})


def test_noise():
    tr.seed(0)
    noise, x = nn.GaussianNoise(0.5), tr.tensor(np.ones((200, 50)), requires_grad=True)
    y = noise(x)
    assert abs(y.numpy().std() - 0.5) < 0.02
    assert abs(y.numpy().mean() - 1.0) < 0.02
    y.sum().backward()
    assert (x.grad.numpy() == 1.0).all()
    assert noise.eval()(x) is x
    assert nn.GaussianNoise(0.1)(np.ones((2, 3), np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match="GaussianNoise: std: got -1"):
        nn.GaussianNoise(-1)


@pytest.mark.filterwarnings("ignore")
def test_noise_in_loops_and_training_steps():
    """Fresh noise at each step, and the same draws as on the tape."""

    class Cell(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 3
            self.noise = nn.GaussianNoise(1.0)

        def step(self, x, h):
            h = self.noise(x)
            return h, h

    found = []
    for mode in ("eager", "compiled"):
        tr.seed(0)
        found.append(nn.Recurrent(Cell(), mode=mode)(np.zeros((6, 2, 3), np.float32))[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert len(np.unique(found[0])) == found[0].size
    found = trained_both_ways(lambda: nn.Sequential(nn.GaussianNoise(0.3), nn.Linear(3, 3)), 3)
    weights = [state["1.weight"] for state in found]
    np.testing.assert_allclose(*weights, rtol=1e-5, atol=1e-6)
