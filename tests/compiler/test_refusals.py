"""What does not compile says so - the operation, file and line, what to write instead - and runs on the tape."""

import random
import re
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError
from tinygrad_rnn.recurrent import scan

X = np.random.default_rng(0).uniform(-1, 1, (3, 2, 4)).astype(np.float32)


class Cell(nn.Cell):
    """Runs the function that it is given as its step."""

    input_size = hidden_size = 4

    def __init__(self, function):
        self.function = function
        self.w = nn.Parameter(np.eye(4, dtype=np.float32))
        self.number = nn.Parameter(np.float32(0.5))
        self.stack = nn.Parameter(np.ones((3, 4, 4), np.float32))
        self.counter, self.log = 0, []
        self.generator = np.random.default_rng(0)

    def step(self, x, h):
        return self.function(self, x, h)


def result(y):
    return y, y


REFUSED = []  # (function, pattern); the line that is marked "here" is named in the message


def refused(pattern):
    def add(function):
        REFUSED.append(pytest.param(function, pattern, id=function.__name__))
        return function

    return add


@refused("Python branch.*tr.where")
def branch(cell, x, h):
    if h.sum() > 0:  # here
        h = -h
    return result(x + h)


@refused("Python branch.*tr.where")
def branch_on_an_element(cell, x, h):
    return result(x + h if h[0, 0] > 0 and h[1, 1] < 2 else x)  # here


@refused("Python branch")
def while_loop(cell, x, h):
    while h.max(axis=-1).max() > 10:  # here
        h = h * 0.5
    return result(x + h)


@refused("float.*keep it a tensor")
def number_of_a_value(cell, x, h):
    return result(x * (1 + float(h[0, 0])))  # here


@refused("int.*keep it a tensor|truth|int\\(\\)")
def whole_number_of_a_value(cell, x, h):
    return result(x * int(h[0, 0] + 2))  # here


@refused("numpy\\(\\)")
def to_numpy(cell, x, h):
    return result(x + h.numpy())  # here


@refused("NumPy")
def numpy_function(cell, x, h):
    return result(x + np.percentile(h, 30))  # here


@refused("\\.data")
def data(cell, x, h):
    return result(x + h.data * 2)  # here


@refused("item\\(\\)|number")
def item(cell, x, h):
    return result(x * h[0, 0].item())  # here


@refused("in-place write.*tr.where")
def written_in_place(cell, x, h):
    h = x + h
    h[:, 0] = 0.0  # here
    return result(h)


@refused("number in a tensor.*frozen")
def parameter_as_a_number(cell, x, h):
    return result(x * float(cell.number) + h)  # here


@refused("Python branch.*tr.where")
def branch_on_a_parameter(cell, x, h):
    if cell.number > 0:  # here
        x = -x
    return result(x + h)


@refused("numpy\\(\\).*frozen")
def parameter_as_an_array(cell, x, h):
    return result(x + h @ (cell.w.numpy() * 2))  # here


@refused("astype.*wanted a cast to float32, bool or integers, not to float64")
def integers_as_other_floats(cell, x, h):
    n = (h * 10).astype("int64")
    return result(x + (n.astype("float64") * 0.1).astype("float32"))  # here


@tr.primitive(vjps=[lambda g, y, x: g / 2])
def halved(x):
    return x / 2


@refused("halved.*no lowering")
def no_lowering(cell, x, h):
    return result(x + halved(h))  # here


@refused("pad.*rows stay apart")
def running_sum_over_rows(cell, x, h):
    return result(x + tr.cumsum(h, axis=0))  # here


@refused("einsum.*rows stay apart")
def sum_of_products_over_rows(cell, x, h):
    return result(x + tr.einsum("bi,bi->i", h, x))  # here


@refused("rows stay apart")
def sorted_rows(cell, x, h):
    return result(x + tr.sort(h, axis=0))  # here


@refused("sum.*along features")
def sum_over_everything(cell, x, h):
    return result(x + h.sum())  # here


@refused("sum.*along features")
def sum_over_rows(cell, x, h):
    return result(x + h.sum(axis=0))  # here


@refused("reshape.*begins with the batch")
def rows_in_one(cell, x, h):
    return result(x + h.reshape((-1,)).reshape((-1, 4)))  # here


@refused("getitem.*keeps all rows")
def some_rows(cell, x, h):
    return result(x + h[:1])  # here


@refused("getitem.*keeps all rows")
def rows_reversed(cell, x, h):
    return result(x + h[::-1])  # here


@refused("tensor used as an index|getitem.*keeps all rows|data of a bool|frozen")
def looked_up(cell, x, h):
    return result(x + h[:, x[0] > 0].sum(axis=1, keepdims=True))  # here


@refused("concat.*along features")
def joined_rows(cell, x, h):
    return result(x + tr.concat([h, h], axis=0)[: h.shape[0]])  # here


@refused("transpose.*does not vary")
def transposed(cell, x, h):
    return result(x + h.T.T)  # here


@refused("size of the batch")
def arithmetic_on_the_batch(cell, x, h):
    return result(x + h / h.shape[0])  # here


@refused("rows differ.*begin_sequence")
def rows_made_in_the_step(cell, x, h):
    rows = tr.tensor(np.cumsum(np.ones(h.shape, np.float32), axis=0))
    return result(x + h * rows)  # here


@refused("no_grad.*detach")
def without_gradients(cell, x, h):
    with tr.no_grad():
        scale = 2 * h  # here
    return result(x + scale)


@refused("random.*begin_sequence")
def random_numbers(cell, x, h):
    return result(x + tr.randn((1, 4)) + h)


@refused("random.*begin_sequence")
def random_numbers_of_numpy(cell, x, h):
    return result(x * float(np.random.rand()) + h)  # noqa: NPY002


