"""Every optimiser against torch.optim, over many steps in float64."""

import itertools
import math

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import optim

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small work: more of them only wait for one another

# optimiser, options: one row for each form. A new optimiser adds its rows here.
TABLE = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adagrad", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"maximize": True}),
    ("Adagrad", {"maximize": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
]
IDS = [f"{name}-{','.join(options)}" for name, options in TABLE]
SHAPES = [(3, 4), (4,), (), (1, 5), (2, 3, 2), (130, 130)]  # the last is large: a bucket of its own


@pytest.fixture(params=TABLE, ids=IDS)
def row(request):
    if request.param[0] == "NAdam":  # torch keeps a product in its default dtype
        torch.set_default_dtype(torch.float64)
    yield request.param
    torch.set_default_dtype(torch.float32)


class Twins:
    """The same parameters and gradients here and in torch."""

    def __init__(self, shapes=SHAPES, dtype=np.float64):
        self.rng = np.random.default_rng(0)
        values = [self.rng.normal(size=s).astype(dtype) for s in shapes]
        self.ours = [tr.tensor(v, requires_grad=True) for v in values]
        self.theirs = [torch.tensor(v, requires_grad=True) for v in values]

    def make(self, name, options):
        return getattr(optim, name)(self.ours, **options), getattr(torch.optim, name)(self.theirs, **options)

    def set_grads(self, without=()):
        for i, (p, q) in enumerate(zip(self.ours, self.theirs)):
            p.grad = q.grad = None
            if i not in without:
                g = self.rng.normal(size=p.shape).astype(p.dtype)
                p.grad, q.grad = tr.tensor(g), torch.tensor(g)

    def check(self, tolerance=1e-12):
        for p, q in zip(self.ours, self.theirs):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)

    def run(self, optimizers, steps, missing=lambda step: ()):
        for step in range(steps):
            self.set_grads(missing(step))
            for optimizer in optimizers:
                optimizer.step()
            self.check()


def test_as_torch(row):
    twins = Twins()
    twins.run(twins.make(*row), steps=60)


def test_as_torch_in_float32(row):
    twins = Twins(dtype=np.float32)
    optimizers = twins.make(*row)
    for _ in range(20):
        twins.set_grads()
        for optimizer in optimizers:
            optimizer.step()
    twins.check(1e-3 if row[1].get("centered") else 2e-5)  # centered: a difference of squares
    assert all(p.dtype == np.float32 for p in twins.ours)


def test_parameters_without_gradients_are_skipped(row):
    twins = Twins()
    pattern = [(), (0, 3), (1,), range(6), (0, 1, 5), (), (2, 3, 4), ()]
    twins.run(twins.make(*row), len(pattern) * 3, lambda step: pattern[step % len(pattern)])


def test_options_may_change_between_steps(row):
    twins = Twins()
    optimizers = twins.make(*row)
    for lr in (0.5, 0.1, 1, 0.0):  # also an int
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = lr
        twins.run(optimizers, 3)


def test_groups_with_options_of_their_own(row):
    name, options = row
    twins = Twins()
    optimizers = []
    for namespace, params in ((optim, twins.ours), (torch.optim, twins.theirs)):
        groups = [{"params": params[:2]}, {"params": iter(params[2:4]), "lr": 0.3, "weight_decay": 0.2}]
        optimizers.append(getattr(namespace, name)(groups, **options))
    twins.run(optimizers, 5, lambda step: (4, 5))
    for optimizer, params in zip(optimizers, (twins.ours, twins.theirs)):
        optimizer.add_param_group({"params": params[4:], "lr": 0.05})
    twins.run(optimizers, 5)


def test_state_dict_moves_to_another_optimizer(row):
    name, options = row
    twins = Twins()
    first, other = twins.make(name, options)
    twins.run((first, other), 5, lambda step: (1,))
    state = first.state_dict()
    second = getattr(optim, name)(twins.ours)  # options come from the state
    second.load_state_dict(state)
    twins.run((second, other), 5)


def test_state_dict_of_torch(row):
    name, options = row
    twins = Twins()
    first, other = twins.make(name, options)
    twins.run((first, other), 5, lambda step: (1,))
    second = getattr(optim, name)(twins.ours)
    second.load_state_dict(other.state_dict())
    twins.run((second, other), 5)


