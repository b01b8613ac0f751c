"""Records of the tables of stages, field by name; without Numba."""

from __future__ import annotations

import enum
from typing import NamedTuple

from ..loops.task_codes import Span

AXES = 4  # of a strided copy, after neighbouring axes were joined


class When(enum.IntEnum):
    """In which steps of a group of steps, those that share an update, a stage runs."""

    ALWAYS = 0
    FIRST = 1
    LATER = 2  # in all but the first
    LAST = 3


class LaunchStage(NamedTuple):
    """Executes tasks, a loop, and tasks again."""

    like: Span  # any array of the dtype
    launch: Span  # the launch table
    addresses: Span  # the spans of its arrays


class CopyMode(enum.IntEnum):
    """What a strided copy does to its target."""

    COPY = 0
    ADD = 1


class CopyStage(NamedTuple):
    """Copies an array of up to four axes to another one; strides are in elements, and may be negative."""

    source: Span
    target: Span
    first_source: int  # where its first element lies
    first_target: int
    mode: int  # CopyMode
    n0: int
    n1: int
    n2: int
    n3: int
    s0: int
    s1: int
    s2: int
    s3: int
    t0: int
    t1: int
    t2: int
    t3: int


class IntegerOp(enum.IntEnum):
    """What an :class:`IntegerStage` computes of its operands a, b and c; truth values are one and zero."""

    COPY = 0
    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    FLOOR_DIVIDE = 4  # by zero: zero, as NumPy
    REMAINDER = 5
    NEGATIVE = 6
    ABS = 7
    MAXIMUM = 8
    MINIMUM = 9
    EQUAL = 10
    NOT_EQUAL = 11
    LESS = 12
    LESS_EQUAL = 13
    AND = 14  # of truth values, as the next ones
    OR = 15
    XOR = 16
    NOT = 17
    WHERE = 18


class IntegerStage(NamedTuple):
    """Computes integers elementwise, of up to four axes, with strides in elements, zero if repeated.

    Results are brought into the range of a narrower integer, as NumPy's are: by shifts of `shift` bits to the left and
    back, with the sign or without.
    """

    a: Span
    b: Span
    c: Span
    out: Span
    op: int  # IntegerOp
    shift: int
    signed: int
    first_a: int  # where the first element lies
    first_b: int
    first_c: int
    first_out: int
    n0: int
    n1: int
    n2: int
    n3: int
    a0: int
    a1: int
    a2: int
    a3: int
    b0: int
    b1: int
    b2: int
    b3: int
    c0: int
    c1: int
    c2: int
    c3: int
    t0: int
    t1: int
    t2: int
    t3: int


class ToFloatsStage(NamedTuple):
    """Makes floats of integers."""

    like: Span  # the target
    source: Span


class ToIntegersStage(NamedTuple):
    """Makes integers of floats that are whole."""

    like: Span  # the source
    target: Span


class FillStage(NamedTuple):
    """Sets all elements of an array to zero."""

    target: Span


class GatherStage(NamedTuple):
    """Copies rows of a table that integers name."""

    table: Span
    out: Span
    indices: Span
    width: int


class ScatterStage(NamedTuple):
    """Clears a table, and adds rows to those that integers name, in order."""

    rows: Span
    table: Span
    indices: Span
    width: int
    padding: int  # the integer whose rows are left out; negative: none


class CtcStage(NamedTuple):
    """Losses of label sequences over (T, B, C) log-probabilities, and what their gradient reads of them."""

    log_probs: Span
    out: Span  # the losses; of the gradient: (T, B, C)
    g: Span  # of the gradient: cotangents of the losses
    labels: Span  # integers, of one row after the other
    counts: Span  # integers: labels of each row
    lengths: Span  # integers: time steps of each row
    firsts: Span  # integers, written by the losses: where the labels of each row begin
    losses: Span  # float64
    alphas: Span  # float64: forward variables (B, T, width)
    stride: int  # labels from one row to the next; negative: as many as the row has
    steps: int
    classes: int
    width: int
    blank: int
    zero_infinity: int


