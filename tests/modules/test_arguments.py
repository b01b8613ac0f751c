"""What modules are made of is looked at when they are made: each message names the argument, what it got and wanted."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

ROWS = np.zeros((3, 2, 4))


@pytest.mark.parametrize("bad", ["a", 2.5, -1, True, None])
def test_sizes(bad):
    for call, words in (
        (lambda: nn.Linear(bad, 1), "Linear: in_features"),
        (lambda: nn.Linear(1, bad), "Linear: out_features"),
        (lambda: nn.Embedding(bad, 1), "Embedding: num_embeddings"),
        (lambda: nn.Embedding(1, bad), "Embedding: embedding_dim"),
        (lambda: nn.LuongAttention(bad, 1), "LuongAttention: query_size"),
        (lambda: nn.LuongAttention(1, bad), "LuongAttention: memory_size"),
        (lambda: nn.GRU(bad, 1), "GRU: input_size"),
        (lambda: nn.GRU(1, bad), "GRU: hidden_size"),
    ):
        with pytest.raises(ValueError, match=f"{words}: got {bad!r}, wanted a"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Embedding(3, 2, padding_idx="a"), TypeError, "padding_idx: got 'a', wanted an id"),
        (lambda: nn.ModuleList(3), TypeError, "ModuleList: got int, wanted an iterable of nn.Module"),
        (lambda: nn.ModuleList(nn.Linear), TypeError, "ModuleList: got type, wanted an iterable"),
        (lambda: nn.Sequential(nn.Linear(1, 1))["a"], TypeError, "Sequential: got the index 'a', wanted an integer"),
        (lambda: nn.ModuleDict([1]), TypeError, "ModuleDict: got list, wanted a mapping"),
        (lambda: nn.ModuleDict({1: nn.Linear(1, 1)}), TypeError, "ModuleDict: got the name 1, wanted a string"),
        (lambda: nn.ctc_beam_search(ROWS, language_model=3), TypeError, "language_model: got int, wanted a callable"),
        (lambda: nn.ctc_beam_search(ROWS, language_model=lambda p: "ab"), ShapeError, "language_model: returned str"),
        (
            lambda: nn.ctc_beam_search(ROWS, language_model=lambda p: [0, 0, np.nan, 0]),
            DataError,
            r"language_model: returned NaN for label 2 after the prefix \(\)",
        ),
    ],
)
def test_what_is_no_module_or_callable(call, error, words):
    with pytest.raises(error, match=words):
        call()


class Scale(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter([2.0, 3.0])
        self.register_buffer("mean", np.zeros(2))

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize("make", [Scale, lambda: nn.Linear(2, 2), lambda: nn.GRUCell(2, 2), lambda: nn.LayerNorm(2)])
def test_what_is_set_over_a_parameter(make):
    module = make()
    name, weight = next(iter(module.named_parameters()))
    names = [n for n, _ in module.named_parameters()]
    for value in (tr.zeros(weight.shape), weight * 2, weight.detach(), weight.numpy(), [1.0], 1.0, "a"):
        got = "a tensor" if isinstance(value, tr.Tensor) else type(value).__name__
        words = rf"{type(module).__name__}\.{name}: got {got}, wanted an nn\.Parameter or None.*del module\.{name}"
        with pytest.raises(TypeError, match=words):
            setattr(module, name, value)
        assert getattr(module, name) is weight
    other = nn.Parameter(weight.numpy() + 1)
    setattr(module, name, other)
    assert [n for n, _ in module.named_parameters()] == names
    assert dict(module.named_parameters())[name] is other
    setattr(module, name, None)
    assert name not in dict(module.named_parameters())


def test_what_may_be_set_over_a_parameter():
    module = Scale()
    module.weight = inner = nn.Linear(2, 2)  # which is trained in its place
    assert len(list(module.parameters())) == 2
    assert module.weight is inner
    module = Scale()
    module.raw = nn.Parameter([1.0, 2.0])
    del module.weight
    module.weight = module.raw * 2  # computed from another one
    assert [n for n, _ in module.named_parameters()] == ["raw"]
    module.weight = module.raw * 3
    module.mean = tr.zeros(2)  # a buffer is no parameter
    assert module(np.ones(2)).tolist() == [3.0, 6.0]
    with tr.no_grad():
        other = Scale()
        other.weight.copy_(np.array([5.0, 6.0]))
        other.weight *= 2  # in place
    assert other.weight.tolist() == [10.0, 12.0]
    assert isinstance(other.weight, nn.Parameter)


@pytest.mark.parametrize("eps", ["a", None, [1e-5], True, 1j, np.array([1e-5]), -1.0, np.nan, np.inf])
def test_eps(eps):
    error, wanted = (ValueError, "at least 0 and finite") if isinstance(eps, float) else (TypeError, "a number")
    for make, words in (
        (lambda: nn.LayerNorm(4, eps=eps), "LayerNorm"),
        (lambda: nn.functional.layer_norm(ROWS, 4, eps=eps), "layer_norm"),
        (lambda: nn.LayerNormLSTMCell(3, 4, eps=eps), "LayerNormLSTMCell"),
    ):
        with pytest.raises(error, match=rf"{words}: eps: got .*, wanted {wanted}"):
            make()
    for number in (0, 1e-3, np.float32(1e-3)):
        assert nn.LayerNorm(4, eps=number).eps == number


@pytest.mark.parametrize("dtype", ["float16", "int32", "bool", "complex64", ">f2", np.longdouble])
def test_dtypes_of_parameters(dtype):
    for make in (lambda: nn.LuongAttention(3, 4, dtype=dtype), lambda: nn.Linear(3, 4, dtype=dtype)):
        with pytest.raises(DTypeError, match=rf"dtype: got {np.dtype(dtype)}, wanted float32 or float64$"):
            make()
    with pytest.raises(DTypeError, match="dtype: got 'x', wanted float32 or float64"):
        nn.Linear(3, 4, dtype="x")
    assert nn.Linear(3, 4, dtype=">f4").weight.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: nn.LuongAttention(4, 4)(x, ROWS), "LuongAttention: query"),
        (lambda x: nn.LuongAttention(4, 4)(ROWS, x), "LuongAttention: memory"),
        (lambda x: nn.cross_entropy(x, [0]), "cross_entropy: input"),
        (lambda x: nn.nll_loss(x, [0]), "nll_loss: input"),
        (lambda x: nn.ctc_loss(x, [[1]], [1], [1]), "ctc_loss: log_probs"),
    ],
)
def test_what_is_no_array_is_named(call, name):
    for value, words in (("a", "got str of dtype <U1"), (None, "got NoneType"), ([[1.0], [1.0, 2.0]], "got nested")):
        with pytest.raises(DTypeError, match=f"^{name}: {words}"):
            call(value)


def test_what_is_no_state():
    for value in (nn.LSTM(2, 3), 3, "ab", (nn.LSTM(2, 3),)):
        kind = type(value[0] if isinstance(value, tuple) else value).__name__
        with pytest.raises(TypeError, match=f"detach_state: state: got {kind}, wanted tensors, as a layer returned"):
            nn.detach_state(value)
    array = np.ones(3)
    assert nn.detach_state((array, None))[0] is array


def test_what_is_no_list_of_cells():
    for value in (nn.LSTM(2, 3), nn.LSTMCell(2, 3), 3, None, "ab", {"a": nn.LSTMCell(2, 3)}):
        with pytest.raises(TypeError, match=f"Stacked: cells: got {type(value).__name__}, wanted a list of cells"):
            nn.Stacked(value)
    with pytest.raises(TypeError, match=r"Stacked: cells\[1\]: got LSTM, wanted an nn.Cell"):
        nn.Stacked([nn.LSTMCell(2, 3), nn.LSTM(3, 3)])
    assert len(nn.Stacked(nn.GRUCell(2, 2) for _ in range(3)).cells) == 3
