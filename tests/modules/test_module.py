"""Modules: what they find, what they do to it, saving and loading."""

import copy
import pathlib
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError, DTypeError, GraphError


class Net(nn.Module):
    def __init__(self, dtype=None):
        self.inner = nn.Sequential(nn.Linear(3, 4, dtype=dtype), nn.Dropout(0.1), nn.Linear(4, 2, dtype=dtype))
        self.scale = nn.Parameter(np.ones(2, dtype or np.float32))
        self.register_buffer("mean", np.zeros(3, dtype or np.float32))
        self.register_buffer("counter", np.array(0), persistent=False)
        self.name = "net"

    def forward(self, x):
        return self.inner(x - self.mean) * self.scale


NAMES = ["scale", "inner.0.weight", "inner.0.bias", "inner.2.weight", "inner.2.bias"]


def test_names_and_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_buffers()] == ["mean", "counter"]
    assert list(net.state_dict()) == ["scale", "mean", *NAMES[1:]]
    assert [n for n, _ in net.named_modules()] == ["", "inner", "inner.0", "inner.1", "inner.2"]
    assert [type(m).__name__ for m in net.children()] == ["Sequential"]
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_parameters("net")][1] == "net.inner.0.weight"
    assert net(np.ones((5, 3))).shape == (5, 2)


def test_attributes_are_plain_python_attributes():
    net = Net()
    assert vars(net)["scale"] is net.scale
    assert not hasattr(nn.Module, "__getattr__")
    assert nn.Module.__getattribute__ is object.__getattribute__
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        net.nothing


def test_shared_parameters_count_once_and_are_saved_under_each_name():
    net = Net()
    net.again = net.inner
    net.tied = net.inner[0].weight
    assert sum(1 for _ in net.parameters()) == 5
    assert sum(1 for _ in net.modules()) == 5
    state = net.state_dict()
    assert {"inner.0.weight", "again.0.weight", "tied"} <= set(state)
    net.load_state_dict(state)


def test_replaced_and_deleted_attributes_are_forgotten():
    net = Net()
    net.scale = None
    net.mean = None
    del net.inner
    assert list(net.state_dict()) == []
    assert [n for n, _ in net.named_buffers()] == ["counter"]


@pytest.mark.parametrize("container", [list, tuple, lambda m: {"a": m[0]}])
def test_modules_in_a_plain_container_are_an_error(container):
    net = nn.Module()
    net.layers = container([nn.Linear(1, 1)])
    with pytest.raises(TypeError, match=r"Module\.layers: got a (list|tuple|dict) of modules"):
        list(net.parameters())
    private = nn.Module()
    private._layers = net.layers
    private.sizes = [1, 2]
    assert list(private.parameters()) == []


def test_train_and_eval_reach_all_modules():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())


def test_apply_visits_children_first():
    seen = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Dropout", "Linear", "Sequential", "Net"]