class CtcGradientStage(CtcStage):
    """Gradients of these losses by the log-probabilities."""


class SegmentsStage(NamedTuple):
    """Finds the segments of a batch of sequences whose steps do not all count."""

    lengths: Span  # integers
    mask: Span  # integers (T, B), zero or not; empty: all steps within the lengths count
    resets: Span  # likewise; empty: none
    table: Span  # the row table
    steps: int  # T
    reverse: int
    batch_first: int
    least: int  # segments, with the empty ones


class StepsStage(NamedTuple):
    """Writes the rows before each step to the integers of a loop, from a row table."""

    table: Span
    dims: Span
    head: int  # of the loop's integers, those before these


class FeedStage(NamedTuple):
    """Copies the rows of a data set that are next in an order to the input of a step, each in pieces."""

    data: Span
    out: Span
    order: Span  # integers: rows of the data
    step: Span  # one integer: which step it is, from 0
    rows: int  # of a step
    pieces: int  # of a row
    width: int  # elements of a piece
    row_step: int  # elements of the input from one row to the next
    piece_step: int  # and from one piece to the next


class FeedIntegersStage(NamedTuple):
    """A :class:`FeedStage` of integers."""

    like: Span  # any array of the dtype of the other stages
    data: Span
    out: Span
    order: Span
    step: Span
    rows: int
    pieces: int
    width: int
    row_step: int
    piece_step: int


class FiniteStage(NamedTuple):
    """Ends the run if an array holds NaN or infinity."""

    array: Span
    status: Span  # one integer: 1 ends the run


class NoteStage(NamedTuple):
    """Notes the norm that a :class:`ClipNormStage` has found, at the place of its step."""

    like: Span  # any array of the dtype
    numbers: Span  # of the clipping
    norms: Span  # float64
    step: Span


class OptionsStage(NamedTuple):
    """Copies the options of a step, a row of a table, to the numbers of an update."""

    like: Span  # any array of the dtype
    table: Span  # float64
    numbers: Span  # float64
    step: Span


class RecordStage(NamedTuple):
    """Notes a loss, and counts the step."""

    loss: Span
    losses: Span
    step: Span


class UpdateStage(NamedTuple):
    """One update of flat parameters by the kernel of an optimiser.

    The arrays come in the order of the kernel's arguments; those that it does not have are empty.
    """

    values: Span
    grads: Span
    state0: Span
    state1: Span
    state2: Span
    numbers: Span  # float64: the kernel's other arguments in order, but for the number of the update
    step: Span  # one integer: updates so far


class SgdStage(UpdateStage):
    """An update by :func:`..fused.optimizers.sgd`."""


class AdamStage(UpdateStage):
    """An update by :func:`..fused.optimizers.adam`."""


class RmspropStage(UpdateStage):
    """An update by :func:`..fused.optimizers.rmsprop`."""


class AdagradStage(UpdateStage):
    """An update by :func:`..fused.optimizers.adagrad`."""


class DivideStage(NamedTuple):
    """Divides an array by a number."""

    array: Span
    numbers: Span  # float64: the divisor


class ClipNormStage(NamedTuple):
    """Measures the norm of arrays together, and scales them down to the largest norm that is allowed."""

    like: Span  # any array of the dtype
    arrays: Span  # integers: address and size of each array
    numbers: Span  # float64: the largest norm; the norm that was found is written behind it


class ClipValueStage(NamedTuple):
    """Brings every element of an array into a range around zero."""

    array: Span
    numbers: Span  # float64: the largest absolute value


Stage = (
    LaunchStage | CopyStage | FillStage | IntegerStage | ToFloatsStage | ToIntegersStage | GatherStage | ScatterStage
    | CtcStage | SegmentsStage | StepsStage | UpdateStage | ClipNormStage | ClipValueStage | FeedStage
    | FeedIntegersStage | FiniteStage | NoteStage | OptionsStage | DivideStage
    | RecordStage
)  # fmt: skip
