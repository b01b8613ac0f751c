"""What arguments that are whole numbers or one of a few names accept, wherever they are checked."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.checks import is_whole, one_of, whole_number
from tinygrad_rnn.errors import ShapeError

NOT_WHOLE = [True, np.True_, 2.0, np.float32(2), "2", None, [2], np.array(2), np.array([1, 2]), 1j]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number(value):
    assert not is_whole(value)
    with pytest.raises(ValueError, match=r"^n: got .*, wanted a whole number, at least 1$"):
        whole_number("n", value)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), 2**62], ids=repr)
def test_whole_numbers_are_made_ints(value):
    assert is_whole(value)
    found = whole_number("n", value)
    assert type(found) is int
    assert found == value


def test_limits_words_and_classes_of_errors():
    assert whole_number("n", 0, 0) == 0
    with pytest.raises(ValueError, match=r"^n: got -1, wanted a whole number, at least 0$"):
        whole_number("n", -1, 0)
    with pytest.raises(ShapeError, match=r"^n: got 1, wanted a pair or more$"):
        whole_number("n", 1, 2, wanted="a pair or more", error=ShapeError)


@pytest.mark.parametrize("value", ["c", "", None, 1, ["a"], {"a"}, {}, np.array(["a", "b"])], ids=repr)
def test_what_is_none_of_the_choices(value):
    with pytest.raises(ValueError, match=r"^name: got .*, wanted 'a' or 'b'$"):
        one_of("name", value, ("a", "b"))
    with pytest.raises(ValueError, match=r"^name: got .*, wanted a letter$"):
        one_of("name", value, {"a": 1, "b": 2}, "a letter")


def test_choices():
    assert one_of("name", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"wanted 'a', 'b' or 'c'$"):
        one_of("name", "d", ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"wanted 'a'$"):
        one_of("name", "d", ("a",))


PLACES = {
    "mode": lambda v: nn.GRU(3, 4, mode=v),
    "merge": lambda v: nn.GRU(3, 4, bidirectional=True, merge=v),
    "init": lambda v: nn.GRUCell(3, 4, init=v),
    "nonlinearity": lambda v: nn.RNNCell(3, 4, nonlinearity=v),
    "name": lambda v: nn.cell_by_name(v),
    "reduction": lambda v: nn.cross_entropy(np.ones((2, 3)), [0, 1], reduction=v),
    "return_states": lambda v: nn.GRU(3, 4)(np.ones((2, 1, 3), np.float32), return_states=v),
}


@pytest.mark.parametrize("value", [[1], {"a": 1}, np.array(["a", "b"]), 3], ids=repr)
@pytest.mark.parametrize("place", PLACES)
def test_names_of_any_type_are_refused_with_the_argument_s_name(place, value):
    with pytest.raises(ValueError, match=rf"{place}: got .*, wanted "):
        PLACES[place](value)


COUNTS = {
    "hidden_size": lambda n: nn.GRUCell(3, n),
    "num_layers": lambda n: nn.GRU(3, 4, num_layers=n),
    "checkpoint_every": lambda n: nn.GRU(3, 4, checkpoint_every=n),
    "batch_size": lambda n: nn.GRU(3, 4).stepper(batch_size=n),
    "RTRL: batch_size": lambda n: nn.RTRL(nn.GRUCell(3, 4), batch_size=n),
    "beam_width": lambda n: nn.ctc_beam_search(np.zeros((2, 3)), beam_width=n),
    "num_embeddings": lambda n: nn.Embedding(n, 2),
    "n": lambda n: tr.set_num_threads(n),
}


@pytest.mark.parametrize("value", [True, 2.0, "2", -1], ids=repr)
@pytest.mark.parametrize("place", COUNTS)
def test_counts_are_checked_alike(place, value):
    with pytest.raises(ValueError, match=rf"{place}: got {value!r}, wanted "):
        COUNTS[place](value)
