"""One call for many stages: each is a C function, and the table that it takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..build.c_functions import c_function, pointer_to
from ..build.code_cache import entry_of
from ..build.fingerprint import kernel
from ..loops.launches import calls
from .alignments import ctc_gradient_stage, ctc_stage
from .copies import copy_stage, fill_stage
from .feeds import feed_integers_stage, feed_stage, finite_stage, note_stage, options_stage, record_stage
from .integers import integer_stage, to_floats_stage, to_integers_stage
from .launches import launch_stage
from .lookups import gather_stage, scatter_stage
from .segments import segments_stage, steps_stage
from .stage_codes import (
    AdagradStage,
    AdamStage,
    ClipNormStage,
    ClipValueStage,
    CopyStage,
    CtcGradientStage,
    CtcStage,
    DivideStage,
    FeedIntegersStage,
    FeedStage,
    FillStage,
    FiniteStage,
    GatherStage,
    IntegerStage,
    LaunchStage,
    NoteStage,
    OptionsStage,
    RecordStage,
    RmspropStage,
    ScatterStage,
    SegmentsStage,
    SgdStage,
    StepsStage,
    ToFloatsStage,
    ToIntegersStage,
    When,
)
from .updates import (
    adagrad_stage,
    adam_stage,
    clip_norm_stage,
    clip_value_stage,
    divide_stage,
    rmsprop_stage,
    sgd_stage,
)

Array = np.ndarray
FIRST, LATER, LAST = int(When.FIRST), int(When.LATER), int(When.LAST)

FUNCTIONS = {
    LaunchStage: launch_stage,
    CopyStage: copy_stage,
    FillStage: fill_stage,
    IntegerStage: integer_stage,
    ToFloatsStage: to_floats_stage,
    ToIntegersStage: to_integers_stage,
    FeedStage: feed_stage,
    FeedIntegersStage: feed_integers_stage,
    FiniteStage: finite_stage,
    NoteStage: note_stage,
    OptionsStage: options_stage,
    RecordStage: record_stage,
    GatherStage: gather_stage,
    ScatterStage: scatter_stage,
    CtcStage: ctc_stage,
    CtcGradientStage: ctc_gradient_stage,
    SegmentsStage: segments_stage,
    StepsStage: steps_stage,
    SgdStage: sgd_stage,
    AdamStage: adam_stage,
    RmspropStage: rmsprop_stage,
    AdagradStage: adagrad_stage,
    DivideStage: divide_stage,
    ClipNormStage: clip_norm_stage,
    ClipValueStage: clip_value_stage,
}


@functools.cache
def function_of(kind: type, dtype: Any) -> Any:
    """The C function of a kind of stage, for arrays of `dtype`."""
    if kind is LaunchStage:  # it calls product and tasks by their symbols
        calls(dtype)
    return c_function(FUNCTIONS[kind], types.void(types.intp, pointer_to(dtype)))


@intrinsic
def _call(typingctx: Any, address: Any, table: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        integer = args[1].type
        kind = ir.FunctionType(ir.VoidType(), [integer, integer.as_pointer()])
        nothing = ir.Constant(integer.as_pointer(), None)  # a pointer that says the dtype, and points nowhere
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], nothing])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@kernel
def run_stages(stages: Array, first: int, last: int) -> None:
    """Run the stages ``first .. last - 1``.

    A row of `stages` has the addresses of a function and of its table, and a number of :class:`When`.
    """
    for i in range(first, last):
        _call(stages[i, 0], stages[i, 1])


@kernel
def run_steps(stages: Array, count: int, status: Array, phase: int, every: int) -> int:
    """Run all stages `count` times, until one sets `status`; returns how often all were run.

    Steps are grouped: `every` of them share an update, and the first one here is number `phase` of its group.
    """
    for step in range(count):
        last = phase == every - 1
        for i in range(stages.shape[0]):
            when = stages[i, 2]
            if (when == FIRST and phase != 0) or (when == LATER and phase == 0) or (when == LAST and not last):
                continue
            _call(stages[i, 0], stages[i, 1])
            if status[0] != 0:
                return step
        phase = 0 if last else phase + 1
    return count


@functools.cache
def steps_entry() -> Callable[..., int]:
    """:func:`run_steps`, without a look at the types of its arguments."""
    number, table, vector = types.int64, types.int64[:, ::1], types.int64[::1]
    return entry_of(run_steps, table, number, vector, number, number)