def test_freezing_and_zero_grad():
    net = Net()
    net(np.ones((1, 3))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(np.ones((1, 3))).requires_grad
    assert all(p.requires_grad for p in net.requires_grad_().parameters())


def test_to_casts_in_place():
    net = Net()
    scale = net.scale
    net(np.ones((1, 3))).sum().backward()
    assert net.to(np.float64) is net
    assert net.scale is scale
    assert scale.dtype == scale.grad.dtype == net.mean.dtype == np.float64
    assert net.counter.dtype == np.int64
    assert net(np.ones((1, 3))).dtype == np.float64
    with pytest.raises(DTypeError, match=r"dtype: got int32, wanted float32 or float64"):
        net.to("int32")


def test_repr_reads_like_the_architecture():
    assert repr(Net()) == (
        "Net(\n"
        "  (inner): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): Dropout(p=0.1)\n"
        "    (2): Linear(in_features=4, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Module()) == "Module()"


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module does not define forward"):
        nn.Module()(1)


# ---- saving and loading


def test_state_dict_holds_copies():
    net = Net()
    state = net.state_dict()
    state["scale"][...] = 7
    assert net.scale.numpy().tolist() == [1, 1]
    net.scale.data[...] = 3
    assert state["scale"].tolist() == [7, 7]


def test_load_writes_into_the_existing_arrays():
    net, other = Net(), Net()
    arrays = [p.data for p in net.parameters()]
    report = net.load_state_dict({k: v + 1 for k, v in other.state_dict().items()})
    assert report == ([], [])
    for p, array in zip(net.parameters(), arrays):
        assert p.data is array
    for a, b in zip(net.parameters(), other.parameters()):
        np.testing.assert_array_equal(a.numpy(), b.numpy() + 1)


def test_load_casts_between_floats():
    net, wide = Net(), Net("float64")
    net.load_state_dict(wide.state_dict())
    assert net.scale.dtype == np.float32


def test_copies_and_pickles_are_independent():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert list(twin.state_dict()) == list(net.state_dict())
        assert isinstance(twin.scale, nn.Parameter)
        twin.scale.data += 1
        assert net.scale.numpy().tolist() == [1, 1]


def test_every_misfit_is_named_and_nothing_is_written():
    net = Net()
    before = net.state_dict()
    state = {k: v + 1 for k, v in before.items()}
    del state["inner.0.bias"], state["mean"]
    state["old.weight"] = np.ones(2)
    state["scale"] = np.ones(3)
    state["inner.2.bias"] = np.array(["a", "b"])
    with pytest.raises(CheckpointError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "state_dict: does not fit Net:\n"
        "  missing keys: mean, inner.0.bias\n"
        "  unexpected keys: old.weight\n"
        "  scale: got shape (3,), wanted (2,)\n"
        "  inner.2.bias: got dtype <U1, wanted float32"
    )
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_not_strict_reports_what_it_skipped():
    net = Net()
    state = {"scale": np.full(2, 9.0), "old": 1}
    report = net.load_state_dict(state, strict=False)
    assert report.missing_keys == ["mean", *NAMES[1:]]
    assert report.unexpected_keys == ["old"]
    assert net.scale.numpy().tolist() == [9, 9]
    with pytest.raises(CheckpointError, match=r"scale: got shape \(3,\), wanted \(2,\)"):
        net.load_state_dict({"scale": np.ones(3)}, strict=False)


def test_unreadable_values_are_named():
    class Locked:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("locked")

    with pytest.raises(CheckpointError, match=r"scale: cannot be read as an array: locked"):
        Net().load_state_dict({"scale": Locked()}, strict=False)


def test_loading_is_seen_by_a_graph_that_needs_the_old_values():
    net = Net()
    loss = (net(np.ones((1, 3))) ** 2).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(tr.errors.GraphError, match="overwritten in place"):
        loss.backward()


# ---- parameters


def test_parameters_copy_and_check():
    array = np.ones(3)
    p = nn.Parameter(array)
    array[...] = 5
    assert p.numpy().tolist() == [1, 1, 1]
    assert p.dtype == np.float64
    assert p.requires_grad
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32
    assert not nn.Parameter(0.5, requires_grad=False).requires_grad
    assert nn.Parameter(tr.tensor([1.0])).is_leaf
    assert type(p * 2) is tr.Tensor
    with pytest.raises(DTypeError, match=r"data: got int64 values, wanted float32 or float64 for a parameter"):
        nn.Parameter([1, 2])


# ---- containers


def test_module_list():
    layers = nn.ModuleList([nn.Linear(1, 2)]).append(nn.Linear(2, 3))
    layers.extend([nn.Linear(3, 4)])
    assert len(layers) == 3
    assert layers[-1].out_features == 4
    assert [m.in_features for m in layers] == [1, 2, 3]
    assert len(layers[1:]) == 2
    layers[0] = nn.Dropout(0.2)
    assert list(layers.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    with pytest.raises(IndexError, match=r"ModuleList: got index 3, wanted one of 3 modules"):
        layers[3]
    with pytest.raises(TypeError, match=r"ModuleList: got int, wanted an nn\.Module"):
        layers.append(3)


def test_sequential_applies_in_order():
    first, second = nn.Linear(3, 4), nn.LayerNorm(4)
    net = nn.Sequential(first, second)
    x = np.random.default_rng(0).standard_normal((2, 3))
    np.testing.assert_array_equal(net(x).numpy(), second(first(x)).numpy())
    with pytest.raises(TypeError, match=r"Sequential: got function"):
        nn.Sequential(lambda x: x)


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(1, 2)})
    heads["b"] = nn.Linear(1, 3)
    assert list(heads) == ["a", "b"]
    assert len(heads) == len(heads.values()) == 2
    assert "a" in heads
    assert "c" not in heads
    assert heads["b"].out_features == 3
    assert dict(heads.items()).keys() == {"a", "b"}
    assert next(iter(heads.state_dict())) == "a.weight"
    for name in ("train", "x.y", ""):
        with pytest.raises(KeyError, match="ModuleDict: got the name"):
            heads[name] = nn.Linear(1, 1)


# ---- state dicts of other makes


class Tied(nn.Module):
    def __init__(self):
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.head.weight = self.embedding.weight


def test_a_tied_weight_may_be_named_once():
    model, other = Tied(), Tied()
    whole = other.state_dict()
    for key in ("embedding.weight", "head.weight"):
        model.load_state_dict({k: v for k, v in whole.items() if k != key})
        np.testing.assert_array_equal(model.head.weight.data, other.head.weight.data)
        assert model.head.weight is model.embedding.weight
        model.embedding.weight.data[...] = 0
    model.load_state_dict(whole)
    whole["head.weight"] = whole["head.weight"] + 1
    with pytest.raises(CheckpointError, match=r"embedding.weight, head.weight: got different values, wanted the same"):
        model.load_state_dict(whole)
    with pytest.raises(CheckpointError, match=r"missing keys: embedding.weight, head.weight"):
        model.load_state_dict({"head.bias": whole["head.bias"]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lstm.pt", r"state_dict: got the path 'lstm.pt', wanted a mapping of names to arrays"),
        (pathlib.Path("lstm.pt"), r"state_dict: got the path PosixPath\('lstm.pt'\), wanted a mapping"),
        ([1, 2], r"state_dict: got list, wanted a mapping"),
        (None, r"state_dict: got NoneType, wanted a mapping"),
    ],
)
def test_what_is_no_state_dict(given, words):
    with pytest.raises(CheckpointError, match=words):
        nn.LSTM(3, 4).load_state_dict(given)


def test_names_that_differ_by_their_beginnings():
    model = nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 1))
    state = model.state_dict()
    with pytest.raises(
        CheckpointError, match=r"6 names begin with 'module.', wanted '' in its place, as in 0.weight_"
    ) as e:
        model.load_state_dict({"module." + k: v for k, v in state.items()})
    assert "missing" not in str(e.value)
    with pytest.raises(
        CheckpointError, match=r"6 names begin with '', wanted 'm.' in its place, as in m.0.weight_ih_l0"
    ):
        nn.ModuleDict({"m": model}).load_state_dict(state)
    with pytest.raises(
        CheckpointError, match=r"4 names begin with 'rnn', wanted '0' in its place, as in 0.weight_ih_l0"
    ):
        model.load_state_dict({k.replace("0.", "rnn."): v for k, v in state.items()})


