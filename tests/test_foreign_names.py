"""Names of PyTorch that are called otherwise here: each is answered, and each answer is true."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import foreign_names, nn, optim

TENSOR = tr.tensor([[1.0, 2.0], [3.0, 4.0]])
OWNERS = [
    (TENSOR, foreign_names.TENSOR),
    (tr, foreign_names.PACKAGE),
    (nn, foreign_names.NN),
    (nn.functional, foreign_names.FUNCTIONAL),
    (optim, foreign_names.OPTIM),
]
CASES = [pytest.param(owner, name, table[name], id=name) for owner, table in OWNERS for name in table]


@pytest.mark.parametrize(("owner", "name", "answer"), CASES)
def test_a_name_is_answered_with_one_that_is_there(owner, name, answer):
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute {name!r}; it is {answer}")):
        getattr(owner, name)
    for room, attribute in re.findall(r"\b(tr|t|nn|optim|np|nn\.functional)\.([A-Za-z_]\w*)", answer):
        places = {"tr": tr, "t": TENSOR, "nn": nn, "optim": optim, "np": np, "nn.functional": nn.functional}
        assert hasattr(places[room], attribute), answer


@pytest.mark.parametrize("owner", [tr, nn, nn.functional, optim, TENSOR])
def test_other_names_are_as_unknown_as_before(owner):
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        owner.nonsense
    assert not hasattr(owner, "__nonsense__")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TENSOR.sum(dim=1), "sum: got the argument 'dim'; it is axis= here"),
        (lambda: TENSOR.mean(1, keepdim=True), "mean: got the argument 'keepdim'; it is keepdims= here"),
        (lambda: tr.softmax(TENSOR, dim=-1), "softmax: got the argument 'dim'; it is axis= here"),
        (lambda: tr.concat([TENSOR, TENSOR], dim=0), "concat: got the argument 'dim'; it is axis= here"),
        (lambda: tr.max(TENSOR, dim=0), "max: got the argument 'dim'; it is axis= here"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 1, 2)), hx=None), "GRU: got the argument 'hx'; it is state= here"),
        (lambda: tr.zeros(2, 3), "dtype: got 3, wanted a NumPy dtype; a shape is one tuple"),
        (lambda: tr.randn(2, 3), "dtype: got 3, wanted a NumPy dtype; a shape is one tuple"),
    ],
)
def test_arguments_are_answered_too(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


def test_what_python_says_of_other_arguments_stays():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        tr.sum(TENSOR, nonsense=1)


def test_a_traced_step_is_answered_as_well():
    class Cell(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 2

        def step(self, x, h):
            return x.unsqueeze(0), h

    for mode in ("eager", "auto"):
        with pytest.raises(AttributeError, match=r"it is tr.expand_dims\(t, axis\)"):
            nn.Recurrent(Cell(), mode=mode)(np.ones((3, 1, 2), np.float32))


def test_what_is_not_there_is_not_offered():
    assert not set(foreign_names.TENSOR) & set(dir(TENSOR))
    assert {"sum", "shape", "backward"} <= set(dir(TENSOR))