def test_state_dict_has_torchs_layout(row):
    twins = Twins()
    first, other = twins.make(*row)
    twins.run((first, other), 3, lambda step: (1,))
    ours, theirs = first.state_dict(), other.state_dict()
    if row[0] == "Adagrad":
        theirs["state"].pop(1)  # torch's exists before the first update
    for entry in theirs["state"].values():
        entry.pop("mu_product", None)  # of NAdam, which is computed from the number of the step here
    theirs["state"] = {k: v for k, v in theirs["state"].items() if any(x is not None for x in v.values())}
    assert ours["state"].keys() == theirs["state"].keys()
    for key, entry in theirs["state"].items():
        assert ours["state"][key].keys() == entry.keys()
        for name, value in entry.items():
            np.testing.assert_allclose(ours["state"][key][name], np.asarray(value), rtol=1e-10)
    for group, their_group in zip(ours["param_groups"], theirs["param_groups"]):
        assert {k: their_group[k] for k in group} == group


def test_defaults_are_torchs():
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "LBFGS"):
        ours, theirs = Twins([(1,)]).make(name, {})
        assert ours.defaults == {k: theirs.defaults[k] for k in ours.defaults}


def test_trains_through_the_tape(row):
    """A model in both, with gradients from backward()."""
    if row[1].get("maximize"):
        pytest.skip("the loss grows beyond all bounds, and with it rounding")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    twins = Twins([(3, 8), (8,), (8, 2), (2,)])
    ours, theirs = twins.make(*row)
    for _ in range(15):
        for optimizer, (w1, b1, w2, b2), lib in ((ours, twins.ours, tr), (theirs, twins.theirs, torch)):
            inputs, targets = (x, y) if lib is tr else (torch.tensor(x), torch.tensor(y))
            loss = ((lib.tanh(inputs @ w1 + b1) @ w2 + b2 - targets) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    twins.check(1e-9 if row[1].get("centered") else 1e-11)


def test_momentum_may_be_switched_on_later():
    twins = Twins()
    optimizers = twins.make("SGD", {"lr": 0.1, "dampening": 0.5})
    twins.run(optimizers, 3)
    for optimizer in optimizers:
        optimizer.param_groups[0]["momentum"] = 0.9
    twins.run(optimizers, 5)


def test_closure():
    w = tr.tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert [optimizer.step(closure).item() for _ in range(3)] == [4.0, 1.0, 0.25]


def test_table_covers_every_optimizer():
    classes = {n for n in optim.__all__ if isinstance(getattr(optim, n), type)}
    optimizers = {n for n in classes if issubclass(getattr(optim, n), optim.Optimizer)} - {"Optimizer"}
    assert {name for name, _ in itertools.chain(TABLE)} | {"LBFGS"} == optimizers  # test_lbfgs.py has that


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 3.0, 1e6])
def test_clip_grad_norm(norm_type, max_norm):
    twins = Twins()
    twins.set_grads(without=(1,))
    twins.ours[0].grad.data = np.asfortranarray(twins.ours[0].grad.data)
    ours = optim.clip_grad_norm_(twins.ours, max_norm, norm_type)
    theirs = torch.nn.utils.clip_grad_norm_(twins.theirs, max_norm, norm_type)
    assert isinstance(ours, float)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    for p, q in zip(twins.ours, twins.theirs):
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_grad_norm_of_nonfinite_gradients(bad):
    twins = Twins()
    twins.set_grads()
    twins.ours[1].grad.data[2] = twins.theirs[1].grad.data[2] = bad
    ours = optim.clip_grad_norm_(twins.ours, 1.0)
    theirs = torch.nn.utils.clip_grad_norm_(twins.theirs, 1.0)
    np.testing.assert_equal(ours, theirs.item())
    for p, q in zip(twins.ours, twins.theirs):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_clip_grad_value():
    twins = Twins()
    twins.set_grads(without=(0,))
    optim.clip_grad_value_(iter(twins.ours), 0.3)
    torch.nn.utils.clip_grad_value_(twins.theirs, 0.3)
    for p, q in zip(twins.ours[1:], twins.theirs[1:]):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