def test_values_of_half_precision():
    class Bfloat16:  # as PyTorch's tensors: NumPy cannot read it
        dtype = "torch.bfloat16"

        def __init__(self, values):
            self.values = values

        def __array__(self, *_, **__):
            raise TypeError("Got unsupported ScalarType BFloat16")

        def float(self):
            return self.values

    model, values = nn.Linear(2, 2), np.array([[0.5, 1.5], [-2.0, 0.25]], np.float32)
    bias = np.array([1.0, 2.0], np.float16)
    model.load_state_dict({"weight": Bfloat16(values), "bias": bias})
    np.testing.assert_array_equal(model.weight.data, values)
    np.testing.assert_array_equal(model.bias.data, bias)
    del Bfloat16.float
    Bfloat16.astype = lambda self, dtype: self.values  # as those of ml_dtypes
    model.load_state_dict({"weight": Bfloat16(values), "bias": tr.tensor(bias.astype(np.float32), requires_grad=True)})


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    model, other = nn.LSTM(3, 4), torch.nn.LSTM(3, 4).to(torch.bfloat16)
    for state in (other.state_dict(), dict(other.named_parameters()), dict(other.float().named_parameters())):
        model.load_state_dict(state)
        np.testing.assert_array_equal(model.weight_hh_l0.data, other.weight_hh_l0.float().detach().numpy())


def test_a_tensor_that_requires_gradients_is_no_parameter():
    class Rates(nn.Module):
        def __init__(self, value):
            self.tau = value

    leaf = tr.tensor([1.0, 2.0], requires_grad=True)
    for look in (lambda m: list(m.parameters()), lambda m: m.state_dict(), lambda m: nn.Sequential(m).train()):
        with pytest.raises(TypeError, match=r"Rates\.tau: got a tensor that requires gradients, which would not be tr"):
            look(Rates(leaf))
    for value in (tr.tensor([1.0]), leaf * 2, leaf.detach()):  # constants, and what is computed from parameters
        assert list(Rates(value).parameters()) == []
    private = Rates(None)
    private._tau = leaf
    assert list(private.parameters()) == []
    assert len(list(Rates(nn.Parameter([1.0])).parameters())) == 1


def test_a_buffer_of_an_array_is_a_copy():
    class Fixed(nn.Module):
        def __init__(self, value):
            self.register_buffer("value", value)

    array = np.ones(3)
    module, w = Fixed(array), tr.tensor(np.full(3, 2.0), requires_grad=True)
    array[0] = 7.0
    assert module.value.tolist() == [1.0, 1.0, 1.0]
    y = (w * module.value).sum()
    module.value[...] = 5.0  # which a graph notes, as the memory is the module's own
    with pytest.raises(GraphError, match="overwritten"):
        y.backward()
    shared = tr.tensor(array)
    assert np.shares_memory(Fixed(shared).value.data, shared.data)


def test_keys_that_are_no_names():
    with pytest.raises(CheckpointError, match="state_dict: got the key 1, wanted names"):
        nn.Linear(2, 2).load_state_dict({1: np.zeros(2)})