@refused("random.*begin_sequence")
def random_numbers_of_python(cell, x, h):
    return result(x * random.random() + h)


@refused("random.*begin_sequence")
def random_numbers_of_its_own(cell, x, h):
    return result(x * float(cell.generator.random()) + h)


@refused("writes to the cell's attributes.*state")
def counted(cell, x, h):
    cell.counter += 1
    return result(x * cell.counter + h)


@refused("writes to the cell's attributes.*state")
def kept(cell, x, h):
    cell.last = h
    return result(x + h)


@refused("writes to the cell's attributes.*state")
def logged(cell, x, h):
    cell.log.append(h)
    return result(x + h)


@refused("is_leaf.*look at gradients outside")
def attribute_of_tensors(cell, x, h):
    return result(x + h if h.is_leaf is not None else x)  # here


@refused("multiply.*wanted an array of float32 beside tensors that are no floats")
def mask_times_an_array_of_float64(cell, x, h):
    return result(x + ((h > 0) * np.full(4, 0.5)).astype("float32"))  # here


@tr.primitive(lowering=tr.Lowering("elementwise", "{0} + {0}"))
def doubled(x):
    return x + x


@refused("doubled.*wanted an operation that is exact on floats; cast integers")
def integers_in_an_operation_of_a_users(cell, x, h):
    return result(x + doubled((h * 10).astype("int64")))  # here


@refused(r"matmul.*wanted a time-varying value \(B, K\) times a matrix \(K, N\)")
def product_with_a_stack_of_matrices(cell, x, h):
    return result(x + (h @ cell.stack).sum(axis=0))  # here


INNER = nn.Recurrent(nn.RNNCell(4, 4))


@refused("layer runs inside a step")
def layer_in_a_step(cell, x, h):
    y, _ = INNER(np.zeros((1, 1, 4), np.float32))
    return result(y[0] + x + h)


@pytest.mark.parametrize(("function", "pattern"), REFUSED)
@pytest.mark.filterwarnings("error")
def test_refused_with_a_reason(function, pattern):
    tr.seed(0)
    with pytest.raises(CompileError, match=pattern) as error:
        scan(Cell(function), X, mode="compiled")
    message = str(error.value)
    assert message.startswith("Cell: ")
    source, start = _source(function)
    marked = [start + i for i, line in enumerate(source) if "# here" in line]
    if marked:
        assert f"{__file__}:{marked[0]}" in message, message
    with pytest.warns(RuntimeWarning, match="runs eagerly") as caught:
        scan(Cell(function), X)
    assert re.search(pattern, str(caught[0].message))


def _source(function):
    import inspect

    return inspect.getsourcelines(function)


def test_one_warning_and_then_silence():
    cell = Cell(no_lowering)
    with pytest.warns(RuntimeWarning) as caught:
        ys, _ = scan(cell, X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = scan(cell, X)
    wanted, _ = scan(cell, X, mode="eager")
    np.testing.assert_array_equal(ys.numpy(), wanted.numpy())
    np.testing.assert_array_equal(again.numpy(), wanted.numpy())


@pytest.mark.parametrize("function", [random_numbers, random_numbers_of_its_own])
def test_looking_draws_nothing(function):
    """That a step cannot be compiled costs no random number: eager results stay the same."""
    found = []
    for mode in ("auto", "eager"):
        tr.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(scan(Cell(function), X, mode=mode)[0].numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("function", [counted, kept, logged])
def test_looking_changes_nothing(function):
    cell = Cell(function)
    with pytest.raises(CompileError):
        scan(cell, X, mode="compiled")
    assert cell.counter == 0
    assert not hasattr(cell, "last")
    if function is not logged:  # appending to a list cannot be undone
        assert cell.log == []


def test_a_wrong_step_is_wrong_in_every_mode():
    """What the tape rejects is rejected with the tape's words."""
    wrong = {
        "shapes": lambda cell, x, h: result(x + h @ tr.ones((3, 4))),
        "no pair": lambda cell, x, h: x + h,
        "state": lambda cell, x, h: (x, h[:, :2]),
        "structure": lambda cell, x, h: (x, (h,)),
        "name": lambda cell, x, h: (x, cell.missing),
        "index": lambda cell, x, h: result(x + h[:, 7][:, None]),
        "dtype": lambda cell, x, h: (x, h > 0),
    }
    for function in wrong.values():
        errors = []
        for mode in ("eager", "auto", "compiled"):
            with pytest.raises(Exception) as error:
                scan(Cell(function), X, mode=mode)
            errors.append((error.type, str(error.value)))
        assert len(set(errors)) == 1, errors


def test_whole_numbers_as_input_look_up():
    class Letters(nn.Cell):
        hidden_size = 3

        def __init__(self):
            self.table = nn.Embedding(5, 3)

        def step(self, x, h):
            h = tr.tanh(self.table(x) + h)
            return h, h

    letters = np.array([[0, 1], [4, 2]])
    cell = Letters()
    found, wanted = (scan(cell, letters, mode=mode)[0].numpy() for mode in ("compiled", "eager"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("cosh({0})", "cosh"),
        ("{0} +", "expression"),
        ("{0} + {1}", "1 inputs|expression"),
        ("{0} ** 3", r"'x \*\* 3'|Pow.*wanted calls"),
        ("{0} if {0} > 0 else 1", "if x > 0 else 1.*wanted calls"),
    ],
)
def test_bad_lowerings_are_named(code, pattern):
    op = tr.core.Op("odd", np.cosh, lowering=tr.Lowering("elementwise", code))
    with pytest.raises(CompileError, match=f"odd.*({pattern})"):
        scan(Cell(lambda cell, x, h: result(tr.core.apply(op, (x,), {}) + h)), X, mode="compiled")
