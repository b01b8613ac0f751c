"""The checks of :func:`~tinygrad_rnn.testing.check_cell`: one function for each promise of a cell.

The first line of a check's docstring is the promise, and part of the message. A check takes a random case, and raises
a CellCheckError that says what differs; the hint names the usual cause.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import no_grad
from ..core import Tensor, is_float, tensor, tree
from ..errors import CellCheckError, GradcheckError
from ..modules.module import Module
from ..recurrent import Cell, Recurrent
from ..recurrent.scan.dry_run import dry_run
from .cell_alone import require_as_alone
from .cell_case import Case, evaluate, joined, named, place, projection, require_equal, rows_of, whole
from .gradcheck import gradcheck

Check = Callable[[Case], None]
CHECKS: dict[str, Check] = {}
HINTS: dict[str, str] = {}
COMPILED: set[str] = set()  # checks that mean nothing for a cell that does not compile


def check(hint: str, compiled: bool = False) -> Callable[[Check], Check]:
    """Decorator that registers a check with its hint; `compiled`: it needs a cell that compiles."""

    def register(function: Check) -> Check:
        CHECKS[function.__name__], HINTS[function.__name__] = function, hint
        if compiled:
            COMPILED.add(function.__name__)
        return function

    return register


@check("a division by zero, a logarithm or root of something negative, or an exponential of something large")
def runs(case: Case) -> None:
    """The step runs over a sequence, and its results are finite."""
    for name, values in evaluate(case.evaluated(), whole()).items():
        if not np.isfinite(values).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise CellCheckError(f"{name}{place(name, at)}: got {values[at]}, expected a finite number")


@check(
    "step() keeps something in an attribute (a counter, a running value), which belongs into the state; draws random "
    "numbers in evaluation mode; or writes into an array in place"
)
def repeatable(case: Case) -> None:
    """Two runs over the same sequence give the same, and leave inputs and parameters as they are."""

    def watched(cell, xs, state):
        given = [*named(xs, "input"), *named(state, "initial state"), *cell.named_parameters()]
        before = [t.data.copy() for _, t in given]
        results = Recurrent(cell, mode="eager")(xs, state)
        for (name, t), values in zip(given, before):
            if not np.array_equal(t.data, values):
                raise CellCheckError(f"{name}: was overwritten by the run, expected it to stay as it was")
        return results

    case.evaluated()
    first = evaluate(case, watched)
    require_equal(evaluate(case, watched), first, "in the second run", "as in the first", 0.0, 0.0)


@check("a wrong rule in tr.primitive(vjps=...), a value that left the tape (.data, .numpy(), .detach()), or a jump")
def gradients_of_inputs(case: Case) -> None:
    """Gradients by the inputs equal finite differences."""
    leaves = tree.map(_leaf, case.xs)
    _require_gradients(case, named(leaves, "input"), lambda: Recurrent(case.cell, mode="eager")(leaves, _tensors(case)))


@check("a wrong rule in tr.primitive(vjps=...), a state that left the tape (.data, .numpy(), .detach()), or a jump")
def gradients_of_states(case: Case) -> None:
    """Gradients by the initial state equal finite differences."""
    state = case.state
    if state is None:
        state = tree.map(lambda s: s.data.copy(), case.cell.initial_state(case.batch))
    leaves = tree.map(_leaf, state)
    xs = tree.map(tensor, case.xs)
    _require_gradients(case, named(leaves, "initial state"), lambda: Recurrent(case.cell, mode="eager")(xs, leaves))


@check(
    "a wrong rule in tr.primitive(vjps=...), a parameter that is read as .data or .numpy(), or a value computed from "
    "parameters in __init__ instead of in step()"
)
def gradients_of_parameters(case: Case) -> None:
    """Gradients by every parameter equal finite differences."""
    xs = tree.map(tensor, case.xs)
    leaves = list(case.cell.named_parameters())
    _require_gradients(case, leaves, lambda: Recurrent(case.cell, mode="eager")(xs, _tensors(case)))


def _leaf(x: np.ndarray) -> Tensor:
    return tensor(x, requires_grad=is_float(x.dtype))


def _tensors(case: Case) -> Any:
    return None if case.state is None else tree.map(tensor, case.state)


def _require_gradients(case: Case, leaves: Sequence[tuple[str, Tensor]], run: Callable[[], tuple]) -> None:
    leaves = [(name, t) for name, t in leaves if t.requires_grad and t.size]

    def loss(*_):
        with dry_run(case.cell):  # random numbers, such as dropout masks, are the same each time
            ys, final = run()
        return projection([*named(ys, "output"), *named(final, "final state")])

    for name, leaf in leaves:
        error = _wrong(loss, leaf, np.random.default_rng(case.seed))
        if error is None:
            continue
        if error.input < 0:
            raise CellCheckError(f"gradient of {name}: {error}")
        raise CellCheckError(
            f"gradient of {name}{place(f'gradient of {name}', error.at)}: got {error.analytical:.8g} on the tape, "
            f"expected {error.numerical:.8g} by finite differences"
        )


def _wrong(loss: Callable[..., Tensor], leaf: Tensor, rng: np.random.Generator) -> GradcheckError | None:
    """The error that says how the gradient by `leaf` differs from finite differences; None if it does not.

    At a kink, as at zero of a rectifier, there is no derivative: the leaf is moved a little, and put back.
    """
    before = leaf.data.copy()
    try:
        for _ in range(5):
            try:
                gradcheck(loss, [leaf], fast=True, atol=1e-6, rtol=1e-5)
            except GradcheckError as error:
                if not error.kink:
                    return error
            else:
                return None
            with no_grad():
                leaf.copy_(before + rng.uniform(0.01, 0.02, before.shape) * rng.choice([-1.0, 1.0], before.shape))
        return None  # kinks wherever one looks: nothing to compare with
    finally:
        with no_grad():
            leaf.copy_(before)


@check(
    "something is computed over axis 0, which is the batch (a mean without axis=, batch normalisation, a "
    "softmax over axis 0), or rows are indexed or exchanged"
)
def rows_independent(case: Case) -> None:
    """A row of the batch gives the same alone as among others."""

    def one_by_one(cell, xs, state):
        parts = []
        for b in range(case.batch):
            row = slice(b, b + 1)
            parts.append(Recurrent(cell, mode="eager")(rows_of(xs, row, 1), rows_of(state, row, 0)))
        return joined([y for y, _ in parts], 1), joined([s for _, s in parts], 0)

    case.evaluated()
    require_equal(evaluate(case, whole()), evaluate(case, one_by_one), "among other rows", "as alone")


@check("a constant has a row of its own for each row of the batch, or rows are indexed")
def rows_permute(case: Case) -> None:
    """Permuting the rows of the batch permutes the results, and nothing else."""
    order = np.random.default_rng(case.seed).permutation(case.batch).tolist()
    if order == sorted(order):
        order.reverse()
    case.extra = f", rows in the order {order}"
    back = np.argsort(order).tolist()

    def permuted(cell, xs, state):
        ys, final = Recurrent(cell, mode="eager")(rows_of(xs, order, 1), rows_of(state, order, 0))
        return rows_of(ys, back, 1), rows_of(final, back, 0)

    case.evaluated()
    require_equal(evaluate(case, permuted), evaluate(case, whole()), "with permuted rows", "as in order")


@check("the cell carries something outside of the state, such as an attribute that begin_sequence() sets back")
def chunked_equals_whole(case: Case) -> None:
    """A sequence in two chunks, the second from the state that the first left, gives the same as in one."""
    from hypothesis import strategies as st

    if case.time == 1:
        return
    cut = case.draw(st.integers(1, case.time - 1))
    case.extra = f", cut before time {cut}"

    def chunked(cell, xs, state):
        layer = Recurrent(cell, mode="eager")
        first, state = layer(tree.map(lambda x: x[:cut], xs), state)
        second, state = layer(tree.map(lambda x: x[cut:], xs), state)
        return joined([first, second], 0), state

    case.evaluated()
    require_equal(evaluate(case, chunked), evaluate(case, whole()), "in two chunks", "as in one")


@check("please report it, with the cell: the compiler has to agree with the tape", compiled=True)
def eager_equals_compiled(case: Case) -> None:
    """The compiled loop gives the outputs, states and gradients of the tape."""
    results = []
    for mode in ("compiled", "eager"):
        with dry_run(case.cell):  # random numbers, such as dropout masks, are the same
            results.append(evaluate(case, whole(mode)))
    require_equal(results[0], results[1], "compiled", "as on the tape")


@check("the cell carries something outside of the state, or computes with the length of the sequence")
def streamed_equals_whole(case: Case) -> None:
    """``layer.stepper()``, one step per call, gives the same as the whole sequence."""
    case.evaluated()
    mode = "eager" if case.subject.reason else "compiled"
    step = Recurrent(case.cell, mode=mode).stepper(case.batch, example=rows_of(case.xs, 0, 0))
    step.reset(case.state)
    steps = [step(rows_of(case.xs, t, 0)) for t in range(case.time)]
    got = dict(named(tree.map(lambda *ys: np.stack(ys), *steps), "output")) | dict(named(step.state, "final state"))
    wanted = {k: v for k, v in evaluate(case, whole()).items() if not k.startswith("gradient")}
    require_equal(got, wanted, "in a stream", "as in one sequence")


@check("something is computed over axis 0, which is the batch, or the step counts the time by itself")
def padding_invariant(case: Case) -> None:
    """With ``lengths=``, results of a row equal those of the row alone, cut to its length."""
    from hypothesis import strategies as st

    each = st.integers(0, case.time)
    lengths = case.draw(st.lists(each, min_size=case.batch, max_size=case.batch))
    case.extra = f", lengths {lengths}"
    valid = np.arange(case.time)[:, None] < lengths
    require_as_alone(case, "with padding", "as cut and alone", valid, lengths=lengths)


@check(
    "something is computed over axis 0, which is the batch, or from the number of the step: at a step that one row "
    "leaves out others go on, so what rows count or remember has to be in the state, row by row"
)
def masked_equals_left_out(case: Case) -> None:
    """With ``mask=``, results of a row equal those of the row alone without the steps that are left out."""
    mask = np.random.default_rng(case.seed).random((case.time, case.batch)) < 0.6
    case.extra = f", mask (T, B) {mask.astype(int).tolist()}"
    require_as_alone(case, "with a mask", "as alone without the steps left out", mask, mask=mask)


@check("the cell carries something outside of the state, which a reset cannot put back")
def resets_equal_splitting(case: Case) -> None:
    """With ``resets=``, results of a row equal those of its parts, from the initial state after resets."""
    resets = np.random.default_rng(case.seed).random((case.time, case.batch)) < 0.4
    case.extra = f", resets (T, B) {resets.astype(int).tolist()}"
    require_as_alone(case, "with resets", "as split", resets=resets)


@check(
    "a tensor of the cell has a fixed dtype: make weights nn.Parameter; keep constants as numbers or arrays, or call "
    "register_buffer(), so that .to(dtype) casts them; the dtype of new tensors comes from x.dtype or self.dtype"
)
def float32_close_to_float64(case: Case) -> None:
    """The cell runs in float32, and its results equal those in float64 to rounding."""
    narrow = case.subject.cell(case.sizes, np.float32, case.seed)
    narrow.eval()
    got = evaluate(case, whole(), narrow, np.float32)
    for name, values in got.items():
        if values.dtype == np.float64:
            raise CellCheckError(f"{name}: got float64 from a cell in float32, expected float32")
    require_equal(got, evaluate(case.evaluated(), whole()), "in float32", "as in float64", 1e-3, 1e-4)


@check(
    "a tensor that is trained is no nn.Parameter, or is kept where modules are not found; or random constants are "
    "drawn in __init__ without register_buffer()"
)
def save_and_load(case: Case) -> None:
    """A state dict, saved and loaded into another cell of the kind, brings all of its behaviour along."""
    case.evaluated()
    file = io.BytesIO()
    saved: Any = case.cell.state_dict()
    np.savez(file, **saved)
    file.seek(0)
    with np.load(file) as stored:
        saved = {name: stored[name] for name in stored.files}
    other = case.subject.new(case.sizes)
    other.to(np.float64).eval()
    registered = {id(p) for p in other.parameters()}
    for name, t in _tensors_of(other):
        if t.requires_grad and id(t) not in registered:
            raise CellCheckError(f"{name}: requires gradients but is none of the cell's parameters, so it is not saved")
    with no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(saved)
    require_equal(evaluate(case, whole(), other), evaluate(case, whole()), "after loading", "as before saving")


def _tensors_of(cell: Cell) -> list[tuple[str, Tensor]]:
    """All tensors that can be reached from the cell's attributes, by path."""
    found: list[tuple[str, Tensor]] = []
    seen: set[int] = set()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Tensor):
            found.append((path, value))
        if isinstance(value, Tensor | type | np.ndarray) or (callable(value) and not isinstance(value, Module)):
            return
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, dict):
            pairs = [(f"{path}[{k!r}]", v) for k, v in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            pairs = [(f"{path}[{i}]", v) for i, v in enumerate(value)]
        else:
            pairs = [(f"{path}.{k}" if path else k, v) for k, v in getattr(value, "__dict__", {}).items()]
        for name, v in pairs:
            walk(v, name)

    walk(cell, "")
    return found
